//! `TreeEnsembleClassifier` and `TreeEnsembleRegressor` (`ai.onnx.ml` 1 to 3) and `TreeEnsemble` (5) as kernels.
//!
//! Thresholds and sums are 32-bit floats, or 64-bit where the input or an `..._as_tensor` attribute is. The root of a
//! tree is its first node. `nodes_hitrates` say nothing about the result; only explanations read them.
//!
//! Deliberately missing: `BRANCH_MEMBER` of `TreeEnsemble`, and 16-bit floats.

use std::collections::HashMap;

use super::attributes::Attributes;
use super::forest::{Aggregate, Branch, Draft, Forest, Mode, Number, Totals, Weight};
use super::scores::{Class, Classes, Transform, forget_unseen};
use super::{Kernel, KernelError};
use crate::onnx::NodeProto;
use crate::tensor::{DataType, Tensor, TensorData, element_count};

/// The kernel of a tree node whose input has this type, where it is known.
pub(super) fn kernel(node: &NodeProto, input: Option<DataType>) -> Result<Box<dyn Kernel>, KernelError> {
    let (draft, wide, finish) = parse(node, &Attributes(node))?;
    if wide || input == Some(DataType::Fp64) {
        Ok(Box::new(Trees { forest: Forest::<f64>::new(&draft)?, finish }))
    } else {
        Ok(Box::new(Trees { forest: Forest::<f32>::new(&draft)?, finish }))
    }
}

/// An ensemble as data: what its leaves add up to before any transform.
pub(crate) struct Ensemble {
    /// Nodes, roots and leaves.
    pub(crate) draft: Draft,
    /// Whether thresholds and inputs are compared as 64-bit floats.
    pub(crate) wide: bool,
    /// What is added to each output's sum.
    pub(crate) base_values: Vec<f64>,
    /// Whether the sum is divided by the number of trees.
    pub(crate) average: bool,
    /// The one class that leaves speak for where they speak for one of two.
    pub(crate) single_class: bool,
    /// How often each node was reached in training, where the file says so.
    pub(crate) hit_rates: Option<Vec<f64>>,
}

/// The ensemble of a tree node; an aggregate that is no sum is refused.
pub(crate) fn read(node: &NodeProto) -> Result<Ensemble, KernelError> {
    let attributes = Attributes(node);
    let (draft, wide, finish) = parse(node, &attributes)?;
    let (rates, _) = attributes.numbers("nodes_hitrates").unwrap_or_default();
    let said = rates.len() == draft.nodes.len() && rates.iter().any(|rate| *rate != rates[0]);
    let whole = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
    let (base_values, average, single_class) = match &finish {
        Finish::Classes { classes, .. } => (whole(&classes.base_values), false, classes.single_weight),
        Finish::Values { aggregate: Aggregate::Sum, base_values, .. } => (whole(base_values), false, false),
        Finish::Values { aggregate: Aggregate::Average, base_values, .. } => {
            (whole(base_values), true, false)
        }
        Finish::Values { .. } => {
            return Err(KernelError::unsupported(
                "takes the least or the greatest of its trees, not their sum",
            ));
        }
    };
    Ok(Ensemble { draft, wide, base_values, average, single_class, hit_rates: said.then_some(rates) })
}

fn parse(node: &NodeProto, attributes: &Attributes<'_>) -> Result<Read, KernelError> {
    match node.op_type.as_str() {
        "TreeEnsembleClassifier" => classifier(attributes),
        "TreeEnsembleRegressor" => regressor(attributes),
        _ => ensemble(attributes),
    }
}

type Read = (Draft, bool, Finish);

fn classifier(attributes: &Attributes<'_>) -> Result<Read, KernelError> {
    let labels = match attributes.texts("classlabels_strings") {
        [] => Labels::Numbers(attributes.ints("classlabels_int64s").to_vec()),
        texts => Labels::Texts(texts.to_vec()),
    };
    let (draft, wide) = flattened(attributes, "class", labels.len())?;
    let first = draft.weights.first().map(|weight| weight.output);
    let classes = Classes {
        transform: Transform::parse(attributes.text("post_transform"))?,
        base_values: base_values(attributes)?,
        single_weight: labels.len() == 2 && draft.weights.iter().all(|w| Some(w.output) == first),
        all_positive: draft.weights.iter().all(|weight| weight.value >= 0.0),
    };
    if classes.base_values.len() > labels.len() {
        return Err(KernelError::invalid("has more base_values than classes"));
    }
    Ok((draft, wide, Finish::Classes { classes, labels }))
}

