//! Devices with their latest reports, rollouts, and alerts.

use edgeward_core::event::RolloutOutcome;
use edgeward_core::rollout::{OpenWave, RolloutPolicy};
use edgeward_core::{Alert, DeviceId, Digest, ModelName, RolloutId, Timestamp};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::column::{Json, Text};
use crate::database::{View, Writer};
use crate::error::StoreError;
use crate::registry::ROWS_PAGE_MAX;

/// After this silence a report of any other session is the newer one: a clock that stepped back between two sessions
/// must not silence a device for ever.
const SESSION_SILENCE_MS: i64 = 60_000;

/// An enrolled device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// Its id.
    pub id: DeviceId,
    /// When it last joined.
    pub enrolled_at_ms: Timestamp,
    /// Its latest report; none before the first.
    pub report: Option<ReportRow>,
}

/// The latest report of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportRow {
    /// When the control plane received it.
    pub received_at_ms: Timestamp,
    /// The document, as the device sent it.
    pub document: Value,
}

/// A report that arrives.
#[derive(Clone, Copy, Debug)]
pub struct NewReport<'a> {
    /// Who sends it.
    pub device: &'a DeviceId,
    /// One start of the agent.
    pub session: Uuid,
    /// When that was, by the device's clock.
    pub session_started_at_ms: Timestamp,
    /// Rises with every report of a session.
    pub seq: u64,
    /// What it says.
    pub document: &'a Value,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportOutcome {
    /// It is the latest now.
    Kept,
    /// A newer one, or this very one, was there already.
    Stale,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutRow {
    /// Its id.
    pub id: RolloutId,
    /// The model.
    pub model: ModelName,
    /// The version that is rolled out.
    pub version: u64,
    /// Its bundle.
    pub bundle: Digest,
    /// What the fleet ran before.
    pub from: Option<Digest>,
    /// Its waves and gates.
    pub policy: RolloutPolicy,
    /// Who or what started it.
    pub cause: String,
    /// When it began.
    pub started_at_ms: Timestamp,
    /// The wave now open; none before the first.
    #[serde(with = "wave")]
    pub wave: Option<OpenWave>,
    /// How it ended; none while it is under way.
    pub outcome: Option<RolloutOutcome>,
    /// When it ended.
    pub finished_at_ms: Option<Timestamp>,
    /// The reasons of its latest step.
    pub reasons: Vec<String>,
}

/// [`OpenWave`] in JSON: `{"index", "limit", "since_ms"}`.
mod wave {
    use edgeward_core::rollout::OpenWave;
    use edgeward_core::{Bucket, Timestamp};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Document {
        index: usize,
        limit: Bucket,
        since_ms: Timestamp,
    }

    pub(super) fn serialize<S: Serializer>(
        wave: &Option<OpenWave>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        wave.map(|OpenWave { index, limit, since_ms }| Document { index, limit, since_ms })
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<OpenWave>, D::Error> {
        let document = Option::<Document>::deserialize(deserializer)?;
        Ok(document.map(|Document { index, limit, since_ms }| OpenWave { index, limit, since_ms }))
    }
}

const DEVICE: &str = "SELECT id, enrolled_at_ms, received_at_ms, document
    FROM devices LEFT JOIN reports ON reports.device = devices.id";
const ROLLOUT: &str = "SELECT id, model, version, bundle, from_bundle, policy, cause, started_at_ms,
    wave, wave_limit, wave_since_ms, outcome, finished_at_ms, reasons FROM rollouts";

impl DeviceRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let received_at: Option<i64> = row.get(2)?;
        let document: Option<Json<Value>> = row.get(3)?;
        let report = received_at.zip(document).map(|(received_at, document)| ReportRow {
            received_at_ms: Timestamp(received_at),
            document: document.0,
        });
        Ok(Self { id: row.get::<_, Text<_>>(0)?.0, enrolled_at_ms: Timestamp(row.get(1)?), report })
    }
}

impl RolloutRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (index, limit, since): (Option<usize>, Option<Json<_>>, Option<i64>) =
            (row.get(8)?, row.get(9)?, row.get(10)?);
        let wave = index.zip(limit).zip(since).map(|((index, limit), since)| OpenWave {
            index,
            limit: limit.0,
            since_ms: Timestamp(since),
        });
        Ok(Self {
            id: row.get::<_, Text<_>>(0)?.0,
            model: row.get::<_, Text<_>>(1)?.0,
            version: row.get(2)?,
            bundle: row.get::<_, Text<_>>(3)?.0,
            from: row.get::<_, Option<Text<_>>>(4)?.map(|text| text.0),
            policy: row.get::<_, Json<_>>(5)?.0,
            cause: row.get(6)?,
            started_at_ms: Timestamp(row.get(7)?),
            wave,
            outcome: row.get::<_, Option<Json<_>>>(11)?.map(|json| json.0),
            finished_at_ms: row.get::<_, Option<i64>>(12)?.map(Timestamp),
            reasons: row.get::<_, Json<_>>(13)?.0,
        })
    }
}

