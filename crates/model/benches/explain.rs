//! Time of exact tree attributions beside the shap package's on the same models and rows, one thread each.
//!
//!     cargo bench -p edgeward-model --bench explain
//!
//! Trains the models with scikit-learn (a Python environment is made), asks shap for 1,000 rows, then asks Edgeward for the
//! same rows through ONNX. Printed per case: both times, the ratio, and the greatest difference of a value. Path-dependent
//! values of bootstrapped forests differ: shap counts each tree's own sample, the file does not say it.

use std::path::Path;
use std::time::Instant;

use edgeward_model::explain::{Attributions, Rows, TreeExplainer};

const REQUIREMENTS: [&str; 3] = ["shap==0.51.0", "scikit-learn==1.9.1", "skl2onnx==1.20.0"];

/// Runs of which the median counts.
const RUNS: usize = 5;

fn main() {
    let Ok(python) = edgeward_testkit_python::environment("shap", &REQUIREMENTS) else { return };
    let Ok(folder) = tempfile::tempdir() else { return };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shap/values.py");
    python.run_file(&program, &[&folder.path().to_string_lossy(), "bench"]);
    println!("{:<36} {:>10} {:>12} {:>8} {:>12}", "case", "shap s", "edgeward s", "ratio", "difference");
    let Ok(entries) = std::fs::read_dir(folder.path()) else { return };
    let mut cases: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    cases.sort();
    for case in cases {
        if let Err(why) = compare(&case) {
            println!("{}: {why}", case.display());
        }
    }
}

fn compare(json: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let said: serde_json::Value = serde_json::from_slice(&std::fs::read(json)?)?;
    let numbers = |key: &str| -> Vec<f64> {
        said[key].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect()
    };
    let width = said["width"].as_u64().unwrap_or(1) as usize;
    let rows = |key: &str| Rows::new(numbers(key), width).ok_or("rows of unequal width");
    let onnx = std::fs::read(json.with_extension("onnx"))?;
    let explainer = if said["kind"] == "interventional" {
        TreeExplainer::interventional(&onnx, rows("background")?)?
    } else {
        TreeExplainer::path_dependent(&onnx, Some(&rows("training")?))?
    };
    let asked = rows("rows")?;
    let mut found: Vec<Attributions> = Vec::new();
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let begin = Instant::now();
        found = explainer.explain(&asked)?;
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let (ours, theirs) = (times[RUNS / 2], said["seconds"].as_f64().unwrap_or(f64::NAN));
    let values = found.iter().flat_map(|found| found.values.iter().copied());
    let difference = values.zip(numbers("values")).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let name = json.file_stem().unwrap_or_default().to_string_lossy();
    println!("{name:<36} {theirs:>10.3} {ours:>12.4} {:>8.1} {difference:>12.1e}", theirs / ours);
    Ok(())
}
