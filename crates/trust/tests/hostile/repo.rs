//! A repository whose every document can be bent and signed again, by whoever's keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use edgeward_core::desired::{Assignment, DESIRED_SCHEMA};
use edgeward_core::{Desired, Digest, ModelName, Timestamp, canonical};
use edgeward_trust::fleet::Draft;
use edgeward_trust::fleet::{
    DESIRED_PATH, File, FleetError, FleetKeys, Lives, OnlineSigners, RELEASES, ROLLOUTS, Refreshed, Shelf,
    add_release, refresh, target_file,
};
use edgeward_trust::tuf::metadata::{MetaFile, Metadata, Target};
use edgeward_trust::tuf::{Answer, Place, Root, Snapshot, Targets, TimestampRole, Trusted, Want, repository};
use edgeward_trust::{Signer, SigningKey};
use serde_json::json;

use super::manifests::manifest;

/// 2026-11-26.
pub(crate) const NOW: Timestamp = Timestamp(1_795_651_200_000);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(Digest::of(name.as_bytes()).as_bytes())
}

pub(crate) fn digits() -> ModelName {
    ModelName::new("digits").unwrap()
}

pub(crate) fn bundle(n: usize) -> Digest {
    Digest::of(&manifest(n))
}

/// The files of a repository, and the documents behind them.
#[derive(Clone)]
pub(crate) struct Repo {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The files as they were one publication earlier.
    pub(crate) earlier: BTreeMap<String, Vec<u8>>,
    pub(crate) root: Root,
    pub(crate) targets: Targets,
    pub(crate) releases: Targets,
    pub(crate) rollouts: Targets,
    pub(crate) snapshot: Snapshot,
    pub(crate) timestamp: TimestampRole,
}

pub(crate) fn fleet_keys() -> FleetKeys {
    FleetKeys {
        root: ["root-1", "root-2", "root-3"].map(|name| key(name).public_key()).to_vec(),
        root_threshold: 2,
        releases: key("releases").public_key(),
        rollouts: key("rollouts").public_key(),
        snapshot: key("snapshot").public_key(),
        timestamp: key("timestamp").public_key(),
        ledger: key("ledger").public_key(),
    }
}

pub(crate) fn desired(generation: u64, stable: Digest) -> Desired {
    let assignment = Assignment { stable: Some(stable), ..Assignment::default() };
    Desired {
        schema: DESIRED_SCHEMA.to_owned(),
        generation,
        models: BTreeMap::from([(digits(), assignment)]),
    }
}

/// Two releases of three bundles, and, published twice, the first of them for everybody.
pub(crate) fn honest() -> Repo {
    let mut repo = first();
    repo.earlier = repo.files.clone();
    repo.publish(bundle(0));
    repo
}

fn first() -> Repo {
    let (root_1, root_2, releases) = (key("root-1"), key("root-2"), key("releases"));
    let lives = Lives::default();
    let mut shelf = Shelf::new(&fleet_keys(), &[&root_1, &root_2], &releases, &lives, NOW).unwrap();
    for n in 0..2 {
        let draft = Draft { model: &digits(), manifest: &manifest(n), custom: json!({ "run": "run-1" }) };
        let signed = add_release(shelf.releases().bytes(), &draft, &releases, &lives, NOW).unwrap();
        shelf.accept_releases(&signed).unwrap();
    }
    let (rollouts, snapshot, timestamp) = (key("rollouts"), key("snapshot"), key("timestamp"));
    let online = OnlineSigners { rollouts: &rollouts, snapshot: &snapshot, timestamp: &timestamp };
    let mut files = shelf.offline_files();
    files.extend(shelf.publish(&desired(1, bundle(0)), online, &lives, NOW).unwrap());
    let files: BTreeMap<String, Vec<u8>> =
        files.into_iter().map(|File { path, bytes }| (path, bytes)).collect();
    Repo {
        files,
        earlier: BTreeMap::new(),
        root: shelf.root().body().clone(),
        targets: shelf.targets().body().clone(),
        releases: shelf.releases().body().clone(),
        rollouts: shelf.rollouts().unwrap().body().clone(),
        snapshot: shelf.snapshot().unwrap().body().clone(),
        timestamp: shelf.timestamp().unwrap().body().clone(),
    }
}

pub(crate) fn signed<T: Metadata>(body: &T, keys: &[&str]) -> Vec<u8> {
    let keys: Vec<SigningKey> = keys.iter().map(|name| key(name)).collect();
    let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
    repository::sign(body, &signers).unwrap()
}

