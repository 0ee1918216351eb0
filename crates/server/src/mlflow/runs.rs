//! Runs: beginning, ending, reading.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_store::{MlflowKind, MlflowLabelKind, MlflowMetric, StoreError, View};
use serde_json::{Value, json};

use super::Answer;
use super::asked::Asked;
use super::check;
use super::entity::{self, RunInfo, Stage};
use super::experiments::active_experiment;
use super::page::Page;
use super::refusal::Refusal;
use super::words;
use crate::app::{App, Decision};

/// The tag that says a run's name.
pub(crate) const NAME_TAG: &str = "mlflow.runName";
/// Points of a metric per page, unless a client asks for fewer.
const HISTORY_PAGE: usize = 25_000;
/// The states that a run may be in, in the order of their numbers.
const STATES: [&str; 5] = ["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"];

/// A run, whether active or not.
pub(crate) fn get_run(view: &View<'_>, id: &str) -> Result<RunInfo, Refusal> {
    let found = entity::find(view, MlflowKind::Run, id)?;
    found.ok_or_else(|| Refusal::absent(format!("Run with id={id} not found")))
}

/// A run that something may be logged to.
pub(crate) fn active_run(view: &View<'_>, id: &str) -> Result<RunInfo, Refusal> {
    let run = get_run(view, id)?;
    match run.lifecycle_stage {
        Stage::Active => Ok(run),
        Stage::Deleted => Err(Refusal::invalid(format!(
            "The run {id} must be in the 'active' state. Current state is deleted."
        ))),
    }
}

pub(crate) fn put(decision: &Decision<'_, '_>, run: &RunInfo) -> Result<(), Refusal> {
    let document = entity::document(&run.run_id, &run.experiment_id, None, run)?;
    Ok(decision.put_mlflow_document(MlflowKind::Run, &document)?)
}

/// The id under the name it has now, or had once.
pub(crate) fn run_id(asked: &Asked) -> Result<String, Refusal> {
    asked.either(["run_id", "run_uuid"])
}

/// A tag of a run as it is asked for.
pub(crate) fn tag(asked: &Asked, path: &str) -> Result<(String, String), Refusal> {
    let key = asked.text("key")?.unwrap_or_default();
    let value = asked.text("value")?.unwrap_or_default();
    check::key(&format!("{path}key"), &key)?;
    check::length(&format!("{path}value"), &value, check::TAG_CHARS_MAX)?;
    Ok((key, value))
}

fn state(text: &str) -> Result<&'static str, Refusal> {
    let by_number = text.parse::<usize>().ok().and_then(|number| STATES.get(number.wrapping_sub(1)));
    let found = STATES.iter().find(|state| **state == text).or(by_number);
    found.copied().ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid value \"{text}\" for parameter 'status' supplied: it is one of {STATES:?}"
        ))
    })
}

pub(crate) async fn create(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let experiment =
        asked.text("experiment_id")?.filter(|id| !id.is_empty()).unwrap_or_else(|| "0".to_owned());
    let mut tags = Vec::new();
    for given in asked.objects("tags")? {
        tags.push(tag(&given, "tags.")?);
    }
    let tagged = tags.iter().find(|(key, _)| key == NAME_TAG).map(|(_, value)| value.clone());
    let tagged = tagged.filter(|name| !name.is_empty());
    let named = asked.text("run_name")?.filter(|name| !name.is_empty());
    if let (Some(named), Some(tagged)) = (&named, &tagged)
        && named != tagged
    {
        return Err(Refusal::invalid(format!(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values \
             (run_name='{named}', mlflow.runName='{tagged}')."
        )));
    }
    let name = match named.or(tagged) {
        Some(name) => name,
        None => words::run_name()?,
    };
    check::length("run_name", &name, check::TAG_CHARS_MAX)?;
    tags.retain(|(key, _)| key != NAME_TAG);
    tags.push((NAME_TAG.to_owned(), name.clone()));
    let (id, user) = (words::fresh_id()?, asked.text("user_id")?.unwrap_or_default());
    let start = asked.integer("start_time")?.unwrap_or(0);
    let told = app.decide(move |decision| {
        let experiment = active_experiment(decision, &experiment)?;
        let run = RunInfo {
            run_uuid: id.clone(),
            artifact_uri: format!("{}/{id}/artifacts", experiment.artifact_location.trim_end_matches('/')),
            run_id: id.clone(),
            run_name: name,
            experiment_id: experiment.experiment_id,
            user_id: user,
            status: STATES[0].to_owned(),
            start_time: start,
            end_time: None,
            lifecycle_stage: Stage::Active,
        };
        put(decision, &run)?;
        for (key, value) in &tags {
            decision.put_mlflow_label(MlflowLabelKind::Tag, &id, (key, value))?;
        }
        tell(decision, &run)
    });
    Ok(Json(json!({ "run": told.await? })))
}

