//! What moved an answer: the very model asked again about the kept input.
//!
//! The measure is the Shapley value against the inputs of the bundle's golden test, which are held-out rows of its data and
//! signed with it, so that whoever asks gets the same figures: seed, background and model are all named by the record.

use edgeward_core::record::{Answer, PredictionRecord};
use edgeward_model::explain::{
    Attributions, EXACT_FEATURES_MAX, ExplainError, Rows, SessionFunction, exact, kernel,
};
use edgeward_model::{Golden, NamedTensor, Session, SessionError};
use serde::Serialize;

/// Most features that are explained one by one.
const FEATURES_MAX: usize = 1024;
/// Coalitions that are tried per feature where all are too many.
const COALITIONS_PER_FEATURE: usize = 8;

/// What moved an answer.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Explanation {
    /// Feature by feature, the largest move first.
    Given {
        /// `exact` or `kernel`.
        method: &'static str,
        /// The row of the request.
        row: usize,
        /// The class or value that is explained.
        output: String,
        /// The mean answer over the background.
        base: f64,
        /// The answer.
        answer: f64,
        /// Rows of the background: inputs of the bundle's golden test.
        background: usize,
        /// The seed.
        seed: u64,
        /// The form that was asked.
        form: String,
        /// Whether it still answers as the record says.
        reproduced: Reproduced,
        /// Each feature's part; they add up to `answer - base`.
        attributions: Vec<Attribution>,
    },
    /// There is none.
    Missing {
        /// Why.
        reason: String,
    },
}

/// Whether the model answers now as it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reproduced {
    /// Whether the class is the same.
    pub same: bool,
    /// What the record says.
    pub then: Answer,
    /// What the model says now.
    pub now: Answer,
}

/// One feature's part in an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attribution {
    /// The feature.
    pub feature: String,
    /// Its value.
    pub value: f64,
    /// How far it moved the answer.
    pub moved: f64,
    /// Standard error of that; 0 where it is exact.
    pub error: f64,
}

impl Explanation {
    /// None, and why.
    #[must_use]
    pub fn missing(reason: impl Into<String>) -> Self {
        Self::Missing { reason: reason.into() }
    }
}

/// Explains row `row` of a request with `session`, the model that answered it. What cannot be explained says why.
#[must_use]
pub fn explain(
    session: &Session,
    golden: &Golden,
    record: &PredictionRecord,
    inputs: &[NamedTensor],
    row: usize,
) -> Explanation {
    match attribute(session, golden, record, inputs, row) {
        Ok(explanation) => explanation,
        Err(reason) => Explanation::Missing { reason },
    }
}

fn attribute(
    session: &Session,
    golden: &Golden,
    record: &PredictionRecord,
    inputs: &[NamedTensor],
    row: usize,
) -> Result<Explanation, String> {
    let function = SessionFunction::new(session).map_err(|unfit| unfit.to_string())?;
    let width = function.width();
    if width > FEATURES_MAX {
        return Err(format!("{width} inputs are more than the {FEATURES_MAX} that are told one by one"));
    }
    let own =
        rows_of(session, inputs, width).ok_or("the kept input is no rows of numbers that the model takes")?;
    if row >= own.len() {
        return Err(format!("the request has rows 0 to {}", own.len().saturating_sub(1)));
    }
    let mut usual = Vec::new();
    for case in &golden.cases {
        usual.extend(
            rows_of(session, &case.inputs, width).map(|rows| rows.values().to_vec()).unwrap_or_default(),
        );
    }
    let usual = Rows::new(usual, width).filter(|rows| !rows.is_empty());
    let background = usual.ok_or("the bundle's golden test has no rows to compare with")?;
    let call = |rows: &Rows| function.call(rows);
    let told = |error: ExplainError<SessionError>| error.to_string();
    let (method, found) = match width <= EXACT_FEATURES_MAX {
        true => ("exact", exact(call, own.row(row), &background).map_err(told)?),
        false => {
            let tries = COALITIONS_PER_FEATURE * width;
            ("kernel", kernel(call, own.row(row), &background, tries, record.seed).map_err(told)?)
        }
    };
    let then = record.answers.get(row).cloned().unwrap_or_default();
    let names = function.outputs();
    let (output, name, reproduced) = reproduced(&found, &names, then);
    Ok(Explanation::Given {
        method,
        row,
        output: name,
        base: found.base[output],
        answer: found.answer[output],
        background: background.len(),
        seed: record.seed,
        form: session.variant().label(),
        reproduced,
        attributions: attributions(session, &found, own.row(row), output),
    })
}

