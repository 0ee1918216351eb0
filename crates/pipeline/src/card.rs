//! `card.md`: what the model is for, what it was made from, how good it is and where that ends. Facts only.

use std::fmt::Write as _;

use crate::measure::Quality;
use crate::project::{ProjectFile, TaskKind};
use crate::snapshot::Snapshot;
use crate::split::Split;

/// Classes named one by one.
const CLASSES_NAMED_MAX: usize = 100;

/// The card of a model whose preferred form has `quality`.
#[must_use]
pub fn card(
    project: &ProjectFile,
    snapshot: &Snapshot,
    split: &Split,
    forms: &[(String, Quality)],
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
