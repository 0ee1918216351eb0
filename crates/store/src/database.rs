//! The database: opening it, and the two kinds of access to it.

use std::ops::Deref;
use std::path::Path;
use std::sync::OnceLock;

use crate::column::Value;
use crate::engine::{Connection, Row, SqlError};
use crate::error::StoreError;
use crate::postgresql::{Address, Pool, Seat};
use crate::sqlite::SqliteFile;

/// Signs an entry: its place and its bytes.
pub type Sealer = Box<dyn Fn(u64, &[u8]) -> Result<Vec<u8>, SealError> + Send + Sync>;

/// Why an entry could not be signed.
pub type SealError = Box<dyn std::error::Error + Send + Sync>;

/// The database. One writes at a time; readers see the last committed state and wait for nobody.
pub struct Store {
    pub(crate) engine: Engine,
    sealer: OnceLock<Sealer>,
}

/// What a store stands on.
pub(crate) enum Engine {
    Sqlite(SqliteFile),
    Postgres(Box<Pool>),
}

/// One consistent state of the database, to be queried.
pub struct View<'c> {
    connection: Connection<'c>,
    name: &'c str,
}

/// A transaction: queries see its own changes. It is committed when its closure returns `Ok`.
pub struct Writer<'c> {
    view: View<'c>,
    pub(crate) sealer: Option<&'c Sealer>,
}

impl Store {
    /// Opens the SQLite file at `path`, creating or migrating it as needed. The directory must exist.
    ///
    /// # Errors
    /// The file cannot be opened or written, is no database, or was written by a newer program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::on(Engine::Sqlite(SqliteFile::open(path)?)))
    }

    /// Opens the SQLite file at `path` for reading only: nothing is created, migrated or written, and a program that writes
    /// to it meanwhile is not disturbed.
    ///
    /// # Errors
    /// The file cannot be opened, is no database, or was written by a newer or an older program.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::on(Engine::Sqlite(SqliteFile::open_read_only(path)?)))
    }

    /// A SQLite database that is gone when dropped.
    ///
    /// # Errors
    /// Memory is short.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::on(Engine::Sqlite(SqliteFile::in_memory()?)))
    }

    /// Connects to a PostgreSQL database, creating or migrating the tables as needed. Any number of servers may do so at
    /// once. Must not be called, nor the store used, on a thread that runs asynchronous tasks.
    ///
    /// # Errors
    /// It cannot be reached, refuses this user, or was written by a newer program.
    pub fn connect(address: &Address) -> Result<Self, StoreError> {
        Ok(Self::on(Engine::Postgres(Box::new(Pool::open(address)?))))
    }

    /// Connects to a PostgreSQL database for reading only: nothing is created, migrated or written.
    ///
    /// # Errors
    /// It cannot be reached, or was written by a newer or an older program.
    pub fn connect_read_only(address: &Address) -> Result<Self, StoreError> {
        Ok(Self::on(Engine::Postgres(Box::new(Pool::open_read_only(address)?))))
    }

    const fn on(engine: Engine) -> Self {
        Self { engine, sealer: OnceLock::new() }
    }

    /// Has every entry that is appended from now on signed by `sealer`, in the same transaction.
    #[must_use]
    pub fn sealed_by(self, sealer: Sealer) -> Self {
        self.seal_with(sealer);
        self
    }

    /// The same for a store that is in use already. Whoever says so first is the one that counts.
    pub fn seal_with(&self, sealer: Sealer) {
        // An error hands back the second one.
        let _ = self.sealer.set(sealer);
    }

    /// A place among the servers that share the database; none where there is only one.
    #[must_use]
    pub fn seat(&self) -> Option<Seat> {
        match &self.engine {
            Engine::Sqlite(_) => None,
            Engine::Postgres(pool) => Some(pool.seat()),
        }
    }

    /// Runs queries on one snapshot.
    ///
    /// # Errors
    /// Whatever the closure returns, or that no snapshot could be taken.
    pub fn read<T, E: From<StoreError>>(
        &self,
        query: impl FnOnce(&View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.engine {
            Engine::Sqlite(file) => file.read(|connection| query(&View { connection, name: file.name() })),
            Engine::Postgres(pool) => pool.read(|connection| query(&View { connection, name: pool.name() })),
        }
    }

    /// Runs queries and changes in one transaction; an error drops every change.
    ///
    /// # Errors
    /// Whatever the closure returns, or that the transaction could not be begun or committed.
    pub fn write<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let sealer = self.sealer.get();
        match &self.engine {
            Engine::Sqlite(file) => file
                .write(|connection| change(&Writer { view: View { connection, name: file.name() }, sealer })),
            Engine::Postgres(pool) => pool
                .write(|connection| change(&Writer { view: View { connection, name: pool.name() }, sealer })),
        }
    }
}

impl View<'_> {
    pub(crate) fn rows<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut rows = Vec::new();
        let queried = self.connection.query(sql, params, &mut |row| {
            rows.push(read(row)?);
            Ok(true)
        });
        queried.map(|()| rows).map_err(|error| self.failed(operation, error))
    }

    pub(crate) fn row<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, StoreError> {
        let mut found = None;
        let queried = self.connection.query(sql, params, &mut |row| {
            found = Some(read(row)?);
            Ok(false)
        });
        queried.map(|()| found).map_err(|error| self.failed(operation, error))
    }

    fn failed(&self, operation: &'static str, error: SqlError) -> StoreError {
        StoreError::sql(self.name, operation, error)
    }
}

impl Writer<'_> {
    /// Returns the number of rows changed.
    pub(crate) fn execute(
        &self,
        operation: &'static str,
        sql: &str,
        params: &[Value<'_>],
    ) -> Result<usize, StoreError> {
        self.connection.execute(sql, params).map_err(|error| self.failed(operation, error))
    }

    /// Tells the other servers of the database, once this transaction is committed; nothing where there are none.
    ///
    /// # Errors
    /// The database fails.
    pub fn announce(&self, news: &str) -> Result<(), StoreError> {
        match self.connection {
            Connection::Sqlite(_) => Ok(()),
            Connection::Postgres(session) => {
                let told = session.borrow_mut().announce(news);
                told.map_err(|error| self.failed("telling the other servers", error))
            }
        }
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
    use edgeward_core::{DeviceId, Event, Timestamp};

    use super::*;

    #[test]
    fn a_panic_in_a_closure_rolls_back() {
        let enrolled = || Event::DeviceEnrolled { device: DeviceId::new("d0").unwrap() };
        let store = Store::in_memory().unwrap();
        let panicking = std::panic::AssertUnwindSafe(|| {
            store.write(|writer| -> Result<(), StoreError> {
                writer.append(enrolled(), Timestamp(0))?;
                panic!("in the middle")
            })
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert_eq!(store.head().unwrap().len, 0);
        store.append(&[enrolled()], Timestamp(0)).unwrap();
    }
}
