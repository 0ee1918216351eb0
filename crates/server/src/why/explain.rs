//! What moved an answer: the very model asked again about the kept input.
//!
//! The measure is the Shapley value against the inputs of the bundle's golden test, which are held-out rows of its data and
//! signed with it, so that whoever asks gets the same figures: seed, background and model are all named by the record. Of
//! images, spectrograms and sounds a map is made, within the time that the caller gives; the number of evaluations, with the
//! seed, gives the same map again.

use edgeward_core::record::{Answer, PredictionRecord};
use edgeward_model::explain::{
    Attributions, EXACT_FEATURES_MAX, ExplainError, Rows, SessionFunction, exact, kernel,
};
use edgeward_model::{Golden, NamedTensor, Session, SessionError};
use edgeward_monitor::InputView;
use serde::Serialize;

use super::map::{Picture, Pictured};

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
    /// Point by point.
    Mapped {
        /// `rise`.
        method: &'static str,
        /// The row of the request.
        row: usize,
        /// The class or value that is explained.
        output: String,
        /// The answer.
        answer: f64,
        /// Images that the model was asked about.
        evaluations: usize,
        /// The seed.
        seed: u64,
        /// The form that was asked.
        form: String,
        /// Whether it still answers as the record says.
        reproduced: Reproduced,
        /// What mattered where.
        picture: Picture,
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

/// What is to be explained.
pub struct Question<'a> {
    /// What the record says.
    pub record: &'a PredictionRecord,
    /// The kept input.
    pub inputs: &'a [NamedTensor],
    /// The row of the request.
    pub row: usize,
    /// How the bundle's monitor sees a row.
    pub view: InputView,
}

/// Explains one row of a request with `session`, the model that answered it. What cannot be explained says why. `go_on` is
/// asked from time to time whether there is time for more.
#[must_use]
pub fn explain(
    session: &Session,
    golden: &Golden,
    question: &Question<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> Explanation {
    match attribute(session, golden, question, go_on) {
        Ok(explanation) => explanation,
        Err(reason) => Explanation::Missing { reason },
    }
}

fn attribute(
    session: &Session,
    golden: &Golden,
    question: &Question<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Explanation, String> {
    let Question { record, inputs, row, view } = *question;
    let function = SessionFunction::new(session).map_err(|unfit| unfit.to_string())?;
    let width = function.width();
    let pictured = Pictured::of(&function, view).filter(|_| width > EXACT_FEATURES_MAX);
    if width > FEATURES_MAX && pictured.is_none() {
        return Err(format!("{width} inputs are more than the {FEATURES_MAX} that are told one by one"));
    }
    let own =
        rows_of(session, inputs, width).ok_or("the kept input is no rows of numbers that the model takes")?;
    if row >= own.len() {
        return Err(format!("the request has rows 0 to {}", own.len().saturating_sub(1)));
    }
    let background = background(session, golden, width)?;
    let then = record.answers.get(row).cloned().unwrap_or_default();
    let asked = Asked { session, function: &function, own: own.row(row), background: &background };
    match pictured {
        Some(pictured) => asked.map(pictured, (row, record.seed), then, go_on),
        None => asked.features((row, record.seed), then),
    }
}

/// Rows of what is usual: the golden test's inputs.
fn background(session: &Session, golden: &Golden, width: usize) -> Result<Rows, String> {
    let rows = golden.cases.iter().filter_map(|case| rows_of(session, &case.inputs, width));
    let usual: Vec<f64> = rows.flat_map(|rows| rows.values().to_vec()).collect();
    let usual = Rows::new(usual, width).filter(|rows| !rows.is_empty());
    usual.ok_or_else(|| "the bundle's golden test has no rows to compare with".to_owned())
}

/// A model that is asked about one row.
struct Asked<'a> {
    session: &'a Session,
    function: &'a SessionFunction<'a>,
    own: &'a [f64],
    background: &'a Rows,
}

impl Asked<'_> {
    fn features(&self, (row, seed): (usize, u64), then: Answer) -> Result<Explanation, String> {
        let call = |rows: &Rows| self.function.call(rows);
        let told = |error: ExplainError<SessionError>| error.to_string();
        let width = self.own.len();
        let (method, found) = match width <= EXACT_FEATURES_MAX {
            true => ("exact", exact(call, self.own, self.background).map_err(told)?),
            false => {
                let tries = COALITIONS_PER_FEATURE * width;
                ("kernel", kernel(call, self.own, self.background, tries, seed).map_err(told)?)
            }
        };
        let (output, name, reproduced) = reproduced(&found.answer, &self.function.outputs(), then);
        Ok(Explanation::Given {
            method,
            row,
            output: name,
            base: found.base[output],
            answer: found.answer[output],
            background: self.background.len(),
            seed,
            form: self.session.variant().label(),
            reproduced,
            attributions: attributions(self.session, &found, self.own, output),
        })
    }

    fn map(
        &self,
        pictured: Pictured,
        (row, seed): (usize, u64),
        then: Answer,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Explanation, String> {
        let call = |rows: &Rows| self.function.call(rows);
        let own = Rows::new(self.own.to_vec(), self.own.len()).ok_or("the input has no numbers")?;
        let answers = call(&own).map_err(|error| error.to_string())?;
        let (output, name, reproduced) = reproduced(&answers, &self.function.outputs(), then);
        let answer = *answers.get(output).ok_or("the model has no numeric output")?;
        let (picture, evaluations) =
            pictured.explain(call, self.own, self.background, (output, seed), go_on)?;
        let form = self.session.variant().label();
        Ok(Explanation::Mapped {
            method: "rise",
            row,
            output: name,
            answer,
            evaluations: evaluations + 1,
            seed,
            form,
            reproduced,
            picture,
        })
    }
}

/// The output that is explained, that of the recorded class, and its name; and what the model says now.
fn reproduced(answers: &[f64], names: &[String], then: Answer) -> (usize, String, Reproduced) {
    if let [value] = *answers
        && names.len() < 2
    {
        let now = Answer { predicted: Some((value as f32).to_string()), confidence: None };
        let number = |answer: &Answer| answer.predicted.as_ref()?.parse::<f64>().ok();
        let same = number(&then).is_some_and(|then| (then - value).abs() <= 1e-4 * value.abs().max(1.0));
        return (0, names.first().cloned().unwrap_or_default(), Reproduced { same, then, now });
    }
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    // One number for two classes is the probability of the second.
    let scores = match *answers {
        [second] => vec![1.0 - second, second],
        _ => answers.to_vec(),
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
