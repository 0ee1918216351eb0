//! A model's converted float form beside Python's ONNX Runtime: `compare MODEL CASES [LIBRARY]`.
//!
//! CASES holds folders in ONNX's own layout, `test_data_set_0/input_0.pb`, `output_0.pb`, ..., whose outputs are what
//! ONNX Runtime answered in Python. Prints one JSON object: per engine how far its answers are (largest difference
//! relative to the largest magnitude of the output) and the median time of a call, all engines timed in turns. LIBRARY
//! is ONNX Runtime's; without it only the embedded engine is compared.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use edgeward_convert::{import_file, optimise, samples};
use edgeward_model::onnx;
use edgeward_model::{Engine, LoadOptions, RtenEngine, Runnable, Tensor};
use serde_json::{Map, Value, json};

/// Rounds of timing; every form runs once in each.
const ROUNDS: usize = 30;
/// No new round begins after this time.
const SECONDS: f64 = 10.0;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, cases, library @ ..] = &arguments[..] else {
        return Err("compare MODEL CASES [LIBRARY]".into());
    };
    let engines = engines(library.first().map(Path::new))?;
    let shown: Vec<&dyn Engine> = engines.iter().map(AsRef::as_ref).collect();
    let imported = import_file(Path::new(model), &shown).map_err(|error| said(&error))?;
    let shapes = |call: &Vec<Tensor>| call.iter().map(|tensor| tensor.shape().to_vec()).collect::<Vec<_>>();
    let made_up = samples::made_up(&imported.model, &imported.signature, &shown);
    let (small, report) = optimise(&imported.model, shown[0])?;
    let small = onnx::encode(&small);
    let mut forms = vec![];
    let mut result = Map::new();
    let made_up = made_up.map_or_else(|error| json!(error.to_string()), |calls| json!(shapes(&calls[0])));
    result.insert("made_up".to_owned(), made_up);
    result.insert("optimise".to_owned(), serde_json::to_value(report)?);
    for engine in &shown {
        for (form, bytes) in [("original", &imported.onnx), ("converted", &small)] {
            let name = format!("{}/{form}", engine.name());
            match engine.load(bytes, &LoadOptions::with_threads(1)) {
                Ok(loaded) => forms.push(Form { name, loaded, apart: 0.0, micros: vec![], failure: None }),
                Err(error) => drop(result.insert(name, json!({"refused": error.to_string()}))),
            }
        }
    }
    let cases = read_cases(Path::new(cases))?;
    for form in &mut forms {
        for case in &cases {
            match form.compare(case) {
                Ok(apart) => form.apart = form.apart.max(apart),
                Err(error) => form.failure = Some(error.to_string()),
            }
        }
    }
    let started = Instant::now();
    for round in 0..ROUNDS {
        if started.elapsed().as_secs_f64() > SECONDS && round > 2 {
            break;
        }
        for form in forms.iter_mut().filter(|form| form.failure.is_none()) {
            let inputs = cases[round % cases.len()].inputs(&*form.loaded)?;
            let at = Instant::now();
            form.loaded.run(&inputs)?;
            form.micros.push(at.elapsed().as_micros());
        }
    }
    for form in forms {
        result.insert(form.name.clone(), form.row());
    }
    println!("{}", Value::Object(result));
    Ok(())
}

#[cfg(feature = "onnxruntime")]
fn engines(library: Option<&Path>) -> Outcome<Vec<Box<dyn Engine>>> {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(RtenEngine::new())];
    if let Some(library) = library {
        engines.push(Box::new(edgeward_model::engine::OnnxRuntimeEngine::open(library)?));
    }
    Ok(engines)
}

#[cfg(not(feature = "onnxruntime"))]
fn engines(library: Option<&Path>) -> Outcome<Vec<Box<dyn Engine>>> {
    match library {
        None => Ok(vec![Box::new(RtenEngine::new())]),
        Some(_) => Err("a library needs the feature onnxruntime".into()),
    }
}

