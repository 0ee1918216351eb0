//! Which rows are held out for evaluation.
//!
//! *By row*, a row's side follows from its values and the seed alone: `h < holdout`, where `h` is the first 64 bits of
//! SHA-256 over the seed and the row's digest, as a fraction. So an input is never on both sides, and a row once held out
//! stays held out whatever else later snapshots hold. *Stratified*, the threshold of each class is set so that its share is
//! met to the row. *By group*, `h` is that of the group, so nobody is on both sides. *By time*, the newest rows are held out,
//! a gap before them belongs to neither side, and neither do newer rows of groups that were there before.
//!
//! A rule is kept with the model: whoever compares it with another knows which rows neither of them learned from. Of
//! splits by group or time, rows whose input stands on both sides are not held out.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_core::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::origin::Rows;
use crate::project::{ProjectFile, SplitBy, TaskKind};
use crate::snapshot::class_counts;

const ROW: &[u8] = b"edgeward.split/1";
const GROUP: &[u8] = b"edgeward.split.group/1";

/// How rows are divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRule {
    /// Seed.
    pub seed: u64,
    /// Share of the rows held out.
    pub holdout: f64,
    /// What decides.
    #[serde(default, skip_serializing_if = "By::is_row")]
    pub by: By,
}

/// What decides on which side a row is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum By {
    /// Its values.
    #[default]
    Row,
    /// Its values, held against the threshold of its class.
    Class(BTreeMap<String, f64>),
    /// Its group.
    Group,
    /// Its time.
    Time {
        /// Held out are rows from this moment on.
        from_ms: Timestamp,
        /// Learned from are rows that are older than it by more than this.
        gap_ms: i64,
        /// Whether a group that was there before is not held out.
        of_new_groups: bool,
    },
}

impl By {
    const fn is_row(&self) -> bool {
        matches!(self, Self::Row)
    }
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The model learns from it.
    Train,
    /// The model is judged by it.
    Holdout,
    /// Neither.
    Neither,
}

/// Rows that a rule cannot divide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rows were divided by their {0}, which the rows here do not have; name the column in [data] {0}")]
pub struct NoOrigin(&'static str);

/// Rows of a snapshot by side, as indices in rising order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The rule it follows from.
    pub rule: SplitRule,
    /// Rows to learn from.
    pub train: Vec<usize>,
    /// Rows to judge by.
    pub holdout: Vec<usize>,
    /// Rows that are on neither side.
    pub left_out: u64,
    /// Rows to learn from by label; empty for numbers.
    pub train_classes: BTreeMap<String, u64>,
    /// Rows to judge by, by label; empty for numbers.
    pub holdout_classes: BTreeMap<String, u64>,
}

