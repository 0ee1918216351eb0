//! Trees as flat arrays, and the walk through them.
//!
//! A [`Draft`] is what a node's attributes say; [`Forest::new`] checks it (every child exists, no path comes back to
//! itself) and lays the nodes out in the order of a walk. A node may be reached on several paths, as some converters
//! write set membership. A walk ends because every step leads away from the root, so it takes at most as many steps as
//! there are nodes.
//!
//! Rows go through the trees in blocks, tree by tree, so that a tree is read from memory once per block, and several
//! walks are made in step, so that they wait for memory together: of one tree with several rows, or of several trees with
//! one row. A leaf leads to itself, so a walk that has arrived may go on with the others. Of one row, the leaves are always
//! added in the order of the trees, so a row's sum does not depend on the rows beside it.

use std::borrow::Cow;

use super::KernelError;
use crate::tensor::{Tensor, TensorData};

/// Most nodes of one ensemble, leaves included.
pub(super) const NODES_MAX: usize = 1 << 27;

/// Most features a tree may read.
pub(super) const FEATURES_MAX: usize = 1 << 24;

/// Most targets or classes.
pub(super) const OUTPUTS_MAX: usize = 1 << 16;

/// Rows that go through a tree together.
const BLOCK_ROWS: usize = 64;

/// Walks that are made in step.
const LANES: usize = 8;

const FEATURE_MASK: u32 = FEATURES_MAX as u32 - 1;
const MODE_SHIFT: u32 = 24;
const MODE_MASK: u32 = 7;
const MISSING_TRUE: u32 = 1 << 30;
const LEAF: u32 = 1 << 31;
const UNPLACED: u32 = u32::MAX;

/// How a value is compared with a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Mode {
    Leq,
    Lt,
    Gte,
    Gt,
    Eq,
    Neq,
}

/// What a walk is made of: 32-bit or 64-bit floats.
pub(super) trait Number:
    Copy + PartialOrd + Default + Send + Sync + std::ops::AddAssign + 'static
{
    fn of(value: f64) -> Self;
    fn to_f32(self) -> f32;
    fn is_missing(self) -> bool;
    /// The elements of a numeric tensor.
    fn elements(tensor: &Tensor) -> Option<Cow<'_, [Self]>>;
}

macro_rules! number {
    ($float:ident, $variant:ident) => {
        impl Number for $float {
            fn of(value: f64) -> Self {
                value as $float
            }

            fn to_f32(self) -> f32 {
                self as f32
            }

            fn is_missing(self) -> bool {
                self.is_nan()
            }

            fn elements(tensor: &Tensor) -> Option<Cow<'_, [Self]>> {
                Some(match tensor.data() {
                    TensorData::$variant(values) => Cow::Borrowed(values),
                    TensorData::Bytes(_) => return None,
                    _ => (0..tensor.len()).map_while(|at| tensor.number(at)).map(|v| v as $float).collect(),
                })
            }
        }
    };
}

number!(f32, F32);
number!(f64, F64);

/// A branch whose children are indices of a [`Draft`]'s nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branch {
    pub(crate) feature: i64,
    pub(crate) mode: Mode,
    pub(crate) missing_true: bool,
    pub(crate) threshold: f64,
    pub(crate) on_true: usize,
    pub(crate) on_false: usize,
}

/// What a leaf adds to an output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    pub(crate) node: usize,
    pub(crate) output: i64,
    pub(crate) value: f64,
}

/// An ensemble as its attributes say it. A node without a branch is a leaf.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) nodes: Vec<Option<Branch>>,
    /// The node each tree starts at.
    pub(crate) roots: Vec<usize>,
    pub(crate) weights: Vec<Weight>,
    pub(crate) outputs: usize,
}

#[derive(Clone, Copy)]
struct Node<T> {
    /// Of a leaf: what it adds where there is one output.
    threshold: T,
    /// Feature, mode and where missing values go; [`LEAF`].
    test: u32,
    /// Where to go if the test fails and if it holds.
    next: [u32; 2],
}

/// Trees, ready to be walked.
pub(super) struct Forest<T> {
    nodes: Vec<Node<T>>,
    roots: Vec<u32>,
    weights: Vec<(u32, T)>,
    /// Where each node's weights begin, and the last one's end.
    ranges: Vec<u32>,
    rule: Rule,
    features: usize,
    outputs: usize,
}

/// Which tests occur, so that the walk need not ask at every node.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Leq,
    LeqOrMissing,
    Any,
}

/// How leaves become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

/// Per row and output, the aggregated leaves, and whether there was any.
pub(super) struct Totals<T> {
    pub(super) values: Vec<T>,
    pub(super) seen: Vec<bool>,
}

