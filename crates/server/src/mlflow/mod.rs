//! The MLflow API: experiments, runs, logged models, the model registry, artifacts and traces, as MLflow's own clients ask
//! for them.
//!
//! It is a guest here. What its clients keep is kept apart from what Edgeward decides ([`edgeward_store`]'s `mlflow`
//! tables), and none of it is in the ledger; the one bridge is a project that follows an alias (`[train] mlflow`). Its
//! requests and answers are those of MLflow's protocol, with its codes for what goes wrong, so its routes are in a table of
//! their own and not in Edgeward's OpenAPI document.
//!
//! Deliberately missing: MLflow's pages, its gateway, prompts' optimisation, evaluation data sets, scorers, webhooks and
//! workspaces. What asks for them is told `ENDPOINT_NOT_FOUND`.

mod about;
mod artifacts;
mod asked;
mod champion;
mod check;
mod entity;
mod experiments;
mod filter;
mod log;
mod logged_models;
mod page;
mod refusal;
mod registry;
mod routes;
mod runs;
mod search;
mod traces;
mod versions;
mod words;

use axum::Json;
use serde_json::{Value, json};

pub(crate) use self::champion::{BringError, Champion, bring, champion, run_tag};
use self::refusal::Refusal;
pub(crate) use self::routes::router;
#[cfg(test)]
pub(crate) use self::routes::{changing_paths, readable_paths};

/// What a handler says.
type Answer = Result<Json<Value>, Refusal>;

/// Nothing more to say.
#[expect(clippy::unnecessary_wraps, reason = "it ends handlers")]
fn done() -> Answer {
    Ok(Json(json!({})))
}

/// A page of a list, with the token of the next one.
fn paged(name: &str, list: Vec<Value>, next: Option<String>) -> Value {
    let mut told = json!({});
    told[name] = Value::Array(list);
    if let Some(next) = next {
        told["next_page_token"] = json!(next);
    }
    told
}
