//! An export of a real ledger, checked by a script in another language, and the real binary against a damaged ledger.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a failed step of a test should panic where it happens")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use edgeward_agent::{Address, AgentConfig};
use edgeward_api::Client;
use edgeward_api::operator::{JoinTokenRequest, LabelsChange};
use edgeward_core::DeviceId;
use edgeward_server::ServerConfig;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(60);

fn edgeward(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgeward")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs Python with its standard library; none where there is no Python, and the test says so.
fn python(args: &[&str]) -> Option<(bool, String)> {
    match Command::new("python3").args(args).output() {
        Ok(output) => Some((output.status.success(), text(&output))),
        Err(error) => {
            edgeward_testkit_python::skip(&format!("no python3: {error}"));
            None
        }
    }
}

fn sql(database: &Path, statements: &str) {
    let program =
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit()";
    let (good, words) = python(&["-c", program, database.to_str().unwrap(), statements]).unwrap();
    assert!(good, "{words}");
}

/// A ledger with `labels` entries and a few more, and the folder of an agent that saw a checkpoint of it.
fn ledger(folder: &Path, labels: usize) -> (PathBuf, PathBuf) {
    let (data, device) = (folder.join("server"), folder.join("robot-1"));
    let runtime = Runtime::new().unwrap();
    let config = ServerConfig {
        tls: edgeward_server::TlsConfig::default(),
        data_dir: data.clone(),
        database: None,
        blobs: None,
        listen: ([127, 0, 0, 1], 0).into(),
        require_auth: false,
        runner_program: PathBuf::from("/bin/false"),
        broker: None,
        collector: None,
        webhooks: Vec::new(),
        tick: Duration::from_millis(50),
    };
    let bound = runtime.block_on(edgeward_server::bind(config)).unwrap();
    let operator = Client::new(bound.url(), None);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = runtime.spawn(bound.serve(async { drop(stopped.await) }));
    let name = DeviceId::new("robot-1").unwrap();
    let token =
        operator.make_join_token(&JoinTokenRequest { uses: 1, ttl_ms: 60_000, device: None }).unwrap();
    let agent = AgentConfig {
        join_token: Some(token.join_token),
        upload: Duration::from_millis(50),
        ..AgentConfig::new(operator.base(), &device, name.clone(), "127.0.0.1:0".parse::<Address>().unwrap())
    };
    let agent = runtime.block_on(edgeward_agent::bind(agent)).unwrap();
    for n in 0..labels {
        let labels = BTreeMap::from([("site".to_owned(), Some(n.to_string()))]);
        operator.set_labels(&name, &LabelsChange { labels }).unwrap();
    }
    operator.checkpoint().unwrap();
    let began = Instant::now();
    while !device.join("ledger.witness").exists() {
        assert!(began.elapsed() < PATIENCE, "the device looks at the ledger");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(agent);
    stop.send(()).unwrap();
    runtime.block_on(server).unwrap().unwrap();
    (data, device)
}

#[test]
fn an_export_verifies_elsewhere_and_a_changed_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (data, _) = ledger(folder.path(), 70);
    let out = folder.path().join("export");
    let (data, out_text) = (data.to_str().unwrap(), out.to_str().unwrap());
    let exported = edgeward(&["audit", "export", out_text, "--data", data, "--json"]);
    assert!(exported.status.success(), "{}", text(&exported));
    let said: serde_json::Value = serde_json::from_slice(&exported.stdout).unwrap();
    let origin = said["origin"].as_str().unwrap();
    assert!(fs::read_to_string(out.join("index.html")).unwrap().contains("device_labelled"));
    let program = out.join("verify_export.py");
    let verify = |origin: &str| python(&[program.to_str().unwrap(), out_text, origin]);
    let Some((good, words)) = verify(origin) else { return };
    assert!(good && words.contains("verified: "), "{words}");
    assert!(!verify("edgeward-ledger/000000000000").unwrap().0, "another log is not this one");
    let whole = fs::read_to_string(out.join("entries.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for place in [0, 3, 40, lines.len() - 1] {
        let edited = lines[place].replacen("\"at_ms\":1", "\"at_ms\":2", 1);
        let mut changed = lines.clone();
        changed[place] = &edited;
        fs::write(out.join("entries.jsonl"), changed.join("\n")).unwrap();
        let (good, words) = verify(origin).unwrap();
        assert!(!good && words.contains(&format!("entry {place} is not")), "{place}: {words}");
    }
    fs::write(out.join("entries.jsonl"), lines[..5].join("\n")).unwrap();
    let (good, words) = verify(origin).unwrap();
    assert!(!good && words.contains("entry 5 is missing"), "{words}");
    let shown = edgeward(&["audit", "show", "3", "--data", data, "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((shown["entry"]["seq"].as_u64(), shown["index"].as_u64()), (Some(3), Some(3)));
    assert!(!shown["proof"].as_array().unwrap().is_empty());
}

#[test]
fn a_ledger_robbed_of_its_checkpoints_is_refused_and_a_device_remembers_one_cut_back() {
    if python(&["-c", ""]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, device) = ledger(folder.path(), 3);
    let verify = |more: &[&str]| {
        let output = edgeward(&[&["audit", "verify", "--data", data.to_str().unwrap()], more].concat());
        (output.status.code(), text(&output))
    };
    let device = ["--witness", device.to_str().unwrap()];
    let (code, words) = verify(&device);
    assert_eq!(code, Some(0), "{words}");
    let (database, beside) = (data.join("edgeward.db"), data.join("keys/ledger.witness"));
    let note = fs::read(&beside).unwrap();
    fs::remove_file(&beside).unwrap();
    let (code, words) = verify(&[]);
    assert!(code == Some(1) && words.contains("ledger.witness beside the keys is missing"), "{words}");
    fs::write(&beside, note).unwrap();
    sql(&database, "DELETE FROM checkpoints");
    let (code, words) = verify(&[]);
    assert!(code == Some(1) && words.contains("checkpoints were deleted"), "{words}");
    // All of the machine's past is gone, and its keys made another; the device's folder still knows.
    sql(&database, "DELETE FROM ledger; DELETE FROM seals; DELETE FROM ledger_head; DELETE FROM reports");
    let (code, words) = verify(&device);
    assert!(code == Some(1) && words.contains("entry 0 is missing"), "{words}");
}