impl<T: Number> Forest<T> {
    pub(super) fn new(draft: &Draft) -> Result<Self, KernelError> {
        check_limits(draft)?;
        let (order, place) = lay_out(draft)?;
        let (weights, ranges) = sort_weights::<T>(draft, &order)?;
        let mut forest =
            Self { nodes: Vec::with_capacity(order.len()), weights, ranges, ..Self::empty(draft.outputs) };
        for (at, &index) in order.iter().enumerate() {
            let node = match &draft.nodes[index] {
                Some(branch) => forest.branch(branch, &place)?,
                None => forest.leaf(at as u32),
            };
            forest.nodes.push(node);
        }
        forest.roots = draft.roots.iter().map(|&root| place[root]).collect();
        Ok(forest)
    }

    fn empty(outputs: usize) -> Self {
        let (nodes, roots, weights, ranges) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { nodes, roots, weights, ranges, rule: Rule::Leq, features: 0, outputs }
    }

    fn branch(&mut self, branch: &Branch, place: &[u32]) -> Result<Node<T>, KernelError> {
        let feature = usize::try_from(branch.feature).ok().filter(|&feature| feature < FEATURES_MAX);
        let refuse = || KernelError::invalid(format!("tests feature {}", branch.feature));
        let feature = feature.ok_or_else(refuse)?;
        self.features = self.features.max(feature + 1);
        let mut test = feature as u32 | (branch.mode as u32) << MODE_SHIFT;
        if branch.missing_true {
            test |= MISSING_TRUE;
        }
        self.rule = match (self.rule, branch.mode, branch.missing_true) {
            (Rule::Any, ..) => Rule::Any,
            (rule, Mode::Leq, false) => rule,
            (_, Mode::Leq, true) => Rule::LeqOrMissing,
            _ => Rule::Any,
        };
        let next = [place[branch.on_false], place[branch.on_true]];
        Ok(Node { threshold: T::of(branch.threshold), test, next })
    }

    fn leaf(&self, at: u32) -> Node<T> {
        // With one output ONNX Runtime takes a leaf's first weight and leaves the others out.
        let threshold = self.weights_of(at).first().map_or(T::default(), |weight| weight.1);
        Node { threshold, test: LEAF, next: [at; 2] }
    }

    fn weights_of(&self, leaf: u32) -> &[(u32, T)] {
        let leaf = leaf as usize;
        &self.weights[self.ranges[leaf] as usize..self.ranges[leaf + 1] as usize]
    }

