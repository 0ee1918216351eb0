//! Versions of registered models.
//!
//! A version's number is never given twice. Its id is that of its model, a slash and the number with leading noughts, so
//! that versions sort by number.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_store::{MlflowKind, MlflowLabel, MlflowLabelKind, View};
use serde_json::{Value, json};

use super::Answer;
use super::asked::Asked;
use super::check;
use super::entity::{self, LoggedModel, ModelVersion};
use super::experiments::number;
use super::filter::{self, Attribute, Entity, Found, Kind, Subject, Vocabulary};
use super::logged_models;
use super::page::Page;
use super::refusal::Refusal;
use super::registry::{self, Known, get_model};
use super::runs;
use crate::app::{App, Decision};

/// Versions per page, unless a search says otherwise, and at most.
const PAGE: usize = 10_000;
const PAGE_MAX: usize = 200_000;
/// The stages of old, in which a version may be.
const STAGES: [&str; 4] = ["None", "Staging", "Production", "Archived"];

const WORDS: Vocabulary = Vocabulary {
    entities: &[("attribute", Entity::Attribute), ("tag", Entity::Tag), ("tags", Entity::Tag)],
    attributes: &[
        ("name", "name", Kind::Text),
        ("version_number", "version_number", Kind::Number),
        ("run_id", "run_id", Kind::Text),
        ("source_path", "source", Kind::Text),
    ],
};
const ORDER_ATTRIBUTES: &[Attribute] = &[
    ("name", "name", Kind::Text),
    ("version_number", "version_number", Kind::Number),
    ("creation_timestamp", "creation_timestamp", Kind::Number),
    ("last_updated_timestamp", "last_updated_timestamp", Kind::Number),
];
const ORDER_WORDS: Vocabulary =
    Vocabulary { entities: &[("attribute", Entity::Attribute)], attributes: ORDER_ATTRIBUTES };

fn id_of(model: &str, version: u64) -> String {
    format!("{model}/{version:020}")
}

/// A version and its id.
pub(crate) struct Versioned {
    pub(crate) id: String,
    pub(crate) version: ModelVersion,
}

/// A version of a model, by its number.
pub(crate) fn of_model(view: &View<'_>, known: &Known, number: u64) -> Result<Versioned, Refusal> {
    let id = id_of(&known.id, number);
    let found: Option<ModelVersion> = entity::find(view, MlflowKind::ModelVersion, &id)?;
    let name = &known.model.name;
    let absent = || Refusal::absent(format!("Model Version (name={name}, version={number}) not found"));
    Ok(Versioned { version: found.ok_or_else(absent)?, id })
}

fn get_version(view: &View<'_>, asked: &(String, u64)) -> Result<(Known, Versioned), Refusal> {
    let known = get_model(view, &asked.0)?;
    let version = of_model(view, &known, asked.1)?;
    Ok((known, version))
}

fn put(decision: &Decision<'_, '_>, model: &str, versioned: &mut Versioned) -> Result<(), Refusal> {
    versioned.version.last_updated_timestamp = decision.now().0;
    let document = entity::document(&versioned.id, model, None, &versioned.version)?;
    Ok(decision.put_mlflow_document(MlflowKind::ModelVersion, &document)?)
}

fn named(asked: &Asked) -> Result<(String, u64), Refusal> {
    Ok((asked.required("name")?, check::version(&asked.required("version")?)?))
}

fn tell(view: &View<'_>, versioned: &Versioned, aliases: &[MlflowLabel]) -> Result<Value, Refusal> {
    let mut told = serde_json::to_value(&versioned.version)?;
    if let Value::Object(fields) = &mut told {
        fields.remove("storage_location");
    }
    let number = versioned.version.version.to_string();
    told["status"] = json!("READY");
    told["tags"] = entity::labels(view, MlflowLabelKind::Tag, &versioned.id)?;
    let own = aliases.iter().filter(|alias| alias.value == number);
    told["aliases"] = own.map(|alias| json!(alias.key)).collect();
    told["version"] = json!(number);
    Ok(told)
}

