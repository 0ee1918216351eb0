//! How often a selection is wrong, and how many labels it takes to be right:
//! `selection [trials=2000] [labels=5000] [every=10] [seed=1] [alpha=0.05] [margin=0.02]`.
//!
//! Models answer the same simulated requests. Each is wrong in a share of them that is its own; on 6 in 10 requests all of
//! them are right or wrong by how hard the request is, on the others each by itself. The selection is looked at after every
//! so many labels and the first verdict counts.

use edgeward_monitor::{PairedLosses, SelectionPolicy, Verdict, decide};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Share of the requests on which the same thing is hard for all models.
const ALIKE: f64 = 0.6;

struct Plan {
    trials: u64,
    labels: u64,
    every: u64,
    seed: u64,
    policy: SelectionPolicy,
}

/// What came of many trials of one kind.
struct Tally {
    /// By candidate.
    winners: Vec<u64>,
    none_better: u64,
    /// Labels until each verdict.
    delays: Vec<u64>,
}

fn uniform(random: &mut ChaCha8Rng) -> f64 {
    f64::from(random.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

impl Plan {
    fn of_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let given = |key: &str| arguments.iter().find_map(|text| text.strip_prefix(key)?.strip_prefix('='));
        let number = |key: &str, or: f64| given(key).and_then(|text| text.parse().ok()).unwrap_or(or);
        let policy = SelectionPolicy { alpha: number("alpha", 0.05), margin: number("margin", 0.02) };
        Self {
            trials: number("trials", 2_000.0) as u64,
            labels: number("labels", 5_000.0) as u64,
            every: number("every", 10.0).max(1.0) as u64,
            seed: number("seed", 1.0) as u64,
            policy,
        }
    }

    /// The first verdict on models with these shares of wrong answers, the champion first, and when it came.
    fn trial(&self, wrong: &[f64], seed: u64) -> Option<(Verdict, u64)> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed.wrapping_mul(1 << 32) ^ seed);
        let mut losses = PairedLosses::new(wrong.len() - 1)?;
        for label in 1..=self.labels {
            let shared = (uniform(&mut random) < ALIKE).then(|| uniform(&mut random));
            let lost: Vec<f64> = wrong
                .iter()
                .map(|share| f64::from(u8::from(shared.unwrap_or_else(|| uniform(&mut random)) < *share)))
                .collect();
            losses.observe(lost[0], &lost[1..], 0.5);
            if label % self.every == 0 {
                match decide(&losses, self.policy) {
                    Verdict::Undecided { .. } => {}
                    verdict => return Some((verdict, label)),
                }
            }
        }
        None
    }

    fn tally(&self, wrong: &[f64]) -> Tally {
        let mut tally = Tally { winners: vec![0; wrong.len() - 1], none_better: 0, delays: Vec::new() };
        for seed in 0..self.trials {
            let Some((verdict, delay)) = self.trial(wrong, seed) else { continue };
            tally.delays.push(delay);
            match verdict {
                Verdict::Winner { candidate } => tally.winners[candidate] += 1,
                _ => tally.none_better += 1,
            }
        }
        tally.delays.sort_unstable();
        tally
    }

    fn report(&self, what: &str, wrong: &[f64]) {
        let Tally { winners, none_better, delays } = self.tally(wrong);
        let share = |count: u64| count as f64 / self.trials as f64;
        let at = |part: f64| delays.get((part * delays.len() as f64) as usize).copied();
        let shown = |delay: Option<u64>| delay.map_or("-".to_owned(), |delay| delay.to_string());
        let wins: Vec<String> = winners.iter().map(|count| format!("{:.4}", share(*count))).collect();
        println!(
            "{what:<34} wrong {wrong:?}: winner {}, none better {:.4}, open {:.4}; labels to a verdict: median {}, 90% {}",
            wins.join(" "),
            share(none_better),
            share(self.trials - delays.len() as u64),
            shown(at(0.5)),
            shown(at(0.9)),
        );
    }
}

fn main() {
    let plan = Plan::of_arguments();
    let Plan { trials, labels, every, policy, .. } = &plan;
    println!(
        "{trials} trials of up to {labels} labels, looked at every {every}; alpha {}, margin {}",
        policy.alpha, policy.margin
    );
    println!("-- nobody is better: every winner is a false promotion");
    plan.report("one equal candidate", &[0.1, 0.1]);
    plan.report("three equal candidates", &[0.1, 0.1, 0.1, 0.1]);
    plan.report("four equal candidates", &[0.1, 0.1, 0.1, 0.1, 0.1]);
    plan.report("three, all often wrong", &[0.4, 0.4, 0.4, 0.4]);
    plan.report("one equal, two worse", &[0.1, 0.1, 0.15, 0.3]);
    println!("-- the first candidate is the best");
    plan.report("one, better by 0.02", &[0.1, 0.08]);
    plan.report("one, better by 0.05", &[0.1, 0.05]);
    plan.report("one, better by 0.2", &[0.3, 0.1]);
    plan.report("three, one better by 0.05", &[0.1, 0.05, 0.1, 0.1]);
    plan.report("three, one better by 0.1", &[0.2, 0.1, 0.2, 0.2]);
    plan.report("three, all better, one the best", &[0.25, 0.05, 0.1, 0.15]);
    plan.report("three, two equally good", &[0.2, 0.1, 0.1, 0.2]);
}
