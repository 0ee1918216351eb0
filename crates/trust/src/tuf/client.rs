//! The client's work flow (specification, section 5) as a state machine.
//!
//! A [`Client`] begins with a refresh: root after root, then timestamp, snapshot and top-level targets. After it targets can
//! be looked up, which asks for delegated roles only as they are needed. Every document that is accepted is part of
//! [`Client::trusted`] at once, whatever is refused later: that is how a new root counts although what follows is broken.

use edgeward_core::Timestamp;

use super::document::{Authority, Document};
use super::metadata::{MetaFile, Metadata, Snapshot, Target, Targets, TimestampRole};
use super::refusal::{Reason, Refusal};
use super::search::Search;
use super::trusted::Trusted;
use super::{
    NAME_LEN_MAX, ROOT_BYTES_MAX, ROOTS_PER_REFRESH_MAX, SNAPSHOT_BYTES_MAX, TARGETS_BYTES_MAX,
    TIMESTAMP_BYTES_MAX, time,
};

/// The field in which a timestamp made here says when it was made.
pub const ISSUED_FIELD: &str = "x-edgeward-issued";

/// A refresh, and look-ups after it.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) trusted: Trusted,
    now: Timestamp,
    pub(super) stage: Stage,
    roots: u32,
    pub(super) search: Option<Search>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Root,
    Timestamp,
    Snapshot,
    /// The targets of `role`, to which `parent` delegates; `root` to the top-level one.
    Targets {
        role: String,
        parent: String,
    },
    /// Nothing: done, or refused.
    Idle,
}

/// A file that is needed next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Below which address.
    pub place: Place,
    /// Its path there, ready to be part of an address.
    pub path: String,
    /// Most bytes it may have. Read one more at most: that there is one says enough.
    pub bytes_max: u64,
}

/// The two addresses of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the documents are.
    Metadata,
    /// Where the targets are.
    Targets,
}

/// What came of fetching a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its bytes, one more than wanted at most.
    Bytes(Vec<u8>),
    /// The server says that it has no such file.
    Absent,
}

/// A target that a role vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which role.
    pub role: String,
    /// Its path.
    pub path: String,
    /// What is signed about it.
    pub target: Target,
}

impl Client {
    /// Begins a refresh of what is `trusted`, at the time `now` by the device's clock.
    #[must_use]
    pub fn new(trusted: Trusted, now: Timestamp) -> Self {
        Self { trusted, now, stage: Stage::Root, roots: 0, search: None }
    }

    /// What is trusted so far.
    #[must_use]
    pub const fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// What is trusted so far, to be kept.
    #[must_use]
    pub fn into_trusted(self) -> Trusted {
        self.trusted
    }

    /// Whether the clock stands before a time there is proof of.
    #[must_use]
    pub fn clock_unsure(&self) -> bool {
        self.now < self.trusted.floor
    }

    /// The file that is needed next; none when there is nothing to do, or something was refused.
    #[must_use]
    pub fn next(&self) -> Option<Want> {
        let (path, bytes_max) = match &self.stage {
            Stage::Root => (format!("{}.root.json", self.trusted.root().version + 1), ROOT_BYTES_MAX),
            Stage::Timestamp => ("timestamp.json".to_owned(), TIMESTAMP_BYTES_MAX),
            Stage::Snapshot => self.file_of("snapshot", self.snapshot_meta(), SNAPSHOT_BYTES_MAX),
            Stage::Targets { role, .. } => self.file_of(role, self.targets_meta(role), TARGETS_BYTES_MAX),
            Stage::Idle => return None,
        };
        Some(Want { place: Place::Metadata, path, bytes_max })
    }

    /// Goes on with the file that was wanted.
    ///
    /// # Errors
    /// It is refused, and with it the refresh or the look-up; what was accepted before stays.
    pub fn supply(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Some(want) = self.next() else { return Ok(()) };
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let outcome = match bytes.len() as u64 > want.bytes_max {
            true => Err(Reason::TooLarge { bytes_max: want.bytes_max }),
            false => self.accept(&stage, bytes),
        };
        outcome.map_err(|reason| reason.of(want.path))?;
        self.go_on(&stage)
    }

