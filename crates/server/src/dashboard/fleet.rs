//! The fleet: how many stand how, a map of groups by versions, how near the devices are to an alarm, and a page of devices.
//!
//! However many devices there are, a page holds counts and at most [`PAGE`] rows.

mod heat;
mod seen;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use edgeward_core::{Digest, ModelName};
use maud::{Markup, html};
use serde::Deserialize;

use super::alerts::encoded;
use super::figures::{grouped, percent};
use super::layout::{Place, Sheet, card, empty, scroll, shown, tiles, when};
use super::plot::{gauge, shares};
use super::session::Viewer;
use crate::app::App;
use crate::failure::Failure;
use heat::{Cell, Row, heat};

use seen::SeenModel;
pub(crate) use seen::{Context, Fleet, FleetCache, Seen, Standing, fleet};

/// Devices on one page.
const PAGE: usize = 50;
/// Versions that have a column of their own in the map.
const COLUMNS_MAX: usize = 8;
/// Tenths of the threshold that have a column of their own, and one for what is beyond it.
const TENTHS: usize = 10;
/// A fleet beyond this is looked at more rarely.
const LARGE: usize = 1000;
const LARGE_LOOK_MS: u32 = 5000;

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    standing: String,
    #[serde(default)]
    group: String,
    /// The bundle that runs; `none` for devices without one.
    #[serde(default)]
    bundle: String,
    /// A part of the device's id.
    #[serde(default)]
    q: String,
    #[serde(default)]
    page: usize,
}

impl Asked {
    /// The address of the page with one thing changed.
    fn with(&self, key: &str, value: &str) -> String {
        let page = self.page.to_string();
        let all = [
            ("standing", &self.standing),
            ("group", &self.group),
            ("bundle", &self.bundle),
            ("q", &self.q),
            ("page", &page),
        ];
        let kept = all.into_iter().filter_map(|(name, text)| {
            let text = if name == key {
                value
            } else if name == "page" {
                ""
            } else {
                text.as_str()
            };
            (!text.is_empty()).then(|| format!("{name}={}", encoded(text)))
        });
        format!("/fleet?{}#devices-heading", kept.collect::<Vec<_>>().join("&"))
    }

    fn is_filter(&self) -> bool {
        [&self.standing, &self.group, &self.bundle, &self.q].iter().any(|text| !text.is_empty())
    }

    /// The devices that are meant.
    fn chosen<'a>(&self, fleet: &'a Fleet) -> Vec<&'a Seen> {
        let standing = Standing::named(&self.standing);
        let bundle = Digest::from_hex(&self.bundle).ok();
        let (asks_standing, asks_bundle) = (!self.standing.is_empty(), !self.bundle.is_empty());
        let is_meant = |device: &&Seen| {
            let runs = |model: &SeenModel| model.active.is_some() && model.active == bundle;
            let idle = self.bundle == "none" && device.models.iter().all(|model| model.active.is_none());
            (!asks_standing || Some(device.standing) == standing)
                && (!asks_bundle || idle || device.models.iter().any(runs))
                && (self.q.is_empty() || device.id.as_str().contains(self.q.trim()))
        };
        let all: Box<dyn Iterator<Item = &Seen>> =
            match fleet.groups.iter().find(|group| group.name.as_str() == self.group) {
                Some(group) => Box::new(group.members.iter().filter_map(|place| fleet.devices.get(*place))),
                None if self.group.is_empty() => Box::new(fleet.devices.iter()),
                None => Box::new(std::iter::empty()),
            };
        all.filter(is_meant).collect()
    }
}

pub(super) async fn page(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let fleet = fleet(&app).await?;
    Ok(shown(&render(&viewer, &fleet, &asked, &app.address)).into_response())
}

pub(super) fn render(viewer: &Viewer, fleet: &Fleet, asked: &Asked, address: &str) -> Markup {
    let body = html! {
        div.heading { h1 { "Fleet" }
            @if viewer.may(edgeward_core::Role::Operator) { p.actions { a.button href="/fleet/make-group" { "Make a group" } } }
        }
        @if fleet.devices.is_empty() {
            (card("state", "Devices", true, &empty("No device has joined.", &html! {
                "Make a join token with " code { "edgeward device token" } " and start "
                code { "edgeward agent --server " (address) " --join-token TOKEN" } " on one."
            })))
        } @else {
            (card("state", "How they stand", true, &state(fleet)))
            div.halves {
                (card("map", "Groups by what they run", true, &map(fleet, asked)))
                (card("near", "How near to an alarm", true, &near(fleet)))
            }
            (card("devices", "Devices", true, &html! { (devices(fleet, asked)) }))
            (filter(fleet, asked))
        }
    };
    let look_ms = if fleet.devices.len() > LARGE { LARGE_LOOK_MS } else { super::layout::LOOK_MS };
    Sheet { look_ms: Some(look_ms), ..Sheet::live("Fleet", Place::Fleet) }.page(viewer, &body)
}

