//! The model registry: versions, rollouts of them, drift, and the labelled samples to learn from.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::{
    Drift, Models, Rollout, RolloutRequest, SamplesPage, Version, VersionRegistration,
};
use edgeward_api::{Problem, routes};
use edgeward_core::event::ModelVersion;
use edgeward_core::{Digest, Event, Manifest, ModelName, RunId};
use edgeward_store::{StoreError, VersionRow, View};
use serde::Deserialize;

use super::check_text;
use crate::app::{App, Decision, blocking};
use crate::deltas;
use crate::extract::{Asked, Document, Named};
use crate::failure::Failure;
use crate::listing;
use crate::reconcile::rollouts::{Wish, start};

/// Most metrics of one version.
const METRICS_MAX: usize = 256;

/// The models.
#[utoipa::path(get, path = routes::MODELS, responses((status = 200, body = Models)))]
pub(crate) async fn models(State(app): State<Arc<App>>) -> Result<Json<Models>, Failure> {
    let models = app.read(|view| listing::models(view).map_err(Failure::from)).await?;
    Ok(Json(Models { models }))
}

/// The versions of a model, the newest last.
#[utoipa::path(get, path = routes::MODEL_VERSIONS, params(("model" = String, Path, description = "The model's name")),
    responses((status = 200, body = Vec<Version>)))]
pub(crate) async fn versions(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
) -> Result<Json<Vec<Version>>, Failure> {
    let versions = app.read(move |view| listing::versions(view, &model).map_err(Failure::from)).await?;
    Ok(Json(versions))
}

/// Registers a bundle whose blobs are uploaded. Registering it again returns its version.
#[utoipa::path(post, path = routes::MODEL_VERSIONS, request_body = VersionRegistration,
    params(("model" = String, Path, description = "The model's name")),
    responses((status = 200, body = Version), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn register_version(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
    Document(registration): Document<VersionRegistration>,
) -> Result<Json<Version>, Failure> {
    if registration.metrics.len() > METRICS_MAX {
        return Err(Failure::too_large(format!("a version has at most {METRICS_MAX} metrics")));
    }
    let (manifest, bytes) = check_bundle(&app, &model, &registration).await?;
    release(&app, &model, &registration, bytes).await?;
    deltas::prepare(&app, registration.bundle, manifest).await;
    let version = app.decide(move |decision| register(decision, &model, registration)).await?;
    Ok(Json(version))
}

/// A device would refuse anything else, so it never enters the registry.
async fn check_bundle(
    app: &App,
    model: &ModelName,
    asked: &VersionRegistration,
) -> Result<(Manifest, Bytes), Failure> {
    let bytes = app.blobs.get(asked.bundle).await?;
    let manifest =
        Manifest::parse(&bytes).map_err(|error| Failure::invalid(crate::failure::chain(&error)))?;
    if manifest.model != *model {
        return Err(Failure::invalid(format!("the bundle is of model {}", manifest.model)));
    }
    for (path, file) in &manifest.files {
        match app.blobs.len(file.digest).await? {
            length if length == file.size_bytes => {}
            _ => return Err(Failure::invalid(format!("{path} is not as long as the manifest says"))),
        }
    }
    Ok((manifest, bytes))
}

/// Lists the bundle among the releases that devices may run; a run that is not known releases nothing.
async fn release(
    app: &Arc<App>,
    model: &ModelName,
    asked: &VersionRegistration,
    manifest: Bytes,
) -> Result<(), Failure> {
    let run = asked.run.clone();
    let is_known = app.read(move |view| Ok::<_, Failure>(view.run(&run)?.is_some())).await?;
    if !is_known {
        return Err(unknown_run(&asked.run));
    }
    let (repository, now, may_sign) = (Arc::clone(&app.repository), app.now(), app.leads());
    let (model, bundle, releases) = (model.clone(), asked.bundle, asked.releases.0.clone());
    blocking(move || {
        if repository.is_released(&model, &bundle) {
            return Ok(());
        }
        repository.accept_releases(&releases, (&model, &manifest), now, may_sign)?;
        match repository.is_released(&model, &bundle) {
            true => Ok(()),
            false => Err(Failure::invalid("the signed releases do not name the bundle")),
        }
    })
    .await
}

fn unknown_run(run: &RunId) -> Failure {
    Failure::not_found(format!("there is no run {run}")).hint("Announce it first.")
}

fn register(
    decision: &Decision<'_, '_>,
    model: &ModelName,
    asked: VersionRegistration,
) -> Result<Version, Failure> {
    let bundle = asked.bundle;
    if let Some(known) = decision.version_of_bundle(model, bundle)? {
        return Ok(listing::version(known));
    }
    if decision.run(&asked.run)?.is_none() {
        return Err(unknown_run(&asked.run));
    }
    let version = decision.next_version(model)?;
    let VersionRegistration { run, metrics, .. } = asked;
    let model_version = ModelVersion { model: model.clone(), version, bundle, run, metrics, release: None };
    decision.append(Event::ModelRegistered(model_version))?;
    let registered = decision.version(model, version)?;
    registered.map(listing::version).ok_or_else(|| Failure::conflict("the version is gone again"))
}

/// Starts a rollout of a version; one that is under way is superseded.
#[utoipa::path(post, path = routes::MODEL_ROLLOUTS, request_body = RolloutRequest,
    params(("model" = String, Path, description = "The model's name")),
    responses((status = 200, body = Rollout), (status = 404, body = Problem)))]
