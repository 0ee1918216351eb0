//! `ModelInfer`, and `ModelStreamInfer`: the same over and over.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use edgeward_model::{DataType, NamedTensor, Tensor, TensorData};
use futures_util::{Stream, stream};
use prost::Message as _;
use prost::bytes::Bytes;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tonic::server::StreamingService;
use tonic::{Status, Streaming};

use super::messages::{
    Contents, InferParameter, InferTensor, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
    ParameterChoice, Parameters, RequestedOutput,
};
use super::{refused, service, unary};
use crate::endpoint::ask::{self, Answered, Ask, Wanted};
use crate::endpoint::context::Trace;
use crate::endpoint::{Endpoint, Permit, Refusal, STREAMS_MAX, metadata};
use crate::registry::Served;

/// Asks that each answer of a stream says whether it is the last to its request, as it always is.
const FINAL_ASKED: &str = "triton_enable_empty_final_response";
const FINAL: &str = "triton_final_response";

/// A call with one request. The place among requests is taken before the message is read.
pub(super) async fn one(endpoint: Arc<Endpoint>, request: Request) -> Response {
    let trace = request.extensions().get::<Trace>().cloned();
    match Permit::take(&endpoint) {
        Ok(permit) => {
            let answer = move |asked| compute(endpoint, permit, asked, trace);
            unary(request, answer).await
        }
        Err(refusal) => refused(&refusal),
    }
}

/// A call with any number of requests, answered one after the other.
pub(super) async fn stream(endpoint: Arc<Endpoint>, request: Request) -> Response {
    let Ok(place) = Arc::clone(&endpoint.streams).try_acquire_owned() else {
        let error = format!("{STREAMS_MAX} streams are open already; try again shortly");
        return refused(&Refusal::new(StatusCode::TOO_MANY_REQUESTS, error));
    };
    let trace = request.extensions().get::<Trace>().cloned();
    let mut grpc = service(request.headers());
    grpc.streaming(Opened { endpoint, trace, place: Some(place) }, request).await.map(Body::new)
}

/// A stream that is about to begin.
struct Opened {
    endpoint: Arc<Endpoint>,
    trace: Option<Trace>,
    place: Option<OwnedSemaphorePermit>,
}

/// A stream under way.
struct Running {
    endpoint: Arc<Endpoint>,
    trace: Option<Trace>,
    requests: Streaming<ModelInferRequest>,
    _place: Option<OwnedSemaphorePermit>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

impl StreamingService<ModelInferRequest> for Opened {
    type Response = ModelStreamInferResponse;
    type ResponseStream = Answers;
    type Future = Ready<Result<tonic::Response<Answers>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<ModelInferRequest>>) -> Self::Future {
        let running = Running {
            endpoint: Arc::clone(&self.endpoint),
            trace: self.trace.take(),
            requests: request.into_inner(),
            _place: self.place.take(),
        };
        let answers: Answers = Box::pin(stream::unfold(Some(running), next));
        ready(Ok(tonic::Response::new(answers)))
    }
}

/// The answer to the next request, and what goes on after it; a stream that cannot be read ends.
async fn next(
    running: Option<Running>,
) -> Option<(Result<ModelStreamInferResponse, Status>, Option<Running>)> {
    let mut running = running?;
    match running.requests.message().await {
        Ok(asked) => {
            let answer = answer_in_turn(&running, asked?).await;
            Some((Ok(answer), Some(running)))
        }
        Err(status) => Some((Err(status), None)),
    }
}

/// An answer within a stream: one that fails is told, and the stream goes on.
async fn answer_in_turn(running: &Running, asked: ModelInferRequest) -> ModelStreamInferResponse {
    let says_final = asked.parameters.get(FINAL_ASKED).and_then(as_bool) == Some(true);
    let id = asked.id.clone();
    match answer_waiting(running, asked).await {
        Ok(mut answer) => {
            if says_final {
                answer.parameters.insert(FINAL.to_owned(), parameter(ParameterChoice::Bool(true)));
            }
            ModelStreamInferResponse { error_message: String::new(), infer_response: Some(answer) }
        }
        // The id says which request it was.
        Err(refusal) => ModelStreamInferResponse {
            error_message: refusal.error,
            infer_response: Some(ModelInferResponse { id, ..ModelInferResponse::default() }),
        },
    }
}

