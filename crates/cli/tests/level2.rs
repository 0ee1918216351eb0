//! The real binary at level 2: a control plane follows a git repository. A good commit takes over; one that breaks its
//! tests, one that lowers accuracy, and two that leak the rows they are judged by are refused, each with its reason.

#![cfg(all(feature = "control", unix))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
#[path = "harness/repository.rs"]
mod repository;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Running, edgeward, serve};
use repository::git;
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(240);

/// A repository, the checkout somebody registered, and a control plane.
struct Plant {
    dir: TempDir,
    url: String,
    _server: Running,
}

fn project(train: &str) -> String {
    format!(
        r#"
[project]
name = "pumps"
level = 2
[source]
git = "../repository"
poll = "100ms"
test = "sh test.sh"
smoke_rows = 60
[data]
files = ["data/*.csv"]
label = "state"
[train]
{train}
[gate]
accuracy_min = 0.6
regression_max = 0.02
[rollout]
waves = ["100%"]
bake = "0s"
"#
    )
}

/// Two kinds of pumps that a curved border tells apart, with some noise: trees see it, a straight line does not.
fn rows() -> String {
    let mut text = "temperature,vibration,state\n".to_owned();
    let mut state = 7_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24)
    };
    for _ in 0..600 {
        let (a, b, noise) = (uniform() * 4.0 - 2.0, uniform() * 4.0 - 2.0, uniform());
        let worn = (a + b * b > 1.2) != (noise < 0.02);
        writeln!(text, "{a:.6},{b:.6},{}", if worn { "worn" } else { "good" }).unwrap();
    }
    text
}

impl Plant {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("repository");
        fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "--quiet", "--initial-branch", "main"]);
        fs::write(repository.join(".gitignore"), "data/\n.edgeward/\n").unwrap();
        let (server, said) = serve(dir.path(), &[]);
        let url = said["address"].as_str().unwrap().to_owned();
        Self { dir, url, _server: server }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn run(&self, words: &[&str]) -> Value {
        let mut command = edgeward(&self.home());
        command.env("EDGEWARD_SERVER", &self.url).args(words).arg("--json");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Commits these files on top of what is there.
    fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        let repository = self.dir.path().join("repository");
        repository::commit(&repository, message, files)
    }

    /// The run that put `commit` on trial, once it has ended.
    fn trial(&self, commit: &str) -> Value {
        let began = Instant::now();
        self.run(&["source", "check", "pumps"]);
        loop {
            let runs = self.run(&["runs", "ls"]);
            let found = runs["runs"].as_array().unwrap().iter().find(|run| run["commit"] == commit);
            if let Some(run) = found.filter(|run| !run["outcome"].is_null()) {
                return run.clone();
            }
            assert!(
                began.elapsed() < PATIENCE,
                "waited in vain for {commit}: {}",
                self.run(&["source", "ls"])
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn in_use(&self) -> Value {
        self.run(&["source", "ls"])["sources"][0]["commit"].clone()
    }

    fn refusal(&self, commit: &str) -> String {
        let run = self.trial(commit);
        assert_eq!(run["outcome"]["result"], "refused", "{run}");
        run["outcome"]["reason"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_good_commit_takes_over_and_bad_ones_are_refused() {
    if Command::new("git").arg("--version").output().is_err() {
        edgeward_testkit_python::skip("git is not installed");
        return;
    }
    let plant = Plant::start();
    let passing = ("test.sh", "grep -q pumps edgeward.toml\n");
    let first = plant.commit("first", &[("edgeward.toml", &project("builtin = \"logistic\"")), passing]);
    git(plant.dir.path(), &["clone", "--quiet", "repository", "home"]);
    fs::create_dir(plant.home().join("data")).unwrap();
    fs::write(plant.home().join("data/all.csv"), rows()).unwrap();
    let key = plant.dir.path().join("srv/keys/releases.json");
    let made = plant.run(&["run", "--release-key", key.to_str().unwrap()]);
    assert_eq!(made["outcome"]["result"], "passed", "{made}");
    assert_eq!(plant.in_use(), first.as_str());

    let good = plant.commit("a better trainer", &[("edgeward.toml", &project("builtin = \"gbdt\""))]);
    let run = plant.trial(&good);
    assert_eq!(run["outcome"]["result"], "passed", "{run}");
    assert_eq!(plant.in_use(), good.as_str());
    assert_eq!(plant.run(&["model", "ls"])["models"][0]["versions"].as_array().unwrap().len(), 2);

    let broken = plant.commit("breaks the tests", &[("test.sh", "echo pressure is off; exit 1\n")]);
    assert!(plant.refusal(&broken).contains("pressure is off"), "{}", plant.refusal(&broken));

    let worse = project("builtin = \"logistic\"");
    let worse = plant.commit("lowers accuracy", &[("edgeward.toml", &worse), passing]);
    let reason = plant.refusal(&worse);
    assert!(reason.contains("gate.regression") || reason.contains("gate.accuracy"), "{reason}");

    // The model that a script hands out is one that was made before: what it was made of is not what is tried here.
    let bundle = plant.home().join(made["bundle_path"].as_str().unwrap());
    let repository = plant.dir.path().join("repository");
    fs::copy(bundle.join("model.onnx"), repository.join("made.onnx")).unwrap();
    let script = |more: &str| format!("{more}\ncp made.onnx \"$EDGEWARD_MODEL_OUT\"\n");
    let by_script = project("run = \"sh train.sh\"");
    let peeking = script("cat \"$HOME_OF_DATA\"/*.csv > /dev/null");
    let peeking = peeking.replace("$HOME_OF_DATA", plant.home().join("data").to_str().unwrap());
    let leaks = plant.commit("reads all rows", &[("edgeward.toml", &by_script), ("train.sh", &peeking)]);
    let reason = plant.refusal(&leaks);
    assert!(reason.contains("leak.opened") && reason.contains("all.csv"), "{reason}");

    let copies = [("train.sh", &*script("")), ("extra.csv", &*rows())];
    let copies = plant.commit("brings the rows along", &copies);
    let reason = plant.refusal(&copies);
    assert!(reason.contains("leak.copies") && reason.contains("extra.csv"), "{reason}");

    assert_eq!(plant.in_use(), good.as_str(), "what was refused changed nothing");
}
