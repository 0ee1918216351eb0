//! The operator's and the pipeline's half of the client.

use std::fs::File;

use edgeward_core::event::Project;
use edgeward_core::{DeviceId, Digest, GroupName, ModelName, PredictionId, ProjectName, RolloutId, RunId};

use super::{Client, ClientError};
use crate::operator::{
    AcknowledgeRequest, AlertAcknowledged, Alerts, Checkpoint, Decided, DeviceLabels, Devices, Drift, Events,
    GateVerdicts, Group, GroupRequest, Groups, JoinToken, JoinTokenRequest, LabelsChange, Models, Pin,
    PinRequest, Projects, Quarantine, QuarantineDecision, Rollout, RolloutRequest, RolloutStatus,
    RolloutWish, Rollouts, Run, RunAnnouncement, RunEnd, RunRequest, Runs, SamplesPage, ShadowTests,
    SourceStatus, Sources, Version, VersionRegistration,
};
use crate::record::{History, Lineage, PredictionAnswer, SubjectErased, SubjectRequest};
use crate::routes;

/// Every method fails with no answer, a refusal, or an answer that cannot be read: see [`ClientError`].
#[expect(clippy::missing_errors_doc, reason = "said once for all of them above")]
impl Client {
    /// Whether the control plane is up.
    pub fn health(&self) -> Result<(), ClientError> {
        self.get(routes::HEALTH, None).map(|_| ())
    }

    /// The record of one prediction with its proof.
    pub fn prediction(&self, id: PredictionId) -> Result<PredictionAnswer, ClientError> {
        self.get_json(&routes::prediction(id))
    }

    /// Forgets a subject.
    pub fn erase_subject(&self, subject: &str) -> Result<SubjectErased, ClientError> {
        self.post_json(routes::SUBJECT_ERASE, &SubjectRequest { subject: subject.to_owned() })
    }

    /// Where a version of a model comes from; the newest if none is named.
    pub fn lineage(&self, model: &ModelName, version: Option<u64>) -> Result<Lineage, ClientError> {
        let query = version.map_or_else(String::new, |version| format!("?version={version}"));
        self.get_json(&format!("{}{query}", routes::of_model(routes::MODEL_LINEAGE, model)))
    }

    /// What became of a version of a model on devices; the newest if none is named.
    pub fn history(&self, model: &ModelName, version: Option<u64>) -> Result<History, ClientError> {
        let query = version.map_or_else(String::new, |version| format!("?version={version}"));
        self.get_json(&format!("{}{query}", routes::of_model(routes::MODEL_HISTORY, model)))
    }

    /// Makes a join token.
    pub fn make_join_token(&self, request: &JoinTokenRequest) -> Result<JoinToken, ClientError> {
        self.post_json(routes::JOIN_TOKENS, request)
    }

    /// The devices.
    pub fn devices(&self) -> Result<Devices, ClientError> {
        self.get_json(routes::DEVICES)
    }

    /// Labels of a device.
    pub fn labels(&self, device: &DeviceId) -> Result<DeviceLabels, ClientError> {
        self.get_json(&routes::of_device(routes::DEVICE_LABELS, device))
    }

    /// Sets labels of a device.
    pub fn set_labels(&self, device: &DeviceId, change: &LabelsChange) -> Result<DeviceLabels, ClientError> {
        self.post_json(&routes::of_device(routes::DEVICE_LABELS, device), change)
    }

    /// Pins a device, or unpins it.
    pub fn pin(&self, device: &DeviceId, request: &PinRequest) -> Result<Pin, ClientError> {
        self.post_json(&routes::of_device(routes::DEVICE_PIN, device), request)
    }

    /// The groups.
    pub fn groups(&self) -> Result<Groups, ClientError> {
        self.get_json(routes::GROUPS)
    }

    /// Makes or changes a group.
    pub fn make_group(&self, request: &GroupRequest) -> Result<Group, ClientError> {
        self.post_json(routes::GROUPS, request)
    }

    /// Removes a group.
    pub fn remove_group(&self, group: &GroupName) -> Result<Group, ClientError> {
        self.post_json(&routes::group_remove(group), &serde_json::json!({}))
    }

    /// The projects.
    pub fn projects(&self) -> Result<Projects, ClientError> {
        self.get_json(routes::PROJECTS)
    }

    /// Adds a project or changes its policies.
    pub fn register_project(&self, project: &Project) -> Result<(), ClientError> {
        self.post(routes::PROJECTS, project).map(|_| ())
    }

    /// Asks the control plane to run a project.
    pub fn request_run(&self, project: &ProjectName, request: &RunRequest) -> Result<Run, ClientError> {
        self.post_json(&routes::project_runs(project), request)
    }

    /// The repositories that pipelines come from.
    pub fn sources(&self) -> Result<Sources, ClientError> {
        self.get_json(routes::SOURCES)
    }

    /// Has the control plane look at a project's repository now.
    pub fn check_source(&self, project: &ProjectName) -> Result<SourceStatus, ClientError> {
        self.post_json(&routes::source_check(project), &serde_json::json!({}))
    }

    /// The comparisons of shadows with their champions, the newest first.
    pub fn shadows(&self) -> Result<ShadowTests, ClientError> {
        self.get_json(routes::SHADOWS)
    }

    /// Announces a run that happens here.
    pub fn announce_run(&self, announcement: &RunAnnouncement) -> Result<Run, ClientError> {
        self.post_json(routes::RUNS, announcement)
    }

