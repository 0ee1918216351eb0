//! The bridge to Edgeward: which version is champion, and its ONNX file.

use std::path::Path;

use edgeward_core::{ProjectName, RunId};
use edgeward_store::{BlobError, MlflowArtifact, MlflowKind, MlflowLabelKind, StoreError, View};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::artifacts::place;
use super::entity::{self, LoggedModel, ModelVersion};
use super::refusal::Refusal;
use super::{runs, versions};
use crate::app::{App, Stopped};

/// The alias that is followed.
const ALIAS: &str = "champion";
/// What an ONNX file is called at its end.
const ENDING: &str = ".onnx";

/// A version that is champion.
pub(crate) struct Champion {
    /// Its document's id.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: u64,
}

/// The tag on a version that names the run which a project made of it.
pub(crate) fn run_tag(project: &ProjectName) -> String {
    format!("edgeward.run.{project}")
}

/// The champion of a registered model, if there is one.
pub(crate) fn champion(view: &View<'_>, name: &str) -> Result<Option<Champion>, Refusal> {
    let found = versions::aliased(view, name, ALIAS)?;
    Ok(found.map(|found| Champion { id: found.id, name: found.version.name, version: found.version.version }))
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BringError {
    /// Nothing will change that by itself.
    #[error("{0}")]
    Never(String),
    /// Worth another try.
    #[error("{0}")]
    NotNow(String),
}

impl From<Refusal> for BringError {
    fn from(refusal: Refusal) -> Self {
        Self::Never(refusal.to_string())
    }
}

impl From<StoreError> for BringError {
    fn from(error: StoreError) -> Self {
        Self::NotNow(error.to_string())
    }
}

impl From<Stopped> for BringError {
    fn from(error: Stopped) -> Self {
        Self::NotNow(error.to_string())
    }
}

impl From<BlobError> for BringError {
    fn from(error: BlobError) -> Self {
        Self::NotNow(crate::failure::chain(&error))
    }
}

impl From<std::io::Error> for BringError {
    fn from(error: std::io::Error) -> Self {
        Self::NotNow(error.to_string())
    }
}

/// Writes the ONNX file that a run is about to `path`: that of the version whose tag names the run, else the champion's.
pub(crate) async fn bring(
    app: &App,
    name: &str,
    (project, run): (&ProjectName, &RunId),
    path: &Path,
) -> Result<(), BringError> {
    let (name, tag, run) = (name.to_owned(), run_tag(project), run.clone());
    let found = app.read(move |view| file_for(view, &name, &tag, &run)).await?;
    let (_, mut parts) = app.blobs.stream(found.digest).await?;
    let beside = path.with_extension("new");
    let mut file = tokio::fs::File::create(&beside).await?;
    while let Some(part) = parts.next().await {
        file.write_all(&part?).await?;
    }
    file.sync_all().await?;
    Ok(tokio::fs::rename(&beside, path).await?)
}

fn file_for(view: &View<'_>, name: &str, tag: &str, run: &RunId) -> Result<MlflowArtifact, BringError> {
    let model = view.mlflow_named(MlflowKind::RegisteredModel, name)?;
    let model = model.ok_or_else(|| BringError::Never(format!("MLflow's registry has no model {name}")))?;
    for document in view.mlflow_documents(MlflowKind::ModelVersion, Some(&model.id))? {
        let named = view.mlflow_label(MlflowLabelKind::Tag, &document.id, tag)?;
        if named.as_deref() == Some(run.as_str()) {
            return onnx_of(view, &entity::read(document)?);
        }
    }
    let champion = versions::aliased(view, name, ALIAS)?;
    let none =
        || BringError::Never(format!("no version of {name} in MLflow's registry has the alias {ALIAS}"));
    onnx_of(view, &champion.ok_or_else(none)?.version)
}

/// The one ONNX file of a version.
fn onnx_of(view: &View<'_>, version: &ModelVersion) -> Result<MlflowArtifact, BringError> {
    let which = format!("version {} of {}", version.version, version.name);
    let folders = folders(view, version)?;
    if folders.is_empty() {
        let uri = version.storage_location.as_ref().unwrap_or(&version.source);
        return Err(BringError::Never(format!("the files of {which} are at {uri}, which is not kept here")));
    }
    for folder in folders {
        let files = view.mlflow_artifacts(&format!("{folder}/"), "")?;
        if files.is_empty() {
            continue;
        }
        let mut models = files.into_iter().filter(|file| file.path.ends_with(ENDING));
        return match (models.next(), models.next()) {
            (Some(model), None) => Ok(model),
            (None, _) => Err(BringError::Never(format!(
                "{which} holds no {ENDING} file; log it with mlflow.onnx.log_model"
            ))),
            (Some(_), Some(_)) => Err(BringError::Never(format!("{which} holds several {ENDING} files"))),
        };
    }
    Err(BringError::Never(format!("{which} has no files")))
}

/// Where the files of a version may be, below the root of all artifacts.
fn folders(view: &View<'_>, version: &ModelVersion) -> Result<Vec<String>, BringError> {
    let uri = version.storage_location.as_ref().unwrap_or(&version.source);
    let Some(rest) = uri.strip_prefix("runs:/") else { return Ok(place(uri).into_iter().collect()) };
    let rest = rest.trim_start_matches('/');
    let (run, path) = rest.split_once('/').unwrap_or((rest, ""));
    let run = runs::get_run(view, run)?;
    let mut folders: Vec<String> =
        place(&run.artifact_uri).map(|root| format!("{root}/{path}")).into_iter().collect();
    // What a run logs as a model is a logged model with that name.
    for document in view.mlflow_documents(MlflowKind::LoggedModel, Some(&run.experiment_id))? {
        let model: LoggedModel = entity::read(document)?;
        if model.name == path && model.source_run_id.as_deref() == Some(run.run_id.as_str()) {
            folders.extend(place(&model.artifact_uri));
        }
    }
    Ok(folders)
}
