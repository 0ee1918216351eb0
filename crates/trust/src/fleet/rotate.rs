//! Changing who may sign, and for how long: the next root, targets and releases, as drafts that people sign one after
//! another, each with the key that he has.

use edgeward_core::Timestamp;

use super::publish::{PublishError, metadata_path, parse, refusal, verify};
use super::releases::check_releases;
use super::{File, Lives, RELEASES, ROLLOUTS, Shelf};
use crate::key::Signer;
use crate::tuf::document::Authority;
use crate::tuf::key::Key;
use crate::tuf::metadata::Metadata;
use crate::tuf::repository::{self, Holders, role_keys, with_ids};
use crate::tuf::{Document, Reason, Root, Targets};

/// Documents that are to follow the latest ones, signed or not yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drafts {
    /// The next root.
    pub root: Option<Vec<u8>>,
    /// The next top-level targets.
    pub targets: Option<Vec<u8>>,
    /// The next releases.
    pub releases: Option<Vec<u8>>,
}

/// New keys of a role.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// `root` (with the top-level targets), `snapshot`, `timestamp`, `releases` or `rollouts`; the ledger keeps its
    /// keys, for it is named by them.
    pub role: &'a str,
    /// Whose signatures count from then on.
    pub holders: Holders<'a>,
}

impl Shelf {
    /// What must be signed for `change`; without one, root and targets that are good for as long again.
    ///
    /// # Errors
    /// There is no such role, or more signatures are asked for than there are keys.
    pub fn drafts(
        &self,
        change: Option<&Change<'_>>,
        lives: &Lives,
        now: Timestamp,
    ) -> Result<Drafts, PublishError> {
        if let Some(Change { role, holders }) = change {
            check_holders(role, holders)?;
        }
        let (mut root, mut targets) = (self.root().body().clone(), self.targets().body().clone());
        (root.version, root.expires) = (root.version + 1, root.expires.max(now + lives.root));
        (targets.version, targets.expires) = (targets.version + 1, targets.expires.max(now + lives.root));
        let mut drafts = Drafts::default();
        let (mut is_root, mut is_targets) = (true, change.is_none());
        match change.map(|change| (change.role, &change.holders)) {
            None => is_targets = true,
            Some(("root", holders)) => {
                root.set_holders("root", holders);
                root.set_holders("targets", holders);
                is_targets = true;
            }
            Some((role @ ("snapshot" | "timestamp"), holders)) => root.set_holders(role, holders),
            Some((role @ (RELEASES | ROLLOUTS), holders)) => {
                delegate(&mut targets, role, holders);
                (is_root, is_targets) = (false, true);
                if role == RELEASES {
                    let mut releases = self.releases().body().clone();
                    releases.version += 1;
                    drafts.releases = Some(repository::sign(&releases, &[])?);
                }
            }
            Some((role, _)) => return Err(PublishError::Unfit(format!("there is no role '{role}'"))),
        }
        drafts.root = is_root.then(|| repository::sign(&root, &[])).transpose()?;
        drafts.targets = is_targets.then(|| repository::sign(&targets, &[])).transpose()?;
        Ok(drafts)
    }

    /// Signs the drafts with each of `signers` whose signature counts; how many signatures were made.
    ///
    /// # Errors
    /// A draft cannot be read, or a key cannot be reached.
    pub fn sign_drafts(&self, drafts: &mut Drafts, signers: &[&dyn Signer]) -> Result<usize, PublishError> {
        let mut count = 0;
        let next_root = drafts.root.as_deref().map(|bytes| parse::<Root>("root", bytes)).transpose()?;
        let (root, next_root) = (self.root().body(), next_root.as_ref().map(Document::body));
        let judge = next_root.unwrap_or(root);
        if let Some(bytes) = &mut drafts.root {
            let authorities = [root.authority("root"), judge.authority("root")];
            count += add::<Root>(bytes, &authorities, signers)?;
        }
        let next_targets = drafts.targets.as_deref().map(|bytes| parse::<Targets>("targets", bytes));
        let next_targets = next_targets.transpose()?;
        let targets = next_targets.as_ref().map_or(self.targets().body(), Document::body);
        if let Some(bytes) = &mut drafts.targets {
            count += add::<Targets>(bytes, &[judge.authority("targets")], signers)?;
        }
        if let Some(bytes) = &mut drafts.releases {
            count += add::<Targets>(bytes, &[targets.authority(RELEASES)], signers)?;
        }
        Ok(count)
    }

