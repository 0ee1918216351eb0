//! `edgeward reload-bench` over real processes, in short: its document's shape, swaps that fail nothing, and an agent that
//! is killed amid updates.

#![cfg(all(unix, feature = "control"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Kills in a plain test run.
const KILLS: &str = "40";

fn documents(args: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeward"));
    for name in ["EDGEWARD_SERVER", "EDGEWARD_TOKEN", "EDGEWARD_DATA", "EDGEWARD_DATABASE", "EDGEWARD_LOG"] {
        command.env_remove(name);
    }
    let output = command.args(["reload-bench", "--json", "--model-mb", "1"]).args(args);
    let output = output.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_way_is_one_document_with_the_agreed_keys() {
    let rows = documents(&["--repeats", "1", "--poll-ms", "300", "--rate", "50"]);
    let keys = [
        "arrival",
        "activation",
        "publish_to_serving_ms",
        "max_gap_ms",
        "requests",
        "failed_requests",
        "p99_before_ms",
        "p99_during_ms",
    ];
    for row in &rows {
        let found: BTreeSet<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found, BTreeSet::from(keys));
        assert!(
            row["requests"].as_u64().unwrap() > 0 && row["publish_to_serving_ms"].as_f64().unwrap() > 0.0
        );
        assert!(row["activation"] != "watch" || row["failed_requests"] == 0, "{row}");
    }
    let ways: Vec<_> = rows.iter().map(|row| (row["arrival"].clone(), row["activation"].clone())).collect();
    let all = ["poll", "push"].map(|arrival| {
        ["restart", "reboot-hook", "watch"].map(|activation| (arrival.into(), activation.into()))
    });
    assert_eq!(ways, all.concat());
}

#[test]
fn swaps_one_after_the_other_fail_no_request() {
    let rows = documents(&["--swaps", "20", "--only", "push", "--rate", "100"]);
    let [row] = &rows[..] else { unreachable!("{rows:?}") };
    assert_eq!((&row["swaps"], &row["failed_requests"]), (&20.into(), &0.into()), "{row}");
    assert!(row["rss_second_tenth_bytes"].as_u64().unwrap() > 0 && row["rss_ratio"].as_f64().unwrap() > 0.0);
}

/// `EDGEWARD_TEST_KILLS=500` makes it long.
#[test]
fn an_agent_that_is_killed_amid_updates_answers_rightly_and_comes_to_serve() {
    let kills = std::env::var("EDGEWARD_TEST_KILLS").unwrap_or_else(|_| KILLS.to_owned());
    let rows = documents(&["--kills", &kills, "--seed", "7", "--poll-ms", "300"]);
    let [row] = &rows[..] else { unreachable!("{rows:?}") };
    assert_eq!((&row["wrong_answers"], &row["refusals"]), (&0.into(), &0.into()), "{row}");
    assert_eq!(row["kills"].as_u64().unwrap().to_string(), kills);
    assert!(row["answers"].as_u64().unwrap() > row["updates"].as_u64().unwrap(), "{row}");
}
