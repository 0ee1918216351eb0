//! Which alarms a monitor would have raised over a history, and when: a pure function of the numbers.
//!
//! The first rows are the reference, the rest is replayed. Time is an index of the history; dates, files and
//! columns' types are the caller's business.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alarm::{Alarm, AlarmKind};
use crate::budget::Budget;
use crate::fit::{FitError, Seasons};
use crate::monitor::{Monitor, MonitorConfig, MonitorError, Unsupported};
use crate::reference::Reference;
use crate::sample::{Rows, Sample};
use crate::verification::Verification;

/// How a history is replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct BacktestConfig {
    /// Rows of the history that the monitor is fitted on.
    pub reference_rows: usize,
    /// How the monitor decides.
    pub monitor: MonitorConfig,
    /// Cycles of a history in order; none for one whose rows have no order.
    pub seasons: Option<Seasons>,
}

impl BacktestConfig {
    /// The first `reference_rows` of an ordered history as reference, one false alarm in `arl_samples` after it. A
    /// run length that the reference does not support is refused: a person is there to read why.
    #[must_use]
    pub fn new(reference_rows: usize, arl_samples: f64) -> Self {
        let budget = Budget::of_arl(arl_samples);
        let monitor = MonitorConfig { budget, unsupported: Unsupported::Refuse, ..MonitorConfig::default() };
        Self { reference_rows, monitor, seasons: Some(Seasons::default()) }
    }
}

/// A history that cannot be replayed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BacktestError {
    /// The reference would take the whole history or more.
    #[error("a reference of {reference_rows} rows leaves nothing of a history of {rows}")]
    History {
        /// Wanted length of the reference.
        reference_rows: usize,
        /// Length of the history.
        rows: usize,
    },
    /// Values that do not come in whole rows.
    #[error("{values} values are no rows of {columns} columns")]
    Shape {
        /// Number of values.
        values: usize,
        /// Number of columns.
        columns: usize,
    },
    /// No reference follows from the first rows.
    #[error("cannot fit the reference on the first rows")]
    Fit(#[source] FitError),
    /// No monitor follows from the reference and the configuration.
    #[error("cannot make the monitor")]
    Monitor(#[source] MonitorError),
}

/// One alarm of the replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BacktestAlarm {
    /// Row of the history, from 0, on which it was raised.
    pub index: u64,
    /// Column with the most evidence.
    pub feature: String,
    /// What happened.
    pub kind: AlarmKind,
    /// Powers of ten by which the evidence passed its threshold; 0 for a kind of value that never was.
    pub severity: f64,
    /// Row of the history at which the change is believed to have begun.
    pub estimated_change: Option<u64>,
    /// The same in a sentence.
    pub message: String,
}

/// What the replay showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Backtest {
    /// Alarms in the order of the history.
    pub alarms: Vec<BacktestAlarm>,
    /// Rows replayed.
    pub samples: u64,
    /// False alarms that the budget allows per row.
    pub budget_per_sample: f64,
    /// What each column's held-back reference rows showed; none for columns that are judged as they come.
    pub verifications: Vec<(String, Option<Verification>)>,
}

/// Replays `history`, one column after the other in each row (NaN where missing).
///
/// # Errors
/// The history is no table, too short for the reference, or nothing follows from the configuration.
pub fn backtest(
    columns: &[String],
    history: &[f32],
    config: &BacktestConfig,
) -> Result<Backtest, BacktestError> {
    let width = columns.len();
    if width == 0 || !history.len().is_multiple_of(width) {
        return Err(BacktestError::Shape { values: history.len(), columns: width });
    }
    let (rows, reference_rows) = (history.len() / width, config.reference_rows);
    if reference_rows >= rows {
        return Err(BacktestError::History { reference_rows, rows });
    }
    let (past, replayed) = history.split_at(reference_rows * width);
    let reference = fit(columns, past, config.seasons.as_ref()).map_err(BacktestError::Fit)?;
    let verification = |column: usize| reference.streams()[column].verification().cloned();
    let verifications =
        columns.iter().cloned().enumerate().map(|(i, name)| (name, verification(i))).collect();
    let monitor = Monitor::new(Arc::new(reference), config.monitor.clone());
    let mut monitor = monitor.map_err(BacktestError::Monitor)?;
    monitor.prime(&Rows::of_features(past, width));
    let alarms = monitor.observe_rows(&Rows::of_features(replayed, width));
    let arl = config.monitor.budget.arl_samples().unwrap_or(f64::INFINITY);
    Ok(Backtest {
        alarms: alarms.into_iter().map(|alarm| in_history(alarm, reference_rows as u64)).collect(),
        samples: monitor.samples(),
        budget_per_sample: 1.0 / arl,
        verifications,
    })
}

fn fit(columns: &[String], past: &[f32], seasons: Option<&Seasons>) -> Result<Reference, FitError> {
    let rows = past.chunks_exact(columns.len());
    let samples = rows.map(|features| Sample { features, predicted: None, confidence: None });
    match seasons {
        Some(seasons) => Reference::fit_ordered(columns, &[], samples, seasons),
        None => Reference::fit(columns, &[], samples),
    }
}

/// Sample `n` of the replay is row `reference_rows + n - 1` of the history.
fn in_history(alarm: Alarm, reference_rows: u64) -> BacktestAlarm {
    let row = |sample: u64| reference_rows + sample.saturating_sub(1);
    BacktestAlarm {
        index: row(alarm.sample),
        feature: alarm.stream.unwrap_or_default(),
        kind: alarm.kind,
        severity: alarm.log10_evidence - alarm.log10_threshold,
        estimated_change: alarm.change_sample.map(row),
        message: alarm.message,
    }
}
