//! A shift common to many devices is seen sooner than by any of them, an odd device is told from another world, and
//! without a change nothing is said more often than was promised.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use edgeward_monitor::{FleetConfig, FleetWatch, MAX_FLEET_DEVICES, Profile, Reference, Sample, Seasons};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROWS: usize = 2_000;
const WINDOW: usize = 50;

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}

fn sample(row: &[f32; 2]) -> Sample<'_> {
    Sample { features: row, predicted: None, confidence: None }
}

fn names() -> [String; 2] {
    ["steady", "moving"].map(str::to_owned)
}

fn reference(rng: &mut ChaCha8Rng) -> Reference {
    let rows: Vec<[f32; 2]> = (0..ROWS).map(|_| [normal(rng), normal(rng)]).collect();
    Reference::fit(&names(), &[], rows.iter().map(sample)).expect("rows")
}

fn window(rng: &mut ChaCha8Rng, reference: &Reference, shift: f32) -> Profile {
    let mut profile = Profile::new(reference);
    for _ in 0..WINDOW {
        let row = [normal(rng), normal(rng) + shift];
        profile.observe(reference, &sample(&row)).expect("its own reference");
    }
    profile
}

/// What is said first within `windows` of each device, and when: the world, or the odd ones.
fn verdict(seed: u64, shifts: &[f32], windows: usize) -> Option<(usize, Result<String, Vec<usize>>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let reference = reference(&mut rng);
    let mut watch = FleetWatch::new(&reference, FleetConfig::default());
    for round in 0..windows {
        for (device, shift) in shifts.iter().enumerate() {
            watch.observe(&device, &window(&mut rng, &reference, *shift)).expect("its own reference");
        }
        let judgement = watch.judge();
        if let Some(world) = judgement.world {
            return Some((round, Ok(format!("{}: {}", world.stream, world.change))));
        }
        if !judgement.odd.is_empty() {
            return Some((round, Err(judgement.odd.into_iter().map(|(device, _)| device).collect())));
        }
    }
    None
}

#[test]
fn without_a_change_nothing_is_said() {
    let said = (0..40).filter(|seed| verdict(*seed, &[0.0; 12], 30).is_some()).count();
    assert!(said <= 3, "{said} of 40");
}

#[test]
fn a_shift_of_many_is_the_worlds_and_is_seen_sooner() {
    let small = 0.25;
    let mut sooner = 0;
    for seed in 0..8 {
        let (together, said) = verdict(seed, &[small; 16], 200).expect("sixteen devices show it");
        assert_eq!(said.as_deref(), Ok("moving: higher values"), "seed {seed}");
        let alone = verdict(seed, &[small], 200).map_or(200, |(round, _)| round);
        sooner += usize::from(together * 2 < alone);
    }
    assert!(sooner >= 7, "{sooner} of 8 at least twice as soon");
}

#[test]
fn one_device_or_two_are_odd_and_the_world_stands() {
    for (seed, odd) in [(1, vec![5]), (2, vec![0]), (3, vec![3, 8]), (4, vec![2, 7])] {
        let mut shifts = [0.0; 20];
        odd.iter().for_each(|device| shifts[*device] = 1.0);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let reference = reference(&mut rng);
        let mut watch = FleetWatch::new(&reference, FleetConfig::default());
        let mut named = Vec::new();
        for _ in 0..40 {
            for (device, shift) in shifts.iter().enumerate() {
                watch.observe(&device, &window(&mut rng, &reference, *shift)).unwrap();
            }
            let judgement = watch.judge();
            assert_eq!(judgement.world, None, "seed {seed}");
            assert!(judgement.leading.is_some() && judgement.devices == 20);
            named = judgement.odd.into_iter().map(|(device, _)| device).collect();
        }
        named.sort_unstable();
        assert_eq!(named, odd, "seed {seed}");
    }
}

