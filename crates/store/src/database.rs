//! The database file: opening, migrating, and the two kinds of access to it.

use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Params, Row, TransactionBehavior};

use crate::error::StoreError;

/// Version of the schema that this program reads and writes.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Step `n` leads from version `n` to version `n + 1`. A published step never changes.
const MIGRATIONS: [&str; 12] = [
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_quarantine.sql"),
    include_str!("../migrations/0003_performance.sql"),
    include_str!("../migrations/0004_rollouts.sql"),
    include_str!("../migrations/0005_access.sql"),
    include_str!("../migrations/0006_groups.sql"),
    include_str!("../migrations/0007_seals.sql"),
    include_str!("../migrations/0008_commits.sql"),
    include_str!("../migrations/0009_certificates.sql"),
    include_str!("../migrations/0010_repository.sql"),
    include_str!("../migrations/0011_records.sql"),
    include_str!("../migrations/0012_shadows.sql"),
];

/// How long to wait for a lock held by another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Most idle connections kept for reading.
const IDLE_READERS_MAX: usize = 4;
/// Prepared statements kept per connection.
const STATEMENTS_CACHED: usize = 128;
/// Size of the write-ahead log at which it is copied into the file, in pages.
const WAL_PAGES: u32 = 1000;

/// Signs an entry: its place and its bytes.
pub type Sealer = Box<dyn Fn(u64, &[u8]) -> Result<Vec<u8>, SealError> + Send + Sync>;

/// Why an entry could not be signed.
pub type SealError = Box<dyn std::error::Error + Send + Sync>;

/// The database. One writes at a time; readers see the last committed state and wait for nobody.
pub struct Store {
    path: String,
    writer: Mutex<Connection>,
    /// None for a database in memory or opened for reading only, which has only one connection.
    readers: Option<Mutex<Vec<Connection>>>,
    sealer: Option<Sealer>,
}

/// One consistent state of the database, to be queried.
pub struct View<'c> {
    connection: &'c Connection,
    path: &'c str,
}

/// A transaction: queries see its own changes. It is committed when its closure returns `Ok`.
pub struct Writer<'c> {
    view: View<'c>,
    pub(crate) sealer: Option<&'c Sealer>,
}

impl Store {
    /// Opens the database at `path`, creating or migrating it as needed. The directory must exist.
    ///
    /// # Errors
    /// The file cannot be opened or written, is no database, or was written by a newer program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.display().to_string();
        let connection = Connection::open(&path)
            .and_then(configure)
            .map_err(|error| StoreError::sql(&path, "opening", error))?;
        Self::migrated(path, connection, Some(Mutex::default()))
    }

    /// Opens the database at `path` for reading only: nothing is created, migrated or written, and a program that writes
    /// to it meanwhile is not disturbed.
    ///
    /// # Errors
    /// The file cannot be opened, is no database, or was written by a newer or an older program.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let path = path.display().to_string();
        let failed = |error| StoreError::sql(&path, "opening", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        let found: u32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        if found > SCHEMA_VERSION {
            return Err(StoreError::NewerSchema { path, found, known: SCHEMA_VERSION });
        }
        if found < SCHEMA_VERSION {
            return Err(StoreError::OlderSchema { path, found, known: SCHEMA_VERSION });
        }
        Ok(Self { path, writer: Mutex::new(connection), readers: None, sealer: None })
    }

    /// A database that is gone when dropped.
    ///
    /// # Errors
    /// Memory is short.
    pub fn in_memory() -> Result<Self, StoreError> {
        let path = "in memory".to_owned();
        let connection = Connection::open_in_memory()
            .and_then(configure)
            .map_err(|error| StoreError::sql(&path, "opening", error))?;
        Self::migrated(path, connection, None)
    }

    fn migrated(
        path: String,
        mut connection: Connection,
        readers: Option<Mutex<Vec<Connection>>>,
    ) -> Result<Self, StoreError> {
        migrate(&path, &mut connection)?;
        Ok(Self { path, writer: Mutex::new(connection), readers, sealer: None })
    }

    /// Has every entry that is appended from now on signed by `sealer`, in the same transaction.
    #[must_use]
    pub fn sealed_by(self, sealer: Sealer) -> Self {
        Self { sealer: Some(sealer), ..self }
    }

    /// Runs queries on one snapshot.
    ///
    /// # Errors
    /// Whatever the closure returns, or that no snapshot could be taken.
    pub fn read<T, E: From<StoreError>>(
        &self,
        query: impl FnOnce(&View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(pool) = &self.readers else {
            let connection = lock(&self.writer);
            let snapshot =
                connection.unchecked_transaction().map_err(|error| self.failed("reading", error))?;
            return query(&View { connection: &snapshot, path: &self.path });
        };
        let idle = lock(pool).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                Connection::open(&self.path).and_then(configure).map_err(|e| self.failed("opening", e))?
            }
        };
        let snapshot = connection.transaction().map_err(|error| self.failed("reading", error))?;
        let outcome = query(&View { connection: &snapshot, path: &self.path });
        drop(snapshot);
        let mut pool = lock(pool);
        if pool.len() < IDLE_READERS_MAX {
            pool.push(connection);
        }
        outcome
    }

    /// Runs queries and changes in one transaction; an error drops every change.
    ///
    /// # Errors
    /// Whatever the closure returns, or that the transaction could not be begun or committed.
    pub fn write<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = lock(&self.writer);
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| self.failed("beginning a transaction", error))?;
        let view = View { connection: &transaction, path: &self.path };
        let outcome = change(&Writer { view, sealer: self.sealer.as_ref() })?;
        transaction.commit().map_err(|error| self.failed("committing", error))?;
        Ok(outcome)
    }

    fn failed(&self, operation: &'static str, error: rusqlite::Error) -> StoreError {
        StoreError::sql(&self.path, operation, error)
    }

    /// The connection that writes, for tests that damage it.
    #[cfg(test)]
    pub(crate) fn writer(&self) -> MutexGuard<'_, Connection> {
        lock(&self.writer)
    }
}

