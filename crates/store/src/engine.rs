//! The one narrow place through which statements reach a database: SQLite or PostgreSQL.
//!
//! A statement is written once, in the SQL that both understand, with parameters `?1`, `?2`, ...; what differs between
//! the two (types of columns, a hint for an index) is put right in [`crate::postgresql`].

use std::cell::RefCell;

use crate::column::{ColumnError, FromColumn, Value, ValueRef};
use crate::postgresql::Session;

/// What went wrong in a database, in its own words.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// SQLite refused.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL refused, or cannot be reached.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// A column holds something else than was looked for.
    #[error("column {index} does not hold what it should")]
    Column {
        /// Which, from 0.
        index: usize,
        /// What it holds.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value that no column can hold.
    #[error("{0}")]
    Value(String),
    /// An earlier statement of the transaction failed, and the transaction with it.
    #[error("an earlier statement of the transaction failed")]
    Aborted,
    /// No connection is free.
    #[error("every connection is in use")]
    Exhausted,
}

impl SqlError {
    /// Whether a row contradicts the others.
    pub(crate) fn is_constraint(&self) -> bool {
        match self {
            Self::Sqlite(error) => {
                error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
            }
            Self::Postgres(error) => error.code().is_some_and(|code| code.code().starts_with("23")),
            _ => false,
        }
    }
}

/// Something that has columns.
pub(crate) trait Columns {
    fn value(&self, index: usize) -> Result<ValueRef<'_>, SqlError>;
}

impl Columns for rusqlite::Row<'_> {
    fn value(&self, index: usize) -> Result<ValueRef<'_>, SqlError> {
        use rusqlite::types::ValueRef as Sqlite;
        let failed = |source: ColumnError| SqlError::Column { index, source };
        Ok(match self.get_ref(index)? {
            Sqlite::Null => ValueRef::Null,
            Sqlite::Integer(value) => ValueRef::Integer(value),
            Sqlite::Text(text) => {
                ValueRef::Text(std::str::from_utf8(text).map_err(|error| failed(error.into()))?)
            }
            Sqlite::Blob(bytes) => ValueRef::Blob(bytes),
            Sqlite::Real(_) => return Err(failed("it holds a fraction".into())),
        })
    }
}

/// A row of an answer.
pub(crate) struct Row<'r>(pub(crate) &'r dyn Columns);

impl Row<'_> {
    pub(crate) fn get<T: FromColumn>(&self, index: usize) -> Result<T, SqlError> {
        T::from_value(self.0.value(index)?).map_err(|source| SqlError::Column { index, source })
    }
}

/// What is done with each row; false ends the reading.
pub(crate) type Each<'f> = &'f mut dyn FnMut(&Row<'_>) -> Result<bool, SqlError>;

/// A connection within a transaction.
#[derive(Clone, Copy)]
pub(crate) enum Connection<'c> {
    Sqlite(&'c rusqlite::Connection),
    Postgres(&'c RefCell<Session>),
}

impl Connection<'_> {
    /// Hands the rows of an answer to `each`. On PostgreSQL they are all in memory by then, so whoever reads much asks for
    /// pages.
    pub(crate) fn query(&self, sql: &str, params: &[Value<'_>], each: Each<'_>) -> Result<(), SqlError> {
        fit(params)?;
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(params))?;
                while let Some(row) = rows.next()? {
                    if !each(&Row(row))? {
                        break;
                    }
                }
            }
            Self::Postgres(session) => {
                let rows = session.borrow_mut().query(sql, params)?;
                for row in &rows {
                    if !each(&Row(row))? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the number of rows changed.
    pub(crate) fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<usize, SqlError> {
        fit(params)?;
        match self {
            Self::Sqlite(connection) => {
                Ok(connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(params))?)
            }
            Self::Postgres(session) => session.borrow_mut().execute(sql, params),
        }
    }
}

fn fit(params: &[Value<'_>]) -> Result<(), SqlError> {
    match params.iter().find_map(|value| if let Value::Unfit(why) = value { Some(why) } else { None }) {
        Some(why) => Err(SqlError::Value(why.clone())),
        None => Ok(()),
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef as Sqlite};
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(Some(value)) => Sqlite::Integer(*value),
            Self::Text(Some(text)) => Sqlite::Text(text.as_bytes()),
            Self::Blob(Some(bytes)) => Sqlite::Blob(bytes),
            Self::Integer(None) | Self::Text(None) | Self::Blob(None) | Self::Unfit(_) => Sqlite::Null,
        }))
    }
}
