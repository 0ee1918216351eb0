//! The tables of a project file, one struct each. A key is defined here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edgeward_core::alert::AlertKind;
use edgeward_core::record::InputsKept;
use edgeward_core::rollout::{Approval, Gates, OnFail, RolloutPolicy, WaveSize, Window};
use edgeward_core::trigger::TriggerPolicy;
use edgeward_core::{GroupName, ModelName, ProjectName};
use edgeward_monitor::{Budget, MonitorConfig, Unsupported};
use serde::{Deserialize, Serialize};

use super::Span;

/// `[project]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectTable {
    /// The project's name.
    pub name: ProjectName,
    /// The model it makes; the project's name if absent.
    pub model: Option<ModelName>,
    /// 0 notifies, 1 retrains by itself, 2 also follows the repository in `[source]`.
    #[serde(default)]
    pub level: u8,
    /// Seed of the split and of training.
    #[serde(default)]
    pub seed: u64,
}

/// `[source]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceTable {
    /// What git calls the repository: an address, or a path relative to the project's folder.
    pub git: String,
    /// The branch that is followed.
    #[serde(default = "default_branch")]
    pub branch: String,
    /// The folder with the project file in the repository.
    #[serde(default = "default_path")]
    pub path: String,
    /// Time between two looks.
    #[serde(default = "default_poll")]
    pub poll: Span,
    /// The pipeline's own tests: a shell command, run in the folder of the commit.
    pub test: Option<String>,
    /// How long the tests may take.
    #[serde(default = "default_test_timeout")]
    pub timeout: Span,
    /// Rows of the smoke run.
    #[serde(default = "default_smoke_rows")]
    pub smoke_rows: usize,
}

fn default_branch() -> String {
    "main".to_owned()
}

fn default_path() -> String {
    ".".to_owned()
}

const fn default_poll() -> Span {
    Span(Duration::from_secs(60))
}

const fn default_test_timeout() -> Span {
    Span(Duration::from_secs(30 * 60))
}

const fn default_smoke_rows() -> usize {
    500
}

/// An embedded trainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// Multi-layer perceptron.
    Mlp,
    /// Multinomial logistic regression.
    Logistic,
    /// Ridge regression.
    Ridge,
    /// Gradient-boosted trees.
    Gbdt,
}

impl Builtin {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Logistic => "logistic",
            Self::Ridge => "ridge",
            Self::Gbdt => "gbdt",
        }
    }
}

/// `[train]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainTable {
    /// A command of the shell that trains.
    pub run: Option<String>,
    /// An embedded trainer.
    pub builtin: Option<Builtin>,
    /// A registered model of the MLflow API: the control plane brings the ONNX file of its champion.
    pub mlflow: Option<String>,
    /// Patterns of files the command's result depends on; every file of the project besides the data if absent.
    pub deps: Option<Vec<String>>,
    /// How long the command may take.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Handed to the trainer as JSON.
    #[serde(default)]
    pub params: toml::Table,
}

const fn default_timeout() -> Span {
    Span::seconds(6 * 3600)
}

/// `[convert]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvertTable {
    /// `[[convert.variant]]`: the forms to make.
    pub variant: Vec<VariantTable>,
    /// `[convert.parity]`: how near each form must stay to the trained model.
    pub parity: ParityTable,
}

impl Default for ConvertTable {
    fn default() -> Self {
        Self { variant: vec![VariantTable::default()], parity: ParityTable::default() }
    }
}

/// `[[convert.variant]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VariantTable {
    /// The engine it is for.
    pub engine: String,
    /// The numeric type of its weights.
    pub dtype: String,
    /// The external converter that makes it; the embedded one if absent. What follows belongs to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What the form is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The command line, for `sh -c`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// A command line that prints the converter's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// The file that the command writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Patterns of the project's files that the command reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// The form it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The format of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The execution provider a device needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The systems on a chip it runs on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub soc: Vec<String>,
    /// The vendor's SDK and its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<String>,
    /// The processor architectures it runs on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arch: Vec<String>,
    /// The oldest version of the engine that runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version_min: Option<String>,
    /// How long the command may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

impl Default for VariantTable {
    fn default() -> Self {
        Self {
            engine: "rten".to_owned(),
            dtype: "f32".to_owned(),
            tool: None,
            name: None,
            command: None,
            probe: None,
            output: None,
            inputs: Vec::new(),
            from: None,
            format: None,
            provider: None,
            soc: Vec::new(),
            sdk: None,
            arch: Vec::new(),
            engine_version_min: None,
            timeout: None,
        }
    }
}

