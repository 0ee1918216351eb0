//! One prediction over HTTP, as any application would ask for it: Open Inference Protocol v2, JSON.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest answer read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How long something insisted on may take, retries included.
const INSIST_FOR: Duration = Duration::from_secs(10);
/// Between two tries of it.
const INSIST_DELAY: Duration = Duration::from_millis(50);

/// A valid answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prediction {
    /// The bundle that answered.
    pub(crate) version: String,
    /// What a label is later joined by.
    pub(crate) id: String,
    /// The class, or the value of a regression.
    pub(crate) class: String,
}

/// Why there is no valid answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// The connection failed: the device may be starting again, and asking once more is harmless.
    Connection(String),
    /// The device asks to come again.
    Busy(String),
    /// The device answered, but not with what was asked for; or the time was up.
    Answer(String),
}

/// Asks one device's model.
pub(crate) struct Caller {
    agent: ureq::Agent,
    infer_address: String,
    feedback_address: String,
}

impl Caller {
    /// A caller with a connection of its own, kept open.
    pub(crate) fn new(endpoint: &str, model: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
        Self {
            agent: config.into(),
            infer_address: format!("{endpoint}/v2/models/{model}/infer"),
            feedback_address: format!("{endpoint}/v1/feedback"),
        }
    }

    /// One request, answered before `deadline` or missed.
    pub(crate) fn infer(&self, pixels: &[f32], deadline: Instant) -> Result<Prediction, Miss> {
        let body = json!({
            "inputs": [{"name": "input", "shape": [1, pixels.len()], "datatype": "FP32", "data": pixels}],
        });
        parse(&self.post(&self.infer_address, &body, deadline)?).map_err(Miss::Answer)
    }

    /// Hands over labels: `(prediction id, label)`.
    pub(crate) fn label(&self, labels: &[(String, String)], deadline: Instant) -> Result<(), Miss> {
        let entries: Vec<Value> =
            labels.iter().map(|(id, label)| json!({"id": id, "row": 0, "label": label})).collect();
        self.post(&self.feedback_address, &json!({"feedback": entries}), deadline).map(|_| ())
    }

    fn post(&self, address: &str, body: &Value, deadline: Instant) -> Result<Value, Miss> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let request = self.agent.post(address).config().timeout_global(Some(left)).build();
        let mut answer = request.send_json(body).map_err(|error| miss(&error))?;
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| miss(&error))?;
        match answer.status().as_u16() {
            200 => serde_json::from_str(&text).or_else(|error| match text.is_empty() {
                true => Ok(Value::Null),
                false => Err(Miss::Answer(format!("an answer that is no JSON: {error}"))),
            }),
            status => Err(refused(status, &text)),
        }
    }
}

fn refused(status: u16, text: &str) -> Miss {
    let why = format!("HTTP {status}: {}", text.chars().take(200).collect::<String>());
    if matches!(status, 429 | 503) { Miss::Busy(why) } else { Miss::Answer(why) }
}

fn miss(error: &ureq::Error) -> Miss {
    match error {
        ureq::Error::Timeout(_) => Miss::Answer(format!("no answer in time: {error}")),
        _ => Miss::Connection(error.to_string()),
    }
}

fn parse(answer: &Value) -> Result<Prediction, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let version = text(&answer["model_version"]).ok_or("the answer has no model_version")?;
    let id = text(&answer["parameters"]["prediction_id"]).ok_or("the answer has no prediction_id")?;
    let outputs = answer["outputs"].as_array().ok_or("the answer has no outputs")?;
    let named = |output: &&Value| output["name"] == "label" || output["name"] == "value";
    let label = outputs.iter().find(named).ok_or("no output is called label or value")?;
    let class = match &label["data"][0] {
        Value::String(class) => class.clone(),
        Value::Number(class) => class.to_string(),
        _ => return Err("the output label is empty".to_owned()),
    };
    Ok(Prediction { version, id, class })
}

/// Tries again while the device is busy or its connection breaks, for a while.
pub(crate) fn insist<T>(mut attempt: impl FnMut(Instant) -> Result<T, Miss>) -> Result<T, String> {
    let deadline = Instant::now() + INSIST_FOR;
    loop {
        match attempt(deadline) {
            Ok(done) => return Ok(done),
            Err(Miss::Connection(_) | Miss::Busy(_)) if Instant::now() < deadline => {
                std::thread::sleep(INSIST_DELAY);
            }
            Err(Miss::Connection(why) | Miss::Busy(why) | Miss::Answer(why)) => return Err(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        json!({
            "model_name": "digits", "model_version": "ab12", "parameters": {"prediction_id": "p1"},
            "outputs": [
                {"name": "probabilities", "shape": [1, 2], "datatype": "FP32", "data": [0.1, 0.9]},
                {"name": "label", "shape": [1], "datatype": "INT64", "data": [8]},
            ],
        })
    }

    #[test]
    fn an_answer_gives_version_id_and_class() {
        let expect = Prediction { version: "ab12".into(), id: "p1".into(), class: "8".into() };
        assert_eq!(parse(&answer()), Ok(expect));
    }

    #[test]
    fn a_lacking_answer_is_no_prediction() {
        for lacking in ["model_version", "parameters", "outputs"] {
            let mut answer = answer();
            answer.as_object_mut().unwrap().remove(lacking);
            assert!(parse(&answer).is_err(), "{lacking}");
        }
        let mut empty = answer();
        empty["outputs"][1]["data"] = json!([]);
        assert!(parse(&empty).is_err());
    }

    #[test]
    fn nobody_listening_is_a_connection_miss() {
        let caller = Caller::new("http://127.0.0.1:1", "digits");
        let deadline = Instant::now() + Duration::from_secs(5);
        assert!(matches!(caller.infer(&[0.0], deadline), Err(Miss::Connection(_))));
    }
}