fn regressor(attributes: &Attributes<'_>) -> Result<Read, KernelError> {
    let targets = usize::try_from(attributes.int("n_targets").unwrap_or(1)).unwrap_or(0);
    let (draft, wide) = flattened(attributes, "target", targets)?;
    let aggregate = match attributes.text("aggregate_function").unwrap_or(b"SUM") {
        b"SUM" => Aggregate::Sum,
        b"AVERAGE" => Aggregate::Average,
        b"MIN" => Aggregate::Min,
        b"MAX" => Aggregate::Max,
        other => {
            let name = String::from_utf8_lossy(other);
            return Err(KernelError::unsupported(format!("has the unknown aggregate_function '{name}'")));
        }
    };
    let transform = Transform::parse(attributes.text("post_transform"))?;
    let base_values = base_values(attributes)?;
    Ok((draft, wide, Finish::Values { aggregate, transform, base_values, datatype: DataType::Fp32 }))
}

fn base_values(attributes: &Attributes<'_>) -> Result<Vec<f32>, KernelError> {
    Ok(attributes.numbers("base_values")?.0.into_iter().map(|value| value as f32).collect())
}

fn equal_lengths(what: &str, found: usize, nodes: usize) -> Result<(), KernelError> {
    if found == nodes {
        return Ok(());
    }
    Err(KernelError::invalid(format!("has {found} entries in {what} for {nodes} nodes")))
}

/// The draft that the flattened lists say, and whether any is 64 bits wide.
fn flattened(attributes: &Attributes<'_>, leaf: &str, outputs: usize) -> Result<(Draft, bool), KernelError> {
    let (trees, ids) = (attributes.ints("nodes_treeids"), attributes.ints("nodes_nodeids"));
    let (thresholds, wide) = attributes.numbers("nodes_values")?;
    let features = attributes.ints("nodes_featureids");
    let modes = attributes.texts("nodes_modes");
    let (on_true, on_false) = (attributes.ints("nodes_truenodeids"), attributes.ints("nodes_falsenodeids"));
    let missing = attributes.ints("nodes_missing_value_tracks_true");
    for (what, found) in [
        ("nodes_nodeids", ids.len()),
        ("nodes_values", thresholds.len()),
        ("nodes_featureids", features.len()),
        ("nodes_modes", modes.len()),
        ("nodes_truenodeids", on_true.len()),
        ("nodes_falsenodeids", on_false.len()),
    ] {
        equal_lengths(what, found, trees.len())?;
    }
    if !missing.is_empty() {
        equal_lengths("nodes_missing_value_tracks_true", missing.len(), trees.len())?;
    }
    let places = places(trees, ids)?;
    let find = |tree: i64, node: i64| {
        let refuse =
            || KernelError::invalid(format!("names node {node} of tree {tree}, which it does not have"));
        places.get(&(tree, node)).copied().ok_or_else(refuse)
    };
    let mut draft = Draft { roots: roots(trees)?, outputs, ..Draft::default() };
    for at in 0..trees.len() {
        let branch = |mode| {
            Ok(Branch {
                feature: features[at],
                mode,
                missing_true: missing.get(at) == Some(&1),
                threshold: thresholds[at],
                on_true: find(trees[at], on_true[at])?,
                on_false: find(trees[at], on_false[at])?,
            })
        };
        draft.nodes.push(mode(&modes[at])?.map(branch).transpose()?);
    }
    let (weights, wide_weights) = weights(attributes, leaf, find)?;
    draft.weights = weights;
    Ok((draft, wide || wide_weights))
}

