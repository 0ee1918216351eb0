//! The rows a run works on, named by their digest, so that a model can be traced to its exact data.
//!
//! Rows come from files in the order of their paths, then from devices in the order the server gives. With a lens, only those
//! in the ranges of its filter count, and of them the newest: by their times where they have some, else as they come. Of equal rows with
//! equal labels the first stays. For classes, an input that carries several labels teaches nothing: all its rows are
//! dropped and counted. For numbers several labels are noise, and stay.

use std::collections::BTreeMap;
use std::path::Path;

use edgeward_core::{Dataset, Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cache::{CacheError, Entry, write_json, write_output};
use crate::captured::Captured;
use crate::index::Content;
use crate::origin::Rows;
use crate::project::{Lens, TaskKind, Window};
use crate::source::{self, Roles, SourceError};
use crate::workdir::WorkError;

/// Schema of [`Snapshot`].
pub const SNAPSHOT_SCHEMA: &str = "edgeward.snapshot/1";
/// The manifest, an output of the stage.
pub const SNAPSHOT_FILE: &str = "snapshot.json";
const ORIGINS_FILE: &str = "origins.json";
const LABELS_FILE: &str = "labels.json";
const VALUES_FILE: &str = "values.f32";

/// What a snapshot is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Always [`SNAPSHOT_SCHEMA`].
    pub schema: String,
    /// Every file, by its path relative to the project.
    pub files: BTreeMap<String, Content>,
    /// Captured samples that were read.
    pub captured: u64,
    /// The server's position they were read up to.
    pub captured_position: u64,
    /// The digest of the captured samples; none without any.
    pub captured_digest: Option<Digest>,
    /// Captured samples left out since they have another width.
    pub captured_unfit: u64,
    /// Rows left out since an equal row with an equal label came before.
    pub duplicates: u64,
    /// Inputs that carry several labels.
    pub label_conflicts: u64,
    /// Rows left out since their input carries several labels.
    pub label_conflict_rows: u64,
    /// Rows that stayed.
    pub rows: u64,
    /// Rows that stayed by label; empty for numbers.
    pub classes: BTreeMap<String, u64>,
    /// The digest of the rows that stayed: columns, values and labels.
    pub digest: Digest,
}

/// A snapshot that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The rows cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The outputs cannot be written.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The stage cannot be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// What a snapshot is made from.
pub struct Sources<'a> {
    /// The project's folder.
    pub dir: &'a Path,
    /// Files by their path relative to it.
    pub files: &'a BTreeMap<String, Content>,
    /// Which columns are no features.
    pub roles: Roles<'a>,
    /// What the label is.
    pub task: TaskKind,
    /// Samples of devices.
    pub captured: Option<&'a Captured>,
    /// Most rows, spread over all of them; none for all.
    pub rows_max: Option<usize>,
    /// Which of the rows count.
    pub lens: &'a Lens,
}

/// Reads the rows and keeps those that count.
///
/// # Errors
/// A file cannot be read.
pub fn take(sources: &Sources<'_>) -> Result<(Snapshot, Rows), SourceError> {
    let mut all = sources.roles.rows();
    for name in sources.files.keys() {
        source::read(&sources.dir.join(name), sources.roles, &mut all)?;
    }
    let captured_unfit = sources.captured.map_or(0, |captured| captured.add_to(&mut all));
    let mut sifted = sift(&all.table, sources.task);
    look_through(sources.lens, &all, &mut sifted.kept)?;
    if let Some(most) = sources.rows_max {
        let step = sifted.kept.len().div_ceil(most.max(1)).max(1);
        sifted.kept = sifted.kept.into_iter().step_by(step).collect();
    }
    let rows = all.select(&sifted.kept);
    let snapshot = Snapshot {
        schema: SNAPSHOT_SCHEMA.to_owned(),
        files: sources.files.clone(),
        captured: sources.captured.map_or(0, |captured| captured.samples.len() as u64),
        captured_position: sources.captured.map_or(0, |captured| captured.position),
        captured_digest: sources.captured.map(Captured::digest),
        captured_unfit,
        duplicates: sifted.duplicates,
        label_conflicts: sifted.conflicts,
        label_conflict_rows: sifted.conflict_rows,
        rows: rows.table.len() as u64,
        classes: class_counts(&rows.table.labels, sources.task),
        digest: rows_digest(&rows),
    };
    Ok((snapshot, rows))
}

