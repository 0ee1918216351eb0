//! Comparisons of shadows with their champions, and what devices counted for them.

use crate::engine::{Row, SqlError};
use edgeward_core::shadow::{ShadowCandidate, ShadowOutcome, ShadowPolicy};
use edgeward_core::{DeviceId, Digest, ModelName, RunId, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use crate::column::{Json, Text, params};
use crate::database::{View, Writer};
use crate::error::StoreError;
use crate::registry::ROWS_PAGE_MAX;

/// Most starts of agents whose counts are added up for one comparison.
pub const SHADOW_COUNTS_MAX: usize = 1_000_000;

/// The candidates of one run beside one champion.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowTestRow {
    /// The run.
    pub run: RunId,
    /// The model.
    pub model: ModelName,
    /// The bundle they are compared with.
    pub champion: Digest,
    /// They, in the order in which devices count them.
    pub candidates: Vec<ShadowCandidate>,
    /// How a winner is chosen.
    pub policy: ShadowPolicy,
    /// When it began.
    pub started_at_ms: Timestamp,
    /// When it ended; none while it is under way.
    pub finished_at_ms: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<ShadowOutcome>,
    /// Why.
    pub reasons: Vec<String>,
}

/// What one device counted in one start of its agent.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowCountsRow {
    /// The device.
    pub device: DeviceId,
    /// What it said.
    pub document: Value,
}

const TEST: &str =
    "SELECT run, model, champion, candidates, policy, started_at_ms, finished_at_ms, outcome, reasons
     FROM shadow_tests";

impl ShadowTestRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            run: row.get::<Text<_>>(0)?.0,
            model: row.get::<Text<_>>(1)?.0,
            champion: row.get::<Text<_>>(2)?.0,
            candidates: row.get::<Json<_>>(3)?.0,
            policy: row.get::<Json<_>>(4)?.0,
            started_at_ms: Timestamp(row.get(5)?),
            finished_at_ms: row.get::<Option<i64>>(6)?.map(Timestamp),
            outcome: row.get::<Option<Json<_>>>(7)?.map(|json| json.0),
            reasons: row.get::<Json<_>>(8)?.0,
        })
    }
}

impl View<'_> {
    /// The newest comparisons, of one model or of all, the newest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn shadow_tests(
        &self,
        model: Option<&ModelName>,
        limit: usize,
    ) -> Result<Vec<ShadowTestRow>, StoreError> {
        let sql = format!("{TEST} WHERE ?1 IS NULL OR model = ?1 ORDER BY seq DESC LIMIT ?2");
        self.rows(
            "reading the shadows",
            &sql,
            params![model.map(Text), limit.min(ROWS_PAGE_MAX)],
            ShadowTestRow::read,
        )
    }

    /// The comparison of one run's candidates.
    ///
    /// # Errors
    /// The database fails.
    pub fn shadow_test(&self, run: &RunId) -> Result<Option<ShadowTestRow>, StoreError> {
        self.row(
            "reading a run's shadows",
            &format!("{TEST} WHERE run = ?1"),
            params![Text(run)],
            ShadowTestRow::read,
        )
    }

    /// The comparisons under way; at most one per model.
    ///
    /// # Errors
    /// The database fails.
    pub fn shadow_tests_under_way(&self) -> Result<Vec<ShadowTestRow>, StoreError> {
        let sql = format!("{TEST} WHERE finished_at_ms IS NULL ORDER BY seq");
        self.rows("reading the shadows under way", &sql, &[], ShadowTestRow::read)
    }

    /// What devices counted for one comparison, one row per start of an agent.
    ///
    /// # Errors
    /// The database fails.
    pub fn shadow_counts(&self, run: &RunId) -> Result<Vec<ShadowCountsRow>, StoreError> {
        const SQL: &str = "SELECT device, document FROM shadow_counts WHERE run = ?1 LIMIT ?2";
        self.rows("reading what shadows did", SQL, params![Text(run), SHADOW_COUNTS_MAX], |row| {
            Ok(ShadowCountsRow { device: row.get::<Text<_>>(0)?.0, document: row.get::<Json<_>>(1)?.0 })
        })
    }
}

impl Writer<'_> {
    /// Keeps the latest that one start of a device's agent counted for a comparison under way; another is nobody's business.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_shadow_counts(
        &self,
        run: &RunId,
        device: &DeviceId,
        (session, seq): (Uuid, u64),
        document: &Value,
    ) -> Result<(), StoreError> {
        self.execute(
            "keeping what shadows did",
            "INSERT INTO shadow_counts (run, device, session, seq, document)
             SELECT ?1, ?2, ?3, ?4, ?5
             WHERE EXISTS (SELECT 1 FROM shadow_tests WHERE run = ?1 AND finished_at_ms IS NULL)
             ON CONFLICT (run, device, session) DO UPDATE SET seq = excluded.seq, document = excluded.document
             WHERE excluded.seq > shadow_counts.seq",
            params![Text(run), Text(device), Text(session), seq, Json(document)],
        )?;
        Ok(())
    }
}
