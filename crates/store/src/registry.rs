//! Queries about projects, their runs, and the model registry.

use std::collections::BTreeMap;

use crate::engine::{Row, SqlError};
use edgeward_core::event::{Project, RunOutcome, Runner};
use edgeward_core::{Digest, ModelName, ProjectName, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::column::{Json, Text, params};
use crate::database::View;
use crate::error::StoreError;

/// Most rows of any listing in one page.
pub const ROWS_PAGE_MAX: usize = 1000;

/// A pipeline run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Its project.
    pub project: ProjectName,
    /// Why it was asked for.
    pub cause: String,
    /// Who carries it out.
    pub runner: Runner,
    /// The commit of the pipeline's repository that it puts on trial.
    pub commit: Option<String>,
    /// When it was asked for.
    pub requested_at_ms: Timestamp,
    /// When it ended; none while it is under way.
    pub finished_at_ms: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<RunOutcome>,
    /// What its gates said, in the order they spoke.
    pub gates: Vec<GateRow>,
}

/// What a gate said about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRow {
    /// The gate.
    pub gate: String,
    /// Whether the run passed.
    pub passed: bool,
    /// Why.
    pub reason: String,
}

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionRow {
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
    /// When it was registered.
    pub registered_at_ms: Timestamp,
}

/// A model in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRow {
    /// Its name.
    pub name: ModelName,
    /// Its newest version.
    pub latest_version: u64,
    /// The version each alias points at.
    pub aliases: BTreeMap<String, u64>,
}

const RUN: &str =
    "SELECT id, project, cause, requested_at_ms, finished_at_ms, outcome, runner, pipeline_commit FROM runs";
const VERSION: &str = "SELECT model, version, bundle, run, metrics, registered_at_ms FROM versions";

impl RunRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            id: row.get::<Text<_>>(0)?.0,
            project: row.get::<Text<_>>(1)?.0,
            cause: row.get(2)?,
            requested_at_ms: Timestamp(row.get(3)?),
            finished_at_ms: row.get::<Option<i64>>(4)?.map(Timestamp),
            outcome: row.get::<Option<Json<_>>>(5)?.map(|json| json.0),
            runner: row.get::<Json<_>>(6)?.0,
            commit: row.get(7)?,
            gates: Vec::new(),
        })
    }
}

impl GateRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self { gate: row.get(0)?, passed: row.get(1)?, reason: row.get(2)? })
    }
}

impl VersionRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            model: row.get::<Text<_>>(0)?.0,
            version: row.get(1)?,
            bundle: row.get::<Text<_>>(2)?.0,
            run: row.get::<Text<_>>(3)?.0,
            metrics: row.get::<Json<_>>(4)?.0,
            registered_at_ms: Timestamp(row.get(5)?),
        })
    }
}

