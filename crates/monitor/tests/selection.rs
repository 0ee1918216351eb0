//! The stated error rate of a selection, on simulated trials that are looked at over and over.

use edgeward_monitor::{PairedLosses, SelectionPolicy, Verdict, decide};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

fn uniform(random: &mut ChaCha8Rng) -> f64 {
    f64::from(random.next_u32()) / f64::from(u32::MAX)
}

/// The first verdict on models with these shares of wrong answers, half of the requests being hard for all of them alike.
fn first_verdict(wrong: &[f64], labels: u64, seed: u64) -> Verdict {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut losses = PairedLosses::new(wrong.len() - 1).expect("one to four candidates");
    let mut last = Verdict::Undecided { more: None };
    for label in 1..=labels {
        let shared = (uniform(&mut random) < 0.5).then(|| uniform(&mut random));
        let mut lost =
            |share: &f64| f64::from(u8::from(shared.unwrap_or_else(|| uniform(&mut random)) < *share));
        let lost: Vec<f64> = wrong.iter().map(&mut lost).collect();
        losses.observe(lost[0], &lost[1..], 0.5);
        if label % 5 == 0 {
            last = decide(&losses, SelectionPolicy::default());
            if !matches!(last, Verdict::Undecided { .. }) {
                break;
            }
        }
    }
    last
}

#[test]
fn equal_candidates_are_promoted_as_rarely_as_stated() {
    let promoted =
        (0..2_000).filter(|seed| matches!(first_verdict(&[0.2; 4], 400, *seed), Verdict::Winner { .. }));
    let promoted = promoted.count();
    assert!(promoted <= 100, "{promoted} of 2000 at 5%");
    // The bound is no empty one: with so many looks a test for one look at the end would promote far more.
    assert!(promoted > 0, "no trial came near the bound");
}

#[test]
fn a_better_candidate_is_found_and_it_is_the_better_one() {
    let verdicts: Vec<Verdict> =
        (0..60).map(|seed| first_verdict(&[0.3, 0.3, 0.1, 0.3], 3_000, seed)).collect();
    let right = verdicts.iter().filter(|verdict| **verdict == Verdict::Winner { candidate: 1 }).count();
    assert!(right >= 57, "{right} of 60: {verdicts:?}");
}
