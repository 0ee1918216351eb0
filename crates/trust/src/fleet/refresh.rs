//! The device's side: from a trusted set and a repository to what the fleet should run.

use std::collections::BTreeMap;

use edgeward_core::desired::DESIRED_SCHEMA;
use edgeward_core::manifest::MANIFEST_BYTES_MAX;
use edgeward_core::{Desired, Digest, ModelName, Release, Timestamp};

use super::{DESIRED_PATH, RELEASES, ROLLOUTS, release_path};
use crate::tuf::client::Found;
use crate::tuf::{Answer, Client, Reason, Refusal, Snapshot, Trusted, Want};

/// Largest desired state that is read, in bytes.
pub(super) const DESIRED_BYTES_MAX: u64 = 4 << 20;

/// What came of a refresh.
#[derive(Debug)]
pub struct Refreshed<E> {
    /// What is trusted now, to be kept before anything is acted on. It may be newer although the rest was refused.
    pub trusted: Trusted,
    /// The clock stands before a time there is proof of.
    pub clock_unsure: bool,
    /// What the fleet should run; none if nothing was published yet.
    pub outcome: Result<Option<Wishes>, E>,
}

/// What the fleet should run, with the releases it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// The desired state.
    pub desired: Desired,
    /// The releases of the bundles it names; a bundle that is not here was not released and must not run.
    pub releases: BTreeMap<(ModelName, Digest), Release>,
    /// When it is no longer to be acted on.
    pub expires_at_ms: Timestamp,
}

/// A desired state that is signed and wrong all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// A document is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The signed desired state cannot be read.
    #[error("the signed desired state cannot be read: {0}; update this program, or publish it again")]
    Desired(String),
    /// Another role vouches for it than the one that may.
    #[error("'{path}' is vouched for by role {found}, and only {expected} may")]
    Role {
        /// What.
        path: String,
        /// Who may.
        expected: &'static str,
        /// Who does.
        found: String,
    },
}

impl FleetError {
    /// The name under which reports and tests know it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason.name(),
            Self::Desired(_) => "bad_desired_state",
            Self::Role { .. } => "wrong_role",
        }
    }
}

/// Refreshes `trusted` at the time `now` and reads what the fleet should run, through `fetch`.
pub fn refresh<E: From<FleetError>>(
    trusted: Trusted,
    now: Timestamp,
    mut fetch: impl FnMut(&Want) -> Result<Answer, E>,
) -> Refreshed<E> {
    let mut client = Client::new(trusted, now);
    let outcome = wishes(&mut client, &mut fetch);
    Refreshed { clock_unsure: client.clock_unsure(), trusted: client.into_trusted(), outcome }
}

fn wishes<E: From<FleetError>>(
    client: &mut Client,
    fetch: &mut impl FnMut(&Want) -> Result<Answer, E>,
) -> Result<Option<Wishes>, E> {
    drive(client, fetch)?;
    let is_listed = |snapshot: &Snapshot| snapshot.meta.contains_key(&format!("{ROLLOUTS}.json"));
    if !client.trusted().snapshot().is_some_and(is_listed) {
        return Ok(None);
    }
    let found = find(client, DESIRED_PATH, ROLLOUTS, fetch)?;
    let found = found.ok_or_else(|| FleetError::from(Reason::NoSuchTarget.of(DESIRED_PATH)))?;
    let desired = read_desired(client, &found, fetch)?;
    let mut releases = BTreeMap::new();
    for (model, bundle) in desired.bundles() {
        let release = find_release(client, &model, bundle, fetch)?;
        releases.extend(release.map(|release| ((model, bundle), release)));
    }
    let expires_at_ms = client.trusted().expires().unwrap_or(Timestamp(0));
    Ok(Some(Wishes { desired, releases, expires_at_ms }))
}

/// [`Client::drive`] with the errors of a fleet.
fn drive<E: From<FleetError>>(
    client: &mut Client,
    fetch: &mut impl FnMut(&Want) -> Result<Answer, E>,
) -> Result<(), E> {
    while let Some(want) = client.next() {
        let outcome = match fetch(&want)? {
            Answer::Bytes(bytes) => client.supply(&bytes),
            Answer::Absent => client.absent(),
        };
        outcome.map_err(FleetError::from)?;
    }
    Ok(())
}

/// The target at `path`, which only `role` may vouch for; none if nobody does.
fn find<E: From<FleetError>>(
    client: &mut Client,
    path: &str,
    role: &'static str,
    fetch: &mut impl FnMut(&Want) -> Result<Answer, E>,
) -> Result<Option<Found>, E> {
    client.look_up(path).map_err(FleetError::from)?;
    drive(client, fetch)?;
    let found = match client.found() {
        Ok(found) => found.clone(),
        Err(Refusal { reason: Reason::NoSuchTarget, .. }) => return Ok(None),
        Err(refusal) => return Err(FleetError::from(refusal).into()),
    };
    match found.role == role {
        true => Ok(Some(found)),
        false => Err(FleetError::Role { path: found.path, expected: role, found: found.role }.into()),
    }
}

fn read_desired<E: From<FleetError>>(
    client: &Client,
    found: &Found,
    fetch: &mut impl FnMut(&Want) -> Result<Answer, E>,
) -> Result<Desired, E> {
    let want = found.want(client.trusted().root().consistent_snapshot).map_err(FleetError::from)?;
    let refuse = |reason| E::from(Refusal { file: want.path.clone(), reason }.into());
    if want.bytes_max > DESIRED_BYTES_MAX {
        return Err(refuse(Reason::TooLarge { bytes_max: DESIRED_BYTES_MAX }));
    }
    let bytes = match fetch(&want)? {
        Answer::Bytes(bytes) => bytes,
        Answer::Absent => return Err(refuse(Reason::Absent)),
    };
    found.check(&bytes).map_err(FleetError::from)?;
    let version = client.trusted().targets(ROLLOUTS).map_or(0, |rollouts| rollouts.version);
    Ok(parse_desired(&bytes, version)?)
}

/// The generation is the version of the role that signed it, so it can no more go back than that can.
fn parse_desired(bytes: &[u8], version: u64) -> Result<Desired, FleetError> {
    let desired: Desired =
        serde_json::from_slice(bytes).map_err(|error| FleetError::Desired(error.to_string()))?;
    let Desired { schema, generation, .. } = &desired;
    if schema != DESIRED_SCHEMA {
        return Err(FleetError::Desired(format!("its schema is '{schema}', not '{DESIRED_SCHEMA}'")));
    }
    match *generation == version {
        true => Ok(desired),
        false => Err(FleetError::Desired(format!("it is generation {generation} in version {version}"))),
    }
}

/// The release of `bundle` as `model`; none if there is none that a device may act on.
fn find_release<E: From<FleetError>>(
    client: &mut Client,
    model: &ModelName,
    bundle: Digest,
    fetch: &mut impl FnMut(&Want) -> Result<Answer, E>,
) -> Result<Option<Release>, E> {
    let found = find(client, &release_path(model, &bundle), RELEASES, fetch)?;
    let usable = |found: &Found| {
        found.target.sha256() == Some(bundle) && found.target.length <= MANIFEST_BYTES_MAX as u64
    };
    Ok(found.filter(usable).map(|found| Release { bundle, manifest_size_bytes: found.target.length }))
}
