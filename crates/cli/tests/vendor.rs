//! An external converter that can be had, end to end: ONNX Runtime's offline optimiser, called by `edgeward run`; the
//! bundle's `.ort` form then runs on ONNX Runtime and passes its golden test.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Output};

use edgeward_testkit_python::{ONNXRUNTIME, environment, onnxruntime_library};
use serde_json::Value;

const PROJECT: &str = r#"
[project]
name = "digits"
[data]
files = ["digits.csv"]
[train]
builtin = "logistic"
params = { iterations = 60 }
[[convert.variant]]
[[convert.variant]]
tool = "ort-offline"
"#;

fn edgeward(folder: &Path, arguments: &[&str], python: &Path, library: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgeward"))
        .args(arguments)
        .arg("--json")
        .env("EDGEWARD_PYTHON", python)
        .env("EDGEWARD_ONNXRUNTIME", library)
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}

fn last_json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn the_offline_optimisers_file_passes_its_golden_test() {
    let Ok(environment) = environment("onnxruntime", &[ONNXRUNTIME]) else { return };
    let Ok(library) = onnxruntime_library() else { return };
    let (python, library) = (environment.python(), library.as_path());
    let folder = tempfile::tempdir().expect("a folder");
    let project = folder.path();
    std::fs::write(project.join("edgeward.toml"), PROJECT).expect("written");
    let digits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/robots/data/digits.csv");
    let rows: String = std::fs::read_to_string(digits)
        .expect("the example")
        .lines()
        .take(400)
        .fold(String::new(), |text, line| text + line + "\n");
    std::fs::write(project.join("digits.csv"), rows).expect("written");

    let summary = last_json(&edgeward(project, &["run"], &python, library));
    let bundle = project.join(summary["bundle_path"].as_str().expect("a bundle"));
    let bundle = bundle.display().to_string();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(Path::new(&bundle).join("manifest.json")).expect("a manifest"))
            .expect("JSON");
    let form = &manifest["variants"][1];
    assert_eq!(form["format"], "ort", "{manifest}");
    assert_eq!(form["path"], "variants/onnxruntime-ort-offline/model.ort");
    assert_eq!(form["tool"]["name"], "ort-offline");
    assert_eq!(form["tool"]["verified"], true, "{manifest}");
    assert!(
        form["tool"]["version"].as_str().is_some_and(|said| said.starts_with("onnxruntime 1.")),
        "{form}"
    );
    let bytes =
        std::fs::read(Path::new(&bundle).join("variants/onnxruntime-ort-offline/model.ort")).expect("it");
    assert_eq!(&bytes[4..8], b"ORTM");

    let table = last_json(&edgeward(project, &["bench", &bundle], &python, library));
    let rows = table.as_array().cloned().or_else(|| table["rows"].as_array().cloned()).expect("rows");
    let row = rows.iter().find(|row| row["variant"] == "onnxruntime-ort-offline").expect("a row of the form");
    assert!(!row["parity"].is_null() && !row["p50_us"].is_null(), "{row}");
}

/// Only where somebody installed Qualcomm's library and accepted its licence: nothing here may install it.
#[test]
fn qualcomms_compiler_makes_a_context_binary() {
    let Some(library) = std::env::var_os("EDGEWARD_TEST_QNN_LIBRARY") else {
        eprintln!("skipped: EDGEWARD_TEST_QNN_LIBRARY names no installed library of Qualcomm's provider");
        return;
    };
    let Ok(environment) = environment("onnxruntime", &[ONNXRUNTIME]) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (folder.path().join("model.onnx"), folder.path().join("context.onnx"));
    let mut fixed = edgeward_model::engine::conformance::fixture::classifier();
    let graph = fixed.graph.as_mut().expect("a graph");
    let shape = [1, edgeward_model::engine::conformance::fixture::FEATURES].map(edgeward_model::Dim::Fixed);
    graph.input[0] =
        edgeward_model::onnx::ValueInfoProto::tensor("x", edgeward_model::DataType::Fp32, &shape);
    std::fs::write(&model, edgeward_model::onnx::encode(&fixed)).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline/src/tool/qnn_context.py");
    let mut command = environment.command();
    let made =
        command.arg(script).arg(&model).arg(&out).arg("SM8550").env("EDGEWARD_QNN_LIBRARY", library).output();
    let made = made.expect("the interpreter runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let context = edgeward_model::onnx::decode(&std::fs::read(&out).expect("it")).expect("an ONNX file");
    let nodes = &context.graph.expect("a graph").node;
    assert!(nodes.iter().any(|node| node.op_type == "EPContext"), "compiled, not verified on hardware");
}
