//! A sum of floating-point numbers without rounding: the same bits in any order.
//!
//! A number is an integer of 53 bits times a power of two. Integers whose powers fall into one window of
//! [`WINDOW_BITS`] are added up exactly in 128 bits; there are few windows, and only those in use take space.
//! Deliberately missing: infinities and NaN. Whoever adds decides what they mean.

use std::collections::BTreeMap;

use crate::codec::{DecodeError, Reader, Writer, ensure};

/// Powers of two that share an integer: 53 + 32 bits leave room for 2^42 numbers.
const WINDOW_BITS: i32 = 32;
/// Windows that finite numbers reach, -1074 to 971 in powers of two.
const WINDOW_MIN: i8 = -34;
const WINDOW_MAX: i8 = 30;
const WINDOWS_MAX: usize = (WINDOW_MAX - WINDOW_MIN) as usize + 1;
/// Largest integer of a window that [`super::MAX_LABELS`] numbers can make.
const INTEGER_MAX: i128 = 1 << 125;

/// An exact sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExactSum(BTreeMap<i8, i128>);

impl ExactSum {
    /// Adds a finite number; others are ignored.
    pub(crate) fn add(&mut self, value: f64) {
        if value == 0.0 || !value.is_finite() {
            return;
        }
        let bits = value.to_bits();
        let raw = ((bits >> 52) & 0x7ff) as i32;
        let fraction = i128::from(bits & ((1 << 52) - 1));
        let (integer, power) = if raw == 0 { (fraction, -1074) } else { (fraction | 1 << 52, raw - 1075) };
        let window = power.div_euclid(WINDOW_BITS);
        let shifted = integer << power.rem_euclid(WINDOW_BITS);
        self.put(window as i8, if value < 0.0 { -shifted } else { shifted });
    }

    fn put(&mut self, window: i8, integer: i128) {
        let sum = self.0.entry(window).or_default();
        *sum += integer;
        if *sum == 0 {
            self.0.remove(&window);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(window, integer)| self.put(*window, *integer));
    }

    /// The sum, rounded a few times at most.
    pub(crate) fn value(&self) -> f64 {
        let part = |(window, integer): (&i8, &i128)| {
            // In two steps, for the power alone may be too small for a number.
            let half = 2f64.powi(i32::from(*window) * WINDOW_BITS / 2);
            *integer as f64 * half * half
        };
        self.0.iter().rev().map(part).sum()
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u8(self.0.len() as u8);
        for (window, integer) in &self.0 {
            w.u8(window.cast_unsigned());
            w.i128(*integer);
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut sum = Self::default();
        let mut last = None;
        let len = usize::from(r.u8("sum")?);
        ensure(len <= WINDOWS_MAX, "sum")?;
        for _ in 0..len {
            let window = r.u8("sum")?.cast_signed();
            let integer = r.i128("sum")?;
            let known = (WINDOW_MIN..=WINDOW_MAX).contains(&window) && last.is_none_or(|last| last < window);
            ensure(known && integer != 0 && (-INTEGER_MAX..=INTEGER_MAX).contains(&integer), "sum")?;
            sum.0.insert(window, integer);
            last = Some(window);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum
    }

    #[test]
    fn nothing_is_lost() {
        assert_eq!(sum(&[1e16, 1.0, -1e16]).value(), 1.0);
        assert_eq!(sum(&[1e300, 1e-300, -1e300]).value(), 1e-300);
        assert_eq!(sum(&[f64::MAX, -f64::MAX]), ExactSum::default());
        assert_eq!(sum(&[f64::MIN_POSITIVE / 4.0]).value(), f64::MIN_POSITIVE / 4.0);
        assert_eq!(sum(&[f64::NAN, f64::INFINITY, 0.5, -0.0]).value(), 0.5);
        assert_eq!(sum(&[]).value(), 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_order_gives_the_same(values in prop::collection::vec(any::<f64>(), 0..40), cut in any::<prop::sample::Index>()) {
            let at = cut.index(values.len() + 1);
            let (one, two) = (sum(&values[..at]), sum(&values[at..]));
            let (mut left, mut right) = (one.clone(), two.clone());
            left.merge(&two);
            right.merge(&one);
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(&left, &sum(&values));
            let mut w = Writer::default();
            left.write(&mut w);
            let bytes = w.finish();
            // A reader begins behind a header of five bytes.
            let framed = [b"TEST\x01".as_slice(), &bytes].concat();
            let mut r = Reader::new(&framed, "sum", *b"TEST", 1).unwrap();
            prop_assert_eq!(ExactSum::read(&mut r).unwrap(), left);
            r.finish().unwrap();
        }
    }
}
