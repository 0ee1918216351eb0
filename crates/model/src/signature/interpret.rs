//! From output tensors to predictions, one per row. The rules stand in the parent module.

use serde::{Deserialize, Serialize};

use super::{Signature, Task};
use crate::tensor::{NamedTensor, Tensor, TensorData};

/// What a model said about one row. Every field is empty where the model does not say it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interpretation {
    /// Index of the predicted class.
    pub predicted: Option<usize>,
    /// Name of the predicted class.
    pub label: Option<String>,
    /// Probability the model gives the predicted class, in [0, 1].
    pub confidence: Option<f32>,
    /// Probability of each class, in the order of the signature's; empty where the model does not say them, or for more
    /// than [`SCORES_MAX`] classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<f32>,
    /// Result of a regression.
    pub value: Option<f32>,
}

/// Most classes whose probabilities are told one by one.
pub const SCORES_MAX: usize = 64;

/// Outputs that do not fit the signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpretError {
    /// The output with a role is not among the outputs.
    #[error("the output '{name}', the signature's {role}, is missing")]
    Missing {
        /// Name of the output.
        name: String,
        /// Its role.
        role: &'static str,
    },
    /// An output has another type than its role needs.
    #[error("the output '{name}' has datatype {found}, which cannot be the signature's {role}")]
    Datatype {
        /// Name of the output.
        name: String,
        /// Its role.
        role: &'static str,
        /// Its datatype.
        found: String,
    },
    /// The number of scores per row is not the number of classes.
    #[error("the output '{name}' has {found} scores per row but the signature names {expected} classes")]
    Classes {
        /// Name of the output.
        name: String,
        /// Classes of the signature.
        expected: usize,
        /// Scores per row.
        found: usize,
    },
    /// A label output that holds no class of the signature.
    #[error("the output '{name}' says class {found} for row {row}, which the signature does not have")]
    Label {
        /// Name of the output.
        name: String,
        /// Row.
        row: usize,
        /// What it says.
        found: String,
    },
}

impl Signature {
    /// One [`Interpretation`] per row of the outputs; none for [`Task::Other`] or a signature without roles.
    ///
    /// Scores that are all NaN predict nothing. Of equal scores the first class wins.
    ///
    /// # Errors
    /// The outputs do not fit the signature.
    pub fn interpret(&self, outputs: &[NamedTensor]) -> Result<Vec<Interpretation>, InterpretError> {
        match &self.task {
            Task::Classification { classes } => self.classify(classes, outputs),
            Task::Regression => self.regress(outputs),
            Task::Other => Ok(Vec::new()),
        }
    }

    fn classify(
        &self,
        classes: &[String],
        outputs: &[NamedTensor],
    ) -> Result<Vec<Interpretation>, InterpretError> {
        if let Some(output) = find(&self.roles.probabilities, "probabilities", outputs)? {
            return from_scores(output, classes, Scores::Probabilities);
        }
        if let Some(output) = find(&self.roles.logits, "logits", outputs)? {
            return from_scores(output, classes, Scores::Logits);
        }
        match find(&self.roles.label, "label", outputs)? {
            Some(output) => (0..output.tensor.rows()).map(|row| from_label(output, row, classes)).collect(),
            None => Ok(Vec::new()),
        }
    }

    fn regress(&self, outputs: &[NamedTensor]) -> Result<Vec<Interpretation>, InterpretError> {
        let Some(output) = find(&self.roles.value, "value", outputs)? else { return Ok(Vec::new()) };
        if matches!(output.tensor.data(), TensorData::Bytes(_)) {
            return Err(datatype_error(output, "value"));
        }
        let width = output.tensor.row_len();
        let value = |row: usize| output.tensor.number(row * width).map(|value| value as f32);
        let rows = 0..output.tensor.rows();
        Ok(rows.map(|row| Interpretation { value: value(row), ..Interpretation::default() }).collect())
    }
}

fn find<'a>(
    name: &Option<String>,
    role: &'static str,
    outputs: &'a [NamedTensor],
) -> Result<Option<&'a NamedTensor>, InterpretError> {
    let Some(name) = name else { return Ok(None) };
    let output = outputs.iter().find(|output| output.name == *name);
    output.map(Some).ok_or_else(|| InterpretError::Missing { name: name.clone(), role })
}

fn datatype_error(output: &NamedTensor, role: &'static str) -> InterpretError {
    InterpretError::Datatype { name: output.name.clone(), role, found: output.tensor.datatype().to_string() }
}

#[derive(Clone, Copy, PartialEq)]
enum Scores {
    Probabilities,
    Logits,
}

impl Scores {
    const fn role(self) -> &'static str {
        match self {
            Self::Probabilities => "probabilities",
            Self::Logits => "logits",
        }
    }
}

