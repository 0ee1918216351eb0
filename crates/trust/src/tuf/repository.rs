//! Making and signing documents. The same bodies, keys and times always give the same bytes.
//!
//! A signer only ever gets a message and gives a signature back ([`Signer`]), so a key may be in a file, in a hardware token
//! behind PKCS#11 (`C_SignInit` with `CKM_EDDSA`, then `C_Sign`), or with a person who signs on another machine and
//! hands over the document: [`add_signatures`] adds to the ones that are there.

use std::collections::BTreeMap;

use edgeward_core::Timestamp;
use serde_json::{Map, Value, json};

use super::json::{canonical, parse};
use super::key::{Key, hex};
use super::metadata::{Metadata, RoleKeys, Root, SPEC_VERSION, Targets};
use super::refusal::Reason;
use crate::key::{PublicKey, Signer, SignerError};

/// The keys of a role that is made.
#[derive(Clone, Debug)]
pub struct Holders<'a> {
    /// Whose signatures count.
    pub keys: &'a [PublicKey],
    /// How many different ones are needed.
    pub threshold: u64,
}

/// A document that was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It is no document.
    #[error("the document cannot be signed: {0}")]
    Document(Reason),
    /// A key cannot be reached.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// It has no JSON form.
    #[error("writing the document")]
    Write(#[from] serde_json::Error),
}

/// A signed document.
///
/// # Errors
/// A key cannot be reached.
pub fn sign<T: Metadata>(body: &T, signers: &[&dyn Signer]) -> Result<Vec<u8>, SignError> {
    let signed = serde_json::to_value(body)?;
    write(&signed, Vec::new(), signers)
}

/// The document in `bytes` with the signatures of `signers` besides the others it has; an older one of the same key is
/// replaced.
///
/// # Errors
/// It is not a document of this kind, or a key cannot be reached.
pub fn add_signatures<T: Metadata>(bytes: &[u8], signers: &[&dyn Signer]) -> Result<Vec<u8>, SignError> {
    super::Document::<T>::parse(bytes).map_err(SignError::Document)?;
    let value = parse(bytes).map_err(|reason| SignError::Document(Reason::Malformed(reason)))?;
    let others = value["signatures"].as_array().cloned().unwrap_or_default();
    write(&value["signed"], others, signers)
}

fn write(signed: &Value, others: Vec<Value>, signers: &[&dyn Signer]) -> Result<Vec<u8>, SignError> {
    let message = canonical(signed);
    let mut signatures = others;
    for signer in signers {
        let keyid = Key::from(&signer.public_key()).id();
        signatures.retain(|other| other["keyid"] != json!(keyid));
        signatures.push(json!({ "keyid": keyid, "sig": hex(&signer.sign(&message)?) }));
    }
    let mut bytes = serde_json::to_vec(&json!({ "signatures": signatures, "signed": signed }))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The first root: consistent snapshots, and the keys of the four roles.
#[must_use]
pub fn first_root(expires: Timestamp, roles: &[(&str, Holders<'_>)]) -> Root {
    let mut root = Root {
        kind: Root::KIND.to_owned(),
        spec_version: SPEC_VERSION.to_owned(),
        version: 1,
        expires,
        consistent_snapshot: true,
        keys: BTreeMap::new(),
        roles: BTreeMap::new(),
        extra: Map::new(),
    };
    for (role, holders) in roles {
        root.set_holders(role, holders);
    }
    root
}

impl Root {
    /// Gives `role` these keys instead of those it has; keys that nobody needs any more are dropped.
    pub fn set_holders(&mut self, role: &str, holders: &Holders<'_>) {
        self.roles.insert(role.to_owned(), role_keys(holders));
        self.keys.extend(with_ids(holders.keys));
        self.drop_unused_keys();
    }

    fn drop_unused_keys(&mut self) {
        let roles = &self.roles;
        // What is not known here may name keys too.
        let elsewhere = serde_json::to_string(&self.extra).unwrap_or_default();
        self.keys.retain(|id, _| {
            elsewhere.contains(id.as_str()) || roles.values().any(|role| role.keyids.contains(id))
        });
    }
}

/// The ids and threshold of `holders`.
#[must_use]
pub fn role_keys(holders: &Holders<'_>) -> RoleKeys {
    let keyids = holders.keys.iter().map(|key| Key::from(key).id()).collect();
    RoleKeys { keyids, threshold: holders.threshold, extra: Map::new() }
}

/// Keys by their ids.
pub fn with_ids(keys: &[PublicKey]) -> impl Iterator<Item = (String, Key)> {
    keys.iter().map(Key::from).map(|key| (key.id(), key))
}

/// A targets document that vouches for nothing yet.
#[must_use]
pub fn empty_targets(expires: Timestamp) -> Targets {
    Targets {
        kind: Targets::KIND.to_owned(),
        spec_version: SPEC_VERSION.to_owned(),
        version: 1,
        expires,
        targets: BTreeMap::new(),
        delegations: None,
        extra: Map::new(),
    }
}
