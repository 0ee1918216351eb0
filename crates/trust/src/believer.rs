//! What one device believes: the sans-I/O core between documents from the network and what the agent acts on.
//!
//! A [`Believer`] is plain data. The agent keeps it in one file that it replaces atomically, after every acceptance and
//! before acting on it; a copy that does not parse is damaged and must be restored or enrolled again, never taken
//! for "nothing accepted yet", or old documents could be replayed. A refusal changes nothing.
//!
//! Time has a floor: the latest moment a signed document vouched for. A clock below the floor is not believed, the
//! floor is used instead and [`Accepted::clock_unsure`] says so. The clock may raise the floor only up to the expiry of
//! a document it was checked against, so one wild jump forward cannot make a device refuse everything from then on.
//!
//! Deliberately missing: changing the root. TUF's metadata chain takes that over behind the same two questions, "may
//! this document be believed now?" and "may this bundle run as this model?".

use edgeward_core::desired::{DESIRED_PAYLOAD_TYPE, DESIRED_SCHEMA, Desired, RELEASE_PAYLOAD_TYPE};
use edgeward_core::manifest::{MANIFEST_BYTES_MAX, RELEASE_SCHEMA, Release};
use edgeward_core::{Digest, Envelope, ModelName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::envelope::{VerifyError, verify};
use crate::root::{Role, Root, RootError};

/// Schema of the persisted [`Believer`].
pub const BELIEVER_SCHEMA: &str = "edgeward.believer/1";

/// The trusted state of one device; serialise it to keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
pub struct Believer {
    root: Root,
    last: Option<LastDesired>,
    floor: Timestamp,
}

/// The newest desired state that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastDesired {
    /// Its generation.
    pub generation: u64,
    /// The digest of its payload.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    schema: String,
    root: Root,
    last: Option<LastDesired>,
    floor_ms: Timestamp,
}

/// A desired state that may be acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The document.
    pub desired: Desired,
    /// Whether its generation is new to this device.
    pub newer: bool,
    /// The clock is behind the time that signed documents vouch for; report it.
    pub clock_unsure: bool,
}

/// Why a document is not believed, or a persisted state not used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Its signatures do not suffice.
    #[error(transparent)]
    Signatures(#[from] VerifyError),
    /// Signed, but not the JSON it claims to be.
    #[error("parsing the signed {document}; update this program, or sign the document again")]
    Parse {
        /// Which document.
        document: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Another schema.
    #[error("the schema is '{found}', this program reads '{expected}'; update this program")]
    Schema {
        /// What it is.
        found: String,
        /// What this program reads.
        expected: &'static str,
    },
    /// It expires before it is issued.
    #[error(
        "the desired state is issued at {issued_at} but expires at {expires_at}; check the signer's clock"
    )]
    Dates {
        /// When it was issued.
        issued_at: Timestamp,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// An older document is offered again.
    #[error(
        "desired state generation {found} is older than {last}, already accepted; an old copy is being replayed, or \
         the control plane was restored from a backup: publish a generation above {last}"
    )]
    RolledBack {
        /// The generation accepted before.
        last: u64,
        /// The generation offered.
        found: u64,
    },
    /// Two different documents claim one generation.
    #[error(
        "desired state generation {generation} was accepted as {accepted} and is now offered as {found}; the signer \
         says two things at once: find out why, then publish a higher generation"
    )]
    Equivocation {
        /// The generation.
        generation: u64,
        /// The payload accepted before.
        accepted: Digest,
        /// The payload offered.
        found: Digest,
    },
    /// Its time is over.
    #[error(
        "the desired state expired at {expired_at}, and it is {now}; the device keeps what it runs: check that the \
         control plane still publishes, and this device's clock"
    )]
    Expired {
        /// When it expired.
        expired_at: Timestamp,
        /// The time it was compared with.
        now: Timestamp,
    },
    /// The root's time is over.
    #[error(
        "the pinned root expired at {expired_at}, and it is {now}; the device keeps what it runs: enrol it again"
    )]
    RootExpired {
        /// When it expired.
        expired_at: Timestamp,
        /// The time it was compared with.
        now: Timestamp,
    },
    /// The release is for another model.
    #[error(
        "the release is for model {found}, not {wanted}; check what the control plane serves for {wanted}"
    )]
    WrongModel {
        /// The model asked for.
        wanted: ModelName,
        /// The model released.
        found: ModelName,
    },
    /// The release is for another bundle.
    #[error(
        "the release is for bundle {found}, not {wanted}; check what the control plane serves for {wanted}"
    )]
    WrongBundle {
        /// The bundle asked for.
        wanted: Digest,
        /// The bundle released.
        found: Digest,
    },
    /// The release announces a manifest that no device would read.
    #[error(
        "the release announces a manifest of {0} bytes, over the limit of {MANIFEST_BYTES_MAX}; make the bundle smaller"
    )]
    ManifestTooLarge(u64),
    /// The root of a persisted or new state is broken.
    #[error(transparent)]
    Root(#[from] RootError),
}