fn places(trees: &[i64], ids: &[i64]) -> Result<HashMap<(i64, i64), usize>, KernelError> {
    let mut places = HashMap::with_capacity(trees.len());
    for (at, (&tree, &node)) in trees.iter().zip(ids).enumerate() {
        if places.insert((tree, node), at).is_some() {
            return Err(KernelError::invalid(format!("has node {node} of tree {tree} twice")));
        }
    }
    Ok(places)
}

/// The first node of each tree.
fn roots(trees: &[i64]) -> Result<Vec<usize>, KernelError> {
    let mut seen = std::collections::HashSet::new();
    let mut roots = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        if at > 0 && trees[at - 1] == *tree {
            continue;
        }
        if !seen.insert(tree) {
            return Err(KernelError::invalid(format!("has the nodes of tree {tree} in two places")));
        }
        roots.push(at);
    }
    Ok(roots)
}

/// The test of a node; none for a leaf.
fn mode(text: &[u8]) -> Result<Option<Mode>, KernelError> {
    Ok(Some(match text {
        b"LEAF" => return Ok(None),
        b"BRANCH_LEQ" => Mode::Leq,
        b"BRANCH_LT" => Mode::Lt,
        b"BRANCH_GTE" => Mode::Gte,
        b"BRANCH_GT" => Mode::Gt,
        b"BRANCH_EQ" => Mode::Eq,
        b"BRANCH_NEQ" => Mode::Neq,
        other => {
            let name = String::from_utf8_lossy(other);
            return Err(KernelError::unsupported(format!("has a node of the unknown mode '{name}'")));
        }
    }))
}

fn weights(
    attributes: &Attributes<'_>,
    leaf: &str,
    find: impl Fn(i64, i64) -> Result<usize, KernelError>,
) -> Result<(Vec<Weight>, bool), KernelError> {
    let list = |suffix: &str| attributes.ints(&format!("{leaf}_{suffix}"));
    let (trees, nodes, outputs) = (list("treeids"), list("nodeids"), list("ids"));
    let (values, wide) = attributes.numbers(&format!("{leaf}_weights"))?;
    if [nodes.len(), outputs.len(), values.len()] != [trees.len(); 3] {
        return Err(KernelError::invalid(format!("has {leaf} lists of different lengths")));
    }
    let weight =
        |at: usize| Ok(Weight { node: find(trees[at], nodes[at])?, output: outputs[at], value: values[at] });
    Ok(((0..trees.len()).map(weight).collect::<Result<_, KernelError>>()?, wide))
}

