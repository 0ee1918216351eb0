//! An answer to "why?" as one page: style, bars and maps inside, no script, nothing loaded from elsewhere.

use edgeward_core::record::{Answer, ShadowsRecord};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::draw;
use super::{Explanation, FileState, Gate, InputTold, ModelTold, Reproduced, RolloutTold, RunTold, Why};
use crate::instant::rfc3339;

/// Features that are shown; the others are in the JSON.
const SHOWN_MAX: usize = 30;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;color:#1a1a1a}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.2rem .6rem;\
    border-bottom:1px solid #ddd}code{font:12px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}\
    .share{width:40%}figure{margin:1rem 0}figcaption,.quiet{color:#666}.bad{color:#b00020;font-weight:600}";

/// The page.
#[must_use]
pub fn page(why: &Why) -> String {
    let record = &why.record;
    let title = format!("Why prediction {}?", record.prediction);
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { (title) } style { (PreEscaped(STYLE)) } }
            body {
                h1 { (title) }
                (body(why))
            }
        }
    }
    .into_string()
}

/// What stands below the title.
pub(crate) fn body(why: &Why) -> Markup {
    html! {
        (answer(why))
        h2 { "What moved the answer" }
        (explanation(&why.explanation))
        @if !why.shadows.is_empty() {
            h2 { "What shadows said" }
            @for said in &why.shadows { (shadows(said)) }
        }
        h2 { "Where the model comes from" }
        (model(&why.model))
        h2 { "Proof" }
        (proof(why))
    }
}

fn shadows(said: &ShadowsRecord) -> Markup {
    html! {
        table {
            caption { "Candidates of run " (said.run) ", " (rfc3339(said.at_ms)) }
            thead { tr { th scope="col" { "bundle" } th scope="col" { "answered" } th scope="col" { "in" } } }
            tbody {
                @for one in &said.candidates { tr {
                    td { code { (one.bundle.short()) } }
                    td { @match &one.answers { Some(answers) => (answered(answers)), None => span.bad { "failed" } } }
                    td { (one.latency_us) " µs" }
                } }
            }
        }
    }
}

fn answered(answers: &[Answer]) -> Markup {
    html! {
        @for answer in answers {
            b { (answer.predicted.as_deref().unwrap_or("-")) }
            @if let Some(confidence) = answer.confidence { " (" (format!("{confidence:.4}")) ") " }
        }
    }
}

fn answer(why: &Why) -> Markup {
    let record = &why.record;
    html! {
        table {
            tr { th scope="row" { "answered" } td { (answered(&record.answers)) } }
            tr { th scope="row" { "by" } td { (why.device) ", " (rfc3339(record.at_ms)) ", in " (record.latency_us) " µs" } }
            tr { th scope="row" { "model" } td {
                (record.model)
                @if let Some(version) = why.model.version { " version " (version) }
                ", form " (record.form) br; code { (record.bundle) }
            } }
            tr { th scope="row" { "it saw" } td { (input(&why.input)) br; "salted digest " code { (record.input) } } }
            @for mark in &record.marks { tr { th scope="row" { (mark.kind) } td.bad { (mark.message) } } }
            @for label in &why.labels {
                tr { th scope="row" { "truth, row " (label.row) } td { (label.label) ", known since " (rfc3339(label.at_ms)) } }
            }
        }
    }
}

/// What is told of an input, in a sentence.
fn input(input: &InputTold) -> String {
    match input {
        InputTold::Here { redacted } if redacted.is_empty() => {
            "the input is kept, and its digest fits".to_owned()
        }
        InputTold::Here { redacted } => format!("the input is kept without {}", redacted.join(", ")),
        InputTold::DigestOnly { .. } => "only the input's digest was kept".to_owned(),
        InputTold::Erased => {
            "the input was erased: its time is over, or its subject was forgotten".to_owned()
        }
    }
}

fn explanation(explanation: &Explanation) -> Markup {
    match explanation {
        Explanation::Missing { reason } => html! { p { "There is no explanation: " (reason) "." } },
        Explanation::Given { .. } => features(explanation),
        Explanation::Mapped {
            method, output, answer, evaluations, seed, reproduced, form, picture, ..
        } => html! {
            p {
                (draw::what(picture)) "; " (format!("{answer:.4}")) " for " b { (output) } ". Random masks (" (method)
                ", seed " (seed) ", " (evaluations) " evaluations), of " (form) "; " (asked_again(reproduced))
            }
            (draw::picture(picture, output))
        },
    }
}

fn asked_again(reproduced: &Reproduced) -> Markup {
    html! {
        @if reproduced.same { "asked again, it answers the same." }
        @else { span.bad { "asked again, it does not answer the same." } }
    }
}