impl Believer {
    /// A device that has just been given `root`, at a moment no earlier than `floor` (such as when the program was
    /// built, or the root made).
    ///
    /// # Errors
    /// The root contradicts itself.
    pub fn new(root: Root, floor: Timestamp) -> Result<Self, TrustError> {
        root.check()?;
        Ok(Self { root, last: None, floor })
    }

    /// The pinned root.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// The newest desired state that was accepted.
    #[must_use]
    pub const fn last(&self) -> Option<LastDesired> {
        self.last
    }

    /// The earliest that it can be now.
    #[must_use]
    pub const fn floor(&self) -> Timestamp {
        self.floor
    }

    /// Accepts a desired state: signed by the `rollouts` role, not older than the last one, not expired.
    /// Offering the last one again is accepted and changes at most the time floor.
    ///
    /// # Errors
    /// The document is not believed; the state is unchanged.
    pub fn accept_desired(&mut self, envelope: &Envelope, now: Timestamp) -> Result<Accepted, TrustError> {
        let payload = verify(envelope, DESIRED_PAYLOAD_TYPE, &self.root.authority(Role::Rollouts))?;
        let desired: Desired = parse("desired state", payload)?;
        check_schema(&desired.schema, DESIRED_SCHEMA)?;
        let offered = LastDesired { generation: desired.generation, digest: Digest::of(payload) };
        self.check_order(offered)?;
        let floor = self.check_time(&desired, now)?;
        let newer = self.last != Some(offered);
        (self.floor, self.last) = (floor, Some(offered));
        Ok(Accepted { desired, newer, clock_unsure: now < floor })
    }

    /// Accepts the statement that `bundle` may run as `model`: signed by the `releases` role, about these two.
    ///
    /// # Errors
    /// The statement is not believed.
    pub fn accept_release(
        &self,
        envelope: &Envelope,
        model: &ModelName,
        bundle: Digest,
    ) -> Result<Release, TrustError> {
        let payload = verify(envelope, RELEASE_PAYLOAD_TYPE, &self.root.authority(Role::Releases))?;
        let release: Release = parse("release", payload)?;
        check_schema(&release.schema, RELEASE_SCHEMA)?;
        if release.model != *model {
            return Err(TrustError::WrongModel { wanted: model.clone(), found: release.model });
        }
        if release.bundle != bundle {
            return Err(TrustError::WrongBundle { wanted: bundle, found: release.bundle });
        }
        if release.manifest_size_bytes > MANIFEST_BYTES_MAX as u64 {
            return Err(TrustError::ManifestTooLarge(release.manifest_size_bytes));
        }
        Ok(release)
    }

