//! The command line as people and scripts meet it: exit codes, errors, hints.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeward"));
    for name in ["EDGEWARD_SERVER", "EDGEWARD_TOKEN", "EDGEWARD_DATA", "EDGEWARD_DATABASE", "EDGEWARD_LOG"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs `args`; the exit code must be `code`, and stderr must hold every one of `words`.
fn check(args: &[&str], code: i32, words: &[&str]) {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?}: '{word}' is missing in: {said}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_names_the_flag() {
    check(&["server", "--listne", "x"], 2, &["--listne", "--listen"]);
    check(&["server", "--listen", "nowhere"], 2, &["nowhere", "--listen"]);
    check(&["demo", "--devices", "0"], 2, &["0", "--devices"]);
    check(&["demo", "--rate", "fast"], 2, &["fast", "--rate"]);
    check(&["demo", "ponies"], 2, &["ponies", "robots"]);
    check(&["device", "token", "--ttl", "soon"], 2, &["soon", "90s"]);
    check(&["agent", "--name", "No Name"], 2, &["No Name"]);
    check(
        &["run", "--server", "http://127.0.0.1:1", "--project", "../../examples/robots"],
        2,
        &["--release-key", "hint:"],
    );
    check(&["device", "ls", "--log", "[["], 2, &["--log"]);
    check(&["agent", "--server", "plant:7700"], 2, &["plant:7700", "http://"]);
    check(&[], 2, &["Usage"]);
}

#[test]
fn failures_are_json_when_asked() {
    for args in
        [&["server", "--wrong", "--json"][..], &["device", "ls", "--server", "http://127.0.0.1:1", "--json"]]
    {
        let output = run(args);
        let failure: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(failure["kind"].is_string() && failure["error"].is_string(), "{failure}");
        assert!(!failure["hints"].as_array().unwrap().is_empty(), "{failure}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    for (args, word) in
        [(&["--help"][..], "demo"), (&["--version"], "edgeward"), (&["demo", "--help"], "--devices")]
    {
        let output = run(args);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(word));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn a_taken_port_is_named_with_a_way_out() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    check(&["server", "--data", data, "--listen", &address], 1, &["error:", &address, "hint:", "--listen"]);
}

#[test]
fn an_absent_control_plane_is_named_with_a_way_out() {
    check(
        &["model", "ls", "--server", "http://127.0.0.1:1"],
        1,
        &["http://127.0.0.1:1", "hint:", "edgeward server"],
    );
    check(&["status", "--endpoint", "http://127.0.0.1:1"], 1, &["http://127.0.0.1:1", "hint:"]);
}

#[test]
fn files_that_are_not_there_are_named() {
    check(&["inspect", "/nowhere.onnx"], 1, &["/nowhere.onnx"]);
    check(&["convert", "/nowhere.onnx", "--out", "/nowhere"], 1, &["/nowhere.onnx"]);
    check(&["run", "--project", "/nowhere"], 1, &["/nowhere", "edgeward.toml"]);
    check(&["audit", "verify", "--data", "/nowhere"], 1, &["/nowhere", "--data"]);
    check(&["serve", "/nowhere.onnx", "--listen", "127.0.0.1:0"], 1, &["/nowhere.onnx"]);
}

#[test]
fn a_demo_folder_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine"), "").unwrap();
    check(&["demo", "--once", "--data", dir.path().to_str().unwrap()], 2, &["not empty", "hint:"]);
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("rollout"), "{shell}");
    }
}

