//! Numbers coded one by one, each with what was learnt from those before it.
//!
//! A number is a sign, a class (how many bits its size has; a float's own exponent where there is no old number) and a
//! fraction (the bits below the highest). Training moves all weights of an input or an output by like amounts, so that the
//! size of a change is about a row's part plus a column's part, in bits: that sum, less the exponent of the old weight,
//! is the class to expect, and the context in which the class is coded. Signs know the signs beside and above them. Of a
//! fraction the first bits are learnt, the rest is as good as random.
//!
//! All arithmetic is on integers: every machine computes the same.

use super::element::Element;
use super::range::{Bit, Coder, Reader, Writer};

/// Fixed point of expectations: a bit is 16 parts.
const PARTS: i32 = 16;
/// Contexts of a class.
const CONTEXTS: usize = 128;
/// Kinds of neighbourhood a sign may have: above, beside, above beside, three values each.
const SIGN_CONTEXTS: usize = 27;
/// Longest row whose columns are remembered.
const COLUMNS_MAX: usize = 1 << 20;
/// A column of which nothing is known yet.
const UNKNOWN: i32 = i32::MIN;

/// What is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// How far each number is from the old one.
    Change,
    /// The numbers themselves.
    Value,
}

/// What was learnt of one kind of number; kept from tensor to tensor.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    element: Element,
    what: What,
    classes: Vec<Bit>,
    fractions: Vec<Bit>,
    signs: [Bit; SIGN_CONTEXTS],
}

/// What is known of the tensor at hand.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    /// Where in its row the next number is.
    column: usize,
    /// Size expected by column.
    columns: Vec<i32>,
    /// Signs of the row above, up to this column of this one.
    signs: Vec<u8>,
    /// Size of late.
    late: i32,
    /// How far sizes of late were from what their columns expect.
    off: i32,
    beside: u8,
    above_beside: u8,
}

impl Surroundings {
    /// Those of a tensor that begins; `row` is the length of its rows, 0 if it has none.
    pub(super) fn new(row: usize) -> Self {
        let row = if row <= COLUMNS_MAX { row.max(1) } else { 1 };
        Self {
            column: 0,
            columns: vec![UNKNOWN; row],
            signs: vec![0; row],
            late: 0,
            off: 0,
            beside: 0,
            above_beside: 0,
        }
    }

    /// Goes on behind `count` numbers that were coded in another way.
    pub(super) fn skip(&mut self, count: usize) {
        self.column = (self.column + count) % self.columns.len();
    }

    fn expected(&self) -> i32 {
        match self.columns[self.column] {
            UNKNOWN => self.late,
            column => column + self.off,
        }
    }

    fn sign_context(&self) -> usize {
        usize::from(self.signs[self.column]) * 9
            + usize::from(self.beside) * 3
            + usize::from(self.above_beside)
    }

    fn learn(&mut self, size: i32, sign: u8) {
        let column = &mut self.columns[self.column];
        if *column == UNKNOWN {
            *column = size;
        } else {
            self.off += (size - *column - self.off) / 8;
            *column += (size - *column) / 8;
        }
        self.late += (size - self.late) / 8;
        self.above_beside = std::mem::replace(&mut self.signs[self.column], sign);
        self.beside = sign;
        self.column += 1;
        if self.column == self.columns.len() {
            self.column = 0;
        }
    }
}

/// A number taken apart.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    negative: bool,
    class: u32,
    fraction: u64,
}

impl Learnt {
    pub(super) fn new(element: Element, what: What) -> Self {
        let class_bits = class_bits(element, what);
        let classes = vec![Bit::EVEN; CONTEXTS << class_bits];
        let fractions = vec![Bit::EVEN; 1 << (class_bits + learnt_bits(element, what))];
        Self { element, what, classes, fractions, signs: [Bit::EVEN; SIGN_CONTEXTS] }
    }

