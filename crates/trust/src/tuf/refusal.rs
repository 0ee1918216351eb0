//! Why a file is not believed.

use edgeward_core::Timestamp;

use super::time;

/// A file that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is refused: {reason}")]
pub struct Refusal {
    /// The file, as it is named on the server.
    pub file: String,
    /// Why.
    pub reason: Reason,
}

/// Why a file is refused. [`Reason::name`] is stable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not the document it should be.
    #[error("it cannot be read: {0}; fetch it again, or have it signed again")]
    Malformed(String),
    /// Another document.
    #[error("it is a '{found}' where a '{expected}' belongs")]
    WrongType {
        /// What belongs there.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Over the size that is read at most.
    #[error("it has more than {bytes_max} bytes, and no more are read")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// Not as long as was signed.
    #[error("it has {found} bytes where {expected} were signed")]
    WrongLength {
        /// What was signed.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Not the bytes that were signed.
    #[error(
        "its {algorithm} is not the one that was signed: it was tampered with, or two publications are mixed"
    )]
    WrongHash {
        /// Which hash.
        algorithm: String,
    },
    /// Too few valid signatures.
    #[error(
        "{valid} of the {threshold} signatures that role {role} needs are valid; it was tampered with, or signed with \
         keys that are not trusted (yet, or any more)"
    )]
    Signatures {
        /// The role.
        role: String,
        /// By how many different keys it is signed.
        valid: usize,
        /// How many are needed.
        threshold: u64,
    },
    /// Another version than was announced.
    #[error("it is version {found} where {expected} was announced")]
    WrongVersion {
        /// What was announced.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// Older than what was seen before.
    #[error(
        "it says version {found} of {of}, and version {trusted} was seen before; an old copy is being replayed, or the \
         repository was restored from a backup: publish a higher version"
    )]
    RolledBack {
        /// What went back.
        of: String,
        /// What was seen before.
        trusted: u64,
        /// What is offered.
        found: u64,
    },
    /// One version, two contents.
    #[error(
        "version {version} was seen before with another content; the signer says two things at once: find out why, \
         then publish a higher version"
    )]
    Equivocation {
        /// The version.
        version: u64,
    },
    /// Its time is over.
    #[error(
        "it expired at {}, and it is {}; what runs is kept: check that the repository is still refreshed, and this clock",
        time::format(*expired_at), time::format(*now)
    )]
    Expired {
        /// When.
        expired_at: Timestamp,
        /// The time it was compared with.
        now: Timestamp,
    },
    /// Not on the server.
    #[error("it was announced but is not there")]
    Absent,
    /// A snapshot no longer lists what one before it did.
    #[error("it no longer lists {role}")]
    Forgotten {
        /// What is missing.
        role: String,
    },
    /// Nobody says which version counts.
    #[error("the snapshot does not list it")]
    NotListed,
    /// A search visits too many roles.
    #[error("the search for '{target}' visits more than {roles_max} roles")]
    TooManyDelegations {
        /// What was searched.
        target: String,
        /// The limit.
        roles_max: usize,
    },
    /// No role that may vouch for the target does.
    #[error("no role that may vouch for it does")]
    NoSuchTarget,
    /// A name that must not become part of an address.
    #[error("'{0}' is not a usable name")]
    Name(String),
}

impl Reason {
    /// The name under which reports and tests know it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::WrongType { .. } => "wrong_type",
            Self::TooLarge { .. } => "too_large",
            Self::WrongLength { .. } => "wrong_length",
            Self::WrongHash { .. } => "wrong_hash",
            Self::Signatures { .. } => "too_few_signatures",
            Self::WrongVersion { .. } => "wrong_version",
            Self::RolledBack { .. } => "rolled_back",
            Self::Equivocation { .. } => "equivocation",
            Self::Expired { .. } => "expired",
            Self::Absent => "absent",
            Self::Forgotten { .. } => "forgotten",
            Self::NotListed => "not_listed",
            Self::TooManyDelegations { .. } => "too_many_delegations",
            Self::NoSuchTarget => "no_such_target",
            Self::Name(_) => "bad_name",
        }
    }

    pub(crate) fn of(self, file: impl Into<String>) -> Refusal {
        Refusal { file: file.into(), reason: self }
    }
}
