//! A session as a function of rows.

use std::ops::Range;

use super::Rows;
use crate::session::{Session, SessionError};
use crate::signature::{Dim, Task, TensorSpec};
use crate::tensor::{DataType, Tensor, TensorData};

/// Why a session cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// An input is no tensor of numbers.
    #[error("the input '{0}' takes texts; only numbers are explained")]
    Texts(String),
    /// An input's size is not declared.
    #[error("the input '{0}' does not say how large a row of it is")]
    Size(String),
    /// The signature names no output to explain.
    #[error("the signature names no probabilities, scores or value to explain")]
    NoOutput,
}

/// A session that takes rows of plain numbers, one input's after the other's, and gives the outputs that say most: the
/// classes' probabilities, else their scores, else the value.
pub struct SessionFunction<'a> {
    session: &'a Session,
    inputs: Vec<Input>,
    output: String,
    batched: bool,
}

struct Input {
    datatype: DataType,
    /// Of one row.
    shape: Vec<usize>,
    columns: Range<usize>,
}

impl<'a> SessionFunction<'a> {
    /// The function of `session`.
    ///
    /// # Errors
    /// Inputs that are no rows of numbers, or no output with a role.
    pub fn new(session: &'a Session) -> Result<Self, Unfit> {
        let signature = session.signature();
        let roles = &signature.roles;
        let output = roles.probabilities.as_ref().or(roles.logits.as_ref()).or(roles.value.as_ref());
        let output = output.cloned().ok_or(Unfit::NoOutput)?;
        let mut inputs: Vec<Input> = Vec::new();
        for spec in &signature.inputs {
            let start = inputs.last().map_or(0, |input| input.columns.end);
            inputs.push(input(spec, start)?);
        }
        let batched = signature.inputs.iter().all(TensorSpec::is_batched);
        Ok(Self { session, inputs, output, batched })
    }

    /// Numbers per row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.inputs.last().map_or(0, |input| input.columns.end)
    }

    /// The shape of a row of the only input; none if there are several.
    #[must_use]
    pub fn shape(&self) -> Option<&[usize]> {
        match &self.inputs[..] {
            [input] => Some(&input.shape),
            _ => None,
        }
    }

    /// What the outputs are called: the classes, or the one value.
    #[must_use]
    pub fn outputs(&self) -> Vec<String> {
        match &self.session.signature().task {
            Task::Classification { classes } => classes.clone(),
            _ => vec![self.output.clone()],
        }
    }

    /// What the model says of the rows, one line of outputs each.
    ///
    /// # Errors
    /// The model does not run.
    pub fn call(&self, rows: &Rows) -> Result<Vec<f64>, SessionError> {
        if self.batched {
            return self.run(rows.values(), rows.len());
        }
        let mut answers = Vec::new();
        for row in rows.iter() {
            answers.extend(self.run(row, 1)?);
        }
        Ok(answers)
    }

    fn run(&self, values: &[f64], rows: usize) -> Result<Vec<f64>, SessionError> {
        let width = self.width();
        let tensor = |input: &Input| {
            let numbers =
                values.chunks_exact(width).flat_map(|row| row[input.columns.clone()].iter().copied());
            let shape: Vec<usize> = [rows].iter().chain(&input.shape).copied().collect();
            Tensor::new(shape, elements(input.datatype, numbers))
        };
        let inputs = self.inputs.iter().map(tensor).collect::<Result<Vec<_>, _>>();
        let inputs = inputs.map_err(|cause| {
            SessionError::Engine(crate::engine::EngineError::new(
                "explain",
                crate::engine::EngineErrorKind::InvalidInput,
                cause.to_string(),
            ))
        })?;
        let outputs = self.session.infer_ordered(&inputs)?;
        let found = outputs.get(&self.output);
        Ok(found
            .map_or_else(Vec::new, |tensor| (0..tensor.len()).map_while(|at| tensor.number(at)).collect()))
    }
}

fn input(spec: &TensorSpec, start: usize) -> Result<Input, Unfit> {
    if spec.datatype == DataType::Bytes {
        return Err(Unfit::Texts(spec.name.clone()));
    }
    let mut shape = Vec::with_capacity(spec.shape.len());
    for dim in spec.shape.iter().skip(1) {
        match dim {
            Dim::Fixed(size) => shape.push(*size),
            _ => return Err(Unfit::Size(spec.name.clone())),
        }
    }
    let size = shape.iter().product::<usize>();
    Ok(Input { datatype: spec.datatype, shape, columns: start..start + size })
}

fn elements(datatype: DataType, numbers: impl Iterator<Item = f64>) -> TensorData {
    match datatype {
        DataType::Fp64 => numbers.collect::<Vec<_>>().into(),
        DataType::Int64 => numbers.map(|value| value as i64).collect::<Vec<_>>().into(),
        DataType::Int32 => numbers.map(|value| value as i32).collect::<Vec<_>>().into(),
        DataType::Uint8 => numbers.map(|value| value as u8).collect::<Vec<_>>().into(),
        DataType::Int8 => numbers.map(|value| value as i8).collect::<Vec<_>>().into(),
        DataType::Bool => TensorData::Bool(numbers.map(|value| value != 0.0).collect()),
        _ => numbers.map(|value| value as f32).collect::<Vec<_>>().into(),
    }
}
