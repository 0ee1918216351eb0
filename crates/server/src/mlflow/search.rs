//! Searching runs. Only what the filter and the order look at is read of every run; the rest is read of those on the page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use edgeward_store::{MlflowDocument, MlflowKind, MlflowLabelKind, MlflowMetric, View};
use serde_json::{Value, json};

use super::Answer;
use super::asked::Asked;
use super::entity::{self, RunInfo, ViewType};
use super::experiments::number;
use super::filter::{self, Attribute, Clause, Entity, Found, Kind, OrderKey, Subject, Vocabulary};
use super::page::Page;
use super::refusal::Refusal;
use super::runs;
use crate::app::App;

/// Runs per page, unless a search says otherwise, and at most.
const PAGE: usize = 1000;
const PAGE_MAX: usize = 50_000;

const ATTRIBUTES: &[Attribute] = &[
    ("run_id", "run_id", Kind::Text),
    ("run_name", "run_name", Kind::Text),
    ("Run name", "run_name", Kind::Text),
    ("Run Name", "run_name", Kind::Text),
    ("run name", "run_name", Kind::Text),
    ("experiment_id", "experiment_id", Kind::Text),
    ("user_id", "user_id", Kind::Text),
    ("status", "status", Kind::Text),
    ("artifact_uri", "artifact_uri", Kind::Text),
    ("start_time", "start_time", Kind::Number),
    ("created", "start_time", Kind::Number),
    ("Created", "start_time", Kind::Number),
    ("end_time", "end_time", Kind::Number),
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
        ("run", Entity::Attribute),
        ("dataset", Entity::Dataset),
        ("datasets", Entity::Dataset),
    ],
    attributes: ATTRIBUTES,
};

/// A run, with as much of what it logged as the search looks at.
struct Candidate {
    info: RunInfo,
    metrics: BTreeMap<String, f64>,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    inputs: Vec<Value>,
}

impl Subject for Candidate {
    fn find(&self, entity: Entity, key: &str) -> Vec<Found> {
        let text = |text: &String| Found::Text(text.clone());
        match entity {
            Entity::Metric => self.metrics.get(key).map(|value| Found::Number(*value)).into_iter().collect(),
            Entity::Param => self.params.get(key).map(text).into_iter().collect(),
            Entity::Tag => self.tags.get(key).map(text).into_iter().collect(),
            Entity::Dataset => self.inputs.iter().flat_map(|input| dataset(input, key)).collect(),
            Entity::Attribute => self.attribute(key).into_iter().collect(),
            Entity::Metadata => Vec::new(),
        }
    }
}

impl Candidate {
    const fn new(info: RunInfo) -> Self {
        Self {
            info,
            metrics: BTreeMap::new(),
            params: BTreeMap::new(),
            tags: BTreeMap::new(),
            inputs: Vec::new(),
        }
    }

    fn attribute(&self, key: &str) -> Option<Found> {
        let info = &self.info;
        let text = match key {
            "start_time" => return Some(number(info.start_time)),
            "end_time" => return info.end_time.map(number),
            "run_id" => &info.run_id,
            "run_name" => &info.run_name,
            "experiment_id" => &info.experiment_id,
            "user_id" => &info.user_id,
            "status" => &info.status,
            "artifact_uri" => &info.artifact_uri,
            _ => return None,
        };
        Some(Found::Text(text.clone()))
    }
}

