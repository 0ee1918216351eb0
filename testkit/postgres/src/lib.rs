//! A PostgreSQL database of a test's own: a schema in a real server, gone when the test ends.
//!
//! ```no_run
//! # fn keeps_things() {
//! let Ok(database) = edgeward_testkit_postgres::database() else { return };
//! println!("connect to {}", database.url());
//! # }
//! ```
//!
//! **Contract.** The server is the one that `EDGEWARD_TEST_POSTGRES` names, else one that lets this user in on the standard
//! port of this machine, else one that is started here for as long as a test of this process uses it, where its programs
//! are found. Where there is none the test says that it is skipped and why; where nothing may be skipped, as in CI
//! (`EDGEWARD_TEST_NO_SKIP` is set), it fails.

mod own;
#[path = "../../skip.rs"]
mod skip;

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use postgres::{Client, NoTls};

use self::own::Own;
pub use self::skip::{Skip, skip};

/// Names the server to use.
const SERVER: &str = "EDGEWARD_TEST_POSTGRES";
/// What a server on this machine may let in without a password.
const USUAL: [&str; 3] = [
    "postgres://postgres@127.0.0.1:5432/postgres",
    "postgres://root@127.0.0.1:5432/root",
    "postgres://postgres:postgres@127.0.0.1:5432/postgres",
];

/// The server that tests of this process use.
static IN_USE: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static NUMBER: AtomicU32 = AtomicU32::new(0);

struct Server {
    url: String,
    /// Ends with the last test.
    _own: Option<Own>,
}

/// A schema of a test's own.
pub struct Database {
    server: Arc<Server>,
    name: String,
    url: String,
}

/// An empty database.
///
/// # Errors
/// Says why on standard error, with the name of the test, and returns it: return from the test.
///
/// # Panics
/// Instead, where `EDGEWARD_TEST_NO_SKIP` is set, or if the server refuses.
pub fn database() -> Result<Database, Skip> {
    Ok(made(server()?))
}

/// An empty database in a server of the test's own, which speaks TLS with this certificate and key (PEM).
///
/// # Errors
/// As [`database`].
///
/// # Panics
/// As [`database`].
pub fn database_with_tls(certificate: &str, key: &str) -> Result<Database, Skip> {
    let own = Own::start(Some((certificate, key))).map_err(|why| skip(&why))?;
    Ok(made(Arc::new(Server { url: own.url(), _own: Some(own) })))
}

fn made(server: Arc<Server>) -> Database {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("edgeward_test_{}_{number}_{}", process::id(), since.subsec_nanos());
    let mut client = connect(&server.url).unwrap_or_else(|why| refuse(&why));
    let made = client.batch_execute(&format!("CREATE SCHEMA {name}"));
    made.unwrap_or_else(|error| refuse(&error.to_string()));
    let mark = if server.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{mark}options=-csearch_path%3D{name}&application_name={name}", server.url);
    Database { server, name, url }
}

#[expect(clippy::panic, reason = "a failed step of a test should panic where it happens")]
fn refuse(why: &str) -> ! {
    panic!("the PostgreSQL server for tests refuses: {why}")
}

impl Database {
    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection to it, for what a test does behind a program's back.
    ///
    /// # Panics
    /// The server refuses.
    #[must_use]
    pub fn client(&self) -> Client {
        let mut client = connect(&self.server.url).unwrap_or_else(|why| refuse(&why));
        let set = client.batch_execute(&format!("SET search_path = {}", self.name));
        set.unwrap_or_else(|error| refuse(&error.to_string()));
        client
    }

    /// Ends every connection that a program has to it; how many.
    ///
    /// # Panics
    /// The server refuses.
    #[must_use]
    pub fn cut(&self) -> i64 {
        const SQL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = $1 AND pid <> pg_backend_pid()";
        let row = self.client().query_one(SQL, &[&self.name]);
        row.unwrap_or_else(|error| refuse(&error.to_string())).get(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // What is left of a test that was killed does no harm.
        if let Ok(mut client) = connect(&self.server.url) {
            let _ = client.batch_execute(&format!(
                "SET client_min_messages = warning; DROP SCHEMA IF EXISTS {} CASCADE",
                self.name
            ));
        }
    }
}

fn connect(url: &str) -> Result<Client, String> {
    Client::connect(url, NoTls).map_err(|error| format!("{url}: {error}"))
}

fn server() -> Result<Arc<Server>, Skip> {
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = in_use.upgrade() {
        return Ok(server);
    }
    let found = Arc::new(find().map_err(|why| skip(&why))?);
    *in_use = Arc::downgrade(&found);
    Ok(found)
}

fn find() -> Result<Server, String> {
    if let Ok(url) = std::env::var(SERVER) {
        return connect(&url).map(|_| Server { url, _own: None });
    }
    if let Some(url) = USUAL.into_iter().find(|url| connect(url).is_ok()) {
        return Ok(Server { url: url.to_owned(), _own: None });
    }
    let own = Own::start(None)?;
    Ok(Server { url: own.url(), _own: Some(own) })
}
