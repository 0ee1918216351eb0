//! What follows from the ledger: the tables that queries read, updated entry by entry.
//!
//! An event that contradicts the state is refused before it is kept: the end of a run that is not under way, a second
//! run of a project beside the first, a version out of turn, an alert raised or acknowledged twice.

use std::collections::BTreeMap;

use edgeward_core::event::{ModelVersion, Project, RolloutOutcome};
use edgeward_core::ledger::{Chain, Entry};
use edgeward_core::{AccessChange, Alert, DeviceId, Event, RolloutId};

use crate::column::{Json, Text, Value, params};
use crate::database::{Store, Writer};
use crate::error::StoreError;

const OPERATION: &str = "updating a projection";

/// Every projection, those that refer to others first.
const TABLES: [&str; 14] = [
    "record_batches",
    "shadow_tests",
    "pins",
    "group_bundles",
    "groups",
    "device_labels",
    "gates",
    "aliases",
    "rollouts",
    "alerts",
    "versions",
    "runs",
    "projects",
    "devices",
];

impl Store {
    /// Empties the projections and fills them again from the ledger.
    ///
    /// # Errors
    /// The ledger is damaged, or the database fails; the projections are then left as they were.
    pub fn rebuild(&self) -> Result<(), StoreError> {
        self.write(|writer| {
            for table in TABLES {
                writer.execute("emptying a projection", &format!("DELETE FROM {table}"), &[])?;
            }
            writer.replay(&mut Chain::default(), |entry| writer.project(entry))
        })
    }
}

