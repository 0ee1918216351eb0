//! What a client trusts: byte-exact documents that belong together, and the earliest that it can be now.
//!
//! Serialised, it is one value to be kept as one. Reading it back checks every document again; one that does not parse, or
//! is not signed by the root beside it, means that the copy is damaged, and never that there was none before, or old
//! documents could be replayed.

use std::collections::BTreeMap;

use edgeward_core::Timestamp;
use edgeward_core::envelope::Base64;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::metadata::{Root, Snapshot, Targets, TimestampRole};
use super::refusal::{Reason, Refusal};

/// Schema of a serialised [`Trusted`].
pub const TRUSTED_SCHEMA: &str = "edgeward.trusted/1";

/// The documents a client trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct Trusted {
    pub(super) root: Document<Root>,
    pub(super) timestamp: Option<Document<TimestampRole>>,
    pub(super) snapshot: Option<Document<Snapshot>>,
    /// By role, the top-level one among them.
    pub(super) targets: BTreeMap<String, Document<Targets>>,
    pub(super) floor: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    schema: String,
    /// By role, byte for byte.
    documents: BTreeMap<String, Base64>,
    floor_ms: Timestamp,
}

impl Trusted {
    /// Trusts `root` from now on, at a moment no earlier than `floor` (such as when the program was made).
    ///
    /// # Errors
    /// It is no root, or not signed by its own keys.
    pub fn pin(root: &[u8], floor: Timestamp) -> Result<Self, Refusal> {
        let root = Document::<Root>::parse(root).map_err(|reason| reason.of("root.json"))?;
        let authority = root.body().authority("root");
        let authority = authority.ok_or(Reason::NotListed).map_err(|reason| reason.of("root.json"))?;
        root.verify(authority).map_err(|reason| reason.of("root.json"))?;
        Ok(Self { root, timestamp: None, snapshot: None, targets: BTreeMap::new(), floor })
    }

    /// The set that documents kept one by one make, by role. What the root no longer believes is left out, as after a
    /// change of keys.
    ///
    /// # Errors
    /// A document cannot be read: that copy is damaged.
    pub fn from_documents(documents: &BTreeMap<String, Vec<u8>>, floor: Timestamp) -> Result<Self, Refusal> {
        let mut trusted = Self::read(documents, floor)?;
        trusted.forget_unbelieved();
        Ok(trusted)
    }

    fn read(documents: &BTreeMap<String, Vec<u8>>, floor: Timestamp) -> Result<Self, Refusal> {
        let root = documents.get("root").ok_or_else(|| Reason::Absent.of("root.json"))?;
        let mut trusted = Self::pin(root, floor)?;
        for (role, bytes) in documents {
            let wrap = |reason: Reason| reason.of(format!("{role}.json"));
            match role.as_str() {
                "root" => {}
                "timestamp" => trusted.timestamp = Some(Document::parse(bytes).map_err(wrap)?),
                "snapshot" => trusted.snapshot = Some(Document::parse(bytes).map_err(wrap)?),
                _ => {
                    trusted.targets.insert(role.clone(), Document::parse(bytes).map_err(wrap)?);
                }
            }
        }
        Ok(trusted)
    }

    /// Every document, byte for byte, by role.
    #[must_use]
    pub fn documents(&self) -> BTreeMap<String, &[u8]> {
        let top = [
            Some(("root", self.root.bytes())),
            self.timestamp.as_ref().map(|document| ("timestamp", document.bytes())),
            self.snapshot.as_ref().map(|document| ("snapshot", document.bytes())),
        ];
        let top = top.into_iter().flatten().map(|(role, bytes)| (role.to_owned(), bytes));
        top.chain(self.targets.iter().map(|(role, document)| (role.clone(), document.bytes()))).collect()
    }

    /// How many bytes its documents have.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.documents().values().map(|bytes| bytes.len() as u64).sum()
    }

    /// The root.
    #[must_use]
    pub const fn root(&self) -> &Root {
        self.root.body()
    }

    /// The timestamp; none before the first.
    #[must_use]
    pub fn timestamp(&self) -> Option<&TimestampRole> {
        self.timestamp.as_ref().map(Document::body)
    }

    /// The snapshot; none before the first.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref().map(Document::body)
    }

    /// What `role` vouches for, `targets` being the top-level role; none if it was never needed. Whoever reads a
    /// delegated role's has looked it up first, which is what checks it.
    #[must_use]
    pub fn targets(&self, role: &str) -> Option<&Targets> {
        self.targets.get(role).map(Document::body)
    }

    /// The earliest that it can be now: the latest moment a verified timestamp vouched for, or saw the clock at.
    #[must_use]
    pub const fn floor(&self) -> Timestamp {
        self.floor
    }

    /// When the first of the documents expires that say what counts now; none before the first refresh. The root is not
    /// among them: an expired one stops the next refresh, not what was believed.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        let timestamp = self.timestamp().map(|document| document.expires);
        let snapshot = self.snapshot().map(|document| document.expires);
        let targets = self.targets.values().map(|document| document.body().expires);
        timestamp.into_iter().chain(snapshot).chain(targets).min()
    }

    /// Forgets timestamp, snapshot and targets that the root does not believe. After a change of keys this is what
    /// recovers from versions that a thief of the old keys has raised.
    pub(super) fn forget_unbelieved(&mut self) -> bool {
        let root = self.root.body();
        let mut forgot = false;
        let mut believes = |role: &str, check: &dyn Fn(super::document::Authority<'_>) -> bool| {
            let good = root.authority(role).is_some_and(check);
            forgot |= !good;
            good
        };
        let timestamp = self.timestamp.take();
        let timestamp = timestamp.filter(|d| believes("timestamp", &|keys| d.verify(keys).is_ok()));
        let snapshot = self.snapshot.take();
        let snapshot = snapshot.filter(|d| believes("snapshot", &|keys| d.verify(keys).is_ok()));
        self.targets
            .retain(|role, d| role != "targets" || believes("targets", &|keys| d.verify(keys).is_ok()));
        (self.timestamp, self.snapshot) = (timestamp, snapshot);
        forgot
    }
}

impl TryFrom<Kept> for Trusted {
    type Error = String;

    fn try_from(kept: Kept) -> Result<Self, String> {
        if kept.schema != TRUSTED_SCHEMA {
            return Err(format!("schema '{}' where '{TRUSTED_SCHEMA}' belongs", kept.schema));
        }
        let documents = kept.documents.into_iter().map(|(role, bytes)| (role, bytes.0)).collect();
        let mut trusted = Self::read(&documents, kept.floor_ms).map_err(|refusal| refusal.to_string())?;
        match trusted.forget_unbelieved() {
            true => Err("its documents are not signed by its root".to_owned()),
            false => Ok(trusted),
        }
    }
}

impl From<Trusted> for Kept {
    fn from(trusted: Trusted) -> Self {
        let documents = trusted.documents().into_iter();
        let documents = documents.map(|(role, bytes)| (role, Base64(bytes.to_vec()))).collect();
        Self { schema: TRUSTED_SCHEMA.to_owned(), documents, floor_ms: trusted.floor }
    }
}
