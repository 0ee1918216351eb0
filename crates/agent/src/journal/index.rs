//! Where predictions stand in the journal, by blocks of neighbours.
//!
//! Ids are UUIDv7, which rise with time, and predictions are appended as they are given: so a block is found by its least
//! and greatest id, and the few records in it are read. Memory is some hundred kilobytes for all that a journal may hold,
//! where a place for each prediction took megabytes that grew with every request.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::segments::Place;

/// Most predictions of one block.
const BLOCK_LEN_MAX: u32 = 32;

/// Predictions that stand one after the other in one segment.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Where the first one stands.
    pub(super) place: Place,
    /// How many there are.
    pub(super) len: u32,
    least: Uuid,
    greatest: Uuid,
}

/// Every block, in the order of the journal.
#[derive(Debug, Default)]
pub(super) struct Index {
    blocks: VecDeque<Block>,
    len: usize,
}

impl Index {
    /// Predictions it knows.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds the prediction that was appended at `place`.
    pub(super) fn add(&mut self, id: Uuid, place: Place) {
        self.len += 1;
        let open = self.blocks.back_mut();
        match open.filter(|block| block.len < BLOCK_LEN_MAX && block.place.segment == place.segment) {
            Some(block) => {
                block.len += 1;
                block.least = block.least.min(id);
                block.greatest = block.greatest.max(id);
            }
            None => self.blocks.push_back(Block { place, len: 1, least: id, greatest: id }),
        }
    }

    /// Blocks that may hold `id`, the newest first: one, unless the clock was set back.
    pub(super) fn may_hold(&self, id: Uuid) -> impl Iterator<Item = &Block> {
        self.blocks.iter().rev().filter(move |block| block.least <= id && id <= block.greatest)
    }

    /// The least id it knows.
    pub(super) fn oldest(&self) -> Option<Uuid> {
        self.blocks.iter().map(|block| block.least).min()
    }

    /// Forgets the predictions of a segment that is gone.
    pub(super) fn drop_segment(&mut self, segment: u64) {
        self.blocks.retain(|block| block.place.segment != segment);
        self.len = self.blocks.iter().map(|block| block.len as usize).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u64, offset: u64) -> Place {
        Place { segment, offset }
    }

    #[test]
    fn neighbours_share_a_block_and_segments_do_not() {
        let mut index = Index::default();
        (0..100).for_each(|n| index.add(Uuid::from_u128(n), place(n as u64 / 50, n as u64)));
        assert_eq!((index.len(), index.blocks.len()), (100, 4));
        let found: Vec<Place> = index.may_hold(Uuid::from_u128(40)).map(|block| block.place).collect();
        assert_eq!(found, [place(0, 32)]);
        assert_eq!(index.may_hold(Uuid::from_u128(100)).count(), 0);
        index.drop_segment(0);
        assert_eq!((index.len(), index.may_hold(Uuid::from_u128(40)).count()), (50, 0));
        assert_eq!(index.oldest(), Some(Uuid::from_u128(50)));
    }

    #[test]
    fn ids_out_of_order_are_looked_for_wherever_they_may_be() {
        let mut index = Index::default();
        for (n, id) in [5, 3, 9, 4].into_iter().enumerate() {
            index.add(Uuid::from_u128(id), place(n as u64 / 2, n as u64));
        }
        let found: Vec<u64> = index.may_hold(Uuid::from_u128(4)).map(|block| block.place.segment).collect();
        assert_eq!(found, [1, 0]);
    }
}
