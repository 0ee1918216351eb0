//! What crosses a wire between devices, operators and the control plane.
//!
//! Documents ([`device`], [`operator`], [`record`], [`problem`]), the paths they travel on ([`routes`]), the limits both sides
//! keep ([`limits`]), figures as monitoring systems read them ([`metrics`], [`otlp`]), what a join token pins ([`join`]), and a blocking HTTP client ([`client`]) that speaks them. With the feature `openapi` every
//! document also has a JSON schema; with the feature `connections` there is a gate for those who listen, with `mqtt` the way
//! nudges take over a broker ([`broker`]).
//!
//! Deliberately missing: the server's handlers, retry policies (the caller's loop decides), and anything that verifies
//! signatures: an [`edgeward_core::Envelope`] is passed on as it came.

pub mod access;
#[cfg(feature = "mqtt")]
pub mod broker;
pub mod client;
#[cfg(feature = "connections")]
pub mod connections;
pub mod device;
#[cfg(feature = "connections")]
pub mod door;
pub mod join;
pub mod limits;
pub mod metrics;
pub mod operator;
pub mod otlp;
pub mod problem;
pub mod record;
pub mod routes;

pub use client::{Client, ClientError};
pub use join::JoinPin;
pub use problem::Problem;
