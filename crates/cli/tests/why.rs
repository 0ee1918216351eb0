//! The real binary: a prediction made three models ago, on a device that is gone, is explained and proved, without a server,
//! too; what was edited is found; what was read is an event; a picture has a map; a subject is forgotten. What a bundle says of
//! its making validates against the public schemas.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "harness/answer.rs"]
mod answer;
mod harness;
#[path = "harness/pumps.rs"]
mod pumps;
#[path = "harness/waiting.rs"]
mod waiting;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use answer::answer;
use harness::{Running, edgeward, serve};
use pumps::{measured, project};
use serde_json::{Value, json};
use tempfile::TempDir;
use waiting::wait;

const RECORDED: &str = r#"
[records]
inputs = "all"
[rollout]
waves = ["100%"]
bake = "1s"
probation = "1s"
approval = "first"
"#;

const REQUIREMENTS: [&str; 2] =
    ["cyclonedx-python-lib[json-validation]==11.12.0", "in-toto-attestation==0.9.3"];

struct Plant {
    dir: TempDir,
    url: String,
    server: Running,
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Plant {
    fn start(tables: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("edgeward.toml"), project(tables)).unwrap();
        let (server, told) = serve(dir.path(), &[]);
        let url = told["address"].as_str().unwrap().to_owned();
        Self { dir, url, server }
    }

    fn ask(&self, words: &[&str]) -> Output {
        let mut command = edgeward(self.dir.path());
        command.env("EDGEWARD_SERVER", &self.url).args(words).arg("--json").output().unwrap()
    }

    fn run(&self, words: &[&str]) -> Value {
        answer(words, &self.ask(words))
    }

