//! An answer, and the table of numbers it was given for.

use std::time::Duration;

use edgeward_core::{Digest, PredictionId};
use edgeward_model::{Interpretation, NamedTensor, Tensor, TensorData};
use edgeward_monitor::Alarm;

use crate::keepsake::Keepsake;

/// What a model answered to one request.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Names the request, for labels that come later.
    pub id: PredictionId,
    /// The bundle that answered.
    pub bundle: Digest,
    /// Every output, in the model's order.
    pub outputs: Vec<NamedTensor>,
    /// What the outputs mean, one per row; empty if the signature does not say.
    pub rows: Vec<Interpretation>,
    /// The input as rows of numbers; none if it is not of that kind.
    pub table: Option<Table>,
    /// What the monitor said while recording it; empty while all is well.
    pub alarms: Vec<Alarm>,
    /// Time from the pinned model to the answer.
    pub latency: Duration,
    /// The trace that the request was a step of (W3C Trace Context); none if its caller told none.
    pub trace: Option<String>,
    /// What is to be kept of it; none if the bundle has nothing kept, or if an app has left it for the agent already.
    pub keepsake: Option<Box<Keepsake>>,
}

/// `rows x width` numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Number of rows.
    pub rows: usize,
    /// Values per row.
    pub width: usize,
    /// Row after row.
    pub values: Vec<f32>,
}

impl Table {
    /// The rows of the only input, if it is a numeric tensor of shape `[rows, width]`. Numbers that are not 32-bit
    /// floats are rounded to them.
    #[must_use]
    pub fn of(inputs: &[NamedTensor]) -> Option<Self> {
        let [input] = inputs else { return None };
        let [_, _] = *input.tensor.shape() else { return None };
        Self::flat(&input.tensor)
    }

    /// The rows of a numeric tensor of two dimensions or more, all but the first of them as one.
    #[must_use]
    pub fn flat(tensor: &Tensor) -> Option<Self> {
        let [rows, _, ..] = *tensor.shape() else { return None };
        Some(Self { rows, width: tensor.row_len(), values: to_f32(tensor)? })
    }

    /// The values of row `index`; empty past the end.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        self.values.get(index * self.width..(index + 1) * self.width).unwrap_or_default()
    }
}

/// The class as its name, or its index where it has none, or the value.
#[must_use]
pub fn predicted_text(row: &Interpretation) -> Option<String> {
    let class = || row.predicted.map(|class| class.to_string());
    row.label.clone().or_else(class).or_else(|| row.value.map(|value| value.to_string()))
}

fn to_f32(tensor: &Tensor) -> Option<Vec<f32>> {
    match tensor.data() {
        TensorData::F32(values) => Some(values.clone()),
        TensorData::Bytes(_) => None,
        _ => (0..tensor.len()).map(|index| tensor.number(index).map(|value| value as f32)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_numeric_matrix_is_a_table() {
        let matrix = Tensor::new([2, 3], vec![1_i64, 2, 3, 4, 5, 6]).unwrap().named("x");
        let table = Table::of(std::slice::from_ref(&matrix)).unwrap();
        assert_eq!((table.rows, table.width, table.row(1)), (2, 3, &[4.0, 5.0, 6.0][..]));
        assert!(table.row(2).is_empty());
        assert_eq!(Table::of(&[matrix.clone(), matrix]), None);
        let image = Tensor::new([1, 2, 2], vec![1_u8, 2, 3, 4]).unwrap().named("x");
        assert_eq!(Table::of(std::slice::from_ref(&image)), None);
        assert_eq!(
            Table::flat(&image.tensor).unwrap(),
            Table { rows: 1, width: 4, values: vec![1.0, 2.0, 3.0, 4.0] }
        );
        let vector = Tensor::new([2], vec![1.0_f32, 2.0]).unwrap().named("x");
        assert_eq!(Table::of(&[vector]), None);
        let texts = Tensor::new([1, 1], vec![b"a".to_vec()]).unwrap().named("x");
        assert_eq!(Table::of(&[texts]), None);
    }
}