/// `TreeEnsemble` of set 5: branches and leaves in lists of their own. In the draft the leaves follow the branches.
fn ensemble(attributes: &Attributes<'_>) -> Result<Read, KernelError> {
    let (splits, wide) = attributes.tensor_numbers("nodes_splits")?;
    let (leaves, wide_leaves) = attributes.tensor_numbers("leaf_weights")?;
    let features = attributes.ints("nodes_featureids");
    let modes = attributes.tensor("nodes_modes")?;
    let missing = attributes.ints("nodes_missing_value_tracks_true");
    let sides = ["true", "false"].map(|side| {
        let list = |what: &str| attributes.ints(&format!("nodes_{side}{what}"));
        (list("nodeids"), list("leafs"))
    });
    let branches = features.len();
    equal_lengths("nodes_splits", splits.len(), branches)?;
    equal_lengths("nodes_modes", modes.as_ref().map_or(0, Tensor::len), branches)?;
    for (children, is_leaf) in sides {
        equal_lengths("nodes_truenodeids and nodes_falsenodeids", children.len(), branches)?;
        equal_lengths("nodes_trueleafs and nodes_falseleafs", is_leaf.len(), branches)?;
    }
    if !missing.is_empty() {
        equal_lengths("nodes_missing_value_tracks_true", missing.len(), branches)?;
    }
    let index = |found: i64, limit: usize| usize::try_from(found).ok().filter(|&found| found < limit);
    let child = |(children, is_leaf): (&[i64], &[i64]), at: usize| {
        let (limit, offset) = if is_leaf[at] == 1 { (leaves.len(), branches) } else { (branches, 0) };
        let refuse =
            || KernelError::invalid(format!("node {at} leads to {}, which does not exist", children[at]));
        index(children[at], limit).map(|child| child + offset).ok_or_else(refuse)
    };
    let branch = |at: usize| {
        let mode = modes.as_ref().and_then(|modes| modes.number(at)).unwrap_or(f64::NAN);
        Ok(Some(Branch {
            feature: features[at],
            mode: numbered_mode(mode)?,
            missing_true: missing.get(at) == Some(&1),
            threshold: splits[at],
            on_true: child(sides[0], at)?,
            on_false: child(sides[1], at)?,
        }))
    };
    let mut nodes = (0..branches).map(branch).collect::<Result<Vec<_>, KernelError>>()?;
    nodes.resize(branches + leaves.len(), None);
    let root = |&root: &i64| {
        index(root, branches).ok_or_else(|| KernelError::invalid(format!("has a root at {root}")))
    };
    let roots = attributes.ints("tree_roots").iter().map(root).collect::<Result<Vec<_>, _>>()?;
    let targets = attributes.ints("leaf_targetids");
    equal_lengths("leaf_targetids", targets.len(), leaves.len())?;
    let weight =
        |(at, (&output, &value)): (usize, (&i64, &f64))| Weight { node: branches + at, output, value };
    let weights = targets.iter().zip(&leaves).enumerate().map(weight).collect();
    let outputs = usize::try_from(attributes.int("n_targets").unwrap_or(1)).unwrap_or(0);
    let datatype = if wide || wide_leaves { DataType::Fp64 } else { DataType::Fp32 };
    let finish = numbered_finish(attributes, datatype)?;
    Ok((Draft { nodes, roots, weights, outputs }, wide || wide_leaves, finish))
}

fn numbered_mode(number: f64) -> Result<Mode, KernelError> {
    const MODES: [Mode; 6] = [Mode::Leq, Mode::Lt, Mode::Gte, Mode::Gt, Mode::Eq, Mode::Neq];
    let known = MODES.get(number as usize).filter(|_| number >= 0.0);
    known.copied().ok_or_else(|| {
        KernelError::unsupported(format!("has a node of mode {number}; BRANCH_MEMBER (6) is not supported"))
    })
}

fn numbered_finish(attributes: &Attributes<'_>, datatype: DataType) -> Result<Finish, KernelError> {
    let pick = |name: &str, default: i64| {
        let number = attributes.int(name).unwrap_or(default);
        usize::try_from(number).ok().ok_or_else(|| KernelError::unsupported(format!("has {name} {number}")))
    };
    let refuse = |name: &str| KernelError::unsupported(format!("has an unknown {name}"));
    let aggregates = [Aggregate::Average, Aggregate::Sum, Aggregate::Min, Aggregate::Max];
    let transforms =
        [Transform::None, Transform::Softmax, Transform::Logistic, Transform::SoftmaxZero, Transform::Probit];
    let aggregate = aggregates.get(pick("aggregate_function", 1)?).copied();
    let transform = transforms.get(pick("post_transform", 0)?).copied();
    Ok(Finish::Values {
        aggregate: aggregate.ok_or_else(|| refuse("aggregate_function"))?,
        transform: transform.ok_or_else(|| refuse("post_transform"))?,
        base_values: Vec::new(),
        datatype,
    })
}

/// The labels of the classes.
enum Labels {
    Numbers(Vec<i64>),
    Texts(Vec<Vec<u8>>),
}

impl Labels {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    fn of(&self, classes: &[Class]) -> TensorData {
        match self {
            Self::Numbers(numbers) => {
                let number = |class: &Class| match *class {
                    Class::Index(index) => numbers[index],
                    Class::Number(number) => number as i64,
                };
                classes.iter().map(number).collect::<Vec<_>>().into()
            }
            Self::Texts(texts) => {
                let text = |class: &Class| {
                    let (Class::Index(index) | Class::Number(index)) = *class;
                    texts.get(index).cloned().unwrap_or_default()
                };
                classes.iter().map(text).collect::<Vec<_>>().into()
            }
        }
    }
}

