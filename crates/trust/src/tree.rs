//! The ledger's hash tree (RFC 6962, section 2.1; verification as in RFC 9162, sections 2.1.3.2 and 2.1.4.2).
//!
//! Leaves are the bytes of ledger entries. A [`Frontier`] grows with the ledger in logarithmic memory and gives the
//! root; an inclusion proof shows that an entry is in a tree, a consistency proof that a tree only grew. Whoever holds
//! a root needs nothing else to check either.
//!
//! [`prove_inclusion`] and [`prove_consistency`] read every leaf hash; a [`StoredTree`] keeps inner nodes and needs few.

mod stored;

use edgeward_core::Digest;
use edgeward_core::digest::Hasher;
use serde::{Deserialize, Serialize};

pub use stored::StoredTree;

/// Most hashes in a proof: one per level, for both sides of a tree of at most 2^64 leaves.
pub const PROOF_LEN_MAX: usize = 128;

const LEAF_PREFIX: u8 = 0;
const NODE_PREFIX: u8 = 1;

/// A proof that does not show what it should.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProofError {
    /// The proof cannot be of this shape.
    #[error("the proof does not fit a tree of {size} entries; ask for it again, for this checkpoint")]
    Shape {
        /// The size of the (newer) tree.
        size: u64,
    },
    /// The entry is not where it should be.
    #[error("entry {index} is not in the tree with root {root}; the entry or the ledger was changed")]
    NotIncluded {
        /// Which entry.
        index: u64,
        /// The tree's root.
        root: Digest,
    },
    /// The newer tree does not continue the older one.
    #[error("the tree of {new_size} entries does not continue the one of {old_size}; history was rewritten")]
    NotConsistent {
        /// Size of the older tree.
        old_size: u64,
        /// Size of the newer tree.
        new_size: u64,
    },
}

/// A tree's size and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeHead {
    /// Number of leaves.
    pub size: u64,
    /// The root hash.
    pub root: Digest,
}

/// A tree that only grows: the roots of its full subtrees, largest first, one for each bit of `size`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

/// The hash of a leaf: SHA-256 of 0x00 and the entry's bytes.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[LEAF_PREFIX]);
    hasher.update(entry);
    hasher.finish()
}

/// The hash of an inner node: SHA-256 of 0x01 and both children's hashes.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[NODE_PREFIX]);
    hasher.update(left.as_bytes());
    hasher.update(right.as_bytes());
    hasher.finish()
}

impl Frontier {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Digest) {
        let merges = self.size.trailing_ones() as usize;
        let smaller = self.peaks.split_off(self.peaks.len() - merges);
        let peak = smaller.iter().rev().fold(leaf, |right, left| node_hash(left, &right));
        self.peaks.push(peak);
        self.size += 1;
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The size and the root hash; the root of no leaves is the hash of nothing.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        let root = self.peaks.iter().copied().rev().reduce(|right, left| node_hash(&left, &right));
        TreeHead { size: self.size, root: root.unwrap_or_else(|| Digest::of(b"")) }
    }
}

impl FromIterator<Digest> for Frontier {
    fn from_iter<I: IntoIterator<Item = Digest>>(leaves: I) -> Self {
        let mut frontier = Self::default();
        leaves.into_iter().for_each(|leaf| frontier.push(leaf));
        frontier
    }
}

/// The root of the tree over `leaves`.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    leaves.iter().copied().collect::<Frontier>().head().root
}

/// Shows that leaf `index` is in the tree over `leaves`; none if there is no such leaf.
#[must_use]
pub fn prove_inclusion(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = match index.checked_sub(left.len()) {
        None => (prove_inclusion(left, index)?, root(right)),
        Some(index) => (prove_inclusion(right, index)?, root(left)),
    };
    path.push(sibling);
    Some(path)
}

/// Shows that the tree over `leaves` continues the one over its first `old_size`; none if that is not smaller.
/// The proof from an empty or an equal tree is empty.
#[must_use]
pub fn prove_consistency(leaves: &[Digest], old_size: usize) -> Option<Vec<Digest>> {
    match old_size {
        _ if old_size > leaves.len() => None,
        0 => Some(Vec::new()),
        _ => Some(subproof(leaves, old_size, true)),
    }
}

