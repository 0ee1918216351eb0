//! Records of predictions, as they came, and the batches that they were made.
//!
//! A record is kept once: by device, prediction, kind and row. What is sealed beside it belongs to the caller; here it is
//! bytes that are dropped on a day. What becomes of records themselves is [`crate::forget`]'s business.

use crate::engine::{Row, SqlError};
use edgeward_core::{DeviceId, Digest, PredictionId, RolloutId, Timestamp};
use uuid::Uuid;

use crate::column::{Text, ToColumn as _, params};
use crate::database::{View, Writer};
use crate::error::StoreError;
use crate::ledger::RawEntry;

/// Most records in one batch.
pub const BATCH_RECORDS_MAX: usize = 10_000;

/// A record that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// The prediction it is about.
    pub prediction: PredictionId,
    /// Its kind.
    pub kind: &'static str,
    /// The row it is about.
    pub row: u32,
    /// Its bytes.
    pub record: String,
    /// What is dropped on `erase_day`.
    pub sealed: Option<Vec<u8>>,
    /// In days since 1970.
    pub erase_day: i64,
    /// On which day the record itself goes, in days since 1970; none keeps it.
    pub expire_day: Option<i64>,
    /// Whom it is about.
    pub subjects: Vec<Digest>,
}

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// Its place in the order of arrival.
    pub seq: u64,
    /// The device.
    pub device: DeviceId,
    /// When it arrived.
    pub received_at_ms: Timestamp,
    /// Its kind.
    pub kind: String,
    /// Its bytes; none once it was forgotten.
    pub record: Option<String>,
    /// What is dropped on `erase_day`.
    pub sealed: Option<Vec<u8>>,
    /// In days since 1970.
    pub erase_day: i64,
    /// The batch it is in; none yet.
    pub batch: Option<u64>,
}

/// A leaf of a batch's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A record, byte for byte.
    Record(String),
    /// The digest of the leaf whose record was forgotten.
    Forgotten(Digest),
}

/// A batch, as the ledger has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// Its number.
    pub batch: u64,
    /// The ledger's entry.
    pub seq: u64,
    /// How many records it holds.
    pub records: u64,
    /// The root of the tree over them.
    pub root: Digest,
}

/// What the entry of a batch holds, and that of an alert.
const KEPT: &[u8] = b"\"type\":\"records_kept\"";
const ALERT: &[u8] = b"\"type\":\"alert_raised\"";

const COLUMNS: &str = "seq, device, received_at_ms, kind, record, sealed, erase_day, batch, leaf";

impl RecordRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        let leaf: Option<String> = row.get(8)?;
        let record: String = row.get(4)?;
        Ok(Self {
            seq: row.get(0)?,
            device: row.get::<Text<_>>(1)?.0,
            received_at_ms: Timestamp(row.get(2)?),
            kind: row.get(3)?,
            record: leaf.is_none().then_some(record),
            sealed: row.get(5)?,
            erase_day: row.get(6)?,
            batch: row.get(7)?,
        })
    }
}

impl BatchRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        let root = row.get::<Text<_>>(3)?.0;
        Ok(Self { batch: row.get(0)?, seq: row.get(1)?, records: row.get(2)?, root })
    }
}

