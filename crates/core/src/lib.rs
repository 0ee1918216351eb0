//! Nouns and decisions.
//!
//! The nouns are what every other crate speaks about: digests, names, timestamps, the bundle's manifest, the
//! desired state, ledger events. The decisions are three planners of one shape, `(&Policy, &Observed, now) -> Plan`:
//! [`slot::step`] on the device, [`rollout::plan`] and [`trigger::plan`] in the control plane. Each plan carries the
//! reasons a person can read.
//!
//! Deliberately missing: async, clocks, the environment, the network, files. `now` is always an argument.

pub mod access;
pub mod alert;
pub mod bucket;
pub mod canonical;
#[cfg(feature = "cron")]
pub mod cron;
pub mod dataset;
pub mod desired;
pub mod digest;
pub mod envelope;
pub mod event;
pub mod group;
pub mod ledger;
pub mod manifest;
pub mod name;
pub mod record;
pub mod rollout;
pub mod shadow;
pub mod slot;
pub mod source;
pub mod target;
pub mod time;
pub mod trigger;
pub mod variant;

pub use access::{AccessChange, Role};
pub use alert::Alert;
pub use bucket::Bucket;
pub use dataset::Dataset;
pub use desired::{Assignment, Desired};
pub use digest::Digest;
pub use envelope::Envelope;
pub use event::Event;
pub use manifest::{Manifest, Release};
pub use name::{DeviceId, GroupName, ModelName, PredictionId, ProjectName, RolloutId, RunId, TokenId};
pub use record::{Record, RecordPolicy};
pub use target::Capabilities;
pub use time::Timestamp;
pub use variant::Variant;
