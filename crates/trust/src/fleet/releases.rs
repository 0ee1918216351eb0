//! What was released: adding to it, which a pipeline does with its offline key, and what may follow what.

use edgeward_core::manifest::MANIFEST_BYTES_MAX;
use edgeward_core::{Digest, ModelName, Timestamp};
use serde_json::Value;

use super::publish::{PublishError, parse, refusal};
use super::{Lives, RELEASES, release_of, release_path};
use crate::key::Signer;
use crate::tuf::document::Authority;
use crate::tuf::metadata::Target;
use crate::tuf::repository::{self, Holders, role_keys, with_ids};
use crate::tuf::{Document, Targets};

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
    let known = own(bytes, signer)?;
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

/// The releases in `bytes`, good for as long again: nothing in them changes but their version and when they expire.
///
/// # Errors
/// The signer did not sign `bytes`, or the key cannot be reached.
pub fn renew_releases(
    bytes: &[u8],
    signer: &dyn Signer,
    lives: &Lives,
    now: Timestamp,
) -> Result<Vec<u8>, PublishError> {
    let mut body = own(bytes, signer)?.body().clone();
    body.version += 1;
    body.expires = body.expires.max(now + lives.releases);
    Ok(repository::sign(&body, &[signer])?)
}

/// Reads releases that `signer` signed.
fn own(bytes: &[u8], signer: &dyn Signer) -> Result<Document<Targets>, PublishError> {
    let known = parse::<Targets>(RELEASES, bytes)?;
    let public = [signer.public_key()];
    let (keys, role) = (with_ids(&public).collect(), role_keys(&Holders { keys: &public, threshold: 1 }));
    let own = Authority { role: RELEASES, keys: &keys, keyids: &role.keyids, threshold: 1 };
    known.verify(own).map_err(|reason| refusal(RELEASES, reason))?;
    Ok(known)
}

/// Whether `new` may take the place of `old`.
pub(super) fn check_releases(old: &Targets, new: &Targets) -> Result<(), PublishError> {
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
