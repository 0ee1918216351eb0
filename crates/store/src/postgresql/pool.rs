//! The connections of one server: one that writes, and a few that read.

use std::cell::RefCell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postgres::{Client, NoTls};

use super::{Address, Seat, Session};
use crate::engine::{Connection, SqlError};
use crate::error::StoreError;
use crate::schema::{POSTGRES, POSTGRES_FIRST, SCHEMA_VERSION};

/// Most connections for reading; further readers wait.
const READERS_MAX: usize = 8;
/// How long to wait for a lock held by another server, or for a connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The locks of a database, each with the schema's number beside it.
const WRITE_LOCK: i32 = 0x4557_0001;
const MIGRATE_LOCK: i32 = 0x4557_0002;
pub(super) const LEAD_LOCK: i32 = 0x4557_0003;

/// Of each connection: nobody waits for a server that is stuck or gone, and one that is gone is found out.
const SETTINGS: &str = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '60s';
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
    SET client_min_messages = warning";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The connections.
pub(crate) struct Pool {
    address: Address,
    name: String,
    /// A number of the schema in which the tables are.
    scope: i32,
    begin_write: String,
    writer: Mutex<Option<Session>>,
    readers: Mutex<Readers>,
    freed: Condvar,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Session>,
    /// Places that are taken.
    busy: usize,
}

/// A place among the readers.
struct Place<'p> {
    pool: &'p Pool,
    session: Option<Session>,
}

impl Pool {
    /// Connects, and makes or brings up to date the tables.
    pub(crate) fn open(address: &Address) -> Result<Self, StoreError> {
        let (pool, mut session) = Self::connected(address)?;
        migrate(&pool.name, pool.scope, &mut session)?;
        *lock(&pool.writer) = Some(session);
        Ok(pool)
    }

    /// Connects to tables that must be there.
    pub(crate) fn open_read_only(address: &Address) -> Result<Self, StoreError> {
        let (mut pool, mut session) = Self::connected(address)?;
        let found = version(&mut session).map_err(|error| pool.failed("opening", error))?.unwrap_or(0);
        check(&pool.name, found)?;
        if found < SCHEMA_VERSION {
            return Err(StoreError::OlderSchema { path: pool.name.clone(), found, known: SCHEMA_VERSION });
        }
        pool.begin_write = BEGIN_READ.to_owned();
        lock(&pool.readers).idle.push(session);
        Ok(pool)
    }

    fn connected(address: &Address) -> Result<(Self, Session), StoreError> {
        let name = address.to_string();
        let failed = |error| StoreError::sql(&name, "opening", error);
        let mut client = connect(address).map_err(failed)?;
        let scope = client
            .query_one("SELECT hashtext(current_schema())", &[])
            .and_then(|row| row.try_get::<_, Option<i32>>(0))
            .map_err(|error| failed(error.into()))?;
        let scope = scope.ok_or_else(|| StoreError::NoSchema { path: name.clone() })?;
        let pool = Self {
            address: address.clone(),
            name,
            scope,
            begin_write: format!("BEGIN; SELECT pg_advisory_xact_lock({WRITE_LOCK}, {scope})"),
            writer: Mutex::default(),
            readers: Mutex::default(),
            freed: Condvar::new(),
        };
        let session = Session::new(client, channel(scope));
        Ok((pool, session))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn seat(&self) -> Seat {
        Seat::new(self.address.clone(), self.scope)
    }

    pub(crate) fn read<T, E: From<StoreError>>(
        &self,
        query: impl FnOnce(Connection<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut place = self.place()?;
        let session = RefCell::new(self.begun(place.session.take(), BEGIN_READ)?);
        let outcome = query(Connection::Postgres(&session));
        let mut session = session.into_inner();
        // One that does not even end its transaction is dropped, and another made for the next reader.
        place.session = session.run("ROLLBACK").is_ok().then_some(session);
        outcome
    }

    pub(crate) fn write<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(Connection<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut writer = lock(&self.writer);
        let session = RefCell::new(self.begun(writer.take(), &self.begin_write)?);
        let outcome = change(Connection::Postgres(&session));
        let mut session = session.into_inner();
        let outcome = outcome.and_then(|value| {
            session.commit().map_err(|error| self.failed("committing", error))?;
            Ok(value)
        });
        *writer = (outcome.is_ok() || session.run("ROLLBACK").is_ok()).then_some(session);
        outcome
    }

    /// A connection with a transaction begun, on `idle` if that still works.
    fn begun(&self, idle: Option<Session>, begin: &str) -> Result<Session, StoreError> {
        if let Some(mut session) = idle {
            match session.begin(begin) {
                Ok(()) => return Ok(session),
                Err(error) if !is_gone(&error) => return Err(self.failed("beginning a transaction", error)),
                Err(_) => {}
            }
        }
        let client = connect(&self.address).map_err(|error| self.failed("opening", error))?;
        let mut session = Session::new(client, channel(self.scope));
        session.begin(begin).map_err(|error| self.failed("beginning a transaction", error))?;
        Ok(session)
    }

    fn place(&self) -> Result<Place<'_>, StoreError> {
        let readers = lock(&self.readers);
        let (mut readers, waited) = self
            .freed
            .wait_timeout_while(readers, BUSY_TIMEOUT, |readers| readers.busy >= READERS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(self.failed("reading", SqlError::Exhausted));
        }
        readers.busy += 1;
        Ok(Place { pool: self, session: readers.idle.pop() })
    }

    fn failed(&self, operation: &'static str, error: SqlError) -> StoreError {
        StoreError::sql(&self.name, operation, error)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut readers = lock(&self.pool.readers);
        readers.busy -= 1;
        readers.idle.extend(self.session.take());
        self.pool.freed.notify_one();
    }
}

impl Drop for Pool {
    /// Closing a connection blocks, which is not allowed where asynchronous tasks run, and that is where a server ends.
    fn drop(&mut self) {
        let mut sessions = std::mem::take(&mut lock(&self.readers).idle);
        sessions.extend(lock(&self.writer).take());
        close(sessions);
    }
}

/// Drops connections on a thread of their own.
pub(super) fn close<T: Send + 'static>(connections: T) {
    // A thread that panicked has dropped them too.
    let _ = std::thread::spawn(move || drop(connections)).join();
}