    /// Goes on without the file that was wanted: there is none.
    ///
    /// # Errors
    /// It was announced; or, if it was a further root, the last one has expired.
    pub fn absent(&mut self) -> Result<(), Refusal> {
        let Some(want) = self.next() else { return Ok(()) };
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Root => self.leave_roots(),
            _ => Err(Reason::Absent.of(want.path)),
        }
    }

    /// Fetches with `fetch` until nothing more is needed.
    ///
    /// # Errors
    /// A file cannot be fetched, or is refused.
    pub fn drive<E: From<Refusal>>(
        &mut self,
        mut fetch: impl FnMut(&Want) -> Result<Answer, E>,
    ) -> Result<(), E> {
        while let Some(want) = self.next() {
            match fetch(&want)? {
                Answer::Bytes(bytes) => self.supply(&bytes)?,
                Answer::Absent => self.absent()?,
            }
        }
        Ok(())
    }

    fn accept(&mut self, stage: &Stage, bytes: &[u8]) -> Result<(), Reason> {
        match stage {
            Stage::Root => self.accept_root(bytes),
            Stage::Timestamp => self.accept_timestamp(bytes),
            Stage::Snapshot => self.accept_snapshot(bytes),
            Stage::Targets { role, parent } => self.accept_targets(role, parent, bytes),
            Stage::Idle => Ok(()),
        }
    }

    fn go_on(&mut self, after: &Stage) -> Result<(), Refusal> {
        match after {
            Stage::Root => {
                self.roots += 1;
                if self.roots >= ROOTS_PER_REFRESH_MAX {
                    return self.leave_roots();
                }
                self.stage = Stage::Root;
                Ok(())
            }
            Stage::Timestamp => self.want_snapshot(),
            Stage::Snapshot => self.want_top_level_targets(),
            Stage::Targets { .. } | Stage::Idle => self.go_on_searching(),
        }
    }

    /// Section 5.3: the successor, signed by the keys of both, replaces the root, expired or not.
    fn accept_root(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let root = Document::<super::Root>::parse(bytes)?;
        for judge in [self.trusted.root(), root.body()] {
            root.verify(judge.authority("root").ok_or(Reason::NotListed)?)?;
        }
        let expected = self.trusted.root().version + 1;
        check_version(expected, root.body().version)?;
        self.trusted.root = root;
        self.trusted.forget_unbelieved();
        Ok(())
    }

    fn leave_roots(&mut self) -> Result<(), Refusal> {
        let root = self.trusted.root();
        self.check_alive(root.expires).map_err(|reason| reason.of(format!("{}.root.json", root.version)))?;
        self.stage = Stage::Timestamp;
        Ok(())
    }

    /// Section 5.4. One that says what is trusted already changes nothing but the time floor.
    fn accept_timestamp(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let new = Document::<TimestampRole>::parse(bytes)?;
        new.verify(self.authority("timestamp")?)?;
        if let Some(old) = &self.trusted.timestamp {
            check_not_older("the timestamp", old.body().version, new.body().version)?;
            if old.body().version == new.body().version {
                return match new.says_the_same(old) {
                    true => self.accept_time(new.body().clone()),
                    false => Err(Reason::Equivocation { version: old.body().version }),
                };
            }
            check_snapshot_not_older(old.body(), new.body())?;
        }
        self.accept_time(new.body().clone())?;
        self.trusted.timestamp = Some(new);
        Ok(())
    }

    /// The clock raises the floor only while a timestamp still counts, so one wild jump does not outlast it.
    #[expect(clippy::needless_pass_by_value, reason = "it may be the trusted one, which is changed here")]
    fn accept_time(&mut self, timestamp: TimestampRole) -> Result<(), Reason> {
        self.check_alive(timestamp.expires)?;
        let issued = timestamp.extra.get(ISSUED_FIELD).and_then(serde_json::Value::as_str);
        let issued = issued.and_then(time::parse).filter(|issued| *issued < timestamp.expires);
        self.trusted.floor = self.trusted.floor.max(self.now).max(issued.unwrap_or(self.now));
        Ok(())
    }

    /// Asks for the snapshot the timestamp names, unless it is the trusted one.
    fn want_snapshot(&mut self) -> Result<(), Refusal> {
        let file = |this: &Self| this.file_of("snapshot", this.snapshot_meta(), SNAPSHOT_BYTES_MAX).0;
        let meta = self.snapshot_meta().ok_or_else(|| Reason::NotListed.of("snapshot.json"))?;
        let known = self.trusted.snapshot.as_ref();
        match known.filter(|known| known.body().version == meta.version && meta.check(known.bytes()).is_ok())
        {
            Some(known) => {
                self.check_alive(known.body().expires).map_err(|reason| reason.of(file(self)))?;
                self.want_top_level_targets()
            }
            None => {
                self.stage = Stage::Snapshot;
                Ok(())
            }
        }
    }

    /// Section 5.5.
    fn accept_snapshot(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let meta = self.snapshot_meta().ok_or(Reason::NotListed)?;
        meta.check(bytes)?;
        let new = Document::<Snapshot>::parse(bytes)?;
        new.verify(self.authority("snapshot")?)?;
        check_version(meta.version, new.body().version)?;
        if let Some(old) = &self.trusted.snapshot {
            check_same_if_same_version(old, &new)?;
            check_nothing_older(old.body(), new.body())?;
        }
        self.check_alive(new.body().expires)?;
        let listed = |role: &String| new.body().meta.contains_key(&format!("{role}.json"));
        self.trusted.targets.retain(|role, _| listed(role));
        self.trusted.snapshot = Some(new);
        Ok(())
    }

    fn want_top_level_targets(&mut self) -> Result<(), Refusal> {
        self.want_targets("targets", "root").map(|_| ())
    }

    /// Asks for the targets of `role` unless the trusted ones are the right ones; true if they are.
    pub(super) fn want_targets(&mut self, role: &str, parent: &str) -> Result<bool, Refusal> {
        let file = self.file_of(role, self.targets_meta(role), TARGETS_BYTES_MAX).0;
        let check = || {
            let meta = self.targets_meta(role).ok_or(Reason::NotListed)?;
            let authority = self.delegated(role, parent)?;
            let known = self.trusted.targets.get(role).filter(|known| {
                let is_meant = known.body().version == meta.version && meta.check(known.bytes()).is_ok();
                is_meant && known.verify(authority).is_ok()
            });
            known.map_or(Ok(false), |known| self.check_alive(known.body().expires).map(|()| true))
        };
        let known = check().map_err(|reason| reason.of(file))?;
        if !known {
            self.stage = Stage::Targets { role: role.to_owned(), parent: parent.to_owned() };
        }
        Ok(known)
    }

    /// Section 5.6.
    fn accept_targets(&mut self, role: &str, parent: &str, bytes: &[u8]) -> Result<(), Reason> {
        let meta = self.targets_meta(role).ok_or(Reason::NotListed)?;
        meta.check(bytes)?;
        let new = Document::<Targets>::parse(bytes)?;
        let authority = self.delegated(role, parent)?;
        new.verify(authority)?;
        check_version(meta.version, new.body().version)?;
        let old = self.trusted.targets.get(role).filter(|old| old.verify(authority).is_ok());
        old.map_or(Ok(()), |old| check_same_if_same_version(old, &new))?;
        self.check_alive(new.body().expires)?;
        self.trusted.targets.insert(role.to_owned(), new);
        Ok(())
    }

    fn authority<'a>(&'a self, role: &'a str) -> Result<Authority<'a>, Reason> {
        self.trusted.root().authority(role).ok_or(Reason::NotListed)
    }

    fn delegated<'a>(&'a self, role: &'a str, parent: &str) -> Result<Authority<'a>, Reason> {
        match parent {
            "root" => self.authority(role),
            _ => self
                .trusted
                .targets(parent)
                .and_then(|targets| targets.authority(role))
                .ok_or(Reason::NotListed),
        }
    }

    fn snapshot_meta(&self) -> Option<&MetaFile> {
        self.trusted.timestamp()?.snapshot()
    }

    fn targets_meta(&self, role: &str) -> Option<&MetaFile> {
        self.trusted.snapshot()?.meta.get(&format!("{role}.json"))
    }

    fn file_of(&self, role: &str, meta: Option<&MetaFile>, bytes_max: u64) -> (String, u64) {
        let name = encode(role);
        let bytes_max = meta.and_then(|meta| meta.length).map_or(bytes_max, |length| length.min(bytes_max));
        match meta.filter(|_| self.trusted.root().consistent_snapshot) {
            Some(meta) => (format!("{}.{name}.json", meta.version), bytes_max),
            None => (format!("{name}.json"), bytes_max),
        }
    }

    fn check_alive(&self, expired_at: Timestamp) -> Result<(), Reason> {
        let now = self.now.max(self.trusted.floor);
        match now < expired_at {
            true => Ok(()),
            false => Err(Reason::Expired { expired_at, now }),
        }
    }
}

