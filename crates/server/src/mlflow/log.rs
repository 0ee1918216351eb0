//! What a run logs: metrics, parameters, tags, data sets and models. Each request is one transaction: all of it is kept, or
//! none.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use edgeward_store::{MlflowDocument, MlflowKind, MlflowLabelKind, MlflowMetric, MlflowPoint};
use serde_json::{Value, json};

use super::Answer;
use super::asked::Asked;
use super::check;
use super::entity::{self, LoggedModel};
use super::refusal::Refusal;
use super::runs::{self, NAME_TAG, active_run, run_id};
use crate::app::{App, Decision};

/// Most metrics in one request, and of everything together.
const METRICS_MAX: usize = 1000;
/// Most parameters in one request, and most tags.
const LABELS_MAX: usize = 100;
/// Most data sets in one request.
const DATASETS_MAX: usize = 1000;
/// Longest description of a data set's profile, in bytes; of its schema and its source.
const PROFILE_LEN_MAX: usize = 16_777_215;
const SCHEMA_LEN_MAX: usize = 1_048_575;
const SOURCE_LEN_MAX: usize = 65_535;
/// The tag with what is known of the models that a run logged.
const HISTORY_TAG: &str = "mlflow.log-model.history";

/// A metric of a run, as it is asked for.
pub(super) fn metric(asked: &Asked, path: &str, run: &str) -> Result<MlflowMetric, Refusal> {
    let key = asked.text("key")?.unwrap_or_default();
    check::key(&format!("{path}name"), &key)?;
    let value = asked.double("value")?;
    let at_ms = asked.integer("timestamp")?;
    let at_ms = at_ms.ok_or_else(|| {
        Refusal::invalid(format!("Missing value for required parameter '{path}timestamp'."))
    })?;
    if at_ms < 0 {
        return Err(Refusal::invalid(format!(
            "Invalid value {at_ms} for parameter '{path}timestamp' supplied: metric '{key}' (value={value}). Timestamp \
             must be a nonnegative long (64-bit integer) "
        )));
    }
    let step = asked.integer("step")?.unwrap_or(0);
    let text = |name| asked.text(name).map(Option::unwrap_or_default);
    let (model, dataset, digest) = (text("model_id")?, text("dataset_name")?, text("dataset_digest")?);
    let point = MlflowPoint { at_ms, step, value };
    Ok(MlflowMetric { owner: run.to_owned(), key, point, run: run.to_owned(), model, dataset, digest })
}

fn param(asked: &Asked, path: &str) -> Result<(String, String), Refusal> {
    let (key, value) = (asked.text("key")?.unwrap_or_default(), asked.text("value")?.unwrap_or_default());
    check::key(&format!("{path}key"), &key)?;
    check::length(&format!("{path}value"), &value, check::PARAM_CHARS_MAX)?;
    Ok((key, value))
}

fn put_metric(decision: &Decision<'_, '_>, metric: &MlflowMetric) -> Result<(), Refusal> {
    decision.put_mlflow_metric(metric)?;
    if !metric.model.is_empty() {
        decision.put_mlflow_metric(&MlflowMetric { owner: metric.model.clone(), ..metric.clone() })?;
    }
    Ok(())
}

/// A parameter is said once; saying the same again changes nothing.
fn put_param(decision: &Decision<'_, '_>, run: &str, (key, value): (&str, &str)) -> Result<(), Refusal> {
    match decision.mlflow_label(MlflowLabelKind::Param, run, key)? {
        Some(known) if known == value => Ok(()),
        Some(known) => Err(Refusal::invalid(format!(
            "Changing param values is not allowed. Param with key='{key}' was already logged with value='{known}' for \
             run ID='{run}'. Attempted logging new value '{value}'."
        ))),
        None => Ok(decision.put_mlflow_label(MlflowLabelKind::Param, run, (key, value))?),
    }
}

fn put_tag(decision: &Decision<'_, '_>, run: &str, (key, value): (&str, &str)) -> Result<(), Refusal> {
    if key == NAME_TAG {
        let mut info = runs::get_run(decision, run)?;
        value.clone_into(&mut info.run_name);
        runs::put(decision, &info)?;
    }
    Ok(decision.put_mlflow_label(MlflowLabelKind::Tag, run, (key, value))?)
}

