//! The real binary at level 1: robots that learned the digits 0 to 7 meet 8 and 9. New labels start a run, its three shadows
//! learn from different windows, run beside the champion on two devices, and the sequential test declares one the winner. It
//! is promoted without a byte of download and without a failed request.

#![cfg(all(feature = "control", feature = "agent"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use harness::{Running, edgeward, serve};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(240);
const DIGITS: &str = include_str!("../../../examples/robots/data/digits.csv");
/// Rows that the first model learns from, those that teach the shadows, and those that they are compared on.
const PARTS: [std::ops::Range<usize>; 3] = [0..700, 700..1300, 1300..1797];

const PROJECT: &str = r#"
[project]
name = "robots"
model = "digits"
level = 1
[data]
files = ["data/*.csv"]
captured = true
[train]
builtin = "logistic"
params = { iterations = 60 }
[gate]
accuracy_min = 0.5
[[trigger]]
on = "new_samples"
count = 600
[retrain]
cooldown = "0s"
runs_per_week_max = 2
[rollout]
waves = ["100%"]
bake = "0s"
probation = "1s"
[[shadow]]
name = "latest"
window = 60
[[shadow]]
name = "recent"
window = 700
[[shadow]]
name = "before"
captured = false
params = { iterations = 5 }
[shadows]
margin = 0.05
"#;

/// A control plane with two robots.
struct Plant {
    dir: TempDir,
    url: String,
    robots: Vec<Robot>,
    _server: Running,
}

struct Robot {
    data: PathBuf,
    _agent: Running,
}

impl Plant {
    fn new(project: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (server, said) = serve(dir.path(), &[]);
        let url = said["address"].as_str().unwrap().to_owned();
        let plant = Self { dir, url, robots: Vec::new(), _server: server };
        plant.write("edgeward.toml", project);
        plant.write("data/digits.csv", &known(PARTS[0].clone()));
        plant
    }

