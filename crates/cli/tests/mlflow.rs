//! MLflow's own Python client, unchanged, against a control plane: everything it can ask of a tracking server and a model
//! registry, models that are logged, registered, found by alias and loaded again, and a server that asks for a token.

#![cfg(all(feature = "control", feature = "agent"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
#[path = "harness/pumps.rs"]
mod pumps;
#[path = "harness/waiting.rs"]
mod waiting;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use edgeward_testkit_python::Environment;
use harness::{Running, edgeward, serve};
use serde_json::{Value, json};
use waiting::wait;

const REQUIREMENTS: [&str; 7] = [
    "mlflow-skinny==3.17.2",
    "pandas==3.1.1",
    "scikit-learn==1.9.1",
    "onnx==1.23.2",
    "skl2onnx==1.20.0",
    "onnxruntime==1.32.0",
    "skops==0.16.0",
];

fn client() -> Option<Environment> {
    edgeward_testkit_python::environment("mlflow", &REQUIREMENTS).ok()
}

/// A script of the client's, in a folder of its own, with nothing set but what a user sets.
fn script(python: &Environment, dir: &Path, program: &str, settings: &[(&str, &str)]) -> Command {
    let folder = dir.join("client");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("script.py");
    fs::write(&path, program).unwrap();
    let mut command = python.command();
    for name in ["MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME"] {
        command.env_remove(name);
    }
    command.arg(path).current_dir(folder).env("NO_PROXY", "*").env("GIT_PYTHON_REFRESH", "quiet");
    command.envs(settings.iter().copied());
    command
}

fn passes(mut command: Command) -> String {
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.trim_end().ends_with("all of it"), "{said}");
    said
}

fn address(said: &Value) -> String {
    said["address"].as_str().unwrap().to_owned()
}

#[test]
fn its_client_finds_everything_it_asks_for() {
    let Some(python) = client() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (_server, said) = serve(dir.path(), &[]);
    let program = include_str!("mlflow_client.py");
    passes(script(&python, dir.path(), program, &[("MLFLOW_TRACKING_URI", &address(&said))]));
}

#[test]
fn models_are_logged_registered_and_loaded_again() {
    let Some(python) = client() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (_server, said) = serve(dir.path(), &[]);
    let program = include_str!("mlflow_models.py");
    passes(script(&python, dir.path(), program, &[("MLFLOW_TRACKING_URI", &address(&said))]));
}

#[test]
fn a_token_lets_it_in_as_bearer_or_password() {
    let Some(python) = client() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (_server, said) = serve(dir.path(), &["--require-auth"]);
    let (address, token) =
        (address(&said), fs::read_to_string(dir.path().join("srv/operator.token")).unwrap());
    let program = include_str!("mlflow_token.py");
    let viewer = edgeward(dir.path())
        .args(["token", "create", "--name", "reader", "--role", "viewer", "--json"])
        .args(["--server", &address, "--token-file", "srv/operator.token"])
        .output()
        .unwrap();
    let viewer: Value = serde_json::from_slice(&viewer.stdout).unwrap();
    let viewer = viewer["secret"].as_str().unwrap();
    let settings = [("MLFLOW_TRACKING_URI", address.as_str()), ("TOKEN", token.trim()), ("VIEWER", viewer)];
    passes(script(&python, dir.path(), program, &settings));
}

fn said(dir: &Path, url: &str, words: &[&str]) -> Value {
    let output = edgeward(dir).env("EDGEWARD_SERVER", url).args(words).arg("--json").output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn robot(dir: &Path, url: &str) -> Running {
    let token = said(dir, url, &["device", "token"]);
    let mut agent = edgeward(dir);
    agent.args(["agent", "--server", url, "--data", "robot", "--name", "robot", "--listen", "127.0.0.1:0"]);
    agent.args(["--join-token", token["join_token"].as_str().unwrap(), "--poll-ms", "100", "--json"]);
    Running(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// What the device answers to rows of two measurements.
fn answered(dir: &Path, rows: &Value) -> Option<Value> {
    let address = fs::read_to_string(dir.join("robot/endpoint")).ok()?;
    let url = format!("{}/v2/models/pumps", address.trim());
    let mut about = ureq::get(&url).config().proxy(None).build().call().ok()?;
    let about: Value = about.body_mut().read_json().ok()?;
    let (name, count) = (&about["inputs"][0]["name"], rows.as_array()?.len() / 2);
    let input = json!({ "name": name, "shape": [count, 2], "datatype": "FP32", "data": rows });
    let asked = ureq::post(format!("{url}/infer")).config().proxy(None).build();
    asked.send_json(json!({ "inputs": [input] })).ok()?.body_mut().read_json().ok()
}

#[test]
fn a_champion_is_judged_rolled_out_and_served() {
    let Some(python) = client() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (_server, listening) = serve(dir.path(), &[]);
    let url = address(&listening);
    fs::create_dir(dir.path().join("data")).unwrap();
    let rows = pumps::measured(400, 0);
    fs::write(dir.path().join("data/1.csv"), &rows).unwrap();
    let project = pumps::project("").replace("builtin = \"logistic\"", "mlflow = \"pump states\"");
    fs::write(dir.path().join("edgeward.toml"), project.replace("[data]", "level = 1\n[data]")).unwrap();
    let key = dir.path().join("srv/keys/releases.json");
    let registered = said(dir.path(), &url, &["run", "--release-key", key.to_str().unwrap()]);
    assert_eq!(registered["mlflow"], "pump states", "{registered}");
    let _robot = robot(dir.path(), &url);

    let settings = [("MLFLOW_TRACKING_URI", url.as_str()), ("ROWS", "../data/1.csv")];
    let made = passes(script(&python, dir.path(), include_str!("mlflow_champion.py"), &settings));
    let made: Value = serde_json::from_str(made.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();

    let run = wait("the run for the champion", || {
        let runs = said(dir.path(), &url, &["runs", "ls"]);
        let run = runs["runs"].as_array()?.first()?.clone();
        (!run["outcome"].is_null()).then_some(run)
    });
    assert_eq!(run["outcome"]["result"], "passed", "{run}");
    assert_eq!(run["cause"], "MLflow: version 1 of pump states is champion");
    let answer = wait("the champion on the device", || answered(dir.path(), &made["rows"]));
    assert!(answer["outputs"].as_array().is_some_and(|outputs| !outputs.is_empty()), "{answer}");
    let labels = answer["outputs"].as_array().unwrap().iter().find(|output| output["datatype"] == "BYTES");
    assert_eq!(labels.map(|labels| &labels["data"]), Some(&made["labels"]), "{answer}");
    let told = passes(script(&python, dir.path(), include_str!("mlflow_outcome.py"), &settings));
    assert!(told.contains("passed: pumps version 1"), "{told}");
}
