//! Devices that update on a simulated disk: one with the agent's own code, and one that overwrites what it runs.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use edgeward_agent::Courtesy;
use edgeward_agent::disk::Disk;
use edgeward_agent::durable::{Access, DurableError, TwoCopies, create_folder_on};
use edgeward_agent::fetch::{FetchError, Staging};
use edgeward_agent::reserve::Reserve;
use edgeward_agent::slots::Slots;
use edgeward_agent::spool::{Lane, Spool};
use edgeward_core::slot::{Effect, Input, Installed, SlotId, SlotPolicy, StageOutcome, State, step};
use edgeward_core::{Digest, Timestamp};

use super::bundles::{self, Source, digest, is_whole, model, number, platform, release};
use super::disk::{Said, SimDisk};

const DATA: &str = "/data";
const FILE_BYTES_MAX: u64 = 1 << 20;
const SPOOL_BYTES_MAX: u64 = 1 << 20;
/// Bytes that the device keeps free for its state.
const RESERVE_BYTES: usize = 1024;
/// Records per turn.
const RECORDS: u64 = 2;
/// Longer than any probation.
const LATER_MS: i64 = 100_000;

/// A device.
pub trait Agent: Sized {
    /// Starts on what is there; a disk on which nothing was ever kept is a fresh one.
    ///
    /// # Errors
    /// What is there cannot be used.
    fn boot(disk: SimDisk) -> Result<Self, String>;

    /// Enrols, whatever is there.
    fn begin(disk: SimDisk) -> Self;

    /// Number of the newest state.
    fn count(&self) -> u64;

    /// Whether everything that may be served is verified.
    ///
    /// # Errors
    /// Which bundle is not.
    fn sound(&self) -> Result<(), String>;

    /// Whether every record is there that was said to be.
    ///
    /// # Errors
    /// Which is not.
    fn has_records(&self, said: Said) -> Result<(), String>;

    /// The bundle that serves.
    fn serves(&self) -> Option<u8>;

    /// Updates to a bundle, up to the end of its probation.
    fn follow(&mut self, bundle: u8);
}

/// What is still to be done, in order.
enum Work {
    Persist,
    Stage { slot: SlotId, bundle: Digest },
}

/// The agent's own code.
pub struct Careful {
    disk: SimDisk,
    store: TwoCopies,
    slots: Slots,
    spool: Option<Spool>,
    reserve: Reserve,
    source: Source,
    state: State,
    count: u64,
    queue: VecDeque<Work>,
    now: i64,
}

impl Careful {
    fn on(disk: SimDisk, store: TwoCopies, (count, state): (u64, State)) -> Self {
        let slots = Slots::on(Arc::new(disk.clone()), Path::new(DATA).join("models"));
        let reserve = Reserve::of_bytes(Path::new(DATA), RESERVE_BYTES);
        let spool = None;
        let (source, queue) = (Source::default(), VecDeque::new());
        let mut agent = Self { disk, store, slots, spool, reserve, source, state, count, queue, now: 0 };
        agent.spool = agent.open_spool().ok();
        agent.feed(Input::Started);
        agent
    }

    fn open_spool(&self) -> Result<Spool, DurableError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Spool::open_on(&disk, &Path::new(DATA).join("spool"), SPOOL_BYTES_MAX)
    }

    /// One turn of the control loop: persist first, then act.
    fn feed(&mut self, input: Input) {
        self.now += 10;
        let next = step(&SlotPolicy::default(), self.state.clone(), input, Timestamp(self.now));
        if next.state != self.state {
            self.state = next.state;
            self.count += 1;
            self.queue.push_back(Work::Persist);
        }
        self.queue.extend(next.effects.into_iter().filter_map(|effect| match effect {
            Effect::Stage { slot, bundle } => Some(Work::Stage { slot, bundle }),
            _ => None,
        }));
        self.work_off();
    }

    fn work_off(&mut self) {
        while let Some(work) = self.queue.pop_front() {
            match work {
                Work::Persist if self.persist().is_err() => {
                    self.queue.push_front(work);
                    return;
                }
                Work::Persist => {}
                Work::Stage { slot, bundle } => {
                    let outcome = self.stage(slot, bundle);
                    self.feed(Input::Staged { bundle, outcome });
                }
            }
        }
    }

    fn persist(&mut self) -> Result<(), DurableError> {
        let value = serde_json::to_vec(&(self.count, &self.state)).expect("a state is JSON");
        match self.store.write(&value) {
            Err(error) if error.is_full() => {
                self.reserve.release(&self.disk)?;
                self.store.write(&value)?;
            }
            written => written?,
        }
        let count = self.count;
        self.disk.say(|said| said.state = count);
        Ok(())
    }

    /// As [`Staging::stage`] does, with a look at every byte in place of an engine.
    fn stage(&self, slot: SlotId, bundle: Digest) -> StageOutcome {
        let (cancelled, received) = (AtomicBool::new(false), AtomicU64::new(0));
        let courtesy = Courtesy::default();
        let staging = Staging {
            source: &self.source,
            slots: &self.slots,
            platform: platform(),
            courtesy: &courtesy,
            cancelled: &cancelled,
            received: &received,
            beside: None,
        };
        let staged = || -> Result<(), FetchError> {
            staging.fetch(&model(), slot, &release(number(bundle)))?;
            self.slots.begin_trial(&model(), slot, bundle)?;
            self.slots.end_trial(&model(), slot);
            Ok(())
        };
        match staged() {
            Err(error) => error.outcome(),
            Ok(()) if is_whole(&self.disk, &self.slots.folder(&model(), slot), number(bundle)) => {
                StageOutcome::Ready
            }
            Ok(()) => StageOutcome::Damaged("it is not what was written".to_owned()),
        }
    }

    /// Takes records, and uploads what was taken before.
    fn record(&mut self) {
        let Some(spool) = &self.spool else { return };
        let lane = Lane::Samples;
        let oldest = spool.batch(lane, 1, 1 << 10).first().map(|(seq, _)| *seq);
        if let Some(seq) = oldest {
            // The control plane has it before the device notes so.
            self.disk.say(|said| said.uploaded = said.uploaded.max(seq));
            let _ = spool.acknowledge(lane, seq);
        }
        for _ in 0..RECORDS {
            if spool.append(lane, b"a labelled sample").is_ok() && spool.commit(lane).is_ok() {
                let newest = newest(spool);
                self.disk.say(|said| said.spooled = newest);
            }
        }
    }

    fn verified(&self, installed: Option<Installed>) -> Result<(), String> {
        match installed {
            Some(Installed { slot, bundle })
                if !is_whole(&self.disk, &self.slots.folder(&model(), slot), number(bundle)) =>
            {
                Err(format!("bundle {} in slot {} is not whole", number(bundle), slot.as_str()))
            }
            _ => Ok(()),
        }
    }
}

