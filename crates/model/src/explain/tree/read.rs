//! From an ONNX file to the trees of an explainer.

use std::collections::HashMap;

use super::walk::{Leaf, PATH_FEATURES_MAX, Step, Test, Tree, share};
use super::{TreeExplainer, Usual};
use crate::engine::native::{Branch, Ensemble, read_ensemble};
use crate::onnx::{self, GraphProto, NodeProto, OnnxError};

/// Most leaves over all paths of a file's trees.
const LEAVES_MAX: usize = 1 << 22;

/// Most tests on one path.
const DEPTH_MAX: usize = 4096;

/// What may stand beside the trees without changing what their sum means.
const PLAIN: [&str; 17] = [
    "Cast",
    "Identity",
    "ZipMap",
    "LabelEncoder",
    "Sigmoid",
    "Softmax",
    "ArgMax",
    "ArrayFeatureExtractor",
    "Gather",
    "Concat",
    "Sub",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Normalizer",
    "Constant",
];

/// Why there is no exact explanation from the file.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The bytes are no ONNX model.
    #[error("reading the model file")]
    Onnx(#[from] OnnxError),
    /// It is no tree ensemble, or not one that is explained from its file.
    #[error("the model is not explained from its trees: {0}; sample it instead")]
    Unsupported(String),
    /// Nothing says how often training rows took each branch.
    #[error(
        "the file does not say how often training rows took each branch; give training rows, or background rows"
    )]
    NoCover,
    /// Rows that do not fit the model.
    #[error("{0}")]
    Rows(String),
}

fn unsupported(why: impl Into<String>) -> TreeError {
    TreeError::Unsupported(why.into())
}

/// The explainer of a file's only ensemble, without anything usual yet.
pub(super) fn ensemble(onnx: &[u8]) -> Result<TreeExplainer, TreeError> {
    let model = onnx::decode(onnx)?;
    let graph = model.graph.as_ref().ok_or_else(|| unsupported("it has no graph"))?;
    let node = only_ensemble(graph)?;
    let ensemble = read_ensemble(node).map_err(|cause| unsupported(cause.message))?;
    let outputs = outputs_of(&ensemble)?;
    let column = |output: i64| outputs.iter().position(|&known| known as i64 == output);
    let mut leaves_left = LEAVES_MAX;
    let scale = if ensemble.average { 1.0 / ensemble.draft.roots.len() as f64 } else { 1.0 };
    let mut weights: HashMap<usize, Vec<(usize, f64)>> = HashMap::new();
    let only = ensemble.draft.outputs == 1;
    for weight in &ensemble.draft.weights {
        // Where leaves speak for one of two classes, whichever they name, its sum is the second class's.
        let found = if ensemble.single_class { Some(0) } else { column(weight.output) };
        let list = weights.entry(weight.node).or_default();
        if only && !list.is_empty() {
            continue;
        }
        list.push((found.ok_or_else(|| unsupported("a leaf speaks for no output"))?, weight.value * scale));
    }
    let trees =
        ensemble.draft.roots.iter().map(|&root| Path::walk(&ensemble, root, &weights, &mut leaves_left));
    let trees = trees.collect::<Result<Vec<_>, _>>()?;
    let tests = trees.iter().flat_map(|tree| &tree.steps);
    let feature = |step: &Step| if let Step::Test(test) = step { test.feature as usize + 1 } else { 0 };
    let features = tests.map(feature).max().unwrap_or(0);
    let base_values = base_values(&ensemble, &outputs);
    Ok(TreeExplainer { trees, features, outputs, base_values, wide: ensemble.wide, usual: Usual::Cover })
}

/// The graph's only tree node, which must read the graph's input as it is.
fn only_ensemble(graph: &GraphProto) -> Result<&NodeProto, TreeError> {
    let is_trees = |node: &&NodeProto| node.op_type.starts_with("TreeEnsemble");
    let mut found = graph.node.iter().filter(is_trees);
    let node = found.next().ok_or_else(|| unsupported("it has no tree ensemble"))?;
    if found.next().is_some() {
        return Err(unsupported("it has several tree ensembles"));
    }
    if let Some(other) = graph.node.iter().find(|other| !is_trees(other) && !PLAIN.contains(&&*other.op_type))
    {
        return Err(unsupported(format!("beside the trees it computes with {}", other.op_type)));
    }
    let mut value = node.input.first().map_or("", String::as_str);
    for _ in 0..=graph.node.len() {
        if onnx::inputs(graph).any(|input| input.name == value) {
            return Ok(node);
        }
        let maker = graph.node.iter().find(|other| other.output.iter().any(|output| output == value));
        match maker.filter(|maker| matches!(&*maker.op_type, "Cast" | "Identity")) {
            Some(maker) => value = maker.input.first().map_or("", String::as_str),
            None => break,
        }
    }
    Err(unsupported("the trees do not read the model's input as it is"))
}

