//! Power failures at every operation of updates; the long run is `cargo run --release --example power_loss`.

use edgeward_testkit::power::{Manner, cut};

#[test]
fn whenever_power_fails_a_verified_bundle_is_there_and_the_device_goes_on() {
    let verdict = cut(Manner::Careful, 1, 4, 20_000);
    assert_eq!((verdict.cuts, verdict.violations), (20_000, 0), "{:?}", verdict.examples);
    assert!(verdict.converged >= 1000, "{verdict:?}");
}

#[test]
fn a_disk_that_others_fill_costs_no_promise_and_the_device_goes_on_when_there_is_room() {
    let verdict = cut(Manner::CarefulOnFullDisk, 1, 4, 20_000);
    assert_eq!((verdict.cuts, verdict.violations), (20_000, 0), "{:?}", verdict.examples);
    assert!(verdict.converged >= 1000, "{verdict:?}");
}

#[test]
fn a_device_that_updates_in_place_is_caught() {
    let verdict = cut(Manner::InPlace, 1, 4, 2_000);
    assert!(verdict.violations > 100, "{verdict:?}");
}

#[test]
fn every_kind_of_sync_is_needed() {
    for manner in [Manner::ContentsUnsynced, Manner::NamesUnsynced] {
        let verdict = cut(manner, 1, 4, 2_000);
        assert!(verdict.violations > 20, "{manner:?}: {verdict:?}");
    }
}
