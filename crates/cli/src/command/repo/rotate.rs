//! `edgeward repo rotate`: other keys for a role, signed by as many people as it takes.
//!
//! The next root, targets and releases are drafts in `DIR/drafts` until enough have signed: each person runs
//! `edgeward repo sign DIR --signer KEY` where his key is, and the last signature puts them in place.

use std::path::PathBuf;

use edgeward_trust::fleet::{Change, Drafts, Lives, PublishError};
use edgeward_trust::tuf::Reason;
use edgeward_trust::tuf::repository::Holders;
use edgeward_trust::{PublicKey, Signer};

use super::{Desk, FILE_BYTES_MAX, refused};
use crate::args::DeskArgs;
use crate::output::{Explain, Failure, Outcome, Output};
use crate::signers::KeyFile;

/// Where a draft waits, by its role.
const DRAFTS: [(&str, &str); 3] =
    [("root", "drafts/root.json"), ("targets", "drafts/targets.json"), ("releases", "drafts/releases.json")];

pub(super) fn run(
    args: &DeskArgs,
    role: Option<&str>,
    keys: &[PathBuf],
    threshold: u64,
    out: Output,
) -> Outcome {
    let mut desk = Desk::open(args)?;
    if open_drafts(&desk)? != Drafts::default() {
        let text = format!("drafts wait for signatures in {}", args.repository.join("drafts").display());
        return Err(Failure::new("exists", text)
            .hint("sign them with `edgeward repo sign`, or remove them to begin anew"));
    }
    let mut publics: Vec<PublicKey> = Vec::new();
    for file in keys {
        let key = KeyFile::read(file)?;
        publics.push(key.public());
        if let KeyFile::Signer(signer) = key {
            desk.signers.push(signer);
        }
    }
    let change = role.map(|role| Change { role, holders: Holders { keys: &publics, threshold } });
    let drafts = desk.shelf.drafts(change.as_ref(), &Lives::default(), desk.now);
    let drafts = drafts.map_err(|error| refused("preparing the change of keys", &error))?;
    take(&mut desk, drafts)?;
    desk.finish(out)
}

/// Signs the drafts that wait, if there are any, with the keys at hand.
pub(super) fn sign_open_drafts(desk: &mut Desk) -> Result<bool, Failure> {
    let drafts = open_drafts(desk)?;
    if drafts == Drafts::default() {
        return Ok(false);
    }
    take(desk, drafts)?;
    Ok(true)
}

fn open_drafts(desk: &Desk) -> Result<Drafts, Failure> {
    let read =
        |path: &str| desk.folder.read(path, FILE_BYTES_MAX).explain("file", format_args!("reading {path}"));
    let [(_, root), (_, targets), (_, releases)] = DRAFTS;
    Ok(Drafts { root: read(root)?, targets: read(targets)?, releases: read(releases)? })
}

/// Signs the drafts; those that are complete take the place of the latest documents, others wait.
fn take(desk: &mut Desk, mut drafts: Drafts) -> Result<(), Failure> {
    let signers: Vec<&dyn Signer> = desk.signers.iter().map(|signer| &**signer).collect();
    let signed = desk.shelf.sign_drafts(&mut drafts, &signers);
    let signed = signed.map_err(|error| refused("signing the drafts", &error))?;
    let mut shelf = desk.shelf.clone();
    match shelf.accept_drafts(&drafts) {
        Ok(files) => {
            desk.write(&files)?;
            desk.shelf = shelf;
            for (_, path) in DRAFTS {
                desk.folder.remove(path).explain("file", format_args!("removing {path}"))?;
            }
            desk.freshen(true)
        }
        Err(PublishError::Refused(refusal)) if matches!(refusal.reason, Reason::Signatures { .. }) => {
            let Drafts { root, targets, releases } = drafts;
            for ((_, path), bytes) in DRAFTS.into_iter().zip([root, targets, releases]) {
                if let Some(bytes) = bytes {
                    desk.folder.write(path, &bytes).explain("file", format_args!("writing {path}"))?;
                    desk.done.written.push(path.to_owned());
                }
            }
            desk.done.waiting = Some(format!(
                "{signed} of the signatures that are needed were made ({}: {}); run `edgeward repo sign` with the next key",
                refusal.file, refusal.reason
            ));
            Ok(())
        }
        Err(error) => Err(refused("taking the drafts", &error)),
    }
}