/// A run with everything it logged.
pub(crate) fn tell(view: &View<'_>, run: &RunInfo) -> Result<Value, Refusal> {
    let id = run.run_id.as_str();
    let metrics = entity::latest_of_each(view.mlflow_latest_metrics(id)?);
    let metrics: Vec<Value> = metrics.iter().map(entity::metric).collect();
    let mut sets = Vec::new();
    for input in view.mlflow_documents(MlflowKind::Input, Some(id))? {
        sets.push(input.document);
    }
    let (mut used, mut made) = (Vec::new(), Vec::new());
    for link in view.mlflow_documents(MlflowKind::ModelLink, Some(id))? {
        match link.id.starts_with("output/") {
            true => made.push(link.document),
            false => used.push(link.document),
        }
    }
    Ok(json!({
        "info": run,
        "data": {
            "metrics": metrics,
            "params": entity::labels(view, MlflowLabelKind::Param, id)?,
            "tags": entity::labels(view, MlflowLabelKind::Tag, id)?,
        },
        "inputs": { "dataset_inputs": sets, "model_inputs": used },
        "outputs": { "model_outputs": made },
    }))
}

pub(crate) async fn get(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = run_id(&asked)?;
    let told = app.read(move |view| tell(view, &get_run(view, &id)?));
    Ok(Json(json!({ "run": told.await? })))
}

pub(crate) async fn update(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = run_id(&asked)?;
    let status = asked.text("status")?.map(|text| state(&text)).transpose()?;
    let name = asked.text("run_name")?.filter(|name| !name.is_empty());
    let end = asked.integer("end_time")?;
    let told = app.decide(move |decision| {
        let mut run = active_run(decision, &id)?;
        if let Some(status) = status {
            status.clone_into(&mut run.status);
        }
        run.end_time = end.or(run.end_time);
        if let Some(name) = name {
            decision.put_mlflow_label(MlflowLabelKind::Tag, &id, (NAME_TAG, &name))?;
            run.run_name = name;
        }
        put(decision, &run)?;
        Ok::<_, Refusal>(serde_json::to_value(&run)?)
    });
    Ok(Json(json!({ "run_info": told.await? })))
}

pub(crate) async fn delete(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    set_stage(app, &asked, Stage::Deleted).await
}

pub(crate) async fn restore(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    set_stage(app, &asked, Stage::Active).await
}

async fn set_stage(app: Arc<App>, asked: &Asked, stage: Stage) -> Answer {
    let id = run_id(asked)?;
    app.decide(move |decision| {
        let mut run = get_run(decision, &id)?;
        run.lifecycle_stage = stage;
        put(decision, &run)
    })
    .await?;
    super::done()
}

/// Every point of a metric, page by page.
pub(crate) async fn history(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (id, key) = (run_id(&asked)?, asked.required("metric_key")?);
    let page = Page::of(&asked, HISTORY_PAGE, HISTORY_PAGE)?;
    let found = app.read(move |view| {
        get_run(view, &id)?;
        // One more than asked for tells whether there is a next page.
        let found: Result<Vec<MlflowMetric>, StoreError> =
            view.mlflow_metric_history((&id, &key), page.offset(), page.size() + 1);
        Ok::<_, Refusal>(found?)
    });
    let found = found.await?;
    let next = page.next(page.offset() + found.len());
    let told = found.iter().take(page.size()).map(entity::metric).collect();
    Ok(Json(super::paged("metrics", told, next)))
}
