//! The control plane's side: a repository as its latest documents, and the files that change it.
//!
//! A [`Shelf`] is plain data. Each step gives the files to write, in the order in which they must appear: whoever follows
//! the timestamp, which is the last, finds everything it leads to. What a device would refuse is not signed.

use std::collections::BTreeMap;

use edgeward_core::{Desired, Digest, ModelName, Timestamp, canonical};
use serde_json::{Map, json};

use super::compose::{root_of, targets_of};
use super::releases::check_releases;
use super::{DESIRED_PATH, FleetKeys, Lives, RELEASES, ROLLOUTS, release_path};
use crate::key::{PublicKey, Signer};
use crate::tuf::client::ISSUED_FIELD;
use crate::tuf::document::Authority;
use crate::tuf::metadata::{MetaFile, Metadata, SPEC_VERSION, Target};
use crate::tuf::repository::{self, SignError, empty_targets};
use crate::tuf::{Document, Key, Reason, Refusal, Root, Snapshot, Targets, TimestampRole, time};

/// The keys a control plane has at hand.
#[derive(Clone, Copy)]
pub struct OnlineSigners<'a> {
    /// Signs rollouts.
    pub rollouts: &'a dyn Signer,
    /// Signs the snapshot.
    pub snapshot: &'a dyn Signer,
    /// Signs the timestamp.
    pub timestamp: &'a dyn Signer,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path below the repository's folder, such as `metadata/timestamp.json`.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The latest documents of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    pub(super) root: Document<Root>,
    pub(super) targets: Document<Targets>,
    pub(super) releases: Document<Targets>,
    pub(super) rollouts: Option<Document<Targets>>,
    pub(super) snapshot: Option<Document<Snapshot>>,
    pub(super) timestamp: Option<Document<TimestampRole>>,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A document cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A document that is there is not one that devices believe.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The document has no canonical form.
    #[error("writing the desired state")]
    Write(#[from] canonical::CanonicalError),
    /// Devices would refuse it.
    #[error("{0}")]
    Unfit(String),
    /// It was made from another state than the one that is there.
    #[error("version {found} of {role} does not follow version {latest}; read the latest, and sign again")]
    Stale {
        /// Of which role.
        role: &'static str,
        /// What is there.
        latest: u64,
        /// What was offered.
        found: u64,
    },
}

impl Shelf {
    /// A new repository: root and targets signed by `root_signers`, no release yet, signed by `releases`.
    ///
    /// # Errors
    /// A key cannot be reached.
    pub fn new(
        keys: &FleetKeys,
        root_signers: &[&dyn Signer],
        releases: &dyn Signer,
        lives: &Lives,
        now: Timestamp,
    ) -> Result<Self, PublishError> {
        let root = repository::sign(&root_of(keys, now + lives.root), root_signers)?;
        let targets = repository::sign(&targets_of(keys, now + lives.root), root_signers)?;
        let releases = repository::sign(&empty_targets(now + lives.releases), &[releases])?;
        Self::read(&root, &targets, &releases)
    }

    /// The repository whose offline documents are these; each must be signed as the one before it says.
    ///
    /// # Errors
    /// A document cannot be read, or is not signed by enough of the keys it needs.
    pub fn read(root: &[u8], targets: &[u8], releases: &[u8]) -> Result<Self, PublishError> {
        let root = parse::<Root>("root", root)?;
        verify(&root, "root", root.body().authority("root"))?;
        let targets = parse::<Targets>("targets", targets)?;
        verify(&targets, "targets", root.body().authority("targets"))?;
        let releases = parse::<Targets>(RELEASES, releases)?;
        verify(&releases, RELEASES, targets.body().authority(RELEASES))?;
        Ok(Self { root, targets, releases, rollouts: None, snapshot: None, timestamp: None })
    }

    /// The root.
    #[must_use]
    pub const fn root(&self) -> &Document<Root> {
        &self.root
    }

    /// The top-level targets.
    #[must_use]
    pub const fn targets(&self) -> &Document<Targets> {
        &self.targets
    }

    /// What was released.
    #[must_use]
    pub const fn releases(&self) -> &Document<Targets> {
        &self.releases
    }

    /// What was last said about rollouts.
    #[must_use]
    pub const fn rollouts(&self) -> Option<&Document<Targets>> {
        self.rollouts.as_ref()
    }

    /// The latest snapshot.
    #[must_use]
    pub const fn snapshot(&self) -> Option<&Document<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The latest timestamp.
    #[must_use]
    pub const fn timestamp(&self) -> Option<&Document<TimestampRole>> {
        self.timestamp.as_ref()
    }

