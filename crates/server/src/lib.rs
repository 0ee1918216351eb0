//! The control plane.
//!
//! [`bind`] opens the data folder and listens; [`Bound::serve`] answers until it is told to end. Three parts share one
//! [`app`](self): handlers take what devices and operators send and decide in one transaction each; reconcilers turn
//! the state into what should follow from it (runs, rollouts, the signed desired state, checkpoints); the dashboard
//! shows it. What is decided is decided by the pure planners of `edgeward_core` and kept by `edgeward_store`.
//!
//! Contract: what was acknowledged survives a crash; every effect may be interrupted and is healed by the next turn;
//! every refusal is a [`edgeward_api::Problem`]; nothing but `/health`, the API's description, the dashboard's assets
//! and enrolment is open to a caller without a credential.
//!
//! Deliberately missing: flags and the environment (`cli`), training (a child process), several operators.

mod access;
mod app;
pub mod audit;
mod broker;
mod dashboard;
mod deltas;
mod drift;
mod extract;
mod failure;
mod figures;
mod handlers;
mod heard;
mod instant;
mod intake;
mod listing;
mod members;
mod mirror;
mod mlflow;
mod reconcile;
mod records;
mod replicas;
pub mod report;
mod repository;
mod routes;
mod seals;
mod secret;
mod serve;
mod setup;
mod spans;
#[cfg(test)]
mod tests;
mod tls;
mod webhooks;
pub mod why;

pub use app::Stopped;
pub use repository::RepositoryError;
pub use secret::NoRandomness;
pub use serve::{Bound, ServerConfig, ServerError, bind, run};
pub use setup::SetupError;
pub use tls::{DEVICE_LIFE, TlsConfig, TlsError};
pub use webhooks::{Shape, Webhook};

/// The OpenAPI document of the control plane, as JSON.
#[must_use]
pub fn openapi_json() -> String {
    routes::openapi_json()
}
