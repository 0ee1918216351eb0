//! Categories that a reference does not name: how many distinct ones, and which, in bounded memory.
//!
//! Two parts, both the same bytes in any order of observing and merging. Registers of a HyperLogLog (P. Flajolet et al.,
//! 2007) merge by their maximum. Up to [`MAX_CATEGORIES`] distinct texts are counted exactly; beyond that, those with the
//! smallest hashes are: a text that belongs to them was never dropped, so its count is exact, and they are a uniform
//! sample of all distinct texts. A sketch of frequent items would keep the heaviest instead, but which ones, and with what
//! counts, would depend on the order; so would the bytes of the `datasketches` crate's HyperLogLog, which carries an
//! estimate that depends on it.

use std::collections::BTreeMap;

use crate::codec::{DecodeError, Reader, Writer, ensure, fingerprint};

/// Most texts that are counted one by one.
pub const MAX_CATEGORIES: usize = 64;
/// Longest part of a text that is kept, in bytes.
pub const MAX_CATEGORY_BYTES: usize = 64;
/// Registers of the distinct count: a standard error of 1.04 / sqrt(512), 4.6%.
const REGISTERS: usize = 512;
const REGISTER_BITS: u32 = REGISTERS.trailing_zeros();
const RANK_MAX: u8 = 64 - REGISTER_BITS as u8 + 1;

/// Texts that are no category of the reference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CategorySketch {
    total: u64,
    /// Registers above 0.
    registers: BTreeMap<u16, u8>,
    /// Text and count by hash.
    counted: BTreeMap<u64, (String, u64)>,
}

impl CategorySketch {
    /// Observations.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Distinct texts: exact up to [`MAX_CATEGORIES`], then estimated to within 4.6% (one standard error).
    #[must_use]
    pub fn distinct(&self) -> f64 {
        if self.counted.len() < MAX_CATEGORIES {
            return self.counted.len() as f64;
        }
        let m = REGISTERS as f64;
        let empty = m - self.registers.len() as f64;
        let sum = empty + self.registers.values().map(|rank| 2f64.powi(-i32::from(*rank))).sum::<f64>();
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let estimate = if raw <= 2.5 * m && empty > 0.0 { m * (m / empty).ln() } else { raw };
        estimate.max(self.counted.len() as f64)
    }

    /// Texts with their exact counts, the most frequent first: all of them, or a sample if there are too many.
    #[must_use]
    pub fn counts(&self) -> Vec<(&str, u64)> {
        let mut counts: Vec<(&str, u64)> =
            self.counted.values().map(|(text, count)| (text.as_str(), *count)).collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        counts
    }

