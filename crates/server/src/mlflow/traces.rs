//! Traces: what is said about each is kept here, its spans are a file beside it, as MLflow's clients leave it there when a
//! server takes no spans by themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use edgeward_store::{MlflowDocument, MlflowKind, View};
use serde_json::{Map, Value, json};

use super::Answer;
use super::asked::Asked;
use super::check;
use super::experiments::{active_experiment, get_experiment};
use super::filter::{self, Attribute, Entity, Found, Kind, Subject, Vocabulary};
use super::page::Page;
use super::refusal::{Code, Refusal};
use super::runs;
use super::words;
use crate::app::{App, Decision};

/// Traces per page, unless a search says otherwise, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 500;
/// Most traces in one request that names them.
const NAMED_MAX: usize = 1000;
/// Longest id.
const ID_LEN_MAX: usize = 250;
/// Longest document of a trace or an assessment, as JSON.
const DOCUMENT_LEN_MAX: usize = 1 << 20;
/// The tag that says where a trace's spans are.
const PLACE_TAG: &str = "mlflow.artifactLocation";
/// What names a trace, and what names the run that it was made in.
const NAME_TAG: &str = "mlflow.traceName";
const RUN_METADATA: &str = "mlflow.sourceRun";
/// The runs that a trace was linked to later.
const LINKED_RUNS_TAG: &str = "mlflow.linkedRuns";
const PROMPTS_TAG: &str = "mlflow.linkedPrompts";

const WORDS: Vocabulary = Vocabulary {
    entities: &[
        ("tag", Entity::Tag),
        ("tags", Entity::Tag),
        ("request_metadata", Entity::Metadata),
        ("metadata", Entity::Metadata),
        ("attribute", Entity::Attribute),
        ("attributes", Entity::Attribute),
        ("trace", Entity::Attribute),
    ],
    attributes: ATTRIBUTES,
};
const ATTRIBUTES: &[Attribute] = &[
    ("request_id", "trace_id", Kind::Text),
    ("trace_id", "trace_id", Kind::Text),
    ("client_request_id", "client_request_id", Kind::Text),
    ("experiment_id", "experiment_id", Kind::Text),
    ("status", "status", Kind::Text),
    ("name", "name", Kind::Text),
    ("run_id", "run_id", Kind::Text),
    ("timestamp", "timestamp", Kind::Number),
    ("timestamp_ms", "timestamp", Kind::Number),
    ("execution_time", "execution_time", Kind::Number),
    ("execution_time_ms", "execution_time", Kind::Number),
    ("end_time", "end_time", Kind::Number),
    ("end_time_ms", "end_time", Kind::Number),
];

/// What is kept of a trace: the `TraceInfoV3` that the client sent.
struct Trace(Value);

impl Trace {
    fn text(&self, field: &str) -> Option<String> {
        self.0[field].as_str().map(str::to_owned)
    }

    /// Milliseconds since 1970.
    fn began(&self) -> Option<f64> {
        let at: jiff::Timestamp = self.0["request_time"].as_str()?.parse().ok()?;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds are far below 2^53")]
        Some(at.as_millisecond() as f64)
    }

    /// Milliseconds.
    fn took(&self) -> Option<f64> {
        let seconds: f64 = self.0["execution_duration"].as_str()?.strip_suffix('s')?.parse().ok()?;
        Some((seconds * 1000.0).round())
    }

    fn attribute(&self, key: &str) -> Option<Found> {
        let text = match key {
            "timestamp" => return self.began().map(Found::Number),
            "execution_time" => return self.took().map(Found::Number),
            "end_time" => return Some(Found::Number(self.began()? + self.took()?)),
            "status" => self.text("state"),
            "name" => self.0["tags"][NAME_TAG].as_str().map(str::to_owned),
            "experiment_id" => Some(experiment_of(&self.0).to_owned()),
            field => self.text(field),
        };
        text.map(Found::Text)
    }

    /// The run it was made in, and those it was linked to.
    fn runs(&self) -> Vec<Found> {
        let made = self.0["trace_metadata"][RUN_METADATA].as_str().map(str::to_owned);
        let linked = self.0["tags"][LINKED_RUNS_TAG].as_str().unwrap_or_default();
        let linked = linked.split(',').filter(|run| !run.is_empty()).map(str::to_owned);
        made.into_iter().chain(linked).map(Found::Text).collect()
    }
}