impl Writer<'_> {
    pub(crate) fn project(&self, entry: &Entry) -> Result<(), StoreError> {
        let kind = entry.event.kind();
        let refused = |reason: String| StoreError::Refused { kind, reason };
        match self.apply(entry) {
            Ok(Some(contradiction)) => Err(refused(contradiction)),
            Ok(None) => Ok(()),
            Err(StoreError::Sql { source, .. }) if source.is_constraint() => Err(refused(source.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Updates the tables; says what the event contradicts, if it does.
    fn apply(&self, entry: &Entry) -> Result<Option<String>, StoreError> {
        let (seq, at) = (entry.seq, entry.at_ms.0);
        match &entry.event {
            Event::ProjectRegistered(project) => self.project_registered(project, at),
            Event::DeviceEnrolled { .. }
            | Event::DeviceLabelled { .. }
            | Event::DevicePinned { .. }
            | Event::DeviceUnpinned { .. }
            | Event::GroupDefined { .. }
            | Event::GroupRemoved { .. } => self.fleet_changed(entry),
            Event::RunRequested { run, project, cause, runner, commit } => self.change(
                "INSERT INTO runs (id, seq, project, cause, runner, requested_at_ms, pipeline_commit)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![Text(run), seq, Text(project), cause, Json(runner), at, commit],
            ),
            Event::RunFinished { run, project, outcome } => self.change(
                "UPDATE runs SET finished_at_ms = ?3, outcome = ?4
                 WHERE id = ?1 AND project = ?2 AND finished_at_ms IS NULL",
                params![Text(run), Text(project), at, Json(outcome)],
            ),
            Event::GateJudged { run, gate, passed, reason } => self.change(
                "INSERT INTO gates (run, gate, seq, passed, reason) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (run, gate)
                 DO UPDATE SET seq = excluded.seq, passed = excluded.passed, reason = excluded.reason",
                params![Text(run), gate, seq, passed, reason],
            ),
            Event::ModelRegistered(version) => self.model_registered(version, at),
            Event::AliasMoved { model, alias, version } => self.change(
                "INSERT INTO aliases (model, alias, version, moved_at_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (model, alias)
                 DO UPDATE SET version = excluded.version, moved_at_ms = excluded.moved_at_ms",
                params![Text(model), alias, version, at],
            ),
            Event::RolloutStarted { .. }
            | Event::RolloutPaused { .. }
            | Event::RolloutResumed { .. }
            | Event::RolloutApproved { .. }
            | Event::RolloutAdvanced { .. }
            | Event::RolloutFinished { .. } => self.rollout_changed(entry),
            Event::ShadowsStarted { .. } | Event::ShadowsJudged { .. } => self.shadows_changed(entry),
            Event::AlertRaised(alert) => self.alert_raised(alert, seq),
            Event::AlertAcknowledged { alert, by, note } => self.change(
                "UPDATE alerts SET acknowledged_by = ?2, acknowledged_at_ms = ?3, acknowledged_note = ?4
                 WHERE id = ?1 AND acknowledged_at_ms IS NULL",
                params![alert, by, at, note],
            ),
            Event::AccessChanged(AccessChange::DeviceRevoked { device, .. }) => self.change(
                "UPDATE devices SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL",
                params![Text(device), at],
            ),
            // Who holds which secret or certificate is kept beside the ledger, not made from it.
            Event::AccessChanged(_) => Ok(None),
            Event::SamplesJudged { samples, verdict, .. } => {
                self.judge_samples(samples, *verdict, entry.at_ms).map(|()| None)
            }
            Event::RecordsKept { batch, records, root } => self.change(
                "INSERT INTO record_batches (batch, seq, records, root) VALUES (?1, ?2, ?3, ?4)",
                params![batch, seq, records, Text(root)],
            ),
            // What was read or erased changes nothing that follows from the ledger.
            Event::RecordsRead { .. }
            | Event::InputsErased { .. }
            | Event::RecordsExpired { .. }
            | Event::SubjectErased { .. } => Ok(None),
        }
    }

    /// The devices, their labels, pins and groups.
    fn fleet_changed(&self, entry: &Entry) -> Result<Option<String>, StoreError> {
        match &entry.event {
            Event::DeviceEnrolled { device } => self.change(
                "INSERT INTO devices (id, enrolled_at_ms) VALUES (?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET enrolled_at_ms = excluded.enrolled_at_ms, revoked_at_ms = NULL",
                params![Text(device), entry.at_ms.0],
            ),
            Event::DeviceLabelled { device, labels, .. } => self.device_labelled(device, labels),
            Event::DevicePinned { device, model, bundle, .. } => self.change(
                "INSERT INTO pins (model, device, bundle) VALUES (?1, ?2, ?3)
                 ON CONFLICT (model, device) DO UPDATE SET bundle = excluded.bundle",
                params![Text(model), Text(device), Text(bundle)],
            ),
            Event::DeviceUnpinned { device, model, .. } => self.change(
                "DELETE FROM pins WHERE model = ?1 AND device = ?2",
                params![Text(model), Text(device)],
            ),
            Event::GroupDefined { group, expression, .. } => self.change(
                "INSERT INTO groups (name, expression) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET expression = excluded.expression",
                params![Text(group), Text(expression)],
            ),
            Event::GroupRemoved { group, .. } => {
                self.execute(OPERATION, "DELETE FROM group_bundles WHERE group_name = ?1", params![Text(group)])?;
                self.change("DELETE FROM groups WHERE name = ?1", params![Text(group)])
            }
            _ => Ok(None),
        }
    }

    /// The rollouts.
    fn rollout_changed(&self, entry: &Entry) -> Result<Option<String>, StoreError> {
        let at = entry.at_ms.0;
        match &entry.event {
            Event::RolloutStarted { .. } => self.rollout_started(entry),
            Event::RolloutPaused { rollout, reasons, .. } => self.change(
                "UPDATE rollouts SET paused = 1, reasons = ?2
                 WHERE id = ?1 AND finished_at_ms IS NULL AND paused = 0",
                params![Text(rollout), Json(reasons)],
            ),
            Event::RolloutResumed { rollout, cause, .. } => self.change(
                "UPDATE rollouts SET paused = 0, reasons = ?2, resumed_at_ms = ?3
                 WHERE id = ?1 AND finished_at_ms IS NULL AND paused = 1",
                params![Text(rollout), Json([cause]), at],
            ),
            Event::RolloutApproved { rollout, waves, cause, .. } => self.change(
                "UPDATE rollouts SET waves_approved = ?2, reasons = ?3
                 WHERE id = ?1 AND finished_at_ms IS NULL AND waves_approved < ?2",
                params![Text(rollout), waves, Json([cause])],
            ),
            Event::RolloutAdvanced { rollout, wave, limit, reasons } => self.change(
                "UPDATE rollouts SET wave = ?2, wave_limit = ?3, wave_since_ms = ?4, reasons = ?5
                 WHERE id = ?1 AND finished_at_ms IS NULL AND coalesce(wave, -1) < ?2",
                params![Text(rollout), wave, Json(limit), at, Json(reasons)],
            ),
            Event::RolloutFinished { rollout, outcome, reasons } => {
                let contradiction = self.change(
                    "UPDATE rollouts SET finished_at_ms = ?2, outcome = ?3, reasons = ?4
                     WHERE id = ?1 AND finished_at_ms IS NULL",
                    params![Text(rollout), at, Json(outcome), Json(reasons)],
                )?;
                if *outcome == RolloutOutcome::Completed {
                    self.rollout_completed(rollout)?;
                }
                Ok(contradiction)
            }
            _ => Ok(None),
        }
    }

    /// The comparisons of shadows.
    fn shadows_changed(&self, entry: &Entry) -> Result<Option<String>, StoreError> {
        match &entry.event {
            Event::ShadowsStarted { run, model, champion, candidates, policy } => self.change(
                "INSERT INTO shadow_tests (run, seq, model, champion, candidates, policy, started_at_ms, reasons)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, '[]')",
                params![
                    Text(run),
                    entry.seq,
                    Text(model),
                    Text(champion),
                    Json(candidates),
                    Json(policy),
                    entry.at_ms.0
                ],
            ),
            Event::ShadowsJudged { run, outcome, reasons, .. } => self.change(
                "UPDATE shadow_tests SET finished_at_ms = ?2, outcome = ?3, reasons = ?4
                 WHERE run = ?1 AND finished_at_ms IS NULL",
                params![Text(run), entry.at_ms.0, Json(outcome), Json(reasons)],
            ),
            _ => Ok(None),
        }
    }

    fn change(&self, sql: &str, params: &[Value<'_>]) -> Result<Option<String>, StoreError> {
        let nothing = "what it speaks of is not there, or not under way any more";
        let changed = self.execute(OPERATION, sql, params)?;
        Ok((changed == 0).then(|| nothing.to_owned()))
    }

    fn project_registered(&self, project: &Project, at: i64) -> Result<Option<String>, StoreError> {
        self.change(
            "INSERT INTO projects (name, updated_at_ms, document) VALUES (?1, ?2, ?3)
             ON CONFLICT (name)
             DO UPDATE SET updated_at_ms = excluded.updated_at_ms, document = excluded.document",
            params![Text(&project.name), at, Json(project)],
        )
    }

    fn model_registered(&self, registered: &ModelVersion, at: i64) -> Result<Option<String>, StoreError> {
        let ModelVersion { model, version, bundle, run, metrics, release: _ } = registered;
        let next = self.next_version(model)?;
        if *version != next {
            return Ok(Some(format!("version {version} of {model} is out of turn, the next is {next}")));
        }
        let metrics: &BTreeMap<_, _> = metrics;
        self.change(
            "INSERT INTO versions (model, version, bundle, run, metrics, registered_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![Text(model), version, Text(bundle), Text(run), Json(metrics), at],
        )
    }

    fn device_labelled(
        &self,
        device: &DeviceId,
        labels: &BTreeMap<String, Option<String>>,
    ) -> Result<Option<String>, StoreError> {
        for (key, value) in labels {
            match value {
                Some(value) => self.execute(
                    OPERATION,
                    "INSERT INTO device_labels (device, key, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (device, key) DO UPDATE SET value = excluded.value",
                    params![Text(device), key, value],
                )?,
                None => self.execute(
                    OPERATION,
                    "DELETE FROM device_labels WHERE device = ?1 AND key = ?2",
                    params![Text(device), key],
                )?,
            };
        }
        Ok(None)
    }

    /// The group of the rollout runs its bundle from now on; after one to everybody, no group runs anything else.
    fn rollout_completed(&self, rollout: &RolloutId) -> Result<(), StoreError> {
        let to_all = "DELETE FROM group_bundles WHERE model =
            (SELECT model FROM rollouts WHERE id = ?1 AND json_extract(policy, '$.group') IS NULL)";
        self.execute(OPERATION, to_all, params![Text(rollout)])?;
        let to_group = "INSERT INTO group_bundles (model, group_name, version, bundle)
            SELECT model, json_extract(policy, '$.group'), version, bundle FROM rollouts
            WHERE id = ?1 AND json_extract(policy, '$.group') IS NOT NULL
            ON CONFLICT (model, group_name) DO UPDATE SET version = excluded.version, bundle = excluded.bundle";
        self.execute(OPERATION, to_group, params![Text(rollout)])?;
        Ok(())
    }

    fn rollout_started(&self, entry: &Entry) -> Result<Option<String>, StoreError> {
        let Event::RolloutStarted { rollout, model, version, bundle, from, policy, cause, start_at_ms } =
            &entry.event
        else {
            return Ok(None);
        };
        let from = from.as_ref().map(Text);
        let reasons = Json([cause]);
        self.change(
            "INSERT INTO rollouts
             (id, seq, model, version, bundle, from_bundle, policy, cause, started_at_ms, reasons, start_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                Text(rollout),
                entry.seq,
                Text(model),
                version,
                Text(bundle),
                from,
                Json(policy),
                cause,
                entry.at_ms.0,
                reasons,
                start_at_ms.map(|start| start.0)
            ],
        )
    }

    fn alert_raised(&self, alert: &Alert, seq: u64) -> Result<Option<String>, StoreError> {
        self.change(
            "INSERT INTO alerts (id, seq, model, document) VALUES (?1, ?2, ?3, ?4)",
            params![alert.id, seq, Text(&alert.model), Json(alert)],
        )
    }
}
