//! Profiles: what each device saw in each window. Their bytes belong to the monitor; here they are only kept.

use std::time::Duration;

use crate::engine::{Row, SqlError};
use edgeward_core::{DeviceId, Digest, ModelName, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::column::{Json, Text, params};
use crate::database::{View, Writer};
use crate::error::StoreError;

/// How long a profile is kept after it arrived.
pub const PROFILE_RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);
/// Most profiles in one page.
pub const PROFILES_PAGE_MAX: usize = 10_000;

/// A profile that arrives.
#[derive(Clone, Copy, Debug)]
pub struct NewProfile<'a> {
    /// Who sends it.
    pub device: &'a DeviceId,
    /// One start of the agent.
    pub session: Uuid,
    /// Unique within the session.
    pub seq: u64,
    /// The model.
    pub model: &'a ModelName,
    /// The bundle that served.
    pub bundle: Digest,
    /// Start of the window.
    pub from_ms: Timestamp,
    /// End of the window.
    pub to_ms: Timestamp,
    /// Labels that arrived in the window.
    pub labelled: u64,
    /// How many of them agreed with the prediction.
    pub correct: u64,
    /// The profile's own bytes.
    pub profile: &'a [u8],
    /// The performance's own bytes, where labels said something.
    pub performance: Option<&'a [u8]>,
    /// How requests fared, where the device says.
    pub service: Option<&'a Value>,
}

/// One window on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileRow {
    /// The device.
    pub device: DeviceId,
    /// The bundle that served.
    pub bundle: Digest,
    /// Start of the window.
    pub from_ms: Timestamp,
    /// End of the window.
    pub to_ms: Timestamp,
    /// Labels that arrived in the window.
    pub labelled: u64,
    /// How many of them agreed with the prediction.
    pub correct: u64,
    /// The profile's own bytes.
    #[serde(skip)]
    pub profile: Vec<u8>,
    /// The performance's own bytes, where labels said something.
    #[serde(skip)]
    pub performance: Option<Vec<u8>>,
}

impl ProfileRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            device: row.get::<Text<_>>(0)?.0,
            bundle: row.get::<Text<_>>(1)?.0,
            from_ms: Timestamp(row.get(2)?),
            to_ms: Timestamp(row.get(3)?),
            labelled: row.get(4)?,
            correct: row.get(5)?,
            profile: row.get(6)?,
            performance: row.get(7)?,
        })
    }
}

impl View<'_> {
    /// Profiles of one model whose window ends in `[from, to)`, of one bundle or of all, oldest window first; at most
    /// [`PROFILES_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn profiles(
        &self,
        model: &ModelName,
        bundle: Option<Digest>,
        (from, to): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<ProfileRow>, StoreError> {
        self.rows(
            "reading profiles",
            "SELECT device, bundle, from_ms, to_ms, labelled, correct, profile, performance FROM profiles
             WHERE model = ?1 AND (?2 IS NULL OR bundle = ?2) AND to_ms >= ?3 AND to_ms < ?4
             ORDER BY to_ms, device, seq LIMIT ?5",
            params![Text(model), bundle.map(Text), from.0, to.0, limit.min(PROFILES_PAGE_MAX)],
            ProfileRow::read,
        )
    }
}

/// A profile and its place in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivedProfile {
    /// Higher for those that arrived later.
    pub arrival: i64,
    /// When it arrived.
    pub received_at_ms: Timestamp,
    /// The model.
    pub model: ModelName,
    /// The profile.
    pub row: ProfileRow,
}

impl View<'_> {
    /// Profiles that arrived after `arrival`, in the order of their arrival; at most [`PROFILES_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn profiles_after(&self, arrival: i64, limit: usize) -> Result<Vec<ArrivedProfile>, StoreError> {
        self.rows(
            "reading profiles",
            "SELECT device, bundle, from_ms, to_ms, labelled, correct, profile, performance, rowid, model,
                received_at_ms
             FROM profiles WHERE rowid > ?1 ORDER BY rowid LIMIT ?2",
            params![arrival, limit.min(PROFILES_PAGE_MAX)],
            |row| {
                let model = row.get::<Text<_>>(9)?.0;
                let received_at_ms = Timestamp(row.get(10)?);
                Ok(ArrivedProfile {
                    arrival: row.get(8)?,
                    received_at_ms,
                    model,
                    row: ProfileRow::read(row)?,
                })
            },
        )
    }

    /// The place of the latest profile in the order of arrival; 0 before the first.
    ///
    /// # Errors
    /// The database fails.
    pub fn latest_arrival(&self) -> Result<i64, StoreError> {
        let sql = "SELECT max(rowid) FROM profiles";
        let latest = self.row("reading profiles", sql, &[], |row| row.get::<Option<i64>>(0))?;
        Ok(latest.flatten().unwrap_or(0))
    }
}

impl Writer<'_> {
    /// Keeps a profile, once; says whether it was new.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_profile(&self, new: &NewProfile<'_>, now: Timestamp) -> Result<bool, StoreError> {
        let arrival: Option<i64> = self.row(
            "keeping a profile",
            "INSERT INTO profiles
             (device, session, seq, model, bundle, from_ms, to_ms, received_at_ms, labelled, correct, profile,
              performance)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (device, session, seq) DO NOTHING RETURNING rowid",
            params![
                Text(new.device),
                Text(new.session),
                new.seq,
                Text(new.model),
                Text(new.bundle),
                new.from_ms.0,
                new.to_ms.0,
                now.0,
                new.labelled,
                new.correct,
                new.profile,
                new.performance
            ],
            |row| row.get(0),
        )?;
        if let Some(arrival) = arrival {
            self.execute(
                "keeping what was counted",
                "INSERT INTO windows (arrival, model, device, bundle, labelled, correct, service)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (arrival) DO UPDATE SET
                    model = excluded.model, device = excluded.device, bundle = excluded.bundle,
                    labelled = excluded.labelled, correct = excluded.correct, service = excluded.service",
                params![
                    arrival,
                    Text(new.model),
                    Text(new.device),
                    Text(new.bundle),
                    new.labelled,
                    new.correct,
                    new.service.map(Json)
                ],
            )?;
        }
        Ok(arrival.is_some())
    }

    /// Drops profiles older than [`PROFILE_RETENTION`].
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_old_profiles(&self, now: Timestamp) -> Result<(), StoreError> {
        let oldest = now - PROFILE_RETENTION;
        let sql = "DELETE FROM profiles WHERE received_at_ms < ?1";
        if self.execute("dropping old profiles", sql, params![oldest.0])? > 0 {
            let sql = "DELETE FROM windows WHERE arrival < (SELECT min(rowid) FROM profiles)";
            self.execute("dropping old counts", sql, &[])?;
        }
        Ok(())
    }
}
