//! The control plane's side: a repository as its latest documents, and the files that change it.
//!
//! A [`Shelf`] is plain data. Each step gives the files to write, in the order in which they must appear: whoever follows
//! the timestamp, which is the last, finds everything it leads to. What a device would refuse is not signed.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeward_core::canonical;
use edgeward_core::manifest::MANIFEST_BYTES_MAX;
use edgeward_core::{Desired, Digest, ModelName, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    DESIRED_PATH, LEDGER_FIELD, RELEASES, RELEASES_PATTERN, ROLLOUTS, ROLLOUTS_PATTERN, release_of,
    release_path,
};
use crate::key::{PublicKey, Signer};
use crate::tuf::client::ISSUED_FIELD;
use crate::tuf::metadata::{DelegatedRole, Delegations, MetaFile, Metadata, SPEC_VERSION, Target};
use crate::tuf::repository::{self, Holders, SignError, empty_targets, first_root, role_keys, with_ids};
use crate::tuf::{Document, Reason, Refusal, Root, Snapshot, Targets, TimestampRole, time};

/// How long each role's documents are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Root and top-level targets: signed by people.
    pub root: Duration,
    /// Releases: signed with an offline key by each pipeline run.
    pub releases: Duration,
    /// Rollouts and snapshot: signed by the control plane.
    pub rollouts: Duration,
    /// Timestamp: how long a device goes on acting on what it last heard.
    pub timestamp: Duration,
}

impl Default for Lives {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        Self { root: days(366), releases: days(366), rollouts: days(30), timestamp: days(7) }
    }
}

/// The public keys of a fleet's roles.
#[derive(Clone, Debug)]
pub struct FleetKeys {
    /// Sign root and top-level targets.
    pub root: Vec<PublicKey>,
    /// How many of them must.
    pub root_threshold: u64,
    /// Sign releases.
    pub releases: PublicKey,
    /// Signs rollouts.
    pub rollouts: PublicKey,
    /// Signs the snapshot.
    pub snapshot: PublicKey,
    /// Signs the timestamp.
    pub timestamp: PublicKey,
    /// Signs the ledger's checkpoints.
    pub ledger: PublicKey,
}

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
    root: Document<Root>,
    targets: Document<Targets>,
    releases: Document<Targets>,
    rollouts: Option<Document<Targets>>,
    snapshot: Option<Document<Snapshot>>,
    timestamp: Option<Document<TimestampRole>>,
}