fn fraction(domain: &[u8], seed: u64, what: &[u8]) -> f64 {
    let digest = Digest::of_parts([domain, &seed.to_be_bytes(), what]);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    (u64::from_be_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

impl SplitRule {
    /// What decides by the values of a row.
    #[must_use]
    pub const fn by_row(seed: u64, holdout: f64) -> Self {
        Self { seed, holdout, by: By::Row }
    }

    /// The rule of a project for these rows.
    ///
    /// # Errors
    /// The rows do not have what decides.
    pub fn of(project: &ProjectFile, rows: &Rows) -> Result<Self, NoOrigin> {
        let (seed, data) = (project.seed, &project.data);
        let by = match data.split {
            SplitBy::Row if data.stratify => By::Class(class_thresholds(seed, data.holdout, rows)),
            SplitBy::Row => By::Row,
            SplitBy::Group => By::Group,
            SplitBy::Time => By::Time {
                from_ms: holdout_begins(rows.origins.times.as_ref().ok_or(NoOrigin("time"))?, data.holdout),
                gap_ms: i64::try_from(data.gap.0.as_millis()).unwrap_or(i64::MAX),
                of_new_groups: data.group.is_some(),
            },
        };
        Ok(Self { seed, holdout: data.holdout, by })
    }

    /// The side of each row.
    ///
    /// # Errors
    /// The rows do not have what decides.
    pub fn sides(&self, rows: &Rows) -> Result<Vec<Side>, NoOrigin> {
        let groups = || rows.origins.groups.as_ref().ok_or(NoOrigin("group"));
        let all = 0..rows.table.len();
        let held_out = |is: bool| if is { Side::Holdout } else { Side::Train };
        let by_hash = |row: usize| fraction(ROW, self.seed, rows.table.row_digest(row).as_bytes());
        let mut sides: Vec<Side> = match &self.by {
            By::Row => return Ok(all.map(|row| held_out(by_hash(row) < self.holdout)).collect()),
            By::Class(thresholds) => {
                let threshold =
                    |row: usize| *thresholds.get(&rows.table.labels[row]).unwrap_or(&self.holdout);
                return Ok(all.map(|row| held_out(by_hash(row) < threshold(row))).collect());
            }
            By::Group => {
                let group = |name: &String| fraction(GROUP, self.seed, name.as_bytes()) < self.holdout;
                groups()?.iter().map(|name| held_out(group(name))).collect()
            }
            By::Time { from_ms, gap_ms, of_new_groups } => {
                let times = rows.origins.times.as_ref().ok_or(NoOrigin("time"))?;
                let mut sides: Vec<Side> =
                    times.iter().map(|time| by_time(*time, *from_ms, *gap_ms)).collect();
                if *of_new_groups {
                    let names = groups()?;
                    let known = known_before(names, times, *from_ms);
                    drop_where(&mut sides, |row| known.contains(names[row].as_str()));
                }
                sides
            }
        };
        let learned: BTreeSet<Digest> =
            all.filter(|row| sides[*row] == Side::Train).map(|row| rows.table.row_digest(row)).collect();
        drop_where(&mut sides, |row| learned.contains(&rows.table.row_digest(row)));
        Ok(sides)
    }
}

/// Takes held-out rows for which `is` holds out of both sides.
fn drop_where(sides: &mut [Side], is: impl Fn(usize) -> bool) {
    for (row, side) in sides.iter_mut().enumerate() {
        if *side == Side::Holdout && is(row) {
            *side = Side::Neither;
        }
    }
}

fn by_time(time: Timestamp, from: Timestamp, gap_ms: i64) -> Side {
    match time.0 {
        ms if ms >= from.0 => Side::Holdout,
        ms if ms < from.0.saturating_sub(gap_ms) => Side::Train,
        _ => Side::Neither,
    }
}

fn known_before<'a>(groups: &'a [String], times: &[Timestamp], from: Timestamp) -> BTreeSet<&'a str> {
    groups.iter().zip(times).filter(|(_, time)| **time < from).map(|(group, _)| group.as_str()).collect()
}

/// The moment from which on about this share of the rows lies.
fn holdout_begins(times: &[Timestamp], holdout: f64) -> Timestamp {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let learned = (sorted.len() as f64 * (1.0 - holdout)).round() as usize;
    sorted.get(learned).or(sorted.last()).copied().unwrap_or(Timestamp(0))
}

/// Of each class, what the fraction of a row must be below so that this share of its rows is held out: at least one
/// row, and one to learn from, where there are two.
fn class_thresholds(seed: u64, holdout: f64, rows: &Rows) -> BTreeMap<String, f64> {
    let mut fractions: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    for (row, label) in rows.table.labels.iter().enumerate() {
        fractions.entry(label).or_default().push(fraction(ROW, seed, rows.table.row_digest(row).as_bytes()));
    }
    let threshold = |mut of_class: Vec<f64>| {
        of_class.sort_by(f64::total_cmp);
        let wanted = (of_class.len() as f64 * holdout).round() as usize;
        of_class[wanted.max(1).min(of_class.len() - 1)]
    };
    fractions.into_iter().map(|(label, of_class)| (label.clone(), threshold(of_class))).collect()
}

/// Divides the rows.
///
/// # Errors
/// The rows do not have what decides.
pub fn split(rows: &Rows, rule: SplitRule, task: TaskKind) -> Result<Split, NoOrigin> {
    let sides = rule.sides(rows)?;
    let on = |side| (0..sides.len()).filter(|row| sides[*row] == side).collect::<Vec<usize>>();
    let (train, holdout) = (on(Side::Train), on(Side::Holdout));
    let left_out = (sides.len() - train.len() - holdout.len()) as u64;
    let counts = |of: &[usize]| {
        let labels: Vec<String> = of.iter().map(|row| rows.table.labels[*row].clone()).collect();
        class_counts(&labels, task)
    };
    let (train_classes, holdout_classes) = (counts(&train), counts(&holdout));
    Ok(Split { rule, train, holdout, left_out, train_classes, holdout_classes })
}

#[cfg(test)]
mod tests;
