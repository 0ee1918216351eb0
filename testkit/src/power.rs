//! Power failures on a simulated disk, at every operation of a device's updates.
//!
//! The agent's own code runs on it: the state in two copies, the slots, the settling of files, `core::slot`. Only the
//! download itself is made up (a write and a sync), and a bundle counts as verified when each of its files has its bytes.
//! Deliberately missing: the network and engines, which the agent's own tests drive.

pub mod device;
pub mod disk;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use device::{Agent, Careful, Naive};
use disk::{Lie, SimDisk};

/// Updates in one life of a device.
const UPDATES: usize = 6;
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
        match manner {
            Manner::Careful => life::<Careful>(Lie::Honest, &mut rng, crashes, cuts, &mut verdict),
            Manner::ContentsUnsynced => life::<Careful>(Lie::Files, &mut rng, crashes, cuts, &mut verdict),
            Manner::NamesUnsynced => life::<Careful>(Lie::Folders, &mut rng, crashes, cuts, &mut verdict),
            Manner::InPlace => life::<Naive>(Lie::Honest, &mut rng, crashes, cuts, &mut verdict),
        }
    }
    verdict
}

fn life<A: Agent>(lie: Lie, rng: &mut ChaCha8Rng, crashes: u64, cuts: u64, verdict: &mut Verdict) {
    let disk = SimDisk::recording(lie);
    let mut wanted = 1;
    {
        let mut agent = A::boot(disk.clone()).expect("a fresh disk");
        for _ in 0..UPDATES {
            // A step back to the bundle before is an update like any other.
            wanted = if rng.random_ratio(1, 5) { wanted.max(2) - 1 } else { wanted + 1 };
            agent.follow(wanted);
        }
    }
    for moment in disk.take_moments() {
        for _ in 0..crashes {
            if verdict.cuts == cuts {
                return;
            }
            verdict.cuts += 1;
            let after = moment.crash(rng);
            if let Err(why) = look::<A>(&after, moment.acknowledged, wanted, verdict) {
                verdict.violations += 1;
                if verdict.examples.len() < 5 {
                    verdict.examples.push(why);
                }
            }
        }
    }
}

/// What a device finds after the power came back.
fn look<A: Agent>(
    disk: &SimDisk,
    acknowledged: u64,
    wanted: u8,
    verdict: &mut Verdict,
) -> Result<(), String> {
    let mut agent = match A::boot(disk.clone()) {
        Ok(agent) => agent,
        Err(why) if acknowledged > 0 => return Err(why),
        Err(_) => A::begin(disk.clone()),
    };
    if agent.count() < acknowledged {
        return Err(format!("state {} was acknowledged, {} is back", acknowledged, agent.count()));
    }
    agent.sound()?;
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
