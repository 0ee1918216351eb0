//! A signed document: its exact bytes, what it says, and who signed it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::json::{canonical, parse};
use super::key::{Key, unhex};
use super::metadata::{Metadata, Root, cut};
use super::refusal::Reason;
use super::{SIGNATURES_MAX, metadata};

/// A signed document, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<T> {
    bytes: Vec<u8>,
    body: T,
    /// What the signatures cover.
    covered: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Signature {
    keyid: String,
    sig: String,
}

/// The keys that speak for a role.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// The role.
    pub role: &'a str,
    /// Keys by their ids; more than the role's may stand here.
    pub keys: &'a BTreeMap<String, Key>,
    /// Which of them count.
    pub keyids: &'a [String],
    /// How many different ones must sign.
    pub threshold: u64,
}

impl<T: Metadata> Document<T> {
    /// Reads a document; its signatures are not checked yet.
    ///
    /// # Errors
    /// It is not the JSON of a document of this kind.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let mut value = parse(bytes).map_err(Reason::Malformed)?;
        let signed = value.get_mut("signed").map(Value::take);
        let signed = signed.ok_or_else(|| Reason::Malformed("nothing in it is signed".to_owned()))?;
        check_kind::<T>(&signed)?;
        let wrap = |error: serde_json::Error| Reason::Malformed(error.to_string());
        let body = T::deserialize(&signed).map_err(wrap)?;
        body.check().map_err(Reason::Malformed)?;
        let signatures = value.get("signatures").unwrap_or(&Value::Null);
        let signatures = Vec::<Signature>::deserialize(signatures).map_err(wrap)?;
        if signatures.len() > SIGNATURES_MAX {
            let found = signatures.len();
            return Err(Reason::Malformed(format!("{found} signatures, over the limit of {SIGNATURES_MAX}")));
        }
        check_distinct(&signatures)?;
        Ok(Self { bytes: bytes.to_vec(), body, covered: canonical(&signed), signatures })
    }

    /// The exact bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says.
    #[must_use]
    pub const fn body(&self) -> &T {
        &self.body
    }

    /// Whether it says the same as `other`, whoever signed it.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.covered == other.covered
    }

    /// Checks that enough different keys of `authority` signed it.
    ///
    /// # Errors
    /// They did not.
    pub fn verify(&self, authority: Authority<'_>) -> Result<(), Reason> {
        let valid = self.signers(authority).len();
        let Authority { role, threshold, .. } = authority;
        match valid as u64 >= threshold.max(1) {
            true => Ok(()),
            false => Err(Reason::Signatures { role: cut(role), valid, threshold }),
        }
    }

    /// The different keys of `authority` that validly signed it.
    fn signers(&self, authority: Authority<'_>) -> BTreeSet<edgeward_core::Digest> {
        let valid = |signature: &Signature| {
            let listed = authority.keyids.contains(&signature.keyid);
            let key = authority.keys.get(&signature.keyid).filter(|_| listed)?;
            let identity = key.identity()?;
            key.verifies(&self.covered, &unhex(&signature.sig)?).then_some(identity)
        };
        self.signatures.iter().filter_map(valid).collect()
    }
}

/// Specification, section 4.2.1: a key id stands once among the signatures.
fn check_distinct(signatures: &[Signature]) -> Result<(), Reason> {
    let mut seen = BTreeSet::new();
    match signatures.iter().find(|signature| !seen.insert(&signature.keyid)) {
        Some(twice) => {
            Err(Reason::Malformed(format!("key {} stands twice among the signatures", cut(&twice.keyid))))
        }
        None => Ok(()),
    }
}

fn check_kind<T: Metadata>(signed: &Value) -> Result<(), Reason> {
    let text = |field: &str| signed.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("_type") != T::KIND {
        return Err(Reason::WrongType { expected: T::KIND, found: cut(text("_type")) });
    }
    let version = text("spec_version");
    match version.split('.').next() == Some("1") {
        true => Ok(()),
        false => {
            let (version, ours) = (cut(version), metadata::SPEC_VERSION);
            Err(Reason::Malformed(format!(
                "it follows TUF {version}, this program {ours}; update the program"
            )))
        }
    }
}

impl Root {
    /// The keys that speak for one of the four roles; none for another name.
    #[must_use]
    pub fn authority<'a>(&'a self, role: &'a str) -> Option<Authority<'a>> {
        let keys = self.roles.get(role)?;
        Some(Authority { role, keys: &self.keys, keyids: &keys.keyids, threshold: keys.threshold })
    }
}

impl metadata::Targets {
    /// The keys that speak for a role this one delegates to.
    #[must_use]
    pub fn authority<'a>(&'a self, role: &'a str) -> Option<Authority<'a>> {
        let delegations = self.delegations.as_ref()?;
        let delegated = delegations.roles.iter().find(|delegated| delegated.name == role)?;
        let (keyids, threshold) = (&delegated.keyids, delegated.threshold);
        Some(Authority { role, keys: &delegations.keys, keyids, threshold })
    }
}
