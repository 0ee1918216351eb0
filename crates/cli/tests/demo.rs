//! The loop, end to end, with the real binary: once undisturbed, once with its processes killed in the middle.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

fn edgeward() -> Command {
    Command::new(env!("CARGO_BIN_EXE_edgeward"))
}

/// A demo small and fast enough for a test: two devices, many requests.
fn demo(data: &Path) -> Command {
    let mut command = edgeward();
    command
        .args(["demo", "robots", "--once", "--json", "--devices", "2", "--rate", "90", "--data"])
        .arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn summary_of(stdout: &[u8]) -> Value {
    let text = String::from_utf8_lossy(stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap()
}

fn check_summary(summary: &Value) {
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("{key} in {summary}"));
    assert!(number("accuracy_before") >= 0.93, "{summary}");
    assert!(number("accuracy_decayed") <= 0.88, "{summary}");
    assert!(number("accuracy_after") >= 0.92, "{summary}");
    assert_eq!(number("failed_requests"), 0.0, "{summary}");
    assert!(number("detected_after_samples") > 0.0, "{summary}");
    assert_eq!(summary["ledger_verified"], true, "{summary}");
    assert_ne!(summary["model_before"], summary["model_after"], "{summary}");
}

fn audit(data: &Path) -> (Option<i32>, String) {
    let output = edgeward().args(["audit", "verify", "--data"]).arg(data).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Changes a word of the ledger behind the control plane's back.
fn tamper(database: &Path) {
    let mut bytes = fs::read(database).unwrap();
    let (word, other) = (b"first model", b"worst model");
    let found: Vec<usize> =
        (0..bytes.len() - word.len()).filter(|&at| bytes[at..].starts_with(word)).collect();
    assert!(!found.is_empty(), "the ledger is in the database file");
    for at in found {
        bytes[at..at + word.len()].copy_from_slice(other);
    }
    fs::write(database, bytes).unwrap();
}

#[test]
fn a_negative_price_is_noticed_told_and_held_back() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("demo");
    let mut command = edgeward();
    command.args(["demo", "oil", "--once", "--json", "--data"]).arg(&data).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let summary = summary_of(&output.stdout);
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("{key} in {summary}"));
    assert_eq!(
        (&summary["story"], &summary["alert_date"]),
        (&"oil".into(), &"2020-04-20".into()),
        "{summary}"
    );
    assert_eq!(
        (number("alert_value"), &summary["alert_on_same_sample"]),
        (-36.98, &true.into()),
        "{summary}"
    );
    assert!(summary["alert_message"].as_str().unwrap().contains("-36.98"), "{summary}");
    assert_eq!((number("alarms_before"), number("failed_requests")), (0.0, 0.0), "{summary}");
    assert!(number("quarantined") >= 2.0 && number("days_measured") == 7.0, "{summary}");
    assert!(number("mae_with_outlier") > 1.2 * number("mae_without_outlier"), "{summary}");
    assert!((number("mae_persistence") - 2.566).abs() < 1e-9, "{summary}");
    assert_eq!(summary["ledger_verified"], true, "{summary}");
    assert_ne!(summary["model_before"], summary["model_after"], "{summary}");
    assert_eq!(audit(&data.join("server")).0, Some(0));
}

fn speech(data: &Path, more: &[&str]) -> Value {
    let mut command = edgeward();
    command.args(["demo", "speech", "--once", "--json", "--data"]).arg(data).args(more);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    summary_of(&output.stdout)
}

#[test]
fn accents_arrive_over_26_weeks_and_the_devices_keep_up() {
    let dir = tempfile::tempdir().unwrap();
    let summary = speech(&dir.path().join("demo"), &[]);
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("{key} in {summary}"));
    let by_week = |key: &str| -> Vec<f64> {
        summary[key].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).collect()
    };
    let (never, ours) = (by_week("accuracy_static"), by_week("accuracy"));
    assert_eq!((never.len(), ours.len()), (26, 26), "{summary}");
    let mean = |weeks: &[f64]| weeks.iter().sum::<f64>() / weeks.len() as f64;
    assert!((mean(&never[22..]) - number("accuracy_static_last")).abs() < 1e-3, "{summary}");
    assert!((mean(&ours[22..]) - number("accuracy_last")).abs() < 1e-3, "{summary}");
    assert!(mean(&never[..4]) >= 0.9 && number("accuracy_static_last") <= 0.6, "{summary}");
    assert!(number("accuracy_last") >= 0.8, "{summary}");
    assert_eq!((number("failed_requests"), number("requests")), (0.0, 26.0 * 400.0), "{summary}");
    let retrained = summary["retrained"].as_array().unwrap();
    assert!(!retrained.is_empty() && retrained.len() as f64 == number("retrains"), "{summary}");
    for retrain in retrained {
        let cause = retrain["cause"].as_str().unwrap();
        assert!(
            cause.starts_with("drift alert from speaker-") || cause.starts_with("decay alert from speaker-")
        );
        assert!(retrain["week"].as_u64().unwrap() > 4, "nobody new came before: {summary}");
    }
    assert_ne!(summary["model_first"], summary["model_last"], "{summary}");
    assert_eq!(summary["ledger_verified"], true, "{summary}");
}

#[test]
fn without_accents_the_same_weeks_start_no_retraining() {
    let dir = tempfile::tempdir().unwrap();
    let summary = speech(&dir.path().join("demo"), &["--no-drift", "--devices", "1"]);
    assert_eq!(summary["retrains"], 0, "{summary}");
    assert_eq!(summary["failed_requests"], 0, "{summary}");
    assert_eq!(summary["model_first"], summary["model_last"], "{summary}");
    assert_eq!(summary["accuracy"], summary["accuracy_static"], "one model answers both: {summary}");
    assert!(summary["accuracy_last"].as_f64().unwrap() >= 0.9, "{summary}");
}

#[test]
fn the_loop_closes_and_an_edited_ledger_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("demo");
    let output = demo(&data).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    check_summary(&summary_of(&output.stdout));
    for line in said.lines().filter(|line| line.contains("runs as pid")) {
        assert!(!is_alive(pid_in(line)), "{line}");
    }

    let server = data.join("server");
    let (code, text) = audit(&server);
    assert_eq!(code, Some(0), "{text}");
    tamper(&server.join("edgeward.db"));
    let (code, text) = audit(&server);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("entry "), "{text}");
}

#[test]
fn killed_processes_come_back_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = demo(&dir.path().join("demo")).spawn().unwrap();
    let said = kill_on_the_way(&mut child);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{said}");
    let summary = summary_of(&output.stdout);
    check_summary(&summary);
    assert_eq!(summary["restarts"], 2, "{summary}\n{said}");
}

/// Kills a device when the bad days begin and the control plane at the first alert; what the demo said.
fn kill_on_the_way(child: &mut Child) -> String {
    let mut said = String::new();
    let (mut device, mut server) = (None, None);
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.contains("runs as pid") {
            true if line.contains("robot-1") => device = Some(pid_in(&line)),
            true if line.contains("server") => server = Some(pid_in(&line)),
            _ => {}
        }
        let victim = match line.contains("== ") {
            true if line.contains("== decay") => device.take(),
            true if line.contains("== alert") => server.take(),
            _ => None,
        };
        if let Some(pid) = victim {
            kill_process(pid, Signal::KILL).unwrap();
        }
        said = format!("{said}{line}\n");
    }
    said
}

fn pid_in(line: &str) -> Pid {
    let number = line.rsplit(' ').next().and_then(|word| word.parse().ok());
    number.and_then(Pid::from_raw).unwrap_or_else(|| panic!("no pid in {line}"))
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}