impl View<'_> {
    /// Every project, by name.
    ///
    /// # Errors
    /// The database fails.
    pub fn projects(&self) -> Result<Vec<Project>, StoreError> {
        const SQL: &str = "SELECT document FROM projects ORDER BY name";
        self.rows("reading the projects", SQL, &[], |row| Ok(row.get::<Json<_>>(0)?.0))
    }

    /// One project.
    ///
    /// # Errors
    /// The database fails.
    pub fn project_named(&self, name: &ProjectName) -> Result<Option<Project>, StoreError> {
        const SQL: &str = "SELECT document FROM projects WHERE name = ?1";
        self.row("reading a project", SQL, params![Text(name)], |row| Ok(row.get::<Json<_>>(0)?.0))
    }

    /// The newest runs, of one project or of all, the newest first; at most [`ROWS_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn runs(&self, project: Option<&ProjectName>, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!("{RUN} WHERE ?1 IS NULL OR project = ?1 ORDER BY seq DESC LIMIT ?2");
        let runs = self.rows(
            "reading the runs",
            &sql,
            params![project.map(Text), limit.min(ROWS_PAGE_MAX)],
            RunRow::read,
        )?;
        runs.into_iter().map(|run| self.with_gates(run)).collect()
    }

    /// One run.
    ///
    /// # Errors
    /// The database fails.
    pub fn run(&self, id: &RunId) -> Result<Option<RunRow>, StoreError> {
        let run =
            self.row("reading a run", &format!("{RUN} WHERE id = ?1"), params![Text(id)], RunRow::read)?;
        run.map(|run| self.with_gates(run)).transpose()
    }

    /// The newest run that put `commit` on trial.
    ///
    /// # Errors
    /// The database fails.
    pub fn run_of_commit(&self, project: &ProjectName, commit: &str) -> Result<Option<RunRow>, StoreError> {
        let sql = format!("{RUN} WHERE project = ?1 AND pipeline_commit = ?2 ORDER BY seq DESC LIMIT 1");
        let run = self.row("reading a commit's run", &sql, params![Text(project), commit], RunRow::read)?;
        run.map(|run| self.with_gates(run)).transpose()
    }

    /// The run of `project` that is under way; there is at most one.
    ///
    /// # Errors
    /// The database fails.
    pub fn run_under_way(&self, project: &ProjectName) -> Result<Option<RunRow>, StoreError> {
        let sql = format!("{RUN} WHERE project = ?1 AND finished_at_ms IS NULL");
        let run = self.row("reading the run under way", &sql, params![Text(project)], RunRow::read)?;
        run.map(|run| self.with_gates(run)).transpose()
    }

    fn with_gates(&self, run: RunRow) -> Result<RunRow, StoreError> {
        const SQL: &str = "SELECT gate, passed, reason FROM gates WHERE run = ?1 ORDER BY seq";
        let gates = self.rows("reading a run's gates", SQL, params![Text(&run.id)], GateRow::read)?;
        Ok(RunRow { gates, ..run })
    }

    /// Every model that has a version, by name.
    ///
    /// # Errors
    /// The database fails.
    pub fn models(&self) -> Result<Vec<ModelRow>, StoreError> {
        const SQL: &str = "SELECT model, max(version) FROM versions GROUP BY model ORDER BY model";
        let models: Vec<(ModelName, u64)> =
            self.rows("reading the models", SQL, &[], |row| Ok((row.get::<Text<_>>(0)?.0, row.get(1)?)))?;
        let with_aliases = |(name, latest_version)| {
            let aliases = self.aliases(&name)?;
            Ok(ModelRow { name, latest_version, aliases })
        };
        models.into_iter().map(with_aliases).collect()
    }

    /// The newest versions of a model, the newest first; at most [`ROWS_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn versions(&self, model: &ModelName, limit: usize) -> Result<Vec<VersionRow>, StoreError> {
        let sql = format!("{VERSION} WHERE model = ?1 ORDER BY version DESC LIMIT ?2");
        self.rows(
            "reading a model's versions",
            &sql,
            params![Text(model), limit.min(ROWS_PAGE_MAX)],
            VersionRow::read,
        )
    }

    /// One version.
    ///
    /// # Errors
    /// The database fails.
    pub fn version(&self, model: &ModelName, version: u64) -> Result<Option<VersionRow>, StoreError> {
        let sql = format!("{VERSION} WHERE model = ?1 AND version = ?2");
        self.row("reading a version", &sql, params![Text(model), version], VersionRow::read)
    }

    /// The version of `model` that is `bundle`.
    ///
    /// # Errors
    /// The database fails.
    pub fn version_of_bundle(
        &self,
        model: &ModelName,
        bundle: Digest,
    ) -> Result<Option<VersionRow>, StoreError> {
        let sql = format!("{VERSION} WHERE model = ?1 AND bundle = ?2");
        self.row("reading a bundle's version", &sql, params![Text(model), Text(bundle)], VersionRow::read)
    }

    /// The version an alias points at.
    ///
    /// # Errors
    /// The database fails.
    pub fn aliased(&self, model: &ModelName, alias: &str) -> Result<Option<VersionRow>, StoreError> {
        let sql = format!(
            "{VERSION} WHERE model = ?1
             AND version = (SELECT version FROM aliases WHERE model = ?1 AND alias = ?2)"
        );
        self.row("reading an alias", &sql, params![Text(model), alias], VersionRow::read)
    }

    /// The version each alias of a model points at.
    ///
    /// # Errors
    /// The database fails.
    pub fn aliases(&self, model: &ModelName) -> Result<BTreeMap<String, u64>, StoreError> {
        const SQL: &str = "SELECT alias, version FROM aliases WHERE model = ?1 ORDER BY alias";
        let pairs = self.rows("reading a model's aliases", SQL, params![Text(model)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(pairs.into_iter().collect())
    }

    /// The number the next version of `model` gets.
    ///
    /// # Errors
    /// The database fails.
    pub fn next_version(&self, model: &ModelName) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT coalesce(max(version), 0) + 1 FROM versions WHERE model = ?1";
        let next = self.row("reading the newest version", SQL, params![Text(model)], |row| row.get(0))?;
        Ok(next.unwrap_or(1))
    }
}