/// The outputs that leaves speak for, by index among the model's.
fn outputs_of(ensemble: &Ensemble) -> Result<Vec<usize>, TreeError> {
    if ensemble.single_class {
        return Ok(vec![1]);
    }
    let in_range = ensemble
        .draft
        .weights
        .iter()
        .all(|weight| usize::try_from(weight.output).is_ok_and(|output| output < ensemble.draft.outputs));
    if !in_range || ensemble.draft.outputs == 0 {
        return Err(unsupported("a leaf speaks for an output that the model does not have"));
    }
    Ok((0..ensemble.draft.outputs).collect())
}

fn base_values(ensemble: &Ensemble, outputs: &[usize]) -> Vec<f64> {
    match *ensemble.base_values {
        [only] if outputs.len() == 1 => vec![only],
        [_, second] if ensemble.single_class => vec![second],
        ref all if all.len() == outputs.len() => all.to_vec(),
        _ => vec![0.0; outputs.len()],
    }
}

/// A path under way from a root.
struct Path<'a> {
    ensemble: &'a Ensemble,
    weights: &'a HashMap<usize, Vec<(usize, f64)>>,
    tree: Tree,
    /// The features on the path so far, in the order of their first test.
    features: Vec<u32>,
}

/// What is left to do of a walk.
enum Todo {
    Visit(usize, usize),
    /// Forget features down to this many: the walk goes back.
    Forget(usize),
}

impl<'a> Path<'a> {
    fn walk(
        ensemble: &'a Ensemble,
        root: usize,
        weights: &'a HashMap<usize, Vec<(usize, f64)>>,
        leaves_left: &mut usize,
    ) -> Result<Tree, TreeError> {
        let tree = Tree { steps: Vec::new(), leaves: Vec::new(), depth: 0 };
        let mut path = Self { ensemble, weights, tree, features: Vec::new() };
        let mut todo = vec![Todo::Visit(root, 0)];
        while let Some(next) = todo.pop() {
            match next {
                Todo::Forget(count) => path.features.truncate(count),
                Todo::Visit(node, depth) => match &ensemble.draft.nodes[node] {
                    None => path.leaf(node, leaves_left)?,
                    Some(branch) => {
                        let known = path.features.len();
                        path.test(branch, depth)?;
                        todo.push(Todo::Forget(known));
                        todo.push(Todo::Visit(branch.on_false, depth + 1));
                        // The false side keeps the test's feature, but none that the true side adds.
                        todo.push(Todo::Forget(path.features.len()));
                        todo.push(Todo::Visit(branch.on_true, depth + 1));
                    }
                },
            }
        }
        path.tree.share_leaves();
        Ok(path.tree)
    }

    fn leaf(&mut self, node: usize, leaves_left: &mut usize) -> Result<(), TreeError> {
        *leaves_left = leaves_left.checked_sub(1).ok_or_else(|| unsupported("it has too many paths"))?;
        let weights = self.weights.get(&node).cloned().unwrap_or_default();
        self.tree.leaves.push(Leaf { features: self.features.clone(), shares: Vec::new(), weights });
        self.tree.steps.push(Step::Leaf);
        Ok(())
    }

    fn test(&mut self, branch: &Branch, depth: usize) -> Result<(), TreeError> {
        if depth >= DEPTH_MAX {
            return Err(unsupported(format!("a path has more than {DEPTH_MAX} tests")));
        }
        let feature = u32::try_from(branch.feature).map_err(|_| unsupported("a test names no feature"))?;
        let known = self.features.iter().position(|&known| known == feature);
        let slot = known.unwrap_or(self.features.len());
        if slot >= PATH_FEATURES_MAX {
            return Err(unsupported(format!("a path tests more than {PATH_FEATURES_MAX} features")));
        }
        if known.is_none() {
            self.features.push(feature);
        }
        let rate = |node: usize| self.ensemble.hit_rates.as_ref().map_or(f64::NAN, |rates| rates[node]);
        let (holds, fails) = (rate(branch.on_true), rate(branch.on_false));
        let share = if holds.is_nan() || fails.is_nan() { f64::NAN } else { share(holds, fails) };
        let wide = self.ensemble.wide;
        let threshold = if wide { branch.threshold } else { f64::from(branch.threshold as f32) };
        self.tree.steps.push(Step::Test(Test {
            feature,
            slot: slot as u8,
            mode: branch.mode,
            missing_true: branch.missing_true,
            threshold,
            share,
        }));
        self.tree.depth = self.tree.depth.max(depth + 1);
        Ok(())
    }
}
