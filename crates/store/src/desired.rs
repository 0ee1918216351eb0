//! The signed desired states that were published. Signatures are made and checked elsewhere.

use edgeward_core::Envelope;
use rusqlite::params;

use crate::column::Json;
use crate::database::{View, Writer};
use crate::error::StoreError;

/// Most documents kept; the oldest are dropped.
pub const DESIRED_KEPT_MAX: u64 = 256;

impl View<'_> {
    /// The latest desired state with its generation.
    ///
    /// # Errors
    /// The database fails.
    pub fn latest_desired(&self) -> Result<Option<(u64, Envelope)>, StoreError> {
        const SQL: &str = "SELECT generation, envelope FROM desired ORDER BY generation DESC LIMIT 1";
        self.row("reading the desired state", SQL, [], |row| Ok((row.get(0)?, row.get::<_, Json<_>>(1)?.0)))
    }
}

impl Writer<'_> {
    /// Keeps a desired state of a higher generation than any before.
    ///
    /// # Errors
    /// [`StoreError::StaleGeneration`] if it is not higher; or the database fails.
    pub fn put_desired(&self, generation: u64, envelope: &Envelope) -> Result<(), StoreError> {
        if let Some((latest, _)) = self.latest_desired()?.filter(|(latest, _)| *latest >= generation) {
            return Err(StoreError::StaleGeneration { latest, found: generation });
        }
        self.execute(
            "keeping the desired state",
            "INSERT INTO desired (generation, envelope) VALUES (?1, ?2)",
            params![generation, Json(envelope)],
        )?;
        let oldest = generation.saturating_sub(DESIRED_KEPT_MAX - 1);
        self.execute("dropping old desired states", "DELETE FROM desired WHERE generation < ?1", [oldest])?;
        Ok(())
    }
}
