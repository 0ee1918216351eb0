//! The ledger's events: every decision the control plane takes or hears of.
//!
//! The registry, the rollouts and the alerts list are projections of these events; nothing else is needed to rebuild
//! them. Events are only ever added; a variant's fields keep their meaning for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::group::Expression;
use crate::rollout::RolloutPolicy;
use crate::shadow::{ShadowCandidate, ShadowOutcome, ShadowPolicy};
use crate::source::Source;
use crate::trigger::TriggerPolicy;
use crate::{
    AccessChange, Alert, Bucket, DeviceId, Digest, Envelope, GroupName, ModelName, PredictionId, ProjectName,
    RolloutId, RunId, Timestamp,
};

/// One decision. Its `type` stands beside the fields of its variant, so no variant may have a field `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A project was added or its policies changed.
    ProjectRegistered(Project),
    /// A device joined with a valid token.
    DeviceEnrolled {
        /// The device.
        device: DeviceId,
    },
    /// Labels of a device were set, or removed where there is no value.
    DeviceLabelled {
        /// The device.
        device: DeviceId,
        /// By key.
        labels: BTreeMap<String, Option<String>>,
        /// Who.
        by: String,
    },
    /// A device runs one bundle of a model from now on, whatever is rolled out.
    DevicePinned {
        /// The device.
        device: DeviceId,
        /// The model.
        model: ModelName,
        /// The bundle.
        bundle: Digest,
        /// Who.
        by: String,
    },
    /// A device follows rollouts of a model again.
    DeviceUnpinned {
        /// The device.
        device: DeviceId,
        /// The model.
        model: ModelName,
        /// Who.
        by: String,
    },
    /// A group was made or changed.
    GroupDefined {
        /// The group.
        group: GroupName,
        /// Who is in it.
        expression: Expression,
        /// Who decided.
        by: String,
    },
    /// A group is no more; its devices run what the others run.
    GroupRemoved {
        /// The group.
        group: GroupName,
        /// Who decided.
        by: String,
    },
    /// A pipeline run was asked for.
    RunRequested {
        /// The run.
        run: RunId,
        /// Its project.
        project: ProjectName,
        /// Why: a trigger, an alert, a person.
        cause: String,
        /// Who carries it out.
        runner: Runner,
        /// The commit of the pipeline's repository that is on trial.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
    },
    /// A pipeline run ended.
    RunFinished {
        /// The run.
        run: RunId,
        /// Its project.
        project: ProjectName,
        /// How.
        outcome: RunOutcome,
    },
    /// A gate gave its verdict on a run.
    GateJudged {
        /// The run.
        run: RunId,
        /// Which gate.
        gate: String,
        /// Whether it let the run pass.
        passed: bool,
        /// Why, for people.
        reason: String,
    },
    /// A version entered the registry.
    ModelRegistered(ModelVersion),
    /// An alias such as `champion` now points at a version.
    AliasMoved {
        /// The model.
        model: ModelName,
        /// The alias.
        alias: String,
        /// The version.
        version: u64,
    },
    /// A rollout began.
    RolloutStarted {
        /// The rollout.
        rollout: RolloutId,
        /// The model.
        model: ModelName,
        /// The version that is rolled out.
        version: u64,
        /// Its bundle.
        bundle: Digest,
        /// What the fleet ran before.
        from: Option<Digest>,
        /// Its waves and gates.
        policy: RolloutPolicy,
        /// Who or what started it.
        cause: String,
        /// Nothing opens before this time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start_at_ms: Option<Timestamp>,
    },
    /// A person, or a gate, stopped a rollout for now.
    RolloutPaused {
        /// The rollout.
        rollout: RolloutId,
        /// Who; none if it paused itself.
        by: Option<String>,
        /// Why.
        reasons: Vec<String>,
    },
    /// A person let a paused rollout go on; what the gates held against it so far is forgotten.
    RolloutResumed {
        /// The rollout.
        rollout: RolloutId,
        /// Who.
        by: String,
        /// Why.
        cause: String,
    },
    /// A person agreed that waves open.
    RolloutApproved {
        /// The rollout.
        rollout: RolloutId,
        /// So many waves, from the first on.
        waves: usize,
        /// Who.
        by: String,
        /// Why.
        cause: String,
    },
    /// A rollout widened.
    RolloutAdvanced {
        /// The rollout.
        rollout: RolloutId,
        /// Index of the wave now open.
        wave: usize,
        /// Devices up to this bucket are in.
        limit: Bucket,
        /// Why now.
        reasons: Vec<String>,
    },
    /// A rollout ended.
    RolloutFinished {
        /// The rollout.
        rollout: RolloutId,
        /// How.
        outcome: RolloutOutcome,
        /// Why.
        reasons: Vec<String>,
    },
    /// The candidates of a run are compared with the champion, beside it on the devices.
    ShadowsStarted {
        /// The run.
        run: RunId,
        /// The model.
        model: ModelName,
        /// The bundle they are compared with.
        champion: Digest,
        /// They, in the order in which devices count them.
        candidates: Vec<ShadowCandidate>,
        /// How a winner is chosen.
        policy: ShadowPolicy,
    },
    /// A comparison of shadows ended.
    ShadowsJudged {
        /// The run.
        run: RunId,
        /// The model.
        model: ModelName,
        /// How.
        outcome: ShadowOutcome,
        /// Why.
        reasons: Vec<String>,
    },
    /// A device raised an alert.
    AlertRaised(Alert),
    /// A person has seen an alert. It decides nothing else: whatever the alert starts, it starts all the same.
    AlertAcknowledged {
        /// The alert's id.
        alert: String,
        /// Who.
        by: String,
        /// What they say about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Who may do what was changed.
    AccessChanged(AccessChange),
    /// A person decided about samples that were held back from training.
    SamplesJudged {
        /// The model they were captured for.
        model: ModelName,
        /// Which.
        samples: Vec<SampleRef>,
        /// What becomes of them.
        verdict: SampleVerdict,
        /// Why, for people.
        cause: String,
    },
    /// Records of predictions were made one batch, whose hash tree has this root.
    RecordsKept {
        /// 0, 1, 2, ...
        batch: u64,
        /// How many it holds.
        records: u64,
        /// The root of the tree (RFC 6962) over them, in their order.
        root: Digest,
    },
    /// Somebody read records of predictions.
    RecordsRead {
        /// What: a prediction's id.
        what: String,
        /// Who.
        by: String,
    },
    /// The keys of inputs whose time is over were dropped: nobody can read those inputs any more.
    InputsErased {
        /// Those that were to be unreadable on this day at the latest, in days since 1970.
        day: i64,
        /// How many.
        inputs: u64,
    },
    /// Records whose time is over were dropped; their digests stay, and every proof with them.
    RecordsExpired {
        /// Those that were to be gone on this day at the latest, in days since 1970.
        day: i64,
        /// How many.
        records: u64,
    },
    /// The keys of every input about one subject were destroyed, and what was recorded about it dropped.
    SubjectErased {
        /// Which: a keyed digest of its name, which only this control plane can make.
        subject: Digest,
        /// How many inputs nobody can read any more.
        inputs: u64,
        /// How many records were dropped but for their digests.
        records: u64,
        /// Labelled samples that were dropped.
        samples: u64,
        /// Who asked for it.
        by: String,
    },
}