fn said(error: &dyn Error) -> String {
    let (mut said, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

struct Form {
    name: String,
    loaded: Arc<dyn Runnable>,
    apart: f64,
    micros: Vec<u128>,
    failure: Option<String>,
}

impl Form {
    fn compare(&self, case: &Case) -> Outcome<f64> {
        let found = self.loaded.run(&case.inputs(&*self.loaded)?)?;
        let mut apart = 0.0_f64;
        for (spec, found) in self.loaded.outputs().iter().zip(found) {
            let Some((_, expected)) = case.outputs.iter().find(|(name, _)| *name == spec.name) else {
                continue;
            };
            apart = apart.max(difference(expected, &found).map_err(|why| format!("'{}' {why}", spec.name))?);
        }
        Ok(apart)
    }

    fn row(mut self) -> Value {
        self.micros.sort_unstable();
        let median = self.micros.get(self.micros.len() / 2);
        match self.failure {
            Some(why) => json!({"failed": why}),
            None => json!({"apart": self.apart, "p50_us": median}),
        }
    }
}

/// Outputs smaller than this are compared by the difference over it: a probability of 0 has no relative error.
const SCALE_MIN: f64 = 1e-3;

/// The largest difference over the largest magnitude expected; what is not a float must be equal.
fn difference(expected: &Tensor, found: &Tensor) -> Result<f64, String> {
    if (expected.datatype(), expected.shape()) != (found.datatype(), found.shape()) {
        let (a, b) = ((expected.datatype(), expected.shape()), (found.datatype(), found.shape()));
        return Err(format!("should be {a:?} but is {b:?}"));
    }
    if !expected.datatype().is_float() {
        return if expected == found { Ok(0.0) } else { Err("differs".to_owned()) };
    }
    let numbers =
        |tensor: &Tensor| (0..tensor.len()).filter_map(|at| tensor.number(at)).collect::<Vec<f64>>();
    let (expected, found) = (numbers(expected), numbers(found));
    let scale =
        expected.iter().filter(|v| v.is_finite()).fold(SCALE_MIN, |most, value| most.max(value.abs()));
    let apart = |(a, b): (&f64, &f64)| match a == b || (a.is_nan() && b.is_nan()) {
        true => 0.0,
        false => (a - b).abs() / scale,
    };
    let worst = expected
        .iter()
        .zip(&found)
        .map(apart)
        .fold(0.0_f64, |most, one| if one > most || one.is_nan() { one } else { most });
    if worst.is_nan() { Err("is not a number where it should be".to_owned()) } else { Ok(worst) }
}

struct Case {
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<(String, Tensor)>,
}

impl Case {
    fn inputs(&self, model: &dyn Runnable) -> Outcome<Vec<Tensor>> {
        let find = |name: &str| {
            self.inputs.iter().find(|(given, _)| given == name).map(|(_, tensor)| tensor.clone())
        };
        let inputs =
            model.inputs().iter().map(|spec| find(&spec.name).ok_or_else(|| format!("no '{}'", spec.name)));
        Ok(inputs.collect::<Result<_, _>>()?)
    }
}

fn read_cases(folder: &Path) -> Outcome<Vec<Case>> {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    let sets = folders.iter().filter(|path| path.is_dir());
    sets.map(|set| Ok(Case { inputs: read_tensors(set, "input")?, outputs: read_tensors(set, "output")? }))
        .collect()
}

fn read_tensors(set: &Path, kind: &str) -> Outcome<Vec<(String, Tensor)>> {
    let mut tensors = Vec::new();
    while let Ok(bytes) = std::fs::read(set.join(format!("{kind}_{}.pb", tensors.len()))) {
        let tensor = onnx::decode_tensor(&bytes)?;
        tensors.push((tensor.name.clone(), tensor.to_tensor()?));
    }
    Ok(tensors)
}
