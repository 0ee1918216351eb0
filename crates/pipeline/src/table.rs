//! Tables of a history, from CSV or Parquet: named columns of numbers and texts, missing cells included.
//!
//! What a column *is* (numbers, categories, times) is not decided here but asked of any part of its rows
//! ([`Column::kind`]), so that a monitor learns it from its reference alone. A file is told by its content, not by its
//! name. [`streams`] says what of it can be watched, [`replay`](mod@replay) watches it, [`describe`](mod@describe) into figures, and
//! [`compare`](mod@compare) holds two tables against each other.
//!
//! Contract: no panic on any file, memory bounded by [`CELLS_MAX`] and [`TEXTS_MAX`], errors that name file and place.
//! Deliberately missing: compressed CSV, UTF-16, nested columns, files that are read in parts.

mod cell;
pub mod compare;
mod delimited;
pub mod describe;
mod parquet;
pub mod replay;
pub mod streams;
mod time;

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::ops::Range;
use std::path::Path;

use cell::speaks_of_time;
pub use cell::{Cell, Column, Kind, TEXTS_MAX};

/// Most cells of a table.
pub const CELLS_MAX: usize = 1 << 26;
/// Most columns of a table.
pub const COLUMNS_MAX: usize = 16_000;
/// Longest line of a CSV file, and longest value of any, in bytes.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Unknown columns are answered with the names of at most this many known ones.
const NAMED_MAX: usize = 12;

/// A file that is no table, or none that can be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be opened or read.
    #[error("reading {file}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("{file}: {reason}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line has another number of cells than the header.
    #[error(
        "{file}:{line}: {found} cells, but the header names {expected} columns; a cell that holds the separator needs quotes"
    )]
    Ragged {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// Columns of the header.
        expected: usize,
        /// Cells of the line.
        found: usize,
    },
    /// More than [`CELLS_MAX`] cells.
    #[error("{file}: more than {CELLS_MAX} cells; read fewer columns, or a part of the rows")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// A column that was asked for is not there.
    #[error("{file} has no column '{name}'; it has {known}")]
    NoColumn {
        /// The file.
        file: String,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

/// Columns of equal length.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: usize,
}

/// Which columns to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection<'a> {
    /// Every one.
    All,
    /// These, and those that may say when a row was; an error if one of these is not there.
    Named(&'a [String]),
}

impl Table {
    /// Reads a CSV or Parquet file.
    ///
    /// # Errors
    /// The file cannot be read, is neither, breaks a limit, or has no such column.
    pub fn read(path: &Path, selection: Selection<'_>) -> Result<Self, TableError> {
        let file = path.display().to_string();
        let fail = |source| TableError::Read { file: file.clone(), source };
        if path.is_dir() {
            return Err(TableError::Format { file, reason: "this is a folder, not a file".to_owned() });
        }
        let mut reader = File::open(path).map_err(fail)?;
        let mut magic = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut magic).map_err(fail)?;
        reader.rewind().map_err(fail)?;
        match strange(&magic) {
            Some(reason) => Err(TableError::Format { file, reason: reason.to_owned() }),
            None if magic == parquet::MAGIC => parquet::read(&file, reader, selection),
            None => delimited::read(&file, reader, selection),
        }
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The columns in the order of the file.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column called `name`, and where it is.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<(usize, &Column)> {
        self.columns.iter().enumerate().find(|(_, column)| column.name() == name)
    }

    /// The column that says when each row was: the first if it holds times in all of `rows` or counts the rows, or else
    /// the first that holds times. None if it is the only one.
    #[must_use]
    pub fn time(&self, rows: Range<usize>) -> Option<usize> {
        let tells =
            |column: &Column| column.kind(rows.clone()) == Kind::Times || column.is_epoch(rows.clone());
        let found = match self.columns.first()? {
            first if tells(first) || first.counts_rows(rows.clone()) => Some(0),
            _ => self.columns.iter().position(tells),
        };
        found.filter(|_| self.columns.len() > 1)
    }
}

/// Whether a file begins as a Parquet file does.
pub(crate) fn is_parquet(path: &Path) -> bool {
    let mut magic = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic));
    read.is_ok() && magic == parquet::MAGIC
}

/// Why a file that begins so is no CSV.
fn strange(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [] => Some("the file is empty; it needs a header line and rows"),
        [0x1f, 0x8b, ..] => Some("the file is compressed; unpack it first"),
        [0x28, 0xb5, 0x2f, 0xfd] => Some("the file is compressed; unpack it first"),
        [b'P', b'K', 3, 4] => {
            Some("the file is a zip archive or a spreadsheet; unpack it, or save it as CSV, first")
        }
        b"PARE" => Some("the Parquet file is encrypted"),
        b"ARRO" | b"FEA1" => Some("this is an Arrow or Feather file; save it as Parquet"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("the text is UTF-16; save it as UTF-8"),
        _ => None,
    }
}

/// Which columns of a header are kept: a flag per name.
fn kept(file: &str, names: &[String], selection: Selection<'_>) -> Result<Vec<bool>, TableError> {
    let format = |reason: String| TableError::Format { file: file.to_owned(), reason };
    if names.is_empty() || names.len() > COLUMNS_MAX {
        return Err(format(format!("{} columns; a table has 1 to {COLUMNS_MAX}", names.len())));
    }
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format(format!("the column '{}' is there twice; rename one of the two", pair[0])));
    }
    let Selection::Named(wanted) = selection else { return Ok(vec![true; names.len()]) };
    if let Some(name) = wanted.iter().find(|name| !names.contains(name)) {
        let known = listed(names);
        return Err(TableError::NoColumn { file: file.to_owned(), name: name.clone(), known });
    }
    let keep = |(at, name): (usize, &String)| at == 0 || wanted.contains(name) || speaks_of_time(name);
    Ok(names.iter().enumerate().map(keep).collect())
}

fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
