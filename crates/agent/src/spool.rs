//! What waits to be uploaded: alerts, labelled samples, profiles and records of predictions, kept through crashes and days
//! without a server.
//!
//! Each kind has its own log, so one kind's backlog never delays another. The logs of alerts, samples and profiles together
//! stay under one limit: when it is reached, the oldest profiles go first, then the oldest samples, alerts last. Records of
//! predictions come with every request, so they have a share of their own and take no other's. On a full disk they give way
//! to every other kind, the oldest first. Every dropped record is counted. [`Spool::commit`] makes what was appended durable; callers that come together share one fsync.
//! A record is uploaded at least once: after a crash the last batch may go again, and the server knows it by its id.
//!
//! Deliberately missing: the documents inside; a record is bytes here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, OsDisk};
use crate::durable::{Access, DurableError, read_on, replace_on};
use crate::segments::{SEGMENT_BYTES_MAX, Segments};
use edgeward_sdk::chain;

/// Most bytes that wait for upload, over all lanes.
pub const SPOOL_BYTES_MAX: u64 = 64 << 20;

/// Most bytes of records of predictions that wait for upload.
pub const RECORDS_BYTES_MAX: u64 = 32 << 20;

const ACK_BYTES_MAX: u64 = 64;

/// What kind of record, in the order in which they are kept: the first is dropped last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Alerts.
    Alerts,
    /// Samples with a label.
    Samples,
    /// Profiles of windows.
    Profiles,
    /// Records of predictions.
    Records,
}

/// Lanes that share one limit.
const SHARED: usize = 3;

impl Lane {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Alerts, Self::Samples, Self::Profiles, Self::Records];

    /// The lane's folder, and its label in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Samples => "samples",
            Self::Profiles => "profiles",
            Self::Records => "records",
        }
    }
}

/// Records waiting for upload.
#[derive(Debug)]
pub struct Spool {
    lanes: Mutex<[LaneLog; 4]>,
    committing: Mutex<()>,
    bytes_max: u64,
}

#[derive(Debug)]
struct LaneLog {
    disk: Arc<dyn Disk>,
    log: Segments,
    ack_path: PathBuf,
    acked_seq: u64,
    synced_seq: u64,
    dropped: u64,
}

impl Spool {
    /// Opens or begins the spool in `folder`.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: &Path, bytes_max: u64) -> Result<Self, DurableError> {
        Self::open_on(&(Arc::new(OsDisk) as Arc<dyn Disk>), folder, bytes_max)
    }

    /// [`Spool::open`] on any disk.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open_on(disk: &Arc<dyn Disk>, folder: &Path, bytes_max: u64) -> Result<Self, DurableError> {
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(bytes_max / 8).max(1);
        let open =
            |lane: Lane| LaneLog::open(Arc::clone(disk), &folder.join(lane.as_str()), segment_bytes_max);
        let [alerts, samples, profiles, records] = Lane::ALL.map(open);
        let lanes = [alerts?, samples?, profiles?, records?];
        Ok(Self { lanes: Mutex::new(lanes), committing: Mutex::new(()), bytes_max })
    }

    /// Adds a record; it survives the end of this process, and a power cut once [`Spool::commit`] returned.
    ///
    /// # Errors
    /// The disk refuses it.
    pub fn append(&self, lane: Lane, payload: &[u8]) -> Result<(), DurableError> {
        let mut lanes = self.lanes();
        match lanes[lane as usize].log.append(payload) {
            Err(error) if error.is_full() && lanes[Lane::Records as usize].drop_oldest()? => {
                lanes[lane as usize].log.append(payload)?;
            }
            appended => {
                appended?;
            }
        }
        make_room(&mut lanes[..SHARED], self.bytes_max)?;
        make_room(&mut lanes[SHARED..], RECORDS_BYTES_MAX.min(self.bytes_max))
    }

    /// Adds a record that may be lost: if the disk does not take it, it counts as dropped. False if it was.
    pub fn offer(&self, lane: Lane, payload: &[u8]) -> bool {
        let taken = self.append(lane, payload);
        if let Err(error) = &taken {
            let mut lanes = self.lanes();
            let dropped = &mut lanes[lane as usize].dropped;
            *dropped += 1;
            // The first of many, so that a full disk does not fill the log, too.
            if dropped.is_power_of_two() {
                tracing::warn!("{} {} are lost so far: {}", dropped, lane.as_str(), chain(error));
            }
        }
        taken.is_ok()
    }

    /// Counts records of `lane` that were lost before they came here.
    pub fn lost(&self, lane: Lane, records: u64) {
        self.lanes()[lane as usize].dropped += records;
    }

    /// Makes every record appended to `lane` before this call durable.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn commit(&self, lane: Lane) -> Result<(), DurableError> {
        let wanted = self.lanes()[lane as usize].log.last_seq();
        let _one_at_a_time = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let (covered, handle) = {
            let lanes = self.lanes();
            let lane = &lanes[lane as usize];
            if lane.synced_seq >= wanted {
                return Ok(());
            }
            (lane.log.last_seq(), lane.log.sync_handle())
        };
        if let Some(handle) = handle {
            handle.sync()?;
        }
        let mut lanes = self.lanes();
        let lane = &mut lanes[lane as usize];
        lane.synced_seq = lane.synced_seq.max(covered);
        Ok(())
    }

    /// The oldest records that were not acknowledged, with their numbers.
    #[must_use]
    pub fn batch(&self, lane: Lane, records_max: usize, bytes_max: usize) -> Vec<(u64, Vec<u8>)> {
        let lanes = self.lanes();
        let lane = &lanes[lane as usize];
        lane.log.read_after(lane.acked_seq, records_max, bytes_max)
    }

    /// The server has every record of `lane` up to `seq`.
    ///
    /// # Errors
    /// The disk refuses; the records may then be uploaded again.
    pub fn acknowledge(&self, lane: Lane, seq: u64) -> Result<(), DurableError> {
        self.lanes()[lane as usize].acknowledge(seq)
    }

    /// Records that wait in `lane`.
    #[must_use]
    pub fn waiting(&self, lane: Lane) -> u64 {
        let lanes = self.lanes();
        let lane = &lanes[lane as usize];
        lane.log.last_seq().saturating_sub(lane.acked_seq)
    }

    /// Records of `lane` dropped for want of room since the agent started.
    #[must_use]
    pub fn dropped(&self, lane: Lane) -> u64 {
        self.lanes()[lane as usize].dropped
    }

    fn lanes(&self) -> MutexGuard<'_, [LaneLog; 4]> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LaneLog {
    fn open(disk: Arc<dyn Disk>, folder: &Path, segment_bytes_max: u64) -> Result<Self, DurableError> {
        let mut log = Segments::open(Arc::clone(&disk), folder, segment_bytes_max, |_, _, _| {})?;
        let ack_path = folder.join("acknowledged");
        let text = read_on(&*disk, &ack_path, ACK_BYTES_MAX)?;
        let acked_seq =
            text.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()).unwrap_or(0);
        log.skip_to(acked_seq);
        let synced_seq = log.last_seq();
        Ok(Self { disk, log, ack_path, acked_seq, synced_seq, dropped: 0 })
    }

    fn acknowledge(&mut self, seq: u64) -> Result<(), DurableError> {
        if seq <= self.acked_seq {
            return Ok(());
        }
        self.acked_seq = seq;
        replace_on(&*self.disk, &self.ack_path, seq.to_string().as_bytes(), Access::Default)?;
        self.log.drop_through(seq)
    }

    /// Drops the oldest segment; false if there is none to spare.
    fn drop_oldest(&mut self) -> Result<bool, DurableError> {
        let Some(dropped) = self.log.drop_oldest()? else { return Ok(false) };
        let already_sent = (self.acked_seq + 1).saturating_sub(dropped.segment).min(dropped.records);
        self.dropped += dropped.records - already_sent;
        Ok(true)
    }
}

