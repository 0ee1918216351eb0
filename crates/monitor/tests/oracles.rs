//! The committed answers of scipy, Evidently and scikit-learn are what the real packages still say, where they can be had.
//! `effects.rs` and `metrics.rs` compare with the committed files.

use std::path::Path;

/// Largest difference of a number, relative to its magnitude, at least 1.
const APART_MAX: f64 = 1e-9;

/// Runs the script of this name in a folder of its own and compares what it writes with what is committed.
fn check(script: &str, answers: &str, environment: &str, requirements: &[&str]) {
    let Ok(python) = edgeward_testkit_python::environment(environment, requirements) else { return };
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(script);
    std::fs::create_dir_all(&folder).expect("a folder");
    let copy = folder.join(script);
    std::fs::copy(oracle.join(script), &copy).expect("a copy of the script");
    let output = python.command().arg("-P").arg(&copy).output().expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |folder: &Path| std::fs::read_to_string(folder.join(answers)).expect("the answers");
    let (committed, said) = (read(&oracle), read(&folder));
    assert_eq!(committed.lines().count(), said.lines().count());
    for (line, (committed, said)) in committed.lines().zip(said.lines()).enumerate() {
        assert_eq!(committed.split(',').count(), said.split(',').count(), "line {}", line + 1);
        for (a, b) in committed.split(',').zip(said.split(',')) {
            assert!(same(a, b), "line {}: {a} is committed, the package says {b}", line + 1);
        }
    }
}

fn same(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= APART_MAX * a.abs().max(1.0) || a.is_nan() && b.is_nan(),
        _ => a == b,
    }
}

#[test]
fn scipy_and_evidently_say_what_is_committed() {
    check(
        "effects.py",
        "effects.csv",
        "effects",
        &["scipy==1.17.1", "evidently==0.7.23", "pandas==2.3.3", "numpy==2.4.6"],
    );
}

#[test]
fn scikit_learn_says_what_is_committed() {
    check("metrics.py", "metrics.csv", "metrics", &["scikit-learn==1.9.1"]);
}
