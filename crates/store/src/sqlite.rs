//! SQLite: one file in WAL mode with `synchronous=FULL`.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{OpenFlags, TransactionBehavior};

use crate::engine::{Connection, SqlError};
use crate::error::StoreError;
use crate::schema::{SCHEMA_VERSION, SQLITE};

/// How long to wait for a lock held by another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Most idle connections kept for reading.
const IDLE_READERS_MAX: usize = 4;
/// Prepared statements kept per connection.
const STATEMENTS_CACHED: usize = 128;
/// Size of the write-ahead log at which it is copied into the file, in pages.
const WAL_PAGES: u32 = 1000;

/// A database file.
pub(crate) struct SqliteFile {
    path: String,
    writer: Mutex<rusqlite::Connection>,
    /// None for a database in memory or opened for reading only, which has only one connection.
    readers: Option<Mutex<Vec<rusqlite::Connection>>>,
}

impl SqliteFile {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.display().to_string();
        let connection = rusqlite::Connection::open(&path)
            .and_then(configure)
            .map_err(|error| StoreError::sql(&path, "opening", error.into()))?;
        Self::migrated(path, connection, Some(Mutex::default()))
    }

    pub(crate) fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let path = path.display().to_string();
        let failed = |error: rusqlite::Error| StoreError::sql(&path, "opening", error.into());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        let found: u32 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        if found > SCHEMA_VERSION {
            return Err(StoreError::NewerSchema { path, found, known: SCHEMA_VERSION });
        }
        if found < SCHEMA_VERSION {
            return Err(StoreError::OlderSchema { path, found, known: SCHEMA_VERSION });
        }
        Ok(Self { path, writer: Mutex::new(connection), readers: None })
    }

    pub(crate) fn in_memory() -> Result<Self, StoreError> {
        let path = "in memory".to_owned();
        let connection = rusqlite::Connection::open_in_memory()
            .and_then(configure)
            .map_err(|error| StoreError::sql(&path, "opening", error.into()))?;
        Self::migrated(path, connection, None)
    }

    fn migrated(
        path: String,
        mut connection: rusqlite::Connection,
        readers: Option<Mutex<Vec<rusqlite::Connection>>>,
    ) -> Result<Self, StoreError> {
        migrate(&path, &mut connection)?;
        Ok(Self { path, writer: Mutex::new(connection), readers })
    }

    pub(crate) fn name(&self) -> &str {
        &self.path
    }

    pub(crate) fn read<T, E: From<StoreError>>(
        &self,
        query: impl FnOnce(Connection<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(pool) = &self.readers else {
            let connection = lock(&self.writer);
            let snapshot =
                connection.unchecked_transaction().map_err(|error| self.failed("reading", error))?;
            return query(Connection::Sqlite(&snapshot));
        };
        let idle = lock(pool).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => rusqlite::Connection::open(&self.path)
                .and_then(configure)
                .map_err(|error| self.failed("opening", error))?,
        };
        let snapshot = connection.transaction().map_err(|error| self.failed("reading", error))?;
        let outcome = query(Connection::Sqlite(&snapshot));
        drop(snapshot);
        let mut pool = lock(pool);
        if pool.len() < IDLE_READERS_MAX {
            pool.push(connection);
        }
        outcome
    }

    pub(crate) fn write<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(Connection<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = lock(&self.writer);
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| self.failed("beginning a transaction", error))?;
        let outcome = change(Connection::Sqlite(&transaction))?;
        transaction.commit().map_err(|error| self.failed("committing", error))?;
        Ok(outcome)
    }

    fn failed(&self, operation: &'static str, error: rusqlite::Error) -> StoreError {
        StoreError::sql(&self.path, operation, SqlError::from(error))
    }

    /// The connection that writes, for tests that damage it.
    #[cfg(test)]
    pub(crate) fn writer(&self) -> MutexGuard<'_, rusqlite::Connection> {
        lock(&self.writer)
    }
}

/// A panic inside a closure rolls its transaction back, so the connection stays good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn configure(connection: rusqlite::Connection) -> rusqlite::Result<rusqlite::Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    Ok(connection)
}

fn migrate(path: &str, connection: &mut rusqlite::Connection) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::sql(path, "migrating", error.into());
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found: u32 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    for step in &SQLITE[found as usize..] {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(failed)?;
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use edgeward_core::{DeviceId, Event, Timestamp};

    use super::*;
    use crate::database::{Engine, Store};

    fn enrolled(n: usize) -> Event {
        Event::DeviceEnrolled { device: DeviceId::new(format!("d{n}")).unwrap() }
    }

    fn writer(store: &Store) -> MutexGuard<'_, rusqlite::Connection> {
        match &store.engine {
            Engine::Sqlite(file) => file.writer(),
            Engine::Postgres(_) => panic!("a file was opened"),
        }
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edgeward.db");
        let store = Store::open(&path).unwrap();
        writer(&store).pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
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
        let pages: u32 = writer(&store).pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        writer(&store).pragma_update_and_check(None, "max_page_count", pages + 2, |_| Ok(())).unwrap();
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
        writer(&store).pragma_update(None, "query_only", true).unwrap();
        let text = store.append(&[enrolled(0)], Timestamp(0)).unwrap_err().to_string();
        assert!(text.contains("write access") && text.contains("edgeward.db"), "{text}");
    }
}
