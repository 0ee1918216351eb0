//! What was acknowledged survives a killed process.

#![expect(clippy::unwrap_used, reason = "a failed step of a test should panic where it happens")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use edgeward_core::{DeviceId, Event, Timestamp};
use edgeward_store::Store;

const DATABASE: &str = "EDGEWARD_CRASH_TEST_DATABASE";
const KILLS: usize = 5;
const ACKNOWLEDGED_BEFORE_KILL: usize = 15;

fn enrolled(n: u64) -> Event {
    Event::DeviceEnrolled { device: DeviceId::new(format!("d{n}")).unwrap() }
}

/// Runs in the child: appends until killed, and says after each append how long the ledger is.
#[test]
#[ignore = "run by acknowledged_appends_survive_kill_9 as a child process"]
fn appends_until_killed() {
    let store = Store::open(Path::new(&std::env::var(DATABASE).unwrap())).unwrap();
    let mut out = std::io::stdout();
    loop {
        let entries = store.append(&[enrolled(store.head().unwrap().len)], Timestamp(0)).unwrap();
        writeln!(out, "\nacknowledged {}", entries[0].seq).unwrap();
        out.flush().unwrap();
    }
}

/// Starts a child, kills it in the middle of its work, and returns the last entry that it acknowledged.
fn last_acknowledged_before_kill(path: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "appends_until_killed", "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged =
        lines.filter_map(|line| line.strip_prefix("acknowledged ").and_then(|seq| seq.parse().ok()));
    let before = acknowledged.by_ref().take(ACKNOWLEDGED_BEFORE_KILL).last();
    child.kill().unwrap();
    let after = acknowledged.last();
    child.wait().unwrap();
    after.or(before).unwrap()
}

#[test]
fn acknowledged_appends_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("edgeward.db");
    for _ in 0..KILLS {
        let last = last_acknowledged_before_kill(&path);
        let store = Store::open(&path).unwrap();
        let len = store.head().unwrap().len;
        assert!(len > last, "entry {last} was acknowledged, but the ledger has only {len}");
        assert_eq!(store.verify().unwrap(), None);
        assert_eq!(store.entries(0, usize::MAX).unwrap().len() as u64, len);
    }
}

#[test]
fn a_copy_of_the_files_of_an_open_store_holds_every_append() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("edgeward.db"), directory.path().join("copy.db"));
    let store = Store::open(&path).unwrap();
    store.append(&[enrolled(0), enrolled(1)], Timestamp(0)).unwrap();
    for suffix in ["", "-wal"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        std::fs::copy(name(&path), name(&copy)).unwrap();
    }
    let reopened = Store::open(&copy).unwrap();
    assert_eq!(reopened.head().unwrap(), store.head().unwrap());
    assert_eq!(reopened.verify().unwrap(), None);
}