pub(crate) async fn start_rollout(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
    Document(request): Document<RolloutRequest>,
) -> Result<Json<Rollout>, Failure> {
    check_text("cause", &request.cause)?;
    if request.changes.waves.as_ref().is_some_and(Vec::is_empty) {
        return Err(Failure::invalid("a rollout has at least one wave"));
    }
    let rollout = app.decide_now(move |decision| {
        let Some(version) = wanted(decision, &model, &request)? else {
            return Err(no_version(decision, &model, &request)?);
        };
        let wish = Wish { cause: request.cause, start_at_ms: request.start_at_ms, changes: request.changes };
        let id = start(decision, &version, wish)?;
        let row = decision.rollout(&id)?;
        row.map(listing::rollout).ok_or_else(|| Failure::not_found("the rollout is gone again"))
    });
    Ok(Json(rollout.await?))
}

/// The version that is asked for: by its number, an alias, its bundle's digest, or the newest.
fn wanted(
    decision: &Decision<'_, '_>,
    model: &ModelName,
    request: &RolloutRequest,
) -> Result<Option<VersionRow>, StoreError> {
    match (request.version, &request.target) {
        (Some(number), _) => decision.version(model, number),
        (None, Some(target)) => find_version(decision, model, target),
        (None, None) => Ok(decision.versions(model, 1)?.pop()),
    }
}

/// A version by its number, an alias, or its bundle's digest.
pub(crate) fn find_version(
    view: &View<'_>,
    model: &ModelName,
    target: &str,
) -> Result<Option<VersionRow>, StoreError> {
    match (target.parse(), target.parse::<Digest>()) {
        (Ok(number), _) => view.version(model, number),
        (_, Ok(bundle)) => view.version_of_bundle(model, bundle),
        _ => view.aliased(model, target),
    }
}

/// Why there is nothing to roll out, with what there is instead.
fn no_version(
    decision: &Decision<'_, '_>,
    model: &ModelName,
    request: &RolloutRequest,
) -> Result<Failure, Failure> {
    let newest = decision.versions(model, 1)?.pop().map(|version| version.version);
    let asked = request.version.map(|number| number.to_string()).or_else(|| request.target.clone());
    if let (Some(asked), Some(newest)) = (asked, newest) {
        let failure = Failure::not_found(format!("{model} has no version {asked}"));
        return Ok(failure.hint(format!("The newest version is {newest}.")));
    }
    let models = decision.models()?;
    let names: Vec<&str> = models.iter().map(|known| known.name.as_str()).collect();
    let failure = Failure::not_found(format!("there is no model {model}"));
    Ok(match names.as_slice() {
        [] => failure.hint("No model is registered yet: 'edgeward run --server' registers one."),
        names => failure.hint(format!("Known models: {}.", names.join(", "))),
    })
}

/// How far a model's streams have moved, over the whole fleet.
#[utoipa::path(get, path = routes::MODEL_DRIFT, params(("model" = String, Path, description = "The model's name")),
    responses((status = 200, body = Drift), (status = 404, body = Problem)))]
pub(crate) async fn drift(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
) -> Result<Json<Drift>, Failure> {
    let drift = crate::drift::of_model(&app, &model).await?;
    let drift = drift.ok_or_else(|| Failure::not_found(format!("{model} has no version")))?;
    Ok(Json((*drift).clone()))
}

/// Which page of samples.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamplesQuery {
    /// The `next` of the page before; 0 for the first.
    #[serde(default)]
    after: u64,
    /// Most samples to return.
    #[serde(default = "page")]
    limit: usize,
}

const fn page() -> usize {
    PAGE_MAX
}

/// Labelled samples that devices captured, oldest first.
#[utoipa::path(get, path = routes::MODEL_SAMPLES,
    params(("model" = String, Path, description = "The model's name"), SamplesQuery),
    responses((status = 200, body = SamplesPage)))]
pub(crate) async fn samples(
    State(app): State<Arc<App>>,
    Named(model): Named<ModelName>,
    Asked(asked): Asked<SamplesQuery>,
) -> Result<Json<SamplesPage>, Failure> {
    let limit = asked.limit.clamp(1, PAGE_MAX);
    let rows = app.read(move |view| {
        view.labelled_samples(&model, asked.after, limit).map_err(|error: StoreError| Failure::from(error))
    });
    let rows = rows.await?;
    let next = (rows.len() == limit).then(|| rows.last().map(|row| row.seq)).flatten();
    let devices = rows.iter().map(|row| row.device.clone()).collect();
    Ok(Json(SamplesPage { devices, samples: rows.into_iter().map(listing::sample).collect(), next }))
}