    /// Numbers a row must have at least.
    pub(super) fn features(&self) -> usize {
        self.features
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(super) fn trees(&self) -> usize {
        self.roots.len()
    }

    /// The aggregated leaves of rows that stand `width` apart. [`Aggregate::Average`] is the sum here.
    pub(super) fn totals(&self, values: &[T], width: usize, aggregate: Aggregate) -> Totals<T> {
        match aggregate {
            Aggregate::Sum | Aggregate::Average => {
                self.fold(values, width, |total, _, value| *total += value)
            }
            Aggregate::Min => self.fold(values, width, |total, seen, value| {
                if !seen || value < *total {
                    *total = value;
                }
            }),
            Aggregate::Max => self.fold(values, width, |total, seen, value| {
                if !seen || value > *total {
                    *total = value;
                }
            }),
        }
    }

    fn fold(&self, values: &[T], width: usize, add: impl Fn(&mut T, bool, T) + Copy) -> Totals<T> {
        match self.rule {
            Rule::Leq => self.walk(values, width, add, |node, value| value <= node.threshold),
            Rule::LeqOrMissing => self.walk(values, width, add, |node, value| {
                (value <= node.threshold) | ((node.test & MISSING_TRUE != 0) & value.is_missing())
            }),
            Rule::Any => self.walk(values, width, add, Node::holds),
        }
    }

    fn walk(
        &self,
        values: &[T],
        width: usize,
        add: impl Fn(&mut T, bool, T) + Copy,
        holds: impl Fn(&Node<T>, T) -> bool + Copy,
    ) -> Totals<T> {
        let (width, outputs) = (width.max(1), self.outputs);
        let count = values.len() / width * outputs;
        let mut totals = Totals { values: vec![T::default(); count], seen: vec![false; count] };
        let sums = totals.values.chunks_mut(BLOCK_ROWS * outputs);
        let seen = totals.seen.chunks_mut(BLOCK_ROWS * outputs);
        for ((block, sums), seen) in values.chunks(BLOCK_ROWS * width).zip(sums).zip(seen) {
            let row = |at: usize| &block[at * width..(at + 1) * width];
            let mut add_leaf = |at: usize, leaf: u32| {
                let range = at * outputs..(at + 1) * outputs;
                self.add(leaf, &mut sums[range.clone()], &mut seen[range], add);
            };
            let rows = block.len() / width;
            let grouped = rows - rows % LANES;
            for &root in &self.roots {
                for first in (0..grouped).step_by(LANES) {
                    let lanes = std::array::from_fn(|lane| row(first + lane));
                    let leaves = self.leaves_of([root; LANES], lanes, holds);
                    (0..LANES).for_each(|lane| add_leaf(first + lane, leaves[lane]));
                }
            }
            for at in grouped..rows {
                for roots in self.roots.chunks(LANES) {
                    let lanes = std::array::from_fn(|lane| roots.get(lane).copied().unwrap_or(roots[0]));
                    let leaves = self.leaves_of(lanes, [row(at); LANES], holds);
                    (0..roots.len()).for_each(|lane| add_leaf(at, leaves[lane]));
                }
            }
        }
        totals
    }

    /// The leaves that walks from these nodes with these rows end at.
    #[inline]
    fn leaves_of(
        &self,
        mut at: [u32; LANES],
        rows: [&[T]; LANES],
        holds: impl Fn(&Node<T>, T) -> bool,
    ) -> [u32; LANES] {
        loop {
            let mut arrived = LEAF;
            for (at, row) in at.iter_mut().zip(rows) {
                let node = &self.nodes[*at as usize];
                arrived &= node.test;
                // An indexed load rather than a branch: which way a test goes cannot be predicted.
                let value = row[(node.test & FEATURE_MASK) as usize];
                *at = node.next[usize::from(holds(node, value))];
            }
            if arrived != 0 {
                return at;
            }
        }
    }

    #[inline]
    fn add(&self, leaf: u32, sums: &mut [T], seen: &mut [bool], add: impl Fn(&mut T, bool, T)) {
        if let ([sum], [seen]) = (&mut *sums, &mut *seen) {
            add(sum, *seen, self.nodes[leaf as usize].threshold);
            *seen = true;
            return;
        }
        for &(output, weight) in self.weights_of(leaf) {
            let output = output as usize;
            add(&mut sums[output], seen[output], weight);
            seen[output] = true;
        }
    }
}

impl<T: Number> Node<T> {
    fn holds(&self, value: T) -> bool {
        let holds = match (self.test >> MODE_SHIFT) & MODE_MASK {
            0 => value <= self.threshold,
            1 => value < self.threshold,
            2 => value >= self.threshold,
            3 => value > self.threshold,
            4 => value == self.threshold,
            _ => value != self.threshold,
        };
        holds || (self.test & MISSING_TRUE != 0 && value.is_missing())
    }
}

fn check_limits(draft: &Draft) -> Result<(), KernelError> {
    let within = |what: &str, found: usize, most: usize| match found {
        1.. if found <= most => Ok(()),
        _ => Err(KernelError::invalid(format!("has {found} {what}; 1 to {most} are accepted"))),
    };
    within("nodes", draft.nodes.len(), NODES_MAX)?;
    within("trees", draft.roots.len(), NODES_MAX)?;
    within("outputs", draft.outputs, OUTPUTS_MAX)
}

enum Visit {
    Enter(usize),
    Leave(usize),
}

/// The nodes in the order a walk meets them, and the place of each in that order. Unreachable nodes have none.
fn lay_out(draft: &Draft) -> Result<(Vec<usize>, Vec<u32>), KernelError> {
    let mut place = vec![UNPLACED; draft.nodes.len()];
    let mut open = vec![false; draft.nodes.len()];
    let mut order = Vec::with_capacity(draft.nodes.len());
    let mut stack = Vec::new();
    for &root in &draft.roots {
        stack.push(Visit::Enter(root));
        while let Some(visit) = stack.pop() {
            let index = match visit {
                Visit::Leave(index) => {
                    open[index] = false;
                    continue;
                }
                Visit::Enter(index) => index,
            };
            if open[index] {
                return Err(KernelError::invalid(format!("tree node {index} is its own descendant")));
            }
            if place[index] != UNPLACED {
                continue;
            }
            place[index] = order.len() as u32;
            order.push(index);
            if let Some(branch) = &draft.nodes[index] {
                open[index] = true;
                let children = [Visit::Enter(branch.on_false), Visit::Enter(branch.on_true)];
                stack.push(Visit::Leave(index));
                stack.extend(children);
            }
        }
    }
    Ok((order, place))
}

/// Output and value of each weight, and where each node's begin.
type SortedWeights<T> = (Vec<(u32, T)>, Vec<u32>);

/// The weights in the nodes' order, in the given order within a node. Those of nodes that no walk meets are left out.
fn sort_weights<T: Number>(draft: &Draft, order: &[usize]) -> Result<SortedWeights<T>, KernelError> {
    let mut of_node: Vec<Vec<(u32, T)>> = vec![Vec::new(); draft.nodes.len()];
    for weight in &draft.weights {
        let output = u32::try_from(weight.output).ok().filter(|&output| (output as usize) < draft.outputs);
        let refuse = || {
            let (output, outputs) = (weight.output, draft.outputs);
            KernelError::invalid(format!("has a weight for output {output} of {outputs}"))
        };
        of_node[weight.node].push((output.ok_or_else(refuse)?, T::of(weight.value)));
    }
    let (mut weights, mut starts) = (Vec::with_capacity(draft.weights.len()), vec![0]);
    for &node in order {
        weights.append(&mut of_node[node]);
        starts.push(weights.len() as u32);
    }
    Ok((weights, starts))
}
