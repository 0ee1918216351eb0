//! The real binary under TLS: a device joins with a token that pins the fleet's authority, gets a model, has its certificate
//! renewed and learns of a new authority by itself, is shut out by name, and is let in again in the same folder.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "harness/answer.rs"]
mod answer;
mod harness;
#[path = "harness/pumps.rs"]
mod pumps;
#[path = "harness/waiting.rs"]
mod waiting;

use std::fs;
use std::process::{Command, Output, Stdio};

use answer::answer;
use harness::{Running, announced, edgeward, serve};
use pumps::{measured, project};
use serde_json::Value;
use tempfile::TempDir;
use waiting::wait;

/// So short that devices renew their certificates within a test.
const CERTIFICATE_LIFE: &str = "12s";

const ROLLOUT: &str = "[rollout]\nwaves = [\"100%\"]\nbake = \"1s\"\nprobation = \"1s\"\n";

struct Plant {
    dir: TempDir,
    url: String,
    ca: String,
    _server: Running,
}

fn failure(output: &Output) -> Value {
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| panic!("no JSON: {text}"))
}

impl Plant {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (server, said) =
            serve(dir.path(), &["--tls", "--require-auth", "--certificate-life", CERTIFICATE_LIFE]);
        let (url, ca) = (&said["address"], &said["ca"]);
        let (url, ca) = (url.as_str().unwrap().to_owned(), ca.as_str().unwrap().to_owned());
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        Self { dir, url, ca, _server: server }
    }

    fn operator(&self, words: &[&str]) -> Command {
        let mut command = edgeward(self.dir.path());
        command.env("EDGEWARD_SERVER", &self.url).args(words);
        command.args(["--token-file", "srv/operator.token", "--json"]);
        command
    }

    fn run(&self, words: &[&str]) -> Value {
        let output = self.operator(words).env("EDGEWARD_CA", &self.ca).output().unwrap();
        answer(words, &output)
    }

    fn token(&self, more: &[&str]) -> String {
        let made = self.run(&[&["device", "token"], more].concat());
        made["join_token"].as_str().unwrap().to_owned()
    }

    fn agent(&self, data: &str, token: &str) -> Command {
        let mut agent = edgeward(self.dir.path());
        agent.args([
            "agent",
            "--server",
            &self.url,
            "--data",
            data,
            "--name",
            "press",
            "--join-token",
            token,
        ]);
        agent.args(["--listen", "127.0.0.1:0", "--poll-ms", "100", "--upload-ms", "200", "--json"]);
        agent.stdout(Stdio::null()).stderr(Stdio::piped());
        agent
    }

    fn start_agent(&self, data: &str, token: &str) -> Running {
        Running(self.agent(data, token).stderr(Stdio::null()).spawn().unwrap())
    }

    fn release(&self) -> String {
        let folder = self.dir.path();
        fs::create_dir(folder.join("data")).unwrap();
        fs::write(folder.join("edgeward.toml"), project(ROLLOUT)).unwrap();
        fs::write(folder.join("data/1.csv"), measured(400, 0)).unwrap();
        self.run(&["run", "--release-key", "srv/keys/releases.json"]);
        self.run(&["rollout", "start", "pumps", "1"]);
        let models = self.run(&["model", "ls"]);
        models["models"][0]["versions"][0]["bundle"].as_str().unwrap().to_owned()
    }

    fn identity(&self, data: &str) -> Value {
        let bytes = fs::read(self.dir.path().join(data).join("identity.json"));
        bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// What the device's endpoint says of itself.
    fn status(&self, data: &str) -> Value {
        let Ok(url) = fs::read_to_string(self.dir.path().join(data).join("endpoint")) else {
            return Value::Null;
        };
        let answer = ureq::get(format!("{}/v1/status", url.trim())).config().proxy(None).build().call();
        answer.ok().and_then(|mut answer| answer.body_mut().read_json().ok()).unwrap_or_default()
    }
}

