//! Logged models: what a run made, with its files, parameters and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use edgeward_store::{MlflowKind, MlflowLabelKind, MlflowMetric, View};
use serde_json::{Value, json};

use super::Answer;
use super::artifacts;
use super::asked::Asked;
use super::check;
use super::entity::{self, LoggedModel, Stage};
use super::experiments::{active_experiment, number};
use super::filter::{self, Attribute, Clause, Entity, Found, Kind, OrderKey, Subject, Vocabulary};
use super::page::Page;
use super::refusal::Refusal;
use super::words;
use crate::app::{App, Decision};

/// Models per page, unless a search says otherwise, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 10_000;
/// Most points of metrics that are told of one model.
const POINTS_MAX: usize = 10_000;
/// Most tags or parameters in one request.
const LABELS_MAX: usize = 1000;
/// What a model's state is called, in the order of their numbers.
const STATES: [&str; 3] = ["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"];
/// The tag with the versions that were made of a model.
const VERSIONS_TAG: &str = "mlflow.modelVersions";

const ATTRIBUTES: &[Attribute] = &[
    ("name", "name", Kind::Text),
    ("model_id", "model_id", Kind::Text),
    ("model_type", "model_type", Kind::Text),
    ("status", "status", Kind::Text),
    ("source_run_id", "source_run_id", Kind::Text),
    ("creation_timestamp", "creation_timestamp", Kind::Number),
    ("creation_time", "creation_timestamp", Kind::Number),
    ("last_updated_timestamp", "last_updated_timestamp", Kind::Number),
    ("last_updated_time", "last_updated_timestamp", Kind::Number),
];
const WORDS: Vocabulary = Vocabulary {
    entities: &[
        ("metric", Entity::Metric),
        ("metrics", Entity::Metric),
        ("parameter", Entity::Param),
        ("parameters", Entity::Param),
        ("param", Entity::Param),
        ("params", Entity::Param),
        ("tag", Entity::Tag),
        ("tags", Entity::Tag),
        ("attribute", Entity::Attribute),
        ("attributes", Entity::Attribute),
        ("attr", Entity::Attribute),
    ],
    attributes: ATTRIBUTES,
};

fn absent(id: &str) -> Refusal {
    Refusal::absent(format!("Logged model with ID '{id}' not found."))
}

/// A logged model that is not deleted.
pub(crate) fn get_model(view: &View<'_>, id: &str) -> Result<LoggedModel, Refusal> {
    let found: Option<LoggedModel> = entity::find(view, MlflowKind::LoggedModel, id)?;
    found.filter(|model| model.stage == Stage::Active).ok_or_else(|| absent(id))
}

fn put(decision: &Decision<'_, '_>, model: &mut LoggedModel) -> Result<(), Refusal> {
    model.last_updated_timestamp_ms = decision.now().0;
    let document = entity::document(&model.model_id, &model.experiment_id, None, model)?;
    Ok(decision.put_mlflow_document(MlflowKind::LoggedModel, &document)?)
}

/// A model with everything that is logged about it.
fn tell(view: &View<'_>, model: &LoggedModel) -> Result<Value, Refusal> {
    let id = model.model_id.as_str();
    let mut info = serde_json::to_value(model)?;
    if let Value::Object(fields) = &mut info {
        fields.remove("stage");
    }
    info["tags"] = entity::labels(view, MlflowLabelKind::Tag, id)?;
    let metrics: Vec<Value> = view.mlflow_metrics(id, POINTS_MAX)?.iter().map(entity::metric).collect();
    let params = entity::labels(view, MlflowLabelKind::Param, id)?;
    Ok(json!({ "info": info, "data": { "params": params, "metrics": metrics } }))
}

/// Tags or parameters as they are asked for.
fn labels(asked: &Asked, name: &str, chars_max: usize) -> Result<Vec<(String, String)>, Refusal> {
    let given = asked.objects(name)?;
    if given.len() > LABELS_MAX {
        return Err(Refusal::invalid(format!("a request has at most {LABELS_MAX} {name}")));
    }
    let mut labels = Vec::new();
    for one in given {
        let (key, value) = (one.required("key")?, one.text("value")?.unwrap_or_default());
        check::key(&format!("{name}.key"), &key)?;
        check::length(&format!("{name}.value"), &value, chars_max)?;
        labels.push((key, value));
    }
    Ok(labels)
}