impl View<'_> {
    /// Devices after `after` by id, at most [`ROWS_PAGE_MAX`]; ask again with the last id for the next page.
    ///
    /// # Errors
    /// The database fails.
    pub fn devices(&self, after: Option<&DeviceId>, limit: usize) -> Result<Vec<DeviceRow>, StoreError> {
        let sql = format!("{DEVICE} WHERE ?1 IS NULL OR id > ?1 ORDER BY id LIMIT ?2");
        let params = params![after.map(Text), limit.min(ROWS_PAGE_MAX)];
        self.rows("reading the devices", &sql, params, DeviceRow::read)
    }

    /// One device.
    ///
    /// # Errors
    /// The database fails.
    pub fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        self.row("reading a device", &format!("{DEVICE} WHERE id = ?1"), [Text(id)], DeviceRow::read)
    }

    /// The newest rollouts, of one model or of all, the newest first; at most [`ROWS_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn rollouts(&self, model: Option<&ModelName>, limit: usize) -> Result<Vec<RolloutRow>, StoreError> {
        let sql = format!("{ROLLOUT} WHERE ?1 IS NULL OR model = ?1 ORDER BY seq DESC LIMIT ?2");
        let params = params![model.map(Text), limit.min(ROWS_PAGE_MAX)];
        self.rows("reading the rollouts", &sql, params, RolloutRow::read)
    }

    /// One rollout.
    ///
    /// # Errors
    /// The database fails.
    pub fn rollout(&self, id: &RolloutId) -> Result<Option<RolloutRow>, StoreError> {
        self.row("reading a rollout", &format!("{ROLLOUT} WHERE id = ?1"), [Text(id)], RolloutRow::read)
    }

    /// Every rollout under way; at most one per model.
    ///
    /// # Errors
    /// The database fails.
    pub fn rollouts_under_way(&self) -> Result<Vec<RolloutRow>, StoreError> {
        let sql = format!("{ROLLOUT} WHERE finished_at_ms IS NULL ORDER BY model");
        self.rows("reading the rollouts under way", &sql, [], RolloutRow::read)
    }

    /// The newest alerts, of one model or of all, the newest first; at most [`ROWS_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn alerts(&self, model: Option<&ModelName>, limit: usize) -> Result<Vec<Alert>, StoreError> {
        const SQL: &str =
            "SELECT document FROM alerts WHERE ?1 IS NULL OR model = ?1 ORDER BY seq DESC LIMIT ?2";
        let params = params![model.map(Text), limit.min(ROWS_PAGE_MAX)];
        self.rows("reading the alerts", SQL, params, |row| Ok(row.get::<_, Json<_>>(0)?.0))
    }

    /// Whether an alert of this id was raised.
    ///
    /// # Errors
    /// The database fails.
    pub fn has_alert(&self, id: &str) -> Result<bool, StoreError> {
        let found =
            self.row("looking for an alert", "SELECT 1 FROM alerts WHERE id = ?1", [id], |_| Ok(()))?;
        Ok(found.is_some())
    }
}

impl Writer<'_> {
    /// Keeps the latest report of a device: a higher sequence number of the same session, or a later session.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_report(&self, report: NewReport<'_>, now: Timestamp) -> Result<ReportOutcome, StoreError> {
        let NewReport { device, session, session_started_at_ms, seq, document } = report;
        let kept = self.execute(
            "keeping a report",
            "INSERT INTO reports (device, session, session_started_at_ms, seq, received_at_ms, document)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (device) DO UPDATE SET
                session = excluded.session, session_started_at_ms = excluded.session_started_at_ms,
                seq = excluded.seq, received_at_ms = excluded.received_at_ms, document = excluded.document
             WHERE CASE WHEN session = excluded.session THEN excluded.seq > seq
                ELSE excluded.session_started_at_ms > session_started_at_ms
                    OR excluded.received_at_ms >= received_at_ms + ?7 END",
            params![
                Text(device),
                Text(session),
                session_started_at_ms.0,
                seq,
                now.0,
                Json(document),
                SESSION_SILENCE_MS
            ],
        )?;
        Ok(if kept == 0 { ReportOutcome::Stale } else { ReportOutcome::Kept })
    }
}
