//! What of records of predictions is forgotten: content goes, the digest of the leaf stays.
//!
//! Who is a subject and which keys there were is the caller's business; here a subject is a digest.

use edgeward_core::{DeviceId, Digest, PredictionId};
use uuid::Uuid;

use crate::column::{Text, params};
use crate::database::{View, Writer};
use crate::error::StoreError;

/// Most predictions that are forgotten in one transaction.
pub const FORGOTTEN_PER_STEP_MAX: usize = 5_000;

/// A prediction of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The device.
    pub device: DeviceId,
    /// The prediction.
    pub prediction: PredictionId,
}

/// A record that is in a batch and has its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its place in the order of arrival.
    pub seq: u64,
    /// Its bytes.
    pub record: String,
    /// Whether something sealed is beside it.
    pub is_sealed: bool,
}

impl View<'_> {
    /// Predictions whose record was to be gone on `day` at the latest; at most [`FORGOTTEN_PER_STEP_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn records_due(&self, day: i64) -> Result<Vec<Recorded>, StoreError> {
        const SQL: &str = "SELECT device, prediction FROM records
             WHERE expire_day <= ?1 AND expire_day IS NOT NULL AND leaf IS NULL AND batch IS NOT NULL LIMIT ?2";
        self.rows(
            "looking for records whose time is over",
            SQL,
            params![day, FORGOTTEN_PER_STEP_MAX],
            |row| {
                let (device, prediction) = (row.get::<Text<_>>(0)?.0, row.get::<Text<Uuid>>(1)?.0);
                Ok(Recorded { device, prediction: PredictionId(prediction) })
            },
        )
    }

    /// Predictions about a subject.
    ///
    /// # Errors
    /// The database fails.
    pub fn records_about(&self, subject: Digest) -> Result<Vec<Recorded>, StoreError> {
        const SQL: &str = "SELECT device, prediction FROM record_subjects WHERE subject = ?1";
        self.rows("looking for a subject", SQL, params![Text(subject)], |row| {
            let (device, prediction) = (row.get::<Text<_>>(0)?.0, row.get::<Text<Uuid>>(1)?.0);
            Ok(Recorded { device, prediction: PredictionId(prediction) })
        })
    }

    /// Whom a prediction is about, in the order of their digests.
    ///
    /// # Errors
    /// The database fails.
    pub fn subjects_of(
        &self,
        device: &DeviceId,
        prediction: PredictionId,
    ) -> Result<Vec<Digest>, StoreError> {
        const SQL: &str =
            "SELECT subject FROM record_subjects WHERE prediction = ?1 AND device = ?2 ORDER BY subject";
        let (prediction, device) = (Text(prediction), Text(device));
        self.rows("looking for a prediction's subjects", SQL, params![prediction, device], |row| {
            Ok(row.get::<Text<_>>(0)?.0)
        })
    }

    /// What is still remembered of a prediction: its record and what came for it, each in a batch.
    ///
    /// # Errors
    /// The database fails.
    pub fn remembered(&self, of: &Recorded) -> Result<Vec<Remembered>, StoreError> {
        const SQL: &str =
            "SELECT seq, record, CAST(CASE WHEN sealed IS NULL THEN 0 ELSE 1 END AS BIGINT) FROM records
             WHERE prediction = ?1 AND device = ?2 AND leaf IS NULL AND batch IS NOT NULL ORDER BY seq";
        let (prediction, device) = (Text(of.prediction), Text(&of.device));
        self.rows("reading what is to be forgotten", SQL, params![prediction, device], |row| {
            Ok(Remembered { seq: row.get(0)?, record: row.get(1)?, is_sealed: row.get(2)? })
        })
    }

    /// Whether the record of a prediction was forgotten: what comes for it later is not kept either.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_forgotten(&self, device: &DeviceId, prediction: PredictionId) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT 1 FROM records
             WHERE prediction = ?1 AND kind = 'prediction' AND device = ?2 AND leaf IS NOT NULL";
        let (prediction, device) = (Text(prediction), Text(device));
        let found = self.row("looking for what was forgotten", SQL, params![prediction, device], |_| Ok(()));
        Ok(found?.is_some())
    }
}

impl Writer<'_> {
    /// Says whom a prediction is about.
    pub(crate) fn put_subject(
        &self,
        device: &DeviceId,
        prediction: PredictionId,
        subject: Digest,
    ) -> Result<usize, StoreError> {
        self.execute(
            "keeping a prediction's subject",
            "INSERT INTO record_subjects (subject, device, prediction) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
            params![Text(subject), Text(device), Text(prediction)],
        )
    }

    /// Drops the content of a record and what is sealed beside it; the digest of its leaf stays.
    ///
    /// # Errors
    /// The database fails.
    pub fn forget(&self, seq: u64, leaf: Digest) -> Result<usize, StoreError> {
        self.execute(
            "forgetting a record",
            "UPDATE records SET record = '', sealed = NULL, leaf = ?2 WHERE seq = ?1",
            params![seq, Text(leaf)],
        )
    }

    /// Drops the labelled samples of a prediction; how many.
    ///
    /// # Errors
    /// The database fails.
    pub fn forget_samples(&self, of: &Recorded) -> Result<usize, StoreError> {
        self.execute(
            "forgetting samples",
            "DELETE FROM samples WHERE device = ?1 AND prediction = ?2",
            params![Text(&of.device), Text(of.prediction)],
        )
    }

    /// Forgets whom a prediction is about.
    ///
    /// # Errors
    /// The database fails.
    pub fn forget_subjects(&self, of: &Recorded) -> Result<usize, StoreError> {
        self.execute(
            "forgetting a prediction's subjects",
            "DELETE FROM record_subjects WHERE prediction = ?1 AND device = ?2",
            params![Text(of.prediction), Text(&of.device)],
        )
    }
}
