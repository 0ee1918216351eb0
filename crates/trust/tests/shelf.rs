//! A repository kept as files: what is written is read back, what follows is told from what does not, and what is due is
//! signed anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use edgeward_core::desired::{Assignment, DESIRED_SCHEMA};
use edgeward_core::{Desired, Digest, ModelName, Timestamp};
use edgeward_trust::fleet::{
    Change, Draft, Drafts, File, FleetError, FleetKeys, Lives, LoadError, OnlineSigners, PublishError,
    Refreshed, Shelf, add_release, refresh, renew_releases,
};
use edgeward_trust::tuf::repository::{self, Holders};
use edgeward_trust::tuf::{Answer, Document, Place, Root, Trusted, Want};
use edgeward_trust::{Signer as _, SigningKey};
use serde_json::json;

const NOW: Timestamp = Timestamp(1_795_651_200_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(Digest::of(name.as_bytes()).as_bytes())
}

fn digits() -> ModelName {
    ModelName::new("digits").unwrap()
}

/// A repository and its files.
struct Repo {
    shelf: Shelf,
    files: BTreeMap<String, Vec<u8>>,
    /// Roles that another key than the one of their name signs for.
    renamed: BTreeMap<String, String>,
}

fn load(files: &BTreeMap<String, Vec<u8>>) -> Result<Shelf, LoadError<Infallible>> {
    Shelf::load(|path| Ok(files.get(path).cloned()))
}

impl Repo {
    fn new() -> Self {
        let public = |name: &str| key(name).public_key();
        let keys = FleetKeys {
            root: ["root-1", "root-2", "root-3"].map(public).to_vec(),
            root_threshold: 2,
            releases: public("releases"),
            rollouts: public("rollouts"),
            snapshot: public("snapshot"),
            timestamp: public("timestamp"),
            ledger: public("ledger"),
        };
        let signers = (key("root-1"), key("root-3"));
        let shelf =
            Shelf::new(&keys, &[&signers.0, &signers.1], &key("releases"), &Lives::default(), NOW).unwrap();
        let mut repo = Self { files: BTreeMap::new(), renamed: BTreeMap::new(), shelf };
        let files = repo.shelf.offline_files();
        repo.write(files);
        repo
    }

    fn write(&mut self, files: impl IntoIterator<Item = File>) {
        self.files.extend(files.into_iter().map(|File { path, bytes }| (path, bytes)));
    }

    fn rename(&mut self, role: &str, key: &str) {
        self.renamed.insert(role.to_owned(), key.to_owned());
    }

    /// What a device reads.
    fn follow(&self, trusted: Trusted, now: Timestamp) -> Refreshed<FleetError> {
        refresh(trusted, now, |want: &Want| {
            let place = if want.place == Place::Metadata { "metadata" } else { "targets" };
            let bytes = self.files.get(&format!("{place}/{}", want.path)).cloned();
            Ok(bytes.map_or(Answer::Absent, Answer::Bytes))
        })
    }

    fn release(&mut self, manifest: &[u8]) -> Digest {
        let draft = Draft { model: &digits(), manifest, custom: json!({}) };
        let bytes = self.shelf.releases().bytes();
        let signed = add_release(bytes, &draft, &key("releases"), &Lives::default(), NOW).unwrap();
        let file = self.shelf.accept_releases(&signed).unwrap();
        self.write([file]);
        Digest::of(manifest)
    }

    fn publish(&mut self, generation: u64, stable: Digest, at: Timestamp) -> Result<(), PublishError> {
        let assignment = Assignment { stable: Some(stable), ..Assignment::default() };
        let desired = Desired {
            schema: DESIRED_SCHEMA.to_owned(),
            generation,
            models: BTreeMap::from([(digits(), assignment)]),
        };
        let of = |role: &str| key(self.renamed.get(role).map_or(role, String::as_str));
        let (rollouts, snapshot, timestamp) = (of("rollouts"), of("snapshot"), of("timestamp"));
        let online = OnlineSigners { rollouts: &rollouts, snapshot: &snapshot, timestamp: &timestamp };
        let files = self.shelf.publish(&desired, online, &Lives::default(), at)?;
        self.write(files);
        Ok(())
    }
}

