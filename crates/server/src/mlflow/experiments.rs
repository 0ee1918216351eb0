//! Experiments: what runs, logged models and traces belong to.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_store::{MlflowKind, MlflowLabel, MlflowLabelKind, View};
use serde_json::{Value, json};

use super::Answer;
use super::asked::Asked;
use super::check;
use super::entity::{self, Experiment, Stage, ViewType};
use super::filter::{self, Attribute, Entity, Found, Kind, OrderKey, Subject, Vocabulary};
use super::page::Page;
use super::refusal::{Code, Refusal};
use crate::app::{App, Decision};

/// Experiments per page of a search, unless it says otherwise, and at most.
const PAGE: usize = 1000;
const PAGE_MAX: usize = 50_000;

const ATTRIBUTES: &[Attribute] = &[
    ("name", "name", Kind::Text),
    ("experiment_id", "experiment_id", Kind::Text),
    ("creation_time", "creation_time", Kind::Number),
    ("last_update_time", "last_update_time", Kind::Number),
];
const WORDS: Vocabulary = Vocabulary {
    entities: &[("attribute", Entity::Attribute), ("tag", Entity::Tag), ("tags", Entity::Tag)],
    attributes: ATTRIBUTES,
};

/// An experiment with its tags.
struct Tagged {
    experiment: Experiment,
    tags: Vec<MlflowLabel>,
}

impl Tagged {
    fn told(&self) -> Result<Value, Refusal> {
        let mut told = serde_json::to_value(&self.experiment)?;
        told["tags"] = self.tags.iter().map(|tag| json!({ "key": tag.key, "value": tag.value })).collect();
        Ok(told)
    }
}

impl Subject for Tagged {
    fn find(&self, entity: Entity, key: &str) -> Vec<Found> {
        let Experiment { name, experiment_id, creation_time, last_update_time, .. } = &self.experiment;
        match (entity, key) {
            (Entity::Tag, key) => {
                let tag = self.tags.iter().find(|tag| tag.key == key);
                tag.map(|tag| Found::Text(tag.value.clone())).into_iter().collect()
            }
            (_, "name") => vec![Found::Text(name.clone())],
            (_, "experiment_id") => vec![Found::Text(experiment_id.clone())],
            (_, "creation_time") => vec![number(*creation_time)],
            (_, "last_update_time") => vec![number(*last_update_time)],
            _ => Vec::new(),
        }
    }
}

/// A time as filters compare it.
#[expect(clippy::cast_precision_loss, reason = "times in milliseconds are far below 2^53")]
pub(crate) const fn number(time: i64) -> Found {
    Found::Number(time as f64)
}

/// An experiment, whether active or not.
pub(crate) fn get_experiment(view: &View<'_>, id: &str) -> Result<Experiment, Refusal> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::invalid(format!(
            "Invalid experiment ID '{id}'. Experiment ID must be a valid integer."
        )));
    }
    let found = entity::find(view, MlflowKind::Experiment, id)?;
    found.ok_or_else(|| Refusal::absent(format!("No Experiment with id={id} exists")))
}

/// An experiment that something may be added to.
pub(crate) fn active_experiment(view: &View<'_>, id: &str) -> Result<Experiment, Refusal> {
    let experiment = get_experiment(view, id)?;
    match experiment.lifecycle_stage {
        Stage::Active => Ok(experiment),
        Stage::Deleted => Err(Refusal::invalid(format!(
            "The experiment {id} must be in the 'active' state. Current state is deleted."
        ))),
    }
}

pub(crate) fn put(decision: &Decision<'_, '_>, experiment: &Experiment) -> Result<(), Refusal> {
    let id = &experiment.experiment_id;
    let document = entity::document(id, "", Some(&experiment.name), experiment)?;
    Ok(decision.put_mlflow_document(MlflowKind::Experiment, &document)?)
}

fn check_tag(key: &str, value: &str) -> Result<(), Refusal> {
    check::key("key", key)?;
    check::length("value", value, check::EXPERIMENT_TAG_CHARS_MAX)
}

pub(crate) async fn create(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let name = asked.required("name")?;
    check::experiment_name(&name)?;
    let location = asked.text("artifact_location")?.filter(|text| !text.is_empty());
    let mut tags = Vec::new();
    for tag in asked.objects("tags")? {
        let (key, value) = (tag.required("key")?, tag.text("value")?.unwrap_or_default());
        check_tag(&key, &value)?;
        tags.push((key, value));
    }
    let id = app.decide(move |decision| {
        if let Some(known) = decision.mlflow_named(MlflowKind::Experiment, &name)? {
            return Err(taken(&entity::read(known)?));
        }
        let last = decision.mlflow_last_number(MlflowKind::Experiment)?;
        let id = last.map_or(0, |last| last + 1).to_string();
        let now = decision.now().0;
        let experiment = Experiment {
            artifact_location: location.unwrap_or_else(|| format!("mlflow-artifacts:/{id}")),
            experiment_id: id.clone(),
            name,
            lifecycle_stage: Stage::Active,
            last_update_time: now,
            creation_time: now,
        };
        put(decision, &experiment)?;
        for (key, value) in &tags {
            decision.put_mlflow_label(MlflowLabelKind::Tag, &id, (key, value))?;
        }
        Ok(id)
    });
    Ok(Json(json!({ "experiment_id": id.await? })))
}

fn taken(known: &Experiment) -> Refusal {
    let name = &known.name;
    Refusal::exists(match known.lifecycle_stage {
        Stage::Active => format!("Experiment(name={name}) already exists."),
        Stage::Deleted => format!(
            "Experiment(name={name}) already exists in deleted state. You can restore the experiment, or rename the \
             deleted experiment to reuse its name."
        ),
    })
}

