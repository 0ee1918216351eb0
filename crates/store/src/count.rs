//! How many there are of everything: what a monitoring system is told of the control plane.

use edgeward_core::Timestamp;

use crate::column::params;
use crate::database::View;
use crate::engine::{Row, SqlError};
use crate::error::StoreError;

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries of the ledger.
    pub ledger: u64,
    /// Devices that may take part.
    pub devices: u64,
    /// Those of them that were heard of lately.
    pub devices_seen: u64,
    /// Devices that were shut out.
    pub devices_revoked: u64,
    /// Devices by the model and version that they run; the version is 0 where it is none that is registered.
    pub serving: Vec<Counted>,
    /// Alerts by model and kind.
    pub alerts: Vec<Counted>,
    /// Runs by project and how they ended; `under_way` where they have not.
    pub runs: Vec<Counted>,
    /// Rollouts by model and how they ended; `under_way` or `paused` where they have not.
    pub rollouts: Vec<Counted>,
    /// Labelled samples by model.
    pub samples: Vec<Counted>,
    /// Versions that are champions, by model.
    pub champions: Vec<Counted>,
}

/// One count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// A model's or a project's name.
    pub of: String,
    /// What kind; empty where there is only one.
    pub kind: String,
    /// How many; of a champion, its version.
    pub count: u64,
}

const SERVING: &str = "SELECT m.model, CAST(coalesce(v.version, 0) AS TEXT), count(*)
     FROM device_models m JOIN devices d ON d.id = m.device
     LEFT JOIN versions v ON v.model = m.model AND v.bundle = m.bundle
     WHERE m.bundle IS NOT NULL AND d.revoked_at_ms IS NULL GROUP BY 1, 2 ORDER BY 1, 2";
const ALERTS: &str = "SELECT model, coalesce(json_extract(document, '$.kind'), ''), count(*)
     FROM alerts GROUP BY 1, 2 ORDER BY 1, 2";
const RUNS: &str = "SELECT project, coalesce(json_extract(outcome, '$.result'), 'under_way'), count(*)
     FROM runs GROUP BY 1, 2 ORDER BY 1, 2";
const ROLLOUTS: &str = "SELECT model, CASE WHEN finished_at_ms IS NOT NULL THEN replace(outcome, '\"', '')
            WHEN paused <> 0 THEN 'paused' ELSE 'under_way' END, count(*)
     FROM rollouts GROUP BY 1, 2 ORDER BY 1, 2";
const SAMPLES: &str = "SELECT model, '', count(*) FROM samples WHERE label IS NOT NULL GROUP BY 1 ORDER BY 1";
const CHAMPIONS: &str = "SELECT model, '', version FROM aliases WHERE alias = 'champion' ORDER BY 1";

impl View<'_> {
    /// Everything, counted; devices that were heard of at or after `lately` are the ones seen lately.
    ///
    /// # Errors
    /// The database fails.
    pub fn counts(&self, lately: Timestamp) -> Result<Counts, StoreError> {
        let doing = "counting";
        let one = |sql: &str, params: &[crate::column::Value<'_>]| {
            self.row(doing, sql, params, |row| row.get::<u64>(0)).map(Option::unwrap_or_default)
        };
        let by = |sql: &str| self.rows(doing, sql, params![], Counted::read);
        let active = "SELECT count(*) FROM devices WHERE revoked_at_ms IS NULL";
        let seen = "SELECT count(*) FROM reports r JOIN devices d ON d.id = r.device
                    WHERE d.revoked_at_ms IS NULL AND r.received_at_ms >= ?1";
        Ok(Counts {
            ledger: self.head()?.len,
            devices: one(active, params![])?,
            devices_seen: one(seen, params![lately.0])?,
            devices_revoked: one("SELECT count(*) FROM devices WHERE revoked_at_ms IS NOT NULL", params![])?,
            serving: by(SERVING)?,
            alerts: by(ALERTS)?,
            runs: by(RUNS)?,
            rollouts: by(ROLLOUTS)?,
            samples: by(SAMPLES)?,
            champions: by(CHAMPIONS)?,
        })
    }
}

impl Counted {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self { of: row.get(0)?, kind: row.get(1)?, count: row.get(2)? })
    }
}