fn put_labels(
    decision: &Decision<'_, '_>,
    kind: MlflowLabelKind,
    id: &str,
    labels: &[(String, String)],
) -> Result<(), Refusal> {
    for (key, value) in labels {
        decision.put_mlflow_label(kind, id, (key, value))?;
    }
    Ok(())
}

pub(crate) async fn create(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let experiment = asked.required("experiment_id")?;
    let name = match asked.text("name")?.filter(|name| !name.is_empty()) {
        Some(name) => name,
        None => words::run_name()?,
    };
    check::logged_model_name(&name)?;
    let text = |field: &str| Ok::<_, Refusal>(asked.text(field)?.filter(|text| !text.is_empty()));
    let (model_type, source_run_id) = (text("model_type")?, text("source_run_id")?);
    let params = labels(&asked, "params", check::PARAM_CHARS_MAX)?;
    let tags = labels(&asked, "tags", check::TAG_CHARS_MAX)?;
    let id = format!("m-{}", words::fresh_id()?);
    let told = app.decide(move |decision| {
        let experiment = active_experiment(decision, &experiment)?;
        let now = decision.now().0;
        let root = experiment.artifact_location.trim_end_matches('/');
        let mut model = LoggedModel {
            artifact_uri: format!("{root}/models/{id}/artifacts"),
            model_id: id.clone(),
            experiment_id: experiment.experiment_id,
            name,
            creation_timestamp_ms: now,
            last_updated_timestamp_ms: now,
            status: STATES[0].to_owned(),
            model_type,
            source_run_id,
            status_message: None,
            stage: Stage::Active,
        };
        put(decision, &mut model)?;
        put_labels(decision, MlflowLabelKind::Param, &id, &params)?;
        put_labels(decision, MlflowLabelKind::Tag, &id, &tags)?;
        tell(decision, &model)
    });
    Ok(Json(json!({ "model": told.await? })))
}

pub(crate) async fn get(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answer {
    let deleted_too = asked.boolean("allow_deleted")?.unwrap_or(false);
    let told = app.read(move |view| {
        let found: Option<LoggedModel> = entity::find(view, MlflowKind::LoggedModel, &id)?;
        let found = found.filter(|model| deleted_too || model.stage == Stage::Active);
        tell(view, &found.ok_or_else(|| absent(&id))?)
    });
    Ok(Json(json!({ "model": told.await? })))
}

pub(crate) async fn finalize(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answer {
    let text = asked.required("status")?;
    let by_number = text.parse::<usize>().ok().and_then(|number| STATES.get(number.wrapping_sub(1)));
    let state = STATES.iter().find(|state| **state == text).or(by_number).ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid value \"{text}\" for parameter 'status' supplied: one of {STATES:?}"
        ))
    })?;
    let told = app.decide(move |decision| {
        let mut model = get_model(decision, &id)?;
        (*state).clone_into(&mut model.status);
        put(decision, &mut model)?;
        tell(decision, &model)
    });
    Ok(Json(json!({ "model": told.await? })))
}

pub(crate) async fn delete(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    app.decide(move |decision| {
        let mut model = get_model(decision, &id)?;
        model.stage = Stage::Deleted;
        put(decision, &mut model)
    })
    .await?;
    super::done()
}

