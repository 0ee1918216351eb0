//! What can go wrong with the database, and what to do about it.

use edgeward_core::canonical::CanonicalError;
use rusqlite::ErrorCode;

use crate::ledger::Fault;

/// A failed operation on the database. Nothing of the operation was kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("{operation} in the database {path}: {advice}")]
    Sql {
        /// What was being done.
        operation: &'static str,
        /// The database file.
        path: String,
        /// What to do next.
        advice: &'static str,
        /// SQLite's own words.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer program wrote this file.
    #[error(
        "the database {path} has schema version {found}, this program knows {known}; update the program, or restore \
         the backup made before the update"
    )]
    NewerSchema {
        /// The database file.
        path: String,
        /// Its version.
        found: u32,
        /// The version this program writes.
        known: u32,
    },
    /// An older program wrote this file, and it is opened for reading only.
    #[error(
        "the database {path} has schema version {found}, this program reads {known}; start the control plane once, which \
         brings it up to date"
    )]
    OlderSchema {
        /// The database file.
        path: String,
        /// Its version.
        found: u32,
        /// The version this program reads.
        known: u32,
    },
    /// An entry could not be signed.
    #[error("sealing entry {seq} of the ledger")]
    Seal {
        /// Which entry.
        seq: u64,
        /// Why.
        #[source]
        source: crate::database::SealError,
    },
    /// The ledger moved on since the decision was prepared.
    #[error(
        "the ledger has {found} entries where {expected} were expected; read the state again and decide again"
    )]
    Conflict {
        /// The length the caller saw.
        expected: u64,
        /// The length now.
        found: u64,
    },
    /// An event contradicts the state, such as the end of a run that is not under way.
    #[error("the event {kind} does not fit the state: {reason}")]
    Refused {
        /// The event's kind.
        kind: &'static str,
        /// What it contradicts.
        reason: String,
    },
    /// An event cannot be written as JSON.
    #[error("writing an event")]
    Encode(#[from] CanonicalError),
    /// The ledger is damaged, so that nothing can be rebuilt from it.
    #[error("the ledger cannot be replayed; restore the database from a backup")]
    Damaged(#[from] Fault),
}

impl StoreError {
    pub(crate) fn sql(path: &str, operation: &'static str, source: rusqlite::Error) -> Self {
        let advice = advice(&source);
        Self::Sql { operation, path: path.to_owned(), advice, source }
    }
}

fn advice(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "the disk is full; free some space, nothing that was acknowledged is lost"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "it cannot be written; give this user write access to the file and its directory"
        }
        Some(ErrorCode::CannotOpen) => {
            "it cannot be opened; check that its directory exists and that this user may write there"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process holds it; stop that process, only one server may use a database file"
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "it is damaged or no database; restore it from a backup"
        }
        Some(ErrorCode::SystemIoFailure) => {
            "the disk failed to read or write; check its health and free space, then restart"
        }
        Some(ErrorCode::TooBig) => "a value is too large to keep; make it smaller",
        _ => "it was refused; the cause follows",
    }
}