impl Subject for Trace {
    fn find(&self, entity: Entity, key: &str) -> Vec<Found> {
        let text = |value: &Value| value.as_str().map(|text| Found::Text(text.to_owned()));
        match (entity, key) {
            (Entity::Tag, key) => text(&self.0["tags"][key]).into_iter().collect(),
            (Entity::Metadata, key) => text(&self.0["trace_metadata"][key]).into_iter().collect(),
            (_, "run_id") => self.runs(),
            (_, key) => self.attribute(key).into_iter().collect(),
        }
    }
}

fn experiment_of(info: &Value) -> &str {
    info["trace_location"]["mlflow_experiment"]["experiment_id"].as_str().unwrap_or_default()
}

fn absent(id: &str) -> Refusal {
    Refusal::absent(format!("Trace with ID '{id}' not found."))
}

fn get_trace(view: &View<'_>, id: &str) -> Result<MlflowDocument, Refusal> {
    view.mlflow_document(MlflowKind::Trace, id)?.ok_or_else(|| absent(id))
}

/// A trace with what is said of it.
fn tell(view: &View<'_>, document: MlflowDocument) -> Result<Value, Refusal> {
    let said = view.mlflow_documents(MlflowKind::Assessment, Some(&document.id))?;
    let mut info = document.document;
    if !said.is_empty() {
        info["assessments"] = said.into_iter().map(|one| one.document).collect();
    }
    Ok(info)
}

fn check_size(document: &Value) -> Result<(), Refusal> {
    match document.to_string().len() <= DOCUMENT_LEN_MAX {
        true => Ok(()),
        false => {
            Err(Refusal::too_large(format!("a trace's document is at most {DOCUMENT_LEN_MAX} bytes long")))
        }
    }
}

/// Takes a trace that has ended; the client uploads its spans to the place that the answer names.
pub(crate) async fn start(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let missing = || Refusal::invalid("Missing value for required parameter 'trace'.");
    let trace = asked.object("trace")?.ok_or_else(missing)?;
    let info = trace.object("trace_info")?.ok_or_else(missing)?;
    let id = info.required("trace_id")?;
    if id.len() > ID_LEN_MAX || id.contains('/') {
        return Err(Refusal::invalid(format!("Invalid value for parameter 'trace_id' supplied: {id}")));
    }
    let said = info.objects("assessments")?;
    let mut info = info.into_value();
    if let Value::Object(fields) = &mut info {
        fields.remove("assessments");
        for maps in ["tags", "trace_metadata"] {
            fields.entry(maps).or_insert_with(|| Value::Object(Map::new()));
        }
    }
    check_size(&info)?;
    let told = app.decide(move |decision| {
        let experiment = active_experiment(decision, experiment_of(&info))?;
        let root = experiment.artifact_location.trim_end_matches('/');
        info["tags"][PLACE_TAG] = json!(format!("{root}/traces/{id}/artifacts"));
        let document =
            MlflowDocument { id: id.clone(), parent: experiment.experiment_id, name: None, document: info };
        decision.put_mlflow_document(MlflowKind::Trace, &document)?;
        for one in said {
            put_assessment(decision, &id, one.into_value())?;
        }
        tell(decision, document)
    });
    Ok(Json(json!({ "trace": { "trace_info": told.await? } })))
}

pub(crate) async fn get(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    let told = app.read(move |view| tell(view, get_trace(view, &id)?)).await?;
    Ok(Json(json!({ "trace": { "trace_info": told } })))
}

pub(crate) async fn get_infos(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let ids = asked.texts("trace_ids")?;
    check_count(ids.len())?;
    let told = app.read(move |view| {
        let mut told = Vec::new();
        for id in &ids {
            if let Some(document) = view.mlflow_document(MlflowKind::Trace, id)? {
                told.push(tell(view, document)?);
            }
        }
        Ok::<_, Refusal>(told)
    });
    Ok(Json(json!({ "trace_infos": told.await? })))
}

fn check_count(count: usize) -> Result<(), Refusal> {
    match count <= NAMED_MAX {
        true => Ok(()),
        false => Err(Refusal::invalid(format!("a request names at most {NAMED_MAX} traces"))),
    }
}