    /// The runs.
    pub fn runs(&self) -> Result<Runs, ClientError> {
        self.get_json(routes::RUNS)
    }

    /// Records what a run's gates said.
    pub fn record_gates(&self, run: &RunId, verdicts: &GateVerdicts) -> Result<(), ClientError> {
        self.post(&routes::run_gates(run), verdicts).map(|_| ())
    }

    /// Records the end of a run.
    pub fn finish_run(&self, run: &RunId, end: &RunEnd) -> Result<(), ClientError> {
        self.post(&routes::run_finish(run), end).map(|_| ())
    }

    /// Uploads a blob from a file.
    pub fn upload_blob_file(&self, digest: &Digest, file: &File) -> Result<(), ClientError> {
        self.put_bytes(&routes::blob(digest), file)
    }

    /// Uploads a blob from memory.
    pub fn upload_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ClientError> {
        self.put_bytes(&routes::blob(digest), bytes)
    }

    /// The signed releases, byte for byte.
    pub fn releases(&self) -> Result<Vec<u8>, ClientError> {
        let (_, mut reader) = self.get_bytes(routes::RELEASES, 0)?;
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut reader, &mut bytes);
        let address = self.address(routes::RELEASES);
        read.map_err(|error| ClientError::Malformed { address, reason: error.to_string() })?;
        Ok(bytes)
    }

    /// Registers a version.
    pub fn register_version(
        &self,
        model: &ModelName,
        registration: &VersionRegistration,
    ) -> Result<Version, ClientError> {
        self.post_json(&routes::of_model(routes::MODEL_VERSIONS, model), registration)
    }

    /// The models.
    pub fn models(&self) -> Result<Models, ClientError> {
        self.get_json(routes::MODELS)
    }

    /// Starts a rollout.
    pub fn start_rollout(&self, model: &ModelName, request: &RolloutRequest) -> Result<Rollout, ClientError> {
        self.post_json(&routes::of_model(routes::MODEL_ROLLOUTS, model), request)
    }

    /// One rollout with its gates and devices.
    pub fn rollout(&self, rollout: &RolloutId) -> Result<RolloutStatus, ClientError> {
        self.get_json(&routes::of_rollout(routes::ROLLOUT, rollout))
    }

    /// Stops a rollout for now.
    pub fn pause_rollout(&self, rollout: &RolloutId, wish: &RolloutWish) -> Result<Rollout, ClientError> {
        self.post_json(&routes::of_rollout(routes::ROLLOUT_PAUSE, rollout), wish)
    }

    /// Lets a paused rollout go on.
    pub fn resume_rollout(&self, rollout: &RolloutId, wish: &RolloutWish) -> Result<Rollout, ClientError> {
        self.post_json(&routes::of_rollout(routes::ROLLOUT_RESUME, rollout), wish)
    }

    /// Agrees that the next wave opens.
    pub fn approve_rollout(&self, rollout: &RolloutId, wish: &RolloutWish) -> Result<Rollout, ClientError> {
        self.post_json(&routes::of_rollout(routes::ROLLOUT_APPROVE, rollout), wish)
    }

    /// Takes a rollout back.
    pub fn abort_rollout(&self, rollout: &RolloutId, wish: &RolloutWish) -> Result<Rollout, ClientError> {
        self.post_json(&routes::of_rollout(routes::ROLLOUT_ABORT, rollout), wish)
    }

    /// The rollouts.
    pub fn rollouts(&self) -> Result<Rollouts, ClientError> {
        self.get_json(routes::ROLLOUTS)
    }

    /// The alerts.
    pub fn alerts(&self) -> Result<Alerts, ClientError> {
        self.get_json(routes::ALERTS)
    }

    /// Says that a person has seen an alert; the first one who says so stands.
    pub fn acknowledge_alert(&self, request: &AcknowledgeRequest) -> Result<AlertAcknowledged, ClientError> {
        self.post_json(routes::ALERT_ACKNOWLEDGE, request)
    }

    /// A page of labelled samples after the position `after`, at most `limit` of them.
    pub fn labelled_samples(
        &self,
        model: &ModelName,
        after: u64,
        limit: usize,
    ) -> Result<SamplesPage, ClientError> {
        let path = routes::of_model(routes::MODEL_SAMPLES, model);
        self.get_json(&format!("{path}?after={after}&limit={limit}"))
    }

    /// The samples of a model that are held back until a person decides.
    pub fn quarantine(&self, model: &ModelName) -> Result<Quarantine, ClientError> {
        self.get_json(&routes::of_model(routes::MODEL_QUARANTINE, model))
    }

    /// Decides about them.
    pub fn decide_quarantine(
        &self,
        model: &ModelName,
        decision: &QuarantineDecision,
    ) -> Result<Decided, ClientError> {
        self.post_json(&routes::of_model(routes::MODEL_QUARANTINE, model), decision)
    }

    /// How far a model's streams have moved.
    pub fn drift(&self, model: &ModelName) -> Result<Drift, ClientError> {
        self.get_json(&routes::of_model(routes::MODEL_DRIFT, model))
    }

    /// A page of the ledger from sequence number `from` on.
    pub fn events(&self, from: u64, limit: usize) -> Result<Events, ClientError> {
        self.get_json(&format!("{}?from={from}&limit={limit}", routes::EVENTS))
    }

    /// The ledger's latest signed checkpoint.
    pub fn checkpoint(&self) -> Result<Checkpoint, ClientError> {
        self.get_json(routes::CHECKPOINT)
    }
}
