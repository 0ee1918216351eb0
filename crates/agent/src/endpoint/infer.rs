//! `POST /v2/models/{model}[/versions/{version}]/infer`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use edgeward_model::NamedTensor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ask::{self, Answered, Ask, Wanted};
use super::binary::{self, Output};
use super::context::Trace;
use super::encoding::{self, Encoding};
use super::metadata::OfModel;
use super::{Endpoint, Permit, Refusal};
use crate::registry::Served;

/// What the JSON of one row's answer fits into.
const JSON_BYTES: usize = 1 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InferRequest<I> {
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    inputs: Vec<I>,
    #[serde(default)]
    outputs: Vec<RequestedOutput>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestedOutput {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// How outputs are written.
struct Form {
    /// Those that say so themselves.
    said: Vec<(String, bool)>,
    /// Whether the others follow the JSON.
    is_binary: bool,
}

/// What is said of a request outside its body.
struct Of {
    version: Option<String>,
    trace: Option<Extension<Trace>>,
}

/// An answer's body, and the length of its JSON if something follows it.
struct Body {
    bytes: Vec<u8>,
    json_len: Option<usize>,
    encoding: Option<Encoding>,
}

#[derive(Serialize)]
struct InferAnswer<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: &'a Map<String, Value>,
    outputs: Vec<Output>,
}

pub(super) async fn infer(
    State(endpoint): State<Arc<Endpoint>>,
    Path(OfModel { model, version }): Path<OfModel>,
    permit: Permit,
    trace: Option<Extension<Trace>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let (of, body) = (Of { version, trace }, body?);
    let served = super::metadata::find(&endpoint, &model)?;
    let asked = (served, body.len());
    let answer = move |own: &Endpoint, served| answer(own, served, of, &headers, &body);
    endpoint.compute(asked, permit, answer).await.map(IntoResponse::into_response)
}

fn answer(
    endpoint: &Endpoint,
    served: Arc<Served>,
    of: Of,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Body, Refusal> {
    let (ask, form) = parse(headers, of, &encoding::plain(headers, body)?)?;
    let mut answered = ask.answer(endpoint, served)?;
    let body = write(&mut answered, &form, encoding::accepted(headers));
    let body = body.map_err(|error| answered.lost(&error))?;
    answered.done(endpoint);
    Ok(body)
}

fn parse(headers: &HeaderMap, of: Of, body: &[u8]) -> Result<(Ask, Form), Refusal> {
    let request: InferRequest<NamedTensor> = match binary::split(headers, body)? {
        None => parse_json(body).map_err(|refusal| unless_shared_memory(body, refusal))?,
        Some((json, rest)) => {
            let InferRequest { id, parameters, inputs, outputs } = parse_json::<binary::Input>(json)?;
            InferRequest { id, parameters, inputs: binary::read(inputs, rest)?, outputs }
        }
    };
    let InferRequest { id, parameters, inputs, outputs } = request;
    let is_binary = parameters.get("binary_data_output") == Some(&Value::Bool(true));
    let said = |output: &RequestedOutput| {
        output.parameters.get("binary_data").and_then(Value::as_bool).map(|says| (output.name.clone(), says))
    };
    let form = Form { said: outputs.iter().filter_map(said).collect(), is_binary };
    let outputs = outputs.into_iter().map(wanted).collect::<Result<_, _>>()?;
    let Of { version, trace, .. } = of;
    let trace = trace.map(|Extension(trace)| trace);
    Ok((Ask { id, version, trace, inputs, outputs, bytes: body.len() }, form))
}

fn parse_json<I: DeserializeOwned>(body: &[u8]) -> Result<InferRequest<I>, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!(
            "the body is not an inference request: {error}; send {{\"inputs\": [...]}}"
        ))
    })
}

/// An input in shared memory has no elements, which is not the trouble with it.
fn unless_shared_memory(body: &[u8], refusal: Refusal) -> Refusal {
    let asks = parse_json::<binary::Input>(body).is_ok_and(|request| {
        request.inputs.iter().any(|input| input.parameters.contains_key("shared_memory_region"))
    });
    if asks { ask::check_parameters("the inputs", |_| true).err().unwrap_or(refusal) } else { refusal }
}

fn wanted(RequestedOutput { name, parameters }: RequestedOutput) -> Result<Wanted, Refusal> {
    let tensor = format!("output '{name}'");
    ask::check_parameters(&tensor, |parameter| parameters.contains_key(parameter))?;
    let classes = match parameters.get("classification") {
        None => None,
        Some(said) => Some(ask::classes(&tensor, said.as_u64())?),
    };
    Ok(Wanted { name, classes })
}

fn write(answered: &mut Answered, form: &Form, packed: Option<Encoding>) -> Result<Body, std::io::Error> {
    let (mut outputs, mut rest) = (Vec::new(), Vec::new());
    for output in std::mem::take(&mut answered.outputs) {
        let said = form.said.iter().find(|(name, _)| *name == output.name).map(|(_, says)| *says);
        outputs.push(binary::write(output, said.unwrap_or(form.is_binary), &mut rest));
    }
    let is_binary = outputs.iter().any(|output| matches!(output, Output::Binary { .. }));
    let said = InferAnswer {
        model_name: answered.model(),
        model_version: &answered.version,
        id: answered.id.as_deref(),
        parameters: &answered.parameters,
        outputs,
    };
    let mut bytes = Vec::with_capacity(JSON_BYTES);
    serde_json::to_writer(&mut bytes, &said)?;
    let json_len = is_binary.then_some(bytes.len());
    bytes.append(&mut rest);
    match packed.filter(|_| bytes.len() >= encoding::ANSWER_BYTES_MIN) {
        Some(encoding) => Ok(Body { bytes: encoding.pack(&bytes)?, json_len, encoding: Some(encoding) }),
        None => Ok(Body { bytes, json_len, encoding: None }),
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        let kind = if self.json_len.is_some() { "application/octet-stream" } else { "application/json" };
        let mut response = ([(header::CONTENT_TYPE, kind)], self.bytes).into_response();
        let headers = response.headers_mut();
        if let Some(len) = self.json_len {
            headers.insert(binary::HEADER.clone(), len.into());
        }
        if let Some(encoding) = self.encoding {
            headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static(encoding.as_str()));
            headers.insert(header::VARY, header::HeaderValue::from_static("accept-encoding"));
        }
        response
    }
}