/// What becomes of the totals.
enum Finish {
    Classes { classes: Classes, labels: Labels },
    Values { aggregate: Aggregate, transform: Transform, base_values: Vec<f32>, datatype: DataType },
}

struct Trees<T> {
    forest: Forest<T>,
    finish: Finish,
}

impl<T: Number> Kernel for Trees<T> {
    fn datatypes(&self) -> Vec<DataType> {
        match &self.finish {
            Finish::Classes { labels: Labels::Numbers(_), .. } => vec![DataType::Int64, DataType::Fp32],
            Finish::Classes { labels: Labels::Texts(_), .. } => vec![DataType::Bytes, DataType::Fp32],
            Finish::Values { datatype, .. } => vec![*datatype],
        }
    }

    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, KernelError> {
        let input = inputs.first().ok_or_else(|| KernelError::failed("got no input"))?;
        let (rows, width) = self.extent(input)?;
        let shape = [rows, self.forest.outputs()];
        element_count(&shape).map_err(|cause| KernelError::failed(cause.to_string()))?;
        let values = T::elements(input).ok_or_else(|| KernelError::failed("takes numbers but got BYTES"))?;
        let tensor = |shape: &[usize], data: TensorData| {
            Tensor::new(shape, data).map_err(|cause| KernelError::failed(cause.to_string()))
        };
        match &self.finish {
            Finish::Classes { classes, labels } => {
                let (found, scores) =
                    classify(classes, self.forest.totals(&values, width, Aggregate::Sum), shape);
                Ok(vec![tensor(&[rows], labels.of(&found))?, tensor(&shape, scores.into())?])
            }
            Finish::Values { aggregate, transform, base_values, datatype } => {
                let totals = self.forest.totals(&values, width, *aggregate);
                let mut scores = to_f32(&totals.values);
                let trees = (*aggregate == Aggregate::Average).then_some(self.forest.trees());
                let rows = scores.chunks_exact_mut(shape[1]).zip(totals.seen.chunks_exact(shape[1]));
                rows.for_each(|(row, seen)| finish_values(row, seen, trees, base_values, *transform));
                let data = match datatype {
                    DataType::Fp64 => scores.into_iter().map(f64::from).collect::<Vec<_>>().into(),
                    _ => scores.into(),
                };
                Ok(vec![tensor(&shape, data)?])
            }
        }
    }
}

impl<T: Number> Trees<T> {
    /// Rows and numbers per row; a list of numbers is one row.
    fn extent(&self, input: &Tensor) -> Result<(usize, usize), KernelError> {
        let (rows, width) = match *input.shape() {
            [width] => (1, width),
            [rows, width] => (rows, width),
            ref shape => {
                return Err(KernelError::failed(format!("takes [rows, features] but got {shape:?}")));
            }
        };
        let needed = self.forest.features().max(1);
        if width < needed && rows > 0 {
            return Err(KernelError::failed(format!("tests feature {} but rows have {width}", needed - 1)));
        }
        Ok((rows, width))
    }
}

fn to_f32<T: Number>(values: &[T]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

fn classify<T: Number>(classes: &Classes, totals: Totals<T>, shape: [usize; 2]) -> (Vec<Class>, Vec<f32>) {
    let Totals { values, mut seen } = totals;
    let mut scores = to_f32(&values);
    let rows = scores.chunks_exact_mut(shape[1]).zip(seen.chunks_exact_mut(shape[1]));
    let found = rows.map(|(scores, seen)| classes.finish(scores, seen)).collect();
    (found, scores)
}

fn finish_values(
    row: &mut [f32],
    seen: &[bool],
    trees: Option<usize>,
    base_values: &[f32],
    transform: Transform,
) {
    if let Some(trees) = trees {
        row.iter_mut().for_each(|value| *value /= trees as f32);
    }
    if base_values.len() == row.len() {
        row.iter_mut().zip(base_values).for_each(|(value, base)| *value += base);
    }
    forget_unseen(row, seen);
    match row {
        [single] => *single = transform.apply_single(*single),
        many => transform.apply(many),
    }
}