    /// Whether [`CategorySketch::counts`] holds every text.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.counted.len() < MAX_CATEGORIES
            || self.total == self.counted.values().map(|(_, n)| n).sum::<u64>()
    }

    pub(crate) fn observe(&mut self, text: &str) {
        let hash = mix(fingerprint(text.as_bytes()));
        self.total += 1;
        let register = (hash >> (64 - REGISTER_BITS)) as u16;
        let rank = ((hash << REGISTER_BITS).leading_zeros() as u8 + 1).min(RANK_MAX);
        let known = self.registers.entry(register).or_default();
        *known = rank.max(*known);
        let short = || text[..text.floor_char_boundary(MAX_CATEGORY_BYTES)].to_owned();
        self.count(hash, short, 1);
    }

    /// Counts a text unless too many smaller hashes are known.
    fn count(&mut self, hash: u64, text: impl FnOnce() -> String, count: u64) {
        let full = self.counted.len() >= MAX_CATEGORIES && !self.counted.contains_key(&hash);
        if full && self.counted.last_key_value().is_some_and(|(largest, _)| *largest < hash) {
            return;
        }
        self.counted.entry(hash).or_insert_with(|| (text(), 0)).1 += count;
        if self.counted.len() > MAX_CATEGORIES {
            self.counted.pop_last();
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.total += other.total;
        for (register, rank) in &other.registers {
            let known = self.registers.entry(*register).or_default();
            *known = (*known).max(*rank);
        }
        other.counted.iter().for_each(|(hash, (text, count))| self.count(*hash, || text.clone(), *count));
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.varint(self.total);
        w.varint(self.registers.len() as u64);
        for (register, rank) in &self.registers {
            w.varint(u64::from(*register));
            w.u8(*rank);
        }
        w.varint(self.counted.len() as u64);
        for (hash, (text, count)) in &self.counted {
            w.u64(*hash);
            w.str(text);
            w.varint(*count);
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>, most: u64) -> Result<Self, DecodeError> {
        let mut read = Self { total: r.varint("categories")?, ..Self::default() };
        ensure((1..=most).contains(&read.total), "categories")?;
        let registers = r.varint("categories")?;
        let mut next = 0;
        for _ in 0..registers {
            let (register, rank) = (r.varint("categories")?, r.u8("categories")?);
            ensure((next..REGISTERS as u64).contains(&register), "categories")?;
            ensure((1..=RANK_MAX).contains(&rank), "categories")?;
            read.registers.insert(register as u16, rank);
            next = register + 1;
        }
        let texts = r.varint("categories")?;
        ensure((1..=MAX_CATEGORIES as u64).contains(&texts), "categories")?;
        let mut left = read.total;
        for _ in 0..texts {
            let (hash, text) = (r.u64("categories")?, r.str("categories", MAX_CATEGORY_BYTES)?);
            ensure(read.counted.last_key_value().is_none_or(|(last, _)| *last < hash), "categories")?;
            let count = r.varint("categories")?;
            ensure((1..=left).contains(&count), "categories")?;
            left -= count;
            read.counted.insert(hash, (text, count));
        }
        Ok(read)
    }
}

/// The finaliser of SplitMix64: spreads a hash over all its bits.
const fn mix(hash: u64) -> u64 {
    let z = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch(texts: impl IntoIterator<Item = u32>) -> CategorySketch {
        let mut sketch = CategorySketch::default();
        texts.into_iter().for_each(|text| sketch.observe(&format!("category {text}")));
        sketch
    }

    #[test]
    fn few_are_exact_and_many_are_estimated() {
        let few = sketch((0..90).map(|i| i % 30));
        assert_eq!((few.distinct(), few.total(), few.is_complete()), (30.0, 90, true));
        assert_eq!(few.counts()[0], ("category 0", 3));
        for n in [200, 1_000, 5_000, 60_000] {
            let many = sketch(0..n);
            let off = many.distinct() / f64::from(n) - 1.0;
            assert!(
                off.abs() < 0.14 && !many.is_complete() && many.counts().len() == MAX_CATEGORIES,
                "{n}: {off}"
            );
        }
        let long = "é".repeat(99);
        let mut one = CategorySketch::default();
        one.observe(&long);
        assert_eq!(one.counts()[0].0.len(), MAX_CATEGORY_BYTES);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_order_gives_the_same_bytes(parts in prop::collection::vec(prop::collection::vec(0u32..300, 0..200), 3)) {
            let bytes = |sketch: &CategorySketch| { let mut w = Writer::default(); sketch.write(&mut w); w.finish() };
            let [a, b, c] = [0, 1, 2].map(|i| sketch(parts[i].clone()));
            let (mut left, mut right) = (a.clone(), c.clone());
            left.merge(&b);
            left.merge(&c);
            right.merge(&a);
            right.merge(&b);
            let mut turned = parts.concat();
            turned.reverse();
            prop_assert_eq!(bytes(&left), bytes(&right));
            prop_assert_eq!(bytes(&left), bytes(&sketch(turned.clone())));
            for (text, count) in left.counts() {
                let truth = turned.iter().filter(|t| format!("category {t}") == text).count() as u64;
                prop_assert_eq!(count, truth);
            }
        }
    }
}
