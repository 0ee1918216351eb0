//! Power failures on a simulated disk, at every operation of a device's updates.
//!
//! The agent's own code runs on it: the state in two copies, the slots, the fetching of files with deltas and downloads that
//! break off, the spool, `core::slot`. A bundle counts as verified when each of its files has its bytes. On a disk that others
//! fill, the same code meets writes that are refused half-way, and starts on a full disk.
//! Deliberately missing: the network and engines, which the agent's own tests drive.

mod bundles;
pub mod device;
pub mod disk;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use device::{Agent, Careful, Naive};
use disk::{Lie, Said, SimDisk};

/// Updates in one life of a device.
const UPDATES: usize = 6;
/// Most bytes that others leave on a disk that they fill: some updates fit, some do not.
const ROOM_MAX: usize = 6_000;
/// Of so many cuts, one device is driven on until it runs what is wanted.
const CONVERGES_EVERY: u64 = 16;

/// What came of many power failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Power failures.
    pub cuts: u64,
    /// Failures after which a device was driven on to the wanted bundle.
    pub converged: u64,
    /// Failures after which something was not as promised.
    pub violations: u64,
    /// The first few of them.
    pub examples: Vec<String>,
}

/// How a device updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As the agent does.
    Careful,
    /// As the agent does, on a disk that others fill from time to time.
    CarefulOnFullDisk,
    /// As the agent does, on a disk that synchronises no contents.
    ContentsUnsynced,
    /// As the agent does, on a disk that synchronises no names.
    NamesUnsynced,
    /// Files and state overwritten where they are.
    InPlace,
}

/// Lives of devices, each cut off `crashes` times at every operation, until there were `cuts`.
#[must_use]
pub fn cut(manner: Manner, seed: u64, crashes: u64, cuts: u64) -> Verdict {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut verdict = Verdict::default();
    while verdict.cuts < cuts {
        let (lie, fills) = match manner {
            Manner::Careful | Manner::InPlace => (Lie::Honest, false),
            Manner::CarefulOnFullDisk => (Lie::Honest, true),
            Manner::ContentsUnsynced => (Lie::Files, false),
            Manner::NamesUnsynced => (Lie::Folders, false),
        };
        let world = World { lie, fills, crashes, cuts };
        match manner {
            Manner::InPlace => life::<Naive>(&world, &mut rng, &mut verdict),
            _ => life::<Careful>(&world, &mut rng, &mut verdict),
        }
    }
    verdict
}

/// What a device lives in.
struct World {
    lie: Lie,
    /// Whether others fill the disk.
    fills: bool,
    crashes: u64,
    cuts: u64,
}

fn life<A: Agent>(world: &World, rng: &mut ChaCha8Rng, verdict: &mut Verdict) {
    let disk = SimDisk::recording(world.lie);
    let mut wanted = 1;
    {
        let mut agent = A::boot(disk.clone()).expect("a fresh disk");
        for _ in 0..UPDATES {
            // A step back to the bundle before is an update like any other.
            wanted = if rng.random_ratio(1, 5) { wanted.max(2) - 1 } else { wanted + 1 };
            if world.fills {
                disk.leave_room(Some(rng.random_range(0..ROOM_MAX)));
                agent.follow(wanted);
                disk.leave_room(None);
            }
            agent.follow(wanted);
        }
    }
    for moment in disk.take_moments() {
        for _ in 0..world.crashes {
            if verdict.cuts == world.cuts {
                return;
            }
            verdict.cuts += 1;
            let after = moment.crash(rng);
            // A device that has not enrolled yet needs room to do so.
            if world.fills && moment.said.state > 0 && rng.random_ratio(1, 2) {
                after.leave_room(Some(0));
            }
            if let Err(why) = look::<A>(&after, moment.said, wanted, verdict) {
                verdict.violations += 1;
                if verdict.examples.len() < 5 {
                    verdict.examples.push(why);
                }
            }
        }
    }
}

/// What a device finds after the power came back.
fn look<A: Agent>(disk: &SimDisk, said: Said, wanted: u8, verdict: &mut Verdict) -> Result<(), String> {
    let mut agent = match A::boot(disk.clone()) {
        Ok(agent) => agent,
        Err(why) if said.state > 0 => return Err(why),
        Err(_) => A::begin(disk.clone()),
    };
    if agent.count() < said.state {
        return Err(format!("state {} was acknowledged, {} is back", said.state, agent.count()));
    }
    agent.sound()?;
    agent.has_records(said)?;
    disk.leave_room(None);
    if verdict.cuts.is_multiple_of(CONVERGES_EVERY) {
        agent.follow(wanted);
        agent.sound()?;
        if agent.serves() != Some(wanted) {
            return Err(format!("bundle {wanted} is wanted, {:?} serves", agent.serves()));
        }
        verdict.converged += 1;
    }
    Ok(())
}
