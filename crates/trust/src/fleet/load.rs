//! Reading a repository back from its files, and whether its online documents are due to be signed anew.

use std::time::Duration;

use edgeward_core::Timestamp;

use super::publish::{PublishError, metadata_path, parse, verify};
use super::{DESIRED_PATH, Lives, RELEASES, ROLLOUTS, Shelf, target_file};
use crate::tuf::metadata::Metadata;
use crate::tuf::{Document, Reason, Root, Snapshot, Targets, TimestampRole};

/// A repository that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E> {
    /// A file cannot be read.
    #[error("reading the repository")]
    Read(#[source] E),
    /// There is no repository.
    #[error("there is no {0}")]
    Missing(String),
    /// What is there is not what devices believe.
    #[error(transparent)]
    Unfit(#[from] PublishError),
}

impl Shelf {
    /// The repository in the files that `read` gives by their paths: the newest root that follows from the first, the
    /// newest targets and releases, and the online documents that the timestamp leads to.
    ///
    /// # Errors
    /// A file is missing, or is not signed as the ones before it say.
    pub fn load<E>(mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>) -> Result<Self, LoadError<E>> {
        let mut read = |path: &str| read(path).map_err(LoadError::Read);
        let root = newest_root(&mut read)?;
        let timestamp = read(&metadata_path("timestamp", None))?;
        let timestamp = timestamp.map(|bytes| parse::<TimestampRole>("timestamp", &bytes)).transpose()?;
        let version =
            timestamp.as_ref().and_then(|document| document.body().snapshot()).map(|meta| meta.version);
        let snapshot: Option<Document<Snapshot>> =
            version.map(|version| needed(&mut read, "snapshot", version)).transpose()?;
        let listed = |role: &str| {
            let meta = snapshot.as_ref()?.body().meta.get(&format!("{role}.json"))?;
            Some(meta.version)
        };
        let targets = newest(&mut read, "targets", listed("targets"))?;
        let releases = newest(&mut read, RELEASES, listed(RELEASES))?;
        let read_offline = Self::read(root.bytes(), targets.bytes(), releases.bytes())?;
        let rollouts: Option<Document<Targets>> =
            listed(ROLLOUTS).map(|version| needed(&mut read, ROLLOUTS, version)).transpose()?;
        Ok(Self { rollouts, snapshot, timestamp, ..read_offline })
    }

    /// The offline files that would follow: if one of them appears, the repository must be [loaded](Self::load) again.
    #[must_use]
    pub fn paths_to_watch(&self) -> [String; 3] {
        [
            metadata_path("root", Some(self.root().body().version + 1)),
            metadata_path("targets", Some(self.targets().body().version + 1)),
            metadata_path(RELEASES, Some(self.releases().body().version + 1)),
        ]
    }

    /// Whether snapshot and timestamp must be signed: they do not say what is here, their keys no longer count, or half
    /// their time is over.
    #[must_use]
    pub fn is_refresh_due(&self, lives: &Lives, now: Timestamp) -> bool {
        let (Some(snapshot), Some(timestamp)) = (self.snapshot(), self.timestamp()) else { return true };
        let root = self.root().body();
        let lists = |role: &str, version: u64| {
            snapshot.body().meta.get(&format!("{role}.json")).is_some_and(|meta| meta.version == version)
        };
        let says_it = lists("targets", self.targets().body().version)
            && lists(RELEASES, self.releases().body().version)
            && verify(snapshot, "snapshot", root.authority("snapshot")).is_ok()
            && verify(timestamp, "timestamp", root.authority("timestamp")).is_ok();
        let is_old = is_half_over(timestamp.body().expires, lives.timestamp, now)
            || is_half_over(snapshot.body().expires, lives.rollouts, now);
        !says_it || is_old
    }

    /// The documents that people sign and that expire before `then`, with when.
    #[must_use]
    pub fn to_renew(&self, then: Timestamp) -> Vec<(&'static str, Timestamp)> {
        let all = [
            ("root", self.root().body().expires),
            ("targets", self.targets().body().expires),
            (RELEASES, self.releases().body().expires),
        ];
        all.into_iter().filter(|(_, expires)| *expires <= then).collect()
    }

    /// Whether the desired state must be published again although it is the same: it expires before long, or its key
    /// no longer counts.
    #[must_use]
    pub fn is_desired_due(&self, lives: &Lives, now: Timestamp) -> bool {
        self.rollouts().is_some_and(|rollouts| {
            is_half_over(rollouts.body().expires, lives.rollouts, now)
                || verify(rollouts, ROLLOUTS, self.targets().body().authority(ROLLOUTS)).is_err()
        })
    }

    /// The file that holds the desired state; none if none was published.
    #[must_use]
    pub fn desired_file(&self) -> Option<String> {
        let target = self.rollouts()?.body().targets.get(DESIRED_PATH)?;
        Some(target_file(DESIRED_PATH, target))
    }
}

fn is_half_over(expires: Timestamp, life: Duration, now: Timestamp) -> bool {
    now + life / 2 >= expires
}

/// From the first root on, each signed by the keys of the one before it and its own.
fn newest_root<E>(
    read: &mut impl FnMut(&str) -> Result<Option<Vec<u8>>, LoadError<E>>,
) -> Result<Document<Root>, LoadError<E>> {
    let mut root: Document<Root> = needed(read, "root", 1)?;
    let own = |root: &Document<Root>| verify(root, "root", root.body().authority("root"));
    own(&root).map_err(PublishError::from)?;
    while let Some(bytes) = read(&metadata_path("root", Some(root.body().version + 1)))? {
        let next = parse::<Root>("root", &bytes)?;
        verify(&next, "root", root.body().authority("root")).map_err(PublishError::from)?;
        own(&next).map_err(PublishError::from)?;
        check_version("root", root.body().version + 1, next.body().version)?;
        root = next;
    }
    Ok(root)
}

/// The document of `role` with the highest version from the one that is `listed` on.
fn newest<E>(
    read: &mut impl FnMut(&str) -> Result<Option<Vec<u8>>, LoadError<E>>,
    role: &'static str,
    listed: Option<u64>,
) -> Result<Document<Targets>, LoadError<E>> {
    let mut newest: Document<Targets> = needed(read, role, listed.unwrap_or(1))?;
    while let Some(bytes) = read(&metadata_path(role, Some(newest.body().version + 1)))? {
        let next = parse::<Targets>(role, &bytes)?;
        check_version(role, newest.body().version + 1, next.body().version)?;
        newest = next;
    }
    Ok(newest)
}

fn needed<T: Metadata, E>(
    read: &mut impl FnMut(&str) -> Result<Option<Vec<u8>>, LoadError<E>>,
    role: &'static str,
    version: u64,
) -> Result<Document<T>, LoadError<E>> {
    let path = metadata_path(role, Some(version));
    let bytes = read(&path)?.ok_or(LoadError::Missing(path))?;
    let document = parse::<T>(role, &bytes)?;
    check_version(role, version, document.body().version())?;
    Ok(document)
}

fn check_version(role: &'static str, expected: u64, found: u64) -> Result<(), PublishError> {
    match expected == found {
        true => Ok(()),
        false => Err(super::publish::refusal(role, Reason::WrongVersion { expected, found }).into()),
    }
}
