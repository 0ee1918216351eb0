//! The device's loop: fetch, slots on disk, activation, probation, local endpoint, report.
//!
//! - [`brain`]: what to do next, decided without I/O; the simulated fleet drives the same code.
//! - [`slots`], [`fetch`]: the two folders of each model, and getting a verified bundle into one.
//! - [`platform`], [`pick`]: what runs models here, and which form of a bundle that is to be.
//! - [`activation`]: what makes an activated bundle serve: this agent, an app that watches, a restart, a reboot.
//! - [`identity`], [`keeper`]: who the device is, and keeping its certificate alive.
//! - [`nudge`]: being told that there is news, so that it need not wait for the next poll.
//! - [`spool`], [`journal`], [`records`]: what must not be lost between a request and its upload.
//! - [`witness`]: what the device saw of the ledger.
//! - [`registry`], [`endpoint`], [`address`], [`door`]: the models being served, and how they are asked.
//! - [`shadow`]: candidates that answer copies of requests, after the champion has.
//! - [`control`]: the thread that polls, carries out, reports and uploads.
//! - [`agent`]: starting and stopping all of it.
//!
//! [`run`] is a device; [`serve`] is the same endpoint without a control plane. Deliberately missing: reading flags or
//! the environment (the command line does), and anything that makes models.

pub mod activation;
pub mod address;
pub mod agent;
pub mod bandwidth;
pub mod brain;
pub mod config;
pub mod control;
pub mod courtesy;
pub mod disk;
pub mod door;
pub mod durable;
pub mod endpoint;
pub mod fetch;
mod figures;
pub mod identity;
pub mod journal;
pub mod keeper;
pub mod nudge;
pub mod pick;
pub mod platform;
pub mod records;
pub mod registry;
pub mod repository;
pub mod reserve;
pub mod segments;
pub mod shadow;
pub mod slots;
pub mod spool;
pub mod witness;

#[cfg(test)]
mod fixtures;

pub use activation::{ActivationConfig, AppConfig, Method, Ready};
pub use address::Address;
pub use agent::{Bound, bind, bind_bare, run, serve};
pub use brain::Brain;
pub use config::{AgentConfig, AgentError, ServeConfig, Source};
pub use courtesy::{Courtesy, Metered};
pub use door::{DoorError, Speech};
pub use edgeward_api::Client;
pub use edgeward_api::broker::{Broker, BrokerError};
pub use edgeward_api::client::{Roots, Tls};
pub use edgeward_sdk::{give_back_memory, let_go_of_code, step_back, use_few_heaps};
pub use nudge::Nudges;
pub use platform::Hardware;
