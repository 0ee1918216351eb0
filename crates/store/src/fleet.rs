//! Devices with their latest reports, and rollouts.

use crate::engine::{Row, SqlError};
use edgeward_core::event::RolloutOutcome;
use edgeward_core::group::Labels;
use edgeward_core::rollout::{OpenWave, RolloutPolicy};
use edgeward_core::slot::Refused;
use edgeward_core::{DeviceId, Digest, ModelName, RolloutId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::column::{Json, Text, params};
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
    /// Since when it is shut out; none if it is not.
    pub revoked_at_ms: Option<Timestamp>,
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
    /// What of that is asked about all devices at once.
    pub models: &'a [NewModelState<'a>],
    /// What the device says of itself.
    pub facts: &'a Labels,
}

/// What a device runs of one model, as its report says.
#[derive(Clone, Copy, Debug)]
pub struct NewModelState<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// The bundle that serves.
    pub bundle: Option<Digest>,
    /// Since when, by the control plane's clock.
    pub since_ms: Option<Timestamp>,
    /// Bundles it will not run.
    pub refused: &'a [Refused],
}

/// What is known of a device with respect to one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// The device.
    pub device: DeviceId,
    /// When it was heard of last.
    pub seen_at_ms: Timestamp,
    /// The bundle that serves.
    pub bundle: Option<Digest>,
    /// Since when.
    pub since_ms: Option<Timestamp>,
    /// Starts of its agent since then.
    pub starts: u64,
    /// Bundles it will not run.
    pub refused: Vec<Refused>,
    /// What kind of device it says it is.
    pub hardware: Option<String>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportOutcome {
    /// It is the latest now, and the device runs or refuses something else than before.
    Changed,
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
    /// Nothing opens before this time.
    pub start_at_ms: Option<Timestamp>,
    /// So many waves were agreed to by a person.
    pub waves_approved: usize,
    /// Stopped for now.
    pub paused: bool,
    /// When it was let go on last.
    pub resumed_at_ms: Option<Timestamp>,
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

const DEVICE: &str = "SELECT id, enrolled_at_ms, received_at_ms, document, revoked_at_ms
    FROM devices LEFT JOIN reports ON reports.device = devices.id";
const ROLLOUT: &str = "SELECT id, model, version, bundle, from_bundle, policy, cause, started_at_ms,
    wave, wave_limit, wave_since_ms, outcome, finished_at_ms, reasons, start_at_ms, waves_approved, paused,
    resumed_at_ms FROM rollouts";

impl DeviceRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        let received_at: Option<i64> = row.get(2)?;
        let document: Option<Json<Value>> = row.get(3)?;
        let report = received_at.zip(document).map(|(received_at, document)| ReportRow {
            received_at_ms: Timestamp(received_at),
            document: document.0,
        });
        Ok(Self {
            id: row.get::<Text<_>>(0)?.0,
            enrolled_at_ms: Timestamp(row.get(1)?),
            revoked_at_ms: row.get::<Option<i64>>(4)?.map(Timestamp),
            report,
        })
    }
}

impl RolloutRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        let (index, limit, since): (Option<usize>, Option<Json<_>>, Option<i64>) =
            (row.get(8)?, row.get(9)?, row.get(10)?);
        let wave = index.zip(limit).zip(since).map(|((index, limit), since)| OpenWave {
            index,
            limit: limit.0,
            since_ms: Timestamp(since),
        });
        Ok(Self {
            id: row.get::<Text<_>>(0)?.0,
            model: row.get::<Text<_>>(1)?.0,
            version: row.get(2)?,
            bundle: row.get::<Text<_>>(3)?.0,
            from: row.get::<Option<Text<_>>>(4)?.map(|text| text.0),
            policy: row.get::<Json<_>>(5)?.0,
            cause: row.get(6)?,
            started_at_ms: Timestamp(row.get(7)?),
            wave,
            outcome: row.get::<Option<Json<_>>>(11)?.map(|json| json.0),
            finished_at_ms: row.get::<Option<i64>>(12)?.map(Timestamp),
            reasons: row.get::<Json<_>>(13)?.0,
            start_at_ms: row.get::<Option<i64>>(14)?.map(Timestamp),
            waves_approved: row.get(15)?,
            paused: row.get(16)?,
            resumed_at_ms: row.get::<Option<i64>>(17)?.map(Timestamp),
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
        self.rows(
            "reading the devices",
            &sql,
            params![after.map(Text), limit.min(ROWS_PAGE_MAX)],
            DeviceRow::read,
        )
    }

    /// One device.
    ///
    /// # Errors
    /// The database fails.
    pub fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        self.row("reading a device", &format!("{DEVICE} WHERE id = ?1"), params![Text(id)], DeviceRow::read)
    }

    /// What is known with respect to `model` of every device that may come back, by id: not of revoked ones.
    ///
    /// # Errors
    /// The database fails.
    pub fn device_states(&self, model: &ModelName) -> Result<Vec<DeviceState>, StoreError> {
        const SQL: &str =
            "SELECT devices.id, coalesce(received_at_ms, enrolled_at_ms), bundle, since_ms, starts,
                nullif(refused, '[]'), json_extract(facts, '$.hardware')
            FROM devices
            LEFT JOIN device_facts ON device_facts.device = devices.id
            LEFT JOIN reports INDEXED BY reports_seen ON reports.device = devices.id
            LEFT JOIN device_models ON model = ?1 AND device_models.device = devices.id
            WHERE devices.revoked_at_ms IS NULL
            ORDER BY devices.id";
        self.rows("reading what the devices run", SQL, params![Text(model)], |row| {
            Ok(DeviceState {
                device: row.get::<Text<_>>(0)?.0,
                seen_at_ms: Timestamp(row.get(1)?),
                bundle: row.get::<Option<Text<_>>>(2)?.map(|text| text.0),
                since_ms: row.get::<Option<i64>>(3)?.map(Timestamp),
                starts: row.get::<Option<u64>>(4)?.unwrap_or(0),
                refused: row.get::<Option<Json<_>>>(5)?.map(|json| json.0).unwrap_or_default(),
                hardware: row.get(6)?,
            })
        })
    }

    /// The newest rollouts, of one model or of all, the newest first; at most [`ROWS_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn rollouts(&self, model: Option<&ModelName>, limit: usize) -> Result<Vec<RolloutRow>, StoreError> {
        let sql = format!("{ROLLOUT} WHERE ?1 IS NULL OR model = ?1 ORDER BY seq DESC LIMIT ?2");
        self.rows(
            "reading the rollouts",
            &sql,
            params![model.map(Text), limit.min(ROWS_PAGE_MAX)],
            RolloutRow::read,
        )
    }

    /// One rollout.
    ///
    /// # Errors
    /// The database fails.
    pub fn rollout(&self, id: &RolloutId) -> Result<Option<RolloutRow>, StoreError> {
        self.row(
            "reading a rollout",
            &format!("{ROLLOUT} WHERE id = ?1"),
            params![Text(id)],
            RolloutRow::read,
        )
    }

    /// Every rollout under way; at most one per model.
    ///
    /// # Errors
    /// The database fails.
    pub fn rollouts_under_way(&self) -> Result<Vec<RolloutRow>, StoreError> {
        let sql = format!("{ROLLOUT} WHERE finished_at_ms IS NULL ORDER BY model");
        self.rows("reading the rollouts under way", &sql, &[], RolloutRow::read)
    }
}

