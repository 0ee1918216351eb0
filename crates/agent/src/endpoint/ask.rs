//! One question to a model and its answer, whatever the transport.
//!
//! A transport decodes what came into an [`Ask`], has it answered, encodes the [`Answered`], and says so: only then does the
//! request count as answered, and only then do shadows get their copy.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use edgeward_model::{NamedTensor, Tensor};
use edgeward_sdk::{InferError, Loaded, Prediction, chain};
use serde_json::{Map, Value};

use super::context::Trace;
use super::{Endpoint, ROWS_PER_REQUEST_MAX, Refusal, TEXT_BYTES_MAX, classes, metadata};
use crate::registry::Served;
use crate::shadow;

/// What is asked of a model.
pub(super) struct Ask {
    /// The caller's name for the request.
    pub(super) id: Option<String>,
    /// The version that is to answer; none: the one that serves.
    pub(super) version: Option<String>,
    /// The trace that it is a step of.
    pub(super) trace: Option<Trace>,
    pub(super) inputs: Vec<NamedTensor>,
    /// None named: all.
    pub(super) outputs: Vec<Wanted>,
    /// Size of what was sent.
    pub(super) bytes: usize,
}

/// An output that is asked for by name.
pub(super) struct Wanted {
    pub(super) name: String,
    /// The most likely so many classes instead of the tensor.
    pub(super) classes: Option<usize>,
}

/// An answer that is yet to be encoded.
pub(super) struct Answered {
    served: Arc<Served>,
    began: Instant,
    copied: Option<shadow::Request>,
    /// The bundle that answered.
    pub(super) version: String,
    pub(super) id: Option<String>,
    /// The prediction's id; for a single row also what it means.
    pub(super) parameters: Map<String, Value>,
    /// Those that were asked for, in the model's order.
    pub(super) outputs: Vec<NamedTensor>,
}

impl Ask {
    /// Refuses what no model could answer.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if self.id.as_ref().is_some_and(|id| id.len() > TEXT_BYTES_MAX) {
            return Err(Refusal::bad_request(format!("the request's id is over {TEXT_BYTES_MAX} bytes")));
        }
        if self.inputs.is_empty() {
            return Err(Refusal::bad_request("the request has no inputs; send at least one tensor"));
        }
        let rows = self.inputs.iter().map(|input| input.tensor.rows()).max().unwrap_or(0);
        if rows > ROWS_PER_REQUEST_MAX {
            let error =
                format!("{rows} rows in one request, over {ROWS_PER_REQUEST_MAX}; send several requests");
            return Err(Refusal::bad_request(error));
        }
        Ok(())
    }

    /// The answer of the model that serves now, kept for labels that come later.
    pub(super) fn answer(self, endpoint: &Endpoint, served: Arc<Served>) -> Result<Answered, Refusal> {
        self.check()?;
        let Self { id, version, trace, inputs, outputs, bytes } = self;
        let began = Instant::now();
        let loaded = served.handle.current();
        served.counters.pinned(began.elapsed());
        let loaded = loaded.ok_or_else(|| not_serving(&served))?;
        metadata::check_version(&loaded, version.as_deref())?;
        check_outputs(&loaded, &outputs)?;
        let ticket = endpoint.registry.shadows.ticket(&served.name, loaded.bundle(), bytes);
        let copy = ticket.map(|ticket| (ticket, inputs.clone()));
        let infer = || loaded.infer(inputs);
        let inferred = match &trace {
            Some(trace) => trace.infer((&served, &loaded), infer),
            None => infer(),
        };
        let mut prediction = inferred.map_err(|error| refuse(&served, &error))?;
        prediction.trace = trace.map(|trace| trace.id().to_owned());
        endpoint.records.answered(&served.name, &prediction, (endpoint.clock)());
        let copied = copy.map(|(ticket, inputs)| ticket.of(inputs, &prediction));
        let (version, parameters) = (prediction.bundle.hex(), parameters(&prediction));
        let outputs = select(&loaded, prediction.outputs, &outputs)?;
        Ok(Answered { served, began, copied, version, id, parameters, outputs })
    }
}

