//! The four kinds of documents, as typed data. Fields that are not known here are kept, for they are signed too.
//!
//! Reading a type checks what it says of itself (versions and thresholds start at 1, no key id twice); what it says about
//! others is checked by whoever trusts it.

use std::collections::BTreeMap;

use edgeward_core::{Digest, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha512};

use super::key::{Key, hex};
use super::{KEYS_MAX, Reason, time};

/// The version of the specification that documents made here say they follow.
pub const SPEC_VERSION: &str = "1.0.31";
/// The roles that every root must name.
pub const TOP_LEVEL: [&str; 4] = ["root", "snapshot", "targets", "timestamp"];

/// What every document says of itself.
pub trait Metadata: Serialize + for<'de> Deserialize<'de> {
    /// Its `_type`.
    const KIND: &'static str;

    /// Its version.
    fn version(&self) -> u64;

    /// When its time is over.
    fn expires(&self) -> Timestamp;

    /// What a look at the whole document shows.
    ///
    /// # Errors
    /// It contradicts itself; the text is for people.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Which keys may sign for which role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Always `root`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// See [`SPEC_VERSION`].
    pub spec_version: String,
    /// Rises by one with every root.
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// When its time is over.
    #[serde(with = "time")]
    pub expires: Timestamp,
    /// Whether file names carry versions and hashes.
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// The keys by their ids.
    pub keys: BTreeMap<String, Key>,
    /// The keys of each role.
    pub roles: BTreeMap<String, RoleKeys>,
    /// Whatever else it says.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The keys of one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// Which keys count.
    #[serde(deserialize_with = "distinct")]
    pub keyids: Vec<String>,
    /// How many different ones must sign.
    #[serde(deserialize_with = "threshold")]
    pub threshold: u64,
    /// Whatever else it says.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Which snapshot counts now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimestampRole {
    /// Always `timestamp`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// See [`SPEC_VERSION`].
    pub spec_version: String,
    /// Rises with every timestamp.
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// When its time is over.
    #[serde(with = "time")]
    pub expires: Timestamp,
    /// One entry, `snapshot.json`.
    pub meta: BTreeMap<String, MetaFile>,
    /// Whatever else it says.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Which versions of all targets documents belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Always `snapshot`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// See [`SPEC_VERSION`].
    pub spec_version: String,
    /// Rises with every snapshot.
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// When its time is over.
    #[serde(with = "time")]
    pub expires: Timestamp,
    /// By file name, such as `targets.json`.
    pub meta: BTreeMap<String, MetaFile>,
    /// Whatever else it says.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Which bytes count, and who else may say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// Always `targets`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// See [`SPEC_VERSION`].
    pub spec_version: String,
    /// Rises with every one of this role.
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// When its time is over.
    #[serde(with = "time")]
    pub expires: Timestamp,
    /// By path.
    pub targets: BTreeMap<String, Target>,
    /// Who else may vouch for which paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// Whatever else it says.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One document as another one lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// Its version.
    #[serde(deserialize_with = "version")]
    pub version: u64,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its hashes, in hex, by algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<Hashes>,
    /// Whatever else it says.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its length in bytes.
    pub length: u64,
    /// Its hashes, in hex, by algorithm.
    pub hashes: Hashes,
    /// What the signer says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
    /// Whatever else it says.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Hashes in hex by algorithm; at least one is `sha256` or `sha512`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Hashes(BTreeMap<String, String>);

/// Who else may vouch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// The keys by their ids.
    pub keys: BTreeMap<String, Key>,
    /// In the order in which they are asked.
    pub roles: Vec<DelegatedRole>,
    /// Whatever else it says.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One role that may vouch for some paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// Its name.
    pub name: String,
    /// Which keys count.
    #[serde(deserialize_with = "distinct")]
    pub keyids: Vec<String>,
    /// How many different ones must sign.
    #[serde(deserialize_with = "threshold")]
    pub threshold: u64,
    /// Whether nobody after it is asked about its paths.
    pub terminating: bool,
    /// Patterns of the paths it may vouch for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Or how the hex SHA-256 of a path must begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
    /// Whatever else it says.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Metadata for Root {
    const KIND: &'static str = "root";

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn check(&self) -> Result<(), String> {
        check_keys(&self.keys)?;
        match TOP_LEVEL.into_iter().find(|role| !self.roles.contains_key(*role)) {
            Some(role) => Err(format!("it names no keys for role {role}")),
            None => Ok(()),
        }
    }
}

impl Metadata for TimestampRole {
    const KIND: &'static str = "timestamp";

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn check(&self) -> Result<(), String> {
        match self.meta.contains_key("snapshot.json") {
            true => Ok(()),
            false => Err("it lists no snapshot.json".to_owned()),
        }
    }
}

impl Metadata for Snapshot {
    const KIND: &'static str = "snapshot";

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn check(&self) -> Result<(), String> {
        match self.meta.contains_key("targets.json") {
            true => Ok(()),
            false => Err("it lists no targets.json".to_owned()),
        }
    }
}

