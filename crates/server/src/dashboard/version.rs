//! One version of a model: where it comes from, its card, and the forms that devices choose from.
//!
//! What is told is proved against the ledger's signed checkpoint first, as `edgeward model lineage` does.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use edgeward_core::event::{RolloutOutcome, RunOutcome};
use edgeward_core::{Digest, Manifest, ModelName, Role, Timestamp};
use edgeward_store::VersionRow;
use maud::{Markup, html};

use super::figures::{bytes, grouped, metric};
use super::layout::{Place, Sheet, badge, card, crumbs, scroll, shown, tiles, when};
use super::session::Viewer;
use super::words::Tone;
use crate::app::App;
use crate::failure::Failure;
use crate::why::{self, FileState, FormTold, Gate, ModelTold, Proved, RolloutTold, RunTold};

/// What the page shows.
pub(super) struct Told {
    pub(super) now: Timestamp,
    pub(super) model: ModelName,
    pub(super) version: u64,
    pub(super) aliases: Vec<String>,
    pub(super) told: ModelTold,
    pub(super) card: Option<String>,
    pub(super) proved: Proved,
    /// None if it is gone.
    pub(super) manifest: Option<Manifest>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path((model, version)): Path<(String, u64)>,
) -> Result<Response, Failure> {
    let model: ModelName = super::parse(&model)?;
    let of = model.clone();
    let found =
        app.read(move |view| Ok::<_, Failure>((view.version(&of, version)?, view.aliases(&of)?))).await?;
    let (Some(VersionRow { bundle, .. }), aliases) = found else {
        return Err(Failure::not_found(format!("{model} has no version {version}")));
    };
    let (told, card, proved) = why::lineage(&app, &model, bundle).await?;
    let manifest = app.blobs.get(bundle).await.ok().and_then(|bytes| Manifest::parse(&bytes).ok());
    let aliases = aliases.into_iter().filter(|(_, of)| *of == version).map(|(alias, _)| alias).collect();
    let told = Told { now: app.now(), model, version, aliases, told, card, proved, manifest };
    Ok(shown(&render(&viewer, &told)).into_response())
}

pub(super) fn render(viewer: &Viewer, told: &Told) -> Markup {
    let title = format!("{} v{}", told.model, told.version);
    let back = format!("/models/{}", told.model);
    let body = html! {
        (crumbs(&[("/models", "Models"), (&back, told.model.as_str())], &format!("v{}", told.version)))
        div.heading { h1 { (title) }
            @if viewer.may(Role::Operator) { p.actions {
                a.button href=(format!("/models/{}/rollout?target={}", told.model, told.version)) { "Roll it out" }
            } }
        }
        (card("version", "Version", false, &summary(told)))
        (card("forms", "Forms", false, &forms(told)))
        (card("lineage", "Where it comes from", false, &lineage(told)))
        (card("card", "Model card", false, &html! {
            @match &told.card { Some(text) => (card_text(text)), None => p.quiet { "The bundle has no card." } }
        }))
        (card("files", "Files", false, &files(&told.told)))
    };
    Sheet::still(&title, Place::Models).page(viewer, &body)
}

fn summary(told: &Told) -> Markup {
    let size: Option<u64> =
        told.manifest.as_ref().map(|manifest| manifest.files.values().map(|file| file.size_bytes).sum());
    let registered = told.told.story.registered;
    html! {
        (tiles(&[
            ("Aliases", html! { @if told.aliases.is_empty() { "none" } @else { @for alias in &told.aliases { span.alias { (alias) } " " } } }),
            ("Registered", html! { @match registered { Some((at, _)) => (when(at, told.now)), None => "–" } }),
            ("Forms", html! { (told.told.forms.len()) }),
            ("All files", html! { @match size { Some(size) => (bytes(size)), None => "gone" } }),
        ]))
        p { "Bundle " code { (told.told.bundle) } }
        @if let Some(gone) = &told.told.gone { p.bad role="alert" { "The bundle is not here: " (gone) } }
        @if !told.told.story.metrics.is_empty() {
            dl.pairs { @for (name, value) in &told.told.story.metrics { div { dt { (name) } dd { (metric(*value)) } } } }
        }
    }
}

