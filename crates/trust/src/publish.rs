//! Signing, on the control plane and in the pipeline: the documents that a [`crate::Believer`] accepts.
//!
//! A signer refuses to put its name under a document that every device would refuse.

use edgeward_core::canonical::{self, CanonicalError};
use edgeward_core::desired::{DESIRED_PAYLOAD_TYPE, DESIRED_SCHEMA, Desired, RELEASE_PAYLOAD_TYPE};
use edgeward_core::manifest::{MANIFEST_BYTES_MAX, RELEASE_SCHEMA, Release};
use edgeward_core::{Envelope, Timestamp};
use serde::Serialize;

use crate::envelope::{self, PAYLOAD_BYTES_MAX};
use crate::key::{Signer, SignerError};

/// Why a document was not signed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It has no canonical form.
    #[error("writing the document to be signed")]
    Write(#[from] CanonicalError),
    /// A key cannot be reached.
    #[error(transparent)]
    Sign(#[from] SignerError),
    /// Its schema is not the one this program writes.
    #[error("the document's schema is '{found}', this program signs '{expected}'")]
    Schema {
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// It would be expired at once.
    #[error("the desired state is issued at {issued_at} and expires at {expires_at}; give it a longer life")]
    Dates {
        /// When it is issued.
        issued_at: Timestamp,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// Devices would refuse the size.
    #[error("the {what} is {found_bytes} bytes, over the {max_bytes} that devices accept")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found_bytes: u64,
        /// The limit.
        max_bytes: usize,
    },
}

/// Signs the fleet's desired state for the `rollouts` role.
///
/// # Errors
/// Devices would refuse it, or a key cannot be reached.
pub fn sign_desired(desired: &Desired, signers: &[&dyn Signer]) -> Result<Envelope, PublishError> {
    check_schema(&desired.schema, DESIRED_SCHEMA)?;
    let (issued_at, expires_at) = (desired.issued_at_ms, desired.expires_at_ms);
    if issued_at >= expires_at {
        return Err(PublishError::Dates { issued_at, expires_at });
    }
    sign(desired, DESIRED_PAYLOAD_TYPE, signers)
}

/// Signs for the `releases` role that a bundle may run.
///
/// # Errors
/// Devices would refuse it, or a key cannot be reached.
pub fn sign_release(release: &Release, signers: &[&dyn Signer]) -> Result<Envelope, PublishError> {
    check_schema(&release.schema, RELEASE_SCHEMA)?;
    if release.manifest_size_bytes > MANIFEST_BYTES_MAX as u64 {
        return Err(PublishError::TooLarge {
            what: "manifest",
            found_bytes: release.manifest_size_bytes,
            max_bytes: MANIFEST_BYTES_MAX,
        });
    }
    sign(release, RELEASE_PAYLOAD_TYPE, signers)
}

fn check_schema(found: &str, expected: &'static str) -> Result<(), PublishError> {
    match found == expected {
        true => Ok(()),
        false => Err(PublishError::Schema { found: found.to_owned(), expected }),
    }
}

fn sign<T: Serialize>(
    document: &T,
    payload_type: &str,
    signers: &[&dyn Signer],
) -> Result<Envelope, PublishError> {
    let payload = canonical::to_bytes(document)?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        let found_bytes = payload.len() as u64;
        return Err(PublishError::TooLarge { what: "document", found_bytes, max_bytes: PAYLOAD_BYTES_MAX });
    }
    Ok(envelope::sign(payload, payload_type, signers)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{desired, key, release};

    #[test]
    fn what_devices_would_refuse_is_not_signed() {
        let signed = |edit: &dyn Fn(&mut Desired)| {
            let mut document = desired(1);
            edit(&mut document);
            sign_desired(&document, &[&key(2)])
        };
        assert!(signed(&|_| ()).is_ok());
        assert!(matches!(signed(&|d| d.schema.push('x')), Err(PublishError::Schema { .. })));
        assert!(matches!(signed(&|d| d.expires_at_ms = d.issued_at_ms), Err(PublishError::Dates { .. })));
        let mut large = release();
        large.manifest_size_bytes = MANIFEST_BYTES_MAX as u64 + 1;
        assert!(matches!(sign_release(&large, &[&key(1)]), Err(PublishError::TooLarge { .. })));
    }
}
