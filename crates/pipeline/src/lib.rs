//! Work that is cached: from a project file and its data to a signed, registered bundle.
//!
//! [`ProjectFile`] says what is wanted, [`run()`] does it: snapshot, split, validate, train, convert, evaluate, gates,
//! bundle, register. Training and converting come from outside through [`Trainer`] and [`Converter`]; this crate knows
//! no trainer and no converter. Every stage is kept by the digest of all it depends on ([`cache`]), so that the same run
//! started again does no work twice and gives the same bundle. What runs did is kept ([`history`]), and what the next
//! one would do can be asked ([`status`]).
//!
//! Deliberately missing: the environment and the terminal (the command line's), rollouts (the control plane's),
//! parallel stages of one model.

pub mod assemble;
pub mod bom;
pub mod cache;
pub mod captured;
pub mod card;
pub mod commit;
pub mod compare;
pub mod convert;
pub mod evaluate;
pub mod examine;
pub mod gates;
pub mod git;
pub mod history;
pub mod incumbent;
pub mod index;
pub mod leak;
pub mod lineage;
pub mod measure;
pub mod mirror;
pub mod model_signature;
pub mod moved;
pub mod opened;
pub mod origin;
pub mod patience;
pub mod pattern;
pub mod progress;
pub mod project;
pub mod register;
pub mod run;
pub mod runner;
pub mod schema;
pub mod slice;
pub mod snapshot;
pub mod source;
pub mod split;
pub mod status;
pub mod stress;
pub mod table;
pub mod tool;
pub mod train;
pub mod validate;
pub mod workdir;
mod yardstick;

pub use convert::{Conversion, ConversionPlan, ConvertedVariant, Converter, Form};
pub use mirror::{BucketObject, Buckets};
pub use progress::{Progress, Report, RunSummary, ShadowSummary, StageSummary};
pub use project::{PROJECT_FILE, ProjectError, ProjectFile};
pub use run::{Announcement, RunContext, RunError, Tools, run};
pub use train::{ToolError, TrainedModel, Trainer};
