//! Registered models, their tags and aliases.
//!
//! A model's id within the database is not its name, so that it keeps its versions when it is renamed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_store::{MlflowDocument, MlflowKind, MlflowLabel, MlflowLabelKind, View};
use serde_json::{Value, json};

use super::Answer;
use super::asked::Asked;
use super::check;
use super::entity::{self, RegisteredModel};
use super::experiments::number;
use super::filter::{self, Attribute, Comparator, Entity, Found, Kind, Operand, Subject, Vocabulary};
use super::page::Page;
use super::refusal::Refusal;
use super::versions;
use super::words;
use crate::app::{App, Decision};

/// Models per page, unless a search says otherwise, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;
/// The tag that makes a model a prompt; what does not have it counts as `false`.
const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";

const WORDS: Vocabulary = Vocabulary {
    entities: &[("attribute", Entity::Attribute), ("tag", Entity::Tag), ("tags", Entity::Tag)],
    attributes: &[("name", "name", Kind::Text)],
};
const ORDER_ATTRIBUTES: &[Attribute] = &[
    ("name", "name", Kind::Text),
    ("timestamp", "last_updated_timestamp", Kind::Number),
    ("last_updated_timestamp", "last_updated_timestamp", Kind::Number),
    ("creation_timestamp", "creation_timestamp", Kind::Number),
];
const ORDER_WORDS: Vocabulary =
    Vocabulary { entities: &[("attribute", Entity::Attribute)], attributes: ORDER_ATTRIBUTES };

/// A registered model and its id.
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) model: RegisteredModel,
}

/// A model by its name.
pub(crate) fn get_model(view: &View<'_>, name: &str) -> Result<Known, Refusal> {
    check::model_name(name)?;
    let found = view.mlflow_named(MlflowKind::RegisteredModel, name)?;
    let found =
        found.ok_or_else(|| Refusal::absent(format!("Registered Model with name={name} not found")))?;
    known(found)
}

fn known(document: MlflowDocument) -> Result<Known, Refusal> {
    Ok(Known { id: document.id.clone(), model: entity::read(document)? })
}

/// Keeps a model, changed now.
pub(crate) fn put(decision: &Decision<'_, '_>, known: &mut Known) -> Result<(), Refusal> {
    known.model.last_updated_timestamp = decision.now().0;
    let document = entity::document(&known.id, "", Some(&known.model.name), &known.model)?;
    Ok(decision.put_mlflow_document(MlflowKind::RegisteredModel, &document)?)
}

fn tell(view: &View<'_>, known: &Known) -> Result<Value, Refusal> {
    let model = &known.model;
    let mut told = json!({
        "name": model.name,
        "creation_timestamp": model.creation_timestamp,
        "last_updated_timestamp": model.last_updated_timestamp,
        "latest_versions": versions::latest(view, known, &[])?,
        "tags": entity::labels(view, MlflowLabelKind::Tag, &known.id)?,
        "aliases": aliases(view, &known.id)?
            .into_iter()
            .map(|alias| json!({ "alias": alias.key, "version": alias.value }))
            .collect::<Vec<_>>(),
    });
    if let Some(description) = &model.description {
        told["description"] = json!(description);
    }
    Ok(told)
}

/// The aliases of a model's versions.
pub(crate) fn aliases(view: &View<'_>, id: &str) -> Result<Vec<MlflowLabel>, Refusal> {
    Ok(view.mlflow_labels(MlflowLabelKind::Alias, id)?)
}

/// A tag in the registry.
pub(crate) fn tag(asked: &Asked) -> Result<(String, String), Refusal> {
    let (key, value) = (asked.required("key")?, asked.text("value")?.unwrap_or_default());
    check::key("key", &key)?;
    check::length("value", &value, check::REGISTRY_TAG_CHARS_MAX)?;
    Ok((key, value))
}

fn description(asked: &Asked) -> Result<Option<String>, Refusal> {
    let text = asked.text("description")?;
    text.iter().try_for_each(|text| check::length("description", text, check::DESCRIPTION_CHARS_MAX))?;
    Ok(text)
}

pub(crate) async fn create(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let name = asked.required("name")?;
    check::model_name(&name)?;
    let description = description(&asked)?.filter(|text| !text.is_empty());
    let tags: Result<Vec<_>, Refusal> = asked.objects("tags")?.iter().map(tag).collect();
    let (tags, id) = (tags?, words::fresh_id()?);
    let told = app.decide(move |decision| {
        if decision.mlflow_named(MlflowKind::RegisteredModel, &name)?.is_some() {
            return Err(Refusal::exists(format!("Registered Model (name={name}) already exists.")));
        }
        let now = decision.now().0;
        let model = RegisteredModel {
            name,
            creation_timestamp: now,
            last_updated_timestamp: now,
            description,
            last_version: 0,
        };
        let mut known = Known { id, model };
        put(decision, &mut known)?;
        for (key, value) in &tags {
            decision.put_mlflow_label(MlflowLabelKind::Tag, &known.id, (key, value))?;
        }
        tell(decision, &known)
    });
    Ok(Json(json!({ "registered_model": told.await? })))
}

pub(crate) async fn get(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let name = asked.required("name")?;
    let told = app.read(move |view| tell(view, &get_model(view, &name)?)).await?;
    Ok(Json(json!({ "registered_model": told })))
}