/// A stream has a place already, so its next request waits for its turn rather than being refused.
async fn answer_waiting(running: &Running, asked: ModelInferRequest) -> Result<ModelInferResponse, Refusal> {
    let permit = Permit::wait(&running.endpoint).await?;
    let (endpoint, trace) = (Arc::clone(&running.endpoint), running.trace.clone());
    compute(endpoint, permit, asked, trace).await
}

async fn compute(
    endpoint: Arc<Endpoint>,
    permit: Permit,
    asked: ModelInferRequest,
    trace: Option<Trace>,
) -> Result<ModelInferResponse, Refusal> {
    let served = metadata::find(&endpoint, &asked.model_name)?;
    let of = (served, asked.encoded_len());
    endpoint.compute(of, permit, move |own: &Endpoint, served| answer(own, served, asked, trace)).await
}

fn answer(
    endpoint: &Endpoint,
    served: Arc<Served>,
    asked: ModelInferRequest,
    trace: Option<Trace>,
) -> Result<ModelInferResponse, Refusal> {
    // Who sends elements as bytes reads them as bytes.
    let is_raw = !asked.raw_input_contents.is_empty();
    let mut answered = ask(asked, trace)?.answer(endpoint, served)?;
    let response = write(&mut answered, is_raw);
    answered.done(endpoint);
    Ok(response)
}

fn ask(asked: ModelInferRequest, trace: Option<Trace>) -> Result<Ask, Refusal> {
    let ModelInferRequest { model_version, id, inputs, outputs, raw_input_contents: raw, .. } = asked;
    let bytes = raw.iter().map(Bytes::len).sum();
    if !raw.is_empty() && raw.len() != inputs.len() {
        // An input that is somewhere else has no bytes here.
        inputs.iter().try_for_each(check_input)?;
        let error = format!(
            "{} raw_input_contents for {} inputs; send one for each, or none",
            raw.len(),
            inputs.len()
        );
        return Err(Refusal::bad_request(error));
    }
    let mut raw = raw.into_iter();
    let inputs = inputs.into_iter().map(|input| read(input, raw.next())).collect::<Result<_, _>>()?;
    let outputs = outputs.into_iter().map(wanted).collect::<Result<_, _>>()?;
    let named = |text: String| (!text.is_empty()).then_some(text);
    Ok(Ask { id: named(id), version: named(model_version), trace, inputs, outputs, bytes })
}

fn check_input(input: &InferTensor) -> Result<(), Refusal> {
    let given = |parameter: &str| input.parameters.contains_key(parameter);
    ask::check_parameters(&format!("input '{}'", input.name), given)
}

fn wanted(RequestedOutput { name, parameters }: RequestedOutput) -> Result<Wanted, Refusal> {
    let tensor = format!("output '{name}'");
    ask::check_parameters(&tensor, |parameter| parameters.contains_key(parameter))?;
    let classes = match parameters.get("classification") {
        None => None,
        Some(said) => Some(ask::classes(&tensor, as_count(said))?),
    };
    Ok(Wanted { name, classes })
}

fn as_bool(parameter: &InferParameter) -> Option<bool> {
    match parameter.choice {
        Some(ParameterChoice::Bool(value)) => Some(value),
        _ => None,
    }
}

fn as_count(parameter: &InferParameter) -> Option<u64> {
    match parameter.choice {
        Some(ParameterChoice::Int64(value)) => u64::try_from(value).ok(),
        Some(ParameterChoice::Uint64(value)) => Some(value),
        _ => None,
    }
}

