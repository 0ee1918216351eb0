//! A hash tree whose inner nodes are kept, so that a proof costs the tree's height and not its size.
//!
//! 64 bytes per leaf. Every head of the past can be given, and proved to be the past of any later one.

use edgeward_core::Digest;

use super::{TreeHead, node_hash, split};

/// A tree that only grows; level 0 holds the leaves, level `n` the roots of the full subtrees of `2^n` leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredTree {
    levels: Vec<Vec<Digest>>,
}

impl StoredTree {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.leaves() as u64
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Digest) {
        let mut node = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(node);
            if !nodes.len().is_multiple_of(2) {
                return;
            }
            node = node_hash(&nodes[nodes.len() - 2], &nodes[nodes.len() - 1]);
        }
    }

    /// Forgets every leaf from `size` on.
    pub fn truncate(&mut self, size: u64) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        for (level, nodes) in self.levels.iter_mut().enumerate() {
            nodes.truncate(size >> level);
        }
    }

    /// The head when the tree had `size` leaves; none if it has fewer.
    #[must_use]
    pub fn head_at(&self, size: u64) -> Option<TreeHead> {
        let leaves = self.within(size)?;
        let root = if leaves == 0 { Digest::of(b"") } else { self.range(0, leaves) };
        Some(TreeHead { size, root })
    }

    /// Shows that leaf `index` is in the tree of `size` leaves; none if there is no such leaf or tree.
    #[must_use]
    pub fn prove_inclusion(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        let (mut begin, mut end) = (0, self.within(size)?);
        let index = usize::try_from(index).ok().filter(|index| *index < end)?;
        let mut path = Vec::new();
        while end - begin > 1 {
            let middle = begin + split(end - begin);
            let (sibling, inside) = match index < middle {
                true => (self.range(middle, end), (begin, middle)),
                false => (self.range(begin, middle), (middle, end)),
            };
            path.push(sibling);
            (begin, end) = inside;
        }
        path.reverse();
        Some(path)
    }

    /// Shows that the tree of `new` leaves continues the one of `old`; none if there are no such trees.
    #[must_use]
    pub fn prove_consistency(&self, old: u64, new: u64) -> Option<Vec<Digest>> {
        let (mut begin, mut end) = (0, self.within(new)?);
        let old = usize::try_from(old).ok().filter(|old| *old <= end)?;
        let (mut path, mut known) = (Vec::new(), true);
        if old == 0 {
            return Some(path);
        }
        while old != end {
            let middle = begin + split(end - begin);
            let (sibling, inside) = match old <= middle {
                true => (self.range(middle, end), (begin, middle)),
                false => (self.range(begin, middle), (middle, end)),
            };
            known &= old <= middle;
            path.push(sibling);
            (begin, end) = inside;
        }
        if !known {
            path.push(self.range(begin, end));
        }
        path.reverse();
        Some(path)
    }

    fn leaves(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    fn within(&self, size: u64) -> Option<usize> {
        usize::try_from(size).ok().filter(|size| *size <= self.leaves())
    }

    /// The root over `begin..end`, a range as the tree's definition cuts them: its left part is always full.
    fn range(&self, begin: usize, end: usize) -> Digest {
        let len = end - begin;
        if len.is_power_of_two() {
            let level = len.ilog2() as usize;
            return self.levels[level][begin >> level];
        }
        let middle = begin + split(len);
        node_hash(&self.range(begin, middle), &self.range(middle, end))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{leaf_hash, prove_consistency, prove_inclusion, root};
    use super::*;

    #[test]
    fn it_gives_what_is_computed_from_every_leaf() {
        let leaves: Vec<Digest> = (0_u32..70).map(|n| leaf_hash(&n.to_le_bytes())).collect();
        let mut tree = StoredTree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        for size in 0..=leaves.len() {
            let (part, size) = (&leaves[..size], size as u64);
            assert_eq!(tree.head_at(size), Some(TreeHead { size, root: root(part) }));
            for index in 0..=part.len() {
                assert_eq!(tree.prove_inclusion(index as u64, size), prove_inclusion(part, index));
                assert_eq!(tree.prove_consistency(index as u64, size), prove_consistency(part, index));
            }
            assert_eq!(tree.prove_consistency(size + 1, size), None);
        }
        assert_eq!(tree.head_at(71), None);
        assert_eq!(tree.prove_inclusion(0, 71), None);
    }

    #[test]
    fn a_tree_cut_back_is_the_tree_it_was() {
        let leaf = |n: u32| leaf_hash(&n.to_le_bytes());
        let grown = |size: u32| {
            let mut tree = StoredTree::default();
            (0..size).for_each(|n| tree.push(leaf(n)));
            tree
        };
        for size in 0..20 {
            let mut cut = grown(20);
            cut.truncate(u64::from(size));
            (size..20).for_each(|n| cut.push(leaf(n)));
            assert_eq!(cut, grown(20), "{size}");
        }
    }
}
