//! Real inputs of a model from files: what int8 is calibrated on and what forms are compared on.
//!
//! A file is `.npy` (the input of a model that has one), `.npz` (an array per input, by name), `.json` (a request of the
//! Open Inference Protocol, or a list of them) or `.csv` (a row per call, a column per feature in the model's order; a
//! column more than the model has features is left out if it is the last, since it is the label). A folder means all
//! files in it, by name. Rows become calls of one row each, where the model takes any number of rows.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use edgeward_model::{DataType, Dim, NamedTensor, Signature, Tensor, TensorData, TensorSpec};
use serde::Deserialize;

use super::numpy;

/// Most calls that are read; more are left out.
const CALLS_MAX: usize = 512;

/// Largest file read, in bytes.
const FILE_BYTES_MAX: u64 = 2 << 30;

/// Calibration data that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CalibrationError {
    /// A file or folder cannot be read.
    #[error("reading {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Not of a form that is read.
    #[error("{}: {reason}; give .npy, .npz, .csv or Open Inference .json files", path.display())]
    Form { path: PathBuf, reason: String },
    /// The inputs are not those of the model.
    #[error("{}: {reason}", path.display())]
    Inputs { path: PathBuf, reason: String },
    /// Nothing there.
    #[error("{} holds no calls", .0.display())]
    Empty(PathBuf),
}

/// The calls in `data`, each the inputs of a model with this signature in order.
pub(crate) fn read(data: &Path, signature: &Signature) -> Result<Vec<Vec<Tensor>>, CalibrationError> {
    let mut calls = Vec::new();
    for file in files(data)? {
        calls.extend(read_file(&file, signature)?);
        if calls.len() >= CALLS_MAX {
            break;
        }
    }
    calls.truncate(CALLS_MAX);
    if calls.is_empty() { Err(CalibrationError::Empty(data.to_owned())) } else { Ok(calls) }
}

fn files(data: &Path) -> Result<Vec<PathBuf>, CalibrationError> {
    if !data.is_dir() {
        return Ok(vec![data.to_owned()]);
    }
    let reading = |source| CalibrationError::Read { path: data.to_owned(), source };
    let entries = fs::read_dir(data).map_err(reading)?.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file() && Kind::of(path).is_some()).collect();
    files.sort();
    Ok(files)
}

#[derive(Clone, Copy)]
enum Kind {
    Npy,
    Npz,
    Csv,
    Json,
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

fn read_file(path: &Path, signature: &Signature) -> Result<Vec<Vec<Tensor>>, CalibrationError> {
    let reading = |source| CalibrationError::Read { path: path.to_owned(), source };
    let form = |reason: String| CalibrationError::Form { path: path.to_owned(), reason };
    let kind = Kind::of(path).ok_or_else(|| form("the ending says no form of data".to_owned()))?;
    let file = File::open(path).map_err(reading)?;
    let length = file.metadata().map_err(reading)?.len();
    if length > FILE_BYTES_MAX {
        return Err(form(format!("{length} bytes are over the limit of {FILE_BYTES_MAX}")));
    }
    let file = BufReader::new(file);
    let given = match kind {
        Kind::Npy => {
            let only = only(signature, "an array").map_err(&form)?;
            vec![vec![NamedTensor::new(&only.name, numpy::npy(file).map_err(form)?)]]
        }
        Kind::Npz => vec![numpy::npz(file).map_err(form)?],
        Kind::Json => json(file).map_err(form)?,
        Kind::Csv => vec![csv(file, signature).map_err(form)?],
    };
    let inputs = |reason| CalibrationError::Inputs { path: path.to_owned(), reason };
    let mut calls = Vec::new();
    for tensors in given {
        calls.extend(calls_of(&tensors, signature).map_err(inputs)?);
    }
    Ok(calls)
}

/// The one input of a model that has one.
fn only<'a>(signature: &'a Signature, file: &str) -> Result<&'a TensorSpec, String> {
    let [only] = &signature.inputs[..] else {
        let names: Vec<&str> = signature.inputs.iter().map(|spec| spec.name.as_str()).collect();
        let names = names.join(", ");
        return Err(format!("{file} has one input, the model {names}; give an .npz with an array for each"));
    };
    Ok(only)
}

/// The body of a request of the Open Inference Protocol.
#[derive(Deserialize)]
struct Request {
    inputs: Vec<NamedTensor>,
}

fn json(file: impl Read) -> Result<Vec<Vec<NamedTensor>>, String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Requests {
        One(Request),
        Many(Vec<Request>),
    }
    let requests: Requests = serde_json::from_reader(file).map_err(|error| error.to_string())?;
    Ok(match requests {
        Requests::One(one) => vec![one.inputs],
        Requests::Many(many) => many.into_iter().map(|request| request.inputs).collect(),
    })
}