    /// Whether `bundle` may run as `model`.
    #[must_use]
    pub fn is_released(&self, model: &ModelName, bundle: &Digest) -> bool {
        let target = self.releases.body().targets.get(&release_path(model, bundle));
        target.and_then(Target::sha256) == Some(*bundle)
    }

    /// Takes signed releases in place of those that are here.
    ///
    /// # Errors
    /// They are not signed by enough keys, do not follow the latest, drop or change a release, or vouch for what this
    /// role may not.
    pub fn accept_releases(&mut self, bytes: &[u8]) -> Result<File, PublishError> {
        let new = parse::<Targets>(RELEASES, bytes)?;
        verify(&new, RELEASES, self.targets.body().authority(RELEASES))?;
        let (latest, found) = (self.releases.body().version, new.body().version);
        if latest == found && new.says_the_same(&self.releases) {
            return Ok(metadata_file(RELEASES, Some(latest), self.releases.bytes()));
        }
        if found != latest + 1 {
            return Err(PublishError::Stale { role: RELEASES, latest, found });
        }
        check_releases(self.releases.body(), new.body())?;
        let file = metadata_file(RELEASES, Some(found), new.bytes());
        self.releases = new;
        Ok(file)
    }

    /// Takes a new root, signed by enough keys of the one before and its own, and the targets that go with it.
    ///
    /// # Errors
    /// They are not, or the root does not follow.
    pub fn accept_root(&mut self, root: &[u8], targets: &[u8]) -> Result<Vec<File>, PublishError> {
        let new = parse::<Root>("root", root)?;
        verify(&new, "root", self.root.body().authority("root"))?;
        let (latest, found) = (self.root.body().version, new.body().version);
        if found != latest + 1 {
            return Err(PublishError::Stale { role: "root", latest, found });
        }
        let read = Self::read(root, targets, self.releases.bytes())?;
        let versions = (self.targets.body().version, read.targets.body().version);
        if versions.1 < versions.0 || versions.0 == versions.1 && !read.targets.says_the_same(&self.targets) {
            return Err(PublishError::Unfit(format!(
                "targets version {} does not follow {}",
                versions.1, versions.0
            )));
        }
        (self.root, self.targets) = (read.root, read.targets);
        Ok(self.offline_files().into_iter().take(2).collect())
    }

    /// The files of root, targets and releases.
    #[must_use]
    pub fn offline_files(&self) -> Vec<File> {
        vec![
            metadata_file("root", Some(self.root.body().version), self.root.bytes()),
            metadata_file("targets", Some(self.targets.body().version), self.targets.bytes()),
            metadata_file(RELEASES, Some(self.releases.body().version), self.releases.bytes()),
        ]
    }

    /// The files of all its latest documents.
    #[must_use]
    pub fn files(&self) -> Vec<File> {
        let rollouts =
            self.rollouts.iter().map(|d| metadata_file(ROLLOUTS, Some(d.body().version), d.bytes()));
        let snapshot =
            self.snapshot.iter().map(|d| metadata_file("snapshot", Some(d.body().version), d.bytes()));
        let timestamp = self.timestamp.iter().map(|d| metadata_file("timestamp", None, d.bytes()));
        self.offline_files().into_iter().chain(rollouts).chain(snapshot).chain(timestamp).collect()
    }

    /// Whether `key` is one of those that may sign for `role`.
    #[must_use]
    pub fn names(&self, role: &str, key: &PublicKey) -> bool {
        let (root, targets) = (self.root.body().authority(role), self.targets.body().authority(role));
        let id = Key::from(key).id();
        root.or(targets).is_some_and(|authority| authority.keyids.contains(&id))
    }

    /// Says what the fleet should run, with whatever was released until now.
    ///
    /// # Errors
    /// A bundle that is named was not released, the generation does not rise, or a key cannot be reached.
    pub fn publish(
        &mut self,
        desired: &Desired,
        signers: OnlineSigners<'_>,
        lives: &Lives,
        now: Timestamp,
    ) -> Result<Vec<File>, PublishError> {
        self.check_desired(desired)?;
        let bytes = canonical::to_bytes(desired)?;
        let mut body = empty_targets(now + lives.rollouts);
        body.version = desired.generation;
        let target = Target::of(&bytes, None);
        let path = target_file(DESIRED_PATH, &target);
        body.targets.insert(DESIRED_PATH.to_owned(), target);
        let rollouts = parse::<Targets>(ROLLOUTS, &repository::sign(&body, &[signers.rollouts])?)?;
        verify(&rollouts, ROLLOUTS, self.targets.body().authority(ROLLOUTS))?;
        let file = metadata_file(ROLLOUTS, Some(body.version), rollouts.bytes());
        self.rollouts = Some(rollouts);
        let mut files = vec![File { path, bytes }, file];
        files.extend(self.refresh(signers, lives, now)?);
        Ok(files)
    }

