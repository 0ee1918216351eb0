//! A bundle of any age, fetched file by file from the control plane's blobs, each held against its digest.

use std::fs;
use std::io::Read;
use std::path::Path;

use edgeward_api::record::Lineage;
use edgeward_api::{Client, ClientError};
use edgeward_core::ledger::Entry;
use edgeward_core::manifest::{FileEntry, MANIFEST_BYTES_MAX};
use edgeward_core::{Digest, Manifest};
use edgeward_model::bundle::{BUNDLE_FILE_BYTES_MAX, path};
use edgeward_model::{Bundle, Engines, Golden, LoadOptions, Session};
use edgeward_server::why::{FileState, FileTold, FormTold, MadeFrom, ModelTold, story};
use tempfile::TempDir;

use crate::output::with_causes;

/// What there is of a bundle.
pub(super) struct Fetched {
    digest: Digest,
    here: Result<Here, String>,
}

struct Here {
    folder: TempDir,
    manifest: Manifest,
    files: Vec<FileTold>,
}

impl Fetched {
    /// Fetches what tells of the bundle, and the form `form` or all of them; the other forms are only looked for.
    pub(super) fn of(client: &Client, digest: Digest, form: Option<&str>) -> Self {
        Self { digest, here: Here::of(client, digest, form) }
    }

    /// What is told of the model.
    pub(super) fn told(&self, lineage: &Lineage, entries: &[Entry]) -> ModelTold {
        let story = story(entries, self.digest);
        let (gone, here) = match &self.here {
            Ok(here) => (None, Some(here)),
            Err(reason) => (Some(reason.clone()), None),
        };
        let made_from = here.and_then(|here| {
            let bytes = fs::read(here.folder.path().join(path::LINEAGE)).ok()?;
            serde_json::from_slice(&bytes).ok().map(|statement| MadeFrom::of(&statement))
        });
        ModelTold {
            name: lineage.model.clone(),
            bundle: self.digest,
            version: lineage.version,
            gone,
            files: here.map(|here| here.files.clone()).unwrap_or_default(),
            forms: here.map(|here| FormTold::of(&here.manifest, &story)).unwrap_or_default(),
            made_from,
            story,
        }
    }

    /// The form `form`, ready to answer, or else another one that runs here; why there is none otherwise.
    pub(super) fn load(&self, form: &str) -> Result<(Session, Golden), String> {
        let here = self.here.as_ref().map_err(|reason| format!("the bundle is gone: {reason}"))?;
        let bundle = Bundle::open(here.folder.path()).map_err(|error| with_causes(&error))?;
        let engines = Engines::embedded();
        let mut reason = format!("the bundle has no form '{form}'");
        let mut variants: Vec<_> = bundle.manifest().variants.iter().collect();
        variants.sort_by_key(|variant| variant.label() != form);
        for variant in variants {
            for engine in engines.named(&variant.engine) {
                let session =
                    Session::load_variant(&bundle, variant, &*engine, &LoadOptions::with_threads(1));
                match (session, bundle.golden(variant)) {
                    (Ok(session), Ok(golden)) => return Ok((session, golden)),
                    (Err(error), _) => reason = with_causes(&error),
                    (_, Err(error)) => reason = with_causes(&error),
                }
            }
        }
        Err(reason)
    }
}

impl Here {
    fn of(client: &Client, digest: Digest, form: Option<&str>) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("making a temporary folder: {error}"))?;
        let (_, reader) = client.blob(&digest, 0).map_err(|error| with_causes(&error))?;
        let bytes = all(reader, digest, MANIFEST_BYTES_MAX as u64)?;
        let manifest = Manifest::parse(&bytes).map_err(|error| with_causes(&error))?;
        keep(folder.path(), path::MANIFEST, &bytes)?;
        let others: Vec<&str> = manifest
            .variants
            .iter()
            .filter(|variant| form.is_some_and(|form| variant.label() != form))
            .map(|variant| variant.path.as_str())
            .collect();
        let mut files = Vec::new();
        for (file, entry) in &manifest.files {
            let is_other = others.contains(&file.as_str());
            let state = if is_other {
                look(client, entry)
            } else {
                fetch(client, folder.path(), file.as_str(), entry)?
            };
            files.push(FileTold { path: file.to_string(), digest: entry.digest, state });
        }
        Ok(Self { folder, manifest, files })
    }
}

fn look(client: &Client, entry: &FileEntry) -> FileState {
    match client.blob(&entry.digest, 0) {
        Ok(_) => FileState::There,
        Err(_) => FileState::Gone,
    }
}

fn fetch(client: &Client, folder: &Path, file: &str, entry: &FileEntry) -> Result<FileState, String> {
    match client.blob(&entry.digest, 0) {
        Err(ClientError::Refused { status: 404, .. }) => Ok(FileState::Gone),
        Err(error) => Err(format!("fetching {file}: {}", with_causes(&error))),
        Ok((_, reader)) => {
            let bytes = all(reader, entry.digest, entry.size_bytes.min(BUNDLE_FILE_BYTES_MAX))?;
            keep(folder, file, &bytes).map(|()| FileState::Checked)
        }
    }
}

/// Everything a reader gives, if its bytes are those of the digest.
fn all(reader: impl Read, digest: Digest, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("reading {digest}: {error}"))?;
    match Digest::of(&bytes) == digest {
        true => Ok(bytes),
        false => Err(format!("the bytes kept as {digest} have another digest: they were changed")),
    }
}

fn keep(folder: &Path, file: &str, bytes: &[u8]) -> Result<(), String> {
    let to = folder.join(file);
    let write = || {
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(&to, bytes)
    };
    write().map_err(|error| format!("writing {}: {error}", to.display()))
}