#[test]
fn what_is_written_is_read_back() {
    let mut repo = Repo::new();
    assert_eq!(load(&repo.files).unwrap(), repo.shelf);
    assert!(repo.shelf.is_refresh_due(&Lives::default(), NOW));
    let first = repo.release(b"first");
    repo.publish(1, first, NOW).unwrap();
    let read = load(&repo.files).unwrap();
    assert_eq!(read, repo.shelf);
    assert!(repo.files.contains_key(&read.desired_file().unwrap()));
    assert!(!read.is_refresh_due(&Lives::default(), NOW));
    // A release that no snapshot lists yet is found, and a new snapshot is due.
    let second = repo.release(b"second");
    let read = load(&repo.files).unwrap();
    assert!(read.is_released(&digits(), &second));
    assert!(read.is_refresh_due(&Lives::default(), NOW));
}

#[test]
fn what_grows_old_is_due() {
    let mut repo = Repo::new();
    let first = repo.release(b"first");
    repo.publish(1, first, NOW).unwrap();
    let (shelf, lives) = (&repo.shelf, Lives::default());
    assert!(!shelf.is_refresh_due(&lives, NOW + 3 * DAY));
    assert!(shelf.is_refresh_due(&lives, NOW + 4 * DAY));
    assert!(!shelf.is_desired_due(&lives, NOW + 14 * DAY));
    assert!(shelf.is_desired_due(&lives, NOW + 16 * DAY));
    let renewed = renew_releases(shelf.releases().bytes(), &key("releases"), &lives, NOW + 30 * DAY).unwrap();
    let before = shelf.releases().body().clone();
    repo.shelf.accept_releases(&renewed).unwrap();
    let after = repo.shelf.releases().body();
    assert_eq!((after.version, &after.targets), (before.version + 1, &before.targets));
    assert_eq!(after.expires, NOW + 30 * DAY + lives.releases);
    assert!(renew_releases(&renewed, &key("rollouts"), &lives, NOW).is_err(), "another's key");
}

#[test]
fn nothing_is_signed_that_devices_would_refuse() {
    let mut repo = Repo::new();
    let first = repo.release(b"first");
    assert!(matches!(repo.publish(1, Digest::of(b"other"), NOW), Err(PublishError::Unfit(_))));
    repo.publish(3, first, NOW).unwrap();
    assert!(matches!(repo.publish(3, first, NOW), Err(PublishError::Unfit(_))));
    // The root now names another key for the timestamp than the control plane has.
    let mut root = repo.shelf.root().body().clone();
    root.version = 2;
    let other = [key("other").public_key()];
    root.set_holders("timestamp", &Holders { keys: &other, threshold: 1 });
    let root = repository::sign(&root, &[&key("root-1"), &key("root-2")]).unwrap();
    let targets = repo.shelf.targets().bytes().to_vec();
    let files = repo.shelf.accept_root(&root, &targets).unwrap();
    repo.write(files);
    assert!(load(&repo.files).unwrap().is_refresh_due(&Lives::default(), NOW));
    assert!(matches!(repo.publish(4, first, NOW), Err(PublishError::Refused(_))));
}

#[test]
fn a_repository_that_lacks_a_file_or_a_signature_is_not_loaded() {
    let mut repo = Repo::new();
    let first = repo.release(b"first");
    repo.publish(1, first, NOW).unwrap();
    for path in ["1.root", "1.targets", "2.releases", "1.rollouts", "1.snapshot"] {
        let mut files = repo.files.clone();
        files.remove(&format!("metadata/{path}.json")).unwrap();
        assert!(matches!(load(&files), Err(LoadError::Missing(_))), "{path}");
    }
    let mut forged = repo.shelf.releases().body().clone();
    forged.version += 1;
    let bytes = repository::sign(&forged, &[&key("rollouts")]).unwrap();
    repo.files.insert("metadata/3.releases.json".to_owned(), bytes);
    assert!(matches!(load(&repo.files), Err(LoadError::Unfit(PublishError::Refused(_)))));
}

