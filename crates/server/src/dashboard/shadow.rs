//! Shadows: the candidates of a run side by side with the champion they are compared with.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use edgeward_api::operator::{Shadow, ShadowTest};
use edgeward_core::shadow::ShadowOutcome;
use edgeward_core::{Role, Timestamp};
use maud::{Markup, html};

use super::figures::{grouped, percent};
use super::layout::{Place, Sheet, badge, card, empty, scroll, shown, tiles, when};
use super::plot::{Interval, gauge, intervals};
use super::session::Viewer;
use super::words::Tone;
use crate::app::App;
use crate::failure::Failure;
use crate::handlers::shadows;

pub(super) async fn page(State(app): State<Arc<App>>, viewer: Viewer) -> Result<Response, Failure> {
    let tests = shadows::shadows(State(Arc::clone(&app))).await?.0.tests;
    Ok(shown(&render(&viewer, &tests, app.now())).into_response())
}

pub(super) fn render(viewer: &Viewer, tests: &[ShadowTest], now: Timestamp) -> Markup {
    let body = html! {
        h1 { "Shadows" }
        @if tests.is_empty() {
            (card("none", "Comparisons", true, &empty("No shadows yet.", &html! {
                "A project with " code { "[[shadow]]" } " trains several candidates in one run. They answer beside the champion, on copies of its requests, until one of them is shown to be better."
            })))
        }
        @for test in tests {
            @let heading = format!("{}, candidates of {}", test.model, test.run);
            (card(&format!("test-{}", test.run), &heading, true, &one(viewer, test, now)))
        }
    };
    Sheet::live("Shadows", Place::Shadows).page(viewer, &body)
}

fn standing(test: &ShadowTest) -> Markup {
    match &test.outcome {
        None => badge(Tone::Work, "under way"),
        Some(ShadowOutcome::Winner(winner)) => badge(Tone::Good, &format!("{} is better", winner.name)),
        Some(ShadowOutcome::NoneBetter) => badge(Tone::Plain, "none is better"),
        Some(ShadowOutcome::Undecided) => badge(Tone::Warn, "no verdict"),
        Some(ShadowOutcome::Superseded) => badge(Tone::Plain, "made way"),
    }
}

fn one(viewer: &Viewer, test: &ShadowTest, now: Timestamp) -> Markup {
    let leads = |shadow: &Shadow| matches!(&test.outcome, Some(ShadowOutcome::Winner(winner)) if winner.bundle == shadow.bundle);
    let range = |shadow: &Shadow| Interval {
        name: shadow.name.clone(),
        low: shadow.range[0],
        high: shadow.range[1],
        leads: leads(shadow),
    };
    let ranges: Vec<Interval> = test.shadows.iter().map(range).collect();
    html! {
        (tiles(&[
            ("Verdict", standing(test)),
            ("Labels", html! { (grouped(test.labels)) }),
            ("Requests mirrored", html! { (grouped(test.mirrored)) @if test.dropped > 0 { small { " " (grouped(test.dropped)) " left out" } } }),
            ("Champion wrong", html! { @match test.champion_loss { Some(loss) => (percent(loss)), None => "–" } }),
        ]))
        @for reason in &test.reasons { p.reason { (reason) } }
        (table(viewer, test))
        @if test.labels > 0 {
            h3 { "How many fewer answers are wrong than the champion's, in points" }
            (scroll("Ranges", &intervals("fewer wrong than the champion", test.policy.margin, &ranges)))
        }
        p.quiet {
            "On " (grouped(test.devices)) " devices since " (when(test.started_at_ms, now)) ". Ranges hold for all numbers of labels at once; a candidate that is no
            better is declared the winner with a probability of at most " (percent(test.policy.alpha)) "; the dashed line is the margin that is not waited for."
        }
    }
}

fn table(viewer: &Viewer, test: &ShadowTest) -> Markup {
    let share = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), percent);
    let rows = html! {
        table {
            thead { tr { th scope="col" { "Candidate" } th scope="col" { "Version" } th.n scope="col" { "Devices" } th.n scope="col" { "Answered" } th.n scope="col" { "Agrees" } th.n scope="col" { "Confidence" }
                th.n scope="col" { "Wrong" } th scope="col" { "Evidence" } th scope="col" { "Do" } } }
            tbody { @for shadow in &test.shadows { tr {
                th scope="row" { (shadow.name) }
                td { a href=(format!("/models/{}/{}", test.model, shadow.version)) { "v" (shadow.version) } }
                td.n { (grouped(shadow.staged)) } td.n { (grouped(shadow.answered)) }
                td.n { (share(shadow.agreement)) } td.n { (share(shadow.confidence)) } td.n { (share(shadow.loss)) }
                td { (gauge(shadow.log10_evidence, test.log10_bar)) }
                td { @if viewer.may(Role::Operator) {
                    a.button href=(format!("/models/{}/rollout?target={}", test.model, shadow.version)) { "Promote" span.hidden { " " (shadow.name) } }
                } }
            } } }
        }
    };
    scroll("Candidates, the best first", &rows)
}
