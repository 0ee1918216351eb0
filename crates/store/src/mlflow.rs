//! What MLflow's clients keep: documents, the labels on them, metrics, and where artifacts lie among the blobs.
//!
//! None of it is decided by Edgeward, so none of it is an event. What a document says is the server's business.

mod metric;

use serde_json::Value;

pub use self::metric::{MlflowMetric, MlflowPoint};
use crate::column::{Json, Text, params};
use crate::database::{View, Writer};
use crate::engine::{Row, SqlError};
use crate::error::StoreError;
use edgeward_core::Digest;

/// Artifacts read at once where a folder is listed.
const ARTIFACTS_PAGE: usize = 1000;

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlflowKind {
    /// An experiment, named.
    Experiment,
    /// A run of an experiment.
    Run,
    /// A data set that a run used.
    Input,
    /// A model that a run used or made.
    ModelLink,
    /// A logged model of an experiment.
    LoggedModel,
    /// A registered model, named.
    RegisteredModel,
    /// A version of a registered model.
    ModelVersion,
    /// A trace of an experiment.
    Trace,
    /// What is said of a trace.
    Assessment,
}

impl MlflowKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Experiment => "experiment",
            Self::Run => "run",
            Self::Input => "input",
            Self::ModelLink => "model_link",
            Self::LoggedModel => "logged_model",
            Self::RegisteredModel => "registered_model",
            Self::ModelVersion => "model_version",
            Self::Trace => "trace",
            Self::Assessment => "assessment",
        }
    }
}

/// What a label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlflowLabelKind {
    /// A tag of an experiment, run, model or version.
    Tag,
    /// A parameter of a run or logged model.
    Param,
    /// An alias of a registered model: its value is a version.
    Alias,
}

impl MlflowLabelKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Param => "param",
            Self::Alias => "alias",
        }
    }
}

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub struct MlflowDocument {
    /// Unique within its kind.
    pub id: String,
    /// What it belongs to; empty if nothing.
    pub parent: String,
    /// Unique within its kind, where there is one.
    pub name: Option<String>,
    /// What it says.
    pub document: Value,
}

/// A label, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MlflowLabel {
    /// The id of the document.
    pub owner: String,
    /// Unique within its kind and owner.
    pub key: String,
    /// What it says.
    pub value: String,
}

/// An artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MlflowArtifact {
    /// Its path below the root of all artifacts.
    pub path: String,
    /// The blob.
    pub digest: Digest,
    /// Its length.
    pub size_bytes: u64,
}

const DOCUMENT: &str = "SELECT id, parent, name, document FROM mlflow_documents";

impl MlflowDocument {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        let document = row.get::<Json<_>>(3)?.0;
        Ok(Self { id: row.get(0)?, parent: row.get(1)?, name: row.get(2)?, document })
    }
}

impl MlflowLabel {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self { owner: row.get(0)?, key: row.get(1)?, value: row.get(2)? })
    }
}

impl MlflowArtifact {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self { path: row.get(0)?, digest: row.get::<Text<_>>(1)?.0, size_bytes: row.get(2)? })
    }
}

