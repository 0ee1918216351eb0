//! A likelihood ratio in sixteen bits: five of exponent, eleven of fraction.
//!
//! Contract: a table encoded by [`encode`] has an expectation of at most one if the exact one has. Codes are
//! rounded down; what is below [`SMALLEST`] becomes it, and all ratios are shrunk by as much to pay for that.
//! The loss, at most a part in 2048, costs less delay than the next decimal of an alternative would. Half a
//! table fits where a whole one would not: the cache of a small device.
//! Deliberately missing: zero, infinities, signs and subnormals; no table needs them.

/// Exponents of stored ratios start at `2^-EXPONENT_BIAS`.
const EXPONENT_BIAS: u32 = 16;
const FRACTION_BITS: u32 = 11;
const DROPPED_BITS: u32 = 23 - FRACTION_BITS;
/// Added to the widened bits; the difference of the exponents' origins.
const REBASE: u32 = (127 - EXPONENT_BIAS) << 23;
/// Smallest ratio that can be stored.
pub(crate) const SMALLEST: f64 = 1.0 / (1u64 << EXPONENT_BIAS) as f64;
const LARGEST: f64 = 65_504.0;

/// The code of `ratio`, a finite number of at least 0.
pub(crate) fn encode(ratio: f64) -> u16 {
    let paid = ratio.min(LARGEST) * (1.0 - SMALLEST);
    if paid < SMALLEST {
        return 0;
    }
    let mut single = paid as f32;
    if f64::from(single) > paid {
        single = single.next_down();
    }
    (single.to_bits().saturating_sub(REBASE) >> DROPPED_BITS) as u16
}

/// The ratio of a code.
#[inline(always)]
pub(crate) fn decode(code: u16) -> f32 {
    f32::from_bits((u32::from(code) << DROPPED_BITS) + REBASE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_close_and_never_larger() {
        for i in 1..4000 {
            let ratio = 10f64.powf(f64::from(i % 401) / 50.0 - 4.0) * (1.0 + f64::from(i) * 1e-4);
            let stored = f64::from(decode(encode(ratio)));
            assert!(
                stored <= ratio && (stored > ratio * (1.0 - 6e-4) || ratio > LARGEST),
                "{ratio} {stored}"
            );
        }
        assert_eq!(f64::from(decode(encode(0.0))), SMALLEST);
        assert_eq!(f64::from(decode(encode(SMALLEST))), SMALLEST);
        assert!(decode(encode(1e30)) > 60_000.0 && decode(u16::MAX).is_finite());
    }
}