pub(crate) async fn rename(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (name, new_name) = (asked.required("name")?, asked.required("new_name")?);
    check::model_name(&new_name)?;
    let told = app.decide(move |decision| {
        let mut known = get_model(decision, &name)?;
        if name != new_name && decision.mlflow_named(MlflowKind::RegisteredModel, &new_name)?.is_some() {
            return Err(Refusal::exists(format!("Registered Model (name={new_name}) already exists.")));
        }
        known.model.name.clone_from(&new_name);
        put(decision, &mut known)?;
        versions::rename(decision, &known)?;
        tell(decision, &known)
    });
    Ok(Json(json!({ "registered_model": told.await? })))
}

pub(crate) async fn update(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (name, description) = (asked.required("name")?, description(&asked)?);
    let told = app.decide(move |decision| {
        let mut known = get_model(decision, &name)?;
        known.model.description = description.or(known.model.description);
        put(decision, &mut known)?;
        tell(decision, &known)
    });
    Ok(Json(json!({ "registered_model": told.await? })))
}

pub(crate) async fn delete(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let name = asked.required("name")?;
    app.decide(move |decision| {
        let known = get_model(decision, &name)?;
        for version in decision.mlflow_documents(MlflowKind::ModelVersion, Some(&known.id))? {
            decision.drop_mlflow_document(MlflowKind::ModelVersion, &version.id)?;
            decision.drop_mlflow_labels(&version.id)?;
        }
        decision.drop_mlflow_document(MlflowKind::RegisteredModel, &known.id)?;
        Ok::<_, Refusal>(decision.drop_mlflow_labels(&known.id)?)
    })
    .await?;
    super::done()
}

pub(crate) async fn set_tag(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (name, (key, value)) = (asked.required("name")?, tag(&asked)?);
    app.decide(move |decision| {
        let mut known = get_model(decision, &name)?;
        put(decision, &mut known)?;
        Ok::<_, Refusal>(decision.put_mlflow_label(MlflowLabelKind::Tag, &known.id, (&key, &value))?)
    })
    .await?;
    super::done()
}

pub(crate) async fn delete_tag(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (name, key) = (asked.required("name")?, asked.required("key")?);
    app.decide(move |decision| {
        let known = get_model(decision, &name)?;
        decision.drop_mlflow_label(MlflowLabelKind::Tag, &known.id, &key)?;
        Ok::<_, Refusal>(())
    })
    .await?;
    super::done()
}

pub(crate) async fn delete_alias(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (name, alias) = (asked.required("name")?, asked.required("alias")?);
    app.decide(move |decision| {
        let mut known = get_model(decision, &name)?;
        decision.drop_mlflow_label(MlflowLabelKind::Alias, &known.id, &alias)?;
        put(decision, &mut known)
    })
    .await?;
    super::done()
}

/// The newest version of each stage.
pub(crate) async fn latest_versions(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (name, stages) = (asked.required("name")?, asked.texts("stages")?);
    let told = app.read(move |view| versions::latest(view, &get_model(view, &name)?, &stages));
    Ok(Json(json!({ "model_versions": told.await? })))
}

/// A model with its tags.
struct Candidate {
    known: Known,
    tags: BTreeMap<String, String>,
}

impl Subject for Candidate {
    fn find(&self, entity: Entity, key: &str) -> Vec<Found> {
        let model = &self.known.model;
        match (entity, key) {
            (Entity::Tag, key) => {
                tag_or_no_prompt(self.tags.get(key), key).map(Found::Text).into_iter().collect()
            }
            (_, "name") => vec![Found::Text(model.name.clone())],
            (_, "creation_timestamp") => vec![number(model.creation_timestamp)],
            (_, "last_updated_timestamp") => vec![number(model.last_updated_timestamp)],
            _ => Vec::new(),
        }
    }
}

/// A tag's value; what nobody called a prompt is none.
pub(crate) fn tag_or_no_prompt(value: Option<&String>, key: &str) -> Option<String> {
    value.cloned().or_else(|| (key == PROMPT_TAG).then(|| "false".to_owned()))
}

/// Whether a model version is a prompt, whose text is in its tags and not in files.
pub(crate) fn is_prompt(tags: &[(String, String)]) -> bool {
    tags.iter().any(|(key, value)| key == PROMPT_TAG && value == "true")
}

pub(crate) async fn search(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let page = Page::of(&asked, PAGE, PAGE_MAX)?;
    let clauses = asked.filter(&WORDS)?;
    let order = asked.order(&ORDER_WORDS)?;
    let found = app.read(move |view| {
        let mut found = Vec::new();
        for document in view.mlflow_documents(MlflowKind::RegisteredModel, None)? {
            let known = known(document)?;
            let tags = view.mlflow_labels(MlflowLabelKind::Tag, &known.id)?;
            let tags = tags.into_iter().map(|label| (label.key, label.value)).collect();
            let candidate = Candidate { known, tags };
            if clauses.iter().all(|clause| clause.holds(&candidate)) {
                found.push(candidate);
            }
        }
        found.sort_by(|left, right| left.known.model.name.cmp(&right.known.model.name));
        filter::sort(&mut found, &order, |candidate| candidate);
        let (page, next) = page.cut(found);
        let told: Result<Vec<Value>, Refusal> = page.iter().map(|one| tell(view, &one.known)).collect();
        Ok::<_, Refusal>((told?, next))
    });
    let (told, next) = found.await?;
    Ok(Json(super::paged("registered_models", told, next)))
}

/// The name that a filter asks for exactly, if it does.
pub(crate) fn asked_name(clauses: &[filter::Clause]) -> Option<&str> {
    clauses.iter().find_map(|clause| match (&clause.operand, clause.comparator) {
        (Operand::Text(name), Comparator::Equal)
            if clause.entity == Entity::Attribute && clause.key == "name" =>
        {
            Some(name.as_str())
        }
        _ => None,
    })
}
