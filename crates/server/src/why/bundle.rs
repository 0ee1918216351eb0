//! A bundle of any age, taken file by file from wherever its blobs are, each held against its digest.

use std::fs;
use std::path::Path;

use edgeward_api::record::Lineage;
use edgeward_core::ledger::Entry;
use edgeward_core::manifest::{FileEntry, MANIFEST_BYTES_MAX};
use edgeward_core::{Digest, Manifest};
use edgeward_model::bundle::{BUNDLE_FILE_BYTES_MAX, path};
use edgeward_model::{Bundle, Engines, Golden, LoadOptions, Session};
use edgeward_monitor::{InputView, MonitorConfig};
use tempfile::TempDir;

use super::{FileState, FileTold, FormTold, MadeFrom, ModelTold, story};
use crate::failure::chain;

/// Where blobs are.
pub trait Shelf {
    /// A blob's bytes, at most so many; none if it is not there. The bytes are not believed.
    ///
    /// # Errors
    /// Why they cannot be had, for people.
    fn blob(&self, digest: &Digest, bytes_max: u64) -> Result<Option<Vec<u8>>, String>;

    /// Whether a blob is there.
    fn has(&self, digest: &Digest) -> bool;
}

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
    /// Takes what tells of the bundle, and the form `form` or all of them; the other forms are only looked for.
    pub(super) fn of(shelf: &dyn Shelf, digest: Digest, form: Option<&str>) -> Self {
        Self { digest, here: Here::of(shelf, digest, form) }
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

    /// The bundle's card; none if it is gone or has none.
    pub(super) fn card(&self) -> Option<String> {
        let here = self.here.as_ref().ok()?;
        fs::read_to_string(here.folder.path().join(path::CARD)).ok()
    }

    /// How the bundle's monitor sees a row.
    pub(super) fn view(&self) -> InputView {
        let bytes =
            self.here.as_ref().ok().and_then(|here| fs::read(here.folder.path().join(path::MONITOR)).ok());
        let config: Option<MonitorConfig> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        config.map_or(InputView::Columns, |config| config.input)
    }

    /// The form `form`, ready to answer, or else another one that runs here; why there is none otherwise.
    pub(super) fn load(&self, form: &str) -> Result<(Session, Golden), String> {
        let here = self.here.as_ref().map_err(|reason| format!("the bundle is gone: {reason}"))?;
        let bundle = Bundle::open(here.folder.path()).map_err(|error| chain(&error))?;
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
                    (Err(error), _) => reason = chain(&error),
                    (_, Err(error)) => reason = chain(&error),
                }
            }
        }
        Err(reason)
    }
}

impl Here {
    fn of(shelf: &dyn Shelf, digest: Digest, form: Option<&str>) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("making a temporary folder: {error}"))?;
        let bytes = whole(shelf, &digest, MANIFEST_BYTES_MAX as u64)?;
        let bytes = bytes.ok_or_else(|| format!("there is no blob {digest}"))?;
        let manifest = Manifest::parse(&bytes).map_err(|error| chain(&error))?;
        keep(folder.path(), path::MANIFEST, &bytes)?;
        let others: Vec<&str> = manifest
            .variants
            .iter()
            .filter(|variant| form.is_some_and(|form| variant.label() != form))
            .map(|variant| variant.path.as_str())
            .collect();
        let mut files = Vec::new();
        for (file, entry) in &manifest.files {
            let state = match others.contains(&file.as_str()) {
                true if shelf.has(&entry.digest) => FileState::There,
                true => FileState::Gone,
                false => fetch(shelf, folder.path(), file.as_str(), entry)?,
            };
            files.push(FileTold { path: file.to_string(), digest: entry.digest, state });
        }
        Ok(Self { folder, manifest, files })
    }
}

fn fetch(shelf: &dyn Shelf, folder: &Path, file: &str, entry: &FileEntry) -> Result<FileState, String> {
    match whole(shelf, &entry.digest, entry.size_bytes.min(BUNDLE_FILE_BYTES_MAX))? {
        None => Ok(FileState::Gone),
        Some(bytes) => keep(folder, file, &bytes).map(|()| FileState::Checked),
    }
}

/// A blob whose bytes are those of its digest.
fn whole(shelf: &dyn Shelf, digest: &Digest, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
    match shelf.blob(digest, bytes_max)? {
        Some(bytes) if Digest::of(&bytes) != *digest => {
            Err(format!("the bytes kept as {digest} have another digest: they were changed"))
        }
        other => Ok(other),
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