fn all(view: &View<'_>, model: &str) -> Result<Vec<Versioned>, Refusal> {
    let documents = view.mlflow_documents(MlflowKind::ModelVersion, Some(model))?;
    let read = |document: edgeward_store::MlflowDocument| {
        Ok(Versioned { id: document.id.clone(), version: entity::read(document)? })
    };
    documents.into_iter().map(read).collect()
}

/// The newest version in each of the stages that are asked for, or in every one.
pub(crate) fn latest(view: &View<'_>, known: &Known, stages: &[String]) -> Result<Vec<Value>, Refusal> {
    let stages: Result<Vec<&str>, Refusal> = stages.iter().map(|name| stage(name)).collect();
    let stages = stages?;
    let mut newest = BTreeMap::new();
    for versioned in all(view, &known.id)? {
        newest.insert(versioned.version.current_stage.clone(), versioned);
    }
    let aliases = registry::aliases(view, &known.id)?;
    let wanted = newest
        .values()
        .filter(|one| stages.is_empty() || stages.contains(&one.version.current_stage.as_str()));
    wanted.map(|versioned| tell(view, versioned, &aliases)).collect()
}

fn stage(name: &str) -> Result<&'static str, Refusal> {
    let found = STAGES.iter().find(|stage| stage.eq_ignore_ascii_case(name));
    found.copied().ok_or_else(|| {
        Refusal::invalid(format!(
            "Invalid Model Version stage: {name}. Value must be one of {}.",
            STAGES.join(", ")
        ))
    })
}

/// Gives every version of a model its new name.
pub(crate) fn rename(decision: &Decision<'_, '_>, known: &Known) -> Result<(), Refusal> {
    for mut versioned in all(decision, &known.id)? {
        versioned.version.name.clone_from(&known.model.name);
        put(decision, &known.id, &mut versioned)?;
    }
    Ok(())
}

/// What a version is made of.
struct Source {
    source: String,
    storage_location: Option<String>,
    run_id: Option<String>,
    model_id: Option<String>,
}

impl Source {
    /// Follows an address to what is kept here. An address in another store is believed; a path on the client's machine is
    /// not, for nobody else could read it.
    fn follow(mut self, view: &View<'_>, is_prompt: bool) -> Result<Self, Refusal> {
        let source = self.source.clone();
        if is_prompt {
            return Ok(self);
        }
        if source.split(['/', '\\', '?', '#']).any(|part| part == "..") {
            return Err(invalid_source(&source, "it leads upwards"));
        }
        match source.split_once(':') {
            Some(("models", rest)) => self.follow_model(view, rest)?,
            Some(("runs", rest)) => {
                let rest = rest.trim_start_matches('/');
                let run = rest.split('/').next().unwrap_or_default().to_owned();
                if self.run_id.as_ref().is_some_and(|given| *given != run) {
                    return Err(invalid_source(&source, "run_id names another run"));
                }
                runs::get_run(view, &run)?;
                self.run_id = Some(run);
            }
            None | Some(("file", _)) => {
                return Err(invalid_source(
                    &source,
                    "a local path cannot be read by others; log the files first, and name runs:/ or models:/",
                ));
            }
            Some(_) => {}
        }
        if let Some(model) = &self.model_id {
            let model = logged_models::get_model(view, model)?;
            self.run_id = self.run_id.or(model.source_run_id);
        }
        Ok(self)
    }

    /// `models:/m-...` is a logged model; `models:/name/3` and `models:/name@alias` are versions.
    fn follow_model(&mut self, view: &View<'_>, rest: &str) -> Result<(), Refusal> {
        let rest = rest.trim_start_matches('/');
        if rest.starts_with("m-") && !rest.contains(['/', '@']) {
            let model: LoggedModel = logged_models::get_model(view, rest)?;
            if self.model_id.as_ref().is_some_and(|given| given != rest) {
                return Err(invalid_source(&self.source, "model_id names another model"));
            }
            self.model_id = Some(rest.to_owned());
            self.run_id = self.run_id.take().or(model.source_run_id);
            self.storage_location = Some(model.artifact_uri);
            return Ok(());
        }
        let version = resolve(view, rest)?.version;
        self.storage_location = version.storage_location.or(Some(version.source));
        self.run_id = self.run_id.take().or(version.run_id);
        self.model_id = self.model_id.take().or(version.model_id);
        Ok(())
    }
}