#[test]
fn a_model_is_trained_inspected_and_converted_without_a_control_plane() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("project");
    std::fs::create_dir_all(project.join("data")).unwrap();
    for file in ["edgeward.toml", "data/digits.csv"] {
        let source =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/robots").join(file);
        std::fs::copy(source, project.join(file)).unwrap();
    }
    let output = run(&["run", "--json", "--project", project.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let again = run(&["run", "--json", "--project", project.to_str().unwrap()]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(summary["bundle"], again["bundle"]);
    assert!(again["stages"].as_array().unwrap().iter().all(|stage| stage["cached"] == true), "{again}");

    let bundle = summary["bundle_path"].as_str().unwrap();
    let inspected = run(&["inspect", "--json", bundle]);
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["bundle"]["digest"], summary["bundle"]);
    assert!(inspected["parameters"].as_u64().unwrap() > 64, "{inspected}");
    assert_eq!(inspected["engines"][0]["refusal"], Value::Null, "{inspected}");

    let out = dir.path().join("out");
    let model = format!("{bundle}/model.onnx");
    let converted = run(&["convert", &model, "--out", out.to_str().unwrap(), "--quantize", "w8", "--json"]);
    let report: Value = serde_json::from_slice(&converted.stdout).unwrap();
    assert_eq!(report["files"].as_array().unwrap().len(), report["built"].as_array().unwrap().len());
    assert!(out.join("variants/rten-w8/model.onnx").is_file(), "{report}");
    let timed = run(&["bench", out.to_str().unwrap(), "--onnxruntime", "off", "--seconds", "1", "--json"]);
    let rows: Value = serde_json::from_slice(&timed.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.iter().map(|row| &row["variant"]).collect::<Vec<_>>(), ["rten-f32", "rten-w8"]);
    for key in ["engine", "provider", "load_ms", "p50_us", "p99_us", "rss_mib", "parity"] {
        assert!(rows.iter().all(|row| !row[key].is_null()), "{key}: {rows:?}");
    }
    assert_eq!(rows.iter().filter(|row| row["chosen"] == true).count(), 1);
}

#[test]
fn a_model_file_is_served_on_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/robots");
    let work = dir.path().to_str().unwrap();
    let output = run(&["run", "--json", "--project", project.to_str().unwrap(), "--work", work]);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let model = format!("{}/model.onnx", summary["bundle_path"].as_str().unwrap());
    served(&model, |address| {
        let ready = ureq::get(format!("{address}/v2/models/digits/ready")).call();
        assert_eq!(ready.unwrap().status(), 200);
        let status = run(&["status", "--endpoint", address, "--json"]);
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    });
}

#[test]
fn a_model_file_as_scikit_learn_writes_it_is_translated_and_served() {
    // A network whose labels are texts: ZipMap, ArrayFeatureExtractor and strings, none of which the embedded engine has.
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/fixtures/sk_mlp_names_zipmap");
    let golden = std::fs::read(format!("{fixtures}.golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    served(&format!("{fixtures}.onnx"), |address| {
        let body = serde_json::json!({ "inputs": golden["cases"][0]["inputs"] }).to_string();
        let answer = ureq::post(format!("{address}/v2/models/digits/infer")).send(&body);
        let answer: Value =
            serde_json::from_str(&answer.unwrap().body_mut().read_to_string().unwrap()).unwrap();
        assert!(answer["outputs"].as_array().is_some_and(|outputs| !outputs.is_empty()), "{answer}");
    });
}

#[test]
fn a_model_file_that_cannot_be_served_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("noise.onnx");
    std::fs::write(&file, b"noise").unwrap();
    let file = file.to_str().unwrap();
    check(&["serve", file, "--listen", "127.0.0.1:0"], 1, &[file, "hint:", "edgeward convert"]);
    check(&["serve", file, "--batch-rows", "0"], 2, &["--batch-rows", "1 to 10000"]);
}

/// Serves a model file as `digits` while `asks` asks at the address.
fn served(model: &str, asks: impl FnOnce(&str)) {
    use std::io::{BufRead as _, BufReader};
    let mut server = Command::new(env!("CARGO_BIN_EXE_edgeward"))
        .args(["serve", model, "--name", "digits", "--listen", "127.0.0.1:0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let listening: Value = serde_json::from_str(&line).expect("it listens");
        asks(listening["address"].as_str().unwrap());
    }));
    server.kill().unwrap();
    server.wait().unwrap();
    asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_ends_no_request() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_edgeward"))
        .args(["server", "--json", "--log", "debug", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(full)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap();
    let answer = ureq::get(format!("{}/health", listening["address"].as_str().unwrap())).call();
    let status = answer.map(|answer| answer.status().as_u16());
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(status.unwrap(), 200);
}