fn from_scores(
    output: &NamedTensor,
    classes: &[String],
    kind: Scores,
) -> Result<Vec<Interpretation>, InterpretError> {
    let scores = floats(&output.tensor).ok_or_else(|| datatype_error(output, kind.role()))?;
    let width = output.tensor.row_len();
    let binary = width == 1 && (classes.len() == 2 || classes.is_empty());
    if !binary && !classes.is_empty() && width != classes.len() {
        let (expected, found) = (classes.len(), width);
        return Err(InterpretError::Classes { name: output.name.clone(), expected, found });
    }
    let rows = scores.chunks_exact(width.max(1));
    let best = |row: &[f32]| if binary { best_of_two(row[0], kind) } else { best_of_many(row, kind) };
    let said = |row: &[f32]| {
        best(row).map_or_else(Interpretation::default, |best| Interpretation {
            scores: if binary { pair(row[0], kind) } else { probabilities(row, kind) },
            ..named(best, classes)
        })
    };
    Ok(rows.map(said).collect())
}

/// Probabilities of a row of scores; none of too many, or of scores that hold a NaN.
fn probabilities(scores: &[f32], kind: Scores) -> Vec<f32> {
    if scores.len() > SCORES_MAX || scores.iter().any(|score| score.is_nan()) {
        return Vec::new();
    }
    if kind == Scores::Probabilities {
        return scores.to_vec();
    }
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
    let total: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

/// Probabilities of two classes from the score of the second.
fn pair(score: f32, kind: Scores) -> Vec<f32> {
    let second = second_of_two(score, kind);
    vec![1.0 - second, second]
}

fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    match tensor.data() {
        TensorData::F32(values) => Some(values.clone()),
        TensorData::F64(values) => Some(values.iter().map(|&value| value as f32).collect()),
        _ => None,
    }
}

fn named((index, confidence): (usize, f32), classes: &[String]) -> Interpretation {
    let label = classes.get(index).cloned();
    Interpretation {
        predicted: Some(index),
        label,
        confidence: Some(confidence),
        ..Interpretation::default()
    }
}

fn second_of_two(score: f32, kind: Scores) -> f32 {
    match kind {
        Scores::Probabilities => score,
        Scores::Logits => 1.0 / (1.0 + (-score).exp()),
    }
}

/// The class and its probability from the score of class 1 of two.
fn best_of_two(score: f32, kind: Scores) -> Option<(usize, f32)> {
    let positive = second_of_two(score, kind);
    let predicted = usize::from(positive >= 0.5);
    (!positive.is_nan()).then_some((predicted, if predicted == 1 { positive } else { 1.0 - positive }))
}

/// The class of the greatest score and its probability, NaN scores left out.
fn best_of_many(scores: &[f32], kind: Scores) -> Option<(usize, f32)> {
    let numbers = || scores.iter().copied().enumerate().filter(|(_, score)| !score.is_nan());
    let (index, best) = numbers().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    let confidence = match kind {
        Scores::Probabilities => best,
        // Softmax of the greatest: 1 / sum(exp(score - best)), which cannot overflow.
        Scores::Logits => 1.0 / numbers().map(|(_, score)| (score - best).exp()).sum::<f32>(),
    };
    Some((index, confidence))
}