/// What the types of events are called.
pub const KINDS: [&str; 29] = [
    "project_registered",
    "device_enrolled",
    "device_labelled",
    "device_pinned",
    "device_unpinned",
    "group_defined",
    "group_removed",
    "run_requested",
    "run_finished",
    "gate_judged",
    "model_registered",
    "alias_moved",
    "rollout_started",
    "rollout_paused",
    "rollout_resumed",
    "rollout_approved",
    "rollout_advanced",
    "rollout_finished",
    "shadows_started",
    "shadows_judged",
    "alert_raised",
    "alert_acknowledged",
    "access_changed",
    "samples_judged",
    "records_kept",
    "records_read",
    "inputs_erased",
    "records_expired",
    "subject_erased",
];

/// One captured sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleRef {
    /// The device that captured it.
    pub device: DeviceId,
    /// The prediction.
    pub prediction: PredictionId,
    /// The row within the request's batch.
    pub row: u32,
}

/// What becomes of a sample that was held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleVerdict {
    /// It may be learned from.
    Released,
    /// It is never learned from.
    Discarded,
}

impl SampleVerdict {
    /// The word used in files and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Discarded => "discarded",
        }
    }
}

/// A pipeline and the policies that drive it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// The model it makes.
    pub model: ModelName,
    /// The folder with `edgeward.toml`, on the control plane's machine.
    pub path: String,
    /// When to retrain.
    pub trigger: TriggerPolicy,
    /// How to roll out.
    pub rollout: RolloutPolicy,
    /// The repository that the pipeline comes from, at level 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How the winner among its shadows is chosen; none if it declares no shadow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadows: Option<ShadowPolicy>,
    /// The registered model of the MLflow API whose champion it takes in place of training; none if it trains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlflow: Option<String>,
}

