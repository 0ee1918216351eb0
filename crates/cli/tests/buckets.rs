//! The real binary with an S3 server: models' bytes in one bucket, a project's data in another.

#![cfg(all(feature = "control", feature = "agent"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "harness/answer.rs"]
mod answer;
#[expect(dead_code, reason = "its server knows of no bucket")]
mod harness;
#[path = "harness/pumps.rs"]
mod pumps;
#[path = "harness/waiting.rs"]
mod waiting;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use answer::answer;
use edgeward_testkit_s3::S3Server;
use harness::{Running, announced, edgeward};
use pumps::{measured, project};
use serde_json::Value;
use waiting::wait;

const ROLLOUT: &str = "[rollout]\nwaves = [\"100%\"]\nbake = \"0s\"\nprobation = \"1s\"\n";

fn binary(s3: &S3Server, dir: &Path) -> Command {
    let mut command = edgeward(dir);
    command.envs(s3.settings());
    command
}

fn serve(s3: &S3Server, dir: &Path) -> (Running, String) {
    let mut server = binary(s3, dir);
    server.args([
        "server",
        "--data",
        "srv",
        "--blobs",
        "s3://models/edgeward",
        "--listen",
        "127.0.0.1:0",
        "--json",
    ]);
    let (server, said) = announced(server.stderr(Stdio::null()));
    (server, said["address"].as_str().unwrap().to_owned())
}

fn run(s3: &S3Server, dir: &Path, words: &[&str]) -> Value {
    answer(words, &binary(s3, dir).args(words).arg("--json").output().unwrap())
}

#[test]
fn models_and_data_may_lie_in_buckets() {
    let (s3, dir) = (S3Server::start(&["models", "data"]), tempfile::tempdir().unwrap());
    let dir = dir.path();
    let (_server, url) = serve(&s3, dir);
    let text = project(ROLLOUT).replacen("[data]\n", "[data]\nsource = \"s3://data/pumps\"\n", 1);
    fs::write(dir.join("edgeward.toml"), text).unwrap();
    s3.put("data", "pumps/data/1.csv", &measured(200, 0));
    s3.put("data", "pumps/data/2.csv", &measured(200, 5));
    s3.put("data", "pumps/data/notes.txt", "of no interest");
    let register = ["run", "--server", &url, "--release-key", "srv/keys/releases.json"];

    let first = run(&s3, dir, &register);
    assert_eq!(first["outcome"]["result"], "passed", "{first}");
    let read: Vec<String> = s3.read().into_iter().filter(|path| path.starts_with("/data/")).collect();
    assert_eq!(read, ["/data/pumps/data/1.csv", "/data/pumps/data/2.csv"]);
    let blobs = s3.folder("models").join("edgeward/sha256");
    assert!(fs::read_dir(&blobs).unwrap().count() > 3, "the bundle's files are in the bucket");
    assert_eq!(fs::read_dir(dir.join("srv/blobs")).map_or(0, Iterator::count), 0, "and not beside it");

    let again = run(&s3, dir, &register);
    assert_eq!(again["bundle"], first["bundle"]);
    let read: Vec<String> = s3.read().into_iter().filter(|path| path.starts_with("/data/")).collect();
    assert!(read.is_empty(), "nothing changed, nothing is fetched: {read:?}");

    run(&s3, dir, &["deploy", "pumps", "--server", &url]);
    let token = run(&s3, dir, &["device", "token", "--server", &url]);
    let token = token["join_token"].as_str().unwrap().to_owned();
    let mut agent = edgeward(dir);
    agent.args(["agent", "--server", &url, "--data", "dev", "--name", "pump-1", "--join-token", &token]);
    agent.args(["--listen", "127.0.0.1:0", "--poll-ms", "100", "--upload-ms", "200", "--json"]);
    let _agent = Running(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait("the model on the device", || {
        let devices = run(&s3, dir, &["device", "ls", "--server", &url]);
        (devices["devices"][0]["report"]["models"]["pumps"]["active"] == first["bundle"]).then_some(())
    });

    s3.put("data", "pumps/data/2.csv", &measured(300, 9));
    let status = run(&s3, dir, &["status", "--project", "."]);
    assert_eq!(status["up_to_date"], false, "{status}");
    let changed = run(&s3, dir, &register);
    assert_ne!(changed["bundle"], first["bundle"]);
    let read: Vec<String> = s3.read().into_iter().filter(|path| path.starts_with("/data/")).collect();
    assert_eq!(read, ["/data/pumps/data/2.csv"], "one object changed");
}

#[test]
fn a_server_whose_bucket_is_not_there_says_so() {
    let (s3, dir) = (S3Server::start(&[]), tempfile::tempdir().unwrap());
    let output = binary(&s3, dir.path())
        .args(["server", "--data", "srv", "--blobs", "s3://models", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("asking s3://models; check AWS_ENDPOINT_URL"), "{said}");
}