fn from_label(
    output: &NamedTensor,
    row: usize,
    classes: &[String],
) -> Result<Interpretation, InterpretError> {
    let unknown = |found: String| InterpretError::Label { name: output.name.clone(), row, found };
    let at = row * output.tensor.row_len();
    let index = match output.tensor.data() {
        TensorData::I64(values) => {
            usize::try_from(values[at]).map_err(|_| unknown(values[at].to_string()))?
        }
        TensorData::I32(values) => {
            usize::try_from(values[at]).map_err(|_| unknown(values[at].to_string()))?
        }
        TensorData::Bytes(values) => {
            let text = String::from_utf8_lossy(&values[at]).into_owned();
            let position = classes.iter().position(|class| *class == text);
            position.ok_or_else(|| unknown(format!("'{text}'")))?
        }
        _ => return Err(datatype_error(output, "label")),
    };
    if !classes.is_empty() && index >= classes.len() {
        return Err(unknown(index.to_string()));
    }
    let label = classes.get(index).cloned();
    Ok(Interpretation { predicted: Some(index), label, ..Interpretation::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{Roles, TensorSpec};
    use crate::tensor::DataType;

    fn classifier(classes: &[&str], roles: Roles) -> Signature {
        let classes = classes.iter().map(|&class| class.to_owned()).collect();
        let specs = || vec![TensorSpec::new("y", DataType::Fp32, [])];
        Signature { roles, ..Signature::new(Task::Classification { classes }, specs(), specs()) }
    }

    fn probabilities() -> Roles {
        Roles { probabilities: Some("y".into()), ..Roles::default() }
    }

    fn check(signature: &Signature, output: Tensor, expected: &[(Option<usize>, Option<f32>)]) {
        let rows = signature.interpret(&[output.named("y")]).unwrap();
        let found: Vec<_> = rows.iter().map(|row| (row.predicted, row.confidence)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn probabilities_give_class_and_confidence() {
        let signature = classifier(&["a", "b", "c"], probabilities());
        let nan = f32::NAN;
        let rows = vec![0.1, 0.7, 0.2, nan, 0.4, 0.4, nan, nan, nan];
        let expected = [(Some(1), Some(0.7)), (Some(1), Some(0.4)), (None, None)];
        check(&signature, Tensor::from_rows(3, 3, rows).unwrap(), &expected);
        check(&signature, Tensor::from_rows(0, 3, vec![]).unwrap(), &[]);
    }

    #[test]
    fn one_probability_is_that_of_class_one() {
        let signature = classifier(&["no", "yes"], probabilities());
        let expected = [(Some(1), Some(0.75)), (Some(0), Some(0.75))];
        check(&signature, Tensor::from_rows(2, 1, vec![0.75, 0.25]).unwrap(), &expected);
        check(&signature, Tensor::new([2], vec![0.75_f32, 0.25]).unwrap(), &expected);
    }

    #[test]
    fn logits_are_softmaxed_without_overflow() {
        let roles = Roles { logits: Some("y".into()), ..Roles::default() };
        let signature = classifier(&["a", "b"], roles);
        let rows = Tensor::from_rows(2, 2, vec![1000.0, 0.0, 2.0, 2.0]).unwrap();
        check(&signature, rows, &[(Some(0), Some(1.0)), (Some(0), Some(0.5))]);
    }

    #[test]
    fn the_probability_of_each_class_is_told_up_to_a_number_of_classes() {
        let scores = |signature: &Signature, output: Tensor| {
            let rows = signature.interpret(&[output.named("y")]).unwrap();
            rows.into_iter().map(|row| row.scores).collect::<Vec<_>>()
        };
        let two = classifier(&["no", "yes"], probabilities());
        assert_eq!(scores(&two, Tensor::from_rows(1, 1, vec![0.25]).unwrap()), [[0.75, 0.25]]);
        let logits = classifier(&["a", "b"], Roles { logits: Some("y".into()), ..Roles::default() });
        assert_eq!(scores(&logits, Tensor::from_rows(1, 2, vec![900.0, 900.0]).unwrap()), [[0.5, 0.5]]);
        assert!(scores(&logits, Tensor::from_rows(1, 2, vec![f32::NAN, 0.0]).unwrap())[0].is_empty());
        for (classes, told) in [(SCORES_MAX, SCORES_MAX), (SCORES_MAX + 1, 0)] {
            let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let output = Tensor::from_rows(1, classes, vec![1.0 / classes as f32; classes]).unwrap();
            assert_eq!(scores(&classifier(&names, probabilities()), output)[0].len(), told);
        }
    }

    #[test]
    fn labels_are_indices_or_names() {
        let roles = Roles { label: Some("y".into()), ..Roles::default() };
        let signature = classifier(&["a", "b"], roles);
        check(&signature, Tensor::new([2], vec![1_i64, 0]).unwrap(), &[(Some(1), None), (Some(0), None)]);
        check(&signature, Tensor::new([1], vec![b"b".to_vec()]).unwrap(), &[(Some(1), None)]);
        for wrong in [2, -1] {
            let output = Tensor::new([1], vec![wrong]).unwrap().named("y");
            assert!(matches!(signature.interpret(&[output]), Err(InterpretError::Label { .. })));
        }
    }

    #[test]
    fn mismatches_are_errors() {
        let signature = classifier(&["a", "b", "c"], probabilities());
        let two = Tensor::from_rows(1, 2, vec![0.5, 0.5]).unwrap();
        let error = signature.interpret(&[two.clone().named("y")]).unwrap_err().to_string();
        assert_eq!(error, "the output 'y' has 2 scores per row but the signature names 3 classes");
        assert!(matches!(signature.interpret(&[two.named("z")]), Err(InterpretError::Missing { .. })));
    }

    #[test]
    fn a_regression_has_a_value_per_row() {
        let mut signature = classifier(&[], Roles { value: Some("y".into()), ..Roles::default() });
        signature.task = Task::Regression;
        let rows =
            signature.interpret(&[Tensor::from_rows(2, 1, vec![1.5, -2.0]).unwrap().named("y")]).unwrap();
        assert_eq!(rows.iter().map(|row| row.value).collect::<Vec<_>>(), [Some(1.5), Some(-2.0)]);
    }
}
