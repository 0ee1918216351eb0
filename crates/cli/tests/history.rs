//! `profile`, `drift` and `backtest` on files as people have them.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeward"));
    command.env_remove("EDGEWARD_LOG").args(args).stdin(Stdio::null()).output().unwrap()
}

/// The JSON lines that `args` print.
fn lines(args: &[&str]) -> Vec<Value> {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let file = dir.join(name);
    fs::write(&file, text).unwrap();
    file
}

/// About normal: the sum of twelve uniforms.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

struct Plant {
    rows: usize,
    shift_at: usize,
    shift: f64,
    /// Probability of `red`; half of the rest is `green`.
    red: f64,
}

impl Plant {
    /// Dates, an id, a number, a huge whole number, a colour, a truth value and a constant, some cells missing.
    fn csv(&self, seed: u64, separator: char) -> String {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut text = "When,id,temperature,serial,colour,door,unit\n".replace(',', &separator.to_string());
        for row in 0..self.rows {
            let late = row >= self.shift_at;
            let temperature = normal(&mut rng) + if late { self.shift } else { 0.0 };
            let serial = 9_007_199_254_000_000_u64 + rng.random_range(0..1000_u64);
            let red = if late { self.red } else { 0.5 };
            let colour = match rng.random::<f64>() {
                share if share < red => "red",
                share if share < f64::midpoint(red, 1.0) => "green",
                _ => "blue, dark",
            };
            let temperature = if rng.random_bool(0.05) { String::new() } else { format!("{temperature:.4}") };
            let (minute, hour, day) = (row % 60, row / 60 % 24, row / 1440 + 1);
            let cells = [
                format!("2024-03-{day:02} {hour:02}:{minute:02}"),
                row.to_string(),
                temperature,
                serial.to_string(),
                format!("\"{colour}\""),
                rng.random_bool(0.3).to_string(),
                "bar".to_owned(),
            ];
            writeln!(text, "{}", cells.join(&separator.to_string())).unwrap();
        }
        text
    }
}

const STILL: Plant = Plant { rows: 6000, shift_at: usize::MAX, shift: 0.0, red: 0.5 };

fn backtest(file: &Path, more: &[&str]) -> Vec<Value> {
    let mut args = vec!["backtest", file.to_str().unwrap(), "--reference", "2000", "--json"];
    args.extend_from_slice(more);
    lines(&args)
}

#[test]
fn a_history_without_change_raises_no_alarm() {
    let dir = tempfile::tempdir().unwrap();
    for (seed, separator) in [(1, ','), (2, ';'), (3, '\t')] {
        let file = write(dir.path(), "still.csv", &format!("\u{feff}{}", STILL.csv(seed, separator)));
        let found = backtest(&file, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["samples"], 4000);
        assert_eq!((&found[0]["alarms"], &found[0]["features"]), (&0.into(), &5.into()));
        let per_sample = found[0]["budget_per_sample"].as_f64().unwrap();
        assert!((per_sample * 3.155_76e9 - 1.0).abs() < 1e-9, "{per_sample}");
    }
}

#[test]
fn a_shift_is_found_soon_after_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let plant = Plant { shift_at: 4500, shift: 1.5, ..STILL };
    let file = write(dir.path(), "shift.csv", &plant.csv(4, ','));
    let found = backtest(&file, &["--column", "temperature", "--column", "colour", "--arl", "1e6"]);
    let first = &found[0];
    let index = first["index"].as_u64().unwrap();
    assert!((4500..4600).contains(&index), "{first}");
    assert_eq!((&first["feature"], &first["kind"]), (&"temperature".into(), &"drift".into()));
    assert!(first["estimated_change"].as_u64().unwrap().abs_diff(4500) < 30, "{first}");
    assert_eq!(first["time"], format!("2024-03-04 {:02}:{:02}", index / 60 % 24, index % 60));
    assert!(first["severity"].as_f64().unwrap() >= 0.0);
    assert_eq!(first.as_object().unwrap().len(), 6);
    let last = found.last().unwrap();
    assert_eq!((&last["features"], &last["alarms"]), (&2.into(), &(found.len() - 1).into()));
}

#[test]
fn a_change_of_categories_is_found_and_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let plant = Plant { shift_at: 4500, red: 0.85, ..STILL };
    let file = write(dir.path(), "colour.csv", &plant.csv(5, ';'));
    let found = backtest(&file, &["--budget", "1/device-day", "--requests-per-second", "2"]);
    assert!((4500..4700).contains(&found[0]["index"].as_u64().unwrap()), "{}", found[0]);
    assert_eq!(found[0]["feature"], "colour");
    let args =
        ["backtest", file.to_str().unwrap(), "--reference", "2000", "--column", "colour", "--arl", "1e5"];
    let said = String::from_utf8(run(&args).stdout).unwrap();
    assert!(said.contains("'colour' has the value '") && said.contains("in the first 2000"), "{said}");
    assert!(said.contains("one false alarm in 1.000e5 rows"), "{said}");
}

#[test]
fn a_category_that_never_was_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = "colour,x\n".to_owned();
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for row in 0..3000 {
        let colour =
            if row > 2500 && rng.random_bool(0.3) { "violet" } else { ["red", "green"][row * 7 % 13 % 2] };
        writeln!(csv, "{colour},{:.3}", normal(&mut rng)).unwrap();
    }
    let file = write(dir.path(), "new.csv", &csv);
    let found = backtest(&file, &[]);
    assert_eq!((&found[0]["feature"], &found[0]["time"]), (&"colour".into(), &Value::Null));
    assert!((2500..2700).contains(&found[0]["index"].as_u64().unwrap()), "{}", found[0]);
}

