//! One regression tree: best-first growth on gradient histograms.
//!
//! The gain of a split is that of Chen and Guestrin (2016), equation 7 without the per-leaf cost; the histogram
//! of the larger child is the parent's minus the smaller child's.

use super::bins::Binned;
use super::{Node, Tree};

/// Splits that gain less are noise of FP64 sums.
const GAIN_MIN: f64 = 1e-9;

/// First and second derivatives of the loss by the score, one per row.
pub(crate) struct Slopes {
    pub(crate) gradient: Vec<f64>,
    pub(crate) hessian: Vec<f64>,
}

/// When to stop splitting, and how much to trust a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    pub(crate) leaves_max: usize,
    pub(crate) depth_max: usize,
    pub(crate) rows_per_leaf: usize,
    pub(crate) l2: f64,
    pub(crate) learning_rate: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    gradient: f64,
    hessian: f64,
    rows: usize,
}

#[derive(Clone, Copy, Debug)]
struct Split {
    gain: f64,
    feature: usize,
    bin: usize,
    missing_below: bool,
}

/// A leaf that may still be split.
struct Candidate {
    node: usize,
    depth: usize,
    rows: Vec<usize>,
    histogram: Vec<Cell>,
    split: Option<Split>,
}

/// Grows trees on one table.
pub(crate) struct Grower<'a> {
    binned: &'a Binned,
    /// Where each feature's cells start, and the end.
    offsets: Vec<usize>,
    growth: Growth,
}

impl Cell {
    fn add(&mut self, other: &Self) {
        self.gradient += other.gradient;
        self.hessian += other.hessian;
        self.rows += other.rows;
    }

    fn without(&self, other: &Self) -> Self {
        Self {
            gradient: self.gradient - other.gradient,
            hessian: (self.hessian - other.hessian).max(0.0),
            rows: self.rows - other.rows,
        }
    }
}

impl<'a> Grower<'a> {
    pub(crate) fn new(binned: &'a Binned, growth: Growth) -> Self {
        let mut offsets = vec![0];
        for cuts in &binned.cuts {
            offsets.push(offsets[offsets.len() - 1] + cuts.missing_code() + 1);
        }
        Self { binned, offsets, growth }
    }

    /// Grows a tree on `rows`; the leaves hold steps already times the learning rate.
    pub(crate) fn grow(&self, rows: Vec<usize>, slopes: &Slopes) -> Tree {
        let root = self.histogram(&rows, slopes);
        let mut nodes = vec![Node::Leaf(self.leaf_value(&self.total(&root)))];
        let mut open = vec![self.candidate(0, 0, rows, root)];
        for _ in 1..self.growth.leaves_max {
            let Some((at, split)) = best(&open) else { break };
            let parent = open.swap_remove(at);
            open.extend(self.divide(&parent, split, slopes, &mut nodes));
        }
        Tree { nodes }
    }

    fn candidate(&self, node: usize, depth: usize, rows: Vec<usize>, histogram: Vec<Cell>) -> Candidate {
        let splittable = depth < self.growth.depth_max && rows.len() >= 2 * self.growth.rows_per_leaf;
        let split = if splittable { self.best_split(&histogram) } else { None };
        Candidate { node, depth, rows, histogram, split }
    }

    fn divide(
        &self,
        parent: &Candidate,
        split: Split,
        slopes: &Slopes,
        nodes: &mut Vec<Node>,
    ) -> [Candidate; 2] {
        let (codes, cuts) = (self.binned.codes(split.feature), &self.binned.cuts[split.feature]);
        let goes_below = |&row: &usize| {
            let code = usize::from(codes[row]);
            if code == cuts.missing_code() { split.missing_below } else { code <= split.bin }
        };
        let (below, above): (Vec<usize>, Vec<usize>) = parent.rows.iter().partition(|row| goes_below(row));
        let smaller = if below.len() <= above.len() { &below } else { &above };
        let small = self.histogram(smaller, slopes);
        let large = parent.histogram.iter().zip(&small).map(|(all, part)| all.without(part)).collect();
        let (cells_below, cells_above) =
            if below.len() <= above.len() { (small, large) } else { (large, small) };
        let first = nodes.len();
        nodes.push(Node::Leaf(self.leaf_value(&self.total(&cells_below))));
        nodes.push(Node::Leaf(self.leaf_value(&self.total(&cells_above))));
        nodes[parent.node] = Node::Branch {
            feature: split.feature,
            threshold: cuts.threshold(split.bin),
            missing_below: split.missing_below,
            below: first,
            above: first + 1,
        };
        let depth = parent.depth + 1;
        [
            self.candidate(first, depth, below, cells_below),
            self.candidate(first + 1, depth, above, cells_above),
        ]
    }

    fn histogram(&self, rows: &[usize], slopes: &Slopes) -> Vec<Cell> {
        let mut cells = vec![Cell::default(); self.offsets[self.offsets.len() - 1]];
        for (feature, &offset) in self.offsets[..self.binned.cuts.len()].iter().enumerate() {
            let codes = self.binned.codes(feature);
            for &row in rows {
                let cell = &mut cells[offset + usize::from(codes[row])];
                cell.gradient += slopes.gradient[row];
                cell.hessian += slopes.hessian[row];
                cell.rows += 1;
            }
        }
        cells
    }

    /// The sums over all rows: those over the bins of any one feature.
    fn total(&self, histogram: &[Cell]) -> Cell {
        let mut total = Cell::default();
        histogram[..self.offsets[1]].iter().for_each(|cell| total.add(cell));
        total
    }

