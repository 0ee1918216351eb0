//! What MLflow's client asks: a JSON object in the body, or the same as a query, where everything is text and a list is
//! a repeated name. Numbers may come as text either way, as protocol buffers in JSON have it.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::{StatusCode, header};
use edgeward_api::limits::JSON_BYTES_MAX;
use serde_json::{Map, Value};

use super::filter::{self, Clause, OrderKey, Vocabulary};
use super::refusal::{Code, Refusal};

/// How long a whole body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The fields of a request, or of an object within one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(&mut parts, state).await;
        let Query(pairs) = pairs.map_err(|rejection| Refusal::invalid(rejection.body_text()))?;
        let content = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content.is_none_or(|text| text.to_ascii_lowercase().starts_with("application/json"));
        let read = Bytes::from_request(Request::from_parts(parts, body), state);
        let bytes = tokio::time::timeout(BODY_TIMEOUT, read).await;
        let bytes = bytes.map_err(|_| Refusal::new(Code::BadRequest, "the body did not arrive in time"))?;
        let bytes = bytes.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Refusal::too_large(format!("the request is over the limit of {JSON_BYTES_MAX} bytes"))
            }
            _ => Refusal::new(Code::BadRequest, "the body could not be read"),
        })?;
        let mut asked = Self::from_pairs(pairs);
        if bytes.is_empty() {
            return Ok(asked);
        }
        if !is_json {
            let why = "the body must be JSON, with the header Content-Type: application/json";
            return Err(Refusal::new(Code::BadRequest, why));
        }
        asked.add_body(&bytes)?;
        Ok(asked)
    }
}

impl Asked {
    fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        let mut fields = Map::new();
        for (name, text) in pairs {
            match fields.get_mut(&name) {
                None => {
                    fields.insert(name, Value::String(text));
                }
                Some(Value::Array(list)) => list.push(Value::String(text)),
                Some(first) => *first = Value::Array(vec![first.take(), Value::String(text)]),
            }
        }
        Self(fields)
    }

    fn add_body(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let body: Value = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::new(Code::BadRequest, format!("the body is no JSON: {error}")))?;
        match body {
            Value::Object(fields) => self.0.extend(fields),
            Value::Null => {}
            _ => return Err(Refusal::new(Code::BadRequest, "the body must be a JSON object")),
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) const fn of(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// A field that is there and says something.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text; numbers count as theirs.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(wrong(name, other)),
        }
    }

    /// A text that is not empty.
    pub(crate) fn required(&self, name: &str) -> Result<String, Refusal> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
    }

    /// The first of several names that says something, for fields that were renamed.
    pub(crate) fn either(&self, names: [&str; 2]) -> Result<String, Refusal> {
        let [first, second] = names;
        match self.text(first)?.filter(|text| !text.is_empty()) {
            Some(text) => Ok(text),
            None => self.text(second)?.filter(|text| !text.is_empty()).ok_or_else(|| missing(first)),
        }
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64())),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| wrong(name, value))
    }

    /// A double, which may be no number or infinite.
    pub(crate) fn double(&self, name: &str) -> Result<f64, Refusal> {
        let value = self.value(name).ok_or_else(|| missing(name))?;
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                text => text.parse().ok(),
            },
            _ => None,
        };
        number.ok_or_else(|| wrong(name, value))
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(other) => Err(wrong(name, other)),
        }
    }

    /// A list of texts; one alone counts as a list.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(wrong(name, other)),
        };
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(text).collect(),
            Some(one) => Ok(vec![text(one)?]),
        }
    }

    /// A list of objects.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Self>, Refusal> {
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .map(|item| match item {
                    Value::Object(fields) => Ok(Self(fields.clone())),
                    other => Err(wrong(name, other)),
                })
                .collect(),
            Some(other) => Err(wrong(name, other)),
        }
    }

    /// An object.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields.clone()))),
            Some(other) => Err(wrong(name, other)),
        }
    }

    /// The filter of a search, in its words; without one, everything is asked for.
    pub(crate) fn filter(&self, words: &Vocabulary) -> Result<Vec<Clause>, Refusal> {
        filter::parse(&self.text("filter")?.unwrap_or_default(), words)
    }

    /// The order of a search, in its words, the key that counts most first.
    pub(crate) fn order(&self, words: &Vocabulary) -> Result<Vec<OrderKey>, Refusal> {
        self.texts("order_by")?.iter().map(|text| filter::parse_order(text, words)).collect()
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// A whole number that was written as a double.
#[expect(clippy::cast_possible_truncation, reason = "its range and fraction were looked at")]
fn whole(number: Option<f64>) -> Option<i64> {
    number.filter(|number| number.fract() == 0.0 && number.abs() < 9e15).map(|number| number as i64)
}

fn missing(name: &str) -> Refusal {
    Refusal::invalid(format!("Missing value for required parameter '{name}'."))
}

fn wrong(name: &str, value: &Value) -> Refusal {
    Refusal::invalid(format!("Invalid value {value} for parameter '{name}' supplied."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> Asked {
        let mut asked = Asked::default();
        asked.add_body(json.as_bytes()).unwrap();
        asked
    }

    #[test]
    fn numbers_come_as_numbers_and_as_text() {
        let asked = asked(
            r#"{"a": 5, "b": "5", "c": 5.0, "d": 5.5, "e": "x", "f": null, "n": "NaN", "i": "-Infinity"}"#,
        );
        for name in ["a", "b", "c"] {
            assert_eq!(asked.integer(name).unwrap(), Some(5), "{name}");
        }
        assert!(asked.integer("d").is_err() && asked.integer("e").is_err());
        assert_eq!(asked.integer("f").unwrap(), None);
        assert!(asked.double("n").unwrap().is_nan());
        assert_eq!(asked.double("i").unwrap(), f64::NEG_INFINITY);
        assert_eq!(asked.double("b").unwrap(), 5.0);
    }

    #[test]
    fn a_query_says_the_same_as_a_body() {
        let pairs = [("id", "1"), ("order_by", "a"), ("order_by", "b"), ("one", "x")];
        let asked = Asked::from_pairs(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec());
        assert_eq!(asked.texts("order_by").unwrap(), ["a", "b"]);
        assert_eq!(asked.texts("one").unwrap(), ["x"]);
        assert_eq!(asked.integer("id").unwrap(), Some(1));
        assert_eq!(
            asked.required("none").unwrap_err().said().1,
            "Missing value for required parameter 'none'."
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["[]", "1", "\"x\"", "{", ""] {
            assert!(Asked::default().add_body(body.as_bytes()).is_err(), "{body}");
        }
    }
}
