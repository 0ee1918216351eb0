//! The train stage: an embedded trainer behind [`Trainer`], or the user's command.
//!
//! A command gets its paths by environment: `EDGEWARD_TRAIN_DATA` (a CSV of the rows to learn from, never of those held
//! out), `EDGEWARD_MODEL_OUT` (where to write the ONNX file), `EDGEWARD_METRICS_OUT` (optional JSON object),
//! `EDGEWARD_SEED` and `EDGEWARD_PARAMS` (`[train.params]` as JSON).

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use edgeward_core::{Dataset, Digest};
use serde_json::Value;

use crate::index::FileIndex;
use crate::pattern::{self, PatternError};
use crate::project::{DataTable, TrainTable};
use crate::runner::{Input, JobError, Output, Runner, Task, to_its_end};
use crate::workdir::WorkError;

/// The model, an output of the stage.
pub const MODEL_FILE: &str = "model.onnx";
/// What the trainer measured, an output of the stage.
pub const METRICS_FILE: &str = "metrics.json";
/// Largest metrics file read.
pub const METRICS_BYTES_MAX: u64 = 1 << 20;
/// Largest model that comes trained.
pub const TRAINED_BYTES_MAX: u64 = 2 << 30;
/// Most files a command's result may depend on.
pub const DEPS_MAX: usize = 20_000;
/// Deepest folder searched for them.
pub const DEPS_DEPTH_MAX: usize = 32;

/// Any error of a tool.
pub type ToolError = Box<dyn std::error::Error + Send + Sync>;

/// An embedded trainer.
pub trait Trainer: Sync {
    /// What its results depend on besides its arguments; another text trains again.
    fn version(&self) -> String;

    /// Learns `algorithm` from `dataset`. `params` is `[train.params]`; `progress` takes lines for people.
    ///
    /// # Errors
    /// Unknown algorithm or parameter, or data that cannot be learned from.
    fn train(
        &self,
        dataset: &Dataset,
        algorithm: &str,
        params: &Value,
        seed: u64,
        progress: &mut dyn FnMut(&str),
    ) -> Result<TrainedModel, ToolError>;
}

/// What a trainer made.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedModel {
    /// The model as a standard ONNX file.
    pub onnx: Vec<u8>,
    /// What the trainer measured: a JSON object.
    pub metrics: Value,
}

/// Training that did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The embedded trainer refused or failed.
    #[error("training {algorithm}")]
    Builtin {
        /// The algorithm.
        algorithm: &'static str,
        /// Why.
        #[source]
        source: ToolError,
    },
    /// The command failed.
    #[error(transparent)]
    Command(#[from] JobError),
    /// The command ended well but left no model.
    #[error("'{command}' ended well but wrote no file to $EDGEWARD_MODEL_OUT")]
    NoModel {
        /// The command.
        command: String,
    },
    /// The project takes a model of MLflow's, and this run was given none.
    #[error(
        "the project takes its model from MLflow, '{name}', and none came with this run; set the alias champion of a \
         version at the control plane, or give an ONNX file with --trained"
    )]
    NoneBrought {
        /// The registered model.
        name: String,
    },
    /// The model that came with the run cannot be read, or is too large.
    #[error("reading the trained model {}: {why}", path.display())]
    Trained {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The metrics file is no JSON object or too large.
    #[error("$EDGEWARD_METRICS_OUT: {0}; write a JSON object such as {{\"loss\": 0.1}}")]
    Metrics(String),
    /// A pattern of `[train] deps` is refused.
    #[error("finding the files of [train] deps")]
    Deps(#[source] PatternError),
    /// More than [`DEPS_MAX`] files.
    #[error(
        "the project's folder holds more than {DEPS_MAX} files besides its data; name those the command reads in [train] deps"
    )]
    TooManyDeps,
    /// A file cannot be written.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The parameters are no JSON.
    #[error("[train.params] cannot be written as JSON")]
    Params(#[source] serde_json::Error),
}

/// `[train.params]` as JSON.
///
/// # Errors
/// A value has no JSON form.
pub fn params_json(train: &TrainTable) -> Result<Value, TrainError> {
    serde_json::to_value(&train.params).map_err(TrainError::Params)
}

/// What a training command works on.
pub struct CommandTraining<'a> {
    /// Where it runs.
    pub runner: &'a dyn Runner,
    /// Names all it depends on.
    pub id: &'a str,
    /// The files it reads, by their names in the project's folder.
    pub files: &'a [String],
    /// Whether one that is under way already is ended and begun anew.
    pub anew: bool,
    /// The command.
    pub command: &'a str,
    /// The project's folder.
    pub dir: &'a Path,
    /// `[train]`.
    pub table: &'a TrainTable,
    /// Name of the label column.
    pub label: &'a str,
    /// Seed.
    pub seed: u64,
    /// Where its output goes.
    pub log: &'a Path,
    /// Set from elsewhere to stop it.
    pub cancel: &'a AtomicBool,
}

