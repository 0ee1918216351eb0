//! A cap on the bytes per second that bundles may take of the device's link.
//!
//! Reads are spread: each may start once those before it are paid for, and takes at most a tenth of a second's worth, so that a
//! download that is given up ends soon. Every model's downloads share one budget. What the system has received ahead of the
//! reader (a socket's buffer, some hundred kilobytes) comes in one burst; over a whole bundle the rate holds.
//!
//! Deliberately missing: a cap on reports, profiles and samples, which are small and bounded elsewhere.

use std::io::{self, Read};
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use edgeward_api::ClientError;
use edgeward_core::Digest;

use crate::fetch::BlobSource;

/// Part of a second's bytes that one read takes.
const READS_PER_SECOND: u64 = 10;

/// What may be read when.
#[derive(Debug)]
pub struct Bandwidth {
    bytes_per_second: NonZeroU64,
    /// When all that was read is paid for.
    paid_at: Mutex<Option<Instant>>,
}

impl Bandwidth {
    /// So many bytes per second, by all who share this.
    #[must_use]
    pub const fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, paid_at: Mutex::new(None) }
    }

    /// Most bytes of one read.
    fn read_max(&self) -> usize {
        usize::try_from(self.bytes_per_second.get().div_ceil(READS_PER_SECOND)).unwrap_or(usize::MAX)
    }

    /// Counts `bytes` that were read at `now`, and says how long to wait before the next.
    fn pay(&self, bytes: usize, now: Instant) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let at = paid_at.map_or(now, |at| at.max(now)) + cost;
        *paid_at = Some(at);
        at.duration_since(now)
    }
}

/// A source whose bytes come no faster than a budget allows; without one it is the source itself.
pub struct Paced<'a> {
    /// Where blobs come from.
    pub source: &'a dyn BlobSource,
    /// The budget.
    pub bandwidth: Option<&'a Bandwidth>,
}

struct PacedReader<'a> {
    reader: Box<dyn Read + 'a>,
    bandwidth: &'a Bandwidth,
}

impl Read for PacedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.bandwidth.read_max());
        let count = self.reader.read(&mut buffer[..most])?;
        thread::sleep(self.bandwidth.pay(count, Instant::now()));
        Ok(count)
    }
}

impl Paced<'_> {
    fn pace<'r>(&'r self, reader: Box<dyn Read + 'r>) -> Box<dyn Read + 'r> {
        match self.bandwidth {
            Some(bandwidth) => Box::new(PacedReader { reader, bandwidth }),
            None => reader,
        }
    }
}

impl BlobSource for Paced<'_> {
    fn open(&self, digest: &Digest, offset: u64) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        let (partial, reader) = self.source.open(digest, offset)?;
        Ok((partial, self.pace(reader)))
    }

    fn open_delta(
        &self,
        result: &Digest,
        source: Option<&Digest>,
        offset: u64,
    ) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        let (partial, reader) = self.source.open_delta(result, source, offset)?;
        Ok((partial, self.pace(reader)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bandwidth(bytes_per_second: u64) -> Bandwidth {
        Bandwidth::new(NonZeroU64::new(bytes_per_second).unwrap())
    }

    #[test]
    fn waits_add_up_to_the_rate_and_idle_time_saves_nothing_up() {
        let budget = bandwidth(1000);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(budget.pay(100, at(0)), Duration::from_millis(100));
        assert_eq!(budget.pay(100, at(0)), Duration::from_millis(200), "another download shares it");
        assert_eq!(budget.pay(100, at(150)), Duration::from_millis(150));
        assert_eq!(budget.pay(100, at(60_000)), Duration::from_millis(100), "no burst after a minute");
    }

    #[test]
    fn a_read_takes_a_tenth_of_a_second_at_most_and_every_byte_comes() {
        assert_eq!((bandwidth(1).read_max(), bandwidth(10_000).read_max()), (1, 1000));
        struct Blob(Vec<u8>);
        impl BlobSource for Blob {
            fn open(&self, _: &Digest, offset: u64) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
                Ok((true, Box::new(&self.0[usize::try_from(offset).unwrap()..])))
            }
            fn open_delta(
                &self,
                _: &Digest,
                _: Option<&Digest>,
                _: u64,
            ) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
                Ok((false, Box::new(&self.0[..])))
            }
        }
        let blob = Blob((0..=255).cycle().take(5000).collect());
        let budget = bandwidth(1_000_000);
        let paced = Paced { source: &blob, bandwidth: Some(&budget) };
        let began = Instant::now();
        let mut bytes = Vec::new();
        paced.open(&Digest::of(b""), 1000).unwrap().1.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, blob.0[1000..]);
        let paid = budget.paid_at.lock().unwrap().unwrap();
        assert!(paid.duration_since(began) >= Duration::from_millis(4), "4000 bytes cost 4 ms");
    }
}