pub(crate) async fn search(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let page = Page::of(&asked, PAGE, PAGE_MAX)?;
    let clauses = asked.filter(&WORDS)?;
    let order = asked.order(&WORDS)?;
    let mut experiments = Vec::new();
    for location in asked.objects("locations")? {
        let place = location.object("mlflow_experiment")?;
        experiments.extend(place.map(|place| place.required("experiment_id")).transpose()?);
    }
    let found = app.read(move |view| {
        let mut found = Vec::new();
        for experiment in &experiments {
            for document in view.mlflow_documents(MlflowKind::Trace, Some(experiment))? {
                let trace = Trace(tell(view, document)?);
                if clauses.iter().all(|clause| clause.holds(&trace)) {
                    found.push(trace);
                }
            }
        }
        found.sort_by(|left, right| {
            let (left_at, right_at) = (left.began().unwrap_or(0.0), right.began().unwrap_or(0.0));
            right_at.total_cmp(&left_at).then_with(|| left.text("trace_id").cmp(&right.text("trace_id")))
        });
        filter::sort(&mut found, &order, |trace| trace);
        Ok::<_, Refusal>(page.cut(found))
    });
    let (found, next) = found.await?;
    Ok(Json(super::paged("traces", found.into_iter().map(|trace| trace.0).collect(), next)))
}

/// Deletes traces by their ids, or those up to a time.
pub(crate) async fn delete(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let experiment = asked.required("experiment_id")?;
    let ids = asked.texts("request_ids")?;
    check_count(ids.len())?;
    let until = asked.integer("max_timestamp_millis")?;
    let count_max = asked.integer("max_traces")?;
    if ids.is_empty() == until.is_none() {
        return Err(Refusal::invalid(
            "Either `max_timestamp_millis` or `trace_ids` must be specified, not both.",
        ));
    }
    let deleted = app.decide(move |decision| {
        get_experiment(decision, &experiment)?;
        let mut doomed: Vec<(f64, String)> = Vec::new();
        for document in decision.mlflow_documents(MlflowKind::Trace, Some(&experiment))? {
            let at = Trace(document.document).began().unwrap_or(0.0);
            #[expect(clippy::cast_precision_loss, reason = "milliseconds are far below 2^53")]
            let is_old = until.is_some_and(|until| at <= until as f64);
            if is_old || ids.contains(&document.id) {
                doomed.push((at, document.id));
            }
        }
        doomed.sort_by(|left, right| left.0.total_cmp(&right.0));
        doomed.truncate(count_max.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX));
        for (_, id) in &doomed {
            decision.drop_mlflow_document(MlflowKind::Trace, id)?;
            for said in decision.mlflow_documents(MlflowKind::Assessment, Some(id))? {
                decision.drop_mlflow_document(MlflowKind::Assessment, &said.id)?;
            }
        }
        Ok::<_, Refusal>(doomed.len())
    });
    Ok(Json(json!({ "traces_deleted": deleted.await? })))
}

/// Changes a trace's tags.
async fn change_tags(
    app: Arc<App>,
    id: String,
    change: impl FnOnce(&mut Map<String, Value>) -> Result<(), Refusal> + Send + 'static,
) -> Answer {
    app.decide(move |decision| {
        let mut document = get_trace(decision, &id)?;
        if let Value::Object(tags) = &mut document.document["tags"] {
            change(tags)?;
        }
        check_size(&document.document)?;
        Ok::<_, Refusal>(decision.put_mlflow_document(MlflowKind::Trace, &document)?)
    })
    .await?;
    super::done()
}