fn dataset(input: &Value, key: &str) -> Vec<Found> {
    let text = |value: &Value| value.as_str().map(|text| Found::Text(text.to_owned()));
    match key {
        "context" => {
            let tags = input["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
            let contexts = tags.iter().filter(|tag| tag["key"] == "mlflow.data.context");
            contexts.filter_map(|tag| text(&tag["value"])).collect()
        }
        key => text(&input["dataset"][key]).into_iter().collect(),
    }
}

/// What a search asks.
struct Search {
    experiments: Vec<String>,
    shows: ViewType,
    clauses: Vec<Clause>,
    order: Vec<OrderKey>,
    page: Page,
}

impl Search {
    fn of(asked: &Asked) -> Result<Self, Refusal> {
        let shows = ViewType::parse(asked.text("run_view_type")?.as_deref())?;
        let clauses = asked.filter(&WORDS)?;
        let order = asked.order(&WORDS)?;
        let mut experiments = Vec::new();
        for id in asked.texts("experiment_ids")? {
            if !experiments.contains(&id) {
                experiments.push(id);
            }
        }
        Ok(Self { experiments, shows, clauses, order, page: Page::of(asked, PAGE, PAGE_MAX)? })
    }

    /// What of a kind it looks at.
    fn keys(&self, entity: Entity) -> BTreeSet<&str> {
        let filtered = self.clauses.iter().map(|clause| (clause.entity, clause.key.as_str()));
        let ordered = self.order.iter().map(|key| (key.entity, key.key.as_str()));
        filtered.chain(ordered).filter(|(of, _)| *of == entity).map(|(_, key)| key).collect()
    }

    /// The runs of one experiment that match.
    fn matching(&self, view: &View<'_>, experiment: &str) -> Result<Vec<Candidate>, Refusal> {
        let mut candidates = BTreeMap::new();
        for document in view.mlflow_documents(MlflowKind::Run, Some(experiment))? {
            let info: RunInfo = entity::read(document)?;
            if self.shows.shows(info.lifecycle_stage) {
                candidates.insert(info.run_id.clone(), Candidate::new(info));
            }
        }
        self.read_labels(view, experiment, &mut candidates)?;
        for key in self.keys(Entity::Metric) {
            let metrics = view.mlflow_latest_metrics_below((MlflowKind::Run, experiment), Some(key))?;
            for MlflowMetric { owner, key, point, .. } in entity::latest_of_each(metrics) {
                if let Some(candidate) = candidates.get_mut(&owner) {
                    candidate.metrics.insert(key, point.value);
                }
            }
        }
        if !self.keys(Entity::Dataset).is_empty() {
            for (run, candidate) in &mut candidates {
                let inputs: Vec<MlflowDocument> = view.mlflow_documents(MlflowKind::Input, Some(run))?;
                candidate.inputs = inputs.into_iter().map(|input| input.document).collect();
            }
        }
        let matches = |candidate: &Candidate| self.clauses.iter().all(|clause| clause.holds(candidate));
        Ok(candidates.into_values().filter(matches).collect())
    }

    fn read_labels(
        &self,
        view: &View<'_>,
        experiment: &str,
        candidates: &mut BTreeMap<String, Candidate>,
    ) -> Result<(), Refusal> {
        for (entity, kind) in [(Entity::Param, MlflowLabelKind::Param), (Entity::Tag, MlflowLabelKind::Tag)] {
            for key in self.keys(entity) {
                for label in view.mlflow_labels_below(kind, (MlflowKind::Run, experiment), Some(key))? {
                    let Some(candidate) = candidates.get_mut(&label.owner) else { continue };
                    let labels =
                        if entity == Entity::Param { &mut candidate.params } else { &mut candidate.tags };
                    labels.insert(label.key, label.value);
                }
            }
        }
        Ok(())
    }
}

pub(crate) async fn search(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let search = Search::of(&asked)?;
    let found = app.read(move |view| {
        let mut found = Vec::new();
        for experiment in &search.experiments {
            found.extend(search.matching(view, experiment)?);
        }
        found.sort_by(|left, right| {
            let newest = right.info.start_time.cmp(&left.info.start_time);
            newest.then_with(|| left.info.run_id.cmp(&right.info.run_id))
        });
        filter::sort(&mut found, &search.order, |candidate| candidate);
        let (page, next) = search.page.cut(found);
        let told: Result<Vec<Value>, Refusal> = page.iter().map(|one| runs::tell(view, &one.info)).collect();
        Ok::<_, Refusal>((told?, next))
    });
    let (told, next) = found.await?;
    Ok(Json(super::paged("runs", told, next)))
}

/// The data sets that runs of some experiments used, for whoever picks one to filter by.
pub(crate) async fn datasets(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let experiments = asked.texts("experiment_ids")?;
    let found = app.read(move |view| {
        let mut found = BTreeSet::new();
        for experiment in &experiments {
            for run in view.mlflow_documents(MlflowKind::Run, Some(experiment))? {
                for input in view.mlflow_documents(MlflowKind::Input, Some(&run.id))? {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let context = dataset(&input.document, "context").into_iter().next();
                    let context =
                        if let Some(Found::Text(context)) = context { context } else { String::new() };
                    let set = &input.document["dataset"];
                    found.insert((experiment.clone(), text(&set["name"]), text(&set["digest"]), context));
                }
            }
        }
        Ok::<_, Refusal>(found)
    });
    let told: Vec<Value> = found
        .await?
        .into_iter()
        .map(|(experiment, name, digest, context)| {
            json!({ "experiment_id": experiment, "name": name, "digest": digest, "context": context })
        })
        .collect();
    Ok(Json(json!({ "dataset_summaries": told })))
}