pub(crate) async fn log_metric(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = run_id(&asked)?;
    let metric = metric(&asked, "", &id)?;
    app.decide(move |decision| {
        active_run(decision, &id)?;
        put_metric(decision, &metric)
    })
    .await?;
    super::done()
}

pub(crate) async fn log_param(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = run_id(&asked)?;
    let (key, value) = param(&asked, "")?;
    app.decide(move |decision| {
        active_run(decision, &id)?;
        put_param(decision, &id, (&key, &value))
    })
    .await?;
    super::done()
}

pub(crate) async fn set_tag(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = run_id(&asked)?;
    let (key, value) = runs::tag(&asked, "")?;
    app.decide(move |decision| {
        active_run(decision, &id)?;
        put_tag(decision, &id, (&key, &value))
    })
    .await?;
    super::done()
}

pub(crate) async fn delete_tag(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (id, key) = (run_id(&asked)?, asked.required("key")?);
    app.decide(move |decision| {
        active_run(decision, &id)?;
        match decision.drop_mlflow_label(MlflowLabelKind::Tag, &id, &key)? {
            true => Ok(()),
            false => Err(Refusal::absent(format!("No tag with name: {key} in run with id {id}"))),
        }
    })
    .await?;
    super::done()
}

/// What one request logs.
struct Batch {
    metrics: Vec<MlflowMetric>,
    params: Vec<(String, String)>,
    tags: Vec<(String, String)>,
}

impl Batch {
    fn of(asked: &Asked, run: &str) -> Result<Self, Refusal> {
        let list = |name: &str| asked.objects(name);
        let (metrics, params, tags) = (list("metrics")?, list("params")?, list("tags")?);
        limit("metrics", metrics.len(), METRICS_MAX)?;
        limit("params", params.len(), LABELS_MAX)?;
        limit("tags", tags.len(), LABELS_MAX)?;
        limit("metrics, params, and tags", metrics.len() + params.len() + tags.len(), METRICS_MAX)?;
        let numbered = |name: &str, index: usize| format!("{name}[{index}].");
        let batch = Self {
            metrics: each(&metrics, |index, one| metric(one, &numbered("metrics", index), run))?,
            params: each(&params, |index, one| param(one, &numbered("params", index)))?,
            tags: each(&tags, |index, one| runs::tag(one, &numbered("tags", index)))?,
        };
        let mut seen = BTreeSet::new();
        let twice: Vec<&str> =
            batch.params.iter().map(|(key, _)| key.as_str()).filter(|key| !seen.insert(*key)).collect();
        match twice.is_empty() {
            true => Ok(batch),
            false => Err(Refusal::invalid(format!(
                "Duplicate parameter keys have been submitted: {twice:?}. Please ensure the request contains only one \
                 param value per param key."
            ))),
        }
    }
}

fn each<T>(list: &[Asked], read: impl Fn(usize, &Asked) -> Result<T, Refusal>) -> Result<Vec<T>, Refusal> {
    list.iter().enumerate().map(|(index, one)| read(index, one)).collect()
}

fn limit(what: &str, count: usize, count_max: usize) -> Result<(), Refusal> {
    match count <= count_max {
        true => Ok(()),
        false => Err(Refusal::invalid(format!(
            "A batch logging request can contain at most {count_max} {what}. Got {count} {what}. Please split up {what} \
             across multiple requests and try again."
        ))),
    }
}

pub(crate) async fn log_batch(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = asked.required("run_id")?;
    let batch = Batch::of(&asked, &id)?;
    app.decide(move |decision| {
        active_run(decision, &id)?;
        for (key, value) in &batch.params {
            put_param(decision, &id, (key, value))?;
        }
        batch.metrics.iter().try_for_each(|metric| put_metric(decision, metric))?;
        for (key, value) in &batch.tags {
            put_tag(decision, &id, (key, value))?;
        }
        Ok::<_, Refusal>(())
    })
    .await?;
    super::done()
}

