//! A small project, pumps that wear: what several tests of the whole binary train, and how they wait for what it leads to.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::edgeward;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const PROJECT: &str = r#"
[project]
name = "pumps"
[data]
files = ["data/*.csv"]
label = "state"
[train]
builtin = "logistic"
[rollout]
waves = ["100%"]
bake = "1s"
probation = "1s"
"#;

/// Writes the project with so many measured rows; other numbers of rows make other versions.
pub(crate) fn write(dir: &Path, rows: u64) {
    fs::create_dir_all(dir.join("data")).expect("a folder for data");
    fs::write(dir.join("edgeward.toml"), PROJECT).expect("the project is written");
    let mut text = "temperature,vibration,state\n".to_owned();
    for row in 0..rows {
        let (worn, spread) = (row % 2, row * 7919 % 1000);
        let (temperature, vibration) = (55 + 10 * worn + spread % 7, 40 + 50 * worn + spread % 13);
        let state = if worn == 1 { "worn" } else { "good" };
        writeln!(text, "{temperature}.{spread:03},{vibration}.{spread:03},{state}").expect("text grows");
    }
    fs::write(dir.join("data/1.csv"), text).expect("the data is written");
}

/// What an operator says at the control plane `url`, and the last line of the answer.
pub(crate) fn operate(dir: &Path, url: &str, words: &[&str]) -> Value {
    let output = edgeward(dir).env("EDGEWARD_SERVER", url).args(words).arg("--json").output();
    let output = output.expect("the binary starts");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let last = output.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    serde_json::from_slice(last.expect("an answer")).expect("JSON")
}

/// Trains on so many rows and registers the version.
pub(crate) fn train(dir: &Path, url: &str, rows: u64) {
    write(dir, rows);
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

/// Looks again and again until something is found.
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
