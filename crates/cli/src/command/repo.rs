//! `edgeward repo`: repositories as plain folders, which any web server or bucket serves.
//!
//! ```text
//! DIR/metadata, DIR/targets   what devices read
//! DIR/blobs                   files of the bundles that were released here, by digest
//! DIR/drafts                  documents that wait for more signatures
//! ```
//!
//! Every command reads the repository as it is, signs with the keys at hand whatever they may sign, and writes each file as
//! a whole, the timestamp last. The folder may be that of a control plane: it takes up what people signed, and signs
//! snapshot and timestamp itself.

mod init;
mod rotate;
mod sign;
mod verify;

use std::collections::BTreeMap;

use edgeward_core::{Desired, Timestamp};
use edgeward_store::{Folder, FolderError};
use edgeward_trust::Signer;
use edgeward_trust::fleet::{
    File, Lives, OnlineSigners, PublishError, RELEASES, ROLLOUTS, Shelf, renew_releases,
};
use serde::Serialize;

use super::now;
use crate::args::{DeskArgs, RepoCommand};
use crate::output::{Explain, Failure, Outcome, Output, note, with_causes};
use crate::signers;

/// Largest file of a repository that is read, in bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;

pub(crate) fn run(command: &RepoCommand, out: Output) -> Outcome {
    match command {
        RepoCommand::Init { desk } => init::run(desk, out),
        RepoCommand::Sign { desk, bundle, roll_out, stable } => {
            sign::run(desk, &sign::Wanted { bundles: bundle, roll_out: *roll_out, stable }, out)
        }
        RepoCommand::Rotate { desk, role, key, threshold } => {
            rotate::run(desk, role.as_deref(), key, *threshold, out)
        }
        RepoCommand::Refresh { desk, renew_releases } => refresh(desk, *renew_releases, out),
        RepoCommand::Verify { repository, warn_within } => verify::run(repository, *warn_within, out),
    }
}

/// What a command did.
#[derive(Debug, Default, Serialize)]
struct Done {
    /// Files that were written, in their order.
    written: Vec<String>,
    /// The latest versions, by role.
    versions: BTreeMap<String, u64>,
    /// Bundles that may run since.
    released: Vec<String>,
    /// What signatures are still needed.
    waiting: Option<String>,
}

/// A repository and the keys at hand.
struct Desk {
    folder: Folder,
    shelf: Shelf,
    signers: Vec<Box<dyn Signer>>,
    now: Timestamp,
    done: Done,
}

fn folder(path: &std::path::Path) -> Folder {
    Folder::new(path)
}

/// Every key at hand.
fn signers(desk: &DeskArgs) -> Result<Vec<Box<dyn Signer>>, Failure> {
    let mut all = desk.keys.as_deref().map(signers::read_folder).transpose()?.unwrap_or_default();
    for file in &desk.signer {
        all.push(signers::read_signer(file)?);
    }
    Ok(all)
}

impl Desk {
    fn open(desk: &DeskArgs) -> Result<Self, Failure> {
        let folder = folder(&desk.repository);
        let doing = format!("reading the repository in {}", desk.repository.display());
        let shelf = Shelf::load(|path| folder.read(path, FILE_BYTES_MAX)).map_err(|error| {
            Failure::new("repository", format!("{doing}: {}", with_causes(&error)))
                .hint("make one with `edgeward repo init`, or name the folder that has 'metadata' in it")
        })?;
        Ok(Self { folder, shelf, signers: signers(desk)?, now: now(), done: Done::default() })
    }

    fn write(&mut self, files: &[File]) -> Result<(), Failure> {
        for File { path, bytes } in files {
            self.folder.write(path, bytes).explain("file", format_args!("writing {path}"))?;
            self.done.written.push(path.clone());
        }
        Ok(())
    }

    /// A key at hand that may sign for `role`.
    fn signer(&self, role: &str) -> Option<&dyn Signer> {
        let signers = self.signers.iter().map(|signer| &**signer);
        signers.into_iter().find(|signer| self.shelf.names(role, &signer.public_key()))
    }

    fn needed(&self, role: &str) -> Result<&dyn Signer, Failure> {
        self.signer(role).ok_or_else(|| {
            Failure::new("key", format!("no key at hand may sign for the role {role}"))
                .hint("name the folder with the keys with --keys, or a key's file with --signer")
        })
    }

