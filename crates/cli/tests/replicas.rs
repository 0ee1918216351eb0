//! Two control planes on one PostgreSQL database: what one is told the other knows, the second carries on when the first is
//! killed, and the ledger stays one chain whoever writes.

#![cfg(all(feature = "control", unix))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "harness/answer.rs"]
mod answer;
mod harness;
#[path = "harness/pumps.rs"]
mod pumps;
#[path = "harness/waiting.rs"]
mod waiting;
#[path = "harness/yard.rs"]
mod yard;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use edgeward_testkit_postgres::{Database, database};
use harness::{Running, edgeward, serve};
use serde_json::Value;
use waiting::wait;
use yard::{active, bundle, join_token, operate, train};

/// A control plane of `database` with a folder of its own, once it listens, and its address.
fn start(dir: &Path, data: &str, database: &Database) -> (Running, String) {
    let log = File::options().create(true).append(true).open(dir.join(format!("{data}.log"))).unwrap();
    let mut server = edgeward(dir);
    server.args(["server", "--data", data, "--listen", "127.0.0.1:0", "--json", "--log", "info"]);
    server.env("EDGEWARD_DATABASE", database.url()).stdout(Stdio::piped()).stderr(log);
    let mut server = Running(server.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let logged = || fs::read_to_string(dir.join(format!("{data}.log"))).unwrap();
    assert!(!line.is_empty(), "{data} did not start: {}", logged());
    let said: Value = serde_json::from_str(&line).unwrap();
    (server, said["address"].as_str().unwrap().to_owned())
}

/// What a server that joins `from` is given by hand: the keys, the operator's token, and the same folder of blobs.
fn join(dir: &Path, from: &str, to: &str) {
    let (from, to) = (dir.join(from), dir.join(to));
    fs::create_dir_all(to.join("keys")).unwrap();
    for file in fs::read_dir(from.join("keys")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.is_file() {
            fs::copy(&file, to.join("keys").join(file.file_name().unwrap())).unwrap();
        }
    }
    fs::copy(from.join("operator.token"), to.join("operator.token")).unwrap();
    std::os::unix::fs::symlink(from.join("blobs"), to.join("blobs")).unwrap();
}

fn leads(url: &str) -> bool {
    yard::get(&format!("{url}/health")).is_some_and(|health| health["leads"] == true)
}

fn verify(dir: &Path, data: &str, database: &Database) -> Value {
    let words = ["audit", "verify", "--data", data, "--json"];
    let verified = edgeward(dir).args(words).env("EDGEWARD_DATABASE", database.url()).output().unwrap();
    answer::answer(&words, &verified)
}

/// Kinds and waves of the ledger's entries about rollouts.
fn rollouts(database: &Database) -> Vec<String> {
    let rows = database.client().query("SELECT bytes FROM ledger ORDER BY seq", &[]).unwrap();
    let entries = rows.iter().map(|row| serde_json::from_slice::<Value>(row.get(0)).unwrap());
    let told = entries.filter_map(|entry| {
        let event = &entry["event"];
        let kind = event["type"].as_str().unwrap().strip_prefix("rollout_")?.to_owned();
        Some(format!("{} {kind} {}", event["rollout"], event["wave"]))
    });
    told.collect()
}

#[test]
fn the_second_carries_on_when_the_first_is_killed() {
    let Ok(database) = database() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (first, url_a) = start(dir, "srv", &database);
    wait("the first to lead", || leads(&url_a).then_some(()));
    join(dir, "srv", "b");
    let (_second, url_b) = start(dir, "b", &database);

    // Each does what it is asked, whoever leads.
    train(dir, &url_a, 440, "");
    train(dir, &url_b, 480, "");
    let token = join_token(dir, &url_a);
    let mut agent = edgeward(dir);
    agent.args(["agent", "--server", &url_b, "--data", "dev", "--listen", "127.0.0.1:0"]);
    agent.args(["--poll-ms", "600000", "--join-token", &token]);
    let _agent = Running(agent.stderr(Stdio::null()).spawn().unwrap());
    let device = dir.join("dev");
    wait("what the device told the second, at the first", || {
        let listed = operate(dir, &url_a, &["device", "ls"]);
        (!listed["devices"][0]["report"].is_null()).then_some(())
    });
    operate(dir, &url_b, &["deploy", "pumps", "--version", "1"]);
    let one = bundle(dir, &url_b, 1);
    wait("the first version by a nudge of the second", || {
        (active(&device).as_ref() == Some(&one)).then_some(())
    });
    wait("the end of its rollout", || (rollouts(&database).last()?.contains("finished")).then_some(()));
    assert!(!leads(&url_b));

    // Half-way through.
    operate(dir, &url_a, &["rollout", "start", "pumps", "2", "--waves", "50%,100%", "--bake", "4s"]);
    wait("the first wave", || rollouts(&database).last()?.contains("advanced 0").then_some(()));
    drop(first);
    let two = bundle(dir, &url_b, 2);
    wait("the second version", || (active(&device).as_ref() == Some(&two)).then_some(()));
    wait("the end of its rollout", || {
        let told = rollouts(&database);
        (told.iter().filter(|entry| entry.contains("finished")).count() == 2).then_some(())
    });
    assert!(leads(&url_b));
    let told = rollouts(&database);
    let once: std::collections::BTreeSet<&String> = told.iter().collect();
    assert_eq!(once.len(), told.len(), "something ran twice: {told:?}");
    assert_eq!(told.iter().filter(|entry| entry.contains("started")).count(), 2, "{told:?}");
    verify(dir, "b", &database);

    // The first comes back and follows; both write at once.
    let (_first, url_a) = start(dir, "srv", &database);
    std::thread::scope(|scope| {
        for (name, url) in [("a", &url_a), ("b", &url_b)] {
            scope.spawn(move || {
                for n in 0..8 {
                    let group = format!("{name}-{n}");
                    operate(dir, url, &["group", "create", &group, "--where", "site=north"]);
                }
            });
        }
    });
    let groups = |url: &str| operate(dir, url, &["group", "ls"])["groups"].as_array().unwrap().len();
    assert_eq!((groups(&url_a), groups(&url_b)), (16, 16));
    let verified = verify(dir, "srv", &database);
    let entries = database.client().query_one("SELECT count(*), max(seq) + 1 FROM ledger", &[]).unwrap();
    assert_eq!(entries.get::<_, i64>(0), entries.get::<_, i64>(1));
    assert!(i64::try_from(verified["entries"].as_u64().unwrap()).unwrap() >= entries.get::<_, i64>(0));
}

#[test]
fn a_server_without_the_keys_of_the_others_is_told_what_it_needs() {
    let Ok(database) = database() else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_first, _) = start(dir, "a", &database);
    let refused = |data: &str, url: &str| {
        let mut server = edgeward(dir);
        server.args(["server", "--data", data, "--listen", "127.0.0.1:0"]).env("EDGEWARD_DATABASE", url);
        let output = server.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused("b", database.url());
    assert!(said.contains("is missing") && said.contains("copy it from a server"), "{said}");
    drop(serve(dir, &[]));
    let said = refused("srv", database.url());
    assert!(said.contains("another fleet's"), "{said}");
    let said = refused("d", "postgres://ann:s3cret@db.example/fleet?sslmode=disable");
    assert!(said.contains("in the clear to db.example") && !said.contains("s3cret"), "{said}");
}
