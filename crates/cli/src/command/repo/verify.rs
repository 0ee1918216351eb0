//! `edgeward repo verify`: what a device makes of a folder, and what people must sign before long.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use edgeward_core::Timestamp;
use edgeward_store::{Folder, FolderError};
use edgeward_trust::fleet::{FleetError, RELEASES, ROLLOUTS, Wishes, refresh, target_file};
use edgeward_trust::tuf::{Answer, Place, Targets, Trusted, Want, time};
use serde::Serialize;

use super::{folder, serve};
use crate::command::now;
use crate::output::{Explain, Failure, Outcome, Output, with_causes};

/// Roles whose documents people sign.
const OFFLINE: [&str; 3] = ["root", "targets", RELEASES];
const DAY_S: u64 = 24 * 3600;

/// What a device makes of a repository.
#[derive(Debug, Serialize)]
struct Verified {
    roles: BTreeMap<String, Role>,
    /// Generation of what the fleet is told; none if it is told nothing yet.
    generation: Option<u64>,
    /// Bundles that may run.
    releases: usize,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Role {
    version: u64,
    expires_at_ms: Timestamp,
    days_left: u64,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Refused(#[from] FleetError),
    #[error(transparent)]
    Folder(#[from] FolderError),
}

pub(super) fn run(path: &Path, warn_within: Duration, out: Output) -> Outcome {
    let (folder, now) = (folder(path), now());
    let doing = format!("verifying the repository in {}", path.display());
    let (trusted, wishes) = follow(&folder, &doing, now)?;
    let roles = roles(&trusted, now);
    let mut warnings = Vec::new();
    for (role, said) in &roles {
        if OFFLINE.contains(&role.as_str()) && said.expires_at_ms <= now + warn_within {
            warnings.push(format!(
                "{role} expires at {}: {}",
                time::format(said.expires_at_ms),
                remedy(role)
            ));
        }
    }
    let releases = trusted.targets(RELEASES);
    check_manifests(&folder, releases, &doing)?;
    let generation = wishes.as_ref().map(|wishes| wishes.desired.generation);
    if let Some(wishes) = &wishes {
        let unreleased = |bundle: &_| !wishes.releases.contains_key(bundle);
        warnings.extend(wishes.desired.bundles().iter().filter(|bundle| unreleased(bundle)).map(
            |(model, bundle)| {
                format!("{bundle} is to run as {model} and was not released: no device will run it")
            },
        ));
    }
    let releases = releases.map_or(0, |releases| releases.targets.len());
    out.document(&Verified { roles, generation, releases, warnings }, words)
}

/// Refreshes from the first root, as a device does that enrols today.
fn follow(folder: &Folder, doing: &str, now: Timestamp) -> Result<(Trusted, Option<Wishes>), Failure> {
    let refused = |error: FleetError| {
        Failure::new(error.name(), format!("{doing}: {}", with_causes(&error)))
            .hint("devices refuse it too, and keep what they run")
    };
    let root = folder.read("metadata/1.root.json", super::FILE_BYTES_MAX).explain("file", doing)?;
    let root =
        root.ok_or_else(|| Failure::new("not_found", format!("{doing}: there is no metadata/1.root.json")))?;
    let pinned = Trusted::pin(&root, Timestamp(0)).map_err(|refusal| refused(refusal.into()))?;
    let mut refreshed = refresh::<Trouble>(pinned, now, |want| Ok(fetch(folder, want)?));
    // Releases are looked up only for bundles that are to run: look them up in any case.
    let listed = refreshed.outcome.as_ref().is_ok_and(|_| refreshed.trusted.targets(RELEASES).is_none());
    if listed {
        refreshed.trusted = look_up_releases(folder, refreshed.trusted, now)
            .map_err(|trouble| Failure::new("repository", format!("{doing}: {}", with_causes(&trouble))))?;
    }
    match refreshed.outcome {
        Ok(wishes) => Ok((refreshed.trusted, wishes)),
        Err(Trouble::Refused(error)) => Err(refused(error)),
        Err(Trouble::Folder(error)) => Err(Failure::new("file", format!("{doing}: {}", with_causes(&error)))),
    }
}

fn look_up_releases(folder: &Folder, trusted: Trusted, now: Timestamp) -> Result<Trusted, Trouble> {
    use edgeward_trust::tuf::{Client, Refusal};
    let wrap = |refusal: Refusal| Trouble::Refused(refusal.into());
    let mut client = Client::new(trusted, now);
    while let Some(want) = client.next() {
        supply(&mut client, fetch(folder, &want)?).map_err(wrap)?;
    }
    client.look_up("releases/any/any/manifest.json").map_err(wrap)?;
    while let Some(want) = client.next() {
        supply(&mut client, fetch(folder, &want)?).map_err(wrap)?;
    }
    Ok(client.into_trusted())
}

fn supply(
    client: &mut edgeward_trust::tuf::Client,
    answer: Answer,
) -> Result<(), edgeward_trust::tuf::Refusal> {
    match answer {
        Answer::Bytes(bytes) => client.supply(&bytes),
        Answer::Absent => client.absent(),
    }
}

fn fetch(folder: &Folder, want: &Want) -> Result<Answer, FolderError> {
    let place = if want.place == Place::Metadata { "metadata" } else { "targets" };
    let bytes = serve(folder, &format!("{place}/{}", want.path), want.bytes_max)?;
    Ok(bytes.map_or(Answer::Absent, Answer::Bytes))
}

fn roles(trusted: &Trusted, now: Timestamp) -> BTreeMap<String, Role> {
    let role = |version, expires_at_ms: Timestamp| Role {
        version,
        expires_at_ms,
        days_left: expires_at_ms.since(now).as_secs().div_ceil(DAY_S),
    };
    let root = trusted.root();
    let mut roles = BTreeMap::from([("root".to_owned(), role(root.version, root.expires))]);
    roles.extend(trusted.timestamp().map(|d| ("timestamp".to_owned(), role(d.version, d.expires))));
    roles.extend(trusted.snapshot().map(|d| ("snapshot".to_owned(), role(d.version, d.expires))));
    for name in ["targets", RELEASES, ROLLOUTS] {
        roles.extend(trusted.targets(name).map(|d| (name.to_owned(), role(d.version, d.expires))));
    }
    roles
}

/// The manifest of every release is there, byte for byte.
fn check_manifests(folder: &Folder, releases: Option<&Targets>, doing: &str) -> Result<(), Failure> {
    for (path, target) in releases.iter().flat_map(|releases| &releases.targets) {
        let file = target_file(path, target);
        let bytes = folder.read(&file, super::FILE_BYTES_MAX).explain("file", doing)?;
        let bytes = bytes.ok_or_else(|| Failure::new("absent", format!("{doing}: there is no {file}")))?;
        target.check(&bytes).map_err(|reason| {
            Failure::new(reason.name(), format!("{doing}: {file} is not what was signed: {reason}"))
        })?;
    }
    Ok(())
}

/// What people do about a document that expires.
fn remedy(role: &str) -> &'static str {
    match role {
        RELEASES => "run `edgeward repo refresh --renew-releases` with its key, or release something",
        _ => "run `edgeward repo rotate` with two of the root's keys",
    }
}

fn words(verified: &Verified) -> String {
    let mut lines: Vec<String> = verified
        .roles
        .iter()
        .map(|(name, role)| {
            let until = time::format(role.expires_at_ms);
            format!("{name} {} until {until} ({} days)", role.version, role.days_left)
        })
        .collect();
    lines.push(match verified.generation {
        Some(generation) => {
            format!("{} releases; the fleet is told generation {generation}", verified.releases)
        }
        None => format!("{} releases; the fleet is told nothing yet", verified.releases),
    });
    lines.extend(verified.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}