/// A data set that a run used: what says it, and its id.
fn dataset(asked: &Asked, run: &str) -> Result<MlflowDocument, Refusal> {
    let missing = || Refusal::invalid("Missing value for required parameter 'dataset'.");
    let given = asked.object("dataset")?.ok_or_else(missing)?;
    let (name, digest) = (given.required("name")?, given.required("digest")?);
    let (kind, source) = (given.required("source_type")?, given.required("source")?);
    check::length("name", &name, check::NAME_CHARS_MAX)?;
    check::length("digest", &digest, 36)?;
    check::length("source", &source, SOURCE_LEN_MAX)?;
    let mut told = json!({ "name": name, "digest": digest, "source_type": kind, "source": source });
    for (field, len_max) in [("schema", SCHEMA_LEN_MAX), ("profile", PROFILE_LEN_MAX)] {
        if let Some(text) = given.text(field)? {
            check::length(field, &text, len_max)?;
            told[field] = json!(text);
        }
    }
    let mut tags = Vec::new();
    for tag in asked.objects("tags")? {
        let (key, value) = (tag.required("key")?, tag.text("value")?.unwrap_or_default());
        check::length("key", &key, 255)?;
        check::length("value", &value, 500)?;
        tags.push(json!({ "key": key, "value": value }));
    }
    let document = json!({ "dataset": told, "tags": tags });
    Ok(MlflowDocument { id: format!("{run}/{name}/{digest}"), parent: run.to_owned(), name: None, document })
}

pub(crate) async fn log_inputs(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = asked.required("run_id")?;
    let sets = asked.objects("datasets")?;
    limit("datasets", sets.len(), DATASETS_MAX)?;
    let sets = each(&sets, |_, one| dataset(one, &id))?;
    let models = links("input", &asked, &id)?;
    app.decide(move |decision| {
        active_run(decision, &id)?;
        for set in &sets {
            if decision.mlflow_document(MlflowKind::Input, &set.id)?.is_none() {
                decision.put_mlflow_document(MlflowKind::Input, set)?;
            }
        }
        put_links(decision, &models)
    })
    .await?;
    super::done()
}

pub(crate) async fn log_outputs(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = asked.required("run_id")?;
    let models = links("output", &asked, &id)?;
    app.decide(move |decision| {
        active_run(decision, &id)?;
        put_links(decision, &models)
    })
    .await?;
    super::done()
}

/// Models that a run used or made.
fn links(way: &str, asked: &Asked, run: &str) -> Result<Vec<MlflowDocument>, Refusal> {
    each(&asked.objects("models")?, |_, one| {
        let model = one.required("model_id")?;
        let mut document = json!({ "model_id": model });
        if way == "output" {
            document["step"] = json!(one.integer("step")?.unwrap_or(0));
        }
        Ok(MlflowDocument {
            id: format!("{way}/{run}/{model}"),
            parent: run.to_owned(),
            name: None,
            document,
        })
    })
}

fn put_links(decision: &Decision<'_, '_>, links: &[MlflowDocument]) -> Result<(), Refusal> {
    for link in links {
        let model = link.document["model_id"].as_str().unwrap_or_default();
        if entity::find::<LoggedModel>(decision, MlflowKind::LoggedModel, model)?.is_none() {
            return Err(Refusal::absent(format!("Logged model with ID '{model}' not found.")));
        }
        decision.put_mlflow_document(MlflowKind::ModelLink, link)?;
    }
    Ok(())
}

/// What clients before logged models said of a model; it stands in a tag.
pub(crate) async fn log_model(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (id, text) = (asked.required("run_id")?, asked.required("model_json")?);
    let model: Value = serde_json::from_str(&text)
        .map_err(|_| Refusal::invalid(format!("Malformed model info. \n {text} \n is not a valid JSON.")))?;
    let missing: Vec<&str> = ["artifact_path", "flavors", "utc_time_created", "run_id"]
        .into_iter()
        .filter(|name| model.get(name).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(Refusal::invalid(format!("Model json is missing mandatory fields: {missing:?}")));
    }
    app.decide(move |decision| {
        active_run(decision, &id)?;
        let known = decision.mlflow_label(MlflowLabelKind::Tag, &id, HISTORY_TAG)?;
        let mut history: Vec<Value> =
            known.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        history.push(model);
        let text = Value::Array(history).to_string();
        Ok::<_, Refusal>(decision.put_mlflow_label(MlflowLabelKind::Tag, &id, (HISTORY_TAG, &text))?)
    })
    .await?;
    super::done()
}