fn state(fleet: &Fleet) -> Markup {
    let count = |standing: Standing| fleet.count(|one| one == standing) as u64;
    let parts = Standing::ALL.map(|standing| (standing.word(), standing.word(), count(standing)));
    let failed: u64 = fleet.models().map(|model| model.failed).sum();
    html! {
        (tiles(&[
            ("Devices", html! { (grouped(fleet.devices.len() as u64)) }),
            ("Reporting", html! { (grouped(fleet.count(Standing::reports) as u64)) }),
            ("Failed requests", html! { span.bad[failed > 0] { (grouped(failed)) } }),
            ("Accuracy", html! { @match fleet.accuracy() { Some((share, _)) => (percent(share)), None => "–" } }),
        ]))
        (shares("Devices", &parts))
        p.legend {
            @for (class, name, count) in parts {
                a href=(Asked::default().with("standing", name)) { span class=(format!("dot {class}")) aria-hidden="true" {} (grouped(count)) " " (name) }
            }
        }
    }
}

/// A column of the map: a bundle, or that nothing runs.
type Column = Option<(ModelName, Digest)>;

/// What runs, the most frequent first.
fn columns(fleet: &Fleet) -> Vec<Column> {
    let mut counts = BTreeMap::<Column, usize>::new();
    for device in &fleet.devices {
        running(device).for_each(|column| *counts.entry(column).or_default() += 1);
    }
    let mut columns: Vec<(Column, usize)> = counts.into_iter().collect();
    columns.sort_by_key(|column| std::cmp::Reverse(column.1));
    columns.into_iter().take(COLUMNS_MAX).map(|(column, _)| column).collect()
}

fn running(device: &Seen) -> impl Iterator<Item = Column> {
    let active = device.models.iter().filter_map(|model| Some(Some((model.name.clone(), model.active?))));
    let idle = device.models.iter().all(|model| model.active.is_none()).then_some(None);
    active.chain(idle)
}

fn map(fleet: &Fleet, asked: &Asked) -> Markup {
    let columns = columns(fleet);
    let named: Vec<String> = columns
        .iter()
        .map(|column| match column {
            Some((model, bundle)) => format!("{model} {}", fleet.label(*bundle)),
            None => "nothing yet".to_owned(),
        })
        .collect();
    let row = |name: Markup, group: &str, members: &mut dyn Iterator<Item = &Seen>| {
        let mut counts = vec![0; columns.len()];
        for column in members.flat_map(running) {
            if let Some(place) = columns.iter().position(|known| *known == column) {
                counts[place] += 1;
            }
        }
        let cells = columns.iter().zip(counts).map(|(column, count)| {
            let bundle = column.as_ref().map_or_else(|| "none".to_owned(), |(_, bundle)| bundle.hex());
            let wish = Asked { group: group.to_owned(), ..Asked::default() };
            Cell { count, href: Some(wish.with("bundle", &bundle)) }
        });
        Row { name, cells: cells.collect() }
    };
    let mut rows =
        vec![row(html! { a href=(asked.with("group", "")) { "everybody" } }, "", &mut fleet.devices.iter())];
    rows.extend(fleet.groups.iter().map(|group| {
        let name =
            html! { a href=(format!("/groups/{}", group.name)) title=(group.expression) { (group.name) } };
        let mut members = group.members.iter().filter_map(|place| fleet.devices.get(*place));
        row(name, group.name.as_str(), &mut members)
    }));
    html! {
        (heat("Devices by group and version", "Group", &named, &rows))
        @if fleet.groups.is_empty() { p.quiet { "No groups yet. A group is an expression over labels, such as " code { "site = berlin" } "." } }
    }
}

/// How many devices stand at which part of the evidence that raises an alarm.
fn near(fleet: &Fleet) -> Markup {
    let names: Vec<&ModelName> = fleet
        .models()
        .map(|model| &model.name)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let row = |name: &&ModelName| {
        let mut counts = vec![0; TENTHS + 1];
        for share in fleet.models().filter(|model| model.name == **name).filter_map(SeenModel::share) {
            counts[((share.max(0.0) * TENTHS as f64) as usize).min(TENTHS)] += 1;
        }
        let cells = counts.into_iter().map(|count| Cell { count, href: None });
        Row { name: html! { a href=(format!("/models/{name}/drift")) { (name) } }, cells: cells.collect() }
    };
    let rows: Vec<Row> = names.iter().map(row).collect();
    let mut columns: Vec<String> = (0..TENTHS).map(|tenth| format!("{}", tenth * 10)).collect();
    columns.push("alarm".to_owned());
    if rows.is_empty() {
        return empty(
            "Nothing is watched yet.",
            &html! { "A model's monitor starts with its first request." },
        );
    }
    html! {
        (heat("Devices by their evidence, in percent of the threshold", "Model", &columns, &rows))
        p.quiet { "Evidence of change in percent of what raises an alarm (on a log scale), from that many percent on." }
    }
}

