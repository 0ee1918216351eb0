//! Missing values that come in runs: an outage is one event, however long it lasts.
//!
//! Where the reference's rows have an order and a missing value is followed by another more often than chance has
//! it, a stream's missing values are a two-state Markov chain: whether a run begins and whether it goes on are
//! judged by probabilities of their own. The first value after a run tells only that it ended.

use crate::codec::{DecodeError, Reader, Writer, ensure};

/// Standard errors by which missing values must follow each other more often than by chance.
const DEVIATIONS: f64 = 3.0;

/// How often a missing value was followed by a further one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Runs {
    /// Rows after a missing value.
    pub(crate) after: u32,
    /// Of these, missing again.
    pub(crate) again: u32,
}

impl Runs {
    /// The runs of values in order, NaN where missing; none if missing values are as good as independent.
    pub(crate) fn of(column: &[f32]) -> Option<Self> {
        let missing = column.iter().filter(|value| value.is_nan()).count() as f64;
        let after =
            column[..column.len().saturating_sub(1)].iter().filter(|value| value.is_nan()).count() as u32;
        let again = column.windows(2).filter(|pair| pair[0].is_nan() && pair[1].is_nan()).count() as u32;
        let expected = f64::from(after) * missing / column.len().max(1) as f64;
        let clustered = f64::from(again) > expected + DEVIATIONS * expected.sqrt() + 1.0;
        clustered.then_some(Self { after, again })
    }

    /// Share of the `rows` rows not after a missing value that were missing, of `missing` ones.
    pub(crate) fn begun(self, missing: u64, rows: u64) -> f64 {
        missing.saturating_sub(u64::from(self.again)) as f64
            / rows.saturating_sub(u64::from(self.after)).max(1) as f64
    }

    pub(crate) fn write(runs: Option<&Self>, w: &mut Writer) {
        w.varint(runs.map_or(0, |runs| u64::from(runs.after)));
        w.varint(runs.map_or(0, |runs| u64::from(runs.again)));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let (after, again) = (r.varint("runs")?, r.varint("runs")?);
        ensure(again <= after && after <= crate::MAX_REFERENCE_ROWS as u64, "runs")?;
        Ok((after > 0).then_some(Self { after: after as u32, again: again as u32 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_together_is_a_run() {
        let spread: Vec<f32> = (0..1_000u16).map(|i| if i % 10 == 0 { f32::NAN } else { 1.0 }).collect();
        let together: Vec<f32> = (0..1_000u16).map(|i| if i % 100 < 10 { f32::NAN } else { 1.0 }).collect();
        assert_eq!(Runs::of(&spread), None);
        assert_eq!(Runs::of(&[]), None);
        let runs = Runs::of(&together).unwrap();
        assert_eq!(runs, Runs { after: 100, again: 90 });
        assert!((runs.begun(100, 1_000) - 10.0 / 900.0).abs() < 1e-12);
    }
}
