//! Why a model answered as it did, from inside the app.

use std::path::Path;

use edgeward_model::explain::{
    Attributions, EXACT_FEATURES_MAX, ExplainError, Rows, SessionFunction, exact, kernel,
};
use edgeward_model::{Bundle, NamedTensor, Session, SessionError, Signature};
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::error::{EdgewardError, argument, input, load};

/// Most features that are told one by one.
const FEATURES_MAX: usize = 1024;
/// Coalitions that are tried per feature where all are too many.
const COALITIONS_PER_FEATURE: usize = 8;

/// How far each feature moved an answer.
#[pyclass(frozen, module = "edgeward")]
pub(crate) struct Explanation {
    method: &'static str,
    output: String,
    base: f64,
    answer: f64,
    features: Vec<String>,
    values: Vec<f64>,
    errors: Vec<f64>,
    evaluations: usize,
}

#[pymethods]
impl Explanation {
    #[getter]
    const fn method(&self) -> &'static str {
        self.method
    }

    #[getter]
    fn output(&self) -> &str {
        &self.output
    }

    #[getter]
    const fn base(&self) -> f64 {
        self.base
    }

    #[getter]
    const fn answer(&self) -> f64 {
        self.answer
    }

    #[getter]
    fn features(&self) -> Vec<String> {
        self.features.clone()
    }

    #[getter]
    fn values<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, &self.values)
    }

    #[getter]
    fn errors<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, &self.errors)
    }

    #[getter]
    const fn evaluations(&self) -> usize {
        self.evaluations
    }

    fn __repr__(&self) -> String {
        let Self { output, base, answer, method, .. } = self;
        format!("Explanation('{output}', base={base}, answer={answer}, method='{method}')")
    }
}

/// Which output is explained.
pub(crate) enum Of {
    /// The one that the model says most of.
    Likeliest,
    /// A class by its name.
    Named(String),
    /// An output by its place.
    At(usize),
}

/// What is asked about an answer.
pub(crate) struct Question {
    pub(crate) inputs: Vec<NamedTensor>,
    pub(crate) row: usize,
    /// What is usual.
    pub(crate) background: Vec<Vec<NamedTensor>>,
    pub(crate) of: Of,
    pub(crate) seed: u64,
}

/// The inputs of a bundle's golden test: rows of its data that the model has not learnt from.
pub(crate) fn golden(folder: Option<&Path>, session: &Session) -> PyResult<Vec<Vec<NamedTensor>>> {
    let folder = folder.ok_or_else(|| {
        argument("a bare model has no golden inputs to compare with; give background=ROWS, what is usual")
    })?;
    let bundle = Bundle::open(folder).map_err(|error| load(&error))?;
    let golden = bundle.golden(session.variant()).map_err(|error| load(&error))?;
    Ok(golden.cases.into_iter().map(|case| case.inputs).collect())
}

/// Explains one row. The interpreter is not needed for it.
pub(crate) fn explain(session: &Session, question: &Question) -> PyResult<Explanation> {
    let function = SessionFunction::new(session).map_err(|unfit| argument(unfit.to_string()))?;
    let width = function.width();
    if width > FEATURES_MAX {
        return Err(argument(format!(
            "{width} inputs are more than the {FEATURES_MAX} that are told one by one; `edgeward why` makes a map"
        )));
    }
    let unfit = |what: &str| input(format!("{what} is no rows of numbers that the model takes"));
    let signature = session.signature();
    let own = rows(signature, &question.inputs, width).ok_or_else(|| unfit("the input"))?;
    if question.row >= own.len() {
        return Err(argument(format!("there is no row {}; the input has {}", question.row, own.len())));
    }
    let usual = question.background.iter().map(|inputs| rows(signature, inputs, width));
    let usual: Vec<Rows> = usual.collect::<Option<_>>().ok_or_else(|| unfit("the background"))?;
    let values = usual.iter().flat_map(|rows| rows.values().to_vec()).collect();
    let usual = Rows::new(values, width).filter(|rows| !rows.is_empty());
    let usual = usual.ok_or_else(|| argument("the background has no rows; give some of what is usual"))?;
    let call = |rows: &Rows| function.call(rows);
    let row = own.row(question.row);
    let (method, found) = match width <= EXACT_FEATURES_MAX {
        true => ("exact", exact(call, row, &usual)),
        false => ("kernel", kernel(call, row, &usual, COALITIONS_PER_FEATURE * width, question.seed)),
    };
    let found = found.map_err(|error| failed(&error))?;
    let names = function.outputs();
    let output = place(&question.of, &names, &found.answer)?;
    Ok(told(method, signature, &found, (output, &names)))
}

fn failed(error: &ExplainError<SessionError>) -> PyErr {
    EdgewardError::new_err(format!("explaining: {error}"))
}

/// Which of the outputs. One number for two classes is the probability of the second.
fn place(of: &Of, names: &[String], answers: &[f64]) -> PyResult<usize> {
    let count = answers.len();
    let wanted = match of {
        Of::Likeliest => (0..count).max_by(|a, b| answers[*a].total_cmp(&answers[*b])),
        Of::At(place) => Some(*place),
        Of::Named(name) => {
            names.iter().position(|known| known == name).map(|at| at.min(count.saturating_sub(1)))
        }
    };
    wanted.filter(|place| *place < count).ok_or_else(|| {
        argument(format!("there is no such output; the model has {count}: {}", names.join(", ")))
    })
}

fn told(
    method: &'static str,
    signature: &Signature,
    found: &Attributions,
    (output, names): (usize, &[String]),
) -> Explanation {
    let outputs = found.outputs();
    let features = found.values.len() / outputs.max(1);
    let known = &signature.feature_names;
    let feature = |at: usize| match known.len() == features {
        true => known[at].clone(),
        false => at.to_string(),
    };
    // A single output for two classes is of the second.
    let name = if outputs == 1 { names.last() } else { names.get(output) };
    Explanation {
        method,
        output: name.cloned().unwrap_or_else(|| output.to_string()),
        base: found.base[output],
        answer: found.answer[output],
        features: (0..features).map(feature).collect(),
        values: (0..features).map(|feature| found.value(feature, output)).collect(),
        errors: (0..features).map(|feature| found.errors[feature * outputs + output]).collect(),
        evaluations: found.evaluations,
    }
}

/// Rows of plain numbers, one input's after the other's.
fn rows(signature: &Signature, inputs: &[NamedTensor], width: usize) -> Option<Rows> {
    let named = |name: &str| {
        let only = signature.inputs.len() == 1 && inputs.len() == 1;
        inputs.iter().find(|input| only || input.name == name).map(|input| &input.tensor)
    };
    let tensors: Vec<_> = signature.inputs.iter().map(|spec| named(&spec.name)).collect::<Option<_>>()?;
    let count = tensors.first()?.rows();
    let mut values = Vec::new();
    for row in 0..count {
        for tensor in &tensors {
            let len = tensor.row_len();
            for at in row * len..(row + 1) * len {
                values.push(tensor.number(at)?);
            }
        }
    }
    Rows::new(values, width).filter(|rows| rows.len() == count)
}
