//! What a model said, and what its inputs and outputs look like.

use edgeward_core::{Digest, PredictionId};
use edgeward_model::{Dim, Interpretation};
use edgeward_sdk::Prediction;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::array::array;
use crate::error::argument;

/// One answer.
#[pyclass(frozen, module = "edgeward")]
pub(crate) struct Answer {
    pub(crate) bundle: Digest,
    pub(crate) prediction: PredictionId,
    outputs: Py<PyDict>,
    pub(crate) said: Vec<Said>,
    alarms: Vec<String>,
    latency_s: f64,
}

/// What was said about one row, with what a label of it needs.
pub(crate) struct Said {
    pub(crate) row: Interpretation,
    pub(crate) values: Vec<f32>,
}

impl Answer {
    pub(crate) fn new(py: Python<'_>, prediction: Prediction) -> PyResult<Self> {
        let Prediction { id, bundle, outputs, rows, table, alarms, latency, .. } = prediction;
        let named = PyDict::new(py);
        for output in outputs {
            named.set_item(output.name, array(py, output.tensor)?)?;
        }
        let said = |(at, row): (usize, Interpretation)| Said {
            values: table.as_ref().map(|table| table.row(at).to_vec()).unwrap_or_default(),
            row,
        };
        Ok(Self {
            bundle,
            prediction: id,
            outputs: named.unbind(),
            said: rows.into_iter().enumerate().map(said).collect(),
            alarms: alarms.into_iter().map(|alarm| alarm.message).collect(),
            latency_s: latency.as_secs_f64(),
        })
    }

    /// What was said about one row.
    pub(crate) fn row(&self, index: usize) -> PyResult<&Said> {
        let count = self.said.len();
        let words = || format!("there is no row {index}; the answer has {count}, counted from 0");
        self.said.get(index).ok_or_else(|| argument(words()))
    }
}

#[pymethods]
impl Answer {
    #[getter]
    fn id(&self) -> String {
        self.prediction.to_string()
    }

    #[getter]
    fn digest(&self) -> String {
        self.bundle.hex()
    }

    #[getter]
    fn outputs(&self, py: Python<'_>) -> Py<PyDict> {
        self.outputs.clone_ref(py)
    }

    #[getter]
    fn rows(&self) -> Vec<Row> {
        self.said.iter().map(|said| Row(said.row.clone())).collect()
    }

    #[getter]
    fn alarms(&self) -> Vec<String> {
        self.alarms.clone()
    }

    #[getter]
    const fn latency(&self) -> f64 {
        self.latency_s
    }

    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let outputs = self.outputs.bind(py);
        outputs.get_item(name)?.ok_or_else(|| {
            let names: Vec<String> = outputs.keys().iter().map(|name| name.to_string()).collect();
            PyKeyError::new_err(format!("there is no output '{name}'; the model has {}", names.join(", ")))
        })
    }

    fn __repr__(&self) -> String {
        format!(
            "Answer(id='{}', digest='{}', rows={})",
            self.prediction,
            self.bundle.short(),
            self.said.len()
        )
    }
}

/// What a model said about one row.
#[pyclass(frozen, module = "edgeward")]
pub(crate) struct Row(Interpretation);

#[pymethods]
impl Row {
    #[getter]
    const fn predicted(&self) -> Option<usize> {
        self.0.predicted
    }

    #[getter]
    fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    #[getter]
    const fn confidence(&self) -> Option<f32> {
        self.0.confidence
    }

    #[getter]
    const fn value(&self) -> Option<f32> {
        self.0.value
    }

    #[getter]
    fn scores(&self) -> Vec<f32> {
        self.0.scores.clone()
    }

    fn __repr__(&self) -> String {
        let Interpretation { predicted, label, confidence, value, .. } = &self.0;
        let word = |name: &str, value: Option<String>| value.map(|value| format!("{name}={value}"));
        let parts = [
            word("label", label.as_ref().map(|label| format!("'{label}'"))),
            word("predicted", predicted.map(|class| class.to_string())),
            word("confidence", confidence.map(|confidence| confidence.to_string())),
            word("value", value.map(|value| value.to_string())),
        ];
        format!("Row({})", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// What an input or output looks like.
#[pyclass(frozen, module = "edgeward")]
pub(crate) struct TensorSpec(pub(crate) edgeward_model::TensorSpec);

#[pymethods]
impl TensorSpec {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    const fn datatype(&self) -> &'static str {
        self.0.datatype.as_str()
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => Some(*size),
            Dim::Symbolic(_) => None,
        };
        PyTuple::new(py, self.0.shape.iter().map(size))
    }

    fn __repr__(&self) -> String {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => size.to_string(),
            Dim::Symbolic(_) => "None".to_owned(),
        };
        let sizes: Vec<String> = self.0.shape.iter().map(size).collect();
        format!("TensorSpec('{}', {}, ({}))", self.0.name, self.0.datatype, sizes.join(", "))
    }
}