impl VariantTable {
    /// A form that the embedded converter makes.
    #[must_use]
    pub fn plain(engine: impl Into<String>, dtype: impl Into<String>) -> Self {
        Self { engine: engine.into(), dtype: dtype.into(), ..Self::default() }
    }

    /// What a form of the embedded converter is called: `rten-f32` and the like.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}-{}", self.engine, self.dtype)
    }
}

/// `[convert.parity]`: bounds of forms with quantised weights; full-precision forms must give the same answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParityTable {
    /// Largest absolute difference of any output value.
    pub abs_difference_max: Option<f64>,
    /// Largest relative difference of any output value.
    pub rel_difference_max: Option<f64>,
    /// Least share of rows for which form and trained model give the same class.
    pub top1_agreement_min: Option<f64>,
    /// How much worse than the trained model a form may be on the held-out rows: a difference of accuracies, or a share
    /// of the RMSE.
    pub metric_drop_max: Option<f64>,
}

impl Default for ParityTable {
    fn default() -> Self {
        Self {
            abs_difference_max: Some(0.05),
            rel_difference_max: None,
            top1_agreement_min: Some(0.99),
            metric_drop_max: Some(0.01),
        }
    }
}

/// `[gate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateTable {
    /// Least accuracy on held-out rows.
    pub accuracy_min: Option<f64>,
    /// Largest mean absolute error on held-out rows, in the label's unit.
    pub mae_max: Option<f64>,
    /// How much worse than the incumbent the model may be: a difference of accuracies, or a share of the RMSE.
    pub regression_max: Option<f64>,
    /// Whether the interval of the difference must show that it is not worse by more.
    pub proof: bool,
    /// Fewest held-out rows to judge by.
    pub rows_min: u64,
    /// Columns whose parts are compared with the incumbent one by one.
    pub slices: Vec<String>,
    /// How much worse than the incumbent the model may be on a part: a share of its rows.
    pub slice_drop_max: f64,
    /// Fewest rows of a part.
    pub slice_rows_min: u64,
    /// Largest expected calibration error.
    pub calibration_max: Option<f64>,
    /// Noise of the test with noise, as a share of each column's standard deviation.
    pub noise: f64,
    /// What that noise may cost.
    pub noise_drop_max: Option<f64>,
    /// Share of the values that are missing in the test with missing values.
    pub missing: f64,
    /// What they may cost.
    pub missing_drop_max: Option<f64>,
    /// Longest median time for one row on this machine, in milliseconds.
    pub latency_max_ms: Option<f64>,
    /// Most bytes of the preferred form.
    pub size_max_bytes: Option<u64>,
}

impl Default for GateTable {
    fn default() -> Self {
        Self {
            accuracy_min: None,
            mae_max: None,
            regression_max: None,
            proof: false,
            rows_min: 0,
            slices: Vec::new(),
            slice_drop_max: 0.05,
            slice_rows_min: 30,
            calibration_max: None,
            noise: 0.1,
            noise_drop_max: None,
            missing: 0.1,
            missing_drop_max: None,
            latency_max_ms: None,
            size_max_bytes: None,
        }
    }
}

/// `[monitor]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorTable {
    /// Tolerated false alarms of one device in one year.
    pub false_alarms_per_device_year: f64,
    /// Mean rate of requests of one device.
    pub requests_per_second: f64,
    /// Labels in the window of the accuracy that is shown.
    pub accuracy_window: usize,
    /// After an alert of one kind, a device stays silent about that kind for this long.
    pub hold_off: Span,
    /// What to do with a budget that the held-out rows are too few for.
    pub unsupported: Unsupported,
    /// The model's output that is a hidden layer's; the file's own word for it if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<String>,
    /// Features whose ranges performance is told apart by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<String>,
    /// Features that are codes: numbers whose order means nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// `[monitor.image]`: the input is an image, watched by its summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageTable>,
    /// `[monitor.audio]`: the input is a sound, watched by its summary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioTable>,
    /// How much the model leans on each feature, on any scale, for telling which ones to blame; all equal if absent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub importance: BTreeMap<String, f64>,
}

impl Default for MonitorTable {
    fn default() -> Self {
        let budget = Budget::default();
        Self {
            false_alarms_per_device_year: budget.false_alarms_per_device_year,
            requests_per_second: budget.samples_per_second,
            accuracy_window: MonitorConfig::default().accuracy_window,
            hold_off: Span::seconds(3600),
            unsupported: Unsupported::Clamp,
            embedding: None,
            segments: Vec::new(),
            categories: Vec::new(),
            image: None,
            audio: None,
            importance: BTreeMap::new(),
        }
    }
}