    fn with_robots(project: &str) -> Self {
        let mut plant = Self::new(project);
        let token = plant.run(&["device", "token", "--uses", "2"])["join_token"].as_str().unwrap().to_owned();
        for name in ["robot-1", "robot-2"] {
            let robot = plant.robot(name, &token);
            plant.robots.push(robot);
        }
        plant
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn pipeline(&self) -> Value {
        let key = self.dir.path().join("srv/keys/releases.json");
        self.run(&["run", "--release-key", key.to_str().unwrap()])
    }

    fn robot(&self, name: &str, token: &str) -> Robot {
        let mut agent = edgeward(self.dir.path());
        agent.args(["agent", "--server", &self.url, "--data", name, "--name", name, "--join-token", token]);
        agent.args(["--listen", "127.0.0.1:0", "--poll-ms", "100", "--upload-ms", "200", "--json"]);
        let agent = agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Robot { data: self.dir.path().join(name), _agent: Running(agent) }
    }

    fn said(&self, words: &[&str]) -> String {
        let mut command = edgeward(self.dir.path());
        let output = command.env("EDGEWARD_SERVER", &self.url).args(words).arg("--json").output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn run(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.said(words)).unwrap()
    }

    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let so_far = [self.run(&["runs", "ls"]), self.run(&["shadow", "ls"])];
            assert!(began.elapsed() < PATIENCE, "waited in vain for {what}: {so_far:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The newest comparison.
    fn test(&self) -> Option<Value> {
        self.run(&["shadow", "ls"])["tests"].as_array().unwrap().first().cloned()
    }

    /// Both robots read these rows, with so much ink, and learn the truth.
    fn read(&self, rows: &[&str], ink: f32) {
        for (at, rows) in rows.chunks(20).enumerate() {
            self.robots[at % self.robots.len()].read(rows, ink);
        }
    }

    /// What the robots say of themselves: the bundle that serves, bytes received, requests failed.
    fn robots(&self) -> Vec<(String, u64, u64)> {
        let devices = self.run(&["device", "ls"]);
        let of = |device: &Value| {
            let model = &device["report"]["models"]["digits"];
            let count = |name: &str| model[name].as_u64().unwrap_or_default();
            let active = model["active"].as_str().unwrap_or_default().to_owned();
            (active, count("received_bytes"), count("requests_failed"))
        };
        devices["devices"].as_array().unwrap().iter().map(of).collect()
    }

    fn serves(&self, bundle: &str) -> Option<()> {
        let robots = self.robots();
        (robots.len() == 2 && robots.iter().all(|(active, ..)| active == bundle)).then_some(())
    }
}

impl Robot {
    fn post(&self, path: &str, body: &Value) -> Value {
        let address = fs::read_to_string(self.data.join("endpoint")).unwrap();
        let mut answer = ureq::post(format!("{address}{path}")).send_json(body).unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }

    fn read(&self, rows: &[&str], ink: f32) {
        let mut labels = Vec::new();
        for row in rows {
            let (pixels, label) = row.rsplit_once(',').unwrap();
            let pixels: Vec<f32> =
                pixels.split(',').map(|pixel| pixel.parse::<f32>().unwrap() * ink).collect();
            let input = json!({ "name": "input", "shape": [1, 64], "datatype": "FP32", "data": pixels });
            let answer = self.post("/v2/models/digits/infer", &json!({ "inputs": [input] }));
            labels.push(json!({ "id": answer["parameters"]["prediction_id"], "label": label }));
        }
        self.post("/v1/feedback", &json!({ "feedback": labels }));
    }
}

fn rows(part: std::ops::Range<usize>) -> Vec<&'static str> {
    DIGITS.lines().skip(1 + part.start).take(part.len()).collect()
}

/// The digits 0 to 7 of a part, with their header.
fn known(part: std::ops::Range<usize>) -> String {
    let header = DIGITS.lines().next().unwrap();
    let kept: Vec<&str> = rows(part).into_iter().filter(|row| !row.ends_with(['8', '9'])).collect();
    format!("{header}\n{}\n", kept.join("\n"))
}

#[test]
fn the_winner_among_three_windows_is_promoted_without_download() {
    let plant = Plant::with_robots(PROJECT);
    let first = plant.pipeline();
    assert_eq!(first["outcome"]["result"], "passed", "{first}");
    assert!(first["shadows"].is_null(), "nothing serves yet that they could run beside");
    let champion = first["bundle"].as_str().unwrap();
    plant.until("the first model", || plant.serves(champion));

    plant.read(&rows(PARTS[1].clone()), 1.0);
    let is_staged = |test: Value| {
        let shadows = test["shadows"].as_array().unwrap().clone();
        shadows.iter().all(|shadow| shadow["staged"] == 2).then_some(test)
    };
    let test = plant.until("three shadows on two robots", || plant.test().and_then(is_staged));
    assert_eq!(test["shadows"].as_array().unwrap().len(), 3, "{test}");
    assert_eq!((&test["champion"], &test["outcome"]), (&json!(champion), &Value::Null), "{test}");
    plant.serves(champion).unwrap();
    let before = plant.robots();

    let compared = rows(PARTS[2].clone());
    let mut round = 0_u8;
    let verdict = plant.until("a verdict", || {
        // The same parcels with more or less ink, so that no request is like another.
        round += 1;
        plant.read(&compared, 1.0 - 0.01 * f32::from(round));
        plant.test().filter(|test| !test["outcome"].is_null())
    });
    assert_eq!(verdict["outcome"]["result"], "winner", "{verdict}");
    assert_eq!(verdict["outcome"]["name"], "recent", "{verdict}");
    let best = &verdict["shadows"][0];
    assert_eq!(best["name"], "recent");
    assert!(best["log10_evidence"].as_f64() >= verdict["log10_bar"].as_f64(), "{verdict}");
    assert!(best["loss"].as_f64() < verdict["champion_loss"].as_f64(), "{verdict}");
    let winner = verdict["outcome"]["bundle"].as_str().unwrap();

    plant.until("the winner on both robots", || {
        plant.read(&compared[..20], 1.0);
        plant.serves(winner)
    });
    let received = |robots: &[(String, u64, u64)]| robots.iter().map(|robot| robot.1).collect::<Vec<_>>();
    let after = plant.robots();
    assert_eq!(received(&after), received(&before), "promotion downloads nothing");
    assert!(after.iter().all(|(_, _, failed)| *failed == 0), "{after:?}");

    let events = plant.said(&["events"]);
    for expected in ["shadows_started", "shadows_judged", "shadow 'recent' won: "] {
        assert!(events.contains(expected), "{expected}: {events}");
    }
}

/// Each training says that it began; the slow one waits for a word, and outlives the run that is killed meanwhile.
const TRAIN: &str = r#"
name=$(echo "$EDGEWARD_PARAMS" | sed 's/.*"name":"\([^"]*\)".*/\1/')
echo "$name" >> began
while [ "$name" = slow ] && [ ! -e go ]; do sleep 0.05; done
cp model.onnx "$EDGEWARD_MODEL_OUT"
"#;

const BY_COMMAND: &str = r#"
[project]
name = "robots"
model = "digits"
level = 1
[data]
files = ["data/*.csv"]
[train]
run = "sh train.sh"
deps = ["train.sh", "model.onnx"]
params = { name = "first" }
[gate]
accuracy_min = 0.5
[rollout]
waves = ["100%"]
bake = "0s"
[[shadow]]
name = "slow"
window = 500
params = { name = "slow" }
[[shadow]]
name = "one"
window = 400
params = { name = "one" }
[[shadow]]
name = "two"
window = 300
params = { name = "two" }
"#;

#[cfg(unix)]
#[test]
fn candidates_train_at_once_and_a_kill_loses_none_and_repeats_none() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        eprintln!("skipped: there is one processor");
        return;
    }
    let plant = Plant::new(&PROJECT.replace("captured = true", ""));
    let made = plant.run(&[
        "run",
        "--work",
        "elsewhere",
        "--server",
        &plant.url,
        "--release-key",
        "srv/keys/releases.json",
    ]);
    let bundle = plant.dir.path().join(made["bundle_path"].as_str().unwrap());
    fs::copy(bundle.join("model.onnx"), plant.dir.path().join("model.onnx")).unwrap();
    plant.until("a champion", || {
        let models = plant.run(&["model", "ls"]);
        models["models"][0]["aliases"]["champion"].as_u64()
    });
    plant.write("edgeward.toml", BY_COMMAND);
    plant.write("train.sh", TRAIN);

    let log = plant.dir.path().join("said");
    let mut run = edgeward(plant.dir.path());
    run.env("EDGEWARD_SERVER", &plant.url).args(["run", "--release-key", "srv/keys/releases.json"]);
    run.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let mut run = Running(run.spawn().unwrap());
    plant.until("two candidates while the third is being trained", || {
        let said = fs::read_to_string(&log).unwrap();
        assert!(run.0.try_wait().unwrap().is_none(), "{said}");
        ["one/bundle: done", "two/bundle: done"].iter().all(|line| said.contains(line)).then_some(())
    });
    drop(run);
    plant.write("go", "");
    let again = plant.pipeline();
    assert_eq!(again["shadows"].as_array().unwrap().len(), 3, "{again}");
    let mut began: Vec<String> =
        fs::read_to_string(plant.dir.path().join("began")).unwrap().lines().map(str::to_owned).collect();
    began.sort();
    assert_eq!(began, ["one", "slow", "two"], "nothing is done twice");

    let repeated = plant.pipeline();
    assert_eq!(repeated["bundle"], again["bundle"]);
    assert_eq!(fs::read_to_string(plant.dir.path().join("began")).unwrap().lines().count(), 3);
    let tests = plant.run(&["shadow", "ls"]);
    let outcomes: Vec<&Value> =
        tests["tests"].as_array().unwrap().iter().map(|test| &test["outcome"]["result"]).collect();
    assert_eq!(outcomes, [&Value::Null, &json!("superseded")], "the newer candidates are compared");
}