/// A panic inside a closure takes the connection with it, and the database rolls its transaction back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the servers of a schema tell each other of news.
pub(super) fn channel(scope: i32) -> String {
    format!("edgeward_{:08x}", scope.cast_unsigned())
}

/// A new connection.
pub(super) fn connect(address: &Address) -> Result<Client, SqlError> {
    let mut client = match &address.tls {
        Some(tls) => address.config.connect(tls.clone())?,
        None => address.config.connect(NoTls)?,
    };
    client.batch_execute(SETTINGS)?;
    Ok(client)
}

/// Whether an error says that the connection is no more.
fn is_gone(error: &SqlError) -> bool {
    match error {
        SqlError::Postgres(error) => match error.as_db_error() {
            // The server is ending, or ended this connection; or it was idle in a transaction for too long.
            Some(said) => said.code().code().starts_with("57P") || said.code().code() == "25P03",
            None => true,
        },
        _ => false,
    }
}

/// The version of the tables; none where there are none.
fn version(session: &mut Session) -> Result<Option<u32>, SqlError> {
    let there = session.client.query_one("SELECT to_regclass('edgeward_schema') IS NOT NULL", &[])?;
    if !there.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let row = session.client.query_opt("SELECT version FROM edgeward_schema", &[])?;
    let version = row.map(|row| row.try_get::<_, i64>(0)).transpose()?;
    Ok(version.map(|version| u32::try_from(version).unwrap_or(u32::MAX)))
}

fn check(name: &str, found: u32) -> Result<(), StoreError> {
    match found > SCHEMA_VERSION {
        true => Err(StoreError::NewerSchema { path: name.to_owned(), found, known: SCHEMA_VERSION }),
        false => Ok(()),
    }
}

/// Servers that start at once do this one after the other.
fn migrate(name: &str, scope: i32, session: &mut Session) -> Result<(), StoreError> {
    let failed = |error: SqlError| StoreError::sql(name, "migrating", error);
    let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({MIGRATE_LOCK}, {scope})");
    session.begin(&begin).map_err(failed)?;
    let found = version(session).map_err(failed)?;
    check(name, found.unwrap_or(0))?;
    let done = match found {
        None => {
            session.run("CREATE TABLE edgeward_schema (version BIGINT NOT NULL)").map_err(failed)?;
            session.run("INSERT INTO edgeward_schema (version) VALUES (0)").map_err(failed)?;
            0
        }
        Some(found) => (found as usize + 1).saturating_sub(POSTGRES_FIRST),
    };
    for step in &POSTGRES[done..] {
        session.run(step).map_err(failed)?;
    }
    session.run(&format!("UPDATE edgeward_schema SET version = {SCHEMA_VERSION}")).map_err(failed)?;
    session.commit().map_err(failed)
}