/// The first text after all that begin with `prefix`, which must end with a character below `char::MAX`.
fn end_of_prefix(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

impl View<'_> {
    /// A document by its id.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_document(&self, kind: MlflowKind, id: &str) -> Result<Option<MlflowDocument>, StoreError> {
        let sql = format!("{DOCUMENT} WHERE kind = ?1 AND id = ?2");
        self.row("reading a document of MLflow's", &sql, params![kind.as_str(), id], MlflowDocument::read)
    }

    /// A document by its name.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_named(&self, kind: MlflowKind, name: &str) -> Result<Option<MlflowDocument>, StoreError> {
        let sql = format!("{DOCUMENT} WHERE kind = ?1 AND name = ?2 AND name IS NOT NULL");
        self.row("reading a document of MLflow's", &sql, params![kind.as_str(), name], MlflowDocument::read)
    }

    /// The documents that belong to `parent`, or all of a kind, by their ids.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_documents(
        &self,
        kind: MlflowKind,
        parent: Option<&str>,
    ) -> Result<Vec<MlflowDocument>, StoreError> {
        const WHAT: &str = "reading documents of MLflow's";
        match parent {
            Some(parent) => {
                let sql = format!("{DOCUMENT} WHERE kind = ?1 AND parent = ?2 ORDER BY id");
                self.rows(WHAT, &sql, params![kind.as_str(), parent], MlflowDocument::read)
            }
            None => {
                let sql = format!("{DOCUMENT} WHERE kind = ?1 ORDER BY id");
                self.rows(WHAT, &sql, params![kind.as_str()], MlflowDocument::read)
            }
        }
    }

    /// The largest id of a kind whose ids are numbers.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_last_number(&self, kind: MlflowKind) -> Result<Option<u64>, StoreError> {
        const SQL: &str = "SELECT max(CAST(id AS BIGINT)) FROM mlflow_documents WHERE kind = ?1";
        let last = self.row("numbering a document", SQL, params![kind.as_str()], |row| row.get(0))?;
        Ok(last.flatten())
    }

    /// The labels of one document, by their keys.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_labels(&self, kind: MlflowLabelKind, owner: &str) -> Result<Vec<MlflowLabel>, StoreError> {
        const SQL: &str =
            "SELECT owner, key, value FROM mlflow_labels WHERE kind = ?1 AND owner = ?2 ORDER BY key";
        self.rows("reading labels", SQL, params![kind.as_str(), owner], MlflowLabel::read)
    }

    /// One label's value.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_label(
        &self,
        kind: MlflowLabelKind,
        owner: &str,
        key: &str,
    ) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT value FROM mlflow_labels WHERE kind = ?1 AND owner = ?2 AND key = ?3";
        self.row("reading a label", SQL, params![kind.as_str(), owner, key], |row| row.get(0))
    }

    /// The labels of everything of kind `of` that belongs to `parent`; all of them, or those with one key.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_labels_below(
        &self,
        kind: MlflowLabelKind,
        (of, parent): (MlflowKind, &str),
        key: Option<&str>,
    ) -> Result<Vec<MlflowLabel>, StoreError> {
        const SQL: &str = "SELECT label.owner, label.key, label.value
            FROM mlflow_documents AS whose JOIN mlflow_labels AS label
                ON label.kind = ?1 AND label.owner = whose.id AND (?4 IS NULL OR label.key = ?4)
            WHERE whose.kind = ?2 AND whose.parent = ?3 ORDER BY label.owner, label.key";
        let (kind, of) = (kind.as_str(), of.as_str());
        self.rows("reading labels", SQL, params![kind, of, parent, key], MlflowLabel::read)
    }

    /// An artifact.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_artifact(&self, path: &str) -> Result<Option<MlflowArtifact>, StoreError> {
        const SQL: &str = "SELECT path, digest, size_bytes FROM mlflow_artifacts WHERE path = ?1";
        self.row("looking for an artifact", SQL, params![path], MlflowArtifact::read)
    }

    /// Artifacts below `folder`, which ends with a slash or is empty, by their paths; those after `after` if it is given.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_artifacts(&self, folder: &str, after: &str) -> Result<Vec<MlflowArtifact>, StoreError> {
        const SQL: &str = "SELECT path, digest, size_bytes FROM mlflow_artifacts
             WHERE path >= ?1 AND path < ?2 AND path > ?3 ORDER BY path LIMIT ?4";
        let end = end_of_prefix(folder);
        self.rows("listing artifacts", SQL, params![folder, end, after, ARTIFACTS_PAGE], MlflowArtifact::read)
    }
}

impl Writer<'_> {
    /// Keeps a document in place of the one with its id.
    ///
    /// # Errors
    /// Another has its name, or the database fails.
    pub fn put_mlflow_document(&self, kind: MlflowKind, document: &MlflowDocument) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO mlflow_documents (kind, id, parent, name, document) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (kind, id) DO UPDATE SET
                parent = excluded.parent, name = excluded.name, document = excluded.document";
        let MlflowDocument { id, parent, name, document } = document;
        self.execute(
            "keeping a document of MLflow's",
            SQL,
            params![kind.as_str(), id, parent, name.as_deref(), Json(document)],
        )?;
        Ok(())
    }

    /// Drops a document; whether there was one.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_mlflow_document(&self, kind: MlflowKind, id: &str) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM mlflow_documents WHERE kind = ?1 AND id = ?2";
        Ok(self.execute("dropping a document of MLflow's", SQL, params![kind.as_str(), id])? > 0)
    }

    /// Drops every label on a document.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_mlflow_labels(&self, owner: &str) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM mlflow_labels WHERE kind = ?1 AND owner = ?2";
        for kind in [MlflowLabelKind::Tag, MlflowLabelKind::Param, MlflowLabelKind::Alias] {
            self.execute("dropping labels", SQL, params![kind.as_str(), owner])?;
        }
        Ok(())
    }

    /// Keeps a label in place of the one with its key.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_mlflow_label(
        &self,
        kind: MlflowLabelKind,
        owner: &str,
        (key, value): (&str, &str),
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO mlflow_labels (kind, owner, key, value) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (kind, owner, key) DO UPDATE SET value = excluded.value";
        self.execute("keeping a label", SQL, params![kind.as_str(), owner, key, value])?;
        Ok(())
    }

    /// Drops a label; whether there was one.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_mlflow_label(
        &self,
        kind: MlflowLabelKind,
        owner: &str,
        key: &str,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM mlflow_labels WHERE kind = ?1 AND owner = ?2 AND key = ?3";
        Ok(self.execute("dropping a label", SQL, params![kind.as_str(), owner, key])? > 0)
    }

    /// Says which blob lies at a path.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_mlflow_artifact(&self, artifact: &MlflowArtifact) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO mlflow_artifacts (path, digest, size_bytes) VALUES (?1, ?2, ?3)
            ON CONFLICT (path) DO UPDATE SET digest = excluded.digest, size_bytes = excluded.size_bytes";
        let MlflowArtifact { path, digest, size_bytes } = artifact;
        self.execute("keeping an artifact", SQL, params![path, Text(digest), size_bytes])?;
        Ok(())
    }

    /// Drops the artifact at `path` and every one below it; how many.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_mlflow_artifacts(&self, path: &str) -> Result<usize, StoreError> {
        const SQL: &str = "DELETE FROM mlflow_artifacts WHERE path = ?1 OR (path >= ?2 AND path < ?3)";
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        self.execute("dropping artifacts", SQL, params![path, below, end_of_prefix(&below)])
    }
}