/// The output that is explained, that of the recorded class, and its name; and what the model says now.
fn reproduced(found: &Attributions, names: &[String], then: Answer) -> (usize, String, Reproduced) {
    let answers = &found.answer;
    if let [value] = answers[..]
        && names.len() < 2
    {
        let now = Answer { predicted: Some((value as f32).to_string()), confidence: None };
        let number = |answer: &Answer| answer.predicted.as_ref()?.parse::<f64>().ok();
        let same = number(&then).is_some_and(|then| (then - value).abs() <= 1e-4 * value.abs().max(1.0));
        return (0, names.first().cloned().unwrap_or_default(), Reproduced { same, then, now });
    }
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    // One number for two classes is the probability of the second.
    let scores = match answers[..] {
        [second] => vec![1.0 - second, second],
        _ => answers.clone(),
    };
    let top = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or_default();
    let now = Answer { predicted: Some(name(top)), confidence: scores.get(top).map(|score| *score as f32) };
    let recorded = (0..scores.len()).find(|class| then.predicted.as_deref() == Some(name(*class).as_str()));
    let output = recorded.unwrap_or(top).min(answers.len().saturating_sub(1));
    let explained = if answers.len() == 1 { name(1) } else { name(output) };
    (output, explained, Reproduced { same: now.predicted == then.predicted, then, now })
}

fn attributions(session: &Session, found: &Attributions, row: &[f64], output: usize) -> Vec<Attribution> {
    let names = names(session, row.len());
    let outputs = found.outputs();
    let one = |feature: usize| Attribution {
        feature: names[feature].clone(),
        value: row[feature],
        moved: found.value(feature, output),
        error: found.errors[feature * outputs + output],
    };
    let mut all: Vec<Attribution> = (0..row.len()).map(one).collect();
    all.sort_by(|a, b| b.moved.abs().total_cmp(&a.moved.abs()));
    all
}

/// What each number of a row is called.
fn names(session: &Session, width: usize) -> Vec<String> {
    let signature = session.signature();
    if signature.feature_names.len() == width {
        return signature.feature_names.clone();
    }
    if signature.inputs.len() == width {
        return signature.inputs.iter().map(|input| input.name.clone()).collect();
    }
    (0..width).map(|at| format!("input {at}")).collect()
}

/// Rows of every input's numbers, one input's after the other's, in the order of the signature.
fn rows_of(session: &Session, inputs: &[NamedTensor], width: usize) -> Option<Rows> {
    let specs = &session.signature().inputs;
    let named = |name: &str| {
        let only = specs.len() == 1 && inputs.len() == 1;
        inputs.iter().find(|input| only || input.name == name).map(|input| &input.tensor)
    };
    let tensors: Vec<_> = specs.iter().map(|spec| named(&spec.name)).collect::<Option<_>>()?;
    let rows = tensors.first()?.rows();
    let mut values = Vec::with_capacity(rows * width);
    for row in 0..rows {
        for tensor in tensors.iter().filter(|tensor| tensor.rows() == rows) {
            let len = tensor.row_len();
            for at in row * len..(row + 1) * len {
                values.push(tensor.number(at)?);
            }
        }
    }
    Rows::new(values, width).filter(|all| all.len() == rows)
}