    /// A new snapshot and timestamp over what is here; the timestamp is the last.
    ///
    /// # Errors
    /// A key cannot be reached.
    pub fn refresh(
        &mut self,
        signers: OnlineSigners<'_>,
        lives: &Lives,
        now: Timestamp,
    ) -> Result<Vec<File>, PublishError> {
        let snapshot = self.next_snapshot(now + lives.rollouts);
        let snapshot = parse::<Snapshot>("snapshot", &repository::sign(&snapshot, &[signers.snapshot])?)?;
        verify(&snapshot, "snapshot", self.root.body().authority("snapshot"))?;
        let timestamp = self.next_timestamp(&snapshot, now, now + lives.timestamp);
        let timestamp = parse("timestamp", &repository::sign(&timestamp, &[signers.timestamp])?)?;
        verify(&timestamp, "timestamp", self.root.body().authority("timestamp"))?;
        let files = vec![
            metadata_file("snapshot", Some(snapshot.body().version), snapshot.bytes()),
            metadata_file("timestamp", None, timestamp.bytes()),
        ];
        (self.snapshot, self.timestamp) = (Some(snapshot), Some(timestamp));
        Ok(files)
    }

    fn check_desired(&self, desired: &Desired) -> Result<(), PublishError> {
        let latest = self.rollouts.as_ref().map_or(0, |rollouts| rollouts.body().version);
        if desired.generation <= latest {
            let text = format!("generation {} does not follow generation {latest}", desired.generation);
            return Err(PublishError::Unfit(text));
        }
        match desired.bundles().into_iter().find(|(model, bundle)| !self.is_released(model, bundle)) {
            Some((model, bundle)) => {
                Err(PublishError::Unfit(format!("{bundle} was not released as {model}")))
            }
            None => Ok(()),
        }
    }

    fn next_snapshot(&self, expires: Timestamp) -> Snapshot {
        let mut meta = BTreeMap::new();
        let mut list = |role: &str, document: &Document<Targets>| {
            meta.insert(format!("{role}.json"), MetaFile::of(document.body().version, document.bytes()));
        };
        list("targets", &self.targets);
        list(RELEASES, &self.releases);
        if let Some(rollouts) = &self.rollouts {
            list(ROLLOUTS, rollouts);
        }
        Snapshot {
            kind: Snapshot::KIND.to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: self.snapshot.as_ref().map_or(0, |snapshot| snapshot.body().version) + 1,
            expires,
            meta,
            extra: Map::new(),
        }
    }

    fn next_timestamp(
        &self,
        snapshot: &Document<Snapshot>,
        now: Timestamp,
        expires: Timestamp,
    ) -> TimestampRole {
        let meta = MetaFile::of(snapshot.body().version, snapshot.bytes());
        TimestampRole {
            kind: TimestampRole::KIND.to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: self.timestamp.as_ref().map_or(0, |timestamp| timestamp.body().version) + 1,
            expires,
            meta: BTreeMap::from([("snapshot.json".to_owned(), meta)]),
            extra: Map::from_iter([(ISSUED_FIELD.to_owned(), json!(time::format(now)))]),
        }
    }
}

pub(super) fn metadata_path(role: &str, version: Option<u64>) -> String {
    match version {
        Some(version) => format!("metadata/{version}.{role}.json"),
        None => format!("metadata/{role}.json"),
    }
}

fn metadata_file(role: &str, version: Option<u64>, bytes: &[u8]) -> File {
    File { path: metadata_path(role, version), bytes: bytes.to_vec() }
}

/// Checks that the keys of `role` signed `document`.
pub(super) fn verify<T: Metadata>(
    document: &Document<T>,
    role: &str,
    authority: Option<Authority<'_>>,
) -> Result<(), Refusal> {
    let authority = authority.ok_or_else(|| refusal(role, Reason::NotListed))?;
    document.verify(authority).map_err(|reason| refusal(role, reason))
}

/// Where a target stands below the repository's folder.
#[must_use]
pub fn target_file(path: &str, target: &Target) -> String {
    let prefix = target.hashes.prefix();
    match path.rsplit_once('/') {
        Some((folder, name)) => format!("targets/{folder}/{prefix}.{name}"),
        None => format!("targets/{prefix}.{path}"),
    }
}

pub(super) fn parse<T: Metadata>(role: &str, bytes: &[u8]) -> Result<Document<T>, PublishError> {
    Document::parse(bytes).map_err(|reason| refusal(role, reason).into())
}

pub(super) fn refusal(role: &str, reason: Reason) -> Refusal {
    Refusal { file: format!("{role}.json"), reason }
}