/// A panic inside a closure rolls its transaction back, so the connection stays good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn configure(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    Ok(connection)
}

fn migrate(path: &str, connection: &mut Connection) -> Result<(), StoreError> {
    let failed = |error| StoreError::sql(path, "migrating", error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found: u32 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    for step in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed)?;
    transaction.commit().map_err(failed)
}

impl View<'_> {
    pub(crate) fn rows<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let query = || -> rusqlite::Result<Vec<T>> {
            self.connection.prepare_cached(sql)?.query_map(params, read)?.collect()
        };
        query().map_err(|error| StoreError::sql(self.path, operation, error))
    }

    pub(crate) fn row<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let query = || self.connection.prepare_cached(sql)?.query_row(params, read).optional();
        query().map_err(|error| StoreError::sql(self.path, operation, error))
    }

    /// Hands every row to `each`, which may end the walk by returning false.
    pub(crate) fn walk(
        &self,
        operation: &'static str,
        sql: &str,
        mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<bool>,
    ) -> Result<(), StoreError> {
        let mut query = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if !each(row)? {
                    break;
                }
            }
            Ok(())
        };
        query().map_err(|error| StoreError::sql(self.path, operation, error))
    }
}

impl Writer<'_> {
    /// Returns the number of rows changed.
    pub(crate) fn execute(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
    ) -> Result<usize, StoreError> {
        let run = || self.view.connection.prepare_cached(sql)?.execute(params);
        run().map_err(|error| StoreError::sql(self.view.path, operation, error))
    }
}

impl<'c> Deref for Writer<'c> {
    type Target = View<'c>;

    fn deref(&self) -> &View<'c> {
        &self.view
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeward_core::{DeviceId, Event, Timestamp};

    fn enrolled(n: usize) -> Event {
        Event::DeviceEnrolled { device: DeviceId::new(format!("d{n}")).unwrap() }
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edgeward.db");
        let store = Store::open(&path).unwrap();
        store.writer().pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        drop(store);
        let error = Store::open(&path).err().unwrap();
        assert!(matches!(error, StoreError::NewerSchema { .. }));
        assert!(error.to_string().contains("update the program"), "{error}");
    }

    #[test]
    fn a_database_opened_for_reading_shows_everything_and_takes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edgeward.db");
        assert!(Store::open_read_only(&path).is_err());
        let writing = Store::open(&path).unwrap();
        writing.append(&[enrolled(1)], Timestamp(1)).unwrap();
        let reading = Store::open_read_only(&path).unwrap();
        writing.append(&[enrolled(2)], Timestamp(2)).unwrap();
        assert_eq!(reading.head().unwrap().len, 2);
        assert_eq!(reading.verify().unwrap(), None);
        assert!(reading.append(&[enrolled(3)], Timestamp(3)).is_err());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/edgeward.db");
        let text = Store::open(&path).err().unwrap().to_string();
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(text.contains("check that its directory exists"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_database_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edgeward.db");
        std::fs::write(&path, "this is a plain text, not a database. ".repeat(50)).unwrap();
        let text = Store::open(&path).err().unwrap().to_string();
        assert!(text.contains("restore it from a backup") && text.contains("edgeward.db"), "{text}");
    }

    #[test]
    fn a_full_disk_is_told_and_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edgeward.db");
        let store = Store::open(&path).unwrap();
        let pages: u32 = store.writer().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        store.writer().pragma_update_and_check(None, "max_page_count", pages + 2, |_| Ok(())).unwrap();
        let (mut kept, mut failure) = (0, None);
        while failure.is_none() {
            match store.append(&[enrolled(kept)], Timestamp(0)) {
                Ok(_) => kept += 1,
                Err(error) => failure = Some(error.to_string()),
            }
        }
        let text = failure.unwrap();
        assert!(text.contains("the disk is full") && text.contains("edgeward.db"), "{text}");
        assert_eq!(store.head().unwrap().len, kept as u64);
        assert_eq!(store.verify().unwrap(), None);
    }

    #[test]
    fn a_read_only_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("edgeward.db")).unwrap();
        store.writer().pragma_update(None, "query_only", true).unwrap();
        let text = store.append(&[enrolled(0)], Timestamp(0)).unwrap_err().to_string();
        assert!(text.contains("write access") && text.contains("edgeward.db"), "{text}");
    }

    #[test]
    fn a_panic_in_a_closure_rolls_back() {
        let store = Store::in_memory().unwrap();
        let panicking = std::panic::AssertUnwindSafe(|| {
            store.write(|writer| -> Result<(), StoreError> {
                writer.append(enrolled(0), Timestamp(0))?;
                panic!("in the middle")
            })
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert_eq!(store.head().unwrap().len, 0);
        store.append(&[enrolled(0)], Timestamp(0)).unwrap();
    }
}