pub(crate) async fn get(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = asked.required("experiment_id")?;
    let told = app.read(move |view| tell(view, get_experiment(view, &id)?));
    Ok(Json(json!({ "experiment": told.await? })))
}

fn tell(view: &View<'_>, experiment: Experiment) -> Result<Value, Refusal> {
    let tags = view.mlflow_labels(MlflowLabelKind::Tag, &experiment.experiment_id)?;
    Tagged { experiment, tags }.told()
}

pub(crate) async fn get_by_name(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let name = asked.required("experiment_name")?;
    let told = app.read(move |view| {
        let found = view.mlflow_named(MlflowKind::Experiment, &name)?;
        let found =
            found.ok_or_else(|| Refusal::absent(format!("Could not find experiment with name '{name}'")))?;
        tell(view, entity::read(found)?)
    });
    Ok(Json(json!({ "experiment": told.await? })))
}

pub(crate) async fn delete(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    change(app, &asked, |experiment| match (experiment.lifecycle_stage, experiment.experiment_id.as_str()) {
        (Stage::Deleted, id) => Err(Refusal::absent(format!("No Experiment with id={id} exists"))),
        (Stage::Active, "0") => Err(Refusal::invalid("Cannot delete the default experiment '0'.")),
        (Stage::Active, _) => {
            experiment.lifecycle_stage = Stage::Deleted;
            Ok(())
        }
    })
    .await
}

pub(crate) async fn restore(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    change(app, &asked, |experiment| match experiment.lifecycle_stage {
        Stage::Active => {
            Err(Refusal::absent(format!("No deleted Experiment with id={} exists", experiment.experiment_id)))
        }
        Stage::Deleted => {
            experiment.lifecycle_stage = Stage::Active;
            Ok(())
        }
    })
    .await
}

async fn change(
    app: Arc<App>,
    asked: &Asked,
    change: impl FnOnce(&mut Experiment) -> Result<(), Refusal> + Send + 'static,
) -> Answer {
    let id = asked.required("experiment_id")?;
    app.decide(move |decision| {
        let mut experiment = get_experiment(decision, &id)?;
        change(&mut experiment)?;
        experiment.last_update_time = decision.now().0;
        put(decision, &experiment)
    })
    .await?;
    super::done()
}

pub(crate) async fn update(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = asked.required("experiment_id")?;
    let Some(name) = asked.text("new_name")?.filter(|name| !name.is_empty()) else { return super::done() };
    check::experiment_name(&name)?;
    app.decide(move |decision| {
        let mut experiment = get_experiment(decision, &id)?;
        if experiment.lifecycle_stage == Stage::Deleted {
            return Err(Refusal::new(Code::InvalidState, "Cannot rename a non-active experiment."));
        }
        let known = decision.mlflow_named(MlflowKind::Experiment, &name)?;
        if let Some(known) = known.filter(|known| known.id != id) {
            return Err(taken(&entity::read(known)?));
        }
        (experiment.name, experiment.last_update_time) = (name, decision.now().0);
        put(decision, &experiment)
    })
    .await?;
    super::done()
}

pub(crate) async fn set_tag(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (id, key) = (asked.required("experiment_id")?, asked.required("key")?);
    let value = asked.text("value")?.unwrap_or_default();
    check_tag(&key, &value)?;
    app.decide(move |decision| {
        active_experiment(decision, &id)?;
        Ok::<_, Refusal>(decision.put_mlflow_label(MlflowLabelKind::Tag, &id, (&key, &value))?)
    })
    .await?;
    super::done()
}

pub(crate) async fn delete_tag(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (id, key) = (asked.required("experiment_id")?, asked.required("key")?);
    app.decide(move |decision| {
        active_experiment(decision, &id)?;
        match decision.drop_mlflow_label(MlflowLabelKind::Tag, &id, &key)? {
            true => Ok(()),
            false => Err(Refusal::absent(format!("No tag with name: {key} in experiment with id {id}"))),
        }
    })
    .await?;
    super::done()
}

pub(crate) async fn search(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let page = Page::of(&asked, PAGE, PAGE_MAX)?;
    let shows = ViewType::parse(asked.text("view_type")?.as_deref())?;
    let clauses = asked.filter(&WORDS)?;
    let order = asked.order(&WORDS)?;
    for (key, text) in order.iter().zip(asked.texts("order_by")?) {
        if key.entity != Entity::Attribute {
            return Err(Refusal::invalid(format!("Invalid order_by entity: '{text}'")));
        }
    }
    let found = app.read(move |view| {
        let mut found = Vec::new();
        for document in view.mlflow_documents(MlflowKind::Experiment, None)? {
            let experiment: Experiment = entity::read(document)?;
            if shows.shows(experiment.lifecycle_stage) {
                let tags = view.mlflow_labels(MlflowLabelKind::Tag, &experiment.experiment_id)?;
                found.push(Tagged { experiment, tags });
            }
        }
        Ok::<_, Refusal>(found)
    });
    let mut found = found.await?;
    found.retain(|one| clauses.iter().all(|clause| clause.holds(one)));
    sort(&mut found, &order);
    let (found, next) = page.cut(found);
    let told: Result<Vec<Value>, Refusal> = found.iter().map(Tagged::told).collect();
    Ok(Json(super::paged("experiments", told?, next)))
}

/// By the order asked for, then the newest first.
fn sort(found: &mut Vec<Tagged>, order: &[OrderKey]) {
    let newest = |one: &Tagged| {
        let id: u64 = one.experiment.experiment_id.parse().unwrap_or_default();
        std::cmp::Reverse((if order.is_empty() { one.experiment.creation_time } else { 0 }, id))
    };
    found.sort_by_key(newest);
    filter::sort(found, order, |one| one);
}
