//! The world that moves the devices and the control plane through simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edgeward_agent::brain::{Heard as Said, Input};
use edgeward_core::rollout::RolloutPolicy;
use edgeward_core::slot::{SlotId, StageOutcome};
use edgeward_core::{Bucket, DeviceId, Digest, Timestamp};
use edgeward_trust::fleet::rehearsal::{Files, follow};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::agenda::Agenda;
use super::control::{Control, Heard};
use super::device::{Device, Outcome};

const START: Timestamp = Timestamp(1_700_000_000_000);
const POLL: Duration = Duration::from_secs(10);
const RECONCILE: Duration = Duration::from_secs(5);
/// Violations kept; the first ones tell the most.
const VIOLATIONS_MAX: usize = 20;

/// How unkind the world is.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Chance that a message is lost, each way.
    pub loss: f64,
    /// Longest one-way delay of a message.
    pub delay_max: Duration,
    /// Chance of a crash at each output of a brain and at each poll.
    pub crash: f64,
    /// Longest time a crashed device is away.
    pub away_max: Duration,
    /// Longest time staging takes.
    pub staging_max: Duration,
    /// Chance that staging fails for want of a network.
    pub staging_loss: f64,
}

impl Weather {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn fair() -> Self {
        let second = Duration::from_secs(1);
        Self {
            loss: 0.0,
            delay_max: second,
            crash: 0.0,
            away_max: second,
            staging_max: second,
            staging_loss: 0.0,
        }
    }

    /// A fifth of the messages is lost, and devices crash all the time.
    #[must_use]
    pub const fn foul() -> Self {
        Self {
            loss: 0.2,
            delay_max: Duration::from_secs(20),
            crash: 0.02,
            away_max: Duration::from_secs(120),
            staging_max: Duration::from_secs(60),
            staging_loss: 0.2,
        }
    }
}

/// The simulation.
pub struct World {
    seed: u64,
    rng: ChaCha8Rng,
    weather: Weather,
    agenda: Agenda<Happening>,
    devices: Vec<Device>,
    /// The control plane.
    pub control: Control,
    bad: BTreeSet<Digest>,
    permitted: BTreeMap<DeviceId, BTreeSet<Digest>>,
    /// Devices that ever began to stage each bundle.
    staged: BTreeMap<Digest, BTreeSet<DeviceId>>,
    violations: Vec<String>,
    crashes: u64,
}

enum Happening {
    Reconcile,
    Poll {
        device: usize,
        incarnation: u32,
    },
    /// The files of the repository as they were when the device asked.
    Files {
        device: usize,
        incarnation: u32,
        tag: u64,
        files: Files,
    },
    Report {
        device: usize,
        heard: Heard,
    },
    Staged {
        device: usize,
        incarnation: u32,
        slot: SlotId,
        bundle: Digest,
        outcome: StageOutcome,
    },
    Restart {
        device: usize,
    },
}

