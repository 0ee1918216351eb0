//! Getting a released bundle into a slot: fetch, verify from the disk, load, golden test.
//!
//! Every size is known before a byte is fetched: the manifest's from the signed release, each file's from the manifest.
//! A download that broke off goes on where it stopped. A bundle is refused for good only for what its signed bytes say;
//! no answer, an answer that breaks off, bytes that are not the signed ones and a full disk are worth another try.
//!
//! A form that this device cannot use, by what the manifest says it needs, is not fetched.
//!
//! Files after the manifest come with as few bytes as there is a way for: copied from the other slot, as a delta
//! to it, compressed, or as they are.
//!
//! Deliberately missing: deltas to more than one file, and to files of other paths.

mod smaller;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use edgeward_api::{Client, ClientError};
use edgeward_core::digest::Hasher;
use edgeward_core::manifest::{BundlePath, FileEntry};
use edgeward_core::slot::{SlotId, StageOutcome};
use edgeward_core::{Capabilities, Digest, Manifest, ModelName, Release};
use edgeward_model::Bundle;
use edgeward_model::bundle::path;
use edgeward_sdk::Loaded;

use self::smaller::Held;
use crate::disk::OsDisk;
use crate::durable::{DurableError, settle};
use crate::pick::Picker;
use crate::platform::Platform;
use crate::slots::{Prepared, SLOT_BYTES_MAX, Slots};
use edgeward_sdk::chain;

const COPY_BUFFER_BYTES: usize = 64 << 10;

/// Trials of one bundle that may be cut off by the end of the process before the bundle is blamed: a loss of power is
/// no fault of the bundle, a model that takes all memory is.
pub const TRIALS_CUT_OFF_MAX: u32 = 3;

/// Where blobs come from.
pub trait BlobSource {
    /// A reader over the blob from `offset` on; false if it starts at zero all the same.
    ///
    /// # Errors
    /// No answer, or no such blob.
    fn open(&self, digest: &Digest, offset: u64) -> Result<(bool, Box<dyn Read + '_>), ClientError>;

    /// The same of what makes `result` of `source`, or of nothing.
    ///
    /// # Errors
    /// No answer, or no such delta.
    fn open_delta(
        &self,
        result: &Digest,
        source: Option<&Digest>,
        offset: u64,
    ) -> Result<(bool, Box<dyn Read + '_>), ClientError>;
}

impl BlobSource for Client {
    fn open(&self, digest: &Digest, offset: u64) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        let (partial, reader) = self.blob(digest, offset)?;
        Ok((partial, Box::new(reader)))
    }

    fn open_delta(
        &self,
        result: &Digest,
        source: Option<&Digest>,
        offset: u64,
    ) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        let (partial, reader) = self.delta(result, source, offset)?;
        Ok((partial, Box::new(reader)))
    }
}

/// Why a bundle is not in its slot.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer from the control plane.
    #[error("fetching {what}")]
    Transfer {
        /// Which file.
        what: String,
        /// Why.
        #[source]
        source: Box<ClientError>,
    },
    /// The answer broke off.
    #[error("the transfer of {what} broke off after {found} of {expected} bytes")]
    BrokeOff {
        /// Which file.
        what: String,
        /// Its size.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// A delta broke off.
    #[error("the transfer of a delta for {what} broke off after {found} bytes")]
    DeltaBrokeOff {
        /// Which file it is for.
        what: String,
        /// Bytes that came.
        found: u64,
    },
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] DurableError),
    /// Nobody wants the bundle any more.
    #[error("staging was given up for another bundle")]
    Cancelled,
    /// The bytes that came, or lie on the disk, are not those that were signed. Others may be.
    #[error("{what} is damaged: {reason}; it is fetched again")]
    Damaged {
        /// Which file.
        what: String,
        /// In what way.
        reason: String,
    },
    /// What was signed is wrong.
    #[error("{what} is not what was released: {reason}")]
    Wrong {
        /// Which file.
        what: String,
        /// In what way.
        reason: String,
    },
    /// The bundle is right but of no use here.
    #[error("the bundle cannot run here: {0}")]
    Unusable(String),
}

impl FetchError {
    /// How staging ended.
    #[must_use]
    pub fn outcome(&self) -> StageOutcome {
        match self {
            Self::Wrong { .. } | Self::Unusable(_) => StageOutcome::Refused(chain(self)),
            Self::Damaged { .. } => StageOutcome::Damaged(chain(self)),
            _ => StageOutcome::Unreachable(chain(self)),
        }
    }
}

