//! Alarms of one stream thin out: after the first it holds its peace for a while, then twice as long, and so on.
//!
//! A stream that has changed for good has been told of, and one whose reference fits it badly would go on
//! alarming; either way a further alarm says less each time. Silence never adds a false alarm.

use crate::codec::{DecodeError, Reader, Writer};

const DOUBLINGS_MAX: u32 = 30;

/// Holds each stream's peace after an alarm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limiter {
    /// First sample after each stream's silence.
    pub(crate) quiet_until: Vec<u64>,
    pub(crate) alarms: Vec<u32>,
    hold_off: u64,
}

impl Limiter {
    /// A limiter of streams that hold their peace for `hold_off` samples after a first alarm.
    pub(crate) fn new(streams: usize, hold_off: u64) -> Self {
        Self { quiet_until: vec![0; streams], alarms: vec![0; streams], hold_off }
    }

    /// Whether an alarm of `stream` at `sample` may be raised; if so it counts.
    pub(crate) fn admit(&mut self, stream: usize, sample: u64) -> bool {
        if sample < self.quiet_until[stream] {
            return false;
        }
        let hold_off = self.hold_off << self.alarms[stream].min(DOUBLINGS_MAX);
        self.quiet_until[stream] = sample.saturating_add(hold_off);
        self.alarms[stream] = self.alarms[stream].saturating_add(1);
        true
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        self.quiet_until.iter().for_each(|sample| w.u64(*sample));
        self.alarms.iter().for_each(|count| w.u32(*count));
    }

    /// Takes up what was written of as many streams.
    pub(crate) fn read(&mut self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        for sample in &mut self.quiet_until {
            *sample = r.u64("hold-off")?;
        }
        for count in &mut self.alarms {
            *count = r.u32("alarms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_of_a_stream_thin_out() {
        let mut limiter = Limiter::new(2, 1_000);
        let raised: Vec<u64> = (1..20_000).filter(|sample| limiter.admit(0, *sample)).collect();
        assert_eq!(raised, [1, 1_001, 3_001, 7_001, 15_001]);
        assert!(limiter.admit(1, 1));
    }
}
