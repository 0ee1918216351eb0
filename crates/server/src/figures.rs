//! The control plane's figures, for whoever scrapes or collects them: the fleet, the loop, its own requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use edgeward_api::metrics::{Family, Histogram, process};
use edgeward_store::{Counted, Counts};

use crate::app::{App, lock};
use crate::failure::Failure;

/// A device that was not heard of for this long is not there.
const LATELY: Duration = Duration::from_secs(300);
/// Counts of the database are kept for this long: several who scrape cost no more than one.
const FRESH: Duration = Duration::from_secs(5);
/// Upper bounds of requests' times, in seconds: those of Prometheus' client libraries.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What was counted since the server began.
#[derive(Default)]
pub(crate) struct Figures {
    requests: Mutex<BTreeMap<Asked, Histogram>>,
    counted: tokio::sync::Mutex<Option<(Instant, Counts)>>,
}

/// A kind of request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    method: &'static str,
    route: String,
    status: u16,
}

impl Figures {
    fn count(&self, asked: Asked, seconds: f64) {
        let mut requests = lock(&self.requests);
        let histogram = requests.entry(asked).or_insert_with(|| Histogram {
            bounds: BOUNDS.to_vec(),
            counts: vec![0; BOUNDS.len() + 1],
            sum: 0.0,
        });
        histogram.counts[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        histogram.sum += seconds;
    }

    fn requests(&self) -> Family {
        let mut family =
            Family::histogram("http_request_duration_seconds", "Time from a request's head to its answer's.");
        for (asked, histogram) in lock(&self.requests).iter() {
            let labels = vec![
                ("method", asked.method.to_owned()),
                ("route", asked.route.clone()),
                ("status", asked.status.to_string()),
            ];
            family.push_histogram(labels, histogram.clone());
        }
        family
    }
}

/// Counts each request under its route; those without one are under an empty one, so that nobody makes labels.
pub(crate) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = match request.method().as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "HEAD" => "HEAD",
        _ => "other",
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let began = Instant::now();
    let response = next.run(request).await;
    let asked = Asked { method, route: route.unwrap_or_default(), status: response.status().as_u16() };
    app.figures.count(asked, began.elapsed().as_secs_f64());
    response
}

/// Every family, as things stand.
pub(crate) async fn families(app: &App) -> Result<Vec<Family>, Failure> {
    let mut families = of_the_loop(&counts(app).await?);
    let leads = if app.leads() { 1.0 } else { 0.0 };
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    families.extend([
        Family::gauge("edgeward_leader", "Whether this server leads among those of its database.")
            .with(Vec::new(), leads),
        Family::gauge("edgeward_uploads_waiting", "Reports and profiles on their way into the database.")
            .with(Vec::new(), app.intake.waiting() as f64),
        Family::gauge("edgeward_build_info", "The program that runs.").with(version, 1.0),
        app.figures.requests(),
    ]);
    families.extend(process());
    Ok(families)
}

async fn counts(app: &App) -> Result<Counts, Failure> {
    let mut counted = app.figures.counted.lock().await;
    if let Some((at, counts)) = &*counted
        && at.elapsed() < FRESH
    {
        return Ok(counts.clone());
    }
    let lately = app.now() - LATELY;
    let counts: Counts = app.read(move |view| view.counts(lately).map_err(Failure::from)).await?;
    *counted = Some((Instant::now(), counts.clone()));
    Ok(counts)
}

fn of_the_loop(counts: &Counts) -> Vec<Family> {
    let mut devices =
        Family::gauge("edgeward_devices", "Devices that take part, by whether they were heard of lately.");
    for (state, count) in [
        ("online", counts.devices_seen),
        ("offline", counts.devices.saturating_sub(counts.devices_seen)),
        ("revoked", counts.devices_revoked),
    ] {
        devices.push(vec![("state", state.to_owned())], count as f64);
    }
    vec![
        devices,
        by(
            Family::gauge("edgeward_model_devices", "Devices by the version they run."),
            ["model", "version"],
            &counts.serving,
        ),
        by(
            Family::gauge("edgeward_model_champion_version", "The version that serves."),
            ["model", ""],
            &counts.champions,
        ),
        by(Family::counter("edgeward_alerts_total", "Alerts raised."), ["model", "kind"], &counts.alerts),
        by(
            Family::gauge("edgeward_runs", "Pipeline runs by how they ended."),
            ["project", "outcome"],
            &counts.runs,
        ),
        by(
            Family::gauge("edgeward_rollouts", "Rollouts by how they ended."),
            ["model", "outcome"],
            &counts.rollouts,
        ),
        by(
            Family::gauge("edgeward_labelled_samples", "Labelled samples kept."),
            ["model", ""],
            &counts.samples,
        ),
        Family::counter("edgeward_ledger_entries_total", "Entries of the ledger.")
            .with(Vec::new(), counts.ledger as f64),
    ]
}

fn by(mut family: Family, [of, kind]: [&'static str; 2], counts: &[Counted]) -> Family {
    for counted in counts {
        let mut labels = vec![(of, counted.of.clone())];
        if !kind.is_empty() {
            labels.push((kind, counted.kind.clone()));
        }
        family.push(labels, counted.count as f64);
    }
    family
}