impl Metadata for Targets {
    const KIND: &'static str = "targets";

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn check(&self) -> Result<(), String> {
        let Some(delegations) = &self.delegations else { return Ok(()) };
        check_keys(&delegations.keys)?;
        let mut names: Vec<&str> = delegations.roles.iter().map(|role| role.name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("it delegates twice to one role".to_owned());
        }
        delegations.roles.iter().try_for_each(DelegatedRole::check)
    }
}

fn check_keys(keys: &BTreeMap<String, Key>) -> Result<(), String> {
    match keys.len() <= KEYS_MAX {
        true => Ok(()),
        false => Err(format!("it names {} keys, over the limit of {KEYS_MAX}", keys.len())),
    }
}

impl DelegatedRole {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() || TOP_LEVEL.contains(&name.as_str()) || name.len() > super::NAME_LEN_MAX {
            return Err(format!("it delegates to '{}', which no delegated role may be called", cut(name)));
        }
        match self.paths.is_some() == self.path_hash_prefixes.is_some() {
            true => Err(format!("the delegation to {name} must have either paths or path_hash_prefixes")),
            false => Ok(()),
        }
    }
}

/// The beginning of a text that somebody else chose, to be shown to people.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl TimestampRole {
    /// The snapshot that counts.
    #[must_use]
    pub fn snapshot(&self) -> Option<&MetaFile> {
        self.meta.get("snapshot.json")
    }
}

impl MetaFile {
    /// What stands for `bytes` of this version.
    #[must_use]
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        let (length, hashes) = (Some(bytes.len() as u64), Some(Hashes::of(bytes)));
        Self { version, length, hashes, extra: Map::new() }
    }

    /// Whether `bytes` are the ones that are meant, as far as it says.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), Reason> {
        self.length.map_or(Ok(()), |length| check_length(length, bytes))?;
        self.hashes.as_ref().map_or(Ok(()), |hashes| hashes.check(bytes))
    }
}

impl Target {
    /// What stands for `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8], custom: Option<Value>) -> Self {
        Self { length: bytes.len() as u64, hashes: Hashes::of(bytes), custom, extra: Map::new() }
    }

    /// Whether `bytes` are the ones that were signed.
    ///
    /// # Errors
    /// Length or hash differ.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Reason> {
        check_length(self.length, bytes)?;
        self.hashes.check(bytes)
    }

    /// Its SHA-256; none if it is named by another hash.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        Digest::from_hex(self.hashes.0.get("sha256")?).ok()
    }
}

fn check_length(expected: u64, bytes: &[u8]) -> Result<(), Reason> {
    let found = bytes.len() as u64;
    match found == expected {
        true => Ok(()),
        false => Err(Reason::WrongLength { expected, found }),
    }
}

impl Hashes {
    /// The SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(BTreeMap::from([("sha256".to_owned(), Digest::of(bytes).hex())]))
    }

    /// The hash that names a file in a consistent snapshot.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.get("sha256").or_else(|| self.0.get("sha512")).map_or("", String::as_str)
    }

    /// Every hash in hex, for a file may be named by any of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// Every hash of a kind that is known here must be right, and one is known.
    fn check(&self, bytes: &[u8]) -> Result<(), Reason> {
        for (algorithm, expected) in &self.0 {
            let found = match algorithm.as_str() {
                "sha256" => Digest::of(bytes).hex(),
                "sha512" => hex(&Sha512::digest(bytes)),
                _ => continue,
            };
            if found != *expected {
                return Err(Reason::WrongHash { algorithm: algorithm.clone() });
            }
        }
        Ok(())
    }
}

impl TryFrom<BTreeMap<String, String>> for Hashes {
    type Error = String;

    fn try_from(hashes: BTreeMap<String, String>) -> Result<Self, String> {
        let digits = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let known: Vec<bool> = hashes
            .iter()
            .filter_map(|(algorithm, text)| match algorithm.as_str() {
                "sha256" => Some(digits(text, 64)),
                "sha512" => Some(digits(text, 128)),
                _ => None,
            })
            .collect();
        match !known.is_empty() && known.iter().all(|good| *good) {
            true => Ok(Self(hashes)),
            false => Err("hashes must hold sha256 or sha512 in lower-case hex".to_owned()),
        }
    }
}

impl From<Hashes> for BTreeMap<String, String> {
    fn from(hashes: Hashes) -> Self {
        hashes.0
    }
}

/// A version: from 1 to the largest that every implementation can hold.
fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    positive(deserializer, "a version")
}

fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    positive(deserializer, "a threshold")
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D, what: &str) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    match (1..=i64::MAX.cast_unsigned()).contains(&number) {
        true => Ok(number),
        false => Err(serde::de::Error::custom(format!("{what} of {number} is out of range"))),
    }
}

fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let keyids = Vec::<String>::deserialize(deserializer)?;
    let mut sorted: Vec<&String> = keyids.iter().collect();
    sorted.sort_unstable();
    match sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(serde::de::Error::custom("a key id stands twice in one role")),
        false => Ok(keyids),
    }
}