#[test]
fn keys_are_changed_by_people_one_after_another() {
    let mut repo = Repo::new();
    let first = repo.release(b"first");
    repo.publish(1, first, NOW).unwrap();
    let old = Trusted::pin(&repo.files["metadata/1.root.json"], Timestamp(0)).unwrap();
    let lives = Lives::default();
    let new_roots = ["root-1", "root-4", "root-5"].map(|name| key(name).public_key());
    let change = Change { role: "root", holders: Holders { keys: &new_roots, threshold: 2 } };
    let mut drafts = repo.shelf.drafts(Some(&change), &lives, NOW + DAY).unwrap();
    let sign =
        |drafts: &mut Drafts, shelf: &Shelf, name: &str| shelf.sign_drafts(drafts, &[&key(name)]).unwrap();
    assert_eq!(sign(&mut drafts, &repo.shelf, "rollouts"), 0, "a key that has no say");
    // The root counts by the old keys and the new ones, the targets by the new ones only.
    for (name, signatures) in [("root-2", 1), ("root-1", 2)] {
        assert!(repo.shelf.clone().accept_drafts(&drafts).is_err());
        assert_eq!(sign(&mut drafts, &repo.shelf, name), signatures, "{name}");
    }
    assert!(matches!(repo.shelf.clone().accept_drafts(&drafts), Err(PublishError::Refused(_))));
    assert_eq!(sign(&mut drafts, &repo.shelf, "root-5"), 2);
    let files = repo.shelf.accept_drafts(&drafts).unwrap();
    assert_eq!(
        files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
        ["metadata/2.root.json", "metadata/2.targets.json"]
    );
    repo.write(files);
    repo.publish(2, first, NOW + DAY).unwrap();
    assert_eq!(load(&repo.files).unwrap(), repo.shelf);
    let said = repo.follow(old, NOW + DAY);
    assert_eq!(said.outcome.unwrap().unwrap().desired.generation, 2);
    assert_eq!(said.trusted.root().version, 2);
}

#[test]
fn each_role_gets_another_key_and_devices_follow() {
    let mut repo = Repo::new();
    let first = repo.release(b"first");
    repo.publish(1, first, NOW).unwrap();
    let mut trusted = Trusted::pin(&repo.files["metadata/1.root.json"], Timestamp(0)).unwrap();
    let lives = Lives::default();
    for (n, role) in ["timestamp", "snapshot", "rollouts", "releases"].into_iter().enumerate() {
        let other = key(&format!("{role}-2"));
        let change = Change { role, holders: Holders { keys: &[other.public_key()], threshold: 1 } };
        let mut drafts = repo.shelf.drafts(Some(&change), &lives, NOW).unwrap();
        let roots = (key("root-1"), key("root-3"));
        repo.shelf.sign_drafts(&mut drafts, &[&roots.0, &roots.1, &other]).unwrap();
        let files = repo.shelf.accept_drafts(&drafts).unwrap();
        repo.write(files);
        repo.rename(role, &format!("{role}-2"));
        repo.publish(n as u64 + 2, first, NOW).unwrap();
        assert_eq!(load(&repo.files).unwrap(), repo.shelf, "{role}");
        let said = repo.follow(trusted, NOW);
        assert_eq!(said.outcome.unwrap().unwrap().desired.generation, n as u64 + 2, "{role}");
        trusted = said.trusted;
    }
    let one = [key("a").public_key()];
    for (role, threshold) in [("timestamp", 2), ("timestamp", 0), ("nobody", 1)] {
        let change = Change { role, holders: Holders { keys: &one, threshold } };
        assert!(
            matches!(repo.shelf.drafts(Some(&change), &lives, NOW), Err(PublishError::Unfit(_))),
            "{role}"
        );
    }
    // Without a change the same keys say the same for longer.
    let renewed = repo.shelf.drafts(None, &lives, NOW + 100 * DAY).unwrap();
    let root = Document::<Root>::parse(&renewed.root.unwrap()).unwrap();
    assert_eq!(root.body().expires, NOW + 100 * DAY + lives.root);
    assert!(renewed.targets.is_some() && renewed.releases.is_none());
}

#[test]
fn what_people_must_sign_before_long_is_named() {
    let repo = Repo::new();
    let year = Lives::default().root;
    assert!(repo.shelf.to_renew(NOW + year - DAY).is_empty());
    let named: Vec<&str> = repo.shelf.to_renew(NOW + year).into_iter().map(|(role, _)| role).collect();
    assert_eq!(named, ["root", "targets", "releases"]);
}