impl Repo {
    pub(crate) fn put(&mut self, path: impl Into<String>, bytes: Vec<u8>) {
        self.files.insert(path.into(), bytes);
    }

    /// Changes a file that is there.
    pub(crate) fn edit(&mut self, path: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        edit(self.files.get_mut(path).unwrap());
    }

    pub(crate) fn edit_text(&mut self, path: &str, from: &str, to: &str) {
        self.edit(path, |bytes| {
            let text = String::from_utf8(std::mem::take(bytes)).unwrap();
            assert!(text.contains(from), "{text}");
            *bytes = text.replacen(from, to, 1).into_bytes();
        });
    }

    pub(crate) fn put_root(&mut self, keys: &[&str]) {
        self.put(format!("metadata/{}.root.json", self.root.version), signed(&self.root, keys));
    }

    pub(crate) fn put_targets(&mut self, keys: &[&str]) {
        self.targets.version += 1;
        let (version, bytes) = (self.targets.version, signed(&self.targets, keys));
        self.put_role("targets", version, bytes);
    }

    pub(crate) fn put_releases(&mut self, keys: &[&str]) {
        self.releases.version += 1;
        let (version, bytes) = (self.releases.version, signed(&self.releases, keys));
        self.put_role(RELEASES, version, bytes);
    }

    pub(crate) fn put_rollouts(&mut self, keys: &[&str]) {
        self.rollouts.version += 1;
        let (version, bytes) = (self.rollouts.version, signed(&self.rollouts, keys));
        self.put_role(ROLLOUTS, version, bytes);
    }

    /// The file of a targets role, listed in the next snapshot.
    pub(crate) fn put_role(&mut self, role: &str, version: u64, bytes: Vec<u8>) {
        self.snapshot.meta.insert(format!("{role}.json"), MetaFile::of(version, &bytes));
        self.put(format!("metadata/{version}.{role}.json"), bytes);
    }

    pub(crate) fn put_snapshot(&mut self, keys: &[&str]) {
        self.snapshot.version += 1;
        let (version, bytes) = (self.snapshot.version, signed(&self.snapshot, keys));
        self.timestamp.meta.insert("snapshot.json".to_owned(), MetaFile::of(version, &bytes));
        self.put(format!("metadata/{version}.snapshot.json"), bytes);
    }

    pub(crate) fn put_timestamp(&mut self, keys: &[&str]) {
        self.timestamp.version += 1;
        self.put("metadata/timestamp.json", signed(&self.timestamp, keys));
    }

    /// Signs a snapshot and a timestamp over what is there, with the right keys.
    pub(crate) fn seal(&mut self) {
        self.put_snapshot(&["snapshot"]);
        self.put_timestamp(&["timestamp"]);
    }

    /// The next desired state, with the right keys.
    pub(crate) fn publish(&mut self, stable: Digest) {
        let desired = desired(self.rollouts.version + 1, stable);
        self.put_desired(&canonical::to_bytes(&desired).unwrap());
        self.put_rollouts(&["rollouts"]);
        self.seal();
    }

    /// A file of the desired state that the next rollouts vouch for.
    pub(crate) fn put_desired(&mut self, bytes: &[u8]) {
        let target = Target::of(bytes, None);
        self.put(target_file(DESIRED_PATH, &target), bytes.to_vec());
        self.rollouts.targets.insert(DESIRED_PATH.to_owned(), target);
    }

    /// Writes the repository as plain files.
    pub(crate) fn write(&self, folder: &Path) {
        // A folder of an earlier run must not lend its files.
        let _ = fs::remove_dir_all(folder);
        for (path, bytes) in &self.files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// Refreshes from a folder of plain files, as a web server would give them.
pub(crate) fn refresh_from(folder: &Path, trusted: Trusted, now: Timestamp) -> Refreshed<FleetError> {
    refresh(trusted, now, |want: &Want| {
        let place = match want.place {
            Place::Metadata => "metadata",
            Place::Targets => "targets",
        };
        match fs::read(folder.join(place).join(&want.path)) {
            Ok(mut bytes) => {
                bytes.truncate(usize::try_from(want.bytes_max + 1).unwrap());
                Ok(Answer::Bytes(bytes))
            }
            Err(_) => Ok(Answer::Absent),
        }
    })
}