pub(crate) async fn set_tag(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answer {
    let (key, value) = (asked.required("key")?, asked.text("value")?.unwrap_or_default());
    check::length("key", &key, check::KEY_CHARS_MAX)?;
    check::length("value", &value, check::TAG_CHARS_MAX)?;
    change_tags(app, id, move |tags| {
        tags.insert(key, json!(value));
        Ok(())
    })
    .await
}

pub(crate) async fn delete_tag(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answer {
    let key = asked.required("key")?;
    let of = id.clone();
    change_tags(app, id, move |tags| match tags.remove(&key) {
        Some(_) => Ok(()),
        None => Err(Refusal::absent(format!("No trace tag with key '{key}' for trace with ID '{of}'"))),
    })
    .await
}

pub(crate) async fn link_to_run(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let (ids, run) = (asked.texts("trace_ids")?, asked.required("run_id")?);
    if ids.len() > 100 {
        return Err(Refusal::invalid(format!(
            "Cannot link more than 100 traces to a run in a single request. Provided {} traces.",
            ids.len()
        )));
    }
    app.decide(move |decision| {
        runs::get_run(decision, &run)?;
        for id in &ids {
            let mut document = get_trace(decision, id)?;
            let linked = document.document["tags"][LINKED_RUNS_TAG].as_str().unwrap_or_default();
            if !linked.split(',').any(|known| known == run) {
                let linked = if linked.is_empty() { run.clone() } else { format!("{linked},{run}") };
                document.document["tags"][LINKED_RUNS_TAG] = json!(linked);
                decision.put_mlflow_document(MlflowKind::Trace, &document)?;
            }
        }
        Ok::<_, Refusal>(())
    })
    .await?;
    super::done()
}

pub(crate) async fn link_prompts(State(app): State<Arc<App>>, asked: Asked) -> Answer {
    let id = asked.required("trace_id")?;
    let mut prompts = Vec::new();
    for prompt in asked.objects("prompt_versions")? {
        prompts.push(json!({ "name": prompt.required("name")?, "version": prompt.required("version")? }));
    }
    change_tags(app, id, move |tags| {
        tags.insert(PROMPTS_TAG.to_owned(), json!(Value::Array(prompts).to_string()));
        Ok(())
    })
    .await
}

/// Feedback or an expectation, of a trace.
fn put_assessment(decision: &Decision<'_, '_>, trace: &str, mut said: Value) -> Result<Value, Refusal> {
    let known = said["assessment_id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    let id = match known {
        Some(id) => id,
        None => format!("a-{}", words::fresh_id()?),
    };
    said["assessment_id"] = json!(id);
    said["trace_id"] = json!(trace);
    let document =
        MlflowDocument { id: format!("{trace}/{id}"), parent: trace.to_owned(), name: None, document: said };
    check_size(&document.document)?;
    decision.put_mlflow_document(MlflowKind::Assessment, &document)?;
    Ok(document.document)
}

fn get_said(view: &View<'_>, trace: &str, id: &str) -> Result<Value, Refusal> {
    get_trace(view, trace)?;
    let found = view.mlflow_document(MlflowKind::Assessment, &format!("{trace}/{id}"))?;
    let absent = || Refusal::absent(format!("Assessment with ID '{id}' not found for trace '{trace}'"));
    found.map(|found| found.document).ok_or_else(absent)
}

fn said(asked: &Asked) -> Result<Value, Refusal> {
    let missing = || Refusal::invalid("Missing value for required parameter 'assessment'.");
    Ok(asked.object("assessment")?.ok_or_else(missing)?.into_value())
}

pub(crate) async fn assess(State(app): State<Arc<App>>, Path(id): Path<String>, asked: Asked) -> Answer {
    let said = said(&asked)?;
    let told = app.decide(move |decision| {
        get_trace(decision, &id)?;
        put_assessment(decision, &id, said)
    });
    Ok(Json(json!({ "assessment": told.await? })))
}

pub(crate) async fn get_assessment(
    State(app): State<Arc<App>>,
    Path((trace, id)): Path<(String, String)>,
) -> Answer {
    let told = app.read(move |view| get_said(view, &trace, &id)).await?;
    Ok(Json(json!({ "assessment": told })))
}

/// Changes the fields that the mask names; it names them as JSON does, joined by commas.
pub(crate) async fn update_assessment(
    State(app): State<Arc<App>>,
    Path((trace, id)): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let (new, mask) = (said(&asked)?, asked.required("update_mask")?);
    let told = app.decide(move |decision| {
        let mut known = get_said(decision, &trace, &id)?;
        for field in mask.split(',').map(snake_case) {
            known[field.as_str()] = new[field.as_str()].clone();
        }
        if let Value::Object(fields) = &mut known {
            fields.retain(|_, value| !value.is_null());
        }
        let now = jiff::Timestamp::from_millisecond(decision.now().0).unwrap_or_default();
        known["last_update_time"] = json!(now.to_string());
        known["assessment_id"] = json!(id);
        put_assessment(decision, &trace, known)
    });
    Ok(Json(json!({ "assessment": told.await? })))
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for char in name.trim().chars() {
        if char.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(char.to_ascii_lowercase());
    }
    snake
}

pub(crate) async fn delete_assessment(
    State(app): State<Arc<App>>,
    Path((trace, id)): Path<(String, String)>,
) -> Answer {
    app.decide(move |decision| {
        get_said(decision, &trace, &id)?;
        decision.drop_mlflow_document(MlflowKind::Assessment, &format!("{trace}/{id}"))?;
        Ok::<_, Refusal>(())
    })
    .await?;
    super::done()
}

/// Spans come as a file, once a trace has ended. The client knows these words, and does so.
pub(crate) async fn no_spans() -> Refusal {
    Refusal::new(
        Code::NotImplemented,
        "REST OTLP span logging is not supported by this server; spans are kept as the file traces.json of each trace",
    )
}
