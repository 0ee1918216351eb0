//! Tensors beside the JSON: the Open Inference Protocol's binary tensor data extension.
//!
//! A body is then a JSON document, as long as a header says, and after it, in their order and with nothing in between, the elements
//! of every tensor with a `binary_data_size`. Requests and answers have the same form, and either may mix both kinds.

use axum::http::{HeaderMap, HeaderName};
use edgeward_model::{DataType, NamedTensor, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Refusal, ask};

/// How long the JSON is, in bytes.
pub(super) static HEADER: HeaderName = HeaderName::from_static("inference-header-content-length");

const SIZE: &str = "binary_data_size";

/// An input whose elements may stand after the JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    #[serde(default)]
    name: String,
    shape: Vec<usize>,
    datatype: DataType,
    #[serde(default)]
    pub(super) parameters: Map<String, Value>,
    data: Option<Value>,
}

/// An output as it is written.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Output {
    Json(NamedTensor),
    Binary { name: String, shape: Vec<usize>, datatype: DataType, parameters: Map<String, Value> },
}

/// A body's JSON and what follows it.
type Parts<'b> = (&'b [u8], &'b [u8]);

/// The parts of a body; none where there is no header, so that all of it is JSON.
pub(super) fn split<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<Option<Parts<'b>>, Refusal> {
    let Some(said) = headers.get(&HEADER) else { return Ok(None) };
    let len = said.to_str().ok().and_then(|text| text.trim().parse().ok());
    let parts = len.and_then(|len| body.split_at_checked(len));
    let wrong = || {
        Refusal::bad_request(format!(
            "{HEADER} must be the length in bytes of the JSON that the body begins with; the body has {} bytes",
            body.len()
        ))
    };
    parts.map(Some).ok_or_else(wrong)
}

/// The tensors of a request, from its JSON and what follows it.
pub(super) fn read(inputs: Vec<Input>, mut rest: &[u8]) -> Result<Vec<NamedTensor>, Refusal> {
    let mut tensors = Vec::with_capacity(inputs.len());
    for input in inputs {
        let name = &input.name;
        ask::check_parameters(&format!("input '{name}'"), |given| input.parameters.contains_key(given))?;
        tensors.push(match (input.parameters.get(SIZE), &input.data) {
            (Some(size), None) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let parts = size.and_then(|size| rest.split_at_checked(size)).ok_or_else(|| {
                    let left = rest.len();
                    Refusal::bad_request(format!(
                        "input '{name}': {SIZE} is not a length within the {left} bytes left"
                    ))
                })?;
                rest = parts.1;
                let tensor = Tensor::from_le_bytes(input.datatype, &input.shape, parts.0);
                tensor
                    .map_err(|error| Refusal::bad_request(format!("input '{name}': {error}")))?
                    .named(input.name)
            }
            (None, Some(data)) => {
                let Input { shape, datatype, .. } = &input;
                let whole = json!({ "name": name, "shape": shape, "datatype": datatype, "data": data });
                serde_json::from_value(whole).map_err(|error| {
                    Refusal::bad_request(format!("the body is not an inference request: {error}"))
                })?
            }
            _ => {
                let error = format!("input '{name}' needs either data or the parameter {SIZE}");
                return Err(Refusal::bad_request(error));
            }
        });
    }
    if !rest.is_empty() {
        let error = format!("{} bytes are left over after the last input", rest.len());
        return Err(Refusal::bad_request(error));
    }
    Ok(tensors)
}

/// An output for the JSON; its elements, if they are to follow the JSON, are appended to `rest`.
pub(super) fn write(output: NamedTensor, is_binary: bool, rest: &mut Vec<u8>) -> Output {
    if !is_binary {
        return Output::Json(output);
    }
    let NamedTensor { name, tensor } = output;
    let elements = tensor.to_le_bytes();
    rest.extend_from_slice(&elements);
    let parameters = Map::from_iter([(SIZE.to_owned(), elements.len().into())]);
    Output::Binary { name, shape: tensor.shape().to_vec(), datatype: tensor.datatype(), parameters }
}