    fn leaf_value(&self, cell: &Cell) -> f32 {
        let hessian = cell.hessian + self.growth.l2;
        if hessian > 0.0 { (-self.growth.learning_rate * cell.gradient / hessian) as f32 } else { 0.0 }
    }

    fn best_split(&self, histogram: &[Cell]) -> Option<Split> {
        let total = self.total(histogram);
        let splits =
            (0..self.binned.cuts.len()).filter_map(|feature| self.best_split_of(feature, histogram, &total));
        splits.reduce(|best, split| if split.gain > best.gain { split } else { best })
    }

    /// Tries every bin of a feature, with its missing values on either side.
    fn best_split_of(&self, feature: usize, histogram: &[Cell], total: &Cell) -> Option<Split> {
        let cells = &histogram[self.offsets[feature]..self.offsets[feature + 1]];
        let (missing, values) = cells.split_last()?;
        let mut below = Cell::default();
        let mut best: Option<Split> = None;
        for (bin, cell) in values.iter().enumerate() {
            below.add(cell);
            let mut consider = |below: &Cell, missing_below: bool| {
                let gain = self.gain(below, total);
                if gain > best.map_or(GAIN_MIN, |best| best.gain) {
                    best = Some(Split { gain, feature, bin, missing_below });
                }
            };
            consider(&below, false);
            if missing.rows > 0 {
                let mut with_missing = below;
                with_missing.add(missing);
                consider(&with_missing, true);
            }
        }
        best.map(|split| self.settle_missing(split, missing, values, total))
    }

    /// Where no missing value was seen, a later one follows the larger side.
    fn settle_missing(&self, split: Split, missing: &Cell, values: &[Cell], total: &Cell) -> Split {
        if missing.rows > 0 {
            return split;
        }
        let below: usize = values[..=split.bin].iter().map(|cell| cell.rows).sum();
        Split { missing_below: 2 * below >= total.rows, ..split }
    }

    /// By how much the loss falls, times two; minus infinity where a side is too small.
    fn gain(&self, below: &Cell, total: &Cell) -> f64 {
        let above = total.without(below);
        if below.rows.min(above.rows) < self.growth.rows_per_leaf {
            return f64::NEG_INFINITY;
        }
        let score =
            |cell: &Cell| cell.gradient.powi(2) / (cell.hessian + self.growth.l2).max(f64::MIN_POSITIVE);
        score(below) + score(&above) - score(total)
    }
}

/// The leaf whose split gains most; the first of equals.
fn best(open: &[Candidate]) -> Option<(usize, Split)> {
    let splits = open.iter().enumerate().filter_map(|(at, leaf)| leaf.split.map(|split| (at, split)));
    splits.reduce(|best, next| if next.1.gain > best.1.gain { next } else { best })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    const GROWTH: Growth =
        Growth { leaves_max: 4, depth_max: 8, rows_per_leaf: 1, l2: 0.0, learning_rate: 1.0 };

    /// Squared error from score 0: gradient -label, hessian 1.
    fn tree(features: &[f32], labels: &[f64], growth: Growth) -> (Array2<f32>, Tree) {
        let features =
            Array2::from_shape_vec((labels.len(), features.len() / labels.len()), features.to_vec());
        let features = features.unwrap();
        let binned = Binned::new(&features, 255);
        let slopes = Slopes {
            gradient: labels.iter().map(|label| -label).collect(),
            hessian: vec![1.0; labels.len()],
        };
        let tree = Grower::new(&binned, growth).grow((0..labels.len()).collect(), &slopes);
        (features, tree)
    }

    #[test]
    fn a_tree_reproduces_steps() {
        let labels = [1.0, 1.0, 5.0, 5.0, -2.0, -2.0];
        let (features, tree) = tree(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &labels, GROWTH);
        for (row, label) in features.rows().into_iter().zip(labels) {
            assert_eq!(f64::from(tree.value(&row)), label);
        }
        assert_eq!(tree.nodes.len(), 5, "three leaves are enough");
    }

    #[test]
    fn missing_values_go_where_they_fit() {
        let nan = f32::NAN;
        let (_, above) = tree(&[1.0, 2.0, 3.0, nan], &[0.0, 0.0, 9.0, 9.0], GROWTH);
        assert!(matches!(above.nodes[0], Node::Branch { missing_below: false, .. }), "{above:?}");
        let (_, below) = tree(&[1.0, 2.0, 3.0, nan], &[9.0, 9.0, 0.0, 9.0], GROWTH);
        assert!(matches!(below.nodes[0], Node::Branch { missing_below: true, .. }), "{below:?}");
    }

    #[test]
    fn being_missing_is_itself_a_split() {
        let nan = f32::NAN;
        let (features, tree) = tree(&[1.0, 1.0, nan, nan], &[0.0, 0.0, 9.0, 9.0], GROWTH);
        assert_eq!(tree.value(&features.row(0)), 0.0);
        assert_eq!(tree.value(&features.row(3)), 9.0);
    }

    #[test]
    fn limits_hold() {
        let features: Vec<f32> = (0..64).map(|row| row as f32).collect();
        let labels: Vec<f64> = (0..64).map(f64::from).collect();
        let leaves = |tree: &Tree| tree.nodes.iter().filter(|node| matches!(node, Node::Leaf(_))).count();
        let grown = |growth| leaves(&tree(&features, &labels, growth).1);
        assert_eq!(grown(Growth { leaves_max: 7, ..GROWTH }), 7);
        assert_eq!(grown(Growth { leaves_max: 64, depth_max: 2, ..GROWTH }), 4);
        assert_eq!(grown(Growth { leaves_max: 64, rows_per_leaf: 16, ..GROWTH }), 4);
        assert_eq!(grown(Growth { leaves_max: 1, ..GROWTH }), 1);
    }
}