fn csv(file: impl Read, signature: &Signature) -> Result<Vec<NamedTensor>, String> {
    let only = only(signature, "a table")?;
    let width = match only.shape.get(1..) {
        Some(rest) => rest.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 }).product(),
        None => 1,
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let mut values = Vec::new();
    let mut rows = 0;
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        if record.len() != width && record.len() != width + 1 {
            return Err(format!("row {rows} has {} columns; the model takes {width}", record.len()));
        }
        for text in record.iter().take(width) {
            values.push(text.parse::<f32>().map_err(|_| format!("row {rows}: '{text}' is no number"))?);
        }
        rows += 1;
    }
    let shape: Vec<usize> = std::iter::once(rows)
        .chain(only.shape.iter().skip(1).map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 }))
        .collect();
    let tensor = Tensor::new(shape, values).map_err(|error| error.to_string())?;
    Ok(vec![NamedTensor::new(&only.name, tensor)])
}

/// Splits rows into calls of one row where every input has any number of rows; checks each call.
fn calls_of(given: &[NamedTensor], signature: &Signature) -> Result<Vec<Vec<Tensor>>, String> {
    let mut whole = Vec::with_capacity(signature.inputs.len());
    for spec in &signature.inputs {
        let found = given.iter().find(|tensor| tensor.name == spec.name || tensor.name.is_empty());
        let found = found.ok_or_else(|| {
            let names: Vec<&str> = given.iter().map(|tensor| tensor.name.as_str()).collect();
            format!("there is no array for the input '{}'; there are: {}", spec.name, names.join(", "))
        })?;
        whole.push(as_declared(&found.tensor, spec)?);
    }
    let rows = rows_to_split(&whole, signature);
    let calls: Vec<Vec<Tensor>> = match rows {
        Some(rows) => (0..rows.min(CALLS_MAX))
            .map(|at| whole.iter().map(|tensor| row(tensor, at)).collect())
            .collect::<Result<_, String>>()?,
        None => vec![whole],
    };
    let check = |call: &Vec<Tensor>| signature.check_ordered(call).map_err(|error| error.to_string());
    calls.iter().try_for_each(check)?;
    Ok(calls)
}

/// The first row of a call, where every input takes any number of rows; none where it may not be split.
pub(crate) fn first_row(call: &[Tensor], signature: &Signature) -> Option<Vec<Tensor>> {
    rows_to_split(call, signature)?;
    call.iter().map(|tensor| row(tensor, 0).ok()).collect()
}

/// The number of rows, if the calls may be split: each input takes any number, or exactly one and more were given.
fn rows_to_split(tensors: &[Tensor], signature: &Signature) -> Option<usize> {
    let rows = tensors.first().map(Tensor::rows)?;
    let splits = |(tensor, spec): (&Tensor, &TensorSpec)| {
        let first = spec.shape.first().is_some_and(|dim| matches!(dim, Dim::Symbolic(_) | Dim::Fixed(1)));
        first && tensor.shape().first() == Some(&rows)
    };
    (rows > 1 && tensors.iter().zip(&signature.inputs).all(splits)).then_some(rows)
}

fn row(tensor: &Tensor, at: usize) -> Result<Tensor, String> {
    let width = tensor.row_len();
    let range = at * width..(at + 1) * width;
    let data: TensorData = match tensor.data() {
        TensorData::F32(values) => values[range].to_vec().into(),
        TensorData::F64(values) => values[range].to_vec().into(),
        TensorData::I64(values) => values[range].to_vec().into(),
        TensorData::I32(values) => values[range].to_vec().into(),
        TensorData::U8(values) => values[range].to_vec().into(),
        TensorData::I8(values) => values[range].to_vec().into(),
        TensorData::Bool(values) => values[range].to_vec().into(),
        TensorData::Bytes(values) => TensorData::Bytes(values[range].to_vec()),
    };
    let shape: Vec<usize> = std::iter::once(1).chain(tensor.shape().iter().skip(1).copied()).collect();
    Tensor::new(shape, data).map_err(|error| error.to_string())
}

