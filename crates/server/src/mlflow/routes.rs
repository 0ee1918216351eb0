//! Every route of the MLflow API, with who may ask.
//!
//! Reading takes the role of a viewer, everything else that of an operator. A search that is a POST reads.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};
use edgeward_core::Role;

use super::refusal::{translate, unknown_endpoint};
use super::{about, artifacts, experiments, log, logged_models, registry, runs, search, traces, versions};
use crate::access::{Need, guard};
use crate::app::App;

type Route = (&'static str, MethodRouter<Arc<App>>);

/// What comes before every path of the protocol's second version.
const V2: &str = "/api/2.0";

fn readable() -> Vec<Route> {
    vec![
        ("/mlflow/experiments/get", get(experiments::get)),
        ("/mlflow/experiments/get-by-name", get(experiments::get_by_name)),
        ("/mlflow/experiments/search", get(experiments::search).post(experiments::search)),
        ("/mlflow/experiments/search-datasets", post(search::datasets)),
        ("/mlflow/runs/get", get(runs::get)),
        ("/mlflow/runs/search", post(search::search)),
        ("/mlflow/metrics/get-history", get(runs::history)),
        ("/mlflow/artifacts/list", get(artifacts::list_of_run)),
        ("/mlflow/logged-models/search", post(logged_models::search)),
        ("/mlflow/logged-models/{model}", get(logged_models::get)),
        ("/mlflow/logged-models/{model}/artifacts/directories", get(logged_models::list)),
        ("/mlflow/registered-models/get", get(registry::get)),
        ("/mlflow/registered-models/search", get(registry::search)),
        (
            "/mlflow/registered-models/get-latest-versions",
            get(registry::latest_versions).post(registry::latest_versions),
        ),
        ("/mlflow/registered-models/alias", get(versions::get_by_alias)),
        ("/mlflow/model-versions/get", get(versions::get)),
        ("/mlflow/model-versions/search", get(versions::search)),
        ("/mlflow/model-versions/get-download-uri", get(versions::download_uri)),
        ("/mlflow-artifacts/artifacts", get(artifacts::list)),
        ("/mlflow-artifacts/artifacts/{*path}", get(artifacts::download)),
        ("/mlflow-artifacts/presigned/{*path}", get(artifacts::no_parts)),
    ]
}

fn changing_runs() -> Vec<Route> {
    vec![
        ("/mlflow/experiments/create", post(experiments::create)),
        ("/mlflow/experiments/update", post(experiments::update)),
        ("/mlflow/experiments/delete", post(experiments::delete)),
        ("/mlflow/experiments/restore", post(experiments::restore)),
        ("/mlflow/experiments/set-experiment-tag", post(experiments::set_tag)),
        ("/mlflow/experiments/delete-experiment-tag", post(experiments::delete_tag)),
        ("/mlflow/runs/create", post(runs::create)),
        ("/mlflow/runs/update", post(runs::update)),
        ("/mlflow/runs/delete", post(runs::delete)),
        ("/mlflow/runs/restore", post(runs::restore)),
        ("/mlflow/runs/log-metric", post(log::log_metric)),
        ("/mlflow/runs/log-parameter", post(log::log_param)),
        ("/mlflow/runs/set-tag", post(log::set_tag)),
        ("/mlflow/runs/delete-tag", post(log::delete_tag)),
        ("/mlflow/runs/log-batch", post(log::log_batch)),
        ("/mlflow/runs/log-inputs", post(log::log_inputs)),
        ("/mlflow/runs/outputs", post(log::log_outputs)),
        ("/mlflow/runs/log-model", post(log::log_model)),
        ("/mlflow-artifacts/artifacts/{*path}", put(artifacts::upload).delete(artifacts::delete)),
        ("/mlflow-artifacts/mpu/{step}/{*path}", post(artifacts::no_parts)),
        ("/mlflow/traces/{trace}/tags", patch(traces::set_tag).delete(traces::delete_tag)),
        ("/mlflow/traces/delete-traces", post(traces::delete)),
        ("/mlflow/traces/link-to-run", post(traces::link_to_run)),
        ("/mlflow/traces/link-prompts", post(traces::link_prompts)),
    ]
}

fn changing_models() -> Vec<Route> {
    vec![
        ("/mlflow/logged-models", post(logged_models::create)),
        ("/mlflow/logged-models/{model}", patch(logged_models::finalize).delete(logged_models::delete)),
        ("/mlflow/logged-models/{model}/tags", patch(logged_models::set_tags)),
        ("/mlflow/logged-models/{model}/tags/{key}", delete(logged_models::delete_tag)),
        ("/mlflow/logged-models/{model}/params", post(logged_models::log_params)),
        ("/mlflow/registered-models/create", post(registry::create)),
        ("/mlflow/registered-models/rename", post(registry::rename)),
        ("/mlflow/registered-models/update", patch(registry::update)),
        ("/mlflow/registered-models/delete", delete(registry::delete)),
        ("/mlflow/registered-models/set-tag", post(registry::set_tag)),
        ("/mlflow/registered-models/delete-tag", delete(registry::delete_tag)),
        ("/mlflow/registered-models/alias", post(versions::set_alias).delete(registry::delete_alias)),
        ("/mlflow/model-versions/create", post(versions::create)),
        ("/mlflow/model-versions/update", patch(versions::update)),
        ("/mlflow/model-versions/delete", delete(versions::delete)),
        ("/mlflow/model-versions/transition-stage", post(versions::transition)),
        ("/mlflow/model-versions/set-tag", post(versions::set_tag)),
        ("/mlflow/model-versions/delete-tag", delete(versions::delete_tag)),
    ]
}

/// Whole paths: those of the protocol's third version, and further ones.
fn readable_elsewhere() -> Vec<Route> {
    vec![
        ("/version", get(about::version)),
        ("/api/3.0/mlflow/server-info", get(about::server_info)),
        ("/api/3.0/mlflow/traces/{trace}", get(traces::get)),
        ("/api/3.0/mlflow/traces/search", post(traces::search)),
        ("/api/3.0/mlflow/traces/batchGetInfos", post(traces::get_infos)),
        ("/api/3.0/mlflow/traces/{trace}/assessments/{assessment}", get(traces::get_assessment)),
        // What nobody has can be asked for by anyone who may read.
        ("/api/2.0/{*rest}", any(unknown_endpoint)),
        ("/api/2.1/{*rest}", any(unknown_endpoint)),
        ("/api/3.0/{*rest}", any(unknown_endpoint)),
        ("/api/4.0/{*rest}", any(unknown_endpoint)),
        ("/ajax-api/{*rest}", any(unknown_endpoint)),
    ]
}

fn changing_elsewhere() -> Vec<Route> {
    vec![
        ("/api/3.0/mlflow/traces", post(traces::start)),
        ("/api/3.0/mlflow/traces/{trace}/assessments", post(traces::assess)),
        (
            "/api/3.0/mlflow/traces/{trace}/assessments/{assessment}",
            patch(traces::update_assessment).delete(traces::delete_assessment),
        ),
        ("/v1/traces", post(traces::no_spans)),
    ]
}

/// Whole paths, each with what answers there.
type Whole = Vec<(String, MethodRouter<Arc<App>>)>;

fn below(routes: Vec<Route>) -> impl Iterator<Item = (String, MethodRouter<Arc<App>>)> {
    routes.into_iter().map(|(path, methods)| (format!("{V2}{path}"), methods))
}

fn elsewhere(routes: Vec<Route>) -> impl Iterator<Item = (String, MethodRouter<Arc<App>>)> {
    routes.into_iter().map(|(path, methods)| (path.to_owned(), methods))
}

fn all_readable() -> Whole {
    below(readable()).chain(elsewhere(readable_elsewhere())).collect()
}

fn all_changing() -> Whole {
    below(changing_runs()).chain(below(changing_models())).chain(elsewhere(changing_elsewhere())).collect()
}

/// The paths that a viewer may ask.
#[cfg(test)]
pub(crate) fn readable_paths() -> Vec<String> {
    all_readable().into_iter().map(|(path, _)| path).collect()
}

/// The paths at which an operator changes something.
#[cfg(test)]
pub(crate) fn changing_paths() -> Vec<String> {
    all_changing().into_iter().map(|(path, _)| path).collect()
}

/// The API, with its guards; an answer that refuses is in MLflow's words whoever refused.
pub(crate) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    guarded(app, Need::Role(Role::Viewer), all_readable())
        .merge(guarded(app, Need::Role(Role::Operator), all_changing()))
        .layer(middleware::from_fn(translate))
}

fn guarded(app: &Arc<App>, need: Need, routes: Whole) -> Router<Arc<App>> {
    let router =
        routes.into_iter().fold(Router::new(), |router, (path, methods)| router.route(&path, methods));
    router.route_layer(middleware::from_fn_with_state((Arc::clone(app), need), guard))
}