fn filter(fleet: &Fleet, asked: &Asked) -> Markup {
    html! {
        section.card aria-labelledby="filter-heading" {
            h2 id="filter-heading" { "Look for devices" }
            form.line method="get" action="/fleet" {
                label for="q" { "Name" } input id="q" name="q" value=(asked.q) size="16" placeholder="a part of it";
                label for="standing" { "Standing" }
                select id="standing" name="standing" {
                    option value="" { "any" }
                    @for standing in Standing::ALL { option value=(standing.word()) selected[asked.standing == standing.word()] { (standing.word()) } }
                }
                @if !fleet.groups.is_empty() {
                    label for="group" { "Group" }
                    select id="group" name="group" {
                        option value="" { "any" }
                        @for group in &fleet.groups { option value=(group.name) selected[asked.group == group.name.as_str()] { (group.name) } }
                    }
                }
                label for="bundle" { "Runs" }
                select id="bundle" name="bundle" {
                    option value="" { "anything" }
                    @for column in columns(fleet) {
                        @match column {
                            Some((model, bundle)) => option value=(bundle.hex()) selected[asked.bundle == bundle.hex()] { (model) " " (fleet.label(bundle)) },
                            None => option value="none" selected[asked.bundle == "none"] { "nothing yet" },
                        }
                    }
                }
                button type="submit" { "Show" }
                @if asked.is_filter() { a href="/fleet" { "Show all" } }
            }
        }
    }
}

fn devices(fleet: &Fleet, asked: &Asked) -> Markup {
    let chosen = asked.chosen(fleet);
    let page: Vec<&&Seen> = chosen.iter().skip(asked.page * PAGE).take(PAGE).collect();
    if page.is_empty() {
        return empty(
            "No such device.",
            &html! { a href="/fleet" { "Show all " (grouped(fleet.devices.len() as u64)) } },
        );
    }
    let rows = html! {
        table {
            thead { tr {
                th scope="col" { "Device" } th scope="col" { "Standing" } th scope="col" { "Runs" }
                th.n scope="col" { "Requests" } th.n scope="col" { "Accuracy" } th scope="col" { "Evidence" } th.n scope="col" { "Seen" }
            } }
            tbody { @for device in &page { (device_rows(fleet, device)) } }
        }
    };
    let (first, last) = (asked.page * PAGE + 1, asked.page * PAGE + page.len());
    html! {
        (scroll("Devices", &rows))
        p.pager {
            span { (grouped(first as u64)) "–" (grouped(last as u64)) " of " (grouped(chosen.len() as u64)) }
            @if asked.page > 0 { a rel="prev" href=(asked.with("page", &(asked.page - 1).to_string())) { "Before" } }
            @if last < chosen.len() { a rel="next" href=(asked.with("page", &(asked.page + 1).to_string())) { "After" } }
        }
    }
}

fn device_rows(fleet: &Fleet, device: &Seen) -> Markup {
    let word = device.standing.word();
    let name = html! { a href=(format!("/devices/{}", device.id)) { (device.id) } };
    let standing = html! { span class=(format!("dot {word}")) aria-hidden="true" {} (word) };
    let last = html! { @match device.seen_at_ms { Some(at) => (when(at, fleet.now)), None => "never" } };
    html! {
        @if device.models.is_empty() {
            tr { th scope="row" { (name) } td { (standing) } td colspan="4" .quiet { "waiting for a model" } td.n { (last) } }
        }
        @for (index, model) in device.models.iter().enumerate() {
            tr {
                th scope="row" { (name) }
                td { (standing) }
                (model_cells(fleet, model))
                td.n { @if index == 0 { (last) } }
            }
        }
    }
}

/// What runs, and how it fares.
pub(super) fn model_cells(fleet: &Fleet, model: &SeenModel) -> Markup {
    html! {
        td {
            @match model.active {
                Some(bundle) => span title=(bundle) { (model.name) " " b { (fleet.label(bundle)) } },
                None => span.quiet { (model.name) ", none yet" },
            }
            @if model.phase != "idle" { " " span.phase { (model.phase) } }
            @if let Some(refused) = model.refused { " " span.refused { "refused " (fleet.label(refused)) } }
        }
        td.n { (grouped(model.requests)) @if model.failed > 0 { span.bad { " " (grouped(model.failed)) " failed" } } }
        td.n { @match model.accuracy { Some(accuracy) => (percent(accuracy)), None => "–" } }
        td {
            @match (&model.evidence, model.threshold) {
                (Some((_, evidence)), Some(threshold)) => (gauge(*evidence, threshold)),
                _ => span.quiet { "–" },
            }
        }
    }
}
