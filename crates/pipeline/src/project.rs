//! The project file, `edgeward.toml`: what a user says about data, training, gates, monitoring and rollouts.
//!
//! Contract: a key that is not known is an error that names the file, the table and the nearest right key; a wrong value
//! is an error that says what is allowed. Reading does no more than that: no data is looked at and no command is run.
//! Durations are texts such as `"30s"`, `"10m"`, `"1h"`, `"7d"`.
//!
//! Deliberately missing: values taken from the environment.

mod check;
mod data;
mod keys;
mod policy;
mod runner;
mod shadow;
mod span;
mod tables;

use std::path::{Path, PathBuf};

use edgeward_core::{ModelName, ProjectName};
use serde::{Deserialize, Serialize};

pub use data::{DataTable, SplitBy, TaskKind, ValidateTable, Window};
pub use runner::{RunnerKind, RunnerTable};
pub use shadow::{Lens, ShadowTable, ShadowsTable};
pub use span::Span;
pub use tables::{
    AudioTable, Builtin, ConvertTable, GateTable, ImageTable, MonitorTable, ParityTable, ProjectTable,
    RecordsTable, RetrainTable, RolloutTable, SourceTable, TrainTable, TriggerOn, TriggerTable, VariantTable,
};

/// The file's name.
pub const PROJECT_FILE: &str = "edgeward.toml";
/// Largest project file accepted, in bytes.
pub const PROJECT_FILE_BYTES_MAX: u64 = 1 << 20;

/// A project file, read and checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProjectFile {
    /// The folder it lies in; paths in it are relative to this.
    #[serde(skip)]
    pub dir: PathBuf,
    /// The folder that the patterns of `[data]` are relative to: `dir`, unless the project came from a repository that does
    /// not hold the data.
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// The project's name.
    pub name: ProjectName,
    /// The model it makes.
    pub model: ModelName,
    /// 0 notifies, 1 retrains by itself, 2 also follows `source`.
    pub level: u8,
    /// Seed of the split and of training.
    pub seed: u64,
    /// The repository that the pipeline comes from.
    pub source: Option<SourceTable>,
    /// Where the rows come from.
    pub data: DataTable,
    /// What the rows must be like.
    pub validate: ValidateTable,
    /// How to train.
    pub train: TrainTable,
    /// Where the training command runs.
    #[serde(skip_serializing_if = "RunnerTable::is_default")]
    pub runner: RunnerTable,
    /// Which forms of the model to ship.
    pub convert: ConvertTable,
    /// What the model must be like.
    pub gate: GateTable,
    /// How devices watch it.
    pub monitor: MonitorTable,
    /// What is kept of every prediction; nothing if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsTable>,
    /// When to retrain.
    #[serde(rename = "trigger")]
    pub triggers: Vec<TriggerTable>,
    /// How often to retrain at most.
    pub retrain: RetrainTable,
    /// How to roll out.
    pub rollout: RolloutTable,
    /// Candidates that run beside what serves.
    pub shadow: Vec<ShadowTable>,
    /// How one of them is chosen.
    pub shadows: ShadowsTable,
    /// The shadow that this is the project of.
    #[serde(skip)]
    pub candidate: Option<String>,
    /// Which rows count.
    #[serde(skip)]
    pub lens: Lens,
    /// How often the newer half of the rows is learned from.
    #[serde(skip)]
    pub newest_weight: usize,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    project: ProjectTable,
    source: Option<SourceTable>,
    data: DataTable,
    #[serde(default)]
    validate: ValidateTable,
    train: TrainTable,
    #[serde(default)]
    runner: RunnerTable,
    #[serde(default)]
    convert: ConvertTable,
    #[serde(default)]
    gate: GateTable,
    #[serde(default)]
    monitor: MonitorTable,
    records: Option<RecordsTable>,
    #[serde(default)]
    trigger: Vec<TriggerTable>,
    #[serde(default)]
    retrain: RetrainTable,
    #[serde(default)]
    rollout: RolloutTable,
    #[serde(default)]
    shadow: Vec<ShadowTable>,
    #[serde(default)]
    shadows: ShadowsTable,
}

