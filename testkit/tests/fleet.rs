//! A thousand simulated devices run the real brain through rollouts, crashes and lost messages.
//!
//! `EDGEWARD_SIM_SEED` repeats a run; the seed of every failure is in its message.

use std::time::Duration;

use edgeward_core::Digest;
use edgeward_core::rollout::{Decision, RolloutPolicy, WaveSize};
use edgeward_testkit::sim::{Weather, World};

const HOUR: Duration = Duration::from_secs(3600);

fn seed() -> u64 {
    let seed =
        std::env::var("EDGEWARD_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_123);
    println!("seed {seed} (repeat with EDGEWARD_SIM_SEED={seed})");
    seed
}

fn policy() -> RolloutPolicy {
    RolloutPolicy {
        waves: vec![WaveSize::Percent(1), WaveSize::Percent(10), WaveSize::Percent(100)],
        bake_ms: Duration::from_secs(120),
        probation_ms: Duration::from_secs(60),
        ..RolloutPolicy::default()
    }
}

fn bundle(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn rolled_out(world: &World) -> bool {
    !world.control.is_rolling_out()
}

/// Rolls `name` out to everybody in fair weather.
fn establish(world: &mut World, name: &str) {
    world.roll_out(name.as_bytes());
    world.run(HOUR, rolled_out).expect("no rule is broken in fair weather");
    assert_eq!(world.control.finished.last().map(|end| &end.decision), Some(&Decision::Complete));
}

fn everybody_serves(world: &World, name: &str) -> bool {
    world.serving().all(|serving| serving == Some(bundle(name)))
}

#[test]
fn a_thousand_devices_converge_through_crashes_and_lost_messages() {
    let mut world = World::new(seed(), 1000, policy(), Weather::fair());
    establish(&mut world, "first");
    world.set_weather(Weather::foul());
    world.roll_out("second".as_bytes());
    world.run(12 * HOUR, rolled_out).unwrap();
    let end = world.control.finished.last().unwrap();
    assert_eq!((end.bundle, &end.decision), (bundle("second"), &Decision::Complete), "{:?}", end.reasons);
    assert_eq!(end.waves, [10, 100, 1000]);
    world.set_weather(Weather::fair());
    world.run(HOUR, |world| everybody_serves(world, "second")).unwrap();
    assert!(everybody_serves(&world, "second"));
    assert!(world.crashes() > 1000, "the weather was meant to be foul: {} crashes", world.crashes());
}

#[test]
fn a_bad_bundle_is_stopped_in_the_first_wave_and_never_serves() {
    let mut world = World::new(seed(), 1000, policy(), Weather::fair());
    establish(&mut world, "good");
    world.set_weather(Weather { crash: 0.005, ..Weather::foul() });
    world.mark_bad(bundle("bad"));
    world.roll_out("bad".as_bytes());
    world.run(12 * HOUR, rolled_out).unwrap();
    let end = world.control.finished.last().unwrap();
    assert_eq!((end.bundle, &end.decision), (bundle("bad"), &Decision::RollBack));
    assert!(world.staged(bundle("bad")) <= 10, "only the first wave may have touched it");
    world.set_weather(Weather::fair());
    world.run(HOUR, |world| everybody_serves(world, "good")).unwrap();
    assert!(everybody_serves(&world, "good"));
}

#[test]
fn many_small_worlds_in_foul_weather_break_no_rule() {
    let first = seed();
    for seed in first..first + 40 {
        let mut world = World::new(seed, 12, policy(), Weather::foul());
        for name in ["one", "two", "three"] {
            world.mark_bad(bundle("two"));
            world.roll_out(name.as_bytes());
            world.run(12 * HOUR, rolled_out).unwrap();
        }
        let ends: Vec<&Decision> = world.control.finished.iter().map(|end| &end.decision).collect();
        assert_eq!(ends, [&Decision::Complete, &Decision::RollBack, &Decision::Complete], "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        let mut world = World::new(seed, 30, policy(), Weather::foul());
        world.roll_out("one".as_bytes());
        world.run(HOUR, |_| false).unwrap();
        (world.crashes(), world.serving().collect::<Vec<_>>(), world.control.finished.clone())
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}
