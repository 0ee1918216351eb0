//! What the gates of rollouts rest on: what was counted in each window, and how far it was folded.

use edgeward_core::{DeviceId, Digest, ModelName, RolloutId};

use serde_json::Value;

use crate::column::{Json, Text, params};
use crate::database::{View, Writer};
use crate::error::StoreError;

/// Most windows in one page.
pub const WINDOWS_PAGE_MAX: usize = 10_000;

/// What was counted in the window of one profile, and its place in the order of arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrivedWindow {
    /// Higher for those that arrived later.
    pub arrival: i64,
    /// The device.
    pub device: DeviceId,
    /// The bundle that served.
    pub bundle: Digest,
    /// Labels that arrived in the window.
    pub labelled: u64,
    /// How many of them agreed with the prediction.
    pub correct: u64,
    /// How requests fared, where the device says.
    pub service: Option<Value>,
}

impl View<'_> {
    /// Windows of one model that arrived after `arrival`, in the order of their arrival; at most [`WINDOWS_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn windows_after(
        &self,
        model: &ModelName,
        arrival: i64,
        limit: usize,
    ) -> Result<Vec<ArrivedWindow>, StoreError> {
        self.rows(
            "reading what was counted",
            "SELECT arrival, device, bundle, labelled, correct, service FROM windows
             WHERE arrival > ?1 AND model = ?2 ORDER BY arrival LIMIT ?3",
            params![arrival, Text(model), limit.min(WINDOWS_PAGE_MAX)],
            |row| {
                Ok(ArrivedWindow {
                    arrival: row.get(0)?,
                    device: row.get::<Text<_>>(1)?.0,
                    bundle: row.get::<Text<_>>(2)?.0,
                    labelled: row.get(3)?,
                    correct: row.get(4)?,
                    service: row.get::<Option<Json<_>>>(5)?.map(|json| json.0),
                })
            },
        )
    }

    /// What was folded for a rollout, and up to which arrival.
    ///
    /// # Errors
    /// The database fails.
    pub fn evidence(&self, rollout: &RolloutId) -> Result<Option<(i64, Value)>, StoreError> {
        const SQL: &str = "SELECT arrival, document FROM rollout_evidence WHERE rollout = ?1";
        self.row("reading the evidence", SQL, params![Text(rollout)], |row| {
            Ok((row.get(0)?, row.get::<Json<_>>(1)?.0))
        })
    }
}

impl Writer<'_> {
    /// Keeps what was folded for a rollout.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_evidence(
        &self,
        rollout: &RolloutId,
        arrival: i64,
        document: &Value,
    ) -> Result<(), StoreError> {
        self.execute(
            "keeping the evidence",
            "INSERT INTO rollout_evidence (rollout, arrival, document) VALUES (?1, ?2, ?3)
             ON CONFLICT (rollout) DO UPDATE SET arrival = excluded.arrival, document = excluded.document",
            params![Text(rollout), arrival, Json(document)],
        )?;
        Ok(())
    }
}
