//! The Update Framework, specification 1.0: which files a repository vouches for, checked without doing any I/O.
//!
//! [`Client`] is a state machine: [`Client::next`] says which file it wants and how many bytes that may have,
//! [`Client::supply`] and [`Client::absent`] answer, and either it goes on or it names a [`Refusal`]. What it trusts is a
//! [`Trusted`] set of byte-exact documents, for the caller to keep as one; a set that does not read back is damaged, never
//! "nothing accepted yet". [`repository`] is the other side: making, editing and signing the documents.
//!
//! The rules in short: a root is replaced only by its successor, signed by enough keys of both; timestamp and snapshot
//! never go back, nor does any version a snapshot lists; the same version never stands for other bytes; nothing expired
//! counts, against a clock that [never runs backwards](Trusted::floor); signatures count by different keys.
//!
//! Deliberately missing: fetching, files and clocks; mirrors; TAP 15's succinct delegations; character classes in path
//! patterns (`[ab]` stands for itself, which can only match less).

pub mod client;
mod delegation;
pub mod document;
mod json;
pub mod key;
pub mod metadata;
pub mod refusal;
pub mod repository;
mod search;
pub mod time;
pub mod trusted;

pub use client::{Answer, Client, Place, Want};
pub use document::Document;
pub use key::Key;
pub use metadata::{Root, Snapshot, Target, Targets, TimestampRole};
pub use refusal::{Reason, Refusal};
pub use trusted::Trusted;

/// Largest root accepted, in bytes.
pub const ROOT_BYTES_MAX: u64 = 512_000;
/// Largest timestamp accepted, in bytes.
pub const TIMESTAMP_BYTES_MAX: u64 = 16_384;
/// Largest snapshot accepted, in bytes.
pub const SNAPSHOT_BYTES_MAX: u64 = 2_000_000;
/// Largest targets document accepted, in bytes; some 25,000 targets.
pub const TARGETS_BYTES_MAX: u64 = 5_000_000;
/// Most new roots taken in one refresh; the next one goes on.
pub const ROOTS_PER_REFRESH_MAX: u32 = 256;
/// Most delegated roles visited in search of one target.
pub const DELEGATIONS_MAX: usize = 32;
/// Most signatures one document may carry.
pub const SIGNATURES_MAX: usize = 64;
/// Most keys one document may name.
pub const KEYS_MAX: usize = 1024;
/// Longest name of a role or a target, in bytes.
pub const NAME_LEN_MAX: usize = 1024;