/// Why a project file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The file cannot be read.
    #[error("reading {file}; a project is a folder with a file {PROJECT_FILE} in it")]
    Read {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Larger than [`PROJECT_FILE_BYTES_MAX`].
    #[error("{file} is {found} bytes, over the limit of {PROJECT_FILE_BYTES_MAX}")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size.
        found: u64,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("{file}: {reason}")]
    Parse {
        /// The file.
        file: String,
        /// Where and why.
        reason: String,
    },
    /// A key that no table has.
    #[error("{file}: {table} has no key '{key}'{}", hint.as_deref().unwrap_or_default())]
    UnknownKey {
        /// The file.
        file: String,
        /// The table, in brackets.
        table: String,
        /// The key.
        key: String,
        /// What to write in its place.
        hint: Option<String>,
    },
    /// A value that is not allowed.
    #[error("{file}: {table} {key}: {reason}")]
    Value {
        /// The file.
        file: String,
        /// The table, in brackets.
        table: &'static str,
        /// The key.
        key: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
}

impl ProjectFile {
    /// Reads the project in `path`: a folder with an `edgeward.toml`, or the file itself.
    ///
    /// # Errors
    /// The file is missing, too large, not TOML, or breaks a rule: see [`ProjectError`].
    pub fn load(path: &Path) -> Result<Self, ProjectError> {
        let file = if path.is_dir() { path.join(PROJECT_FILE) } else { path.to_owned() };
        let name = file.display().to_string();
        let read = |source| ProjectError::Read { file: name.clone(), source };
        let found = std::fs::metadata(&file).map_err(read)?.len();
        if found > PROJECT_FILE_BYTES_MAX {
            return Err(ProjectError::TooLarge { file: name, found });
        }
        let text = std::fs::read_to_string(&file).map_err(read)?;
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::parse(&text, &name, dir)
    }

    /// Reads the text of a project file; `file` is its name in errors and `dir` what its paths are relative to.
    ///
    /// # Errors
    /// As [`ProjectFile::load`].
    pub fn parse(text: &str, file: &str, dir: &Path) -> Result<Self, ProjectError> {
        let parse = |error: toml::de::Error| ProjectError::Parse {
            file: file.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        };
        let table: toml::Table = text.parse().map_err(parse)?;
        keys::check(&table, file)?;
        let document: Document = toml::from_str(text).map_err(parse)?;
        let project = Self::from_document(document, dir);
        check::check(&project, file)?;
        Ok(project)
    }

    fn from_document(document: Document, dir: &Path) -> Self {
        let head = document.project;
        Self {
            dir: dir.to_owned(),
            data_dir: dir.to_owned(),
            model: head.model.unwrap_or_else(|| {
                ModelName::new(head.name.as_str()).expect("project and model names keep one rule")
            }),
            name: head.name,
            level: head.level,
            seed: head.seed,
            source: document.source,
            lens: Lens { window: document.data.window, filter: document.data.filter.clone() },
            data: document.data,
            validate: document.validate,
            train: document.train,
            runner: document.runner,
            convert: document.convert,
            gate: document.gate,
            monitor: document.monitor,
            records: document.records,
            triggers: document.trigger,
            retrain: document.retrain,
            rollout: document.rollout,
            shadow: document.shadow,
            shadows: document.shadows,
            candidate: None,
            newest_weight: 1,
        }
    }

    /// What the model predicts: said in `[data] task`, or implied by the trainer.
    #[must_use]
    pub fn task(&self) -> TaskKind {
        let params = self.train.params.get("task").and_then(toml::Value::as_str);
        let implied = self.train.builtin == Some(Builtin::Ridge) || params == Some("regression");
        self.data.task.unwrap_or(if implied { TaskKind::Regression } else { TaskKind::Classification })
    }
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