#[test]
fn wrong_questions_and_broken_files_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let good = write(dir.path(), "good.csv", "date,x\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n");
    let ragged = write(dir.path(), "ragged.csv", "a,b\n1,2\n3\n");
    let empty = write(dir.path(), "empty.csv", "");
    let header = write(dir.path(), "header.csv", "a,b\n");
    let check = |args: &[&str], code: i32, words: &[&str]| {
        let output = run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
    };
    let good = good.to_str().unwrap();
    check(&["backtest", good], 2, &["--reference"]);
    check(&["backtest", good, "--reference", "0"], 2, &["--reference"]);
    check(&["backtest", good, "--reference", "3"], 2, &["3 rows", "hint:"]);
    check(&["backtest", good, "--reference", "2", "--column", "y"], 2, &["no column 'y'", "date, x"]);
    check(&["backtest", good, "--reference", "2", "--column", "date"], 2, &["holds times"]);
    check(&["backtest", good, "--reference", "2", "--budget", "often"], 2, &["often", "0.1/device-year"]);
    check(&["backtest", good, "--reference", "2", "--budget", "1", "--arl", "1e6"], 2, &["--arl"]);
    check(&["backtest", ragged.to_str().unwrap(), "--reference", "1"], 1, &["ragged.csv:3", "1 cells"]);
    check(&["backtest", empty.to_str().unwrap(), "--reference", "1"], 1, &["the file is empty"]);
    check(&["backtest", header.to_str().unwrap(), "--reference", "1"], 2, &["0 rows"]);
    check(&["backtest", "nowhere.csv", "--reference", "1"], 1, &["nowhere.csv"]);
}

#[test]
fn two_files_are_compared_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let before = write(dir.path(), "before.csv", &STILL.csv(8, ','));
    let after =
        write(dir.path(), "after.csv", &Plant { shift_at: 0, shift: 1.0, red: 0.8, ..STILL }.csv(9, ';'));
    let page = dir.path().join("page.html");
    let (before, after, html) = (before.to_str().unwrap(), after.to_str().unwrap(), page.to_str().unwrap());
    let found = &lines(&["drift", "--reference", before, "--current", after, "--json", "--html", html])[0];
    assert_eq!((&found["reference"]["rows"], &found["moved"]), (&6000.into(), &2.into()));
    let moved: Vec<&str> =
        found["blame"].as_array().unwrap().iter().filter_map(|b| b["stream"].as_str()).collect();
    assert_eq!(moved, ["temperature", "colour"]);
    let first = &found["features"][0];
    assert_eq!((&first["feature"], &first["kind"]), (&"temperature".into(), &"numbers".into()));
    for measure in [
        "psi",
        "jensen_shannon_distance",
        "kolmogorov_smirnov",
        "wasserstein",
        "hellinger",
        "chi_square",
        "l_infinity",
    ] {
        assert!(first[measure].as_f64().unwrap() > 0.05, "{measure}: {first}");
    }
    assert!((first["wasserstein"].as_f64().unwrap() - 1.0).abs() < 0.1, "{first}");
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains("2 of 5 features moved") && text.contains("<svg") && !text.contains("<script"));
    let same = run(&["drift", "--reference", before, "--current", before]);
    let said = String::from_utf8(same.stdout).unwrap();
    assert!(same.status.success() && said.contains("6000 rows against 6000"), "{said}");
}

#[test]
fn a_file_is_described_column_by_column() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "t.csv", &STILL.csv(10, '\t'));
    let found = &lines(&["profile", file.to_str().unwrap(), "--json"])[0];
    let columns = found["columns"].as_array().unwrap();
    let kinds: Vec<&str> = columns.iter().filter_map(|column| column["kind"].as_str()).collect();
    assert_eq!(kinds, ["times", "numbers", "numbers", "numbers", "categories", "categories", "categories"]);
    assert_eq!((&found["rows"], &columns[2]["n"]), (&6000.into(), &6000.into()));
    assert!(
        columns[2]["missing"].as_u64().unwrap().abs_diff(300) < 80
            && columns[2]["mean"].as_f64().unwrap().abs() < 0.1
    );
    assert_eq!(columns[4]["frequent"][0]["value"], "red");
    let said =
        String::from_utf8(run(&["profile", file.to_str().unwrap(), "--column", "door"]).stdout).unwrap();
    assert!(said.contains("false x") && said.contains("6000 rows") && !said.contains("colour"), "{said}");
}

#[test]
fn parquet_is_read_as_csv_is() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipeline/tests/fixtures/kinds.parquet");
    let found = &lines(&["profile", file, "--json"])[0];
    assert_eq!((&found["rows"], &found["columns"][0]["span"][0]), (&6.into(), &"2020-04-20T14:30:00".into()));
    let found = lines(&["backtest", file, "--reference", "5", "--column", "f64", "--arl", "1e6", "--json"]);
    assert_eq!(found.last().unwrap()["samples"], 1);
}

#[test]
fn a_strict_backtest_refuses_what_the_reference_does_not_support() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "short.csv", &STILL.csv(7, ','));
    let args = ["backtest", file.to_str().unwrap(), "--reference", "100", "--column", "temperature"];
    let explored = run(&args);
    let note = String::from_utf8(explored.stderr).unwrap();
    assert!(explored.status.success() && note.contains("supports one false outlier in 1.0e8 rows"), "{note}");
    let refused = run(&[&args[..], &["--strict"]].concat());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("supports one in 1.0e8") && said.contains("a --reference of 238 rows"), "{said}");
    assert!(run(&[&args[..], &["--strict", "--arl", "1e8"]].concat()).status.success());
}
