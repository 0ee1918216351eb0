//! Devices that update on a simulated disk: one with the agent's own code, and one that overwrites what it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgeward_agent::disk::Disk as _;
use edgeward_agent::durable::{Access, TwoCopies, create_folder_on, settle};
use edgeward_agent::slots::Slots;
use edgeward_core::slot::{Effect, Input, Installed, SlotId, SlotPolicy, StageOutcome, State, step};
use edgeward_core::{Digest, ModelName, Timestamp};

use super::disk::SimDisk;

const DATA: &str = "/data";
const FILE_BYTES_MAX: u64 = 1 << 20;
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

    /// The bundle that serves.
    fn serves(&self) -> Option<u8>;

    /// Updates to a bundle, up to the end of its probation.
    fn follow(&mut self, bundle: u8);
}

/// The files of a bundle.
fn files(bundle: u8) -> [(&'static str, Vec<u8>); 3] {
    [
        ("manifest.json", format!("manifest {bundle}").into_bytes()),
        ("variants/rten-f32/model.onnx", vec![bundle; 48]),
        ("golden/golden.json", format!("golden {bundle}").into_bytes()),
    ]
}

fn is_whole(disk: &SimDisk, folder: &Path, bundle: u8) -> bool {
    let right = |(name, bytes): &(&str, Vec<u8>)| {
        disk.read(&folder.join(name), FILE_BYTES_MAX).ok().flatten().as_ref() == Some(bytes)
    };
    files(bundle).iter().all(right)
}

fn digest(bundle: u8) -> Digest {
    Digest::from_bytes([bundle; 32])
}

fn number(bundle: Digest) -> u8 {
    bundle.as_bytes()[0]
}

fn model() -> ModelName {
    ModelName::new("digits").expect("a model's name")
}

/// The agent's own code.
pub struct Careful {
    disk: SimDisk,
    store: TwoCopies,
    slots: Slots,
    state: State,
    count: u64,
    now: i64,
}

impl Careful {
    fn on(disk: SimDisk, store: TwoCopies, (count, state): (u64, State)) -> Self {
        let slots = Slots::on(Arc::new(disk.clone()), Path::new(DATA).join("models"));
        let mut agent = Self { disk, store, slots, state, count, now: 0 };
        agent.feed(Input::Started);
        agent
    }

    /// One turn of the control loop: persist first, then act.
    fn feed(&mut self, input: Input) {
        self.now += 10;
        let next = step(&SlotPolicy::default(), self.state.clone(), input, Timestamp(self.now));
        if next.state != self.state {
            self.state = next.state;
            self.persist();
        }
        for effect in next.effects {
            if let Effect::Stage { slot, bundle } = effect {
                let outcome = self.stage(slot, bundle);
                self.feed(Input::Staged { bundle, outcome });
            }
        }
    }

    fn persist(&mut self) {
        self.count += 1;
        let value = serde_json::to_vec(&(self.count, &self.state)).expect("a state is JSON");
        self.store.write(&value).expect("the disk takes it");
        self.disk.acknowledge(self.count);
    }

    /// As `fetch::Staging` does, with bytes out of the air.
    fn stage(&self, slot: SlotId, bundle: Digest) -> StageOutcome {
        let staged = || {
            let prepared = self.slots.prepare(&model(), slot, bundle)?;
            for (name, bytes) in files(number(bundle)) {
                let (part, target) =
                    (prepared.partial.join(Digest::of(&bytes).hex()), prepared.folder.join(name));
                if self.disk.read(&target, FILE_BYTES_MAX).ok().flatten().as_ref() != Some(&bytes) {
                    self.disk.write(&part, &bytes, Access::Default).expect("the disk takes it");
                    self.disk.sync_file(&part).expect("the disk takes it");
                    settle(&self.disk, &part, &target)?;
                }
            }
            self.slots.remove_partial(&prepared)?;
            self.slots.begin_trial(&model(), slot, bundle)
        };
        staged().expect("the disk takes it");
        self.slots.end_trial(&model(), slot);
        match is_whole(&self.disk, &self.slots.folder(&model(), slot), number(bundle)) {
            true => StageOutcome::Ready,
            false => StageOutcome::Damaged("it is not what was written".to_owned()),
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
        agent.persist();
        agent
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn sound(&self) -> Result<(), String> {
        // The way back is kept at least until the new bundle is committed.
        self.verified(self.state.active).and_then(|()| self.verified(self.state.previous))
    }

    fn serves(&self) -> Option<u8> {
        self.state.active.map(|active| number(active.bundle))
    }

    fn follow(&mut self, bundle: u8) {
        for _ in 0..8 {
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

    fn serves(&self) -> Option<u8> {
        self.bundle
    }

    fn follow(&mut self, bundle: u8) {
        let taken = "the disk takes it";
        for (name, bytes) in files(bundle) {
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
        self.disk.acknowledge(self.count);
    }
}
