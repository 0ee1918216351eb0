//! What is watched of a request that is no matrix of numbers: texts by their category, and several inputs side by side.
//!
//! Only requests that one matrix cannot stand for come here; all others are watched as they are. Deliberately missing:
//! keeping such rows for labels, which name numbers.

use edgeward_model::{NamedTensor, Tensor, TensorData, TensorSpec};
use edgeward_monitor::{MISSING_VALUE, Reference, UNSEEN_VALUE, WRONG_TYPE_VALUE};

use crate::prediction::Table;

/// Rows of a reference's features, and the texts in them that nothing stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) table: Table,
    /// Row, feature and text.
    pub(crate) texts: Vec<(usize, usize, String)>,
}

impl Reading {
    /// The rows of `inputs`, in the order of the model's; none unless each is `[rows]` or `[rows, width]`, and together
    /// they have as many columns as `columns`.
    pub(crate) fn of(
        reference: &Reference,
        columns: usize,
        specs: &[TensorSpec],
        inputs: &[NamedTensor],
    ) -> Option<Self> {
        let named = |spec: &TensorSpec| inputs.iter().find(|input| input.name == spec.name);
        let tensors: Vec<&Tensor> = specs.iter().filter_map(named).map(|input| &input.tensor).collect();
        let width = |tensor: &Tensor| match *tensor.shape() {
            [_] => Some(1),
            [_, width] => Some(width),
            _ => None,
        };
        let widths = tensors.iter().map(|tensor| width(tensor)).collect::<Option<Vec<usize>>>()?;
        let rows = tensors.first()?.rows();
        let fits =
            widths.iter().sum::<usize>() == columns && tensors.iter().all(|tensor| tensor.rows() == rows);
        if !fits || columns > reference.features() {
            return None;
        }
        let values = Vec::with_capacity(rows * columns);
        let mut reading = Self { table: Table { rows, width: columns, values }, texts: Vec::new() };
        for row in 0..rows {
            let mut feature = 0;
            for (tensor, width) in tensors.iter().zip(&widths) {
                for at in row * width..(row + 1) * width {
                    reading.take(reference, (row, feature), tensor, at);
                    feature += 1;
                }
            }
        }
        Some(reading)
    }

    fn take(&mut self, reference: &Reference, (row, feature): (usize, usize), tensor: &Tensor, at: usize) {
        let categories = reference.streams()[feature].categories();
        let coded = categories.filter(|categories| categories.are_texts());
        let value = match (tensor.data(), coded) {
            (TensorData::Bytes(texts), _) => {
                let text = texts.get(at).map(|text| String::from_utf8_lossy(text)).unwrap_or_default();
                let value = value_of(&text, categories);
                if [UNSEEN_VALUE, WRONG_TYPE_VALUE].iter().any(|odd| odd.to_bits() == value.to_bits()) {
                    self.texts.push((row, feature, text.into_owned()));
                }
                value
            }
            (_, Some(categories)) => {
                tensor.number(at).map_or(MISSING_VALUE, |number| categories.code(&number.to_string()))
            }
            _ => tensor.number(at).map_or(MISSING_VALUE, |number| number as f32),
        };
        self.table.values.push(value);
    }
}

/// The value of a text: its category's, or the number that it spells.
fn value_of(text: &str, categories: Option<&edgeward_monitor::Categories>) -> f32 {
    let known = categories.map(|categories| categories.code(text));
    match known {
        Some(value) if !value.is_nan() || !text.is_empty() => value,
        None if !text.is_empty() => text.trim().parse().unwrap_or(WRONG_TYPE_VALUE),
        _ => MISSING_VALUE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeward_model::{DataType, Dim};
    use edgeward_monitor::{Feature, FeatureKind, Sample};

    fn reference() -> Reference {
        let feature = |name: &str, kind| Feature { name: name.to_owned(), kind };
        let texts = FeatureKind::Texts(["red", "blue"].map(str::to_owned).to_vec());
        let features = [feature("size", FeatureKind::Number), feature("colour", texts)];
        let rows: Vec<[f32; 2]> = (0..40_u8).map(|i| [f32::from(i), f32::from(i % 2)]).collect();
        let samples = rows.iter().map(|features| Sample { features, predicted: None, confidence: None });
        Reference::fit_features(&features, &[], samples).unwrap()
    }

    fn spec(name: &str, datatype: DataType) -> TensorSpec {
        TensorSpec { name: name.to_owned(), datatype, shape: vec![Dim::symbol("batch"), Dim::Fixed(1)] }
    }

    fn texts(texts: &[&str]) -> Tensor {
        let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        Tensor::new([texts.len(), 1], texts).unwrap()
    }

    #[test]
    fn inputs_stand_side_by_side_in_the_order_of_the_model() {
        let specs = [spec("size", DataType::Fp32), spec("colour", DataType::Bytes)];
        let sizes = Tensor::new([4, 1], vec![1.0_f32, 2.0, 3.0, 4.0]).unwrap().named("size");
        let inputs = [texts(&["red", "mauve", "", "blue"]).named("colour"), sizes];
        let reading = Reading::of(&reference(), 2, &specs, &inputs).unwrap();
        let bits: Vec<u32> = reading.table.values.iter().map(|value| value.to_bits()).collect();
        let expected = [1.0, 1.0, 2.0, UNSEEN_VALUE, 3.0, MISSING_VALUE, 4.0, 0.0].map(f32::to_bits);
        assert_eq!((reading.table.rows, reading.table.width, bits), (4, 2, expected.to_vec()));
        assert_eq!(reading.texts, [(1, 1, "mauve".to_owned())]);
        assert_eq!(Reading::of(&reference(), 3, &specs, &inputs), None);
        assert_eq!(Reading::of(&reference(), 2, &specs[..1], &inputs), None);
    }

    #[test]
    fn a_text_where_a_number_is_due_is_told() {
        let reference = Reference::fit(&["x".to_owned()], &[], [sample(&[1.0]), sample(&[2.0])]).unwrap();
        let specs = [spec("x", DataType::Bytes)];
        let reading = Reading::of(&reference, 1, &specs, &[texts(&["1.5", "n/a"]).named("x")]).unwrap();
        assert_eq!(
            (reading.table.values[0], reading.table.values[1].to_bits()),
            (1.5, WRONG_TYPE_VALUE.to_bits())
        );
        assert_eq!(reading.texts, [(1, 0, "n/a".to_owned())]);
    }

    fn sample(features: &[f32]) -> Sample<'_> {
        Sample { features, predicted: None, confidence: None }
    }
}
