//! From the tables to the policies that the control plane and the devices follow.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use edgeward_core::alert::AlertKind;
use edgeward_core::event::Project;
use edgeward_core::record::{RECORD_POLICY_SCHEMA, RecordPolicy};
use edgeward_core::rollout::RolloutPolicy;
use edgeward_core::source::Source;
use edgeward_core::trigger::{Trigger, TriggerPolicy};
use edgeward_monitor::{Budget, MonitorConfig};

use super::{ProjectFile, Span, TriggerOn, TriggerTable};

/// The level at which a project follows its repository.
const LEVEL_OF_SOURCE: u8 = 2;

impl ProjectFile {
    /// The project as the control plane keeps it. The path is made absolute where the folder exists.
    #[must_use]
    pub fn to_core_project(&self) -> Project {
        let path = fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        Project {
            name: self.name.clone(),
            model: self.model.clone(),
            path: shown(&path),
            trigger: self.trigger_policy(),
            rollout: self.rollout_policy(),
            source: self.source_at(&path, crate::git::commit(&self.dir)),
            shadows: self.shadow_policy(),
            mlflow: self.train.mlflow.clone(),
        }
    }

    /// The project of a commit that is followed from now on; `home` is the folder that was registered by hand.
    #[must_use]
    pub fn to_adopted_project(&self, home: &Path, commit: &str) -> Project {
        Project { source: self.source_at(home, Some(commit.to_owned())), ..self.to_core_project() }
    }

    /// Where the pipeline comes from, if it follows a repository: a path is relative to `home`.
    fn source_at(&self, home: &Path, commit: Option<String>) -> Option<Source> {
        let table = self.source.as_ref().filter(|_| self.level >= LEVEL_OF_SOURCE)?;
        let local = fs::canonicalize(home.join(&table.git)).ok();
        Some(Source {
            git: local.map_or_else(|| table.git.clone(), |path| shown(&path)),
            branch: table.branch.clone(),
            path: table.path.clone(),
            poll_ms: table.poll.0,
            home: shown(home),
            commit,
        })
    }

    /// What the model follows from: the file without its policies, so that changing a policy makes no new model.
    #[must_use]
    pub fn recipe(&self) -> serde_json::Value {
        let mut recipe = serde_json::json!({
            "model": self.model, "seed": self.seed, "data": self.data, "train": self.train, "convert": self.convert,
            "monitor": self.monitor,
        });
        if let Some(records) = &self.records {
            recipe["records"] = serde_json::json!(records);
        }
        recipe
    }

    /// What devices keep of the model's predictions; none if nothing is.
    #[must_use]
    pub fn record_policy(&self) -> Option<RecordPolicy> {
        self.records.as_ref().map(|records| RecordPolicy {
            schema: RECORD_POLICY_SCHEMA.to_owned(),
            inputs: records.inputs,
            sampled: records.sampled,
            redact: records.redact.clone(),
            retention_days: records.retention.days(),
            records_days: records.expire.map(Span::days),
            subject: records.subject.clone(),
        })
    }

    fn trigger_policy(&self) -> TriggerPolicy {
        TriggerPolicy {
            level: self.level,
            triggers: self.triggers.iter().map(TriggerTable::to_core).collect(),
            cooldown_ms: self.retrain.cooldown.0,
            runs_per_week_max: self.retrain.runs_per_week_max,
        }
    }

    fn rollout_policy(&self) -> RolloutPolicy {
        RolloutPolicy {
            waves: self.rollout.waves.clone(),
            bake_ms: self.rollout.bake.0,
            failures_max: self.rollout.failures_max,
            offline_ms: self.rollout.offline.0,
            probation_ms: self.rollout.probation.0,
            gates: self.rollout.gates.clone(),
            on_fail: self.rollout.on_fail,
            approval: self.rollout.approval.0,
            window: self.rollout.window,
            group: self.rollout.group.clone(),
        }
    }

    /// How devices watch a model whose accuracy on `rows` held-out rows was `accuracy`; none for a regression.
    #[must_use]
    pub fn monitor_config(&self, baseline_accuracy: Option<(f64, u64)>) -> MonitorConfig {
        MonitorConfig {
            budget: Budget {
                false_alarms_per_device_year: self.monitor.false_alarms_per_device_year,
                samples_per_second: self.monitor.requests_per_second,
            },
            accuracy_window: self.monitor.accuracy_window,
            unsupported: self.monitor.unsupported,
            baseline_accuracy,
            segments: self.monitor.segments.clone(),
            importance: self.monitor.importance.clone(),
            hold_off_samples: (self.monitor.hold_off.0.as_secs_f64() * self.monitor.requests_per_second)
                as u64,
            ..MonitorConfig::default()
        }
    }
}

impl TriggerTable {
    fn to_core(&self) -> Trigger {
        match self.on {
            TriggerOn::Alert => Trigger::Alert {
                kinds: self.kinds.clone().unwrap_or_else(all_kinds),
                labels_min: self.labels_min.unwrap_or(0),
            },
            TriggerOn::NewSamples => Trigger::NewSamples { count: self.count.unwrap_or(u64::MAX) },
            TriggerOn::Schedule => match &self.cron {
                Some(cron) => Trigger::Cron { cron: cron.clone() },
                None => {
                    let every_ms = self.every.map_or(std::time::Duration::MAX, |every| every.0);
                    Trigger::Schedule { every_ms }
                }
            },
        }
    }
}

fn all_kinds() -> BTreeSet<AlertKind> {
    BTreeSet::from([AlertKind::Drift, AlertKind::Decay, AlertKind::Outlier])
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