#[test]
fn a_device_lives_under_tls_from_its_first_contact_to_its_second() {
    let plant = Plant::start();
    let bundle = plant.release();
    let token = plant.token(&[]);
    let agent = plant.start_agent("dev", &token);

    wait("the model", || (plant.status("dev")["models"]["pumps"]["active"] == bundle.as_str()).then_some(()));
    let first = plant.identity("dev");
    assert!(first["credential"].is_null() && first["tls"]["certificate"].is_string(), "{first}");
    let authorities = |identity: &Value| identity["tls"]["authorities"].as_array().map_or(0, Vec::len);

    // Renewed by itself, and told of a new authority by itself.
    let certificate = first["tls"]["certificate"].clone();
    let renewed = wait("another certificate", || {
        let identity = plant.identity("dev");
        (identity["tls"]["certificate"].is_string() && identity["tls"]["certificate"] != certificate)
            .then_some(identity)
    });
    assert_eq!(authorities(&renewed), 1);
    plant.run(&["ca", "rotate"]);
    wait("the new authority", || (authorities(&plant.identity("dev")) == 2).then_some(()));
    let known = plant.run(&["ca", "switch"]);
    assert_eq!(known["authorities"].as_array().unwrap().len(), 1);
    wait("the old authority to be gone", || (authorities(&plant.identity("dev")) == 1).then_some(()));
    wait("an untroubled device", || {
        let devices = plant.run(&["device", "ls"]);
        (devices["devices"][0]["report"]["models"]["pumps"]["active"] == bundle.as_str()
            && plant.status("dev")["trouble"].is_null())
        .then_some(())
    });

    // Shut out, by name, while it goes on to serve.
    plant.run(&["device", "revoke", "press", "--cause", "stolen"]);
    let trouble = wait("the refusal", || plant.status("dev")["trouble"].as_str().map(str::to_owned));
    assert!(trouble.contains("the certificate of press was revoked"), "{trouble}");
    assert_eq!(plant.status("dev")["models"]["pumps"]["active"], bundle.as_str());
    drop(agent);

    // Let in again, in the same folder, under the same name; a token for new devices would not do.
    let wrong = plant.token(&[]);
    let agent = plant.start_agent("dev", &wrong);
    wait("the refusal", || plant.status("dev")["trouble"].is_string().then_some(()));
    drop(agent);
    let again = plant.token(&["--for", "press"]);
    let _agent = plant.start_agent("dev", &again);
    wait("a device that is in again", || {
        let status = plant.status("dev");
        (status["models"]["pumps"]["active"] == bundle.as_str() && status["trouble"].is_null()).then_some(())
    });
    let devices = plant.run(&["device", "ls"]);
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1, "{devices}");
}

#[test]
fn nobody_is_believed_without_a_reason() {
    let plant = Plant::start();
    let refused = failure(&plant.operator(&["device", "ls"]).output().unwrap());
    assert_eq!(refused["kind"], "untrusted", "{refused}");
    let pin = plant.run(&["ca", "ls"])["authorities"][0]["fingerprint"].as_str().unwrap().to_owned();
    let pinned = plant.operator(&["device", "ls", "--ca", &pin]).output().unwrap();
    assert!(pinned.status.success());
    let plain = plant.url.replace("https:", "http:");
    let told = failure(&plant.operator(&["device", "ls", "--server", &plain]).output().unwrap());
    assert_eq!(told["kind"], "tls_required", "{told}");
    let abroad = plant.operator(&["device", "ls", "--server", "http://plant.example"]).output().unwrap();
    assert!(String::from_utf8_lossy(&abroad.stderr).contains("https://"), "{abroad:?}");

    // A device whose token pins another fleet's authority does not hand the token over.
    let other = Plant::start();
    let foreign = other.token(&[]);
    let ended = plant.agent("dev", &foreign).output().unwrap();
    let error = failure(&ended);
    assert!(error["error"].as_str().unwrap().contains("no safe connection"), "{error}");
    assert!(!plant.dir.path().join("dev/identity.json").exists());
}

#[test]
fn a_listener_that_others_reach_speaks_tls() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = edgeward(dir.path());
    server.args(["server", "--data", "srv", "--listen", "0.0.0.0:0", "--json"]);
    let (_server, said) = announced(server.stderr(Stdio::null()));
    let url = said["address"].as_str().unwrap();
    assert!(url.starts_with("https://"), "{url}");
    let mut list = edgeward(dir.path());
    list.args(["device", "ls", "--server", url, "--ca", said["ca"].as_str().unwrap()]);
    list.args(["--token-file", "srv/operator.token"]);
    assert!(list.output().unwrap().status.success());
}

#[test]
fn an_endpoint_that_others_reach_speaks_tls_too() {
    let dir = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(dir.path().join("device.pem"), certified.cert.pem()).unwrap();
    fs::write(dir.path().join("device.key"), certified.signing_key.serialize_pem()).unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/fixtures/digits_cnn.onnx");

    let mut open = edgeward(dir.path());
    let open = open.args(["serve", model, "--listen", "0.0.0.0:0", "--json"]).output().unwrap();
    let refused = failure(&open);
    assert!(refused["error"].as_str().unwrap().contains("--plain-http"), "{refused}");

    let mut serving = edgeward(dir.path());
    serving.args(["serve", model, "--listen", "127.0.0.1:0", "--json"]);
    serving.args(["--tls-cert", "device.pem", "--tls-key", "device.key"]);
    let (_serving, said) = announced(serving.stderr(Stdio::null()));
    let url = said["address"].as_str().unwrap();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let status = |url: &str, more: &[&str]| {
        edgeward(dir.path()).args(["status", "--json", "--endpoint", url]).args(more).output().unwrap()
    };
    let answered = status(url, &["--ca", "device.pem"]);
    assert!(answered.status.success(), "{}", String::from_utf8_lossy(&answered.stderr));
    let known: Value = serde_json::from_slice(&answered.stdout).unwrap();
    assert!(known["models"].is_object(), "{known}");
    let unknown = failure(&status(url, &[]));
    assert_eq!(unknown["kind"], "unreachable", "{unknown}");
    let plain = failure(&status(&url.replace("https:", "http:"), &[]));
    assert!(plain["error"].as_str().unwrap().contains("this port speaks TLS"), "{plain}");
}