fn features(explanation: &Explanation) -> Markup {
    let Explanation::Given {
        method,
        output,
        base,
        answer,
        background,
        seed,
        reproduced,
        attributions,
        form,
        ..
    } = explanation
    else {
        return html! {};
    };
    let largest = attributions.first().map_or(1.0, |first| first.moved.abs()).max(f64::MIN_POSITIVE);
    html! {
        p {
            "From " (format!("{base:.4}")) ", the mean over " (background) " rows of the golden test, to "
            (format!("{answer:.4}")) " for " b { (output) } ". Shapley values (" (method) ", seed " (seed)
            "), of " (form) "; " (asked_again(reproduced))
        }
        table {
            thead { tr {
                th scope="col" { "feature" } th scope="col" { "value" } th scope="col" { "moved the answer by" } td {}
            } }
            tbody {
                @for one in attributions.iter().take(SHOWN_MAX) {
                    tr {
                        td { (one.feature) } td { (one.value) }
                        td { (format!("{:+.5}", one.moved)) @if one.error > 0.0 { " ± " (format!("{:.5}", one.error)) } }
                        td.share { (draw::bar(one.moved.abs() / largest, one.moved > 0.0)) }
                    }
                }
            }
        }
        @if attributions.len() > SHOWN_MAX {
            p.quiet { (attributions.len() - SHOWN_MAX) " more moved it less." }
        }
    }
}

fn model(model: &ModelTold) -> Markup {
    html! {
        @if let Some(gone) = &model.gone { p.bad { "The bundle is not here: " (gone) } }
        @if let Some(run) = &model.story.run { (run_told(run)) }
        @if let Some(made) = &model.made_from {
            p {
                "Data: " (made.rows.unwrap_or_default()) " rows, " (made.captured.unwrap_or_default())
                " of them captured by devices; snapshot " code { (made.snapshot.as_deref().unwrap_or("-")) }
                ". Code: commit " code { (made.commit.as_deref().unwrap_or("of no repository")) } "."
            }
        }
        @for form in &model.forms {
            p {
                "Form " b { (form.form) } @if let Some(tool) = &form.tool { ", made by " (tool) }
                @for gate in &form.conversion { ": " (gate.reason) }
            }
        }
        @for rollout in &model.story.rollouts { (rollout_told(rollout)) }
        table {
            thead { tr { th scope="col" { "file" } th scope="col" { "SHA-256" } td {} } }
            tbody {
                @for file in &model.files {
                    tr { td { (file.path) } td { code { (file.digest.hex()) } } td { (state(file.state)) } }
                }
            }
        }
    }
}

const fn state(state: FileState) -> &'static str {
    match state {
        FileState::Checked => "checked",
        FileState::There => "there, not read",
        FileState::Gone => "gone",
    }
}

fn run_told(run: &RunTold) -> Markup {
    let verdict = |gate: &Gate| if gate.passed { "passed" } else { "refused" };
    html! {
        p { "Run " code { (run.id) } " of " (run.project) ", " (rfc3339(run.at_ms)) ": " (run.cause) }
        table {
            thead { tr {
                th scope="col" { "gate" } th scope="col" { "verdict" } th scope="col" { "why" } th scope="col" { "entry" }
            } }
            tbody {
                @for gate in &run.gates {
                    tr { td { (gate.gate) } td { (verdict(gate)) } td { (gate.reason) } td { (gate.entry) } }
                }
            }
        }
    }
}

fn rollout_told(rollout: &RolloutTold) -> Markup {
    html! {
        p {
            "Rollout " code { (rollout.id) } ", " (rfc3339(rollout.at_ms)) ": " (rollout.cause) "; "
            (rollout.waves.len()) " waves opened; " (rollout.reasons.join("; "))
        }
        @for approval in &rollout.approvals {
            p {
                "Approved by " b { (approval.by) } ", " (rfc3339(approval.at_ms)) ", up to wave " (approval.waves)
                ": " (approval.cause) " (entry " (approval.entry) ")"
            }
        }
    }
}

fn proof(why: &Why) -> Markup {
    let proof = &why.proof;
    html! {
        p {
            "The record is in batch " (proof.batch.map_or(0, |(batch, _)| batch)) ", whose root is entry "
            (proof.batch.map_or(0, |(_, entry)| entry)) " of " code { (proof.origin) } "; that and " (proof.entries)
            " entries about the model are in the tree of the signed checkpoint over " (proof.checkpoint_size)
            " entries, root " code { (proof.checkpoint_root) } "."
        }
        @if !proof.origin_known {
            p.quiet { "The log's name came with the answer; give it with --origin, as you know it from elsewhere." }
        }
    }
}