impl View<'_> {
    /// Every record about a prediction, the earliest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn records_of(&self, prediction: PredictionId) -> Result<Vec<RecordRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM records WHERE prediction = ?1 ORDER BY seq");
        self.rows("reading a prediction's records", &sql, params![Text(prediction)], RecordRow::read)
    }

    /// The newest predictions with a record, the newest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn newest_recorded(&self, limit: usize) -> Result<Vec<PredictionId>, StoreError> {
        const SQL: &str = "SELECT prediction FROM records WHERE kind = 'prediction' AND leaf IS NULL ORDER BY seq DESC LIMIT ?1";
        self.rows("reading the newest records", SQL, params![limit], |row| {
            Ok(PredictionId(row.get::<Text<Uuid>>(0)?.0))
        })
    }

    /// Records that are in no batch yet, in order; at most [`BATCH_RECORDS_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn records_waiting(&self) -> Result<Vec<(u64, String)>, StoreError> {
        const SQL: &str = "SELECT seq, record FROM records WHERE batch IS NULL ORDER BY seq LIMIT ?1";
        self.rows("reading the waiting records", SQL, params![BATCH_RECORDS_MAX], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// When the first record arrived that is in no batch yet.
    ///
    /// # Errors
    /// The database fails.
    pub fn oldest_waiting_record(&self) -> Result<Option<Timestamp>, StoreError> {
        const SQL: &str = "SELECT received_at_ms FROM records WHERE batch IS NULL ORDER BY seq LIMIT 1";
        self.row("looking for waiting records", SQL, &[], |row| Ok(Timestamp(row.get(0)?)))
    }

    /// The leaves of a batch, in order.
    ///
    /// # Errors
    /// The database fails.
    pub fn leaves_of_batch(&self, batch: u64) -> Result<Vec<(u64, Leaf)>, StoreError> {
        const SQL: &str = "SELECT seq, record, leaf FROM records WHERE batch = ?1 ORDER BY seq";
        self.rows("reading a batch's records", SQL, params![batch], |row| {
            let forgotten: Option<Text<Digest>> = row.get(2)?;
            let leaf = match forgotten {
                Some(Text(digest)) => Leaf::Forgotten(digest),
                None => Leaf::Record(row.get(1)?),
            };
            Ok((row.get(0)?, leaf))
        })
    }

    /// A batch.
    ///
    /// # Errors
    /// The database fails.
    pub fn record_batch(&self, batch: u64) -> Result<Option<BatchRow>, StoreError> {
        const SQL: &str = "SELECT batch, seq, records, root FROM record_batches WHERE batch = ?1";
        self.row("reading a batch", SQL, params![batch], BatchRow::read)
    }

    /// Entries from `from` on that made records a batch, in order; at most `limit`. It is the ledger that is read, not what
    /// was made of it.
    ///
    /// # Errors
    /// The database fails.
    pub fn batches_in_ledger(&self, from: u64, limit: usize) -> Result<Vec<RawEntry>, StoreError> {
        const SQL: &str = "SELECT seq, bytes FROM ledger
             WHERE seq >= ?1 AND instr(bytes, ?2) > 0 ORDER BY seq LIMIT ?3";
        self.rows("reading the batches in the ledger", SQL, params![from, KEPT, limit], |row| {
            Ok(RawEntry { seq: row.get(0)?, bytes: row.get(1)? })
        })
    }

    /// How much is sealed that was to be dropped on `day` at the latest.
    ///
    /// # Errors
    /// The database fails.
    pub fn inputs_due(&self, day: i64) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT count(*) FROM records WHERE sealed IS NOT NULL AND erase_day <= ?1";
        Ok(self.row("counting inputs whose time is over", SQL, params![day], |row| row.get(0))?.unwrap_or(0))
    }

    /// The rollouts of a bundle, in order.
    ///
    /// # Errors
    /// The database fails.
    pub fn rollouts_of(&self, bundle: Digest) -> Result<Vec<RolloutId>, StoreError> {
        const SQL: &str = "SELECT id FROM rollouts WHERE bundle = ?1 ORDER BY seq";
        self.rows("reading a bundle's rollouts", SQL, params![Text(bundle)], |row| {
            Ok(row.get::<Text<_>>(0)?.0)
        })
    }

    /// Entries from `from` on that hold any of `words`, alerts left out; at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub fn entries_about(
        &self,
        words: &[String],
        from: u64,
        limit: usize,
    ) -> Result<Vec<RawEntry>, StoreError> {
        let held: Vec<String> = (0..words.len()).map(|n| format!("instr(bytes, ?{}) > 0", n + 4)).collect();
        let sql = format!(
            "SELECT seq, bytes FROM ledger WHERE seq >= ?1 AND instr(bytes, ?2) = 0 AND ({})
             ORDER BY seq LIMIT ?3",
            held.join(" OR ")
        );
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let mut params = params![from, ALERT, limit].to_vec();
        params.extend(words.iter().map(|word| word.as_bytes().to_value()));
        self.rows("searching the ledger", &sql, &params, |row| {
            Ok(RawEntry { seq: row.get(0)?, bytes: row.get(1)? })
        })
    }
}

impl Writer<'_> {
    /// Keeps records of `device`, each once; how many were new.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_records(
        &self,
        device: &DeviceId,
        records: &[NewRecord],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut new = 0;
        for record in records {
            // What comes for a prediction that was forgotten is forgotten with it.
            if record.kind != "prediction" && self.is_forgotten(device, record.prediction)? {
                continue;
            }
            let is_new = self.put_record(device, record, now)? > 0;
            for subject in record.subjects.iter().filter(|_| is_new) {
                self.put_subject(device, record.prediction, *subject)?;
            }
            new += usize::from(is_new);
        }
        Ok(new)
    }

    fn put_record(&self, device: &DeviceId, record: &NewRecord, now: Timestamp) -> Result<usize, StoreError> {
        let NewRecord { prediction, kind, row, record, sealed, erase_day, expire_day, .. } = record;
        self.execute(
            "keeping a record",
            "INSERT INTO records
             (device, prediction, kind, row, received_at_ms, record, sealed, erase_day, expire_day)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
            params![Text(device), Text(prediction), kind, row, now.0, record, sealed, erase_day, expire_day],
        )
    }

    /// Puts every waiting record up to `seq` into `batch`.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_into_batch(&self, batch: u64, seq: u64) -> Result<usize, StoreError> {
        let sql = "UPDATE records SET batch = ?1 WHERE batch IS NULL AND seq <= ?2";
        self.execute("making records a batch", sql, params![batch, seq])
    }

    /// The number of the next batch.
    ///
    /// # Errors
    /// The database fails.
    pub fn next_batch(&self) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT coalesce(max(batch) + 1, 0) FROM record_batches";
        Ok(self.row("numbering a batch", SQL, &[], |row| row.get(0))?.unwrap_or(0))
    }

    /// Drops what is sealed and was to be dropped on `day` at the latest; how much.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_sealed(&self, day: i64) -> Result<usize, StoreError> {
        let sql = "UPDATE records SET sealed = NULL WHERE sealed IS NOT NULL AND erase_day <= ?1";
        self.execute("dropping inputs whose time is over", sql, params![day])
    }
}