/// When a change is said, when it is over, and when it is said once more: the rounds, of devices of which `odd` move in the
/// first and the last third.
fn rounds(seed: u64, devices: usize, odd: &[usize], third: usize) -> [Vec<usize>; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let reference = reference(&mut rng);
    let mut watch = FleetWatch::new(&reference, FleetConfig::default());
    let (mut said, mut over, mut stands) = (Vec::new(), Vec::new(), false);
    for round in 0..3 * third {
        for device in 0..devices {
            let moves = odd.contains(&device) && round / third != 1;
            let window = window(&mut rng, &reference, if moves { 1.0 } else { 0.0 });
            watch.observe(&device, &window).unwrap();
        }
        let judgement = watch.judge();
        let says = if odd.len() == devices { judgement.world.is_some() } else { !judgement.odd.is_empty() };
        let ends = if odd.len() == devices { judgement.world_is_back } else { judgement.recovered == odd };
        over.extend(ends.then_some(round));
        said.extend((says && !stands).then_some(round));
        stands = (stands && !ends) || says;
    }
    [said, over]
}

#[test]
fn what_is_over_is_said_once_more_when_it_comes_again() {
    for seed in 1..6 {
        for odd in [vec![3], (0..8).collect::<Vec<_>>()] {
            let [said, over] = rounds(seed, 8, &odd, 20);
            assert!(
                matches!(said[..], [first, again] if first < 5 && (40..45).contains(&again)),
                "{seed}: {said:?}"
            );
            assert!(matches!(over[..], [only] if (20..25).contains(&only)), "{seed}: {over:?}");
        }
    }
}

#[test]
fn two_devices_are_a_world_only_together() {
    assert!(
        matches!(verdict(11, &[1.0, 1.0], 60), Some((_, Ok(_)))) || {
            // Both may be odd a moment before the world is.
            matches!(verdict(11, &[1.0, 1.0], 60), Some((_, Err(odd))) if odd.len() == 2)
        }
    );
    assert!(matches!(verdict(11, &[1.0, 0.0], 60), Some((_, Err(odd))) if odd == [0]));
    assert!(matches!(verdict(11, &[1.0], 60), Some((_, Err(odd))) if odd == [0]));
}

#[test]
fn profiles_of_another_reference_are_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mine, other) = (reference(&mut rng), reference(&mut rng));
    let mut watch = FleetWatch::new(&mine, FleetConfig::default());
    assert!(watch.observe(&"d1", &window(&mut rng, &other, 0.0)).is_err());
    watch.observe(&"d1", &Profile::new(&mine)).unwrap();
    let judgement = watch.judge();
    assert_eq!((judgement.devices, judgement.samples, judgement.leading), (0, 0, None));
}

#[test]
fn streams_that_depend_on_their_past_are_left_out() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut level = 0.0;
    let rows: Vec<[f32; 2]> = (0..ROWS)
        .map(|_| {
            level = 0.95 * level + normal(&mut rng);
            [level, level]
        })
        .collect();
    let reference =
        Reference::fit_ordered(&names(), &[], rows.iter().map(sample), &Seasons::default()).unwrap();
    let mut watch = FleetWatch::new(&reference, FleetConfig::default());
    for device in 0..4 {
        watch.observe(&device, &window(&mut rng, &reference, 3.0)).unwrap();
    }
    let judgement = watch.judge();
    assert_eq!((judgement.world, judgement.odd.len()), (None, 0));
    assert!(judgement.log10_evidence <= 0.0);
}

#[test]
fn devices_beyond_the_limit_count_in_the_pools_only() {
    let rows: Vec<[f32; 2]> = (0..200u16).map(|i| [f32::from(i), 1.0]).collect();
    let reference = Reference::fit(&names(), &[], rows.iter().map(sample)).unwrap();
    let mut profile = Profile::new(&reference);
    profile.observe(&reference, &sample(&[1e9, 1.0])).unwrap();
    let mut watch = FleetWatch::new(&reference, FleetConfig::default());
    for device in 0..MAX_FLEET_DEVICES + 8 {
        watch.observe(&device, &profile).unwrap();
    }
    let judgement = watch.judge();
    assert_eq!(judgement.devices, MAX_FLEET_DEVICES);
    assert_eq!(judgement.samples, MAX_FLEET_DEVICES as u64 + 8);
    assert!(judgement.world.is_some());
}