    fn online(&self) -> Option<OnlineSigners<'_>> {
        Some(OnlineSigners {
            rollouts: self.signer(ROLLOUTS)?,
            snapshot: self.signer("snapshot")?,
            timestamp: self.signer("timestamp")?,
        })
    }

    /// What the fleet was last told.
    fn desired(&self) -> Result<Option<Desired>, Failure> {
        let Some(path) = self.shelf.desired_file() else { return Ok(None) };
        let doing = format!("reading {path}");
        let bytes = self.folder.read(&path, FILE_BYTES_MAX).explain("file", &doing)?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).explain("repository", &doing)).transpose()
    }

    /// Says what the fleet runs.
    fn publish(&mut self, desired: &Desired) -> Result<(), Failure> {
        let mut shelf = self.shelf.clone();
        let online = self.online().ok_or_else(|| {
            Failure::new("key", "the keys of rollouts, snapshot and timestamp are not all at hand")
                .hint("name the folder with the keys with --keys")
        })?;
        let files = shelf.publish(desired, online, &Lives::default(), self.now);
        let files = files.map_err(|error| refused("saying what the fleet runs", &error))?;
        self.shelf = shelf;
        self.write(&files)
    }

    /// Signs what the keys at hand may, if it does not say what is here or grows old; always if `forced`.
    fn freshen(&mut self, forced: bool) -> Result<(), Failure> {
        let lives = Lives::default();
        if !forced && !self.shelf.is_refresh_due(&lives, self.now) {
            return Ok(());
        }
        let is_desired_due = self.shelf.is_desired_due(&lives, self.now);
        if is_desired_due && let Some(desired) = self.desired()?.filter(|_| self.online().is_some()) {
            return self.publish(&Desired { generation: desired.generation + 1, ..desired });
        }
        let mut shelf = self.shelf.clone();
        let Some(online) = self.online() else {
            note(
                "snapshot and timestamp are not signed, for their keys are not at hand: devices see this after \
                 `edgeward repo refresh` where the keys are, or at the next turn of the control plane",
            );
            return Ok(());
        };
        let files = shelf.refresh(online, &lives, self.now);
        let files = files.map_err(|error| refused("signing snapshot and timestamp", &error))?;
        self.shelf = shelf;
        self.write(&files)
    }

    fn finish(mut self, out: Output) -> Outcome {
        let shelf = &self.shelf;
        let mut versions = BTreeMap::from([
            ("root".to_owned(), shelf.root().body().version),
            ("targets".to_owned(), shelf.targets().body().version),
            (RELEASES.to_owned(), shelf.releases().body().version),
        ]);
        versions.extend(shelf.rollouts().map(|document| (ROLLOUTS.to_owned(), document.body().version)));
        versions.extend(shelf.snapshot().map(|document| ("snapshot".to_owned(), document.body().version)));
        versions.extend(shelf.timestamp().map(|document| ("timestamp".to_owned(), document.body().version)));
        self.done.versions = versions;
        out.document(&self.done, words)
    }
}

fn words(done: &Done) -> String {
    let mut lines: Vec<String> = done.written.iter().map(|path| format!("wrote {path}")).collect();
    lines.extend(done.released.iter().map(|bundle| format!("released {bundle}")));
    let versions: Vec<String> =
        done.versions.iter().map(|(role, version)| format!("{role} {version}")).collect();
    lines.push(versions.join(", "));
    lines.extend(done.waiting.clone());
    lines.join("\n")
}

fn refresh(args: &DeskArgs, renew: bool, out: Output) -> Outcome {
    let mut desk = Desk::open(args)?;
    if renew {
        let signer = desk.needed(RELEASES)?;
        let bytes = renew_releases(desk.shelf.releases().bytes(), signer, &Lives::default(), desk.now);
        let bytes = bytes.map_err(|error| refused("renewing the releases", &error))?;
        let file =
            desk.shelf.accept_releases(&bytes).map_err(|error| refused("renewing the releases", &error))?;
        desk.write(&[file])?;
    }
    if desk.online().is_none() && !renew {
        return Err(Failure::new("key", "the keys of rollouts, snapshot and timestamp are not all at hand")
            .hint("name the folder with the keys with --keys"));
    }
    desk.freshen(true)?;
    desk.finish(out)
}

/// A document that was not signed, or would not be believed.
fn refused(doing: &str, error: &PublishError) -> Failure {
    let kind = match error {
        PublishError::Refused(refusal) => refusal.reason.name(),
        PublishError::Sign(_) => "key",
        _ => "repository",
    };
    Failure::new(kind, format!("{doing}: {}", with_causes(error)))
}

/// Reads a file below a folder as a web server gives it: one byte more than `bytes_max` says that it is too large.
fn serve(folder: &Folder, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, FolderError> {
    let mut bytes = folder.read(path, FILE_BYTES_MAX)?;
    if let Some(bytes) = &mut bytes {
        bytes.truncate(usize::try_from(bytes_max.saturating_add(1)).unwrap_or(usize::MAX));
    }
    Ok(bytes)
}