/// What staging needs beside the bundle.
pub struct Staging<'a> {
    /// Where blobs come from.
    pub source: &'a dyn BlobSource,
    /// Where they go.
    pub slots: &'a Slots,
    /// What runs them; forms that it cannot are not fetched.
    pub platform: &'a Platform,
    /// Set when nobody wants the bundle any more.
    pub cancelled: &'a AtomicBool,
    /// Counts the bytes that came.
    pub received: &'a AtomicU64,
}

impl Staging<'_> {
    /// Puts the released bundle into `slot` and proves on this device that it answers as it should.
    ///
    /// # Errors
    /// See [`FetchError`]; [`FetchError::outcome`] says whether trying again can help.
    pub fn stage(
        &self,
        model: &ModelName,
        slot: SlotId,
        release: &Release,
    ) -> Result<Arc<Loaded>, FetchError> {
        let prepared = self.slots.prepare(model, slot, release.bundle)?;
        let manifest = self.fetch_manifest(model, release, &prepared)?;
        let device = self.platform.capabilities(&manifest);
        let needed = needed_files(&manifest, &device)?;
        let total: u64 = needed.iter().map(|path| manifest.files[*path].size_bytes).sum();
        if total > SLOT_BYTES_MAX {
            return Err(FetchError::Unusable(format!(
                "it takes {total} bytes, over {SLOT_BYTES_MAX} per slot"
            )));
        }
        let held = Held::new(self.slots.folder(model, slot.other()), &prepared.folder, &manifest);
        for path in needed {
            self.obtain(path, &manifest.files[path], &prepared, &held)?;
        }
        self.slots.remove_partial(&prepared)?;
        let opened = open_verified(&prepared.folder, release.bundle, self.platform);
        let bundle = opened.inspect_err(|_| self.slots.distrust(model, slot))?;
        self.try_out(model, slot, &bundle).map(Arc::new)
    }

    /// Loads the bundle and runs its golden test, but not for ever again when that ends the process.
    fn try_out(&self, model: &ModelName, slot: SlotId, bundle: &Bundle) -> Result<Loaded, FetchError> {
        let cut_off = self.slots.begin_trial(model, slot, bundle.digest())?;
        let tried = match cut_off >= TRIALS_CUT_OFF_MAX {
            true => Err(FetchError::Unusable(format!("the agent ended {cut_off} times while testing it"))),
            false => {
                Picker { platform: self.platform, folder: &self.slots.derived(model, slot) }.pick(bundle)
            }
        };
        self.slots.end_trial(model, slot);
        tried
    }

    fn fetch_manifest(
        &self,
        model: &ModelName,
        release: &Release,
        prepared: &Prepared,
    ) -> Result<Manifest, FetchError> {
        let entry = FileEntry { size_bytes: release.manifest_size_bytes, digest: release.bundle };
        self.fetch_file(path::MANIFEST, &entry, prepared)?;
        let wrong = |reason| FetchError::Wrong { what: path::MANIFEST.to_owned(), reason };
        let at = prepared.folder.join(path::MANIFEST);
        let bytes = fs::read(&at).map_err(|source| DurableError::Read { path: at, source })?;
        let manifest = Manifest::parse(&bytes).map_err(|error| wrong(chain(&error)))?;
        if manifest.model != *model {
            return Err(wrong(format!("it is a bundle of {}, not of {model}", manifest.model)));
        }
        Ok(manifest)
    }

    /// Fetches one file, unless it is there and whole.
    fn fetch_file(&self, name: &str, entry: &FileEntry, prepared: &Prepared) -> Result<(), FetchError> {
        let target = prepared.folder.join(name);
        if is_whole(&target, entry) {
            return Ok(());
        }
        let part = prepared.partial.join(entry.digest.hex());
        let resumed = self.download(name, entry, &part, true)?;
        if resumed != entry.digest {
            // What stood on the disk before may be at fault: once more from the start.
            let found = self.download(name, entry, &part, false)?;
            if found != entry.digest {
                remove_quietly(&part);
                let reason = format!("its digest is {found}, expected {}", entry.digest);
                return Err(FetchError::Damaged { what: name.to_owned(), reason });
            }
        }
        settle(&OsDisk, &part, &target)?;
        Ok(())
    }

    /// Downloads the rest of a file into `part` and returns the digest of the whole.
    fn download(
        &self,
        name: &str,
        entry: &FileEntry,
        part: &Path,
        resume: bool,
    ) -> Result<Digest, FetchError> {
        let disk = |source| FetchError::Disk(DurableError::Write { path: part.to_owned(), source });
        let (mut file, mut hasher, mut offset) = open_part(part, entry, resume).map_err(disk)?;
        if offset < entry.size_bytes {
            let transfer = |error| FetchError::Transfer { what: name.to_owned(), source: Box::new(error) };
            let (honoured, mut reader) = self.source.open(&entry.digest, offset).map_err(transfer)?;
            if offset > 0 && !honoured {
                (file, hasher, offset) = open_part(part, entry, false).map_err(disk)?;
            }
            let left = entry.size_bytes - offset;
            let copied = self.copy(name, &mut reader, left, &mut file, &mut hasher);
            file.sync_data().map_err(disk)?;
            let found = offset + copied?;
            if found < entry.size_bytes {
                return Err(FetchError::BrokeOff {
                    what: name.to_owned(),
                    expected: entry.size_bytes,
                    found,
                });
            }
        }
        Ok(hasher.finish())
    }

    /// Copies at most `left` bytes; one more is proof that the file is not what was signed.
    fn copy(
        &self,
        name: &str,
        reader: &mut dyn Read,
        left: u64,
        file: &mut File,
        hasher: &mut Hasher,
    ) -> Result<u64, FetchError> {
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        let mut copied = 0;
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(FetchError::Cancelled);
            }
            // A read that fails is an answer that breaks off: the caller sees what is missing.
            let count = reader.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                return Ok(copied);
            }
            copied += count as u64;
            self.received.fetch_add(count as u64, Ordering::Relaxed);
            if copied > left {
                let reason = "it is longer than its size says".to_owned();
                return Err(FetchError::Damaged { what: name.to_owned(), reason });
            }
            let wrap = |source| DurableError::Write { path: name.into(), source };
            file.write_all(&buffer[..count]).map_err(wrap)?;
            hasher.update(&buffer[..count]);
        }
    }
}

