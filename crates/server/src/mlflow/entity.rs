//! The documents of MLflow as they are kept, which is as they are told: the fields that its clients read.

use edgeward_store::{MlflowDocument, MlflowKind, MlflowLabelKind, MlflowMetric, StoreError, View};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::refusal::Refusal;

/// Whether something is there or in the bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    Active,
    Deleted,
}

/// What a search of experiments or runs looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewType {
    ActiveOnly,
    DeletedOnly,
    All,
}

impl ViewType {
    /// By its name or number in the protocol.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        match text.map(str::to_ascii_uppercase).as_deref() {
            None | Some("" | "ACTIVE_ONLY" | "1") => Ok(Self::ActiveOnly),
            Some("DELETED_ONLY" | "2") => Ok(Self::DeletedOnly),
            Some("ALL" | "3") => Ok(Self::All),
            Some(other) => {
                Err(Refusal::invalid(format!("Invalid value {other} for parameter 'view_type' supplied.")))
            }
        }
    }

    pub(crate) fn shows(self, stage: Stage) -> bool {
        match self {
            Self::ActiveOnly => stage == Stage::Active,
            Self::DeletedOnly => stage == Stage::Deleted,
            Self::All => true,
        }
    }
}

/// An experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Experiment {
    pub(crate) experiment_id: String,
    pub(crate) name: String,
    pub(crate) artifact_location: String,
    pub(crate) lifecycle_stage: Stage,
    pub(crate) last_update_time: i64,
    pub(crate) creation_time: i64,
}

/// A run, without what it logged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunInfo {
    pub(crate) run_uuid: String,
    pub(crate) run_id: String,
    pub(crate) run_name: String,
    pub(crate) experiment_id: String,
    pub(crate) user_id: String,
    pub(crate) status: String,
    pub(crate) start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_time: Option<i64>,
    pub(crate) artifact_uri: String,
    pub(crate) lifecycle_stage: Stage,
}

/// A logged model, without what is logged about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoggedModel {
    pub(crate) model_id: String,
    pub(crate) experiment_id: String,
    pub(crate) name: String,
    pub(crate) creation_timestamp_ms: i64,
    pub(crate) last_updated_timestamp_ms: i64,
    pub(crate) artifact_uri: String,
    pub(crate) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_message: Option<String>,
    #[serde(default = "active")]
    pub(crate) stage: Stage,
}

const fn active() -> Stage {
    Stage::Active
}

/// A registered model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RegisteredModel {
    pub(crate) name: String,
    pub(crate) creation_timestamp: i64,
    pub(crate) last_updated_timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    /// The newest number given to a version; it is never given again.
    pub(crate) last_version: u64,
}

/// A version of a registered model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ModelVersion {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) creation_timestamp: i64,
    pub(crate) last_updated_timestamp: i64,
    pub(crate) current_stage: String,
    pub(crate) source: String,
    /// Where the files are, if it can be told from the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model_id: Option<String>,
}

/// What a document says.
pub(crate) fn read<T: DeserializeOwned>(document: MlflowDocument) -> Result<T, Refusal> {
    Ok(serde_json::from_value(document.document)?)
}

/// A document that says `value`.
pub(crate) fn document(
    id: &str,
    parent: &str,
    name: Option<&str>,
    value: &impl Serialize,
) -> Result<MlflowDocument, Refusal> {
    let document = serde_json::to_value(value)?;
    Ok(MlflowDocument {
        id: id.to_owned(),
        parent: parent.to_owned(),
        name: name.map(str::to_owned),
        document,
    })
}

/// One document, read.
pub(crate) fn find<T: DeserializeOwned>(
    view: &View<'_>,
    kind: MlflowKind,
    id: &str,
) -> Result<Option<T>, Refusal> {
    view.mlflow_document(kind, id)?.map(read).transpose()
}

/// The labels of something, as the client reads them.
pub(crate) fn labels(view: &View<'_>, kind: MlflowLabelKind, owner: &str) -> Result<Value, StoreError> {
    let labels = view.mlflow_labels(kind, owner)?;
    Ok(labels.into_iter().map(|label| json!({ "key": label.key, "value": label.value })).collect())
}

/// A double as protocol buffers write it in JSON.
pub(crate) fn double(value: f64) -> Value {
    match value {
        value if value.is_nan() => json!("NaN"),
        value if value == f64::INFINITY => json!("Infinity"),
        value if value == f64::NEG_INFINITY => json!("-Infinity"),
        value => json!(value),
    }
}

/// A metric as the client reads it.
pub(crate) fn metric(metric: &MlflowMetric) -> Value {
    let mut told = json!({
        "key": metric.key,
        "value": double(metric.point.value),
        "timestamp": metric.point.at_ms,
        "step": metric.point.step,
    });
    let further = [
        ("run_id", &metric.run),
        ("model_id", &metric.model),
        ("dataset_name", &metric.dataset),
        ("dataset_digest", &metric.digest),
    ];
    for (name, text) in further {
        if !text.is_empty() {
            told[name] = json!(text);
        }
    }
    told
}

/// Of several latest values of one metric, measured on several data sets, the one that counts.
pub(crate) fn latest_of_each(metrics: Vec<MlflowMetric>) -> Vec<MlflowMetric> {
    let mut latest: Vec<MlflowMetric> = Vec::new();
    for metric in metrics {
        match latest.last_mut().filter(|known| known.owner == metric.owner && known.key == metric.key) {
            None => latest.push(metric),
            Some(known) => {
                let at = |metric: &MlflowMetric| (metric.point.step, metric.point.at_ms);
                if at(&metric) > at(known) {
                    *known = metric;
                }
            }
        }
    }
    latest
}
