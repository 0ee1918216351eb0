//! Triton's own Python client, unchanged, against a served model: binary tensors both ways, JSON, metadata, configuration,
//! statistics, the repository's index, and errors.

#![cfg(all(feature = "control", feature = "agent"))]

mod harness;
#[path = "harness/pumps.rs"]
mod pumps;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use harness::{Running, edgeward, serve};
use pumps::{measured, project};
use serde_json::Value;

const REQUIREMENTS: [&str; 2] = ["tritonclient[http]==2.73.0", "numpy==2.4.6"];

#[test]
fn tritonclient_speaks_http_with_a_served_model() {
    let Ok(python) = edgeward_testkit_python::environment("triton", &REQUIREMENTS) else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/1.csv"), measured(400, 0)).unwrap();
    fs::write(dir.path().join("edgeward.toml"), project("")).unwrap();
    let (_server, said) = serve(dir.path(), &[]);
    let made = edgeward(dir.path())
        .args(["run", "--server", said["address"].as_str().unwrap(), "--json"])
        .args(["--release-key", "srv/keys/releases.json"])
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let bundle = made["bundle_path"].as_str().unwrap();
    let mut served = edgeward(dir.path());
    served.args(["serve", bundle, "--name", "pumps", "--listen", "127.0.0.1:0", "--json"]);
    let mut served = Running(served.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(served.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap();
    let address = listening["address"].as_str().unwrap().trim_start_matches("http://");
    let said = python.run(include_str!("triton.py"), &[address]);
    assert!(said.trim_end().ends_with("all of it"), "{said}");
}