/// A release to be added to those that are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// The bundle's manifest; its SHA-256 is the bundle.
    pub manifest: &'a [u8],
    /// What else is said about it, such as the run that made it.
    pub custom: Value,
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
    #[error("releases version {found} does not follow version {latest}; read the latest, and sign again")]
    Stale {
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
        let by_root = |role| root.body().authority(role).ok_or_else(|| missing(role));
        root.verify(by_root("root")?).map_err(|reason| refusal("root", reason))?;
        let targets = parse::<Targets>("targets", targets)?;
        targets.verify(by_root("targets")?).map_err(|reason| refusal("targets", reason))?;
        let releases = parse::<Targets>(RELEASES, releases)?;
        let by_targets = targets.body().authority(RELEASES).ok_or_else(|| missing(RELEASES))?;
        releases.verify(by_targets).map_err(|reason| refusal(RELEASES, reason))?;
        Ok(Self { root, targets, releases, rollouts: None, snapshot: None, timestamp: None })
    }

    /// The same with the online documents that were published last, so that what follows has higher versions.
    ///
    /// # Errors
    /// A document cannot be read.
    pub fn with_online(
        self,
        rollouts: &[u8],
        snapshot: &[u8],
        timestamp: &[u8],
    ) -> Result<Self, PublishError> {
        Ok(Self {
            rollouts: Some(parse(ROLLOUTS, rollouts)?),
            snapshot: Some(parse("snapshot", snapshot)?),
            timestamp: Some(parse("timestamp", timestamp)?),
            ..self
        })
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
        let authority = self.targets.body().authority(RELEASES).ok_or_else(|| missing(RELEASES))?;
        new.verify(authority).map_err(|reason| refusal(RELEASES, reason))?;
        let (latest, found) = (self.releases.body().version, new.body().version);
        if latest == found && new.says_the_same(&self.releases) {
            return Ok(metadata_file(RELEASES, Some(latest), self.releases.bytes()));
        }
        if found != latest + 1 {
            return Err(PublishError::Stale { latest, found });
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
        let by_old = self.root.body().authority("root").ok_or_else(|| missing("root"))?;
        new.verify(by_old).map_err(|reason| refusal("root", reason))?;
        let (latest, found) = (self.root.body().version, new.body().version);
        if found != latest + 1 {
            return Err(PublishError::Stale { latest, found });
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
        let timestamp = self.next_timestamp(&snapshot, now, now + lives.timestamp);
        let timestamp = parse("timestamp", &repository::sign(&timestamp, &[signers.timestamp])?)?;
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
        for (model, assignment) in &desired.models {
            let next = assignment.next.as_ref().map(|next| next.bundle);
            for bundle in assignment.stable.into_iter().chain(next) {
                if !self.is_released(model, &bundle) {
                    return Err(PublishError::Unfit(format!("{bundle} was not released as {model}")));
                }
            }
        }
        Ok(())
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

/// The releases in `bytes` with `draft` added, signed by `signer`: what a pipeline run does with its offline key. The
/// signer's own signature must stand under what is there, or a control plane could have anything signed.
///
/// # Errors
/// The signer did not sign `bytes`, the manifest is too large, or the key cannot be reached.
pub fn add_release(
    bytes: &[u8],
    draft: &Draft<'_>,
    signer: &dyn Signer,
    lives: &Lives,
    now: Timestamp,
) -> Result<Vec<u8>, PublishError> {
    let known = parse::<Targets>(RELEASES, bytes)?;
    let public = [signer.public_key()];
    let (keys, role) = (with_ids(&public).collect(), role_keys(&Holders { keys: &public, threshold: 1 }));
    let own =
        crate::tuf::document::Authority { role: RELEASES, keys: &keys, keyids: &role.keyids, threshold: 1 };
    known.verify(own).map_err(|reason| refusal(RELEASES, reason))?;
    let (bundle, length) = (Digest::of(draft.manifest), draft.manifest.len());
    if length > MANIFEST_BYTES_MAX {
        let text =
            format!("the manifest is {length} bytes, over the {MANIFEST_BYTES_MAX} that devices accept");
        return Err(PublishError::Unfit(text));
    }
    let mut body = known.body().clone();
    let path = release_path(draft.model, &bundle);
    if body.targets.contains_key(&path) {
        return Ok(bytes.to_vec());
    }
    body.targets.insert(path, Target::of(draft.manifest, Some(draft.custom.clone())));
    body.version += 1;
    body.expires = body.expires.max(now + lives.releases);
    Ok(repository::sign(&body, &[signer])?)
}

fn check_releases(old: &Targets, new: &Targets) -> Result<(), PublishError> {
    let unfit = |text: String| Err(PublishError::Unfit(text));
    if new.delegations.is_some() {
        return unfit("the releases role may not delegate".to_owned());
    }
    for (path, target) in &new.targets {
        match release_of(path) {
            Some((_, bundle)) if target.sha256() == Some(bundle) => {}
            _ => return unfit(format!("'{path}' is not the path of a release with its own hash")),
        }
        if target.length > MANIFEST_BYTES_MAX as u64 {
            return unfit(format!(
                "the manifest of '{path}' is over the {MANIFEST_BYTES_MAX} bytes that devices accept"
            ));
        }
    }
    match old.targets.iter().find(|(path, target)| new.targets.get(*path) != Some(target)) {
        Some((path, _)) => unfit(format!("'{path}' was released and is no longer, or no longer the same")),
        None => Ok(()),
    }
}

/// The first root of a fleet.
fn root_of(keys: &FleetKeys, expires: Timestamp) -> Root {
    let offline = Holders { keys: &keys.root, threshold: keys.root_threshold };
    let snapshot = Holders { keys: std::slice::from_ref(&keys.snapshot), threshold: 1 };
    let timestamp = Holders { keys: std::slice::from_ref(&keys.timestamp), threshold: 1 };
    let roles =
        [("root", offline.clone()), ("targets", offline), ("snapshot", snapshot), ("timestamp", timestamp)];
    let mut root = first_root(expires, &roles);
    root.set_ledger(&Holders { keys: std::slice::from_ref(&keys.ledger), threshold: 1 });
    root
}

impl Root {
    /// Says which keys sign the ledger's checkpoints.
    pub fn set_ledger(&mut self, holders: &Holders<'_>) {
        self.extra.insert(LEDGER_FIELD.to_owned(), json!(role_keys(holders)));
        self.keys.extend(with_ids(holders.keys));
    }
}

/// The first top-level targets of a fleet.
fn targets_of(keys: &FleetKeys, expires: Timestamp) -> Targets {
    let roles = [(RELEASES, &keys.releases, RELEASES_PATTERN), (ROLLOUTS, &keys.rollouts, ROLLOUTS_PATTERN)];
    let mut delegations = Delegations { keys: BTreeMap::new(), roles: Vec::new(), extra: Map::new() };
    for (name, key, pattern) in roles {
        let holders = Holders { keys: std::slice::from_ref(key), threshold: 1 };
        delegations.keys.extend(with_ids(holders.keys));
        let role = role_keys(&holders);
        delegations.roles.push(DelegatedRole {
            name: name.to_owned(),
            keyids: role.keyids,
            threshold: role.threshold,
            terminating: true,
            paths: Some(vec![pattern.to_owned()]),
            path_hash_prefixes: None,
            extra: Map::new(),
        });
    }
    Targets { delegations: Some(delegations), ..empty_targets(expires) }
}

fn metadata_file(role: &str, version: Option<u64>, bytes: &[u8]) -> File {
    let path = match version {
        Some(version) => format!("metadata/{version}.{role}.json"),
        None => format!("metadata/{role}.json"),
    };
    File { path, bytes: bytes.to_vec() }
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

fn parse<T: Metadata>(role: &str, bytes: &[u8]) -> Result<Document<T>, PublishError> {
    Document::parse(bytes).map_err(|reason| refusal(role, reason).into())
}

fn refusal(role: &str, reason: Reason) -> Refusal {
    Refusal { file: format!("{role}.json"), reason }
}

fn missing(role: &str) -> Refusal {
    refusal(role, Reason::NotListed)
}