impl Answered {
    /// The model that answered.
    pub(super) fn model(&self) -> &str {
        self.served.name.as_str()
    }

    /// It is encoded.
    pub(super) fn done(self, endpoint: &Endpoint) {
        self.served.counters.answered((endpoint.clock)(), self.began.elapsed());
        self.copied.into_iter().for_each(|copied| endpoint.registry.shadows.mirror(copied));
    }

    /// It cannot be encoded.
    pub(super) fn lost(&self, why: &dyn std::fmt::Display) -> Refusal {
        self.served.counters.failed();
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("writing the answer: {why}"))
    }
}

/// The outputs that were asked for. An embedding is for the monitor, and large: only who names it gets it.
fn select(
    loaded: &Loaded,
    outputs: Vec<NamedTensor>,
    wanted: &[Wanted],
) -> Result<Vec<NamedTensor>, Refusal> {
    let signature = loaded.session().signature();
    let embedding = signature.roles.embedding.as_deref();
    let mut selected = Vec::with_capacity(outputs.len());
    for NamedTensor { name, tensor } in outputs {
        let asked = wanted.iter().find(|asked| asked.name == name);
        let tensor: Tensor = match asked {
            None if wanted.is_empty() && embedding != Some(name.as_str()) => tensor,
            None => continue,
            Some(Wanted { classes: None, .. }) => tensor,
            Some(Wanted { classes: Some(count), .. }) => {
                classes::most_likely(&tensor, *count, signature.classes())
                    .map_err(|why| Refusal::bad_request(format!("output '{name}': {why}")))?
            }
        };
        selected.push(tensor.named(name));
    }
    Ok(selected)
}

fn check_outputs(loaded: &Loaded, wanted: &[Wanted]) -> Result<(), Refusal> {
    let specs = &loaded.session().signature().outputs;
    let unknown = wanted.iter().find(|output| !specs.iter().any(|spec| spec.name == output.name));
    unknown.map_or(Ok(()), |output| {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let error = format!("the model has no output '{}'; it has {}", output.name, names.join(", "));
        Err(Refusal::bad_request(error))
    })
}

fn not_serving(served: &Served) -> Refusal {
    served.counters.failed();
    let error = format!("{} has no model to serve yet; see /v1/status", served.name);
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error)
}

fn refuse(served: &Served, error: &InferError) -> Refusal {
    if error.is_input() {
        return Refusal::bad_request(chain(error));
    }
    served.counters.failed();
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the model failed: {}", chain(error)))
}

fn parameters(prediction: &Prediction) -> Map<String, Value> {
    let mut parameters = Map::from_iter([("prediction_id".to_owned(), prediction.id.to_string().into())]);
    if let [row] = prediction.rows.as_slice() {
        parameters.extend(row.label.clone().map(|label| ("predicted".to_owned(), label.into())));
        parameters.extend(row.confidence.map(|confidence| ("confidence".to_owned(), confidence.into())));
    }
    parameters
}

/// What an input or output asks for that a device does not do; `is_given` tells which parameters it has.
pub(super) fn check_parameters(tensor: &str, is_given: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    if is_given("shared_memory_region") {
        let error = format!("{tensor}: shared memory is not supported; send and take the tensor's elements");
        return Err(Refusal::bad_request(error));
    }
    Ok(())
}

/// The number of classes that an output is asked for.
pub(super) fn classes(tensor: &str, said: Option<u64>) -> Result<usize, Refusal> {
    let count = said.and_then(|said| usize::try_from(said).ok()).filter(|count| *count > 0);
    count.ok_or_else(|| {
        Refusal::bad_request(format!("{tensor}: classification must be the number of classes, 1 or more"))
    })
}
