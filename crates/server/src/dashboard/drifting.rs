//! Drift of one model, feature by feature: both distributions, how far each moved, and what the detectors make of it.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use edgeward_core::ModelName;
use maud::{Markup, html};
use serde::Deserialize;

use super::alerts::encoded;
use super::charts;
use super::figures::{clock, grouped};
use super::layout::{Place, Sheet, card, crumbs, empty, scroll, shown};
use super::plot::{Bar, Mark, histogram};
use super::session::Viewer;
use crate::app::App;
use crate::drift::{Overlay, Overlays, overlays};
use crate::extract::Named;
use crate::failure::Failure;
use crate::heard::Evidence;

/// Streams that are drawn; the others are in the table.
const DRAWN_MAX: usize = 12;
/// Streams in the table of one page.
const ROWS_MAX: usize = 200;
/// Ledger entries that are searched for marks.
const MARKED_MAX: usize = 200;
/// A page of distributions is looked at more rarely.
const LOOK_MS: u32 = 5000;

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// The stream that is drawn first.
    #[serde(default)]
    stream: String,
}

/// What the page shows.
pub(super) struct Told {
    pub(super) model: ModelName,
    pub(super) overlays: Option<Overlays>,
    pub(super) evidence: Option<Evidence>,
    pub(super) marks: Vec<Mark>,
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Named(model): Named<ModelName>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let of = model.clone();
    let entries = app
        .read(move |view| {
            super::model::known(view, &of)?;
            crate::handlers::audit::newest(view, MARKED_MAX)
        })
        .await?;
    let told = Told {
        marks: charts::marks(&entries, Some(&model)),
        evidence: app.heard.of(&model),
        overlays: overlays(&app, &model).await?,
        model,
    };
    Ok(shown(&render(&viewer, &told, &asked)).into_response())
}

pub(super) fn render(viewer: &Viewer, told: &Told, asked: &Asked) -> Markup {
    let title = format!("Drift of {}", told.model);
    let back = format!("/models/{}", told.model);
    let body = html! {
        (crumbs(&[("/models", "Models"), (&back, told.model.as_str())], "Drift"))
        h1 { (title) }
        (card("evidence", "The detectors' evidence against their threshold", true, &evidence(told)))
        (card("streams", "Streams", true, &streams(told)))
        (card("drawn", "Reference and now", true, &drawn(told, asked)))
    };
    Sheet { look_ms: Some(LOOK_MS), ..Sheet::live(&title, Place::Models) }.page(viewer, &body)
}

fn evidence(told: &Told) -> Markup {
    let Some(evidence) = &told.evidence else {
        return empty(
            "Nothing was heard yet.",
            &html! { "Devices tell the evidence of their detectors with each report. It is followed from when this server started." },
        );
    };
    html! {
        figure.plot {
            (scroll("Evidence over time", &charts::evidence_chart(evidence, &told.marks)))
            figcaption { span.key.alert { "alert" } span.key.deploy { "rollout" } span.key.retrain { "trained" } }
        }
        p.quiet {
            "The largest of any device, since this server started. Evidence is a factor by which the data speak against no change;
            at the threshold, the budget of false alarms that the project states is used up, and the device raises an alert."
        }
    }
}

fn streams(told: &Told) -> Markup {
    let Some(seen) = told.overlays.as_ref().filter(|seen| seen.samples > 0) else {
        return empty(
            "Nothing to compare yet.",
            &html! { "Devices send a profile for each window of traffic with the version that serves." },
        );
    };
    let most = |overlay: &Overlay| {
        told.evidence.as_ref().and_then(|evidence| {
            let (_, points) = evidence.streams.iter().find(|(stream, _)| *stream == overlay.drift.stream)?;
            points.last().map(|(_, last)| *last)
        })
    };
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Stream" } th.n scope="col" { "Moved" } th.n scope="col" { "Index" } th.n scope="col" { "Missing" } th.n scope="col" { "Evidence" } th scope="col" { "What happened" } } }
            tbody { @for overlay in seen.streams.iter().take(ROWS_MAX) { tr {
                th scope="row" { a href=(format!("?stream={}#drawn-heading", encoded(&overlay.drift.stream))) { (overlay.drift.stream) }
                    @if !overlay.is_feature { " " span.quiet { "(output)" } } }
                td.n { (format!("{:.3}", overlay.drift.effect)) }
                td.n { @match overlay.psi { Some(psi) => (format!("{psi:.3}")), None => "–" } }
                td.n { (format!("{:.1}\u{202f}%", overlay.missing.1 * 100.0)) }
                td.n { @match most(overlay) { Some(evidence) => { "10^" (format!("{evidence:.1}")) }, None => "–" } }
                td.wrap.quiet { @if overlay.drift.reasons.is_empty() { "nothing beyond noise" } @else { (overlay.drift.reasons.join("; ")) } }
            } } }
        }
    };
    html! {
        p { "The latest " (grouped(seen.samples)) " samples, " time { (clock(seen.from_ms)) } " to " time { (clock(seen.to_ms)) }
            ", of version " code { (seen.bundle.short()) } ", against the rows that it learned from." }
        (scroll("Streams, the farthest moved first", &rows))
        p.quiet { "Moved: Jensen–Shannon distance beyond noise, 0 to 1. Index: population stability index beyond chance, in nats." }
    }
}

fn drawn(told: &Told, asked: &Asked) -> Markup {
    let Some(seen) = told.overlays.as_ref().filter(|seen| seen.samples > 0) else {
        return empty("Nothing to draw yet.", &html! {});
    };
    let wanted = seen.streams.iter().filter(|overlay| overlay.drift.stream == asked.stream);
    let others = seen.streams.iter().filter(|overlay| overlay.drift.stream != asked.stream);
    let all: Vec<&Overlay> = wanted.chain(others).take(DRAWN_MAX).collect();
    html! {
        p.legend { span.key.reference { "reference" } span.key.current { "now" } }
        div.gallery { @for overlay in &all { (one(overlay)) } }
        @if seen.streams.len() > all.len() { p.quiet { (seen.streams.len() - all.len()) " more streams: choose one in the table." } }
        p.quiet { "Each bar is a cell of the monitor. Cells are chosen so that the reference fills them about equally, so they are not equally wide." }
    }
}

fn one(overlay: &Overlay) -> Markup {
    let name = &overlay.drift.stream;
    let bar = |(label, reference, current): &(String, f64, f64)| Bar {
        label: label.clone(),
        reference: *reference,
        current: *current,
    };
    let bars: Vec<Bar> = overlay.bars.iter().map(bar).collect();
    html! {
        figure.overlay {
            figcaption { b { (name) } span.quiet { "moved " (format!("{:.3}", overlay.drift.effect)) } }
            (histogram(name, &bars))
            details.data { summary { "The numbers" span.hidden { " of " (name) } }
                (scroll(&format!("Distribution of {name}"), &html! {
                    table {
                        thead { tr { th scope="col" { "Cell" } th.n scope="col" { "Reference" } th.n scope="col" { "Now" } } }
                        tbody { @for bar in &bars { tr { th scope="row" { (bar.label) } td.n { (format!("{:.1}\u{202f}%", bar.reference * 100.0)) } td.n { (format!("{:.1}\u{202f}%", bar.current * 100.0)) } } } }
                    }
                }))
            }
        }
    }
}