fn make_room(lanes: &mut [LaneLog], bytes_max: u64) -> Result<(), DurableError> {
    while lanes.iter().map(|lane| lane.log.bytes()).sum::<u64>() > bytes_max {
        let mut spared = true;
        for lane in lanes.iter_mut().rev() {
            if lane.drop_oldest()? {
                spared = false;
                break;
            }
        }
        if spared {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(batch: &[(u64, Vec<u8>)]) -> Vec<u64> {
        batch.iter().map(|(seq, _)| *seq).collect()
    }

    #[test]
    fn what_is_not_acknowledged_comes_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), SPOOL_BYTES_MAX).unwrap();
        for n in 0..5_u8 {
            spool.append(Lane::Samples, &[n]).unwrap();
        }
        spool.commit(Lane::Samples).unwrap();
        spool.acknowledge(Lane::Samples, 2).unwrap();
        drop(spool);
        let spool = Spool::open(folder.path(), SPOOL_BYTES_MAX).unwrap();
        assert_eq!(numbers(&spool.batch(Lane::Samples, 10, 1000)), [3, 4, 5]);
        assert_eq!(spool.waiting(Lane::Samples), 3);
        assert!(spool.batch(Lane::Alerts, 10, 1000).is_empty());
    }

    #[test]
    fn profiles_give_way_first_and_every_loss_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 8_000).unwrap();
        let record = [7_u8; 200];
        for _ in 0..10 {
            spool.append(Lane::Alerts, &record).unwrap();
            spool.append(Lane::Profiles, &record).unwrap();
        }
        for _ in 0..20 {
            spool.append(Lane::Samples, &record).unwrap();
        }
        assert_eq!(spool.dropped(Lane::Alerts), 0);
        assert_eq!(spool.dropped(Lane::Samples), 0);
        let lost = spool.dropped(Lane::Profiles);
        assert!(lost > 0);
        assert_eq!(spool.batch(Lane::Profiles, 100, 1 << 20).len() as u64, 10 - lost);
        for _ in 0..100 {
            spool.append(Lane::Samples, &record).unwrap();
        }
        assert_eq!(spool.dropped(Lane::Alerts), 0);
        assert!(spool.dropped(Lane::Samples) > 80);
        let total: u64 = spool.lanes().iter().map(|lane| lane.log.bytes()).sum();
        assert!(total <= 8_000, "{total}");
    }

    #[test]
    fn acknowledged_records_are_no_loss() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 4_000).unwrap();
        for seq in 1..=100 {
            spool.append(Lane::Profiles, &[1; 100]).unwrap();
            spool.acknowledge(Lane::Profiles, seq).unwrap();
        }
        assert_eq!(spool.dropped(Lane::Profiles), 0);
    }

    #[test]
    fn commits_from_many_threads_end() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), SPOOL_BYTES_MAX).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        spool.append(Lane::Samples, b"x").unwrap();
                        spool.commit(Lane::Samples).unwrap();
                    }
                });
            }
        });
        assert_eq!(spool.waiting(Lane::Samples), 40);
        assert_eq!(spool.lanes()[Lane::Samples as usize].synced_seq, 40);
    }
}