/// A tensor from its elements, beside it or in it.
fn read(input: InferTensor, raw: Option<Bytes>) -> Result<NamedTensor, Refusal> {
    check_input(&input)?;
    let InferTensor { name, datatype, shape, contents, .. } = input;
    let wrong = |error: String| Refusal::bad_request(format!("input '{name}': {error}"));
    let known = DataType::ALL.into_iter().find(|known| known.as_str() == datatype);
    let known = known.ok_or_else(|| {
        let known: Vec<&str> = DataType::ALL.iter().map(|known| known.as_str()).collect();
        wrong(format!("the datatype '{datatype}' is not known here; it has {}", known.join(", ")))
    })?;
    let shape = shape.iter().map(|dim| usize::try_from(*dim)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| wrong("a shape has no negative dimensions".to_owned()))?;
    let tensor = match (raw, contents) {
        (Some(_), Some(_)) => {
            return Err(wrong("send contents or raw_input_contents, not both".to_owned()));
        }
        (Some(raw), None) => {
            Tensor::from_le_bytes(known, &shape, &raw).map_err(|error| wrong(error.to_string()))?
        }
        (None, contents) => {
            let data =
                elements(known, contents.unwrap_or_default()).map_err(|error| wrong(error.to_owned()))?;
            Tensor::new(shape, data).map_err(|error| wrong(error.to_string()))?
        }
    };
    Ok(tensor.named(name))
}

/// The elements of a tensor of this type; lists for other types are as if they were not there.
fn elements(datatype: DataType, contents: Contents) -> Result<TensorData, &'static str> {
    let outside = "an element is outside the range of its datatype";
    Ok(match datatype {
        DataType::Fp32 => contents.fp32s.into(),
        DataType::Fp64 => contents.fp64s.into(),
        DataType::Int64 => contents.int64s.into(),
        DataType::Int32 => contents.ints.into(),
        DataType::Int8 => narrowed::<i32, i8>(contents.ints).ok_or(outside)?.into(),
        DataType::Uint8 => narrowed::<u32, u8>(contents.uints).ok_or(outside)?.into(),
        DataType::Bool => contents.bools.into(),
        DataType::Bytes => contents.bytes.into(),
    })
}

fn narrowed<A, B: TryFrom<A>>(values: Vec<A>) -> Option<Vec<B>> {
    values.into_iter().map(|value| B::try_from(value).ok()).collect()
}

fn write(answered: &mut Answered, is_raw: bool) -> ModelInferResponse {
    let outputs = std::mem::take(&mut answered.outputs);
    let mut raw_output_contents = Vec::new();
    let outputs = outputs.into_iter().map(|NamedTensor { name, tensor }| {
        let shape = tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        let datatype = tensor.datatype().as_str().to_owned();
        let contents = if is_raw {
            raw_output_contents.push(Bytes::from(tensor.to_le_bytes()));
            None
        } else {
            Some(contents(tensor))
        };
        InferTensor { name, datatype, shape, parameters: Parameters::new(), contents }
    });
    let outputs = outputs.collect();
    ModelInferResponse {
        model_name: answered.model().to_owned(),
        model_version: answered.version.clone(),
        id: answered.id.clone().unwrap_or_default(),
        parameters: answered
            .parameters
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), said(value)?)))
            .collect(),
        outputs,
        raw_output_contents,
    }
}

fn contents(tensor: Tensor) -> Contents {
    let mut contents = Contents::default();
    match tensor.into_parts().1 {
        TensorData::F32(values) => contents.fp32s = values,
        TensorData::F64(values) => contents.fp64s = values,
        TensorData::I64(values) => contents.int64s = values,
        TensorData::I32(values) => contents.ints = values,
        TensorData::I8(values) => contents.ints = values.into_iter().map(i32::from).collect(),
        TensorData::U8(values) => contents.uints = values.into_iter().map(u32::from).collect(),
        TensorData::Bool(values) => contents.bools = values,
        TensorData::Bytes(values) => contents.bytes = values,
    }
    contents
}

/// A parameter of an answer; none if gRPC has no such value.
fn said(value: &Value) -> Option<InferParameter> {
    let choice = match value {
        Value::String(text) => ParameterChoice::Text(text.clone()),
        Value::Bool(value) => ParameterChoice::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => ParameterChoice::Int64(number),
            None => ParameterChoice::Double(number.as_f64()?),
        },
        _ => return None,
    };
    Some(parameter(choice))
}

const fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { choice: Some(choice) }
}