fn invalid_source(source: &str, why: &str) -> Refusal {
    Refusal::invalid(format!("Invalid model version source: '{source}'. {why}."))
}

/// A version by `name/3`, `name/latest`, `name/Production` or `name@alias`.
fn resolve(view: &View<'_>, text: &str) -> Result<Versioned, Refusal> {
    if let Some((name, alias)) = text.split_once('@') {
        return by_alias(view, name, alias).map(|(_, versioned)| versioned);
    }
    let unclear = || Refusal::invalid(format!("Not a proper models:/ URI: models:/{text}"));
    let (name, which) = text.split_once('/').ok_or_else(unclear)?;
    let known = get_model(view, name)?;
    match which.parse() {
        Ok(number) => of_model(view, &known, number),
        Err(_) => {
            let wanted = if which.eq_ignore_ascii_case("latest") { None } else { Some(stage(which)?) };
            let mut versions = all(view, &known.id)?;
            versions.retain(|one| wanted.is_none_or(|stage| one.version.current_stage == stage));
            let none = || {
                Refusal::absent(format!("No versions of model with name '{name}' and stage '{which}' found"))
            };
            versions.pop().ok_or_else(none)
        }
    }
}

/// A version by its alias; `latest` is one without being set.
fn by_alias(view: &View<'_>, name: &str, alias: &str) -> Result<(Known, Versioned), Refusal> {
    let known = get_model(view, name)?;
    if alias.eq_ignore_ascii_case("latest") {
        let none = || Refusal::absent(format!("Latest version not found for model {name}."));
        let newest = all(view, &known.id)?.pop().ok_or_else(none)?;
        return Ok((known, newest));
    }
    let number = view.mlflow_label(MlflowLabelKind::Alias, &known.id, alias)?;
    let number =
        number.ok_or_else(|| Refusal::invalid(format!("Registered model alias {alias} not found.")))?;
    let versioned = of_model(view, &known, check::version(&number)?)?;
    Ok((known, versioned))
}

/// The version that an alias names, if there is one.
pub(crate) fn aliased(view: &View<'_>, name: &str, alias: &str) -> Result<Option<Versioned>, Refusal> {
    let Some(found) = view.mlflow_named(MlflowKind::RegisteredModel, name)? else { return Ok(None) };
    let Some(number) = view.mlflow_label(MlflowLabelKind::Alias, &found.id, alias)? else { return Ok(None) };
    let id = id_of(&found.id, check::version(&number)?);
    let version: Option<ModelVersion> = entity::find(view, MlflowKind::ModelVersion, &id)?;
    Ok(version.map(|version| Versioned { id, version }))
}

pub(crate) async fn create(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (name, source) = (asked.required("name")?, asked.required("source")?);
    let text = |field: &str| Ok::<_, Refusal>(asked.text(field)?.filter(|text| !text.is_empty()));
    let (run_id, model_id, run_link) = (text("run_id")?, text("model_id")?, text("run_link")?);
    let description = text("description")?;
    let tags: Result<Vec<_>, Refusal> = asked.objects("tags")?.iter().map(registry::tag).collect();
    let tags = tags?;
    check::model_name(&name)?;
    let told = app.decide(move |decision| {
        let mut known = get_model(decision, &name)?;
        let source = Source { source, storage_location: None, run_id, model_id };
        let source = source.follow(decision, registry::is_prompt(&tags))?;
        known.model.last_version += 1;
        registry::put(decision, &mut known)?;
        let number = known.model.last_version;
        if let Some(model) = &source.model_id {
            logged_models::note_version(decision, model, (&name, number))?;
        }
        let version = ModelVersion {
            name,
            version: number,
            creation_timestamp: decision.now().0,
            last_updated_timestamp: 0,
            current_stage: STAGES[0].to_owned(),
            source: source.source,
            storage_location: source.storage_location,
            description,
            user_id: None,
            run_id: source.run_id,
            run_link,
            model_id: source.model_id,
        };
        let mut versioned = Versioned { id: id_of(&known.id, number), version };
        put(decision, &known.id, &mut versioned)?;
        for (key, value) in &tags {
            decision.put_mlflow_label(MlflowLabelKind::Tag, &versioned.id, (key, value))?;
        }
        tell(decision, &versioned, &[])
    });
    Ok(Json(json!({ "model_version": told.await? })))
}

