//! Whole runs over rows that have a time and a group: which rows are held out, what is compared, and what has moved.

use std::fmt::Write as _;

use edgeward_core::event::RunOutcome;
use edgeward_pipeline::RunSummary;

use crate::harness::Bench;
use crate::harness::control::Control;

const BY_TIME: &str = r#"
[project]
name = "digits"
[data]
files = ["data/*.csv"]
label = "y"
time = "day"
group = "machine"
split = "time"
gap = "2d"
[train]
builtin = "ridge"
[gate]
regression_max = 0.1
"#;

/// One row of each of `machines` machines a day, whose answer is `slope` times what it shows.
fn history(days: std::ops::Range<u32>, machines: u32, slope: f64) -> String {
    let mut csv = "day,machine,load,y\n".to_owned();
    for day in days {
        for machine in 0..machines {
            let load = f64::from((day * 37 + machine * 101) % 97) + f64::from(day) / 1000.0;
            let date = jiff::civil::date(2026, 1, 1) + jiff::Span::new().days(i64::from(day));
            writeln!(csv, "{date},m{machine},{load},{}", slope * load + f64::from(day % 3)).unwrap();
        }
    }
    csv
}

fn bench(project: &str, csv: &str) -> Bench {
    let bench = Bench::new(project);
    std::fs::remove_file(bench.dir.path().join("data/digits.csv")).unwrap();
    bench.write("data/rows.csv", csv);
    bench
}

fn reason(summary: &RunSummary, gate: &str) -> String {
    let found = summary.gates.iter().find(|verdict| verdict.gate == gate);
    found.map_or_else(|| format!("no {gate}: {:?}", summary.gates), |verdict| verdict.reason.clone())
}

#[test]
fn the_newest_days_are_held_out_and_the_gap_is_on_neither_side() {
    let project = BY_TIME.replace("group = \"machine\"\n", "");
    let csv = history(0..100, 4, 3.0).lines().map(without_machine).collect::<String>();
    let bench = bench(&project, &csv);
    let made = bench.run().unwrap();
    assert!(made.passed(), "{:?}", made.gates);
    let rows = reason(&made, "data.rows");
    assert!(rows.contains("292 to learn from, 100 held out, 8 on neither side"), "{rows}");
    let leak = reason(&made, "data.leak");
    assert!(leak.contains("0 rows held out are not newer"), "{leak}");
}

fn without_machine(line: &str) -> String {
    let cells: Vec<&str> = line.split(',').collect();
    format!("{},{},{}\n", cells[0], cells[2], cells[3])
}

#[test]
fn nobody_who_is_learned_from_is_held_out() {
    let project = BY_TIME.replace("split = \"time\"\ngap = \"2d\"", "split = \"group\"");
    let made = bench(&project, &history(0..40, 20, 3.0)).run().unwrap();
    assert!(made.passed(), "{:?}", made.gates);
    assert!(reason(&made, "data.leak").contains("0 groups are on both sides"), "{:?}", made.gates);
    // By time, too, only machines that were not there before are held out: here there are none.
    let made = bench(BY_TIME, &history(0..40, 20, 3.0)).run().unwrap();
    assert!(reason(&made, "data.rows").contains(" 0 held out"), "{:?}", made.gates);
    assert!(!made.passed());
}

#[test]
fn an_incumbent_is_compared_on_rows_newer_than_what_both_learned_from() {
    let project = BY_TIME.replace("group = \"machine\"\n", "");
    let days = |days| history(days, 4, 3.0).lines().map(without_machine).collect::<String>();
    let (first, control) = (bench(&project, &days(0..100)), Control::start());
    assert!(first.run_as("run-1", Some(&control.client)).unwrap().passed());
    control.told.lock().unwrap().champion = Some(1);

    let later = bench(&project, &days(0..120));
    let made = later.run_as("run-2", Some(&control.client)).unwrap();
    assert!(made.passed(), "{:?}", made.gates);
    // The newest 120 of 480 rows: all of them newer than what the first was judged by first.
    assert!(reason(&made, "gate.regression").contains("on the same 120 rows"), "{:?}", made.gates);

    // Where rows have no time any more, nobody knows which of them the first learned from.
    let timeless = project.replace("time = \"day\"\nsplit = \"time\"\ngap = \"2d\"\n", "");
    let csv: String =
        days(0..120).lines().map(|line| format!("{}\n", line.split_once(',').unwrap().1)).collect();
    let made = bench(&timeless, &csv).run_as("run-3", Some(&control.client)).unwrap();
    let RunOutcome::Refused { reason } = &made.outcome else { panic!("{:?}", made.gates) };
    assert!(reason.contains("divided by their time"), "{reason}");
}

#[test]
fn data_that_left_the_champions_reference_is_refused_where_that_is_asked() {
    let project = BY_TIME.replace("[gate]", "[validate]\ndrift_max = 0.25\n[gate]");
    let project = project.replace("group = \"machine\"\n", "");
    let days = |days, shift: f64| -> String {
        let csv = history(days, 4, 3.0);
        let moved = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            match (cells[2].parse::<f64>(), cells[3].parse::<f64>()) {
                (Ok(load), Ok(y)) => format!("{},{},{}\n", cells[0], load + shift, y + 3.0 * shift),
                _ => without_machine(line),
            }
        };
        csv.lines().map(moved).collect()
    };
    let (first, control) = (bench(&project, &days(0..200, 0.0)), Control::start());
    let made = first.run_as("run-1", Some(&control.client)).unwrap();
    assert!(
        made.passed() && reason(&made, "data.drift").contains("no version serves yet"),
        "{:?}",
        made.gates
    );
    control.told.lock().unwrap().champion = Some(1);

    let same = bench(&project, &days(50..250, 0.0)).run_as("run-2", Some(&control.client)).unwrap();
    assert!(same.passed() && reason(&same, "data.drift").contains("is over 0.25"), "{:?}", same.gates);
    let moved = bench(&project, &days(50..250, 60.0)).run_as("run-3", Some(&control.client)).unwrap();
    let RunOutcome::Refused { reason } = &moved.outcome else { panic!("{:?}", moved.gates) };
    assert!(reason.starts_with("data.drift: population stability index over 0.25 of 'load'"), "{reason}");
}
