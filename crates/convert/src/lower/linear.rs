//! Linear models as `Gemm`, a transform and a table of labels.

use edgeward_model::onnx::{AttributeProto, NodeProto};
use edgeward_model::{DataType, Tensor};

use super::numeric::{integer, reshape};
use super::rewrite::{Rewrite, Text};
use super::{Done, list};

/// `x` times the coefficients plus the intercepts, one column per target.
fn scores(rewrite: &mut Rewrite<'_>, node: &NodeProto, targets: usize) -> Result<String, String> {
    let list_of = |name: &str| node.attribute(name).map(|list| list.floats.clone()).unwrap_or_default();
    let (coefficients, mut intercepts) = (list_of("coefficients"), list_of("intercepts"));
    intercepts.resize(targets, 0.0);
    if targets == 0 || coefficients.is_empty() || coefficients.len() % targets != 0 {
        return Err(format!("has {} coefficients for {targets} targets", coefficients.len()));
    }
    let shape = [targets, coefficients.len() / targets];
    let weights = Tensor::new(shape, coefficients).map_err(|error| error.to_string())?;
    let value = rewrite.float(node, &node.input[0]);
    let weights = rewrite.constant(&format!("{}.coefficients", node.output[0]), &weights);
    let intercepts = rewrite.constant(&format!("{}.intercepts", node.output[0]), &list(intercepts));
    let transposed = vec![AttributeProto::int("transB", 1)];
    let scores = rewrite.add(node, "Gemm", &[&value, &weights, &intercepts], transposed);
    rewrite.set_kind(&scores, DataType::Fp32);
    Ok(scores)
}

fn transform_of(node: &NodeProto) -> Result<&[u8], String> {
    let name = node.attribute("post_transform").and_then(|attribute| attribute.s.as_deref());
    match name.unwrap_or(b"NONE") {
        known @ (b"NONE" | b"SOFTMAX" | b"LOGISTIC") => Ok(known),
        other => Err(format!(
            "has the post_transform '{}', which is not supported",
            String::from_utf8_lossy(other)
        )),
    }
}

/// The transform of two scores per row or more.
fn transform(rewrite: &mut Rewrite<'_>, node: &NodeProto, scores: &str) -> Result<String, String> {
    Ok(match transform_of(node)? {
        b"SOFTMAX" => rewrite.add(node, "Softmax", &[scores], vec![AttributeProto::int("axis", 1)]),
        b"LOGISTIC" => rewrite.add(node, "Sigmoid", &[scores], Vec::new()),
        _ => scores.to_owned(),
    })
}

pub(super) fn regressor(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let targets = usize::try_from(node.int("targets", 1)).unwrap_or(0);
    let mut value = scores(rewrite, node, targets)?;
    transform_of(node)?;
    // ONNX Runtime transforms a single target by no function but the probit.
    if targets > 1 {
        value = transform(rewrite, node, &value)?;
    }
    rewrite.finish(&value, node.output.first(), DataType::Fp32);
    Ok(())
}

pub(super) fn classifier(rewrite: &mut Rewrite<'_>, node: &NodeProto) -> Done {
    let targets = node.attribute("intercepts").map_or(0, |list| list.floats.len());
    let labels = Labels::of(node);
    let value = scores(rewrite, node, targets)?;
    transform_of(node)?;
    let (index, scores, labels) = if targets == 1 {
        let zero = rewrite.constant("zero", &list(vec![0.0_f32]));
        let above = rewrite.add(node, "Greater", &[&value, &zero], Vec::new());
        let index = integer(rewrite, node, &above);
        let index = reshape(rewrite, node, &index, &[-1]);
        if labels.len() == 2 {
            (index, both(rewrite, node, &value)?, labels)
        } else {
            (index, value, labels.or_numbers())
        }
    } else if labels.len() == targets {
        let attributes = vec![AttributeProto::int("axis", 1), AttributeProto::int("keepdims", 0)];
        let index = rewrite.add(node, "ArgMax", &[&value], attributes);
        rewrite.set_kind(&index, DataType::Int64);
        (index, transform(rewrite, node, &value)?, labels)
    } else {
        return Err(format!("has {} labels for {targets} targets", labels.len()));
    };
    labels.name(rewrite, node, &index);
    rewrite.finish(&scores, node.output.get(1), DataType::Fp32);
    Ok(())
}

/// The scores of both classes from that of the second.
fn both(rewrite: &mut Rewrite<'_>, node: &NodeProto, score: &str) -> Result<String, String> {
    let second = match transform_of(node)? {
        b"LOGISTIC" => rewrite.add(node, "Sigmoid", &[score], Vec::new()),
        _ => score.to_owned(),
    };
    let one = rewrite.constant("one", &list(vec![1.0_f32]));
    let first = rewrite.add(node, "Sub", &[&one, &second], Vec::new());
    Ok(rewrite.add(node, "Concat", &[&first, &second], vec![AttributeProto::int("axis", 1)]))
}

/// The labels of a classifier.
enum Labels {
    Texts(Vec<Vec<u8>>),
    Numbers(Vec<i64>),
}

impl Labels {
    fn of(node: &NodeProto) -> Self {
        match node.attribute("classlabels_strings") {
            Some(list) if !list.strings.is_empty() => Self::Texts(list.strings.clone()),
            _ => Self::Numbers(
                node.attribute("classlabels_ints").map(|list| list.ints.clone()).unwrap_or_default(),
            ),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// What stands for labels where two are needed and are not given.
    fn or_numbers(self) -> Self {
        match self {
            Self::Texts(_) => Self::Texts(vec![b"0".to_vec(), b"1".to_vec()]),
            Self::Numbers(_) => Self::Numbers(vec![0, 1]),
        }
    }

    /// Makes the node's first output from the classes' indices.
    fn name(self, rewrite: &mut Rewrite<'_>, node: &NodeProto, index: &str) {
        let Some(output) = node.output.first().filter(|output| !output.is_empty()) else { return };
        match self {
            Self::Texts(table) => {
                rewrite.set_text(output, Text { index: index.to_owned(), table, lossy: false });
            }
            Self::Numbers(numbers) if numbers.iter().zip(0..).all(|(&number, index)| number == index) => {
                rewrite.finish(index, Some(output), DataType::Int64);
            }
            Self::Numbers(numbers) => {
                let keys = AttributeProto::ints("keys_int64s", (0..numbers.len() as i64).collect());
                let default = AttributeProto::int("default_int64", -1);
                rewrite.look_up(
                    index,
                    output,
                    keys,
                    [AttributeProto::ints("values_int64s", numbers), default],
                );
                rewrite.set_kind(output, DataType::Int64);
            }
        }
    }
}
