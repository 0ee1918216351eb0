//! The control plane's paths, each written once. Names in braces are path parameters.

use edgeward_core::{
    DeviceId, Digest, GroupName, ModelName, PredictionId, ProjectName, RolloutId, RunId, TokenId,
};

/// Whether the control plane is up. Public.
pub const HEALTH: &str = "/health";
/// What a device says of itself, at its own endpoint.
pub const ENDPOINT_STATUS: &str = "/v1/status";
/// Metrics, as Prometheus reads them. Viewer.
pub const METRICS: &str = "/metrics";
/// The OpenAPI document. Public.
pub const OPENAPI: &str = "/openapi.json";

/// A device joins, with a join token in the body. Public.
pub const ENROL: &str = "/v1/devices/enrol";
/// A document of the repository that devices follow, such as `timestamp.json`: a plain file. Device or operator.
pub const METADATA: &str = "/v1/repository/metadata/{file}";
/// The desired state as a target of the repository: a plain file. Device or operator.
pub const ROLLOUT_TARGET: &str = "/v1/repository/targets/rollouts/{file}";
/// The manifest of a released bundle as a target of the repository: a plain file. Device or operator.
pub const RELEASE_TARGET: &str = "/v1/repository/targets/releases/{model}/{bundle}/{file}";
/// Below which the repository is.
pub const REPOSITORY: &str = "/v1/repository";
/// The signed releases, for whoever adds one. Operator.
pub const RELEASES: &str = "/v1/releases";
/// Says "look now" whenever the repository has news (server-sent events). Device.
pub const NUDGES: &str = "/v1/device/nudges";
/// A device's certificate: what to do about it, and another one. Device.
pub const CERTIFICATE: &str = "/v1/device/certificate";
/// A device's report. Device.
pub const REPORT: &str = "/v1/device/report";
/// A window's profile. Device.
pub const PROFILES: &str = "/v1/device/profiles";
/// Captured samples. Device.
pub const SAMPLES_UPLOAD: &str = "/v1/device/samples";
/// Alerts. Device.
pub const ALERTS_UPLOAD: &str = "/v1/device/alerts";
/// Records of predictions. Device.
pub const RECORDS_UPLOAD: &str = "/v1/device/records";
/// A blob by digest: download by devices and operators, upload by operators.
pub const BLOB: &str = "/v1/blobs/{digest}";
/// What makes one blob of another, named by its digest, or of nothing (`full`): download by devices and operators.
pub const DELTA: &str = "/v1/deltas/{result}/{source}";
/// The source in [`DELTA`] of what needs none.
pub const NO_SOURCE: &str = "full";

/// Makes join tokens. Operator.
pub const JOIN_TOKENS: &str = "/v1/join-tokens";
/// The fleet's certificate authorities. Viewer.
pub const AUTHORITIES: &str = "/v1/authorities";
/// Makes a further certificate authority. Admin.
pub const AUTHORITY_ROTATE: &str = "/v1/authorities/rotate";
/// Lets the newest certificate authority serve alone. Admin.
pub const AUTHORITY_SWITCH: &str = "/v1/authorities/switch";
/// Operator tokens: list and make. Admin.
pub const TOKENS: &str = "/v1/tokens";
/// Revokes an operator token. Admin.
pub const TOKEN_REVOKE: &str = "/v1/tokens/{token}/revoke";
/// Shuts a device out. Operator.
pub const DEVICE_REVOKE: &str = "/v1/devices/{device}/revoke";
/// The enrolled devices. Operator.
pub const DEVICES: &str = "/v1/devices";
/// Labels of a device: show and set. Operator.
pub const DEVICE_LABELS: &str = "/v1/devices/{device}/labels";
/// Pins a device to a bundle, or unpins it. Operator.
pub const DEVICE_PIN: &str = "/v1/devices/{device}/pin";
/// Groups of devices: list and make. Operator.
pub const GROUPS: &str = "/v1/groups";
/// Removes a group. Operator.
pub const GROUP_REMOVE: &str = "/v1/groups/{group}/remove";
/// Projects: list and register. Operator.
pub const PROJECTS: &str = "/v1/projects";
/// Starts a run of a project on the control plane. Operator.
pub const PROJECT_RUNS: &str = "/v1/projects/{project}/runs";
/// The repositories that pipelines come from. Viewer.
pub const SOURCES: &str = "/v1/sources";
/// Looks at a project's repository now: what a webhook calls. Operator.
pub const SOURCE_CHECK: &str = "/v1/projects/{project}/source/check";
/// Runs: list, and announce one that runs elsewhere. Operator.
pub const RUNS: &str = "/v1/runs";
/// Gate verdicts of a run. Operator.
pub const RUN_GATES: &str = "/v1/runs/{run}/gates";
/// The end of a run. Operator.
pub const RUN_FINISH: &str = "/v1/runs/{run}/finish";
/// Models. Operator.
pub const MODELS: &str = "/v1/models";
/// Versions of a model: list and register. Operator.
pub const MODEL_VERSIONS: &str = "/v1/models/{model}/versions";
/// Starts a rollout of a version. Operator.
pub const MODEL_ROLLOUTS: &str = "/v1/models/{model}/rollouts";
/// Drift of a model's streams against its reference, from the fleet's merged profiles. Operator.
pub const MODEL_DRIFT: &str = "/v1/models/{model}/drift";
/// What became of a version of a model on devices, `?version=N`. Viewer.
pub const MODEL_HISTORY: &str = "/v1/models/{model}/history";
/// Where a version of a model comes from, as the ledger has it, `?version=N`. Viewer.
pub const MODEL_LINEAGE: &str = "/v1/models/{model}/lineage";
/// The record of one prediction, with proof that it is in the ledger, and where its model comes from. Reading it is an
/// event. Operator.
pub const PREDICTION: &str = "/v1/predictions/{prediction}";
/// Forgets a subject: the keys of its inputs are destroyed, its records dropped but for their digests. Admin.
pub const SUBJECT_ERASE: &str = "/v1/records/erase";
/// Labelled samples that devices captured. Operator.
pub const MODEL_SAMPLES: &str = "/v1/models/{model}/samples";
/// Samples that are held back until a person decides: list and decide. Operator.
pub const MODEL_QUARANTINE: &str = "/v1/models/{model}/quarantine";
/// Rollouts. Operator.
pub const ROLLOUTS: &str = "/v1/rollouts";
/// One rollout with its gates and devices. Operator.
pub const ROLLOUT: &str = "/v1/rollouts/{rollout}";
/// Stops a rollout for now. Operator.
pub const ROLLOUT_PAUSE: &str = "/v1/rollouts/{rollout}/pause";
/// Lets a paused rollout go on. Operator.
pub const ROLLOUT_RESUME: &str = "/v1/rollouts/{rollout}/resume";
/// Agrees that the next wave opens. Operator.
pub const ROLLOUT_APPROVE: &str = "/v1/rollouts/{rollout}/approve";
/// Takes a rollout back. Operator.
pub const ROLLOUT_ABORT: &str = "/v1/rollouts/{rollout}/abort";
/// Comparisons of shadows with their champions. Viewer.
pub const SHADOWS: &str = "/v1/shadows";
/// Alerts. Operator.
pub const ALERTS: &str = "/v1/alerts";
/// Says that a person has seen an alert. Operator.
pub const ALERT_ACKNOWLEDGE: &str = "/v1/alerts/acknowledge";
/// The ledger's entries, page by page. Operator.
pub const EVENTS: &str = "/v1/events";
/// Ledger entries as they are written (server-sent events). Operator.
pub const EVENTS_STREAM: &str = "/v1/events/stream";
/// The latest signed checkpoint of the ledger. Operator.
pub const CHECKPOINT: &str = "/v1/audit/checkpoint";