/// `[monitor.image]`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTable {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values per pixel.
    #[serde(default = "one_channel")]
    pub channels: usize,
    /// Whether each channel's plane follows the other.
    #[serde(default)]
    pub planar: bool,
    /// The value of white; by the held-out rows if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub white: Option<f32>,
}

const fn one_channel() -> usize {
    1
}

/// `[monitor.audio]`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioTable {
    /// Samples per second.
    pub sample_rate: f32,
}

/// `[records]`: what is kept of every prediction; without it, nothing is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordsTable {
    /// Whose inputs are kept beside the record.
    pub inputs: InputsKept,
    /// Share of the inputs that is kept where they are `sampled`.
    pub sampled: f64,
    /// Features or inputs whose values are taken out before an input leaves the device.
    pub redact: Vec<String>,
    /// How long inputs can be read.
    pub retention: Span,
    /// How long the records themselves are kept; for ever if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire: Option<Span>,
    /// The feature or input that says whom a row is about, so that one of them can be forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Default for RecordsTable {
    fn default() -> Self {
        let retention = Span::seconds(90 * 24 * 3600);
        let (expire, subject) = (None, None);
        Self { inputs: InputsKept::Never, sampled: 0.01, redact: Vec::new(), retention, expire, subject }
    }
}

/// What a trigger listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerOn {
    /// A device's alert.
    Alert,
    /// New labelled samples.
    NewSamples,
    /// The clock.
    Schedule,
}

/// `[[trigger]]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerTable {
    /// What it listens to.
    pub on: TriggerOn,
    /// `alert`: which kinds; all if absent.
    pub kinds: Option<BTreeSet<AlertKind>>,
    /// `alert`: new labelled samples needed before training is worth it.
    pub labels_min: Option<u64>,
    /// `new_samples`: how many.
    pub count: Option<u64>,
    /// `schedule`: how often.
    pub every: Option<Span>,
    /// `schedule`: at which moments of the calendar instead, in UTC.
    pub cron: Option<String>,
}

/// `[retrain]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrainTable {
    /// Least time between two runs.
    pub cooldown: Span,
    /// Most runs in any seven days.
    pub runs_per_week_max: usize,
}

impl Default for RetrainTable {
    fn default() -> Self {
        let policy = TriggerPolicy::default();
        Self { cooldown: Span(policy.cooldown_ms), runs_per_week_max: policy.runs_per_week_max }
    }
}

/// `[rollout]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutTable {
    /// How many devices each wave reaches: a number or a percentage.
    pub waves: Vec<WaveSize>,
    /// How long a wave runs before the next opens.
    pub bake: Span,
    /// Devices that may fail before the rollout is taken back.
    pub failures_max: usize,
    /// How long a device watches a new bundle before it counts as good.
    pub probation: Span,
    /// A device not heard of for this long is not waited for.
    pub offline: Span,
    /// What becomes of a rollout that fails.
    pub on_fail: OnFail,
    /// Which waves wait for a person.
    pub approval: Consent,
    /// When waves may open, in UTC; at any time if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The group whose devices it is for; everybody if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// `[rollout.gates]`: what the new bundle must not do worse than the one before.
    pub gates: Gates,
}

/// Which waves wait for a person; `true` is `"each"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ConsentKey", into = "Approval")]
pub struct Consent(pub Approval);

#[derive(Deserialize)]
#[serde(untagged, expecting = "write true, false, \"none\", \"first\" or \"each\"")]
enum ConsentKey {
    Flag(bool),
    Word(Approval),
}

impl From<ConsentKey> for Consent {
    fn from(key: ConsentKey) -> Self {
        match key {
            ConsentKey::Flag(true) => Self(Approval::Each),
            ConsentKey::Flag(false) => Self(Approval::None),
            ConsentKey::Word(approval) => Self(approval),
        }
    }
}

impl From<Consent> for Approval {
    fn from(consent: Consent) -> Self {
        consent.0
    }
}

impl Default for RolloutTable {
    fn default() -> Self {
        let policy = RolloutPolicy::default();
        Self {
            waves: policy.waves,
            bake: Span(policy.bake_ms),
            failures_max: policy.failures_max,
            probation: Span(policy.probation_ms),
            offline: Span(policy.offline_ms),
            on_fail: policy.on_fail,
            approval: Consent(policy.approval),
            window: policy.window,
            group: policy.group,
            gates: policy.gates,
        }
    }
}