impl World {
    /// A fleet of `devices`, all started, under `policy`.
    #[must_use]
    pub fn new(seed: u64, devices: usize, policy: RolloutPolicy, weather: Weather) -> Self {
        let mut control = Control::new(policy, START);
        let pinned = control.pinned();
        let ids = (0..devices).map(|i| DeviceId::new(format!("device-{i}")).expect("a plain name"));
        let devices: Vec<Device> = ids.map(|id| Device::new(id, pinned.clone())).collect();
        for device in &devices {
            control.enrol(device.id.clone(), START);
        }
        let mut world = Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            weather,
            agenda: Agenda::new(START),
            devices,
            control,
            bad: BTreeSet::new(),
            permitted: BTreeMap::new(),
            staged: BTreeMap::new(),
            violations: Vec::new(),
            crashes: 0,
        };
        (0..world.devices.len()).for_each(|device| world.start(device));
        world.agenda.after(RECONCILE, Happening::Reconcile);
        world
    }

    /// Bundles whose golden test fails on every device.
    pub fn mark_bad(&mut self, bundle: Digest) {
        self.bad.insert(bundle);
    }

    /// Changes the weather from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Starts a rollout of the bundle with this manifest.
    pub fn roll_out(&mut self, manifest: &[u8]) {
        self.control.start(manifest, self.agenda.now());
        self.note_permissions();
    }

    /// Lets `span` pass, or less if `done` says so.
    ///
    /// # Errors
    /// The violations found so far, each with the seed.
    pub fn run(&mut self, span: Duration, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let end = self.agenda.now() + span;
        while !done(self) {
            let Some(happening) = self.agenda.next(end) else { break };
            self.happen(happening);
            if !self.violations.is_empty() {
                return Err(self.violations.join("\n"));
            }
        }
        Ok(())
    }

    /// What each device serves now; none for one that is away.
    pub fn serving(&self) -> impl Iterator<Item = Option<Digest>> + '_ {
        self.devices.iter().map(|device| device.up.as_ref().and_then(|up| up.serving))
    }

    /// How many devices ever began to stage `bundle`.
    #[must_use]
    pub fn staged(&self, bundle: Digest) -> usize {
        self.staged.get(&bundle).map_or(0, BTreeSet::len)
    }

    /// How many crashes there were.
    #[must_use]
    pub const fn crashes(&self) -> u64 {
        self.crashes
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Reconcile => {
                self.control.reconcile(self.agenda.now());
                self.note_permissions();
                self.agenda.after(RECONCILE, Happening::Reconcile);
            }
            Happening::Poll { device, incarnation } if self.is_current(device, incarnation) => {
                self.poll(device);
            }
            Happening::Files { device, incarnation, tag, files } if self.is_current(device, incarnation) => {
                self.deliver(device, tag, &files);
            }
            Happening::Staged { device, incarnation, slot, bundle, outcome }
                if self.is_current(device, incarnation) =>
            {
                if outcome == StageOutcome::Ready {
                    self.devices[device].fill(slot, bundle);
                }
                let model = self.control.model().clone();
                self.feed(device, Input::Staged { model, bundle, outcome });
            }
            Happening::Report { device, heard } => {
                let id = self.devices[device].id.clone();
                self.control.hear(&id, heard);
            }
            Happening::Restart { device } => self.start(device),
            Happening::Poll { .. } | Happening::Files { .. } | Happening::Staged { .. } => {}
        }
    }

    fn is_current(&self, device: usize, incarnation: u32) -> bool {
        let device = &self.devices[device];
        device.up.is_some() && device.incarnation == incarnation
    }

    fn start(&mut self, device: usize) {
        let now = self.agenda.now();
        let (rng, crash) = (&mut self.rng, self.weather.crash);
        let outcome = self.devices[device].start(now, &mut || rng.random_bool(crash));
        let incarnation = self.devices[device].incarnation;
        self.take(device, outcome);
        let wait = self.up_to(POLL);
        self.agenda.after(wait, Happening::Poll { device, incarnation });
    }

    /// One round of the device's loop: ask, report, and let time pass.
    fn poll(&mut self, device: usize) {
        if self.rng.random_bool(self.weather.crash) {
            return self.crash(device);
        }
        let incarnation = self.devices[device].incarnation;
        self.ask(device, incarnation);
        self.report(device);
        self.feed(device, Input::Tick);
        let wait = POLL / 2 + self.up_to(POLL);
        self.agenda.after(wait, Happening::Poll { device, incarnation });
    }

    fn ask(&mut self, device: usize, incarnation: u32) {
        let known = self.devices[device].up.as_ref().and_then(|up| up.tag);
        let Some((tag, files)) = self.control.published().filter(|(tag, _)| Some(*tag) != known) else {
            return;
        };
        let files = files.clone();
        self.send(Happening::Files { device, incarnation, tag, files });
    }

    /// Hands over files; only those that were overtaken by newer ones may be refused.
    fn deliver(&mut self, device: usize, tag: u64, files: &Files) {
        let now = self.agenda.now();
        let Some(up) = &mut self.devices[device].up else { return };
        let overtaken = up.brain.generation().is_some_and(|newest| tag < newest);
        up.tag = up.tag.max(Some(tag));
        let refreshed = follow(files, up.brain.trusted().clone(), now);
        let heard = match refreshed.outcome {
            Ok(Some(wishes)) => Said::Wishes(Box::new(wishes)),
            Ok(None) => Said::Nothing,
            Err(error) => Said::Refused(error),
        };
        let rejected = self.feed(device, Input::Refreshed { trusted: Box::new(refreshed.trusted), heard });
        if let Some(reason) = rejected.filter(|_| !overtaken) {
            self.violate(&format!("device-{device}: an honest repository was refused: {reason}"));
        }
    }

    fn report(&mut self, device: usize) {
        let Some(up) = &self.devices[device].up else { return };
        let memory = up.brain.models().next().map(|(_, memory)| memory.clone()).unwrap_or_default();
        let heard = Heard {
            at: self.agenda.now(),
            active: up.serving,
            active_since: memory.active_since_ms,
            refused: memory.slots.refused,
        };
        self.send(Happening::Report { device, heard });
    }

    /// Puts a message on the network: late, or never.
    fn send(&mut self, message: Happening) {
        let delay = self.up_to(self.weather.delay_max);
        if !self.rng.random_bool(self.weather.loss) {
            self.agenda.after(delay, message);
        }
    }

    /// Gives a device an input; returns why it refused a repository, if it did.
    fn feed(&mut self, device: usize, input: Input) -> Option<String> {
        let now = self.agenda.now();
        let (rng, crash) = (&mut self.rng, self.weather.crash);
        let mut outcome = self.devices[device].feed(input, now, &mut || rng.random_bool(crash));
        let rejected = outcome.rejected.take();
        self.take(device, outcome);
        rejected
    }

    /// Carries on with what a device did: its stagings take time, its activations are judged.
    fn take(&mut self, device: usize, outcome: Outcome) {
        let id = self.devices[device].id.clone();
        for violation in outcome.violations {
            self.violate(&format!("{id}: {violation}"));
        }
        for bundle in outcome.activated {
            self.judge(&id, bundle);
        }
        for staging in outcome.stagings {
            self.staged.entry(staging.release.bundle).or_default().insert(id.clone());
            self.stage(device, staging.slot, staging.release.bundle);
        }
        if outcome.crashed {
            self.crash(device);
        }
    }

    fn stage(&mut self, device: usize, slot: SlotId, bundle: Digest) {
        let incarnation = self.devices[device].incarnation;
        let outcome = if self.rng.random_bool(self.weather.staging_loss) {
            StageOutcome::Unreachable("connection lost".to_owned())
        } else if self.bad.contains(&bundle) {
            StageOutcome::Refused("golden test: answers differ".to_owned())
        } else {
            StageOutcome::Ready
        };
        let wait = self.up_to(self.weather.staging_max);
        self.agenda.after(wait, Happening::Staged { device, incarnation, slot, bundle, outcome });
    }

    fn crash(&mut self, device: usize) {
        self.crashes += 1;
        self.devices[device].crash();
        let wait = self.up_to(self.weather.away_max);
        self.agenda.after(wait, Happening::Restart { device });
    }

    /// A device may run what some publication assigned to it, and nothing that fails its golden test.
    fn judge(&mut self, device: &DeviceId, bundle: Digest) {
        if self.bad.contains(&bundle) {
            self.violate(&format!("{device} serves a bundle whose golden test fails"));
        }
        if !self.permitted.get(device).is_some_and(|permitted| permitted.contains(&bundle)) {
            self.violate(&format!("{device} serves {bundle:?}, which no publication assigned to it"));
        }
    }

    /// Remembers what the newest publication assigns to whom.
    fn note_permissions(&mut self) {
        let Some((rollout, bundle, Some(limit))) = self.control.wave() else { return };
        let reached = self.devices.iter().filter(|device| Bucket::of(rollout, &device.id) <= limit);
        for device in reached {
            self.permitted.entry(device.id.clone()).or_default().insert(bundle);
        }
    }

    fn violate(&mut self, what: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            let at = self.agenda.now().since(START).as_secs();
            self.violations.push(format!("seed {}, {at} s in: {what}", self.seed));
        }
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.rng.random_range(0..=longest_ms))
    }
}
