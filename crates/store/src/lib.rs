//! What is remembered: the ledger with its projections, observations, credentials, signed documents, and blobs.
//!
//! The only crate that speaks SQL. A [`Store`] is one SQLite file in WAL mode with `synchronous=FULL`, or a PostgreSQL
//! database that any number of servers share: what a call returned from survives a power cut. Queries live on [`View`] and changes on [`Writer`], so a decision can be
//! taken on exactly the state it is written on:
//!
//! - [`Store::read`] runs queries on one consistent snapshot;
//! - [`Store::write`] runs queries and changes in one transaction, which is dropped when the closure fails.
//!
//! Every call blocks; asynchronous callers use a thread for blocking work. A closure must not call the store it runs
//! in. [`Blobs`] is asynchronous and stands beside the database: content by digest, on any object store.
//!
//! Deliberately missing: clocks (`now` is an argument), secrets (only hashes are kept), what an event or a
//! profile means, and the checking of signatures. Both databases pass `tests/conformance.rs`.

mod alert;
mod blob;
mod bucket;
mod certificate;
mod column;
mod count;
mod credential;
mod database;
mod decision;
mod delta;
mod engine;
mod error;
mod evidence;
mod file;
mod fleet;
mod folder;
mod forget;
mod group;
mod ledger;
mod mlflow;
mod operator_token;
mod postgresql;
mod profile;
mod projection;
mod record;
mod registry;
mod sample;
mod schema;
mod shadow;
mod sqlite;

pub use alert::{AcknowledgementRow, AlertRow};
pub use blob::{BLOB_BYTES_MAX, BlobError, Blobs};
pub use bucket::{Bucket, BucketConfig, BucketError, OBJECTS_MAX, Object};
pub use certificate::CertificateRow;
pub use count::{Counted, Counts};
pub use credential::JoinOutcome;
pub use database::{SealError, Sealer, Store, View, Writer};
pub use decision::{Registered, RunDecision};
pub use engine::SqlError;
pub use error::StoreError;
pub use evidence::{ArrivedWindow, WINDOWS_PAGE_MAX};
pub use file::{FILES_PAGE_MAX, KeptFile};
pub use fleet::{DeviceRow, DeviceState, NewModelState, NewReport, ReportOutcome, ReportRow, RolloutRow};
pub use folder::{Folder, FolderError};
pub use forget::{FORGOTTEN_PER_STEP_MAX, Recorded, Remembered};
pub use group::GroupBundle;
pub use ledger::{Checkpoint, ENTRIES_PAGE_MAX, Fault, Head, RawEntry, SealedEntry};
pub use mlflow::{
    MlflowArtifact, MlflowDocument, MlflowKind, MlflowLabel, MlflowLabelKind, MlflowMetric, MlflowPoint,
};
pub use operator_token::TokenRow;
pub use postgresql::{Address, AddressError, Heard, Seat};
pub use profile::{ArrivedProfile, NewProfile, PROFILE_RETENTION, PROFILES_PAGE_MAX, ProfileRow};
pub use record::{BATCH_RECORDS_MAX, BatchRow, Leaf, NewRecord, RecordRow};
pub use registry::{GateRow, ModelRow, ROWS_PAGE_MAX, RunRow, VersionRow};
pub use sample::{NewSample, SAMPLES_PAGE_MAX, SAMPLES_PER_MODEL_MAX, SampleRow};
pub use schema::SCHEMA_VERSION;
pub use shadow::{SHADOW_COUNTS_MAX, ShadowCountsRow, ShadowTestRow};
