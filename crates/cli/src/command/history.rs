//! What the commands over a file of history share: reading it, and learning what of it can be watched.

use std::ops::Range;
use std::path::Path;

use edgeward_pipeline::table::streams::{Encoding, EncodingError};
use edgeward_pipeline::table::{Selection, Table, TableError};

use crate::output::{Failure, with_causes};

/// Reads a table: the columns called `columns` and what may say when, or everything.
pub(crate) fn read(file: &Path, columns: &[String]) -> Result<Table, Failure> {
    let selection = if columns.is_empty() { Selection::All } else { Selection::Named(columns) };
    Table::read(file, selection).map_err(|error| match error {
        TableError::NoColumn { .. } => Failure::usage(error.to_string()).hint("check --column"),
        _ => Failure::new("data", with_causes(&error)),
    })
}

/// Learns from some rows what is watched.
pub(crate) fn learn(
    table: &Table,
    rows: Range<usize>,
    columns: &[String],
    doing: &str,
) -> Result<Encoding, Failure> {
    Encoding::learn(table, rows, columns).map_err(|error| {
        let text = format!("{doing}: {error}");
        match error {
            EncodingError::Unfit { .. } => Failure::usage(text).hint("name other columns with --column"),
            EncodingError::Nothing { .. } => Failure::new("data", text)
                .hint("add a column of measurements or of categories that has values in the reference rows"),
            EncodingError::TooLarge { .. } => {
                Failure::new("data", text).hint("name fewer columns with --column")
            }
        }
    })
}