/// Who carries out a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// The control plane starts it, and starts it again if it is lost.
    ControlPlane,
    /// Whoever announced it.
    Caller,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
pub enum RunOutcome {
    /// It made this bundle, and every gate passed.
    Passed {
        /// The bundle.
        bundle: Digest,
    },
    /// A gate refused the data or the model.
    Refused {
        /// Why.
        reason: String,
    },
    /// A stage failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutOutcome {
    /// Every reachable device runs the bundle.
    Completed,
    /// The fleet went back to what it ran before.
    RolledBack,
    /// A person or a newer rollout ended it.
    Superseded,
}

/// A version in the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelVersion {
    /// The model.
    pub model: ModelName,
    /// 1, 2, 3, ... per model.
    pub version: u64,
    /// Its bundle.
    pub bundle: Digest,
    /// The run that made it.
    pub run: RunId,
    /// Evaluation metrics by name.
    pub metrics: BTreeMap<String, f64>,
    /// The release as earlier builds signed it; the repository says it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Envelope>,
}

impl Event {
    /// The `type` word in JSON.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ProjectRegistered(_) => "project_registered",
            Self::DeviceEnrolled { .. } => "device_enrolled",
            Self::DeviceLabelled { .. } => "device_labelled",
            Self::DevicePinned { .. } => "device_pinned",
            Self::DeviceUnpinned { .. } => "device_unpinned",
            Self::GroupDefined { .. } => "group_defined",
            Self::GroupRemoved { .. } => "group_removed",
            Self::RunRequested { .. } => "run_requested",
            Self::RunFinished { .. } => "run_finished",
            Self::GateJudged { .. } => "gate_judged",
            Self::ModelRegistered(_) => "model_registered",
            Self::AliasMoved { .. } => "alias_moved",
            Self::RolloutStarted { .. } => "rollout_started",
            Self::RolloutPaused { .. } => "rollout_paused",
            Self::RolloutResumed { .. } => "rollout_resumed",
            Self::RolloutApproved { .. } => "rollout_approved",
            Self::RolloutAdvanced { .. } => "rollout_advanced",
            Self::RolloutFinished { .. } => "rollout_finished",
            Self::ShadowsStarted { .. } => "shadows_started",
            Self::ShadowsJudged { .. } => "shadows_judged",
            Self::AlertRaised(_) => "alert_raised",
            Self::AlertAcknowledged { .. } => "alert_acknowledged",
            Self::AccessChanged(_) => "access_changed",
            Self::SamplesJudged { .. } => "samples_judged",
            Self::RecordsKept { .. } => "records_kept",
            Self::RecordsRead { .. } => "records_read",
            Self::InputsErased { .. } => "inputs_erased",
            Self::RecordsExpired { .. } => "records_expired",
            Self::SubjectErased { .. } => "subject_erased",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::AlertKind;
    use crate::canonical;

    #[test]
    fn an_alert_keeps_its_own_kind_beside_the_events_type() {
        let alert = Alert {
            id: "a1".into(),
            kind: AlertKind::Drift,
            device: DeviceId::new("d1").unwrap(),
            model: ModelName::new("digits").unwrap(),
            bundle: Digest::of(b"bundle"),
            at_ms: Timestamp(1),
            stream: None,
            sample: 1,
            change_sample: None,
            log10_evidence: 7.5,
            log10_threshold: 7.0,
            message: "inputs moved".into(),
        };
        let event = Event::AlertRaised(alert);
        let bytes = canonical::to_bytes(&event).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&value["type"], &value["kind"]), (&event.kind().into(), &"drift".into()));
        assert_eq!(serde_json::from_slice::<Event>(&bytes).unwrap(), event);
    }

    #[test]
    fn an_acknowledgement_without_a_note_says_nothing_of_one() {
        let acknowledged = |note| Event::AlertAcknowledged { alert: "a1".into(), by: "ann".into(), note };
        let bytes = canonical::to_bytes(&acknowledged(None)).unwrap();
        assert_eq!(bytes, br#"{"alert":"a1","by":"ann","type":"alert_acknowledged"}"#);
        for event in [acknowledged(None), acknowledged(Some("seen".into()))] {
            let value = serde_json::to_value(&event).unwrap();
            assert_eq!(value["type"], event.kind());
            assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
        }
    }
}
