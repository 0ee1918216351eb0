//! Trees as their walk, and blocks of rows that go through them.

use crate::engine::native::Mode;
use crate::explain::Rows;

/// Most different features on one path, as many as a mask has bits.
pub(super) const PATH_FEATURES_MAX: usize = 64;

/// One tree in the order of a walk that visits every path.
pub(super) struct Tree {
    pub(super) steps: Vec<Step>,
    pub(super) leaves: Vec<Leaf>,
    /// Most tests on a path.
    pub(super) depth: usize,
}

/// A step of the walk. After a test come the steps of its true side, then those of its false side.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Test(Test),
    Leaf,
}

/// A test, and the bit of its feature in the masks of the path.
#[derive(Clone, Copy)]
pub(super) struct Test {
    pub(super) feature: u32,
    pub(super) slot: u8,
    pub(super) mode: Mode,
    pub(super) missing_true: bool,
    pub(super) threshold: f64,
    /// Share of the rows that reach the test for which it holds; NaN if nothing says it.
    pub(super) share: f64,
}

/// Where a path ends.
#[derive(Default)]
pub(super) struct Leaf {
    /// The features tested on the path; bit i of a mask says whether the i-th passed all its tests.
    pub(super) features: Vec<u32>,
    /// Of each of them, the share of rows that pass, as training had it.
    pub(super) shares: Vec<f64>,
    /// What the leaf adds to which output.
    pub(super) weights: Vec<(usize, f64)>,
}

impl Leaf {
    /// The mask of a row that reaches the leaf.
    pub(super) fn full(&self) -> u64 {
        match self.features.len() {
            0 => 0,
            len => u64::MAX >> (PATH_FEATURES_MAX - len),
        }
    }
}

impl Test {
    fn holds(&self, value: f64) -> bool {
        let holds = match self.mode {
            Mode::Leq => value <= self.threshold,
            Mode::Lt => value < self.threshold,
            Mode::Gte => value >= self.threshold,
            Mode::Gt => value > self.threshold,
            Mode::Eq => value == self.threshold,
            Mode::Neq => value != self.threshold,
        };
        holds || (self.missing_true && value.is_nan())
    }
}

/// Rows that go through trees together, column by column, with their masks.
pub(super) struct Block {
    columns: Vec<f64>,
    rows: usize,
    /// The masks at each depth of the walk.
    masks: Vec<u64>,
    /// Whether the test at each depth holds, all ones or none.
    holds: Vec<u64>,
}

impl Block {
    /// A block of rows followed by the background's.
    pub(super) fn new(rows: &[f64], background: &[f64], width: usize, wide: bool) -> Self {
        let count = (rows.len() + background.len()) / width;
        let mut columns = vec![0.0; count * width];
        let all = rows.chunks_exact(width).chain(background.chunks_exact(width));
        for (at, row) in all.enumerate() {
            for (feature, &value) in row.iter().enumerate() {
                // The trees compare in 32 bits unless the file says otherwise.
                columns[feature * count + at] = if wide { value } else { f64::from(value as f32) };
            }
        }
        Self { columns, rows: count, masks: Vec::new(), holds: Vec::new() }
    }

    fn begin(&mut self, depth: usize) {
        let len = (depth + 1) * self.rows;
        if self.masks.len() < len {
            self.masks.resize(len, 0);
            self.holds.resize(len, 0);
        }
        self.masks[..self.rows].fill(u64::MAX);
    }

    fn test(&mut self, depth: usize, test: &Test) {
        let column = &self.columns[test.feature as usize * self.rows..][..self.rows];
        let holds = &mut self.holds[depth * self.rows..][..self.rows];
        if test.mode == Mode::Leq && !test.missing_true {
            let threshold = test.threshold;
            column
                .iter()
                .zip(holds)
                .for_each(|(value, holds)| *holds = u64::from(*value <= threshold).wrapping_neg());
        } else {
            column
                .iter()
                .zip(holds)
                .for_each(|(value, holds)| *holds = u64::from(test.holds(*value)).wrapping_neg());
        }
    }