/// The latest signed checkpoint with a proof that it continues an earlier one, `?since=SIZE`. Device or operator.
pub const CHECKPOINT_SINCE: &str = "/v1/audit/checkpoint/since";

/// [`BLOB`] of one digest.
#[must_use]
pub fn blob(digest: &Digest) -> String {
    BLOB.replace("{digest}", &digest.hex())
}

/// [`DELTA`] of one pair.
#[must_use]
pub fn delta(result: &Digest, source: Option<&Digest>) -> String {
    let source = source.map_or_else(|| NO_SOURCE.to_owned(), Digest::hex);
    DELTA.replace("{result}", &result.hex()).replace("{source}", &source)
}

/// [`TOKEN_REVOKE`] of one token.
#[must_use]
pub fn token_revoke(token: &TokenId) -> String {
    TOKEN_REVOKE.replace("{token}", token.as_str())
}

/// [`DEVICE_REVOKE`] of one device.
#[must_use]
pub fn device_revoke(device: &DeviceId) -> String {
    DEVICE_REVOKE.replace("{device}", device.as_str())
}

/// `path`, one of the `DEVICE_*` constants, of one device.
#[must_use]
pub fn of_device(path: &str, device: &DeviceId) -> String {
    path.replace("{device}", device.as_str())
}

/// [`GROUP_REMOVE`] of one group.
#[must_use]
pub fn group_remove(group: &GroupName) -> String {
    GROUP_REMOVE.replace("{group}", group.as_str())
}

/// [`PROJECT_RUNS`] of one project.
#[must_use]
pub fn project_runs(project: &ProjectName) -> String {
    PROJECT_RUNS.replace("{project}", project.as_str())
}

/// [`SOURCE_CHECK`] of one project.
#[must_use]
pub fn source_check(project: &ProjectName) -> String {
    SOURCE_CHECK.replace("{project}", project.as_str())
}

/// [`RUN_GATES`] of one run.
#[must_use]
pub fn run_gates(run: &RunId) -> String {
    RUN_GATES.replace("{run}", run.as_str())
}

/// [`RUN_FINISH`] of one run.
#[must_use]
pub fn run_finish(run: &RunId) -> String {
    RUN_FINISH.replace("{run}", run.as_str())
}

/// [`PREDICTION`] of one id.
#[must_use]
pub fn prediction(id: PredictionId) -> String {
    PREDICTION.replace("{prediction}", &id.to_string())
}

/// `path`, one of the `MODEL_*` constants, of one model.
#[must_use]
pub fn of_model(path: &str, model: &ModelName) -> String {
    path.replace("{model}", model.as_str())
}

/// `path`, one of the `ROLLOUT*` constants, of one rollout.
#[must_use]
pub fn of_rollout(path: &str, rollout: &RolloutId) -> String {
    path.replace("{rollout}", rollout.as_str())
}
