//! The control plane over real loopback HTTP, and its reconcilers across crashes.

mod audit;
mod dashboard;
mod drift;
mod gates;
mod groups;
mod http;
mod load;
mod mlflow;
mod reconcilers;
mod records;
mod reference;
mod repository;
mod roles;
pub(crate) mod support;
