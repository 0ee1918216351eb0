//! A binary range coder with adaptive probabilities.
//!
//! The carry is handled as in LZMA's coder: a byte that may still change is held back. Reading never fails: past the end
//! there are zeros, so whoever reads rubbish gets rubbish of the length that was asked for.

/// Below this the range is scaled up by a byte.
const RANGE_MIN: u32 = 1 << 24;
/// Bits of a probability.
const PROBABILITY_BITS: u32 = 15;
/// Neither side of a decision is ever thought rarer than this.
const PROBABILITY_MIN: u32 = 24;
/// Bytes the reader holds before it decodes anything: the writer's last five.
const LOOKAHEAD: usize = 5;

/// The probability that a decision is 0, as two averages, one quick to learn and one steady.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bit {
    quick: u16,
    steady: u16,
}

impl Bit {
    pub(super) const EVEN: Self = Self { quick: 1 << 15, steady: 1 << 15 };

    fn probability(self) -> u32 {
        let sum = u32::from(self.quick) + u32::from(self.steady);
        (sum >> 2).clamp(PROBABILITY_MIN, (1 << PROBABILITY_BITS) - PROBABILITY_MIN)
    }

    const fn learn(&mut self, bit: bool) {
        if bit {
            self.quick -= self.quick >> 4;
            self.steady -= self.steady >> 7;
        } else {
            self.quick += (u16::MAX - self.quick) >> 4;
            self.steady += (u16::MAX - self.steady) >> 7;
        }
    }
}

/// Either end of the coder: what is written and read is described once.
pub(super) trait Coder {
    /// Codes one decision; a writer returns what it was given.
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool;

    /// Codes the low `count` bits of `value`, which are as good as random; at most 64.
    fn plain(&mut self, value: u64, count: u32) -> u64;

    /// Codes `value` of `count` bits, the highest first, each bit knowing those before it. `models` has room for
    /// `1 << count`.
    fn tree(&mut self, models: &mut [Bit], value: u64, count: u32) -> u64 {
        let mut node = 1;
        for at in (0..count).rev() {
            let bit = self.bit(&mut models[node], (value >> at) & 1 != 0);
            node = (node << 1) | usize::from(bit);
        }
        (node - (1 << count)) as u64
    }
}

/// Writes decisions.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    low: u64,
    range: u32,
    held: u8,
    held_count: u64,
    out: Vec<u8>,
}

impl Writer {
    pub(super) const fn new() -> Self {
        Self { low: 0, range: u32::MAX, held: 0, held_count: 1, out: Vec::new() }
    }

    /// Bytes so far.
    pub(super) const fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        for _ in 0..LOOKAHEAD {
            self.shift();
        }
        // The reader supplies the zeros that end it.
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }

    fn shift(&mut self) {
        if self.low < 0xff00_0000 || self.low > 0xffff_ffff {
            let carry = (self.low >> 32) as u8;
            let mut byte = self.held;
            while self.held_count > 0 {
                self.out.push(byte.wrapping_add(carry));
                byte = 0xff;
                self.held_count -= 1;
            }
            self.held = (self.low >> 24) as u8;
        }
        self.held_count += 1;
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    fn normalise(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }
}

impl Coder for Writer {
    fn bit(&mut self, model: &mut Bit, bit: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * model.probability();
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(bit);
        self.normalise();
        bit
    }

    fn plain(&mut self, value: u64, count: u32) -> u64 {
        let mut left = count;
        while left > 0 {
            let part = left.min(16);
            left -= part;
            self.range >>= part;
            self.low += ((value >> left) & ((1 << part) - 1)) * u64::from(self.range);
            self.normalise();
        }
        value
    }
}

/// Reads decisions.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    code: u32,
    range: u32,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut reader = Self { code: 0, range: u32::MAX, bytes, at: 0 };
        for _ in 0..LOOKAHEAD {
            reader.code = (reader.code << 8) | u32::from(reader.next());
        }
        reader
    }

    fn next(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    fn normalise(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.code = (self.code << 8) | u32::from(self.next());
        }
    }
}

impl Coder for Reader<'_> {
    fn bit(&mut self, model: &mut Bit, _: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * model.probability();
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(bit);
        self.normalise();
        bit
    }

    fn plain(&mut self, _: u64, count: u32) -> u64 {
        let (mut left, mut value) = (count, 0);
        while left > 0 {
            let part = left.min(16);
            left -= part;
            self.range >>= part;
            let found = (self.code / self.range).min((1 << part) - 1);
            self.code -= found * self.range;
            value = (value << part) | u64::from(found);
            self.normalise();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(steps in prop::collection::vec((any::<bool>(), any::<u64>(), 0..65_u32), 0..300)) {
            let low = |value: u64, count: u32| if count == 0 { 0 } else { value & (u64::MAX >> (64 - count)) };
            let (mut model, mut tree) = (Bit::EVEN, [Bit::EVEN; 16]);
            let mut writer = Writer::new();
            for (bit, value, count) in &steps {
                writer.bit(&mut model, *bit);
                writer.plain(low(*value, *count), *count);
                writer.tree(&mut tree, value & 15, 4);
            }
            let bytes = writer.finish();
            let (mut model, mut tree) = (Bit::EVEN, [Bit::EVEN; 16]);
            let mut reader = Reader::new(&bytes);
            for (bit, value, count) in &steps {
                prop_assert_eq!(reader.bit(&mut model, false), *bit);
                prop_assert_eq!(reader.plain(0, *count), low(*value, *count));
                prop_assert_eq!(reader.tree(&mut tree, 0, 4), value & 15);
            }
        }

        #[test]
        fn rubbish_is_read_without_end(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut model = Bit::EVEN;
            let mut reader = Reader::new(&bytes);
            for _ in 0..1000 {
                reader.bit(&mut model, false);
                prop_assert!(reader.plain(0, 37) < 1 << 37);
            }
        }
    }

    #[test]
    fn rare_events_cost_little() {
        let (mut writer, mut model) = (Writer::new(), Bit::EVEN);
        for at in 0..100_000 {
            writer.bit(&mut model, at % 1000 == 0);
        }
        // The entropy is 143 bytes; probabilities that stay above a floor cost more.
        let len = writer.finish().len();
        assert!((100..400).contains(&len), "{len}");
    }
}