fn forms(told: &Told) -> Markup {
    let variant = |form: &FormTold| {
        told.manifest.as_ref().and_then(|manifest| {
            let variant = manifest.variants.iter().find(|variant| variant.label() == form.form)?;
            Some((variant, manifest.files.get(&variant.path)?.size_bytes))
        })
    };
    let largest = told
        .told
        .forms
        .iter()
        .filter_map(|form| variant(form).map(|(_, size)| size))
        .max()
        .unwrap_or(1)
        .max(1);
    let rows = html! {
        table.top-aligned {
            thead { tr { th scope="col" { "Form" } th scope="col" { "Engine" } th scope="col" { "Weights" } th.n scope="col" { "Size" } th scope="col" { "Needs" } th scope="col" { "Parity and other gates" } } }
            tbody { @for form in &told.told.forms { tr {
                @let known = variant(form);
                th scope="row" { (form.form) @if let Some(tool) = &form.tool { p.quiet { "made by " (tool) } } }
                td { @match known { Some((variant, _)) => (variant.engine), None => "–" } }
                td { @match known { Some((variant, _)) => (variant.dtype), None => "–" } }
                td.n { @match known { Some((_, size)) => { (bytes(size)) p.quiet { (size * 100 / largest) "\u{202f}% of the largest" } }, None => "–" } }
                td { (needs(known.map(|(variant, _)| variant))) }
                td.wrap { @if form.conversion.is_empty() { span.quiet { "none was asked" } } @for gate in &form.conversion { (verdict(gate)) } }
            } } }
        }
    };
    html! {
        @if told.told.forms.is_empty() { p.quiet { "They are told by the manifest, which is not here." } }
        @else { (scroll("Forms of the model", &rows)) }
        p.quiet { "How fast a form is depends on the device, which tries each that it can run and takes the fastest that passes the golden test." }
    }
}