/// `SUBPROOF(m, D[n], b)` of RFC 9162, section 2.1.4.1.
fn subproof(leaves: &[Digest], old_size: usize, known: bool) -> Vec<Digest> {
    if old_size == leaves.len() {
        return if known { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = match old_size > left.len() {
        false => (subproof(left, old_size, known), root(right)),
        true => (subproof(right, old_size - left.len(), false), root(left)),
    };
    path.push(sibling);
    path
}

/// The largest power of two below `n`, for `n > 1`.
const fn split(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

/// Checks that `leaf` stands at `index` in the tree `head`.
///
/// # Errors
/// It does not, or `proof` does not show it.
pub fn verify_inclusion(
    leaf: Digest,
    index: u64,
    head: &TreeHead,
    proof: &[Digest],
) -> Result<(), ProofError> {
    let shape = ProofError::Shape { size: head.size };
    if index >= head.size || proof.len() > PROOF_LEN_MAX {
        return Err(shape);
    }
    let mut walk = Walk { node: index, last: head.size - 1 };
    let mut hash = leaf;
    for sibling in proof {
        hash = match walk.side().ok_or(ProofError::Shape { size: head.size })? {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
        walk.up();
    }
    match walk.last {
        0 if hash == head.root => Ok(()),
        0 => Err(ProofError::NotIncluded { index, root: head.root }),
        _ => Err(shape),
    }
}

/// Checks that the tree `new` continues the tree `old`.
///
/// # Errors
/// It does not, or `proof` does not show it.
pub fn verify_consistency(old: &TreeHead, new: &TreeHead, proof: &[Digest]) -> Result<(), ProofError> {
    let differs = ProofError::NotConsistent { old_size: old.size, new_size: new.size };
    let shape = ProofError::Shape { size: new.size };
    if old.size > new.size {
        return Err(differs);
    }
    if old.size == new.size || old.size == 0 {
        let expected = if old.size == 0 { Digest::of(b"") } else { new.root };
        return match (proof.is_empty(), old.root == expected) {
            (false, _) => Err(shape),
            (true, false) => Err(differs),
            (true, true) => Ok(()),
        };
    }
    match replay(old, new, proof).ok_or(shape)? {
        roots if roots == (old.root, new.root) => Ok(()),
        _ => Err(differs),
    }
}

/// The roots of both trees that follow from `proof`; none if it is not of the right length.
fn replay(old: &TreeHead, new: &TreeHead, proof: &[Digest]) -> Option<(Digest, Digest)> {
    if proof.len() > PROOF_LEN_MAX {
        return None;
    }
    let mut walk = Walk { node: old.size - 1, last: new.size - 1 };
    let full = walk.node.trailing_ones();
    walk = Walk { node: walk.node >> full, last: walk.last >> full };
    let (start, siblings) = match old.size.is_power_of_two() {
        true => (old.root, proof),
        false => proof.split_first().map(|(first, rest)| (*first, rest))?,
    };
    let (mut old_root, mut new_root) = (start, start);
    for sibling in siblings {
        match walk.side()? {
            Side::Left => {
                (old_root, new_root) = (node_hash(sibling, &old_root), node_hash(sibling, &new_root));
            }
            Side::Right => new_root = node_hash(&new_root, sibling),
        }
        walk.up();
    }
    (walk.last == 0).then_some((old_root, new_root))
}

/// A climb from a node to the root, beside the tree's last node (`fn` and `sn` in RFC 9162).
#[derive(Clone, Copy)]
struct Walk {
    node: u64,
    last: u64,
}

enum Side {
    Left,
    Right,
}

impl Walk {
    /// On which side the next sibling stands; none at the root. Levels on which the node has no sibling are climbed.
    fn side(&mut self) -> Option<Side> {
        if self.last == 0 {
            return None;
        }
        if self.node & 1 == 0 && self.node != self.last {
            return Some(Side::Right);
        }
        let alone = if self.node == 0 { 0 } else { self.node.trailing_zeros() };
        (self.node, self.last) = (self.node >> alone, self.last >> alone);
        Some(Side::Left)
    }

    const fn up(&mut self) {
        (self.node, self.last) = (self.node >> 1, self.last >> 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The test vectors of the first Certificate Transparency implementations.
    const ENTRIES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(n: usize) -> Vec<Digest> {
        (0..n).map(|i| leaf_hash(format!("entry {i}").as_bytes())).collect()
    }

    fn head(leaves: &[Digest]) -> TreeHead {
        TreeHead { size: leaves.len() as u64, root: root(leaves) }
    }

    #[test]
    fn known_vectors_are_met() {
        let leaves: Vec<Digest> =
            ENTRIES.iter().map(|entry| leaf_hash(&hex::decode(entry).unwrap())).collect();
        for (n, expected) in ROOTS.iter().enumerate() {
            assert_eq!(root(&leaves[..=n]).hex(), *expected);
        }
        assert_eq!(root(&[]), Digest::of(b""));
    }

    #[test]
    fn every_small_tree_proves_every_entry_and_every_past() {
        for n in 0..=33 {
            let (tree, now) = (leaves(n), head(&leaves(n)));
            for (index, leaf) in tree.iter().enumerate() {
                let proof = prove_inclusion(&tree, index).unwrap();
                assert_eq!(verify_inclusion(*leaf, index as u64, &now, &proof), Ok(()), "{index} in {n}");
            }
            for old in 0..=n {
                let proof = prove_consistency(&tree, old).unwrap();
                assert_eq!(verify_consistency(&head(&tree[..old]), &now, &proof), Ok(()), "{old} to {n}");
            }
            assert_eq!(prove_inclusion(&tree, n), None);
            assert_eq!(prove_consistency(&tree, n + 1), None);
        }
    }

    #[test]
    fn the_root_by_definition_is_the_incremental_root() {
        fn defined(leaves: &[Digest]) -> Digest {
            match leaves {
                [] => Digest::of(b""),
                [leaf] => *leaf,
                _ => {
                    let (left, right) = leaves.split_at(split(leaves.len()));
                    node_hash(&defined(left), &defined(right))
                }
            }
        }
        for n in 0..70 {
            assert_eq!(root(&leaves(n)), defined(&leaves(n)), "{n}");
        }
    }

    #[test]
    fn a_rewritten_past_is_noticed() {
        let mut rewritten = leaves(20);
        rewritten[3] = leaf_hash(b"another");
        let proof = prove_consistency(&rewritten, 12).unwrap();
        assert_eq!(
            verify_consistency(&head(&leaves(12)), &head(&rewritten), &proof),
            Err(ProofError::NotConsistent { old_size: 12, new_size: 20 })
        );
    }

    #[test]
    fn a_shrunk_ledger_is_noticed() {
        let refusal = verify_consistency(&head(&leaves(5)), &head(&leaves(4)), &[]);
        assert_eq!(refusal, Err(ProofError::NotConsistent { old_size: 5, new_size: 4 }));
        assert!(verify_consistency(&head(&leaves(4)), &head(&leaves(4)), &leaves(1)).is_err());
        let other = TreeHead { size: 4, root: leaf_hash(b"other") };
        assert!(verify_consistency(&other, &head(&leaves(4)), &[]).is_err());
    }

    proptest! {
        #[test]
        fn any_change_breaks_an_inclusion_proof(n in 2usize..200, at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
            let (tree, index) = (leaves(n), at.index(n));
            let good = prove_inclusion(&tree, index).unwrap();
            let refuses = |proof: &[Digest], index: usize| {
                verify_inclusion(tree[at.index(n)], index as u64, &head(&tree), proof).is_err()
            };
            prop_assert!(!refuses(&good, index));
            let mut changed = good.clone();
            changed[flip.index(good.len())] = leaf_hash(b"another");
            prop_assert!(refuses(&changed, index));
            prop_assert!(refuses(&good[1..], index));
            prop_assert!(refuses(&[good.clone(), vec![leaf_hash(b"more")]].concat(), index));
            prop_assert!(refuses(&good, (index + 1) % n));
            prop_assert!(refuses(&good, n));
        }

        #[test]
        fn any_change_breaks_a_consistency_proof(n in 2usize..200, at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()) {
            let (tree, old) = (leaves(n), 1 + at.index(n - 1));
            let good = prove_consistency(&tree, old).unwrap();
            let refuses = |proof: &[Digest]| verify_consistency(&head(&tree[..old]), &head(&tree), proof).is_err();
            prop_assert!(!refuses(&good));
            let mut changed = good.clone();
            changed[flip.index(good.len())] = leaf_hash(b"another");
            prop_assert!(refuses(&changed));
            prop_assert!(refuses(&good[1..]));
            prop_assert!(refuses(&[good.clone(), vec![leaf_hash(b"more")]].concat()));
        }

        #[test]
        fn random_proofs_never_panic(old in any::<u64>(), new in any::<u64>(), index in any::<u64>(), length in 0usize..140) {
            let proof = leaves(length);
            let head = |size| TreeHead { size, root: leaf_hash(b"root") };
            let _ = verify_inclusion(leaf_hash(b""), index, &head(new), &proof);
            let _ = verify_consistency(&head(old), &head(new), &proof);
        }
    }
}