impl Found {
    /// The file to fetch.
    ///
    /// # Errors
    /// The path must not become part of an address.
    pub fn want(&self, consistent_snapshot: bool) -> Result<Want, Refusal> {
        let plain = |segment: &str| {
            !matches!(segment, "" | "." | "..") && !segment.chars().any(|c| c.is_control() || c == '\\')
        };
        if self.path.len() > NAME_LEN_MAX || !self.path.split('/').all(plain) {
            let name = super::metadata::cut(&self.path);
            return Err(Reason::Name(name.clone()).of(name));
        }
        let segments: Vec<String> = self.path.split('/').map(encode).collect();
        let (folders, name) = segments.split_at(segments.len() - 1);
        let name = match consistent_snapshot {
            true => format!("{}.{}", self.target.hashes.prefix(), name.concat()),
            false => name.concat(),
        };
        let path = folders.iter().chain([&name]).map(String::as_str).collect::<Vec<_>>().join("/");
        Ok(Want { place: Place::Targets, path, bytes_max: self.target.length })
    }

    /// Whether `bytes` are what was signed.
    ///
    /// # Errors
    /// They are not.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Refusal> {
        self.target.check(bytes).map_err(|reason| reason.of(super::metadata::cut(&self.path)))
    }
}

/// A name as one segment of an address: everything but letters, digits, `-`, `.`, `_` and `~` in percent form.
#[must_use]
pub fn encode(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::with_capacity(name.len()), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            // Writing to a string never fails.
            _ => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

fn check_version(expected: u64, found: u64) -> Result<(), Reason> {
    match expected == found {
        true => Ok(()),
        false => Err(Reason::WrongVersion { expected, found }),
    }
}

fn check_not_older(of: &str, trusted: u64, found: u64) -> Result<(), Reason> {
    match found >= trusted {
        true => Ok(()),
        false => Err(Reason::RolledBack { of: of.to_owned(), trusted, found }),
    }
}

fn check_snapshot_not_older(old: &TimestampRole, new: &TimestampRole) -> Result<(), Reason> {
    match (old.snapshot(), new.snapshot()) {
        (Some(old), Some(new)) => check_not_older("snapshot.json", old.version, new.version),
        _ => Ok(()),
    }
}

/// No role is missing, and none is older.
fn check_nothing_older(old: &Snapshot, new: &Snapshot) -> Result<(), Reason> {
    old.meta.iter().try_for_each(|(file, old)| {
        let new = new.meta.get(file).ok_or_else(|| Reason::Forgotten { role: super::metadata::cut(file) })?;
        check_not_older(&super::metadata::cut(file), old.version, new.version)
    })
}

fn check_same_if_same_version<T: Metadata>(old: &Document<T>, new: &Document<T>) -> Result<(), Reason> {
    let version = old.body().version();
    match version == new.body().version() && !new.says_the_same(old) {
        true => Err(Reason::Equivocation { version }),
        false => Ok(()),
    }
}