/// Opens the bundle in `folder` and checks every byte a device needs.
///
/// # Errors
/// The files are not those of `bundle`, which every one of them once was: they are damaged.
pub fn open_verified(folder: &Path, bundle: Digest, platform: &Platform) -> Result<Bundle, FetchError> {
    let wrong = |error: &dyn std::error::Error| FetchError::Damaged {
        what: format!("the bundle in {}", folder.display()),
        reason: chain(error),
    };
    let opened = Bundle::open(folder).map_err(|error| wrong(&error))?;
    let device = platform.capabilities(opened.manifest());
    let needed: BTreeSet<BundlePath> =
        needed_files(opened.manifest(), &device)?.into_iter().cloned().collect();
    Bundle::verify_subset(folder, &bundle, |path| needed.contains(path)).map_err(|error| wrong(&error))
}

/// Everything but the model files this device cannot run. Of those it can, every one: which is fastest only a test tells.
fn needed_files<'a>(
    manifest: &'a Manifest,
    device: &Capabilities,
) -> Result<Vec<&'a BundlePath>, FetchError> {
    let selection = device.select(&manifest.variants);
    if selection.usable.is_empty() {
        let why = format!("none of its forms is for this device: {}", selection.reasons());
        return Err(FetchError::Unusable(why));
    }
    let is_usable = |path: &BundlePath| selection.usable.iter().any(|variant| variant.path == *path);
    let is_model = |path: &BundlePath| {
        path.as_str() == path::MODEL || manifest.variants.iter().any(|variant| variant.path == *path)
    };
    Ok(manifest.files.keys().filter(|path| is_usable(path) || !is_model(path)).collect())
}

fn is_whole(path: &Path, entry: &FileEntry) -> bool {
    let right_size = fs::metadata(path).is_ok_and(|metadata| metadata.len() == entry.size_bytes);
    right_size && fs::read(path).is_ok_and(|bytes| Digest::of(&bytes) == entry.digest)
}

/// The partial file, positioned at its end, with a hasher that has seen what it holds.
fn open_part(part: &Path, entry: &FileEntry, resume: bool) -> io::Result<(File, Hasher, u64)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(!resume).open(part)?;
    if file.metadata()?.len() > entry.size_bytes {
        file.set_len(0)?;
    }
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    let mut offset = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((file, hasher, offset));
        }
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
}

fn remove_quietly(path: &Path) {
    // Preparing the slot for another bundle empties it anyway.
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests;