pub(crate) async fn get(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let named = named(&asked)?;
    let told = app.read(move |view| {
        let (known, versioned) = get_version(view, &named)?;
        tell(view, &versioned, &registry::aliases(view, &known.id)?)
    });
    Ok(Json(json!({ "model_version": told.await? })))
}

pub(crate) async fn update(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (named, description) = (named(&asked)?, asked.text("description")?);
    description
        .iter()
        .try_for_each(|text| check::length("description", text, check::DESCRIPTION_CHARS_MAX))?;
    let told = app.decide(move |decision| {
        let (mut known, mut versioned) = get_version(decision, &named)?;
        versioned.version.description = description.or(versioned.version.description);
        put(decision, &known.id, &mut versioned)?;
        registry::put(decision, &mut known)?;
        tell(decision, &versioned, &registry::aliases(decision, &known.id)?)
    });
    Ok(Json(json!({ "model_version": told.await? })))
}

pub(crate) async fn delete(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let named = named(&asked)?;
    app.decide(move |decision| {
        let (mut known, versioned) = get_version(decision, &named)?;
        let number = versioned.version.version.to_string();
        for alias in registry::aliases(decision, &known.id)? {
            if alias.value == number {
                decision.drop_mlflow_label(MlflowLabelKind::Alias, &known.id, &alias.key)?;
            }
        }
        decision.drop_mlflow_document(MlflowKind::ModelVersion, &versioned.id)?;
        decision.drop_mlflow_labels(&versioned.id)?;
        registry::put(decision, &mut known)
    })
    .await?;
    super::done()
}

pub(crate) async fn transition(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (named, wanted) = (named(&asked)?, stage(&asked.required("stage")?)?);
    let archive = asked.boolean("archive_existing_versions")?.unwrap_or(false);
    if archive && !matches!(wanted, "Staging" | "Production") {
        return Err(Refusal::invalid(format!(
            "Model version transition cannot archive existing model versions because '{wanted}' is not an Active stage. \
             Valid stages are Staging and Production"
        )));
    }
    let told = app.decide(move |decision| {
        let (mut known, mut versioned) = get_version(decision, &named)?;
        for mut other in all(decision, &known.id)? {
            if archive && other.id != versioned.id && other.version.current_stage == wanted {
                STAGES[3].clone_into(&mut other.version.current_stage);
                put(decision, &known.id, &mut other)?;
            }
        }
        wanted.clone_into(&mut versioned.version.current_stage);
        put(decision, &known.id, &mut versioned)?;
        registry::put(decision, &mut known)?;
        tell(decision, &versioned, &registry::aliases(decision, &known.id)?)
    });
    Ok(Json(json!({ "model_version": told.await? })))
}

pub(crate) async fn download_uri(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let named = named(&asked)?;
    let uri = app.read(move |view| {
        let version = get_version(view, &named)?.1.version;
        Ok::<_, Refusal>(version.storage_location.unwrap_or(version.source))
    });
    Ok(Json(json!({ "artifact_uri": uri.await? })))
}

pub(crate) async fn set_tag(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (named, (key, value)) = (named(&asked)?, registry::tag(&asked)?);
    app.decide(move |decision| {
        let (known, mut versioned) = get_version(decision, &named)?;
        put(decision, &known.id, &mut versioned)?;
        Ok::<_, Refusal>(decision.put_mlflow_label(MlflowLabelKind::Tag, &versioned.id, (&key, &value))?)
    })
    .await?;
    super::done()
}

