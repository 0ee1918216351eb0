//! Why, and where from, in words.

use std::fmt::Write as _;

use edgeward_core::record::{Answer, ShadowsRecord};
use edgeward_server::why::{
    Explanation, FileState, InputTold, ModelTold, Proved, Reproduced, RolloutTold, RunTold, Why,
};
use serde::Serialize;

use crate::command::remote::{ago, now};
use crate::output::table;

/// Features that are shown; all of them are in the JSON.
const SHOWN_MAX: usize = 10;

/// Where a version comes from.
#[derive(Serialize)]
pub(super) struct Lineage {
    /// The version.
    pub(super) model: ModelTold,
    /// What proves it.
    pub(super) proof: Proved,
}

pub(super) fn lineage(told: &Lineage) -> String {
    let mut text = model(&told.model);
    text.push_str(&proof(&told.proof));
    text
}

pub(super) fn why(why: &Why) -> String {
    let record = &why.record;
    let answers: Vec<String> = record.answers.iter().map(answer).collect();
    let mut text = format!(
        "{} answered {} {}, in {} us\n",
        why.device,
        answers.join(", "),
        ago(record.at_ms, now()),
        record.latency_us
    );
    for mark in &record.marks {
        let _ = writeln!(text, "{}: {}", mark.kind, mark.message);
    }
    for label in &why.labels {
        let _ =
            writeln!(text, "truth of row {}: {}, known {}", label.row, label.label, ago(label.at_ms, now()));
    }
    why.shadows.iter().for_each(|said| shadows(&mut text, said));
    let _ = writeln!(text, "input: {}; salted digest {}", input(&why.input), record.input);
    text.push_str(&explanation(&why.explanation));
    let _ = writeln!(text, "\nform {} of this model:", record.form);
    text.push_str(&model(&why.model));
    text.push_str(&proof(&why.proof));
    text
}

/// What shadows said to the same request.
fn shadows(text: &mut String, said: &ShadowsRecord) {
    for one in &said.candidates {
        let answers =
            one.answers.as_ref().map(|answers| answers.iter().map(answer).collect::<Vec<_>>().join(", "));
        let answers = answers.unwrap_or_else(|| "nothing: it failed".to_owned());
        let (run, bundle) = (&said.run, one.bundle.short());
        let _ = writeln!(text, "shadow {bundle} of {run} answered {answers}, in {} us", one.latency_us);
    }
}

fn answer(answer: &Answer) -> String {
    let predicted = answer.predicted.as_deref().unwrap_or("something without a name");
    let confidence = answer.confidence.map(|confidence| format!(" ({confidence:.4})"));
    format!("{predicted}{}", confidence.unwrap_or_default())
}

fn input(input: &InputTold) -> String {
    match input {
        InputTold::Here { redacted } if redacted.is_empty() => "kept, and its digest fits".to_owned(),
        InputTold::Here { redacted } => format!("kept without {}", redacted.join(", ")),
        InputTold::DigestOnly { .. } => "only its digest was kept".to_owned(),
        InputTold::Erased => "erased: its time is over, or its subject was".to_owned(),
    }
}

fn explanation(explanation: &Explanation) -> String {
    match explanation {
        Explanation::Missing { reason } => format!("no explanation: {reason}\n"),
        Explanation::Mapped { output, answer, evaluations, reproduced, picture, .. } => {
            let [lines, points] = picture.of;
            format!(
                "\n'{output}' is {answer:.4}; {evaluations} masks (RISE) over {lines} x {points} points say what mattered: \
                 --html draws it, --json has it; asked again, the model {}\n",
                same(reproduced)
            )
        }
        Explanation::Given { method, output, base, answer, background, reproduced, attributions, .. } => {
            let rows = attributions.iter().take(SHOWN_MAX).map(|one| {
                let error = if one.error > 0.0 { format!("{:.5}", one.error) } else { "exact".to_owned() };
                vec![one.feature.clone(), one.value.to_string(), format!("{:+.5}", one.moved), error]
            });
            let same = same(reproduced);
            let heading = format!(
                "\n'{output}' moved from {base:.4}, the mean over {background} golden rows, to {answer:.4} ({method} \
                 Shapley values); asked again, the model {same}\n"
            );
            let rows: Vec<_> = rows.collect();
            heading + &table(&["feature", "value", "moved it by", "error"], &rows, "") + "\n"
        }
    }
}

const fn same(reproduced: &Reproduced) -> &'static str {
    if reproduced.same { "answers the same" } else { "DOES NOT answer the same" }
}

fn model(model: &ModelTold) -> String {
    let version = model.version.map_or_else(|| "not in the registry".to_owned(), |n| format!("version {n}"));
    let mut text = format!("{} {version}, bundle {}\n", model.name, model.bundle);
    match &model.gone {
        Some(gone) => {
            let _ = writeln!(text, "its files are gone: {gone}");
        }
        None => {
            let of = |state| model.files.iter().filter(|file| file.state == state).count();
            let (checked, there, gone) = (of(FileState::Checked), of(FileState::There), of(FileState::Gone));
            let _ = writeln!(text, "files: {checked} checked, {there} there and not read, {gone} gone");
        }
    }
    if let Some(made) = &model.made_from {
        let snapshot = made.snapshot.as_deref().unwrap_or("-");
        let commit = made.commit.as_deref().unwrap_or("of no repository");
        let rows = made.rows.unwrap_or_default();
        let _ = writeln!(text, "data: {rows} rows, snapshot {snapshot}\ncode: commit {commit}");
    }
    for form in &model.forms {
        let said: Vec<&str> = form.conversion.iter().map(|gate| gate.reason.as_str()).collect();
        let by = form.tool.as_deref().unwrap_or("the embedded converter");
        let _ = writeln!(text, "form {} by {by}: {}", form.form, said.join("; "));
    }
    model.story.run.iter().for_each(|told| run(&mut text, told));
    model.story.rollouts.iter().for_each(|told| rollout(&mut text, told));
    text
}

fn run(text: &mut String, run: &RunTold) {
    let _ = writeln!(text, "run {} of {}, {}: {}", run.id, run.project, ago(run.at_ms, now()), run.cause);
    for gate in &run.gates {
        let verdict = if gate.passed { "passed" } else { "refused" };
        let _ = writeln!(text, "  {} {verdict}: {} (entry {})", gate.gate, gate.reason, gate.entry);
    }
}

fn rollout(text: &mut String, rollout: &RolloutTold) {
    let RolloutTold { id, cause, at_ms, waves, reasons, .. } = rollout;
    let (waves, ago) = (waves.len(), ago(*at_ms, now()));
    let _ = writeln!(text, "rollout {id}, {ago}: {cause}; {waves} waves opened; {}", reasons.join("; "));
    for approval in &rollout.approvals {
        let (by, waves, entry) = (&approval.by, approval.waves, approval.entry);
        let _ = writeln!(text, "  approved by {by} up to wave {waves}: {} (entry {entry})", approval.cause);
    }
}

fn proof(proof: &Proved) -> String {
    let batch = proof.batch.map(|(batch, entry)| format!("the record is in batch {batch} (entry {entry}); "));
    let known = match proof.origin_known {
        true => "",
        false => "; its name came with the answer: give --origin as you know it from elsewhere",
    };
    format!(
        "proof: {}{} entries hold under the signed checkpoint over {} of {}{known}",
        batch.unwrap_or_default(),
        proof.entries,
        proof.checkpoint_size,
        proof.origin
    )
}