    /// The bytes that stand for `new`, or none if they are more than `len_max`.
    pub(super) fn write(
        &mut self,
        old: &[u8],
        new: &[u8],
        around: &mut Surroundings,
        len_max: usize,
    ) -> Option<Vec<u8>> {
        let mut writer = Writer::new();
        for index in 0..new.len() / self.element.width() {
            let old = self.old(old, index);
            let parts = self.take_apart(old, self.element.load(new, index));
            self.code(&mut writer, old, parts, around);
            if writer.len() > len_max {
                return None;
            }
        }
        Some(writer.finish()).filter(|bytes| bytes.len() <= len_max)
    }

    /// Fills `new` with the numbers that `bytes` stand for.
    pub(super) fn read(&mut self, bytes: &[u8], old: &[u8], new: &mut [u8], around: &mut Surroundings) {
        let mut reader = Reader::new(bytes);
        for index in 0..new.len() / self.element.width() {
            let old = self.old(old, index);
            let parts = self.code(&mut reader, old, Parts::default(), around);
            self.element.store(new, index, self.put_together(old, parts));
        }
    }

    fn old(&self, old: &[u8], index: usize) -> u64 {
        match self.what {
            What::Change => self.element.load(old, index),
            What::Value => 0,
        }
    }

    fn code(&mut self, coder: &mut impl Coder, old: u64, parts: Parts, around: &mut Surroundings) -> Parts {
        let (element, what) = (self.element, self.what);
        let exponent = if what == What::Change { element.exponent(old) as i32 * PARTS } else { 0 };
        let context = context(element, what, around.expected() - exponent);
        let class_bits = class_bits(element, what);
        let models = &mut self.classes[context << class_bits..][..1 << class_bits];
        let class = coder.tree(models, u64::from(parts.class), class_bits) as u32;
        let fraction = self.code_fraction(coder, class, parts.fraction);
        let mut sign = 0;
        let mut negative = false;
        if !(class == 0 && fraction == 0 && what == What::Change) {
            negative = coder.bit(&mut self.signs[around.sign_context()], parts.negative);
            sign = 1 + u8::from(negative);
        }
        // No change at all is less than one of the lowest bit.
        let size = if class == 0 && what == What::Change { -PARTS } else { class as i32 * PARTS };
        around.learn(size + exponent, sign);
        Parts { negative, class, fraction }
    }

    fn code_fraction(&mut self, coder: &mut impl Coder, class: u32, fraction: u64) -> u64 {
        let count = fraction_bits(self.element, self.what, class);
        let learnt = learnt_bits(self.element, self.what);
        let (first, rest) = (count.min(learnt), count.saturating_sub(learnt));
        let models = &mut self.fractions[(class as usize) << learnt..][..1 << learnt];
        let high = coder.tree(models, fraction >> rest, first);
        let low = coder.plain(fraction & low_mask(rest), rest);
        (high << rest) | (low & low_mask(rest))
    }

    fn take_apart(&self, old: u64, new: u64) -> Parts {
        match (self.what, self.element.exponent_bits()) {
            (What::Value, Some(exponent_bits)) => {
                let fraction_bits = self.element.bits() - 1 - exponent_bits;
                let negative = new >> (self.element.bits() - 1) != 0;
                let class = self.element.exponent(new);
                Parts { negative, class, fraction: new & low_mask(fraction_bits) }
            }
            (What::Value, None) => self.of_size(self.element.difference(self.zero(), new)),
            (What::Change, _) => self.of_size(self.element.difference(old, new)),
        }
    }

    fn of_size(&self, (negative, size): (bool, u64)) -> Parts {
        let class = u64::BITS - size.leading_zeros();
        Parts { negative, class, fraction: size & low_mask(class.saturating_sub(1)) }
    }

    fn put_together(&self, old: u64, parts: Parts) -> u64 {
        let Parts { negative, class, fraction } = parts;
        let size = if class == 0 { 0 } else { (1 << (class.min(64) - 1)) | fraction };
        match (self.what, self.element.exponent_bits()) {
            (What::Value, Some(exponent_bits)) => {
                let fraction_bits = self.element.bits() - 1 - exponent_bits;
                let sign = u64::from(negative) << (self.element.bits() - 1);
                sign | (u64::from(class) << fraction_bits) | fraction
            }
            (What::Value, None) => self.element.moved(self.zero(), negative, size),
            (What::Change, _) => self.element.moved(old, negative, size),
        }
    }