    /// The masks behind a test on one side of it.
    fn descend(&mut self, depth: usize, slot: u8, side: bool) {
        let bit = 1_u64 << slot;
        let flip = if side { 0 } else { u64::MAX };
        let holds = &self.holds[depth * self.rows..][..self.rows];
        let (before, after) = self.masks.split_at_mut((depth + 1) * self.rows);
        let before = &before[depth * self.rows..];
        for ((after, before), holds) in after[..self.rows].iter_mut().zip(before).zip(holds) {
            *after = before & ((holds ^ flip) | !bit);
        }
    }

    fn masks(&self, depth: usize) -> &[u64] {
        &self.masks[depth * self.rows..][..self.rows]
    }
}

impl Tree {
    /// Calls `visit` at every leaf with the rows' masks there.
    pub(super) fn walk(&self, block: &mut Block, mut visit: impl FnMut(&Leaf, &[u64])) {
        block.begin(self.depth);
        let mut open: Vec<(Test, bool)> = Vec::with_capacity(self.depth);
        let mut leaves = self.leaves.iter();
        let mut masks = Vec::with_capacity(block.rows);
        for step in &self.steps {
            match step {
                Step::Test(test) => {
                    block.test(open.len(), test);
                    block.descend(open.len(), test.slot, true);
                    open.push((*test, true));
                }
                Step::Leaf => {
                    let Some(leaf) = leaves.next() else { return };
                    let full = leaf.full();
                    masks.clear();
                    masks.extend(block.masks(open.len()).iter().map(|mask| mask & full));
                    visit(leaf, &masks);
                    while let Some((_, false)) = open.last() {
                        open.pop();
                    }
                    let depth = open.len();
                    if let Some((test, side)) = open.last_mut() {
                        *side = false;
                        block.descend(depth - 1, test.slot, false);
                    }
                }
            }
        }
    }

    /// Whether every test says how often it held in training.
    pub(super) fn has_cover(&self) -> bool {
        self.leaves.iter().all(|leaf| leaf.shares.iter().all(|share| share.is_finite()))
    }

    /// Counts anew how often each test holds among the rows that reach it. A test that no row reaches goes either way
    /// equally often.
    pub(super) fn cover_from(&mut self, rows: &Rows, wide: bool) {
        let mut reached = vec![0_usize; self.leaves.len()];
        let mut block = Block::new(rows.values(), &[], rows.width(), wide);
        let mut at = 0;
        self.walk(&mut block, |leaf, masks| {
            reached[at] = masks.iter().filter(|&&mask| mask == leaf.full()).count();
            at += 1;
        });
        self.share_from(&reached);
    }

    /// Sets the shares from how many rows reached each leaf.
    fn share_from(&mut self, reached: &[usize]) {
        // From the end of the walk, both sides of a test are known when the test is met.
        let mut sides: Vec<usize> = Vec::new();
        let mut leaf = reached.len();
        for step in self.steps.iter_mut().rev() {
            match step {
                Step::Leaf => {
                    leaf -= 1;
                    sides.push(reached[leaf]);
                }
                Step::Test(test) => {
                    let (holds, fails) = (sides.pop().unwrap_or(0), sides.pop().unwrap_or(0));
                    test.share = share(holds as f64, fails as f64);
                    sides.push(holds + fails);
                }
            }
        }
        self.share_leaves();
    }

    /// Multiplies the tests' shares along each path.
    pub(super) fn share_leaves(&mut self) {
        let mut open: Vec<(Test, bool)> = Vec::with_capacity(self.depth);
        let mut leaves = self.leaves.iter_mut();
        for step in &self.steps {
            match step {
                Step::Test(test) => open.push((*test, true)),
                Step::Leaf => {
                    let Some(leaf) = leaves.next() else { return };
                    leaf.shares = vec![1.0; leaf.features.len()];
                    for (test, side) in &open {
                        leaf.shares[usize::from(test.slot)] *=
                            if *side { test.share } else { 1.0 - test.share };
                    }
                    while let Some((_, false)) = open.last() {
                        open.pop();
                    }
                    if let Some((_, side)) = open.last_mut() {
                        *side = false;
                    }
                }
            }
        }
    }
}

/// The share of `holds`; a half where there is neither.
pub(super) fn share(holds: f64, fails: f64) -> f64 {
    let both = holds + fails;
    if both > 0.0 { holds / both } else { 0.5 }
}