/// The same numbers in the input's datatype; one that it cannot hold is an error.
fn as_declared(tensor: &Tensor, spec: &TensorSpec) -> Result<Tensor, String> {
    if tensor.datatype() == spec.datatype {
        return Ok(tensor.clone());
    }
    let refuse =
        || format!("the input '{}' is {}, the array {}", spec.name, spec.datatype, tensor.datatype());
    let numbers = (0..tensor.len()).map(|at| tensor.number(at).ok_or_else(refuse));
    let numbers = numbers.collect::<Result<Vec<f64>, _>>()?;
    let whole = |least: f64, most: f64| {
        let fits = numbers.iter().all(|n| n.fract() == 0.0 && (least..=most).contains(n));
        if fits { Ok(()) } else { Err(refuse()) }
    };
    let data: TensorData = match spec.datatype {
        DataType::Fp32 => numbers.iter().map(|&n| n as f32).collect::<Vec<_>>().into(),
        DataType::Fp64 => numbers.into(),
        DataType::Int64 => {
            whole(-9.0e15, 9.0e15)?;
            numbers.iter().map(|&n| n as i64).collect::<Vec<_>>().into()
        }
        DataType::Int32 => {
            whole(f64::from(i32::MIN), f64::from(i32::MAX))?;
            numbers.iter().map(|&n| n as i32).collect::<Vec<_>>().into()
        }
        DataType::Uint8 => {
            whole(0.0, 255.0)?;
            numbers.iter().map(|&n| n as u8).collect::<Vec<_>>().into()
        }
        DataType::Int8 => {
            whole(-128.0, 127.0)?;
            numbers.iter().map(|&n| n as i8).collect::<Vec<_>>().into()
        }
        DataType::Bool => {
            whole(0.0, 1.0)?;
            numbers.iter().map(|&n| n > 0.5).collect::<Vec<_>>().into()
        }
        DataType::Bytes => return Err(refuse()),
    };
    Tensor::new(tensor.shape(), data).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use edgeward_model::{Roles, Task};

    use super::*;

    fn signature(inputs: Vec<TensorSpec>) -> Signature {
        Signature {
            schema: edgeward_model::signature::SIGNATURE_SCHEMA.to_owned(),
            task: Task::Other,
            inputs,
            outputs: Vec::new(),
            feature_names: Vec::new(),
            roles: Roles::default(),
        }
    }

    fn table() -> Signature {
        signature(vec![TensorSpec::new("x", DataType::Fp32, vec![Dim::symbol("batch"), Dim::Fixed(2)])])
    }

    /// A version 1.0 file of the NumPy format (NEP 1) of FP64 values.
    fn npy_of(shape: &str, values: &[f64]) -> Vec<u8> {
        let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}");
        while !(header.len() + 11).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    #[test]
    fn each_form_gives_calls_of_one_row() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let expected = vec![
            vec![Tensor::from_rows(1, 2, vec![1.0, 2.0]).unwrap()],
            vec![Tensor::from_rows(1, 2, vec![3.0, 4.0]).unwrap()],
        ];
        let json =
            r#"{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}"#;
        for path in [
            write("a.npy", &npy_of("2, 2", &[1.0, 2.0, 3.0, 4.0])),
            write("b.csv", b"p,q,label\n1,2,yes\n3,4,no\n"),
            write("c.json", json.as_bytes()),
        ] {
            assert_eq!(read(&path, &table()).unwrap(), expected, "{}", path.display());
        }
        assert_eq!(read(folder.path(), &table()).unwrap().len(), 6);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, bytes: &[u8], signature: &Signature, words: &str| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let error = read(&path, signature).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        check("a.npy", b"not numpy", &table(), "a.npy");
        check("b.npy", &npy_of("2, 3", &[0.0; 6]), &table(), "x");
        check("c.csv", b"p,q\n1,two\n", &table(), "'two' is no number");
        check("d.csv", b"p,q,r,s\n1,2,3,4\n", &table(), "has 4 columns; the model takes 2");
        check("e.txt", b"", &table(), "the ending says no form");
        check("f.json", b"{}", &table(), "f.json");
        let two = signature(vec![
            TensorSpec::new("x", DataType::Fp32, vec![Dim::symbol("batch")]),
            TensorSpec::new("y", DataType::Fp32, vec![Dim::symbol("batch")]),
        ]);
        check("g.npy", &npy_of("2,", &[0.0; 2]), &two, "give an .npz");
        assert!(matches!(read(&folder.path().join("none"), &table()), Err(CalibrationError::Form { .. })));
    }

    #[test]
    fn numbers_are_recast_only_where_nothing_is_lost() {
        let spec = TensorSpec::new("ids", DataType::Int64, vec![Dim::symbol("n")]);
        let whole = Tensor::new([2], vec![1.0_f32, 2.0]).unwrap();
        assert_eq!(as_declared(&whole, &spec).unwrap(), Tensor::new([2], vec![1_i64, 2]).unwrap());
        let fraction = Tensor::new([1], vec![0.5_f32]).unwrap();
        assert!(as_declared(&fraction, &spec).is_err());
    }
}
