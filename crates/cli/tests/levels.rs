//! One scikit-learn project, `examples/frameworks/sklearn`, at level 0, then 1, then 2, with the real binary and the real
//! framework: first a hand runs and deploys it, then a device's new labels retrain it, then a commit replaces its model.

#![cfg(all(unix, feature = "control", feature = "agent"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
#[path = "harness/repository.rs"]
mod repository;
#[path = "harness/waiting.rs"]
mod waiting;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use harness::{Running, edgeward, serve};
use repository::{commit, git};
use serde_json::{Value, json};
use tempfile::TempDir;
use waiting::wait;

const DIGITS: &str = include_str!("../../../examples/robots/data/digits.csv");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/frameworks/sklearn");
/// Rows that the project begins with; the device reads the others.
const KNOWN: usize = 1200;
const READ: usize = 300;

const LEVEL_0: &str = r#"
[rollout]
waves = ["100%"]
bake = "0s"
probation = "1s"
"#;

const LEVEL_1: &str = r#"
[[trigger]]
on = "new_samples"
count = 300
[retrain]
cooldown = "0s"
"#;

const LEVEL_2: &str = r#"
[source]
git = "../repository"
poll = "100ms"
test = "'{python}' -m py_compile train.py"
smoke_rows = 300
"#;

/// A control plane, a device, a repository and its checkout.
struct Plant {
    dir: TempDir,
    url: String,
    /// A Python that has scikit-learn.
    python: PathBuf,
    _children: [Running; 2],
}

impl Plant {
    fn start(python: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("repository");
        fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "--quiet", "--initial-branch", "main"]);
        fs::write(repository.join(".gitignore"), "data/\n.edgeward/\n__pycache__/\n").unwrap();
        for file in ["train.py", "requirements.txt"] {
            fs::copy(Path::new(EXAMPLE).join(file), repository.join(file)).unwrap();
        }
        commit(&repository, "the example", &[]);
        git(dir.path(), &["clone", "--quiet", "repository", "home"]);
        let known: Vec<&str> = DIGITS.lines().take(1 + KNOWN).collect();
        fs::create_dir(dir.path().join("home/data")).unwrap();
        fs::write(dir.path().join("home/data/digits.csv"), known.join("\n")).unwrap();
        let (server, said) = serve(dir.path(), &[]);
        let url = said["address"].as_str().unwrap().to_owned();
        let agent = robot(dir.path(), &url);
        Self { dir, url, python, _children: [server, agent] }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn said(&self, words: &[&str]) -> Value {
        let mut command = edgeward(&self.home());
        command.env("EDGEWARD_SERVER", &self.url).args(words).arg("--json");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The example's own project file with the rows of this test, at a level.
    fn project(&self, level: u8, more: &str) -> String {
        let text = fs::read_to_string(Path::new(EXAMPLE).join("edgeward.toml")).unwrap();
        let here = text.replace("../../robots/data/*.csv\"]", "data/*.csv\"]\ncaptured = true");
        let at_level = here.replace("seed = 1\n", &format!("seed = 1\nlevel = {level}\n"));
        let runs = at_level.replace("\"python train.py", "\"'{python}' train.py");
        for replaced in ["captured = true", "level = ", "'{python}' train.py"] {
            assert!(runs.contains(replaced), "{runs}");
        }
        format!("{runs}{more}").replace("{python}", self.python.to_str().unwrap())
    }

    /// Commits the project at a level, has it in the checkout too, and runs it by hand.
    fn at_level(&self, level: u8, more: &str) -> Value {
        let repository = self.dir.path().join("repository");
        let message = format!("level {level}");
        commit(&repository, &message, &[("edgeward.toml", &self.project(level, more))]);
        git(&self.home(), &["pull", "--quiet"]);
        let key = self.dir.path().join("srv/keys/releases.json");
        let made = self.said(&["run", "--release-key", key.to_str().unwrap()]);
        assert_eq!(made["outcome"]["result"], "passed", "{made}");
        made
    }

    /// The newest version that the device serves, once it is this one.
    fn serves(&self, version: u64) {
        wait("the champion on the device", || {
            let models = self.said(&["model", "ls"]);
            let champion = models["models"][0]["aliases"]["champion"].as_u64()?;
            let versions = models["models"][0]["versions"].as_array().unwrap();
            let bundle = &versions.iter().find(|listed| listed["version"] == version)?["bundle"];
            let device = &self.said(&["device", "ls"])["devices"][0];
            let active = &device["report"]["models"]["digits-sklearn"]["active"];
            (champion == version && active == bundle).then_some(())
        });
    }

    /// The end of the first run that `is_it`.
    fn run_that(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait(what, || {
            let runs = self.said(&["runs", "ls"]);
            let found = runs["runs"].as_array().unwrap().iter().find(|run| is_it(run))?;
            (!found["outcome"].is_null()).then(|| found.clone())
        })
    }

    /// The run that put a new commit on trial.
    fn trial_of(&self, message: &str, files: &[(&str, &str)]) -> Value {
        let made = commit(&self.dir.path().join("repository"), message, files);
        self.run_that("the trial of a commit", |run| run["commit"] == made.as_str())
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let address = fs::read_to_string(self.dir.path().join("robot/endpoint")).unwrap();
        let answer = ureq::post(format!("{}{path}", address.trim())).config().proxy(None).build();
        answer.send_json(body).unwrap().body_mut().read_json().unwrap()
    }

    /// The device reads digits that nobody has seen, and is told what they were.
    fn read(&self) {
        let rows: Vec<&str> = DIGITS.lines().skip(1 + KNOWN).take(READ).collect();
        let parts: Vec<(&str, &str)> = rows.iter().map(|row| row.rsplit_once(',').unwrap()).collect();
        let pixels: Vec<f32> = parts
            .iter()
            .flat_map(|(pixels, _)| pixels.split(','))
            .map(|text| text.parse().unwrap())
            .collect();
        let name = self.input();
        let input = json!({ "name": name, "shape": [READ, 64], "datatype": "FP32", "data": pixels });
        let answer = self.post("/v2/models/digits-sklearn/infer", &json!({ "inputs": [input] }));
        let id = &answer["parameters"]["prediction_id"];
        let label =
            |(row, (_, label)): (usize, &(&str, &str))| json!({ "id": id, "row": row, "label": label });
        let labels: Vec<Value> = parts.iter().enumerate().map(label).collect();
        self.post("/v1/feedback", &json!({ "feedback": labels }));
    }

    /// What the exporter called the model's input.
    fn input(&self) -> Value {
        let address = fs::read_to_string(self.dir.path().join("robot/endpoint")).unwrap();
        let url = format!("{}/v2/models/digits-sklearn", address.trim());
        let mut answer = ureq::get(url).config().proxy(None).build().call().unwrap();
        let about: Value = answer.body_mut().read_json().unwrap();
        about["inputs"][0]["name"].clone()
    }
}

