//! Why a prediction was what it was: what is told, from what the control plane answers and from the model's bundle.
//!
//! [`verify`] believes nothing that the ledger does not prove; [`story`] reads the proved entries; [`explain`] asks the very
//! model again; [`tell`] does all of it for whoever brings the answer and a [`Shelf`] of blobs; [`page`] shows it. [`Offline`]
//! is a control plane's folder that answers by itself.

mod bundle;
mod draw;
mod explain;
mod map;
mod own;
mod page;
mod proof;
mod story;
mod tell;

pub use bundle::Shelf;
pub use explain::{Attribution, Explanation, Question, Reproduced, explain};
pub use map::{Kind, Picture};
pub use own::{Offline, PATIENCE};
pub use page::page;
pub use proof::{Held, ProofFault, Proved, verify, verify_lineage};
pub use story::{Approval, FormTold, Gate, MadeFrom, RolloutTold, RunTold, Story, story};
pub use tell::{Asked, tell, tell_lineage};

pub(crate) use own::{lineage, read, why};
pub(crate) use page::body;

use edgeward_core::record::{Kept, LabelRecord, PredictionRecord, ShadowsRecord};
use edgeward_core::{DeviceId, Digest, ModelName, Timestamp};
use serde::Serialize;

/// Schema of [`Why`].
pub const WHY_SCHEMA: &str = "edgeward.why/1";

/// What is told about one prediction.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// Always [`WHY_SCHEMA`].
    pub schema: &'static str,
    /// The device that gave it.
    pub device: DeviceId,
    /// When its record arrived.
    pub received_at_ms: Timestamp,
    /// The record.
    pub record: PredictionRecord,
    /// The truth, where it became known.
    pub labels: Vec<LabelRecord>,
    /// What shadows said to the same request.
    pub shadows: Vec<ShadowsRecord>,
    /// What it saw.
    pub input: InputTold,
    /// What moved the answer.
    pub explanation: Explanation,
    /// Where the model comes from.
    pub model: ModelTold,
    /// What proves that none of this was edited.
    pub proof: Proved,
}

/// What is told of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InputTold {
    /// It is here, and its digest is that of the record.
    Here {
        /// Fields that were taken out before it left the device.
        redacted: Vec<String>,
    },
    /// Only its digest was kept, as the policy says, or because it was too large.
    DigestOnly {
        /// Which of the two.
        kept: Kept,
    },
    /// The time for which it was kept is over, or its subject was erased.
    Erased,
}

/// Where a model comes from.
#[derive(Clone, Debug, Serialize)]
pub struct ModelTold {
    /// The model.
    pub name: ModelName,
    /// Its bundle.
    pub bundle: Digest,
    /// Its number in the registry.
    pub version: Option<u64>,
    /// Why the bundle's files are not here; none if they are.
    pub gone: Option<String>,
    /// Its files, and whether their bytes are those of their digests.
    pub files: Vec<FileTold>,
    /// The forms that devices choose from, and how each was made.
    pub forms: Vec<FormTold>,
    /// What it was made from, as the bundle says; none if the bundle is gone or says nothing.
    pub made_from: Option<MadeFrom>,
    /// What the ledger says of it.
    pub story: Story,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileTold {
    /// Its path in the bundle.
    pub path: String,
    /// Its digest in the manifest.
    pub digest: Digest,
    /// `checked`: its bytes were read and are these. `there`: it was not read. `gone`: nobody has it any more.
    pub state: FileState,
}

/// Whether a file is what the manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Its bytes were read and have this digest.
    Checked,
    /// It is there and was not read.
    There,
    /// It is not there.
    Gone,
}
