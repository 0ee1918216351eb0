//! `edgeward model card`: the card that is signed with the bundle, and what became of the version on devices since.

use std::fmt::Write as _;

use edgeward_api::operator::DriftWindow;
use edgeward_api::record::History;
use edgeward_server::why::{ModelTold, Proved, tell_lineage};
use serde::Serialize;

use super::{Remote, refused, unproved};
use crate::args::LineageArgs;
use crate::command::remote::{ago, now};
use crate::output::{Outcome, Output};

/// Streams that a window names.
const STREAMS_MAX: usize = 3;
/// Index above which a stream is usually called changed.
const PSI_CHANGED: f64 = 0.25;

/// Everything that is known of a version.
#[derive(Serialize)]
struct Card {
    /// The card as it was signed with the bundle; none if the bundle is gone.
    card: Option<String>,
    /// Where it comes from, as the ledger has it.
    model: ModelTold,
    /// What became of it on devices. The control plane says so; nothing proves it.
    history: History,
    /// What proves where it comes from.
    proof: Proved,
}

pub(crate) fn run(args: &LineageArgs, out: Output) -> Outcome {
    let client = args.remote.client()?;
    let doing = format!("asking for the card of {}", args.model);
    let lineage = client.lineage(&args.model, args.version).map_err(|error| refused(&doing, &error))?;
    let told = tell_lineage(&Remote(&client), &lineage, args.origin.origin.as_deref());
    let (model, card, proof) = told.map_err(|fault| unproved(&fault))?;
    let history = client.history(&args.model, model.version).map_err(|error| refused(&doing, &error))?;
    out.document(&Card { card, model, history, proof }, words)
}

fn words(told: &Card) -> String {
    let Card { card, model, history, .. } = told;
    let mut text = match (card, &model.gone) {
        (Some(card), _) => card.trim_end().to_owned(),
        (None, Some(gone)) => format!("# {}\n\nThe bundle is gone: {gone}", model.name),
        (None, None) => format!("# {}\n\nThe bundle has no card", model.name),
    };
    let version = model.version.map_or_else(String::new, |version| format!(" of version {version}"));
    let _ = write!(text, "\n\n## On devices\n\nBundle{version} `{}`.\n", model.bundle);
    for rollout in &model.story.rollouts {
        let _ = writeln!(
            text,
            "- rolled out {}: {}; {}",
            ago(rollout.at_ms, now()),
            rollout.cause,
            rollout.reasons.join("; ")
        );
    }
    for (kind, count) in &history.alerts {
        let _ = writeln!(text, "- {count} alerts of {kind}");
    }
    if history.windows.is_empty() {
        text.push_str("- no device has counted a request with it yet\n");
        return text;
    }
    text.push_str("\n| until | requests | labels | accuracy | moved most (population stability index) |\n");
    text.push_str("|---|---|---|---|---|\n");
    history.windows.iter().for_each(|window| {
        let _ = writeln!(text, "{}", row(window));
    });
    let _ = write!(text, "\nAn index above {PSI_CHANGED} is usually called a change.");
    text
}

fn row(window: &DriftWindow) -> String {
    let accuracy = match window.labelled {
        0 => "-".to_owned(),
        labelled => format!("{:.3}", window.correct as f64 / labelled as f64),
    };
    let mut streams: Vec<(&String, &f64)> = window.psi.iter().filter(|(_, psi)| **psi > 0.0).collect();
    streams.sort_by(|a, b| b.1.total_cmp(a.1));
    let moved: Vec<String> =
        streams.iter().take(STREAMS_MAX).map(|(stream, psi)| format!("{stream} {psi:.2}")).collect();
    let moved = if moved.is_empty() { "-".to_owned() } else { moved.join(", ") };
    let (until, samples, labelled) = (ago(window.to_ms, now()), window.samples, window.labelled);
    format!("| {until} | {samples} | {labelled} | {accuracy} | {moved} |")
}