/// Number of the newest record that waits.
fn newest(spool: &Spool) -> u64 {
    let batch = spool.batch(Lane::Samples, usize::MAX, usize::MAX);
    batch.last().map_or(0, |(seq, _)| *seq)
}

impl Agent for Careful {
    fn boot(disk: SimDisk) -> Result<Self, String> {
        let path = Path::new(DATA).join("state");
        let opened = TwoCopies::open_on(Arc::new(disk.clone()), &path).map_err(|error| error.to_string())?;
        match opened {
            (store, Some(value)) => {
                let kept = serde_json::from_slice(&value).map_err(|error| error.to_string())?;
                Ok(Self::on(disk, store, kept))
            }
            (_, None) => Ok(Self::begin(disk)),
        }
    }

    fn begin(disk: SimDisk) -> Self {
        create_folder_on(&disk, Path::new(DATA)).expect("the disk takes it");
        let store = TwoCopies::begin_on(Arc::new(disk.clone()), &Path::new(DATA).join("state"));
        let mut agent = Self::on(disk, store.expect("the disk takes it"), (0, State::default()));
        agent.count += 1;
        agent.persist().expect("the disk takes it");
        agent
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn sound(&self) -> Result<(), String> {
        // The way back is kept at least until the new bundle is committed.
        self.verified(self.state.active).and_then(|()| self.verified(self.state.previous))
    }

    fn has_records(&self, said: Said) -> Result<(), String> {
        let spool = self.open_spool().map_err(|error| error.to_string())?;
        let there = spool.batch(Lane::Samples, usize::MAX, usize::MAX);
        let missing =
            (said.uploaded + 1..=said.spooled).find(|seq| !there.iter().any(|(found, _)| found == seq));
        missing.map_or(Ok(()), |seq| Err(format!("record {seq} was acknowledged and is gone")))
    }

    fn serves(&self) -> Option<u8> {
        self.state.active.map(|active| number(active.bundle))
    }

    fn follow(&mut self, bundle: u8) {
        self.reserve.restore(&self.disk);
        if self.spool.is_none() {
            self.spool = self.open_spool().ok();
        }
        self.record();
        for _ in 0..8 {
            self.work_off();
            self.feed(Input::Desired(Some(digest(bundle))));
            self.now += LATER_MS;
            self.feed(Input::Tick);
        }
    }
}

/// Overwrites the files it runs, then the file that says which they are.
pub struct Naive {
    disk: SimDisk,
    bundle: Option<u8>,
    count: u64,
}

impl Naive {
    fn state() -> PathBuf {
        Path::new(DATA).join("state")
    }
}

impl Agent for Naive {
    fn boot(disk: SimDisk) -> Result<Self, String> {
        let Ok(Some(value)) = disk.read(&Self::state(), FILE_BYTES_MAX) else { return Ok(Self::begin(disk)) };
        let (count, bundle) = serde_json::from_slice(&value).map_err(|error| error.to_string())?;
        Ok(Self { disk, bundle, count })
    }

    fn begin(disk: SimDisk) -> Self {
        create_folder_on(&disk, Path::new(DATA)).expect("the disk takes it");
        Self { disk, bundle: None, count: 0 }
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn sound(&self) -> Result<(), String> {
        match self.bundle {
            Some(bundle) if !is_whole(&self.disk, &Path::new(DATA).join("model"), bundle) => {
                Err(format!("bundle {bundle} is not whole"))
            }
            _ => Ok(()),
        }
    }

    fn has_records(&self, _: Said) -> Result<(), String> {
        Ok(())
    }

    fn serves(&self) -> Option<u8> {
        self.bundle
    }

    fn follow(&mut self, bundle: u8) {
        let taken = "the disk takes it";
        for (name, bytes) in bundles::files(bundle) {
            let path = Path::new(DATA).join("model").join(name);
            create_folder_on(&self.disk, path.parent().unwrap_or(&path)).expect(taken);
            self.disk.write(&path, &bytes, Access::Default).expect(taken);
            self.disk.sync_file(&path).expect(taken);
        }
        (self.bundle, self.count) = (Some(bundle), self.count + 1);
        let value = serde_json::to_vec(&(self.count, self.bundle)).expect("JSON");
        self.disk.write(&Self::state(), &value, Access::Default).expect(taken);
        self.disk.sync_file(&Self::state()).expect(taken);
        self.disk.sync_folder(Path::new(DATA)).expect(taken);
        let count = self.count;
        self.disk.say(|said| said.state = count);
    }
}