    /// Takes the drafts in place of the latest documents; the files to write, in their order.
    ///
    /// # Errors
    /// A draft does not follow, or is not signed by enough keys yet: of the root, of both its predecessor's and its own.
    pub fn accept_drafts(&mut self, drafts: &Drafts) -> Result<Vec<File>, PublishError> {
        if let Some(bytes) = &drafts.root {
            let new = parse::<Root>("root", bytes)?;
            verify(&new, "root", self.root().body().authority("root"))?;
            follows("root", self.root().body().version, new.body().version)?;
        }
        let bytes = |draft: &Option<Vec<u8>>, latest: &[u8]| draft.clone().unwrap_or_else(|| latest.to_vec());
        let read = Self::read(
            &bytes(&drafts.root, self.root().bytes()),
            &bytes(&drafts.targets, self.targets().bytes()),
            &bytes(&drafts.releases, self.releases().bytes()),
        )?;
        let mut files = Vec::new();
        let mut put = |role: &'static str, draft: &Option<Vec<u8>>, latest: u64, found: u64| {
            let Some(bytes) = draft else { return Ok(()) };
            files.push(File { path: metadata_path(role, Some(found)), bytes: bytes.clone() });
            follows(role, latest, found)
        };
        put("root", &drafts.root, self.root().body().version, read.root().body().version)?;
        put("targets", &drafts.targets, self.targets().body().version, read.targets().body().version)?;
        put(RELEASES, &drafts.releases, self.releases().body().version, read.releases().body().version)?;
        check_releases(self.releases().body(), read.releases().body())?;
        (self.root, self.targets, self.releases) = (read.root, read.targets, read.releases);
        Ok(files)
    }
}

fn check_holders(role: &str, holders: &Holders<'_>) -> Result<(), PublishError> {
    let keys = holders.keys.len() as u64;
    match (1..=keys).contains(&holders.threshold) {
        true => Ok(()),
        false => Err(PublishError::Unfit(format!(
            "{} signatures cannot be asked of {role}, which is to have {keys} keys",
            holders.threshold
        ))),
    }
}

fn follows(role: &'static str, latest: u64, found: u64) -> Result<(), PublishError> {
    match found == latest + 1 {
        true => Ok(()),
        false => Err(PublishError::Stale { role, latest, found }),
    }
}

/// Gives a delegated role other keys.
fn delegate(targets: &mut Targets, role: &str, holders: &Holders<'_>) {
    let Some(delegations) = &mut targets.delegations else { return };
    let keys = role_keys(holders);
    for delegated in delegations.roles.iter_mut().filter(|delegated| delegated.name == role) {
        (delegated.keyids, delegated.threshold) = (keys.keyids.clone(), keys.threshold);
    }
    delegations.keys.extend(with_ids(holders.keys));
    let roles = &delegations.roles;
    delegations.keys.retain(|id, _| roles.iter().any(|role| role.keyids.contains(id)));
}

/// Adds the signatures that count for one of `authorities`.
fn add<T: Metadata>(
    bytes: &mut Vec<u8>,
    authorities: &[Option<Authority<'_>>],
    signers: &[&dyn Signer],
) -> Result<usize, PublishError> {
    let counts = |signer: &&&dyn Signer| {
        let id = Key::from(&signer.public_key()).id();
        authorities.iter().flatten().any(|authority| authority.keyids.contains(&id))
    };
    let counting: Vec<&dyn Signer> = signers.iter().filter(counts).copied().collect();
    if authorities.iter().all(Option::is_none) {
        return Err(refusal("draft", Reason::NotListed).into());
    }
    *bytes = repository::add_signatures::<T>(bytes, &counting)?;
    Ok(counting.len())
}