    /// Another version, from other data, rolled out once somebody agreed; its bundle.
    fn version(&self, number: u64) -> String {
        let rows = measured(400, number * 104_729);
        fs::write(self.dir.path().join(format!("data/{number}.csv")), rows).unwrap();
        self.run(&["run", "--release-key", "srv/keys/releases.json"]);
        self.run(&["rollout", "start", "pumps", &number.to_string()]);
        self.run(&["rollout", "approve", "--cause", "the tests were read"]);
        let models = self.run(&["model", "ls"]);
        models["models"][0]["versions"].as_array().unwrap().last().unwrap()["bundle"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Asks the folder while the server uses it.
    fn offline(&self, id: &str) -> Output {
        edgeward(self.dir.path()).args(["why", id, "--data", "srv", "--json"]).output().unwrap()
    }

    fn agent(&self) -> Running {
        let token = self.run(&["device", "token"])["join_token"].as_str().unwrap().to_owned();
        let mut agent = edgeward(self.dir.path());
        agent.args([
            "agent",
            "--server",
            &self.url,
            "--data",
            "dev",
            "--name",
            "press",
            "--join-token",
            &token,
        ]);
        agent.args(["--listen", "127.0.0.1:0", "--poll-ms", "100", "--upload-ms", "200", "--json"]);
        Running(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn device(&self) -> Option<String> {
        Some(fs::read_to_string(self.dir.path().join("dev/endpoint")).ok()?.trim().to_owned())
    }

    fn serves(&self, bundle: &str) {
        wait("the model", || {
            let answer =
                ureq::get(format!("{}/v1/status", self.device()?)).config().proxy(None).build().call();
            let status: Value = answer.ok()?.body_mut().read_json().ok()?;
            (status["models"]["pumps"]["active"] == bundle).then_some(())
        });
        wait("the end of the rollout", || {
            (self.run(&["rollout", "status"])["rollout"]["outcome"] == "completed").then_some(())
        });
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let address = format!("{}{path}", self.device().unwrap());
        let answer = ureq::post(address).config().proxy(None).build().send_json(body);
        answer.unwrap().body_mut().read_json().unwrap()
    }

    /// A prediction, labelled; its id.
    fn predict(&self) -> String {
        let rows = json!([{ "name": "input", "shape": [1, 2], "datatype": "FP32", "data": [66.5, 93.25] }]);
        let answer = self.post("/v2/models/pumps/infer", &json!({ "inputs": rows }));
        let id = answer["parameters"]["prediction_id"].as_str().unwrap().to_owned();
        assert_eq!(answer["parameters"]["predicted"], "worn");
        self.post("/v1/feedback", &json!({ "id": id, "label": "worn" }));
        id
    }
}

#[test]
fn a_prediction_made_three_models_ago_on_a_device_that_is_gone_is_explained_and_proved() {
    let plant = Plant::start(RECORDED);
    let agent = plant.agent();
    let first = plant.version(1);
    plant.serves(&first);
    let id = plant.predict();
    for number in 2..=4 {
        let bundle = plant.version(number);
        plant.serves(&bundle);
    }
    wait("the record", || plant.ask(&["why", &id]).status.success().then_some(()));
    drop(agent);

    let page = plant.dir.path().join("why.html");
    let why = plant.run(&["why", &id, "--html", page.to_str().unwrap()]);
    assert_eq!((&why["device"], &why["record"]["bundle"]), (&"press".into(), &first.as_str().into()));
    assert_eq!(
        (&why["record"]["answers"][0]["predicted"], &why["labels"][0]["label"]),
        (&"worn".into(), &"worn".into())
    );
    assert_eq!(why["input"]["state"], "here");

    is_explained(&why["explanation"]);
    let model = &why["model"];
    assert_eq!((&model["version"], &model["gone"]), (&1.into(), &Value::Null));
    let files = model["files"].as_array().unwrap();
    assert!(files.len() > 5 && files.iter().all(|file| file["state"] == "checked"), "{files:?}");
    let run = &model["story"]["run"];
    let gates = run["gates"].as_array().unwrap();
    assert!(
        gates.iter().any(|gate| gate["gate"] == "parity.rten-f32")
            && gates.iter().all(|gate| gate["passed"] == true)
    );
    assert_eq!(run["outcome"]["result"], "passed");
    assert!(!model["forms"][0]["conversion"].as_array().unwrap().is_empty(), "{model}");
    assert_eq!(model["made_from"]["snapshot"].as_str().unwrap().len(), 64);
    let rollout = &model["story"]["rollouts"][0];
    assert_eq!(
        (&rollout["outcome"], &rollout["approvals"][0]["cause"]),
        (&"completed".into(), &"wave 1 approved by local: the tests were read".into())
    );

    let origin = why["proof"]["origin"].as_str().unwrap();
    assert!(
        why["proof"]["batch"].is_array() && why["proof"]["entries"].as_u64().unwrap() > 8,
        "{}",
        why["proof"]
    );
    plant.run(&["why", &id, "--origin", origin]);
    let other = plant.ask(&["why", &id, "--origin", "edgeward-ledger/000000000000"]);
    assert!(
        !other.status.success() && said(&other).contains("not edgeward-ledger/000000000000"),
        "{}",
        said(&other)
    );
    assert!(fs::read_to_string(&page).unwrap().contains("vibration"));
    let unknown = plant.ask(&["why", "0192f3a0-0000-7000-8000-000000000000"]);
    assert!(said(&unknown).contains("no record of a prediction"), "{}", said(&unknown));

    has_a_card(&plant, &first);
    let lineage = plant.run(&["model", "lineage", "pumps", "--version", "1", "--origin", origin]);
    assert_eq!(lineage["model"]["story"]["run"]["id"], run["id"]);
    assert_eq!(plant.run(&["model", "lineage", "pumps"])["model"]["version"], 4);
    let events = plant.ask(&["events"]);
    let read = String::from_utf8_lossy(&events.stdout).matches("\"records_read\"").count();
    assert!(read >= 4, "each time it was read is an event: {read}");
    edited_is_found(plant, &id, &why);
}

/// What was signed with the first version, and what a device counted with it.
fn has_a_card(plant: &Plant, first: &str) {
    let card = plant.run(&["model", "card", "pumps", "--version", "1"]);
    assert!(card["card"].as_str().unwrap().contains("## Quality on held-out rows"), "{card}");
    assert_eq!((&card["history"]["version"], &card["history"]["bundle"]), (&1.into(), &first.into()));
    assert!(card["history"]["windows"][0]["samples"].as_u64().unwrap() >= 1, "{card}");
}

/// Exact Shapley values of the two features, which add up, from the very model that answered.
fn is_explained(explanation: &Value) {
    assert_eq!(
        (&explanation["state"], &explanation["method"]),
        (&"given".into(), &"exact".into()),
        "{explanation}"
    );
    assert_eq!((&explanation["output"], &explanation["reproduced"]["same"]), (&"worn".into(), &true.into()));
    let moved = explanation["attributions"].as_array().unwrap();
    let sum: f64 = moved.iter().map(|one| one["moved"].as_f64().unwrap()).sum();
    let gap = sum - (explanation["answer"].as_f64().unwrap() - explanation["base"].as_f64().unwrap());
    assert!(moved.len() == 2 && gap.abs() < 1e-6 && sum > 0.1, "{explanation}");
    let mut named: Vec<_> =
        moved.iter().map(|one| (one["feature"].as_str().unwrap(), one["value"].as_f64())).collect();
    named.sort_by(|a, b| a.0.cmp(b.0));
    assert_eq!(named, [("temperature", Some(66.5)), ("vibration", Some(93.25))]);
}

/// The same of the folder alone: no server, no network. Then somebody edits the record in the database.
fn edited_is_found(plant: Plant, id: &str, online: &Value) {
    let busy = plant.offline(id);
    assert!(
        !busy.status.success() && said(&busy).contains("another control plane is using"),
        "{}",
        said(&busy)
    );
    let Plant { dir, server, .. } = plant;
    drop(server);
    let plant = Folder(dir);
    let began = std::time::Instant::now();
    let offline = answer(&["why", id, "--data"], &plant.offline(id));
    println!("edgeward why, three models later, no server and no device: {:?}", began.elapsed());
    for part in ["record", "labels", "explanation"] {
        assert_eq!(offline[part], online[part], "{part}");
    }
    assert_eq!(offline["model"]["files"], online["model"]["files"]);
    let size = |why: &Value| why["proof"]["checkpoint_size"].as_u64().unwrap();
    assert!(size(&offline) > size(online), "that it was read is an entry");
    let program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    let edit =
        "UPDATE records SET record = replace(record, '\"worn\"', '\"good\"') WHERE kind = 'prediction'";
    let database = plant.0.path().join("srv/edgeward.db");
    let edited = Command::new("python3").args(["-c", program, database.to_str().unwrap(), edit]).status();
    if let Err(error) = edited {
        edgeward_testkit_python::skip(&format!("no python3: {error}"));
        return;
    }
    let found = plant.offline(id);
    assert!(!found.status.success() && said(&found).contains("it was edited"), "{}", said(&found));
}

/// What is left of a plant: its control plane's folder.
struct Folder(TempDir);

impl Folder {
    fn offline(&self, id: &str) -> Output {
        edgeward(self.0.path()).args(["why", id, "--data", "srv", "--json"]).output().unwrap()
    }
}

/// Pictures of 4 x 4 points, bright in the upper left where the state is `worn`.
const PICTURED: &str = r#"
[monitor.image]
width = 4
height = 4
[records]
inputs = "all"
subject = "p15"
[rollout]
waves = ["100%"]
bake = "1s"
probation = "1s"
"#;

/// One picture; its last point says whom it is about.
fn picture(row: u64, worn: bool, subject: f64) -> Vec<f64> {
    let dim = |at: u64| ((row * 31 + at * 17) % 23) as f64 / 64.0;
    let lit = |at: u64| if worn && [0, 1, 4, 5].contains(&at) { 0.5 } else { 0.0 };
    (0..15).map(|at| dim(at) + lit(at)).chain([subject]).collect()
}

#[test]
fn a_picture_is_explained_by_a_map_and_its_subject_is_forgotten_on_request() {
    let plant = Plant::start(PICTURED);
    let agent = plant.agent();
    let names: Vec<String> = (0..16).map(|at| format!("p{at}")).collect();
    let mut table = format!("{},state\n", names.join(","));
    for row in 0..400 {
        let worn = row % 2 == 1;
        let points = picture(row, worn, (row % 8) as f64 / 8.0);
        let points: Vec<String> = points.iter().map(ToString::to_string).collect();
        table += &format!("{},{}\n", points.join(","), if worn { "worn" } else { "good" });
    }
    fs::write(plant.dir.path().join("data/1.csv"), table).unwrap();
    plant.run(&["run", "--release-key", "srv/keys/releases.json"]);
    plant.run(&["deploy", "pumps"]);
    let models = plant.run(&["model", "ls"]);
    plant.serves(models["models"][0]["versions"][0]["bundle"].as_str().unwrap());
    let ask = |row, subject| {
        let data = picture(row, true, subject);
        let input = json!([{ "name": "input", "shape": [1, 16], "datatype": "FP32", "data": data }]);
        let answer = plant.post("/v2/models/pumps/infer", &json!({ "inputs": input }));
        answer["parameters"]["prediction_id"].as_str().unwrap().to_owned()
    };
    let (one, other) = (ask(1001, 0.25), ask(1003, 0.75));
    wait("the records", || plant.ask(&["why", &other]).status.success().then_some(()));

    let page = plant.dir.path().join("why.html");
    let why = plant.run(&["why", &one, "--html", page.to_str().unwrap()]);
    let explanation = &why["explanation"];
    assert_eq!(
        (&explanation["state"], &explanation["output"], &explanation["reproduced"]["same"]),
        (&"mapped".into(), &"worn".into(), &true.into()),
        "{explanation}"
    );
    let picture = &explanation["picture"];
    assert_eq!((&picture["kind"], &picture["of"]), (&"image".into(), &json!([4, 4])));
    let mattered: Vec<f64> =
        picture["mattered"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    let most = (0..16).max_by(|a, b| mattered[*a].total_cmp(&mattered[*b])).unwrap();
    assert!([0, 1, 4, 5].contains(&most), "{mattered:?}");
    let drawn = fs::read_to_string(&page).unwrap();
    assert_eq!(drawn.matches("role=\"img\"").count(), 2, "what it saw and what mattered");
    assert!(!drawn.contains("http"), "the page is whole by itself");

    let erased = plant.run(&["record", "erase", "--subject", "0.25"]);
    assert_eq!((&erased["inputs"], &erased["records"]), (&1.into(), &1.into()));
    let gone = plant.ask(&["why", &one]);
    assert!(!gone.status.success() && said(&gone).contains("its subject was erased"), "{}", said(&gone));
    assert_eq!(plant.run(&["why", &other])["input"]["state"], "here");
    let verified = plant.run(&["audit", "verify", "--data", "srv"]);
    assert!(verified["records"].as_u64().unwrap() >= 2, "{verified}");
    drop(agent);
}

/// Lineage and bill of materials against in-toto's, SLSA's and CycloneDX's own.
#[test]
fn lineage_and_bill_of_materials_validate_against_their_public_schemas() {
    let Ok(python) = edgeward_testkit_python::environment("provenance", &REQUIREMENTS) else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("edgeward.toml"), project("")).unwrap();
    fs::write(dir.path().join("data/1.csv"), measured(400, 0)).unwrap();
    let made = edgeward(dir.path()).args(["run", "--json"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let bundles = fs::read_dir(dir.path().join(".edgeward/bundles")).unwrap();
    let bundle = bundles.flatten().map(|entry| entry.path()).find(|path| path.is_dir()).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provenance.py");
    let said = python.run_file(&program, &[bundle.to_str().unwrap()]);
    // The form, the snapshot and its file; the snapshot and its file.
    assert_eq!(said.trim(), "3 2");
}
