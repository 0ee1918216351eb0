//! Small files that every server of a database must see, such as the repository that devices follow.
//!
//! Each write gets the next number: a server that has seen the files up to one asks for those after it.

use crate::column::params;
use crate::database::{View, Writer};
use crate::engine::{Row, SqlError};
use crate::error::StoreError;

/// Most files in one page.
pub const FILES_PAGE_MAX: usize = 256;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFile {
    /// Its path, such as `repository/metadata/timestamp.json`.
    pub path: String,
    /// The number of its latest write.
    pub change: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl KeptFile {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self { path: row.get(0)?, change: row.get(1)?, bytes: row.get(2)? })
    }
}

impl View<'_> {
    /// What the file at `path` holds.
    ///
    /// # Errors
    /// The database fails.
    pub fn kept_file(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        const SQL: &str = "SELECT bytes FROM kept_files WHERE path = ?1";
        self.row("reading a kept file", SQL, params![path], |row| row.get(0))
    }

    /// Files that were written after `change`, in the order of their writing; at most [`FILES_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn kept_files_after(&self, change: u64) -> Result<Vec<KeptFile>, StoreError> {
        const SQL: &str =
            "SELECT path, change, bytes FROM kept_files WHERE change > ?1 ORDER BY change LIMIT ?2";
        self.rows("reading kept files", SQL, params![change, FILES_PAGE_MAX], KeptFile::read)
    }

    /// The paths below `folder`, which ends with a slash, in order.
    ///
    /// # Errors
    /// The database fails.
    pub fn kept_paths(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT path FROM kept_files WHERE path >= ?1 AND path < ?2 ORDER BY path";
        let end = format!("{}0", folder.trim_end_matches('/'));
        self.rows("listing kept files", SQL, params![folder, end], |row| row.get(0))
    }
}

impl Writer<'_> {
    /// Writes the file at `path`, over the one that is there.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_kept_file(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.execute(
            "writing a kept file",
            "INSERT INTO kept_files (path, change, bytes)
             VALUES (?1, (SELECT coalesce(max(change), 0) + 1 FROM kept_files), ?2)
             ON CONFLICT (path) DO UPDATE SET change = excluded.change, bytes = excluded.bytes",
            params![path, bytes],
        )?;
        Ok(())
    }

    /// Removes the file at `path`; whether there was one.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_kept_file(&self, path: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM kept_files WHERE path = ?1";
        Ok(self.execute("removing a kept file", sql, params![path])? > 0)
    }
}