    /// What integers are measured from: unsigned ones usually stand around the middle of their range.
    fn zero(&self) -> u64 {
        if self.element == Element::U8 { 1 << 7 } else { 0 }
    }
}

const fn low_mask(count: u32) -> u64 {
    if count == 0 { 0 } else { u64::MAX >> (64 - count) }
}

/// Bits of the class: enough for the width itself, or a float's exponent.
const fn class_bits(element: Element, what: What) -> u32 {
    match (what, element.exponent_bits()) {
        (What::Value, Some(count)) => count,
        _ => element.bits().ilog2() + 1,
    }
}

/// How many bits of a fraction are learnt.
const fn learnt_bits(element: Element, what: What) -> u32 {
    match (what, element.exponent_bits()) {
        (What::Value, Some(_)) => 2,
        _ if element.bits() == 8 => 7,
        _ => 3,
    }
}

/// How many bits a fraction has.
fn fraction_bits(element: Element, what: What, class: u32) -> u32 {
    match (what, element.exponent_bits()) {
        (What::Value, Some(count)) => element.bits() - 1 - count,
        _ => class.saturating_sub(1).min(element.bits() - 1),
    }
}

/// The context for an expected class, in parts: half bits, or eighths where numbers have only eight bits. Exponents are
/// told apart around the values that weights have.
fn context(element: Element, what: What, expected: i32) -> usize {
    let at = match (what, element.exponent_bits()) {
        (What::Value, Some(8)) => expected / 8 - 2 * (127 - 48),
        (What::Value, Some(11)) => expected / 8 - 2 * (1023 - 48),
        (What::Value, Some(_)) => expected / 8,
        _ if element.bits() == 8 => (expected + PARTS) / 2,
        _ => (expected + PARTS) / 8,
    };
    at.clamp(0, CONTEXTS as i32 - 1) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            old in prop::collection::vec(any::<u8>(), 256),
            noise in prop::collection::vec(0..4_u8, 256),
            row in 0..20_usize,
        ) {
            let new: Vec<u8> = old.iter().zip(&noise).map(|(old, noise)| old.wrapping_add(*noise)).collect();
            for element in Element::ALL {
                for what in [What::Change, What::Value] {
                    let (mut learnt, mut around) = (Learnt::new(element, what), Surroundings::new(row));
                    let first = learnt.write(&old, &new, &mut around, usize::MAX).unwrap();
                    let second = learnt.write(&new, &old, &mut around, usize::MAX).unwrap();
                    let (mut learnt, mut around) = (Learnt::new(element, what), Surroundings::new(row));
                    let mut found = vec![0; 256];
                    learnt.read(&first, &old, &mut found, &mut around);
                    prop_assert_eq!(&found, &new);
                    learnt.read(&second, &new, &mut found, &mut around);
                    prop_assert_eq!(&found, &old);
                }
            }
        }

        #[test]
        fn rubbish_gives_as_many_numbers(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for element in Element::ALL {
                for what in [What::Change, What::Value] {
                    let mut new = vec![0; 512];
                    Learnt::new(element, what).read(&bytes, &[7; 512], &mut new, &mut Surroundings::new(5));
                }
            }
        }
    }

    #[test]
    fn changes_of_like_size_cost_only_their_random_bits() {
        let values: Vec<f32> =
            (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e7 - 0.8).collect();
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let moved: Vec<f32> = values.iter().map(|value| value * (1.0 + 1e-6)).collect();
        let mut learnt = Learnt::new(Element::F32, What::Change);
        let (old, new) = (bytes(&values), bytes(&moved));
        let written = learnt.write(&old, &new, &mut Surroundings::new(64), usize::MAX).unwrap();
        // About a millionth of a number is some ten units of its last place: four bits and a sign at most.
        assert!(written.len() < old.len() / 6, "{} of {}", written.len(), old.len());
    }
}
