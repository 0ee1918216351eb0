//! `card.md`: what the model is for, what it was made from, how good it is and where that ends. Facts only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use edgeward_core::Dataset;

use crate::gates::SliceColumn;
use crate::measure::{Prediction, Quality};
use crate::project::{ProjectFile, TaskKind};
use crate::slice::slice;
use crate::snapshot::Snapshot;
use crate::split::Split;

/// Classes named one by one.
const CLASSES_NAMED_MAX: usize = 100;
/// Parts of one column that are told.
const PARTS_MAX: usize = 24;

/// How good the preferred form is on the parts of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// The column.
    pub column: String,
    /// Each part by its name.
    pub parts: BTreeMap<String, Quality>,
}

/// How good `predictions` of held-out rows are, part by part of each column that the project tells rows apart by. A column
/// that the rows do not have is left out: the gate that asks for it says so.
#[must_use]
pub fn slices(project: &ProjectFile, holdout: &Dataset, predictions: &[Prediction]) -> Vec<Slice> {
    let columns: BTreeSet<&String> = project.gate.slices.iter().chain(&project.monitor.segments).collect();
    let slice_of = |column: &&String| {
        let SliceColumn { name, parts } = slice(holdout, column).ok()?;
        let mut rows: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        parts.into_iter().enumerate().for_each(|(row, part)| rows.entry(part).or_default().push(row));
        let quality = |rows: &[usize]| {
            let labels: Vec<String> = rows.iter().map(|row| holdout.labels[*row].clone()).collect();
            let said: Vec<Prediction> =
                rows.iter().filter_map(|row| predictions.get(*row).cloned()).collect();
            Quality::of(project.task(), &labels, &said)
        };
        let parts = rows.into_iter().map(|(part, rows)| (part, quality(&rows))).collect();
        Some(Slice { column: name, parts })
    };
    columns.iter().filter_map(slice_of).collect()
}

/// The card of a model whose preferred form has `quality`.
#[must_use]
pub fn card(
    project: &ProjectFile,
    snapshot: &Snapshot,
    split: &Split,
    forms: &[(String, Quality)],
    slices: &[Slice],
) -> String {
    let mut text = format!("# {}\n\n", project.model);
    let task = match project.task() {
        TaskKind::Classification => "Classification",
        TaskKind::Regression => "Regression",
    };
    let trainer = match (&project.train.run, project.train.builtin) {
        (Some(command), _) => format!("the command `{command}`"),
        (None, Some(builtin)) => format!("the embedded trainer `{}`", builtin.as_str()),
        (None, None) => "nothing".to_owned(),
    };
    let _ = writeln!(text, "{task}, trained by {trainer} with seed {}.\n\n## Data\n", project.seed);
    let _ = writeln!(
        text,
        "{} rows from {} files and {} captured samples: {} to learn from, {} held out. {} duplicates and {} rows with \
         conflicting labels were dropped. Snapshot `{}`.\n",
        snapshot.rows,
        snapshot.files.len(),
        snapshot.captured,
        split.train.len(),
        split.holdout.len(),
        snapshot.duplicates,
        snapshot.label_conflict_rows,
        snapshot.digest
    );
    text.push_str("## Quality on held-out rows\n\n");
    forms.iter().for_each(|(name, quality)| describe(&mut text, name, quality));
    if let Some((_, quality)) = forms.first() {
        recalls(&mut text, quality);
    }
    slices.iter().for_each(|slice| parts(&mut text, slice));
    text.push_str("## Limits\n\n");
    text.push_str(limits(project.task()));
    text
}

fn describe(text: &mut String, name: &str, quality: &Quality) {
    let _ = write!(text, "- `{name}`: ");
    if let Some(accuracy) = &quality.accuracy {
        let (low, high) = (accuracy.low, accuracy.high);
        let _ = write!(text, "accuracy {:.4} (95% interval {low:.4} to {high:.4})", accuracy.value);
    }
    if let Some(log_loss) = quality.log_loss {
        let _ = write!(text, ", log loss {log_loss:.4}");
    }
    if let (Some(mae), Some(rmse)) = (quality.mae, quality.rmse) {
        let _ = write!(text, "mean absolute error {mae:.6}, RMSE {rmse:.6}");
    }
    let _ = writeln!(text, ", {} rows", quality.rows);
}

fn recalls(text: &mut String, quality: &Quality) {
    if quality.recall.is_empty() {
        return text.push('\n');
    }
    text.push_str("\n| class | rows | recall |\n|---|---|---|\n");
    for (class, (recall, rows)) in quality.recall.iter().take(CLASSES_NAMED_MAX) {
        let class = class.replace('|', "\\|");
        let _ = writeln!(text, "| {class} | {rows} | {recall:.4} |");
    }
    text.push('\n');
}

fn parts(text: &mut String, slice: &Slice) {
    let _ = writeln!(text, "## Quality by {}\n", slice.column);
    for (part, quality) in slice.parts.iter().take(PARTS_MAX) {
        describe(text, part, quality);
    }
    text.push('\n');
}

const fn limits(task: TaskKind) -> &'static str {
    match task {
        TaskKind::Classification => {
            "It answers with one of the classes above, also for an input that belongs to none of them. The quality holds \
             for inputs like the data; the monitor on the device says when they are no longer.\n"
        }
        TaskKind::Regression => {
            "The quality holds for inputs like the data; the monitor on the device says when they are no longer.\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_is_told_part_by_part() {
        let file = "[project]\nname = \"pumps\"\n[data]\nfiles = [\"x.csv\"]\nlabel = \"state\"\n[train]\nbuiltin = \"logistic\"\n\
                    [gate]\nregression_max = 0.1\nslices = [\"site\"]\n[monitor]\nsegments = [\"site\", \"nowhere\"]\n";
        let project = ProjectFile::parse(file, "edgeward.toml", std::path::Path::new(".")).unwrap();
        let mut holdout = Dataset::with_columns(vec!["site".to_owned()]);
        let said = |label: &str| Prediction { label: Some(label.to_owned()), ..Prediction::default() };
        for row in 0..8 {
            holdout.push(&[(row % 2) as f32], "good").unwrap();
        }
        let predictions: Vec<Prediction> =
            (0..8).map(|row| said(if row % 2 == 0 { "good" } else { "worn" })).collect();
        let slices = slices(&project, &holdout, &predictions);
        let [site] = &slices[..] else { panic!("{slices:?}") };
        let accuracy = |part: &str| site.parts[part].accuracy.unwrap().value;
        assert_eq!((site.column.as_str(), accuracy("0"), accuracy("1")), ("site", 1.0, 0.0));
        let mut text = String::new();
        parts(&mut text, site);
        assert!(text.contains("## Quality by site") && text.contains("- `1`: accuracy 0.0000"), "{text}");
    }
}