fn needs(variant: Option<&edgeward_core::manifest::Variant>) -> String {
    let Some(variant) = variant else { return "–".to_owned() };
    let needs = &variant.requires;
    let parts = [
        needs.provider.clone(),
        (!needs.soc.is_empty()).then(|| needs.soc.join(" or ")),
        needs.sdk.as_ref().map(|sdk| format!("{} {}", sdk.name, sdk.version)),
        (!needs.arch.is_empty()).then(|| needs.arch.join(" or ")),
        needs.engine_version_min.as_ref().map(|version| format!("engine {version}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "its engine only".to_owned() } else { parts.join(", ") }
}

fn verdict(gate: &Gate) -> Markup {
    html! {
        p { (badge(if gate.passed { Tone::Good } else { Tone::Bad }, if gate.passed { "passed" } else { "refused" }))
            " " (gate.reason) }
    }
}

fn lineage(told: &Told) -> Markup {
    let story = &told.told.story;
    html! {
        ol.chain {
            @if let Some(made) = &told.told.made_from {
                li { h3 { "Data" }
                    p { (grouped(made.rows.unwrap_or_default())) " rows, " (grouped(made.captured.unwrap_or_default())) " of them captured by devices" }
                    p { "snapshot " code { (made.snapshot.as_deref().map_or("–", |text| text.get(..16).unwrap_or(text))) } }
                }
                li { h3 { "Code" }
                    p { @match &made.commit { Some(commit) => { "commit " code { (commit.get(..12).unwrap_or(commit)) } }, None => "of no repository" } }
                    p.quiet { @for (tool, version) in &made.tools { (tool) " " (version) " " } }
                }
            }
            @if let Some(run) = &story.run { (run_told(run, told.now)) }
            @if let Some((at, entry)) = story.registered {
                li { h3 { "Signed and registered" } p { (when(at, told.now)) ", entry " a href=(format!("/audit/{entry}")) { (entry) } } }
            }
            @for rollout in &story.rollouts { (rollout_told(rollout, told.now)) }
        }
        @if !story.pins.is_empty() { p { "Pinned on " @for (device, by) in &story.pins { a href=(format!("/devices/{device}")) { (device) } " (by " (by) ") " } } }
        p.quiet {
            (grouped(told.proved.entries as u64)) " entries about it are in the tree of the signed checkpoint over "
            (grouped(told.proved.checkpoint_size)) " entries of " code { (told.proved.origin) } "."
        }
    }
}

fn run_told(run: &RunTold, now: Timestamp) -> Markup {
    let passed = run.gates.iter().filter(|gate| gate.passed).count();
    html! {
        li { h3 { "Run" }
            p { a href=(format!("/runs/{}", run.id)) { (run.id) } " of " (run.project) ", " (when(run.at_ms, now)) }
            p.quiet { (run.cause) }
            p { (passed) " of " (run.gates.len()) " gates passed"
                @match &run.outcome {
                    Some(RunOutcome::Refused { reason } | RunOutcome::Failed { reason }) => span.bad { ": " (reason) },
                    _ => {},
                } }
        }
    }
}

fn rollout_told(rollout: &RolloutTold, now: Timestamp) -> Markup {
    let (tone, word) = match rollout.outcome {
        None => (Tone::Work, "under way"),
        Some(RolloutOutcome::Completed) => (Tone::Good, "completed"),
        Some(RolloutOutcome::RolledBack) => (Tone::Bad, "rolled back"),
        Some(RolloutOutcome::Superseded) => (Tone::Plain, "superseded"),
    };
    html! {
        li { h3 { "Rollout" }
            p { a href=(format!("/rollouts/{}", rollout.id)) { (rollout.id) } " " (badge(tone, word)) ", " (when(rollout.at_ms, now)) }
            p.quiet { (rollout.cause) }
            @for approval in &rollout.approvals { p { "Approved by " b { (approval.by) } ": " (approval.cause) } }
        }
    }
}

/// The card's headings, lists and paragraphs; everything else of it stands as it is written.
fn card_text(text: &str) -> Markup {
    let mut blocks: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.lines() {
        match line.trim().is_empty() {
            true => blocks.push(Vec::new()),
            false => blocks.iter_mut().next_back().into_iter().for_each(|block| block.push(line)),
        }
    }
    html! {
        div.prose { @for block in blocks.iter().filter(|block| !block.is_empty()) { (card_block(block)) } }
    }
}

fn card_block(block: &[&str]) -> Markup {
    let is_list = block.iter().all(|line| line.starts_with("- ") || line.starts_with("  "));
    let is_table = block.iter().all(|line| line.starts_with('|'));
    html! {
        @match block {
            [line] if line.starts_with('#') => h3 { (line.trim_start_matches('#').trim()) },
            lines if is_list => ul { @for line in lines { li { (line.trim_start_matches("- ").trim()) } } },
            lines if is_table => pre { (lines.join("\n")) },
            lines => p { (lines.join(" ")) },
        }
    }
}

fn files(told: &ModelTold) -> Markup {
    let state = |state: FileState| match state {
        FileState::Checked => "checked",
        FileState::There => "there",
        FileState::Gone => "gone",
    };
    let rows = html! {
        table {
            thead { tr { th scope="col" { "File" } th scope="col" { "SHA-256" } th scope="col" { "State" } } }
            tbody { @for file in &told.files { tr {
                th scope="row" { (file.path) } td { code { (short(file.digest)) } } td { (state(file.state)) }
            } } }
        }
    };
    html! {
        @if told.files.is_empty() { p.quiet { "The bundle's files are not here." } }
        @else { (scroll("Files of the bundle", &rows)) }
    }
}

fn short(digest: Digest) -> String {
    digest.hex().get(..24).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_shown_and_never_run() {
        let drawn =
            card_text("# digits\n\nClassification,\ntwo lines.\n\n- a\n- <b>\n\n| x | y |\n|---|---|").0;
        assert!(drawn.contains("<h3>digits</h3>") && drawn.contains("<p>Classification, two lines.</p>"));
        assert!(drawn.contains("<li>&lt;b&gt;</li>") && drawn.contains("<pre>| x | y |"));
        assert!(card_text("").0.starts_with("<div"));
    }
}