    fn check_order(&self, offered: LastDesired) -> Result<(), TrustError> {
        let Some(last) = self.last else { return Ok(()) };
        if offered.generation < last.generation {
            return Err(TrustError::RolledBack { last: last.generation, found: offered.generation });
        }
        if offered.generation == last.generation && offered.digest != last.digest {
            let (generation, accepted, found) = (last.generation, last.digest, offered.digest);
            return Err(TrustError::Equivocation { generation, accepted, found });
        }
        Ok(())
    }

    /// The floor once `desired` is accepted.
    fn check_time(&self, desired: &Desired, now: Timestamp) -> Result<Timestamp, TrustError> {
        let (issued_at, expires_at) = (desired.issued_at_ms, desired.expires_at_ms);
        if issued_at >= expires_at {
            return Err(TrustError::Dates { issued_at, expires_at });
        }
        let now = now.max(self.floor);
        if let Some(expired_at) = self.root.expires_at_ms.filter(|at| now >= *at) {
            return Err(TrustError::RootExpired { expired_at, now });
        }
        if now >= expires_at {
            return Err(TrustError::Expired { expired_at: expires_at, now });
        }
        Ok(now.max(issued_at))
    }
}

fn parse<'a, T: Deserialize<'a>>(document: &'static str, payload: &'a [u8]) -> Result<T, TrustError> {
    serde_json::from_slice(payload).map_err(|source| TrustError::Parse { document, source })
}

fn check_schema(found: &str, expected: &'static str) -> Result<(), TrustError> {
    match found == expected {
        true => Ok(()),
        false => Err(TrustError::Schema { found: found.to_owned(), expected }),
    }
}

impl From<Believer> for State {
    fn from(believer: Believer) -> Self {
        let Believer { root, last, floor } = believer;
        Self { schema: BELIEVER_SCHEMA.to_owned(), root, last, floor_ms: floor }
    }
}

impl TryFrom<State> for Believer {
    type Error = TrustError;

