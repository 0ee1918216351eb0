//! What answers each route. A handler checks what came in, takes one decision or reads one snapshot, and answers with
//! a document of `edgeward_api`; it never waits for a reconciler.

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod certificates;
pub(crate) mod deltas;
pub(crate) mod device;
pub(crate) mod fleet;
pub(crate) mod groups;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod nudges;
pub(crate) mod projects;
pub(crate) mod public;
pub(crate) mod quarantine;
pub(crate) mod records;
pub(crate) mod repository;
pub(crate) mod rollouts;
pub(crate) mod shadows;
pub(crate) mod sources;

use edgeward_core::{RunId, Timestamp};

use crate::failure::Failure;
use crate::reconcile::rollouts::StartError;
use crate::secret;

/// Random bytes at the end of an id made here.
const ID_RANDOM_BYTES: usize = 4;
/// Longest text a caller may give as a cause or a reason.
pub(crate) const TEXT_LEN_MAX: usize = 2000;

/// Ids sort by time and do not collide.
pub(crate) fn fresh_id(prefix: &str, now: Timestamp) -> Result<String, secret::NoRandomness> {
    let random = secret::random::<ID_RANDOM_BYTES>()?;
    Ok(format!("{prefix}-{:011x}-{}", now.0.max(0), hex::encode(random)))
}

/// A new run's id.
pub(crate) fn fresh_run_id(now: Timestamp) -> Result<RunId, StartError> {
    Ok(RunId::new(fresh_id("run", now)?)?)
}

/// A text that goes into the ledger for ever.
fn check_text(what: &str, text: &str) -> Result<(), Failure> {
    match text.len() <= TEXT_LEN_MAX {
        true => Ok(()),
        false => Err(Failure::too_large(format!("the {what} is over the limit of {TEXT_LEN_MAX} bytes"))),
    }
}

/// Whether a document is of the schema this program reads.
fn check_schema(found: &str, expected: &str) -> Result<(), Failure> {
    match found == expected {
        true => Ok(()),
        false => {
            Err(Failure::invalid(format!("the schema is '{found}', this control plane reads '{expected}'"))
                .hint("Update the older of the two programs."))
        }
    }
}
