//! Hostile repositories: one folder each, made here, refused with a named reason while what ran before goes on.
//!
//! Each case bends an honest repository, with stolen keys where it says so. A device that trusted the honest one meets it,
//! must refuse it for the reason given, must still know what it ran, and must take the honest repository again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cases;
mod manifests;
mod repo;

use std::path::{Path, PathBuf};

use edgeward_core::Timestamp;
use edgeward_trust::fleet::{FleetError, Wishes};
use edgeward_trust::tuf::Trusted;

use cases::{Case, Expect};
use repo::{DAY, NOW, Repo, bundle, digits, honest, refresh_from};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile").join(name)
}

/// A device that has taken up the honest repository.
fn device(repo: &Repo, folder: &Path, now: Timestamp) -> Trusted {
    repo.write(folder);
    let trusted = Trusted::pin(&repo.files["metadata/1.root.json"], Timestamp(0)).unwrap();
    let refreshed = refresh_from(folder, trusted, now);
    assert_eq!(stable(&refreshed.outcome), Some(bundle(0)), "{:?}", refreshed.outcome);
    refreshed.trusted
}

fn stable(outcome: &Result<Option<Wishes>, FleetError>) -> Option<edgeward_core::Digest> {
    let wishes = outcome.as_ref().ok()?.as_ref()?;
    let stable = wishes.desired.models.get(&digits())?.stable?;
    wishes.releases.contains_key(&(digits(), stable)).then_some(stable)
}

fn check(case: &Case) {
    let (name, mut repo) = (case.name, honest());
    let before = repo.clone();
    let place = folder(name);
    let trusted = device(&repo, &place, NOW);
    let now = (case.bend)(&mut repo);
    repo.write(&place);
    let refreshed = refresh_from(&place, trusted.clone(), now);
    match (&case.expect, &refreshed.outcome) {
        (Expect::Refused(reason), Err(error)) => assert_eq!(error.name(), *reason, "{name}: {error}"),
        (Expect::NotReleased, outcome @ Ok(Some(_))) => assert_eq!(stable(outcome), None, "{name}"),
        (_, outcome) => panic!("{name}: {outcome:?}"),
    }
    // What is kept reads back, and believes the honest repository as before.
    let kept = serde_json::to_vec(&refreshed.trusted).unwrap();
    let kept: Trusted = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept, refreshed.trusted, "{name}");
    if case.recovers {
        before.write(&place);
        let again = refresh_from(&place, kept, NOW + DAY);
        assert_eq!(stable(&again.outcome), Some(bundle(0)), "{name}: {:?}", again.outcome);
    }
}

#[test]
fn every_hostile_repository_is_refused_by_name() {
    let cases = cases::all();
    assert!(cases.len() >= 40, "{}", cases.len());
    let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "two cases share a folder");
    cases.iter().for_each(check);
}

#[test]
fn the_honest_next_publication_is_taken() {
    let mut repo = honest();
    let place = folder("honest");
    let trusted = device(&repo, &place, NOW);
    repo.publish(bundle(1));
    repo.write(&place);
    let refreshed = refresh_from(&place, trusted, NOW + DAY);
    assert_eq!(stable(&refreshed.outcome), Some(bundle(1)));
    assert!(!refreshed.clock_unsure);
    assert_eq!(refreshed.trusted.floor(), NOW + DAY);
}

#[test]
fn a_torn_or_mixed_copy_of_what_is_trusted_is_an_error_and_no_fresh_start() {
    let trusted = device(&honest(), &folder("torn"), NOW);
    let text = serde_json::to_string(&trusted).unwrap();
    for cut in [0, 1, text.len() / 2, text.len() - 1] {
        assert!(serde_json::from_str::<Trusted>(&text[..cut]).is_err(), "cut at {cut}");
    }
    for broken in ["{}", "null", &text.replace("trusted/1", "trusted/2")] {
        assert!(serde_json::from_str::<Trusted>(broken).is_err(), "{broken}");
    }
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["documents"]["timestamp"] = value["documents"]["snapshot"].clone();
    assert!(serde_json::from_value::<Trusted>(value).is_err());
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["documents"].as_object_mut().unwrap().remove("root");
    assert!(serde_json::from_value::<Trusted>(value).is_err());
}

#[test]
fn a_clock_that_steps_back_is_not_believed() {
    let repo = honest();
    let place = folder("clock-back");
    let trusted = device(&repo, &place, NOW + 6 * DAY);
    let refreshed = refresh_from(&place, trusted, Timestamp(0));
    assert!(refreshed.clock_unsure);
    assert_eq!(stable(&refreshed.outcome), Some(bundle(0)));
    assert_eq!(refreshed.trusted.floor(), NOW + 6 * DAY);
}

#[test]
fn a_wild_jump_forward_does_not_last() {
    let repo = honest();
    let place = folder("clock-forward");
    let trusted = device(&repo, &place, NOW);
    let refreshed = refresh_from(&place, trusted, NOW + 36_500 * DAY);
    assert_eq!(refreshed.outcome.unwrap_err().name(), "expired");
    let again = refresh_from(&place, refreshed.trusted, NOW + DAY);
    assert_eq!(stable(&again.outcome), Some(bundle(0)));
}

/// A random change of a random byte of any file leads to a refusal or to what was published, and never to a panic.
#[test]
fn no_flipped_byte_changes_what_runs() {
    let mut repo = honest();
    let place = folder("flipped");
    let trusted = device(&repo, &place, NOW);
    repo.publish(bundle(1));
    let paths: Vec<String> = repo.files.keys().cloned().collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for _ in 0..150 {
        let mut bent = repo.clone();
        let path = &paths[random(paths.len())];
        bent.edit(path, |bytes| {
            let at = random(bytes.len());
            bytes[at] ^= 1 << random(8);
        });
        bent.write(&place);
        let refreshed = refresh_from(&place, trusted.clone(), NOW);
        if refreshed.outcome.is_ok() {
            assert_eq!(stable(&refreshed.outcome), Some(bundle(1)), "{path}");
        }
    }
}
