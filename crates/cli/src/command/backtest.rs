//! `edgeward backtest`: a history in, the alarms that a monitor would have raised out, before any device runs one.
//!
//! The monitor is fitted on the first rows, in their order, and sees the others one by one, as it would on a device.

use edgeward_monitor::{AlarmKind, BacktestError, MonitorError, Unsupported};
use edgeward_pipeline::table::Table;
use edgeward_pipeline::table::replay::{Replay, ReplayConfig, ReplayError, RowAlarm, replay};
use edgeward_pipeline::table::streams::Encoding;
use serde::Serialize;

use super::history;
use crate::args::BacktestArgs;
use crate::output::{Explain, Failure, Outcome, Output, note};

/// One alarm.
#[derive(Serialize)]
struct Raised {
    /// Row of the file, from 0, the header not counted.
    index: u64,
    /// What the row's time column holds.
    time: Option<String>,
    /// The column.
    feature: String,
    kind: AlarmKind,
    /// Powers of ten by which the evidence passed its threshold.
    severity: f64,
    /// The row with which the change is believed to have begun.
    estimated_change: Option<u64>,
    #[serde(skip)]
    message: String,
}

/// All of them.
#[derive(Serialize)]
struct Summary {
    /// Rows replayed.
    samples: u64,
    alarms: usize,
    /// Columns watched.
    features: usize,
    budget_per_sample: f64,
}

pub(crate) fn run(args: &BacktestArgs, out: Output) -> Outcome {
    let doing = format!("replaying {}", args.data.display());
    let table = history::read(&args.data, &args.columns)?;
    let reference_rows = usize::try_from(args.reference).unwrap_or(usize::MAX);
    if reference_rows >= table.rows() {
        return Err(too_short(&doing, args.reference, table.rows()));
    }
    let encoding = history::learn(&table, 0..reference_rows, &args.columns, &doing)?;
    let config = ReplayConfig {
        reference_rows,
        budget: args.budget.budget(),
        hold_off_rows: args.hold_off,
        unsupported: if args.strict { Unsupported::Refuse } else { Unsupported::Clamp },
    };
    let found = match replay(&table, &encoding, &config) {
        Err(ReplayError::Backtest(BacktestError::Monitor(MonitorError::Unsupported { arl, supported }))) => {
            return Err(unsupported(&doing, arl, supported));
        }
        other => other.explain("backtest", &doing)?,
    };
    if !out.is_json() {
        let left_out = encoding.left_out().iter();
        left_out
            .for_each(|left| note(&format!("note: '{}' is not watched: it {}", left.column, left.reason)));
        found.notes.iter().for_each(|text| note(&format!("note: {text}")));
    }
    report(&table, &encoding, found, out)
}

fn too_short(doing: &str, reference: u64, rows: usize) -> Failure {
    let text = format!("{doing}: the file has {rows} rows; --reference {reference} leaves none to replay");
    Failure::usage(text).hint("give a smaller --reference, or a longer history")
}

/// What `--strict` refuses: run lengths are those of the columns of numbers, whose share of the budget they are.
fn unsupported(doing: &str, arl: f64, supported: f64) -> Failure {
    let rows = arl.powf(0.25).ceil();
    let text = format!(
        "{doing}: one false alarm in {arl:.1e} rows is asked for, and the reference supports one in {supported:.1e}"
    );
    Failure::new("backtest", text).hint(format!(
        "give a --reference of {rows} rows or more, a budget of --arl {supported:.0e} or less, or leave --strict out"
    ))
}

fn report(table: &Table, encoding: &Encoding, found: Replay, out: Output) -> Outcome {
    let summary = Summary {
        samples: found.samples,
        alarms: found.alarms.len(),
        features: encoding.columns().len(),
        budget_per_sample: found.budget_per_sample,
    };
    let time = encoding.time().and_then(|name| table.column(name));
    let when = |index: u64| {
        let (_, column) = time?;
        Some(column.shown(usize::try_from(index).ok()?)?.into_owned())
    };
    for alarm in found.alarms {
        let RowAlarm { index, feature, kind, severity, estimated_change, message } = alarm;
        let raised = Raised { index, time: when(index), feature, kind, severity, estimated_change, message };
        if !out.row(&raised, Raised::words)? {
            return Ok(());
        }
    }
    out.document(&summary, Summary::words)
}

impl Raised {
    fn words(&self) -> String {
        let kind = match self.kind {
            AlarmKind::Drift => "drift",
            AlarmKind::Outlier => "outlier",
            AlarmKind::Decay => "decay",
        };
        let when = self.time.as_ref().map_or_else(String::new, |time| format!(" ({time})"));
        let since = match self.estimated_change.filter(|since| *since != self.index) {
            Some(since) => format!(", since about row {since}"),
            None => String::new(),
        };
        format!("row {}{when}: {kind} of severity {:.1}{since}: {}", self.index, self.severity, self.message)
    }
}

impl Summary {
    fn words(&self) -> String {
        format!(
            "{} alarms in {} rows of {} columns; the budget allows one false alarm in {:.3e} rows",
            self.alarms,
            self.samples,
            self.features,
            1.0 / self.budget_per_sample
        )
    }
}