fn robot(dir: &Path, url: &str) -> Running {
    let token = edgeward(dir).args(["device", "token", "--server", url, "--json"]).output().unwrap();
    let token: Value = serde_json::from_slice(&token.stdout).unwrap();
    let mut agent = edgeward(dir);
    agent.args(["agent", "--server", url, "--data", "robot", "--name", "robot"]);
    agent.args(["--join-token", token["join_token"].as_str().unwrap(), "--listen", "127.0.0.1:0"]);
    agent.args(["--poll-ms", "100", "--upload-ms", "200", "--json"]);
    Running(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn scikit_learn_by_hand_by_labels_and_by_commit() {
    let requirements = fs::read_to_string(Path::new(EXAMPLE).join("requirements.txt")).unwrap();
    let requirements: Vec<&str> = requirements.lines().filter(|line| !line.is_empty()).collect();
    let Ok(python) = edgeward_testkit_python::environment("sklearn", &requirements) else { return };
    let plant = Plant::start(python.bin().join("python"));

    // Level 0: everything is asked for.
    let made = plant.at_level(0, LEVEL_0);
    assert_eq!(made["version"], 1, "{made}");
    assert!(plant.said(&["model", "ls"])["models"][0]["aliases"]["champion"].is_null(), "nobody deployed it");
    plant.said(&["deploy", "digits-sklearn"]);
    plant.serves(1);

    // Level 1: labels from the device start the run, and what it makes goes out.
    let by_labels = format!("{LEVEL_0}{LEVEL_1}");
    plant.at_level(1, &by_labels);
    plant.read();
    let retrained = plant.run_that("a run for the new labels", |run| {
        run["cause"].as_str().is_some_and(|cause| cause.contains("300"))
    });
    assert_eq!(retrained["outcome"]["result"], "passed", "{retrained}");
    plant.serves(2);

    // Level 2: a commit with a worse kind of model is refused, one with more trees takes over.
    let both = format!("{by_labels}{LEVEL_2}");
    plant.at_level(2, &both);
    let perceptron = plant.project(2, &both).replace("model = \"gbt\"", "model = \"mlp\"");
    let refused = plant.trial_of("a perceptron", &[("edgeward.toml", &perceptron)]);
    assert_eq!(refused["outcome"]["result"], "refused", "{refused}");
    assert!(refused["outcome"]["reason"].as_str().unwrap().contains("gate."), "{refused}");
    let script = fs::read_to_string(Path::new(EXAMPLE).join("train.py")).unwrap();
    let more_trees = script.replace("n_estimators=40", "n_estimators=60");
    let taken = plant
        .trial_of("more trees", &[("edgeward.toml", &plant.project(2, &both)), ("train.py", &more_trees)]);
    assert_eq!(taken["outcome"]["result"], "passed", "{taken}");
    assert_eq!(plant.said(&["source", "ls"])["sources"][0]["commit"], taken["commit"]);
    plant.serves(3);
}
