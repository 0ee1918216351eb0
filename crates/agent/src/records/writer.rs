//! What answers leave to be written down, and the thread that writes it: no request waits for the disk.
//!
//! A card that stands still for half a second is common on devices. So an answer only leaves what is to be kept of it; a thread takes
//! all that has gathered within [`GATHER`] and writes it in one go. Whoever looks into the journal or the spool writes what waits
//! first, and finds everything that was answered. A killed process loses what had not been written, a few milliseconds' answers: labels for
//! them are then unknown. What waits is bounded by [`WAITING_BYTES_MAX`]; alarms are never turned away.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use edgeward_sdk::chain;

use crate::durable::DurableError;
use crate::journal::{Journal, Written};
use crate::spool::{Lane, Spool};

/// Time for answers to gather, so that they are written together.
const GATHER: Duration = Duration::from_millis(5);
/// Most bytes that wait: what the disk does not take in time is not kept.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Bytes of predictions that are written at once.
const CHUNK_BYTES: usize = 256 << 10;

/// What one answer leaves.
#[derive(Default)]
pub(super) struct Left {
    /// Its entry in the journal.
    pub(super) entry: Option<Written>,
    /// Its record, if its model has records kept.
    pub(super) record: Option<Vec<u8>>,
    /// Its alarms.
    pub(super) alerts: Vec<Vec<u8>>,
}

/// The journal and the spool, and what is on its way there.
pub(super) struct Desk {
    journal: Mutex<Journal>,
    pub(super) spool: Spool,
    waiting: Mutex<Waiting>,
    came: Condvar,
}

#[derive(Default)]
struct Waiting {
    left: Vec<Left>,
    bytes: usize,
    /// Whether the thread waits to be woken.
    is_idle: bool,
    ends: bool,
    /// Answers of which nothing is kept, since the disk did not keep up.
    lost: u64,
}

impl Left {
    fn bytes(&self) -> usize {
        let entry = self.entry.as_ref().map_or(0, Written::len);
        entry + self.record.as_ref().map_or(0, Vec::len)
    }
}

impl Desk {
    pub(super) fn new(journal: Journal, spool: Spool) -> Self {
        let (waiting, came) = (Mutex::default(), Condvar::new());
        Self { journal: Mutex::new(journal), spool, waiting, came }
    }

    /// Leaves something to be written.
    pub(super) fn leave(&self, mut left: Left) {
        let mut waiting = self.waiting();
        if waiting.bytes + left.bytes() > WAITING_BYTES_MAX {
            (left.entry, left.record) = (None, None);
            waiting.lost += 1;
        }
        waiting.bytes += left.bytes();
        waiting.left.push(left);
        if mem::take(&mut waiting.is_idle) {
            drop(waiting);
            self.came.notify_one();
        }
    }