/// Keeps the rows that `lens` shows: those in the ranges of its features, and of them the newest.
fn look_through(lens: &Lens, all: &Rows, kept: &mut Vec<usize>) -> Result<(), SourceError> {
    for (feature, [low, high]) in &lens.filter {
        let place = all.table.feature_names.iter().position(|name| name == feature);
        let place = place.ok_or_else(|| SourceError::NoFeature(feature.clone()))?;
        kept.retain(|row| (*low..=*high).contains(&f64::from(all.table.row(*row)[place])));
    }
    match (lens.window, &all.origins.times) {
        (None, _) => {}
        (Some(Window::Rows(rows)), _) => {
            let newest = all.origins.in_time(kept);
            *kept = newest[newest.len().saturating_sub(rows)..].to_vec();
            kept.sort_unstable();
        }
        (Some(Window::Time(span)), Some(times)) => {
            let newest = kept.iter().map(|row| times[*row]).max().unwrap_or(Timestamp(0));
            let from = newest.0.saturating_sub(i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX));
            kept.retain(|row| times[*row].0 > from);
        }
        (Some(Window::Time(_)), None) => return Err(SourceError::Timeless),
    }
    Ok(())
}

/// Rows by label; empty for numbers.
pub(crate) fn class_counts(labels: &[String], task: TaskKind) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    if task == TaskKind::Classification {
        for label in labels {
            *counts.entry(label.clone()).or_default() += 1;
        }
    }
    counts
}

struct Sifted {
    kept: Vec<usize>,
    duplicates: u64,
    conflicts: u64,
    conflict_rows: u64,
}

fn sift(all: &Dataset, task: TaskKind) -> Sifted {
    let digests: Vec<Digest> = (0..all.len()).map(|row| all.row_digest(row)).collect();
    let mut labels: BTreeMap<&Digest, Vec<&str>> = BTreeMap::new();
    let mut sifted = Sifted { kept: Vec::new(), duplicates: 0, conflicts: 0, conflict_rows: 0 };
    for (row, digest) in digests.iter().enumerate() {
        let seen = labels.entry(digest).or_default();
        let label = all.labels[row].as_str();
        match seen.contains(&label) {
            true => sifted.duplicates += 1,
            false => {
                seen.push(label);
                sifted.kept.push(row);
            }
        }
    }
    sifted.conflicts = labels.values().filter(|labels| labels.len() > 1).count() as u64;
    if task == TaskKind::Classification {
        let before = sifted.kept.len();
        sifted.kept.retain(|row| labels[&digests[*row]].len() == 1);
        sifted.conflict_rows = (before - sifted.kept.len()) as u64;
    }
    sifted
}

/// Covers origins only where there are any, so that rows without keep the digest they had.
fn rows_digest(rows: &Rows) -> Digest {
    let table = dataset_digest(&rows.table);
    if rows.origins.is_unasked() {
        return table;
    }
    let origins =
        edgeward_core::canonical::digest(&rows.origins).expect("moments and names have a canonical form");
    Digest::of_parts([table.as_bytes().as_slice(), origins.as_bytes()])
}

fn dataset_digest(dataset: &Dataset) -> Digest {
    let values = value_bytes(dataset);
    let names = dataset.feature_names.iter().map(String::as_bytes);
    let labels = dataset.labels.iter().map(String::as_bytes);
    let width = (dataset.width() as u64).to_be_bytes();
    Digest::of_parts([width.as_slice()].into_iter().chain(names).chain([values.as_slice()]).chain(labels))
}