pub(crate) async fn delete_tag(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (named, key) = (named(&asked)?, asked.required("key")?);
    app.decide(move |decision| {
        let (_, versioned) = get_version(decision, &named)?;
        decision.drop_mlflow_label(MlflowLabelKind::Tag, &versioned.id, &key)?;
        Ok::<_, Refusal>(())
    })
    .await?;
    super::done()
}

pub(crate) async fn set_alias(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (named, alias) = (named(&asked)?, asked.required("alias")?);
    check::alias(&alias)?;
    app.decide(move |decision| {
        let (mut known, versioned) = get_version(decision, &named)?;
        let number = versioned.version.version.to_string();
        decision.put_mlflow_label(MlflowLabelKind::Alias, &known.id, (&alias, &number))?;
        registry::put(decision, &mut known)
    })
    .await?;
    // A project may follow the alias.
    app.wake.notify_one();
    super::done()
}

pub(crate) async fn get_by_alias(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (name, alias) = (asked.required("name")?, asked.required("alias")?);
    let told = app.read(move |view| {
        let (known, versioned) = by_alias(view, &name, &alias)?;
        tell(view, &versioned, &registry::aliases(view, &known.id)?)
    });
    Ok(Json(json!({ "model_version": told.await? })))
}

/// A version with its tags.
struct Candidate {
    versioned: Versioned,
    tags: BTreeMap<String, String>,
}

impl Subject for Candidate {
    fn find(&self, entity: Entity, key: &str) -> Vec<Found> {
        let version = &self.versioned.version;
        let text = match (entity, key) {
            (Entity::Tag, key) => registry::tag_or_no_prompt(self.tags.get(key), key),
            (_, "name") => Some(version.name.clone()),
            (_, "run_id") => version.run_id.clone(),
            (_, "source") => Some(version.source.clone()),
            (_, "version_number") => return vec![number(version.version.cast_signed())],
            (_, "creation_timestamp") => return vec![number(version.creation_timestamp)],
            (_, "last_updated_timestamp") => return vec![number(version.last_updated_timestamp)],
            _ => None,
        };
        text.map(Found::Text).into_iter().collect()
    }
}

fn candidates(view: &View<'_>, clauses: &[filter::Clause]) -> Result<Vec<Candidate>, Refusal> {
    let models = match registry::asked_name(clauses) {
        Some(name) => view.mlflow_named(MlflowKind::RegisteredModel, name)?.into_iter().collect(),
        None => view.mlflow_documents(MlflowKind::RegisteredModel, None)?,
    };
    let mut found = Vec::new();
    for model in models {
        for versioned in all(view, &model.id)? {
            let tags = view.mlflow_labels(MlflowLabelKind::Tag, &versioned.id)?;
            let tags = tags.into_iter().map(|label| (label.key, label.value)).collect();
            let candidate = Candidate { versioned, tags };
            if clauses.iter().all(|clause| clause.holds(&candidate)) {
                found.push(candidate);
            }
        }
    }
    Ok(found)
}

pub(crate) async fn search(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let page = Page::of(&asked, PAGE, PAGE_MAX)?;
    let clauses = asked.filter(&WORDS)?;
    let order = asked.order(&ORDER_WORDS)?;
    let found = app.read(move |view| {
        let mut found = candidates(view, &clauses)?;
        found.sort_by(|left, right| {
            let (left, right) = (&left.versioned.version, &right.versioned.version);
            let newest = right.last_updated_timestamp.cmp(&left.last_updated_timestamp);
            let by_name = left.name.cmp(&right.name).then(right.version.cmp(&left.version));
            if order.is_empty() { newest.then(by_name) } else { by_name }
        });
        filter::sort(&mut found, &order, |candidate| candidate);
        let (page, next) = page.cut(found);
        let told: Result<Vec<Value>, Refusal> = page
            .iter()
            .map(|one| {
                let model = one.versioned.id.split('/').next().unwrap_or_default();
                tell(view, &one.versioned, &registry::aliases(view, model)?)
            })
            .collect();
        Ok::<_, Refusal>((told?, next))
    });
    let (told, next) = found.await?;
    Ok(Json(super::paged("model_versions", told, next)))
}