    /// The journal, with everything that was left before this call.
    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&mut journal);
        journal
    }

    /// The spool, with everything that was left before this call; not for who holds the journal.
    pub(super) fn settled_spool(&self) -> &Spool {
        drop(self.journal());
        &self.spool
    }

    /// Writes what is left until it is told to end, and what is left then.
    pub(super) fn write_on(&self) {
        loop {
            let mut waiting = self.waiting();
            while waiting.left.is_empty() && !waiting.ends {
                waiting.is_idle = true;
                waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let ends = waiting.ends;
            drop(waiting);
            if !ends {
                thread::sleep(GATHER);
            }
            drop(self.journal());
            if ends {
                return;
            }
        }
    }

    /// Tells [`Desk::write_on`] to end.
    pub(super) fn end(&self) {
        self.waiting().ends = true;
        self.came.notify_one();
    }

    /// Writes what waits, in the order it came: who holds the journal is the only one who writes.
    fn write(&self, journal: &mut Journal) {
        let (left, lost) = {
            let mut waiting = self.waiting();
            waiting.bytes = 0;
            (mem::take(&mut waiting.left), mem::take(&mut waiting.lost))
        };
        if lost > 0 {
            tracing::warn!("nothing is kept of {lost} predictions: the disk does not keep up");
        }
        let (mut entries, mut records, mut alerts) = (Vec::with_capacity(left.len()), Vec::new(), Vec::new());
        for one in left {
            entries.extend(one.entry);
            records.extend(one.record);
            alerts.extend(one.alerts);
        }
        self.alert(&alerts).unwrap_or_else(|error| tracing::warn!("an alarm is lost: {}", chain(&error)));
        for record in &records {
            // One that is lost is counted there.
            self.spool.offer(Lane::Records, record);
        }
        for chunk in chunks(&entries) {
            if let Err(error) = journal.record(chunk) {
                tracing::warn!("{} predictions cannot be labelled later: {}", chunk.len(), chain(&error));
            }
        }
    }

    /// Keeps alarms, whatever the power does after this.
    pub(super) fn alert(&self, alerts: &[Vec<u8>]) -> Result<(), DurableError> {
        alerts.iter().try_for_each(|alert| self.spool.append(Lane::Alerts, alert))?;
        if alerts.is_empty() { Ok(()) } else { self.spool.commit(Lane::Alerts) }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries that go to the disk together; one that is larger than that by itself.
fn chunks(entries: &[Written]) -> impl Iterator<Item = &[Written]> {
    let mut bytes = 0;
    entries.chunk_by(move |before, next| {
        bytes += before.len();
        let fits = bytes + next.len() <= CHUNK_BYTES;
        bytes = if fits { bytes } else { 0 };
        fits
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use edgeward_core::{Digest, ModelName, PredictionId, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::journal::Entry;

    fn entry(n: u128, values: usize) -> Written {
        Entry {
            id: PredictionId(Uuid::from_u128(n)),
            model: ModelName::new("digits").unwrap(),
            bundle: Digest::of(b"bundle"),
            at_ms: Timestamp(n as i64),
            predicted: vec![None],
            width: values,
            values: vec![0.5; values],
            scored: 0,
            scores: Vec::new(),
        }
        .written()
    }

    fn desk(folder: &std::path::Path) -> Arc<Desk> {
        let journal = Journal::open(&folder.join("journal"), 1_000, 32 << 20).unwrap();
        Arc::new(Desk::new(journal, Spool::open(&folder.join("spool"), 1 << 20).unwrap()))
    }

    #[test]
    fn entries_go_together_up_to_a_size() {
        let of = |values: &[usize]| {
            let entries: Vec<Written> =
                values.iter().enumerate().map(|(n, values)| entry(n as u128, *values)).collect();
            chunks(&entries).map(<[Written]>::len).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [0; 0]);
        assert_eq!(of(&[1; 100]), [100]);
        // 30,000 values are 120 kB, 100,000 more than a chunk.
        assert_eq!(of(&[30_000, 30_000, 30_000, 1, 100_000, 1, 1]), [2, 2, 1, 2]);
    }

    #[test]
    fn whoever_looks_finds_what_was_left_and_it_outlives_the_thread() {
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(folder.path());
        let leave = |n| {
            let left =
                Left { entry: Some(entry(n, 4)), record: Some(b"{}".to_vec()), alerts: vec![b"{}".to_vec()] };
            desk.leave(left);
        };
        leave(1);
        assert_eq!(desk.journal().len(), 1);
        assert_eq!(desk.settled_spool().waiting(Lane::Alerts), 1);
        let writing = Arc::clone(&desk);
        let writing = thread::spawn(move || writing.write_on());
        leave(2);
        desk.end();
        writing.join().unwrap();
        assert_eq!(self::desk(folder.path()).journal().len(), 2);
        assert_eq!(desk.settled_spool().waiting(Lane::Records), 2);
    }

    #[test]
    fn what_waits_is_bounded_and_alarms_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let desk = desk(folder.path());
        for n in 0..20 {
            desk.leave(Left { entry: Some(entry(n, 250_000)), record: None, alerts: vec![b"{}".to_vec()] });
        }
        assert!(desk.waiting().bytes <= WAITING_BYTES_MAX && desk.waiting().lost == 4);
        assert_eq!(desk.settled_spool().waiting(Lane::Alerts), 20);
        assert_eq!(desk.journal().len(), 16);
    }
}