impl Writer<'_> {
    /// Keeps the latest report of a device: a higher sequence number of the same session, or a later session.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_report(&self, report: NewReport<'_>, now: Timestamp) -> Result<ReportOutcome, StoreError> {
        let NewReport { device, session, session_started_at_ms, seq, document, models, facts } = report;
        let kept = self.execute(
            "keeping a report",
            "INSERT INTO reports (device, session, session_started_at_ms, seq, received_at_ms, document)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (device) DO UPDATE SET
                session = excluded.session, session_started_at_ms = excluded.session_started_at_ms,
                seq = excluded.seq, received_at_ms = excluded.received_at_ms, document = excluded.document
             WHERE CASE WHEN reports.session = excluded.session THEN excluded.seq > reports.seq
                ELSE excluded.session_started_at_ms > reports.session_started_at_ms
                    OR excluded.received_at_ms >= reports.received_at_ms + ?7 END",
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
        if kept == 0 {
            return Ok(ReportOutcome::Stale);
        }
        let mut changed = self.put_facts(device, facts)?;
        for state in models {
            changed |= self.put_model_state(device, session, state)?;
        }
        Ok(if changed { ReportOutcome::Changed } else { ReportOutcome::Kept })
    }

    /// Keeps what a device says of itself; whether that is something else than before.
    fn put_facts(&self, device: &DeviceId, facts: &Labels) -> Result<bool, StoreError> {
        let changed = self.execute(
            "keeping facts of a device",
            "INSERT INTO device_facts (device, facts) VALUES (?1, ?2)
             ON CONFLICT (device) DO UPDATE SET facts = excluded.facts
             WHERE device_facts.facts IS DISTINCT FROM excluded.facts",
            params![Text(device), Json(facts)],
        )?;
        Ok(changed > 0)
    }

    /// Keeps what a device runs; whether that is something else than before.
    fn put_model_state(
        &self,
        device: &DeviceId,
        session: Uuid,
        state: &NewModelState<'_>,
    ) -> Result<bool, StoreError> {
        let (bundle, refused) = (state.bundle.map(Text), Json(state.refused));
        // The same as before is not written again: most reports say nothing new.
        let changed = self.execute(
            "keeping what a device runs",
            "INSERT INTO device_models AS known (model, device, bundle, since_ms, refused, session, starts)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)
             ON CONFLICT (model, device) DO UPDATE SET
                since_ms = CASE WHEN known.bundle IS NOT DISTINCT FROM excluded.bundle THEN known.since_ms
                    ELSE excluded.since_ms END,
                starts = CASE WHEN known.bundle IS DISTINCT FROM excluded.bundle THEN 0
                    WHEN known.session <> excluded.session THEN known.starts + 1 ELSE known.starts END,
                bundle = excluded.bundle, refused = excluded.refused, session = excluded.session
             WHERE known.bundle IS DISTINCT FROM excluded.bundle OR known.refused <> excluded.refused
                OR known.session <> excluded.session",
            params![
                Text(state.model),
                Text(device),
                bundle,
                state.since_ms.map(|since| since.0),
                refused,
                Text(session)
            ],
        )?;
        Ok(changed > 0)
    }
}