pub(crate) async fn set_tags(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answer {
    let tags = labels(&asked, "tags", check::TAG_CHARS_MAX)?;
    let told = app.decide(move |decision| {
        let mut model = get_model(decision, &id)?;
        put_labels(decision, MlflowLabelKind::Tag, &id, &tags)?;
        put(decision, &mut model)?;
        tell(decision, &model)
    });
    Ok(Json(json!({ "model": told.await? })))
}

pub(crate) async fn delete_tag(
    State(app): State<Arc<App>>,
    Path((id, key)): Path<(String, String)>,
) -> Answer {
    app.decide(move |decision| {
        get_model(decision, &id)?;
        match decision.drop_mlflow_label(MlflowLabelKind::Tag, &id, &key)? {
            true => Ok(()),
            false => Err(Refusal::absent(format!("No tag with key '{key}' found for model with ID '{id}'."))),
        }
    })
    .await?;
    super::done()
}

pub(crate) async fn log_params(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answer {
    let params = labels(&asked, "params", check::PARAM_CHARS_MAX)?;
    app.decide(move |decision| {
        get_model(decision, &id)?;
        put_labels(decision, MlflowLabelKind::Param, &id, &params)
    })
    .await?;
    super::done()
}

/// The files of a model.
pub(crate) async fn list(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answer {
    let path = asked.text("artifact_directory_path")?;
    let root = app.read(move |view| Ok::<_, Refusal>(get_model(view, &id)?.artifact_uri)).await?;
    artifacts::list_below(&app, root, path).await
}

/// Notes that a version was made of a model.
pub(crate) fn note_version(
    decision: &Decision<'_, '_>,
    id: &str,
    (name, version): (&str, u64),
) -> Result<(), Refusal> {
    let known = decision.mlflow_label(MlflowLabelKind::Tag, id, VERSIONS_TAG)?;
    let mut versions: Vec<Value> =
        known.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    versions.push(json!({ "name": name, "version": version }));
    let text = Value::Array(versions).to_string();
    Ok(decision.put_mlflow_label(MlflowLabelKind::Tag, id, (VERSIONS_TAG, &text))?)
}

/// A model with what searches look at.
struct Candidate {
    model: LoggedModel,
    metrics: Vec<MlflowMetric>,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

impl Subject for Candidate {
    fn find(&self, entity: Entity, key: &str) -> Vec<Found> {
        let text = |text: &String| Found::Text(text.clone());
        match entity {
            Entity::Metric => {
                let measured = self.metrics.iter().filter(|metric| metric.key == key);
                measured.map(|metric| Found::Number(metric.point.value)).collect()
            }
            Entity::Param => self.params.get(key).map(text).into_iter().collect(),
            Entity::Tag => self.tags.get(key).map(text).into_iter().collect(),
            _ => self.attribute(key).into_iter().collect(),
        }
    }
}

impl Candidate {
    fn attribute(&self, key: &str) -> Option<Found> {
        let model = &self.model;
        let text = match key {
            "creation_timestamp" => return Some(number(model.creation_timestamp_ms)),
            "last_updated_timestamp" => return Some(number(model.last_updated_timestamp_ms)),
            "name" => model.name.clone(),
            "model_id" => model.model_id.clone(),
            "model_type" => model.model_type.clone()?,
            "source_run_id" => model.source_run_id.clone()?,
            "status" => match model.status.as_str() {
                "LOGGED_MODEL_READY" => "READY".to_owned(),
                "LOGGED_MODEL_UPLOAD_FAILED" => "FAILED".to_owned(),
                _ => "PENDING".to_owned(),
            },
            _ => return None,
        };
        Some(Found::Text(text))
    }
}

/// A data set that metrics must be measured on: its name, and its digest if that matters.
type Measured = (String, Option<String>);

fn is_measured_on(metric: &MlflowMetric, (name, digest): &Measured) -> bool {
    metric.dataset == *name && digest.as_ref().is_none_or(|digest| metric.digest == *digest)
}

/// What a search asks.
struct Search {
    experiments: Vec<String>,
    clauses: Vec<Clause>,
    datasets: Vec<Measured>,
    order: Vec<(OrderKey, Option<Measured>)>,
    page: Page,
}

impl Search {
    fn of(asked: &Asked) -> Result<Self, Refusal> {
        let experiments = asked.texts("experiment_ids")?;
        if experiments.is_empty() {
            return Err(Refusal::invalid("Missing value for required parameter 'experiment_ids'."));
        }
        let mut datasets = Vec::new();
        for set in asked.objects("datasets")? {
            let missing = "`dataset_name` in the `datasets` clause must be specified.";
            datasets.push(measured(&set)?.ok_or_else(|| Refusal::invalid(missing))?);
        }
        let mut order = Vec::new();
        for key in asked.objects("order_by")? {
            order.push((order_key(&key)?, measured(&key)?));
        }
        let clauses = asked.filter(&WORDS)?;
        Ok(Self { experiments, clauses, datasets, order, page: Page::of(asked, PAGE, PAGE_MAX)? })
    }

    fn matching(&self, view: &View<'_>) -> Result<Vec<Candidate>, Refusal> {
        let mut found = Vec::new();
        for experiment in &self.experiments {
            for document in view.mlflow_documents(MlflowKind::LoggedModel, Some(experiment))? {
                let model: LoggedModel = entity::read(document)?;
                if model.stage == Stage::Active {
                    found.push(candidate(view, model)?);
                }
            }
        }
        found.retain(|candidate| self.matches(candidate));
        Ok(found)
    }

    /// Where data sets are named, only metrics measured on one of them count.
    fn matches(&self, candidate: &Candidate) -> bool {
        if self.datasets.is_empty() {
            return self.clauses.iter().all(|clause| clause.holds(candidate));
        }
        let counts = |metric: &&MlflowMetric| self.datasets.iter().any(|set| is_measured_on(metric, set));
        let metrics: Vec<MlflowMetric> = candidate.metrics.iter().filter(counts).cloned().collect();
        let has_metrics = !metrics.is_empty();
        let narrowed = Candidate {
            model: candidate.model.clone(),
            params: candidate.params.clone(),
            tags: candidate.tags.clone(),
            metrics,
        };
        has_metrics && self.clauses.iter().all(|clause| clause.holds(&narrowed))
    }

    /// By the last key first: what a later sort does not tell apart stays as an earlier one left it.
    fn sort(&self, found: &mut Vec<Candidate>) {
        found.sort_by(|left, right| {
            let newest = right.model.creation_timestamp_ms.cmp(&left.model.creation_timestamp_ms);
            newest.then_with(|| left.model.model_id.cmp(&right.model.model_id))
        });
        for (key, set) in self.order.iter().rev() {
            let mut valued: Vec<Keyed> = std::mem::take(found)
                .into_iter()
                .map(|candidate| Keyed { value: value_on(&candidate, key, set.as_ref()), candidate })
                .collect();
            filter::sort(&mut valued, std::slice::from_ref(key), |keyed| keyed);
            found.extend(valued.into_iter().map(|keyed| keyed.candidate));
        }
    }
}

/// A candidate under one key of the order.
struct Keyed {
    value: Option<Found>,
    candidate: Candidate,
}

impl Subject for Keyed {
    fn find(&self, _: Entity, _: &str) -> Vec<Found> {
        self.value.iter().cloned().collect()
    }
}

fn value_on(candidate: &Candidate, key: &OrderKey, set: Option<&Measured>) -> Option<Found> {
    match key.entity {
        Entity::Metric => {
            let of_key = candidate.metrics.iter().filter(|metric| metric.key == key.key);
            let on_set = of_key.filter(|metric| set.is_none_or(|set| is_measured_on(metric, set)));
            on_set.max_by_key(|metric| metric.point.at_ms).map(|metric| Found::Number(metric.point.value))
        }
        entity => candidate.find(entity, &key.key).into_iter().next(),
    }
}

fn measured(asked: &Asked) -> Result<Option<Measured>, Refusal> {
    let text = |name: &str| Ok::<_, Refusal>(asked.text(name)?.filter(|text| !text.is_empty()));
    match (text("dataset_name")?, text("dataset_digest")?) {
        (Some(name), digest) => Ok(Some((name, digest))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Refusal::invalid(
            "`dataset_digest` can only be specified if `dataset_name` is also specified.",
        )),
    }
}

fn order_key(asked: &Asked) -> Result<OrderKey, Refusal> {
    let missing = "`field_name` in the `order_by` clause must be specified.";
    let field = asked.text("field_name")?.ok_or_else(|| Refusal::invalid(missing))?;
    let ascending = asked.boolean("ascending")?.unwrap_or(true);
    if let Some(key) = field.strip_prefix("metrics.") {
        return Ok(OrderKey { entity: Entity::Metric, key: key.to_owned(), ascending });
    }
    let known = ATTRIBUTES.iter().find(|(name, ..)| *name == field.trim());
    let (_, key, _) =
        known.ok_or_else(|| Refusal::invalid(format!("Invalid order by field name: {field}.")))?;
    Ok(OrderKey { entity: Entity::Attribute, key: (*key).to_owned(), ascending })
}

fn candidate(view: &View<'_>, model: LoggedModel) -> Result<Candidate, Refusal> {
    let labels = |kind| {
        let labels = view.mlflow_labels(kind, &model.model_id)?;
        Ok::<_, Refusal>(labels.into_iter().map(|label| (label.key, label.value)).collect())
    };
    let (params, tags) = (labels(MlflowLabelKind::Param)?, labels(MlflowLabelKind::Tag)?);
    Ok(Candidate { metrics: view.mlflow_latest_metrics(&model.model_id)?, params, tags, model })
}

pub(crate) async fn search(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let search = Search::of(&asked)?;
    let found = app.read(move |view| {
        let mut found = search.matching(view)?;
        search.sort(&mut found);
        let (page, next) = search.page.cut(found);
        let told: Result<Vec<Value>, Refusal> = page.iter().map(|one| tell(view, &one.model)).collect();
        Ok::<_, Refusal>((told?, next))
    });
    let (told, next) = found.await?;
    Ok(Json(super::paged("models", told, next)))
}