    fn try_from(state: State) -> Result<Self, TrustError> {
        check_schema(&state.schema, BELIEVER_SCHEMA)?;
        state.root.check()?;
        Ok(Self { root: state.root, last: state.last, floor: state.floor_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::sign;
    use crate::fixtures::{desired, key, model, release, root};
    use crate::publish::{sign_desired, sign_release};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(2_000);

    fn believer() -> Believer {
        Believer::new(root(), Timestamp(0)).unwrap()
    }

    fn signed(document: &Desired) -> Envelope {
        sign_desired(document, &[&key(2), &key(3)]).unwrap()
    }

    /// Signs what [`sign_desired`] would refuse to.
    fn signed_raw(payload: Vec<u8>) -> Envelope {
        sign(payload, DESIRED_PAYLOAD_TYPE, &[&key(2), &key(3)]).unwrap()
    }

    /// Offers `envelope` and asserts that a refusal leaves the state alone.
    fn refused(believer: &mut Believer, envelope: &Envelope, now: Timestamp) -> TrustError {
        let before = believer.clone();
        let error = believer.accept_desired(envelope, now).unwrap_err();
        assert_eq!(*believer, before);
        error
    }

    #[test]
    fn a_good_document_is_accepted_once_as_news() {
        let mut believer = believer();
        let envelope = signed(&desired(1));
        let first = believer.accept_desired(&envelope, NOW).unwrap();
        assert_eq!(first, Accepted { desired: desired(1), newer: true, clock_unsure: false });
        assert!(!believer.accept_desired(&envelope, NOW).unwrap().newer);
        assert!(believer.accept_desired(&signed(&desired(5)), NOW).unwrap().newer);
        assert_eq!(believer.last().unwrap().generation, 5);
    }

    #[test]
    fn one_signature_of_two_is_refused() {
        let envelope = sign_desired(&desired(1), &[&key(2)]).unwrap();
        let error = refused(&mut believer(), &envelope, NOW);
        assert!(matches!(error, TrustError::Signatures(VerifyError::TooFewSignatures { valid: 1, .. })));
    }

    #[test]
    fn the_release_role_cannot_say_what_to_run() {
        let envelope = sign_desired(&desired(1), &[&key(1), &key(4)]).unwrap();
        assert!(matches!(refused(&mut believer(), &envelope, NOW), TrustError::Signatures(_)));
    }

    #[test]
    fn an_older_generation_is_refused() {
        let mut believer = believer();
        believer.accept_desired(&signed(&desired(7)), NOW).unwrap();
        let error = refused(&mut believer, &signed(&desired(6)), NOW);
        assert!(matches!(error, TrustError::RolledBack { last: 7, found: 6 }));
        assert!(error.to_string().contains("publish a generation above 7"));
    }

    #[test]
    fn a_rollback_is_refused_after_a_restart_too() {
        let mut believer = believer();
        believer.accept_desired(&signed(&desired(7)), NOW).unwrap();
        let bytes = serde_json::to_vec(&believer).unwrap();
        let mut restarted: Believer = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(restarted, believer);
        assert!(matches!(refused(&mut restarted, &signed(&desired(6)), NOW), TrustError::RolledBack { .. }));
    }

    #[test]
    fn two_documents_of_one_generation_are_equivocation() {
        let mut believer = believer();
        believer.accept_desired(&signed(&desired(7)), NOW).unwrap();
        let mut other = desired(7);
        other.models.clear();
        let error = refused(&mut believer, &signed(&other), NOW);
        assert!(matches!(error, TrustError::Equivocation { generation: 7, .. }));
    }

    #[test]
    fn an_expired_document_is_refused() {
        let error = refused(&mut believer(), &signed(&desired(1)), Timestamp(10_000));
        assert!(matches!(error, TrustError::Expired { expired_at: Timestamp(10_000), .. }));
        believer().accept_desired(&signed(&desired(1)), Timestamp(9_999)).unwrap();
    }

    #[test]
    fn a_frozen_document_expires_although_the_clock_is_set_back() {
        let mut believer = believer();
        believer.accept_desired(&signed(&desired(1)), NOW).unwrap();
        let mut later = desired(2);
        (later.issued_at_ms, later.expires_at_ms) = (Timestamp(50_000), Timestamp(60_000));
        believer.accept_desired(&signed(&later), Timestamp(50_001)).unwrap();
        let mut stale = desired(3);
        stale.expires_at_ms = Timestamp(40_000);
        let error = refused(&mut believer, &signed(&stale), Timestamp(0));
        assert!(matches!(error, TrustError::Expired { now: Timestamp(50_001), .. }));
    }

    #[test]
    fn a_clock_behind_the_floor_is_reported_and_the_floor_is_used() {
        let mut believer = believer();
        let accepted = believer.accept_desired(&signed(&desired(1)), Timestamp(0)).unwrap();
        assert!(accepted.clock_unsure);
        assert_eq!(believer.floor(), Timestamp(1_000));
        assert!(!believer.accept_desired(&signed(&desired(1)), NOW).unwrap().clock_unsure);
        assert_eq!(believer.floor(), NOW);
        assert!(believer.accept_desired(&signed(&desired(1)), Timestamp(1_500)).unwrap().clock_unsure);
        assert_eq!(believer.floor(), NOW);
    }

    #[test]
    fn a_wild_jump_forward_does_not_raise_the_floor() {
        let mut believer = believer();
        refused(&mut believer, &signed(&desired(1)), Timestamp(i64::MAX));
        believer.accept_desired(&signed(&desired(1)), NOW).unwrap();
    }

    #[test]
    fn an_expired_root_accepts_nothing() {
        let mut short = root();
        short.expires_at_ms = Some(Timestamp(1_500));
        let mut believer = Believer::new(short, Timestamp(0)).unwrap();
        let error = refused(&mut believer, &signed(&desired(1)), NOW);
        assert!(matches!(error, TrustError::RootExpired { .. }));
    }

    #[test]
    fn malformed_documents_are_refused_although_signed() {
        let mut believer = believer();
        let mut offer = |edit: &dyn Fn(&mut Desired)| {
            let mut document = desired(1);
            edit(&mut document);
            refused(&mut believer, &signed_raw(serde_json::to_vec(&document).unwrap()), NOW)
        };
        assert!(matches!(offer(&|d| d.schema = "edgeward.desired/0".into()), TrustError::Schema { .. }));
        assert!(matches!(offer(&|d| d.issued_at_ms = d.expires_at_ms), TrustError::Dates { .. }));
        let error = refused(&mut believer, &signed_raw(b"{}".to_vec()), NOW);
        assert!(matches!(error, TrustError::Parse { document: "desired state", .. }));
    }

    #[test]
    fn a_release_is_for_one_model_and_one_bundle() {
        let envelope = sign_release(&release(), &[&key(1)]).unwrap();
        let accept = |model: &ModelName, bundle| believer().accept_release(&envelope, model, bundle);
        assert_eq!(accept(&model(), Digest::of(b"bundle")).unwrap(), release());
        let other = ModelName::new("speech").unwrap();
        assert!(matches!(accept(&other, Digest::of(b"bundle")), Err(TrustError::WrongModel { .. })));
        assert!(matches!(accept(&model(), Digest::of(b"x")), Err(TrustError::WrongBundle { .. })));
    }

    #[test]
    fn the_rollout_role_cannot_release() {
        let envelope = sign_release(&release(), &[&key(2), &key(3)]).unwrap();
        let error = believer().accept_release(&envelope, &model(), Digest::of(b"bundle")).unwrap_err();
        assert!(matches!(error, TrustError::Signatures(_)));
    }

    #[test]
    fn a_desired_state_is_no_release() {
        let envelope = sign(b"{}".to_vec(), DESIRED_PAYLOAD_TYPE, &[&key(1)]).unwrap();
        let error = believer().accept_release(&envelope, &model(), Digest::of(b"bundle")).unwrap_err();
        assert!(matches!(error, TrustError::Signatures(VerifyError::PayloadType { .. })));
    }

    #[test]
    fn a_release_with_an_endless_manifest_is_refused() {
        let mut large = release();
        large.manifest_size_bytes = u64::MAX;
        let envelope = sign(serde_json::to_vec(&large).unwrap(), RELEASE_PAYLOAD_TYPE, &[&key(1)]).unwrap();
        let error = believer().accept_release(&envelope, &model(), Digest::of(b"bundle")).unwrap_err();
        assert!(matches!(error, TrustError::ManifestTooLarge(u64::MAX)));
    }

    #[test]
    fn a_damaged_state_is_an_error_and_not_a_fresh_start() {
        let text = serde_json::to_string(&believer()).unwrap();
        for broken in [&text[..text.len() / 2], "", "{}", "null", &text.replace("believer/1", "believer/2")] {
            assert!(serde_json::from_str::<Believer>(broken).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn the_generation_and_the_floor_never_fall(
            offers in proptest::collection::vec((0u64..20, 0i64..20_000, 1i64..20_000, 0i64..30_000), 1..30),
        ) {
            let mut believer = believer();
            for (generation, issued, life, now) in offers {
                let mut document = desired(generation);
                document.issued_at_ms = Timestamp(issued);
                document.expires_at_ms = Timestamp(issued + life);
                let before = believer.clone();
                let result = believer.accept_desired(&signed(&document), Timestamp(now));
                prop_assert!(believer.floor() >= before.floor());
                prop_assert!(believer.last().map(|l| l.generation) >= before.last().map(|l| l.generation));
                prop_assert!(result.is_ok() || believer == before);
                prop_assert!(result.is_err() || believer.floor() < document.expires_at_ms);
            }
        }

        #[test]
        fn random_signed_payloads_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(believer().accept_desired(&signed_raw(payload), NOW).is_err());
        }
    }
}
