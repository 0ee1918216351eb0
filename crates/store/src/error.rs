//! What can go wrong with the database, and what to do about it.

use edgeward_core::canonical::CanonicalError;
use rusqlite::ErrorCode;

use crate::engine::SqlError;
use crate::ledger::Fault;

/// A failed operation on the database. Nothing of the operation was kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error("{operation} in the database {path}: {advice}")]
    Sql {
        /// What was being done.
        operation: &'static str,
        /// The database: its file, or its address.
        path: String,
        /// What to do next.
        advice: &'static str,
        /// The database's own words.
        #[source]
        source: Box<SqlError>,
    },
    /// A newer program wrote this database.
    #[error(
        "the database {path} has schema version {found}, this program knows {known}; update the program, or restore \
         the backup made before the update"
    )]
    NewerSchema {
        /// The database.
        path: String,
        /// Its version.
        found: u32,
        /// The version this program writes.
        known: u32,
    },
    /// An older program wrote this database, and it is opened for reading only.
    #[error(
        "the database {path} has schema version {found}, this program reads {known}; start the control plane once, which \
         brings it up to date"
    )]
    OlderSchema {
        /// The database.
        path: String,
        /// Its version.
        found: u32,
        /// The version this program reads.
        known: u32,
    },
    /// There is no place for tables.
    #[error(
        "the database {path} has no schema in which this user may make tables; create one that is named like the user, or \
         name one in the address with ?options=-csearch_path%3DSCHEMA"
    )]
    NoSchema {
        /// The database.
        path: String,
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
    pub(crate) fn sql(path: &str, operation: &'static str, source: SqlError) -> Self {
        let advice = advice(&source);
        Self::Sql { operation, path: path.to_owned(), advice, source: Box::new(source) }
    }
}

fn advice(error: &SqlError) -> &'static str {
    match error {
        SqlError::Sqlite(error) => advice_on_sqlite(error),
        SqlError::Postgres(error) => advice_on_postgres(error),
        SqlError::Aborted => "nothing was kept; an earlier failure of the same request says why",
        SqlError::Exhausted => "every connection is in use; ask again, or spread the load over more servers",
        SqlError::Value(_) => "a value cannot be kept",
        SqlError::Column { .. } => {
            "it was changed by something else than this program; restore it from a backup"
        }
    }
}

/// By the code of the error, where the server gave one.
fn advice_on_postgres(error: &postgres::Error) -> &'static str {
    let Some(said) = error.as_db_error() else {
        return "PostgreSQL cannot be reached, or does not answer as it should; check the address, that it runs, its \
                certificate, and what lies between";
    };
    match said.code().code() {
        "28000" | "28P01" => "it lets this user not in; check the user, the password and its pg_hba.conf",
        "3D000" => "there is no such database; create it with createdb, or name another",
        "42501" => "this user may not do that; give it the right to create and change tables in its schema",
        "53100" => "the database's disk is full; free some space, nothing that was acknowledged is lost",
        "53300" => "it has no connection left; raise its max_connections, each server takes up to ten",
        "55P03" => "another server holds the lock for too long; ask again, and see what that server does",
        "57P01" | "57P02" | "57P03" => "it is starting or ending; ask again in a moment",
        "25006" => "it takes no changes, a standby perhaps; name the one that does",
        _ => "it was refused; the cause follows",
    }
}

fn advice_on_sqlite(error: &rusqlite::Error) -> &'static str {
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