impl CommandTraining<'_> {
    /// Runs the command on `rows`; model and metrics are written to `out`.
    ///
    /// # Errors
    /// The command fails, or leaves no model.
    pub fn run(&self, rows: &Dataset, out: &Path, said: &mut dyn FnMut(&str)) -> Result<(), TrainError> {
        let write = |path: &Path| write_csv(path, rows, self.label);
        let task = Task {
            id: self.id,
            command: self.command,
            dir: self.dir,
            files: self.files,
            env: &[
                ("EDGEWARD_SEED", self.seed.to_string()),
                ("EDGEWARD_PARAMS", params_json(self.table)?.to_string()),
            ],
            inputs: &[Input { variable: "EDGEWARD_TRAIN_DATA", name: "train.csv", write: &write }],
            outputs: &[
                Output { variable: "EDGEWARD_MODEL_OUT", name: MODEL_FILE },
                Output { variable: "EDGEWARD_METRICS_OUT", name: METRICS_FILE },
            ],
            out,
            log: self.log,
            timeout: self.table.timeout.0,
            cancel: self.cancel,
            anew: self.anew,
        };
        to_its_end(self.runner, &task, said)?;
        if !out.join(MODEL_FILE).is_file() {
            return Err(TrainError::NoModel { command: self.command.to_owned() });
        }
        check_metrics(&out.join(METRICS_FILE))
    }
}

/// Reads a model that is trained already.
///
/// # Errors
/// It cannot be read, or has more than [`TRAINED_BYTES_MAX`] bytes.
pub fn read_trained(path: &Path) -> Result<Vec<u8>, TrainError> {
    let failed = |why: String| TrainError::Trained { path: path.to_owned(), why };
    let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > TRAINED_BYTES_MAX {
        return Err(failed(format!("{size} bytes are over the limit of {TRAINED_BYTES_MAX}")));
    }
    fs::read(path).map_err(|error| failed(error.to_string()))
}

fn check_metrics(path: &Path) -> Result<(), TrainError> {
    if !path.exists() {
        return Ok(fs::write(path, b"{}").map_err(WorkError::at("writing", path))?);
    }
    let size = fs::metadata(path).map_err(WorkError::at("reading", path))?.len();
    if size > METRICS_BYTES_MAX {
        return Err(TrainError::Metrics(format!("{size} bytes are over the limit of {METRICS_BYTES_MAX}")));
    }
    let bytes = fs::read(path).map_err(WorkError::at("reading", path))?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(TrainError::Metrics("it is not an object".to_owned())),
        Err(error) => Err(TrainError::Metrics(error.to_string())),
    }
}

fn write_csv(path: &Path, rows: &Dataset, label: &str) -> io::Result<()> {
    let mut writer = csv::Writer::from_path(path)?;
    let names = rows.feature_names.iter().map(String::as_str);
    writer.write_record(names.chain([label]))?;
    for (values, class) in rows.rows() {
        let cells = values.iter().map(|value| if value.is_nan() { String::new() } else { value.to_string() });
        writer.write_record(cells.chain([class.to_owned()]))?;
    }
    writer.flush()
}

/// Numbers of the trainer's metrics by name, those of inner objects joined by dots.
#[must_use]
pub fn numbers(metrics: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    collect("train", metrics, &mut found);
    found
}

fn collect(name: &str, value: &Value, found: &mut BTreeMap<String, f64>) {
    match value {
        Value::Number(number) => {
            found.extend(number.as_f64().map(|number| (name.to_owned(), number)));
        }
        Value::Object(inner) => {
            inner.iter().for_each(|(key, value)| collect(&format!("{name}.{key}"), value, found));
        }
        _ => {}
    }
}

/// The files that a command's result depends on, with their digests: those of `[train] deps`, or every file of the
/// project besides its data, hidden files and the work folder.
///
/// # Errors
/// A pattern is refused, a file cannot be read, or there are too many.
pub fn deps(
    dir: &Path,
    train: &TrainTable,
    data: &DataTable,
    work: &Path,
    index: &FileIndex,
) -> Result<BTreeMap<String, Digest>, TrainError> {
    let files = match &train.deps {
        Some(patterns) => pattern::files(dir, patterns).map_err(TrainError::Deps)?,
        None => {
            let data = match data.source {
                Some(_) => Vec::new(),
                None => pattern::files(dir, &data.files).map_err(TrainError::Deps)?,
            };
            let data: HashSet<PathBuf> = data.into_iter().collect();
            let mut files = Vec::new();
            walk(dir, &fs::canonicalize(work).unwrap_or_else(|_| work.to_owned()), 0, &mut files)?;
            files.retain(|file| !data.contains(file));
            files
        }
    };
    if files.len() > DEPS_MAX {
        return Err(TrainError::TooManyDeps);
    }
    Ok(index.digests(dir, &files)?)
}

fn walk(folder: &Path, work: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), TrainError> {
    if depth > DEPS_DEPTH_MAX || found.len() > DEPS_MAX {
        return Err(TrainError::TooManyDeps);
    }
    let list = WorkError::at("listing", folder);
    let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(list)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        // The project file's own keys are part of the stage's parameters.
        let skipped = name.starts_with('.') || name == "__pycache__" || name == crate::project::PROJECT_FILE;
        if skipped {
            continue;
        }
        let kind = entry.file_type().map_err(WorkError::at("reading", &path))?;
        match kind.is_dir() {
            true if fs::canonicalize(&path).is_ok_and(|path| path == work) => {}
            true => walk(&path, work, depth + 1, found)?,
            false if kind.is_file() => found.push(path),
            false => {}
        }
    }
    Ok(())
}
