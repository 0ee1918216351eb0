//! PostgreSQL: one database, any number of servers.
//!
//! A write holds the database's advisory lock from its first statement to its commit, so writes are one after the other
//! whichever server they come from, each on what the one before left: the ledger cannot be forked. Reads see one snapshot
//! and wait for nobody. A connection that was lost is made anew at the next transaction; what was under way then fails as a
//! whole, and if that was a commit, whether it was done is seen when the state is read again.
//!
//! Every call blocks on a runtime of its own connection, so none may be made where asynchronous tasks run.

mod address;
mod pool;
mod seat;
mod tls;

use std::collections::HashMap;
use std::error::Error;

use bytes::BytesMut;
use postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Statement};

pub use self::address::{Address, AddressError};
pub(crate) use self::pool::Pool;
pub use self::seat::{Heard, Seat};
use crate::column::{Value, ValueRef};
use crate::engine::{Columns, SqlError};

/// Prepared statements kept per connection; when there are more, all are made anew.
const STATEMENTS_MAX: usize = 256;
/// What stands for a character that PostgreSQL's text cannot hold.
const NUL: &str = "\u{fffd}";

/// A connection, and what was prepared on it.
pub(crate) struct Session {
    client: Client,
    statements: HashMap<String, Statement>,
    /// Where the servers of this database tell each other of news.
    channel: String,
    /// A statement failed, and the transaction with it.
    is_aborted: bool,
}

impl Session {
    fn new(client: Client, channel: String) -> Self {
        Self { client, statements: HashMap::new(), channel, is_aborted: false }
    }

    /// Runs statements that have no parameters and whose answer nobody wants.
    fn run(&mut self, sql: &str) -> Result<(), SqlError> {
        Ok(self.client.batch_execute(sql)?)
    }

    /// Begins a transaction.
    fn begin(&mut self, sql: &str) -> Result<(), SqlError> {
        self.is_aborted = false;
        self.run(sql)
    }

    /// Commits; an error if a statement failed, for then nothing would be committed, and without a word.
    fn commit(&mut self) -> Result<(), SqlError> {
        match self.is_aborted {
            true => Err(SqlError::Aborted),
            false => self.run("COMMIT"),
        }
    }

    pub(crate) fn query(&mut self, sql: &str, params: &[Value<'_>]) -> Result<Vec<postgres::Row>, SqlError> {
        self.step(|session| {
            let statement = session.prepared(sql, params)?;
            Ok(session.client.query(&statement, &references(params))?)
        })
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &[Value<'_>]) -> Result<usize, SqlError> {
        self.step(|session| {
            let statement = session.prepared(sql, params)?;
            let changed = session.client.execute(&statement, &references(params))?;
            Ok(usize::try_from(changed).unwrap_or(usize::MAX))
        })
    }

    /// Tells every server of this database, this one too, once the transaction is committed.
    pub(crate) fn announce(&mut self, news: &str) -> Result<(), SqlError> {
        let channel = self.channel.clone();
        let params = [Value::Text(Some(channel.into())), Value::Text(Some(news.into()))];
        self.query("SELECT pg_notify(?1, ?2)", &params).map(|_| ())
    }

    fn step<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, SqlError>) -> Result<T, SqlError> {
        if self.is_aborted {
            return Err(SqlError::Aborted);
        }
        let outcome = work(self);
        self.is_aborted = outcome.is_err();
        outcome
    }

    fn prepared(&mut self, sql: &str, params: &[Value<'_>]) -> Result<Statement, SqlError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let kinds: Vec<Type> = params.iter().map(kind).collect();
        let statement = self.client.prepare_typed(&translated(sql), &kinds)?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

fn references<'a>(params: &'a [Value<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    params.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

const fn kind(value: &Value<'_>) -> Type {
    match value {
        Value::Integer(_) => Type::INT8,
        Value::Text(_) | Value::Unfit(_) => Type::TEXT,
        Value::Blob(_) => Type::BYTEA,
    }
}

/// The statement as PostgreSQL writes it: its parameters' mark, and no hint which index to take.
fn translated(sql: &str) -> String {
    const HINT: &str = " INDEXED BY ";
    let mut text = sql.replace('?', "$");
    while let Some(start) = text.find(HINT) {
        let name = start + HINT.len();
        let end = text[name..].find(char::is_whitespace).map_or(text.len(), |length| name + length);
        text.replace_range(start..end, "");
    }
    text
}

impl ToSql for Value<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Integer(Some(value)) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Text(Some(text)) if text.contains('\0') => {
                out.extend_from_slice(text.replace('\0', NUL).as_bytes());
            }
            Self::Text(Some(text)) => out.extend_from_slice(text.as_bytes()),
            Self::Blob(Some(bytes)) => out.extend_from_slice(bytes),
            Self::Integer(None) | Self::Text(None) | Self::Blob(None) | Self::Unfit(_) => {
                return Ok(IsNull::Yes);
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column's value before anybody says what it should be.
struct Raw<'a>(ValueRef<'a>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *kind {
            Type::INT4 => ValueRef::Integer(i64::from(i32::from_be_bytes(raw.try_into()?))),
            Type::INT8 => ValueRef::Integer(i64::from_be_bytes(raw.try_into()?)),
            Type::BYTEA => ValueRef::Blob(raw),
            _ => ValueRef::Text(std::str::from_utf8(raw)?),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(ValueRef::Null))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT4 | Type::INT8 | Type::BYTEA | Type::TEXT | Type::NAME | Type::VOID)
    }
}

impl Columns for postgres::Row {
    fn value(&self, index: usize) -> Result<ValueRef<'_>, SqlError> {
        Ok(self.try_get::<_, Raw<'_>>(index)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_hints_are_put_right() {
        let sql = "SELECT a FROM t LEFT JOIN r INDEXED BY r_seen ON r.a = t.a WHERE ?1 IS NULL OR b > ?12";
        let expected = "SELECT a FROM t LEFT JOIN r ON r.a = t.a WHERE $1 IS NULL OR b > $12";
        assert_eq!(translated(sql), expected);
    }

    #[test]
    fn text_has_no_nul() {
        let mut out = BytesMut::new();
        let value = Value::Text(Some("a\0b".into()));
        value.to_sql(&Type::TEXT, &mut out).unwrap();
        assert_eq!(out.as_ref(), "a\u{fffd}b".as_bytes());
    }
}
