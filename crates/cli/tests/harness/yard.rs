//! A control plane without tokens, the pumps' project, and a device: what operators and apps ask them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::answer::answer;
use crate::harness::edgeward;
use crate::pumps::{measured, project};

const ROLLOUT: &str = "[rollout]\nwaves = [\"100%\"]\nbake = \"1s\"\nprobation = \"1s\"\n";

/// What an operator says at the control plane `url`, and the answer.
pub(crate) fn operate(dir: &Path, url: &str, words: &[&str]) -> Value {
    let output = edgeward(dir).env("EDGEWARD_SERVER", url).args(words).arg("--json").output();
    answer(words, &output.expect("the binary starts"))
}

/// Trains on so many rows, with more tables in the project's file, and registers the version.
pub(crate) fn train(dir: &Path, url: &str, rows: u64, more: &str) {
    fs::create_dir_all(dir.join("data")).expect("a folder for data");
    fs::write(dir.join("edgeward.toml"), project(&format!("{ROLLOUT}{more}")))
        .expect("the project is written");
    fs::write(dir.join("data/1.csv"), measured(rows, 0)).expect("the data is written");
    operate(dir, url, &["run", "--release-key", "srv/keys/releases.json"]);
}

/// The bundle of a version.
pub(crate) fn bundle(dir: &Path, url: &str, version: usize) -> String {
    let models = operate(dir, url, &["model", "ls"]);
    let versions = models["models"][0]["versions"].as_array().expect("versions");
    let found = versions.iter().find(|listed| listed["version"] == version).expect("the version");
    found["bundle"].as_str().expect("a bundle").to_owned()
}

/// A token for one device.
pub(crate) fn join_token(dir: &Path, url: &str) -> String {
    operate(dir, url, &["device", "token"])["join_token"].as_str().expect("a token").to_owned()
}

/// What is answered at an address on this machine; none if nothing is.
pub(crate) fn get(url: &str) -> Option<Value> {
    let answer = ureq::get(url).config().proxy(None).build().call();
    answer.ok()?.body_mut().read_json().ok()
}

/// What the bundle of the pumps' model is that the agent in `data` has activated.
pub(crate) fn active(data: &Path) -> Option<String> {
    let url = fs::read_to_string(data.join("endpoint")).ok()?;
    let status = get(&format!("{}/v1/status", url.trim()))?;
    status["models"]["pumps"]["active"].as_str().map(str::to_owned)
}
