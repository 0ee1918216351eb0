//! NumPy's files: `.npy`, one array, and `.npz`, several in a ZIP archive (NEP 1, versions 1.0 to 3.0 of the format).
//!
//! Arrays of numbers and booleans in C order, little-endian. Nothing in such a file is ever executed: arrays of Python
//! objects are refused.

use std::io::{Read, Seek};

use edgeward_model::tensor::element_count;
use edgeward_model::{NamedTensor, Tensor, TensorData};
use zip::ZipArchive;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header read, in bytes; NumPy's own are a hundred.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Most arrays of one archive.
const ARRAYS_MAX: usize = 1024;

/// The array in a `.npy` file.
pub(crate) fn npy(mut file: impl Read) -> Result<Tensor, String> {
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(|_| "it is too short for a NumPy file".to_owned())?;
    if start[..6] != *MAGIC {
        return Err("it is no NumPy file".to_owned());
    }
    let length = match start[6] {
        1 => u32::from(u16::from_le_bytes(exactly(&mut file)?)),
        2 | 3 => u32::from_le_bytes(exactly(&mut file)?),
        version => return Err(format!("version {version} of the format is not read")),
    };
    if length as usize > HEADER_BYTES_MAX {
        return Err(format!("its header of {length} bytes is over the limit of {HEADER_BYTES_MAX}"));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(|_| "its header is cut short".to_owned())?;
    let header = String::from_utf8(header).map_err(|_| "its header is not text".to_owned())?;
    let header = Header::parse(&header)?;
    let count = element_count(&header.shape).map_err(|error| error.to_string())?;
    let data = header.elements(&mut file, count)?;
    Tensor::new(header.shape, data).map_err(|error| error.to_string())
}

/// The arrays in a `.npz` file, by name.
pub(crate) fn npz(file: impl Read + Seek) -> Result<Vec<NamedTensor>, String> {
    let mut archive = ZipArchive::new(file).map_err(|error| error.to_string())?;
    if archive.len() > ARRAYS_MAX {
        return Err(format!("{} arrays are over the limit of {ARRAYS_MAX}", archive.len()));
    }
    let mut tensors = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| error.to_string())?;
        let name = entry.name().map_err(|error| error.to_string())?.trim_end_matches(".npy").to_owned();
        let tensor = npy(entry).map_err(|why| format!("the array '{name}': {why}"))?;
        tensors.push(NamedTensor::new(name, tensor));
    }
    Ok(tensors)
}

fn exactly<const N: usize>(file: &mut impl Read) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).map_err(|_| "its header is cut short".to_owned())?;
    Ok(bytes)
}

/// What the header says: a Python dictionary of three entries.
struct Header {
    descr: String,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Self, String> {
        let after = |key: &str| {
            let (_, rest) = text.split_once(key).ok_or_else(|| format!("its header has no {key}"))?;
            Ok::<&str, String>(rest.trim_start_matches(['\'', '"', ' ', ':']))
        };
        let descr = after("descr")?;
        let descr = descr.split(['\'', '"']).next().unwrap_or_default().to_owned();
        let shape = after("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (shape, _) = shape.ok_or("its header has no shape")?;
        let dims = shape.split(',').map(str::trim).filter(|dim| !dim.is_empty());
        let dims = dims.map(|dim| dim.trim_end_matches('L').parse::<usize>());
        let shape =
            dims.collect::<Result<Vec<_>, _>>().map_err(|_| format!("its shape ({shape}) is no shape"))?;
        if shape.len() > 1 && after("fortran_order")?.starts_with("True") {
            return Err("it is in Fortran order; save numpy.ascontiguousarray of it".to_owned());
        }
        Ok(Self { descr, shape })
    }

    /// The elements in the nearest datatype that holds them.
    fn elements(&self, file: &mut impl Read, count: usize) -> Result<TensorData, String> {
        let mut read = |size: usize| {
            let mut bytes = Vec::new();
            let expected = count * size;
            file.take(expected as u64).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            match bytes.len() == expected {
                true => Ok(bytes),
                false => Err(format!("it has {} bytes of elements, not {expected}", bytes.len())),
            }
        };
        Ok(match self.descr.as_str() {
            "<f4" => each(&read(4)?, f32::from_le_bytes).into(),
            "<f8" => each(&read(8)?, f64::from_le_bytes).into(),
            "<i8" => each(&read(8)?, i64::from_le_bytes).into(),
            "<i4" => each(&read(4)?, i32::from_le_bytes).into(),
            "<i2" => each(&read(2)?, |bytes| i32::from(i16::from_le_bytes(bytes))).into(),
            "<u2" => each(&read(2)?, |bytes| i32::from(u16::from_le_bytes(bytes))).into(),
            "<u4" => each(&read(4)?, |bytes| i64::from(u32::from_le_bytes(bytes))).into(),
            "|u1" => read(1)?.into(),
            "|i1" => each(&read(1)?, i8::from_le_bytes).into(),
            "|b1" => each(&read(1)?, |[byte]| byte != 0).into(),
            other => {
                return Err(format!(
                    "arrays of type '{other}' are not read; save little-endian numbers or booleans"
                ));
            }
        })
    }
}

fn each<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;

    /// A file of version 1.0.
    pub(crate) fn file(header: &str, elements: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(elements);
        bytes
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        let check = |descr: &str, shape: &str, elements: &[u8], expected: Tensor| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}  \n");
            assert_eq!(npy(&file(&header, elements)[..]).unwrap(), expected, "{descr}");
        };
        check(
            "<f8",
            "1, 2",
            &[1.5_f64.to_le_bytes(), 2.0_f64.to_le_bytes()].concat(),
            Tensor::new([1, 2], vec![1.5, 2.0]).unwrap(),
        );
        check("<i2", "2,", &[0xff, 0xff, 1, 0], Tensor::new([2], vec![-1_i32, 1]).unwrap());
        check("|u1", "", &[7], Tensor::new([], vec![7_u8]).unwrap());
        check("|b1", "2", &[0, 1], Tensor::new([2], vec![false, true]).unwrap());
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused() {
        let check = |bytes: &[u8], words: &str| {
            let error = npy(bytes).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}\n")
        };
        check(b"", "too short");
        check(b"not a NumPy file", "no NumPy file");
        check(b"\x93NUMPY\x09\x00", "version 9");
        check(&file(&header("|O", "False", "2,"), &[0; 16]), "'|O' are not read");
        check(&file(&header(">f4", "False", "2,"), &[0; 8]), "little-endian");
        check(&file(&header("<f4", "True", "2, 2"), &[0; 16]), "Fortran order");
        check(&file(&header("<f4", "False", "2, 2"), &[0; 15]), "15 bytes of elements, not 16");
        check(&file(&header("<f4", "False", "-1,"), &[]), "no shape");
        check(&file(&header("<f4", "False", "99999999999, 99999999999"), &[]), "");
        check(&file("{}", &[]), "no descr");
    }

    #[test]
    fn the_arrays_of_an_archive_come_by_name() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, value) in [("a.npy", 1_u8), ("b.npy", 2)] {
            let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }\n";
            writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(&file(header, &[value])).unwrap();
        }
        let archive = writer.finish().unwrap();
        let tensors = npz(archive).unwrap();
        let found: Vec<(&str, f64)> =
            tensors.iter().map(|named| (named.name.as_str(), named.tensor.number(0).unwrap())).collect();
        assert_eq!(found, [("a", 1.0), ("b", 2.0)]);
        assert!(npz(Cursor::new(b"no archive".to_vec())).is_err());
    }
}
