//! The projects in `examples/frameworks` from training to a bundle, with the real binary and the real framework.
//!
//! scikit-learn runs everywhere; PyTorch and TensorFlow, some gigabytes each, where ignored tests are asked for
//! (`.ci/run full`). What their exporters write is compared with ONNX Runtime in every run, in `edgeward-convert`.

#![cfg(all(unix, feature = "control"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// A copy of the project and of the digits beside it, so that nothing is written into the repository.
fn copied(framework: &str, into: &Path) -> PathBuf {
    let project = into.join("frameworks").join(framework);
    let data = into.join("robots/data");
    fs::create_dir_all(&project).unwrap();
    fs::create_dir_all(&data).unwrap();
    fs::copy(examples().join("robots/data/digits.csv"), data.join("digits.csv")).unwrap();
    for file in ["edgeward.toml", "requirements.txt", "train.py"] {
        fs::copy(examples().join("frameworks").join(framework).join(file), project.join(file)).unwrap();
    }
    project
}

/// From `edgeward.toml` to a bundle whose model `edgeward inspect` knows as one of ten classes.
fn goes_through_the_whole_pipeline(framework: &str) {
    let folder = tempfile::tempdir().unwrap();
    let project = copied(framework, folder.path());
    let requirements = fs::read_to_string(project.join("requirements.txt")).unwrap();
    let requirements: Vec<&str> = requirements.lines().filter(|line| !line.is_empty()).collect();
    let Ok(python) = edgeward_testkit_python::environment(framework, &requirements) else { return };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(python.bin()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(paths).unwrap();
    let edgeward = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeward"));
        for name in
            ["EDGEWARD_SERVER", "EDGEWARD_TOKEN", "EDGEWARD_DATA", "EDGEWARD_LOG", "EDGEWARD_ONNXRUNTIME"]
        {
            command.env_remove(name);
        }
        command.env("PATH", &path).args(arguments).output().unwrap()
    };
    let ran = edgeward(&["run", "--project", project.to_str().unwrap()]);
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    assert!(ran.status.success(), "{said}");
    let bundles = fs::read_dir(project.join(".edgeward/bundles")).unwrap();
    let bundles: Vec<PathBuf> = bundles.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(bundles.len(), 1, "{said}");
    let inspected = edgeward(&["inspect", bundles[0].to_str().unwrap(), "--json"]);
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    let classes: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    assert_eq!(inspected["signature"]["task"]["classes"], serde_json::json!(classes), "{inspected}");
}

#[test]
fn scikit_learn() {
    goes_through_the_whole_pipeline("sklearn");
}

#[test]
#[ignore = "PyTorch takes 5.6 GB installed: .ci/run full"]
fn pytorch() {
    goes_through_the_whole_pipeline("pytorch");
}

#[test]
#[ignore = "TensorFlow takes 1.7 GB installed: .ci/run full"]
fn tensorflow() {
    goes_through_the_whole_pipeline("tensorflow");
}
