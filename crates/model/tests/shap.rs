//! Attributions agree with the shap package's on models of scikit-learn, through ONNX.

use std::path::Path;

use edgeward_model::explain::{Attributions, Rows, SessionFunction, TreeExplainer, exact, kernel, sample};
use edgeward_model::{LoadOptions, RtenEngine, Session};

const REQUIREMENTS: [&str; 3] = ["shap==0.51.0", "scikit-learn==1.9.1", "skl2onnx==1.20.0"];

/// Greatest difference from shap's values, over the greatest answer's distance from usual.
const TOLERANCE: f64 = 1e-5;

struct Case {
    name: String,
    onnx: Vec<u8>,
    said: serde_json::Value,
}

impl Case {
    fn read(json: &Path) -> Self {
        let said = serde_json::from_slice(&std::fs::read(json).expect("what values.py wrote"))
            .expect("what values.py wrote");
        let name = json
            .file_stem()
            .expect("what values.py wrote")
            .to_str()
            .expect("what values.py wrote")
            .to_owned();
        Self { name, onnx: std::fs::read(json.with_extension("onnx")).expect("what values.py wrote"), said }
    }

    fn numbers(&self, key: &str) -> Vec<f64> {
        self.said[key]
            .as_array()
            .expect("what values.py wrote")
            .iter()
            .map(|value| value.as_f64().expect("what values.py wrote"))
            .collect()
    }

    fn rows(&self, key: &str) -> Rows {
        Rows::new(self.numbers(key), self.said["width"].as_u64().expect("what values.py wrote") as usize)
            .expect("what values.py wrote")
    }

    fn compare(&self, found: &[Attributions]) {
        let expected = self.numbers("values");
        let scale = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
        let values: Vec<f64> = found.iter().flat_map(|found| found.values.iter().copied()).collect();
        assert_eq!(values.len(), expected.len(), "{}", self.name);
        let worst = values.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        println!(
            "{}: {} values, greatest difference {worst:.2e}, greatest value {scale:.3}",
            self.name,
            values.len()
        );
        assert!(worst <= TOLERANCE * scale, "{}: {worst} of {scale}", self.name);
        for (base, expected) in found[0].base.iter().zip(self.numbers("base")) {
            assert!(
                (base - expected).abs() <= TOLERANCE * expected.abs().max(scale),
                "{}: {base}, {expected}",
                self.name
            );
        }
        for found in found {
            assert!(
                (0..found.outputs()).all(|output| found.gap(output).abs() < 1e-9 * scale),
                "{}",
                self.name
            );
        }
    }
}

#[test]
fn trees_and_networks_get_shaps_values() {
    let Ok(python) = edgeward_testkit_python::environment("shap", &REQUIREMENTS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shap/values.py");
    python.run_file(&program, &[folder.path().to_str().unwrap(), "check"]);
    let mut checked = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let case = Case::read(&path);
            match case.said["kind"].as_str().unwrap() {
                "exact" => network(&case),
                "interventional" => {
                    let explainer =
                        TreeExplainer::interventional(&case.onnx, case.rows("background")).unwrap();
                    case.compare(&explainer.explain(&case.rows("rows")).unwrap());
                }
                _ => {
                    let training = case.rows("training");
                    let explainer = TreeExplainer::path_dependent(&case.onnx, Some(&training)).unwrap();
                    case.compare(&explainer.explain(&case.rows("rows")).unwrap());
                }
            }
            checked.push(case.name);
        }
    }
    assert_eq!(checked.len(), 13, "{checked:?}");
}

fn network(case: &Case) {
    let session = Session::from_onnx(&case.onnx, &RtenEngine::new(), &LoadOptions::with_threads(1))
        .expect("a network of numbers");
    let function = SessionFunction::new(&session).expect("a network of numbers");
    let (rows, background) = (case.rows("rows"), case.rows("background"));
    let found: Vec<_> = rows
        .iter()
        .map(|row| exact(|rows: &Rows| function.call(rows), row, &background).expect("a network of numbers"))
        .collect();
    case.compare(&found);
    let expected = case.numbers("values");
    for (at, row) in rows.iter().enumerate() {
        let sampled = sample(|rows: &Rows| function.call(rows), row, &background, 30, 1, || true)
            .expect("a network of numbers");
        let regressed = kernel(|rows: &Rows| function.call(rows), row, &background, 400, 1)
            .expect("a network of numbers");
        for found in [sampled, regressed] {
            let errors = found.values.iter().zip(&found.errors).zip(&expected[at * rows.width()..]);
            for ((value, error), expected) in errors {
                // Four standard errors, and the network's 32-bit floats.
                assert!(
                    (value - expected).abs() <= 4.0 * error + 1e-3,
                    "{value} +- {error}, shap says {expected}"
                );
            }
        }
    }
}
