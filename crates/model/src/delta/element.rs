//! The numbers of a tensor as integers whose order is the numbers' own.
//!
//! Two floats that are near each other have integers that are near each other, whatever their signs, so that the
//! difference of a weight before and after training is a small integer. Every bit pattern, NaN included, has its integer,
//! and the way back gives the same bits.

/// What the numbers of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F16,
    Bf16,
    F64,
    I8,
    U8,
    I32,
    I64,
}

impl Element {
    pub(super) const ALL: [Self; 8] =
        [Self::F32, Self::F16, Self::Bf16, Self::F64, Self::I8, Self::U8, Self::I32, Self::I64];

    /// The number that stands for it in a delta.
    pub(super) fn code(self) -> u8 {
        self.index() as u8 + 1
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|other| *other == self).unwrap_or_default()
    }

    /// Bytes of one number.
    pub(super) const fn width(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    pub(super) const fn bits(self) -> u32 {
        self.width() as u32 * 8
    }

    /// Bits of the exponent; none for integers.
    pub(super) const fn exponent_bits(self) -> Option<u32> {
        match self {
            Self::F16 => Some(5),
            Self::F32 | Self::Bf16 => Some(8),
            Self::F64 => Some(11),
            Self::I8 | Self::U8 | Self::I32 | Self::I64 => None,
        }
    }

    /// The exponent as it is stored, of a number's bits; zero for integers.
    pub(super) const fn exponent(self, bits: u64) -> u32 {
        match self.exponent_bits() {
            Some(count) => ((bits >> (self.bits() - 1 - count)) & ((1 << count) - 1)) as u32,
            None => 0,
        }
    }

    const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    const fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }

    /// Bits to ordered integer.
    pub(super) const fn to_ordered(self, bits: u64) -> u64 {
        match (self.exponent_bits().is_some(), bits & self.sign() != 0) {
            (true, true) => !bits & self.mask(),
            (true, false) => bits | self.sign(),
            (false, _) => bits ^ self.sign(),
        }
    }

    /// Ordered integer to bits.
    pub(super) const fn of_ordered(self, ordered: u64) -> u64 {
        match (self.exponent_bits().is_some(), ordered & self.sign() != 0) {
            (true, true) => ordered ^ self.sign(),
            (true, false) => !ordered & self.mask(),
            (false, _) => ordered ^ self.sign(),
        }
    }

    /// How far `new` is above `old`, as sign and size, both given as bits.
    pub(super) const fn difference(self, old: u64, new: u64) -> (bool, u64) {
        let up = self.to_ordered(new).wrapping_sub(self.to_ordered(old)) & self.mask();
        match up & self.sign() != 0 {
            true => (true, up.wrapping_neg() & self.mask()),
            false => (false, up),
        }
    }

    /// The bits that are `size` above or below those of `old`.
    pub(super) const fn moved(self, old: u64, negative: bool, size: u64) -> u64 {
        let old = self.to_ordered(old);
        let moved = if negative { old.wrapping_sub(size) } else { old.wrapping_add(size) };
        self.of_ordered(moved & self.mask())
    }

    /// Sign and size as one unsigned integer of as many bits, small ones first.
    pub(super) const fn zigzag(self, negative: bool, size: u64) -> u64 {
        let twice = size.wrapping_shl(1);
        (if negative { twice.wrapping_sub(1) } else { twice }) & self.mask()
    }

    /// The way back from [`Element::zigzag`].
    pub(super) const fn unzigzag(self, value: u64) -> (bool, u64) {
        (value & 1 != 0, (value >> 1) + (value & 1))
    }

    /// The bits of the number at `index`.
    pub(super) fn load(self, bytes: &[u8], index: usize) -> u64 {
        let width = self.width();
        let mut word = [0; 8];
        word[..width].copy_from_slice(&bytes[index * width..][..width]);
        u64::from_le_bytes(word)
    }

    pub(super) fn store(self, bytes: &mut [u8], index: usize, bits: u64) {
        let width = self.width();
        bytes[index * width..][..width].copy_from_slice(&bits.to_le_bytes()[..width]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_bit_pattern_comes_back(old: u64, new: u64) {
            for element in Element::ALL {
                let (old, new) = (old & element.mask(), new & element.mask());
                prop_assert_eq!(element.of_ordered(element.to_ordered(new)), new);
                let (negative, size) = element.difference(old, new);
                prop_assert_eq!(element.moved(old, negative, size), new);
                let (negative, size) = element.unzigzag(element.zigzag(negative, size));
                prop_assert_eq!(element.moved(old, negative, size), new);
            }
        }

        #[test]
        fn the_order_of_floats_is_kept(a: f32, b: f32) {
            let ordered = |x: f32| Element::F32.to_ordered(u64::from(x.to_bits()));
            if a < b {
                prop_assert!(ordered(a) < ordered(b));
            }
        }
    }

    #[test]
    fn neighbours_differ_by_one() {
        let bits = |x: f32| u64::from(x.to_bits());
        assert_eq!(Element::F32.difference(bits(1.0), bits(1.0_f32.next_up())), (false, 1));
        assert_eq!(Element::F32.difference(bits(-0.0), bits(0.0)), (false, 1));
        assert_eq!(Element::I8.difference(0x00, 0xff), (true, 1));
        assert_eq!(Element::U8.difference(0x7f, 0x80), (false, 1));
    }
}