fn value_bytes(dataset: &Dataset) -> Vec<u8> {
    dataset.values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes a snapshot and its rows as outputs of a stage.
///
/// # Errors
/// A file cannot be written.
pub fn write(dir: &Path, snapshot: &Snapshot, rows: &Rows) -> Result<(), WorkError> {
    let dataset = &rows.table;
    write_json(&dir.join(SNAPSHOT_FILE), snapshot)?;
    write_json(&dir.join(ORIGINS_FILE), &rows.origins)?;
    write_json(&dir.join(LABELS_FILE), &(&dataset.feature_names, &dataset.labels))?;
    write_output(&dir.join(VALUES_FILE), &value_bytes(dataset))
}

/// Reads the rows back from the stage that wrote them.
///
/// # Errors
/// An output is missing or damaged.
pub fn load(entry: &Entry) -> Result<Rows, CacheError> {
    let origins = entry.json(ORIGINS_FILE)?;
    let (feature_names, labels) = entry.json(LABELS_FILE)?;
    let bytes = entry.read(VALUES_FILE)?;
    let (chunks, _) = bytes.as_chunks::<4>();
    let values = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Rows { table: Dataset { feature_names, values, labels }, origins })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgeward_core::DeviceId;

    use super::*;
    use crate::captured::CapturedRow;
    use crate::project::Span;

    fn row(values: &[f32], label: &str) -> CapturedRow {
        let bits = values.iter().map(|value| value.to_bits()).collect();
        let device = Some(DeviceId::new("robot-1").unwrap());
        CapturedRow { bits, label: label.to_owned(), at_ms: Timestamp(5 * 86_400_000), device }
    }

    const LABEL: Roles<'static> = Roles { label: "label", time: None, group: None };

    fn take_from(csv: &str, task: TaskKind, samples: Vec<CapturedRow>) -> (Snapshot, Dataset) {
        let (snapshot, rows) = take_through(csv, (task, LABEL), &Lens::default(), samples);
        (snapshot, rows.table)
    }

    fn take_through(
        csv: &str,
        (task, roles): (TaskKind, Roles<'_>),
        lens: &Lens,
        samples: Vec<CapturedRow>,
    ) -> (Snapshot, Rows) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.csv"), csv).unwrap();
        let content = Content { size_bytes: csv.len() as u64, digest: Digest::of(csv.as_bytes()) };
        let files = BTreeMap::from([("a.csv".to_owned(), content)]);
        let captured = Captured { samples, position: 7 };
        let sources = Sources {
            dir: dir.path(),
            files: &files,
            roles,
            task,
            captured: Some(&captured),
            rows_max: None,
            lens,
        };
        take(&sources).unwrap()
    }

    const CSV: &str = "x,label\n1,a\n2,b\n1,a\n3,a\n3,b\n";

    #[test]
    fn duplicates_and_conflicts_are_dropped_and_counted() {
        let samples = vec![row(&[2.0], "b"), row(&[4.0], "c"), row(&[1.0, 2.0], "a")];
        let (snapshot, dataset) = take_from(CSV, TaskKind::Classification, samples);
        assert_eq!(dataset.values, [1.0, 2.0, 4.0]);
        assert_eq!(dataset.labels, ["a", "b", "c"]);
        assert_eq!((snapshot.duplicates, snapshot.label_conflicts, snapshot.label_conflict_rows), (2, 1, 2));
        assert_eq!((snapshot.captured, snapshot.captured_unfit, snapshot.captured_position), (3, 1, 7));
        assert_eq!(snapshot.classes.len(), 3);
    }

    #[test]
    fn numbers_keep_conflicting_rows() {
        let csv = CSV.replace('a', "1.5").replace("lb", "lab").replace(",b", ",2.5");
        let csv = csv.replace("l1.5bel", "label");
        let (snapshot, dataset) = take_from(&csv, TaskKind::Regression, Vec::new());
        assert_eq!(dataset.values, [1.0, 2.0, 3.0, 3.0]);
        assert_eq!((snapshot.label_conflicts, snapshot.label_conflict_rows), (1, 0));
        assert!(snapshot.classes.is_empty());
    }

    #[test]
    fn a_window_shows_the_newest_rows_by_their_times() {
        let csv = "t,x,label\n1970-01-05,1,a\n1970-01-02,2,b\n1970-01-04,3,a\n";
        let roles = Roles { time: Some("t"), ..LABEL };
        let through = |window| {
            let lens = Lens { window: Some(window), ..Lens::default() };
            let samples = vec![row(&[4.0], "b")];
            take_through(csv, (TaskKind::Classification, roles), &lens, samples).1
        };
        let days = |days: u64| Window::Time(Span(Duration::from_secs(days * 86_400)));
        // The sample was captured on the sixth day.
        assert_eq!(through(days(2)).table.values, [1.0, 4.0]);
        assert_eq!(through(days(3)).table.values, [1.0, 3.0, 4.0]);
        let newest = through(Window::Rows(3));
        assert_eq!(newest.table.values, [1.0, 3.0, 4.0]);
        assert_eq!(newest.origins.times.unwrap()[2], Timestamp(5 * 86_400_000));
    }

    #[test]
    fn the_digest_is_that_of_rows_not_of_files() {
        let one = take_from("x,label\n1,a\n", TaskKind::Classification, Vec::new()).0;
        let same = take_from("x,label\n1.0,a\n1,a\n", TaskKind::Classification, Vec::new()).0;
        let other = take_from("x,label\n1,b\n", TaskKind::Classification, Vec::new()).0;
        assert_eq!(one.digest, same.digest);
        assert_ne!(one.digest, other.digest);
    }
}
