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
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use edgeward_api::client::Files;
use edgeward_api::{Client, ClientError};
use edgeward_core::digest::Hasher;
use edgeward_core::manifest::{BundlePath, FileEntry};
use edgeward_core::slot::{SlotId, StageOutcome};
use edgeward_core::{Capabilities, Digest, Manifest, ModelName, Release};
use edgeward_model::Bundle;
use edgeward_model::bundle::path;
use edgeward_sdk::Loaded;

use self::smaller::Held;
use crate::courtesy::Courtesy;
use crate::disk::Disk;
use crate::durable::{COPY_BUFFER_BYTES, DurableError, for_each_piece, read_on, settle};
use crate::pick::Picker;
use crate::platform::Platform;
use crate::slots::{Prepared, SLOT_BYTES_MAX, Slots};
use edgeward_sdk::chain;

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

/// The control plane, behind a mirror of its files if there is one. Deltas are the control plane's.
pub struct Sources {
    /// Files by digest on any web server.
    pub mirror: Option<Files>,
    /// What has those that the mirror has not.
    pub client: Client,
}

impl BlobSource for Sources {
    fn open(&self, digest: &Digest, offset: u64) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        let mirrored = self.mirror.as_ref().map(|mirror| mirror.open(&digest.hex(), offset));
        match mirrored {
            Some(Ok((partial, reader))) => Ok((partial, Box::new(reader))),
            Some(Err(error)) => {
                tracing::debug!("{}; asking the control plane", chain(&error));
                BlobSource::open(&self.client, digest, offset)
            }
            None => BlobSource::open(&self.client, digest, offset),
        }
    }

    fn open_delta(
        &self,
        result: &Digest,
        source: Option<&Digest>,
        offset: u64,
    ) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        self.client.open_delta(result, source, offset)
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
    /// The device waits for a better time.
    #[error("the bundle is not fetched now: {0}")]
    Waits(&'static str),
    /// The bundle does not fit beside what is kept.
    #[error("there is no room for the bundle: it needs {needed} more bytes and {what} leaves {left}; {hint}")]
    NoRoom {
        /// Bytes that are still to be written.
        needed: u64,
        /// Bytes that may be.
        left: u64,
        /// What sets the limit.
        what: &'static str,
        /// What a person may do about it.
        hint: &'static str,
    },
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
            Self::NoRoom { .. } => StageOutcome::NoRoom(chain(self)),
            Self::Disk(error) if error.is_full() => StageOutcome::NoRoom(chain(self)),
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
    /// When files may be fetched.
    pub courtesy: &'a Courtesy,
    /// Set when nobody wants the bundle any more.
    pub cancelled: &'a AtomicBool,
    /// Counts the bytes that came.
    pub received: &'a AtomicU64,
    /// Where the bundle's files may stand already: files that are what was signed are copied from there. None for the other
    /// slot, which may hold some of them.
    pub beside: Option<&'a Path>,
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
        let bundle = self.fetch_verified(model, slot, release)?;
        self.try_out(model, slot, &bundle).map(Arc::new)
    }

    /// As [`Staging::stage`] for a bundle that is `loaded` already and passed its golden test on this device.
    ///
    /// # Errors
    /// As [`Staging::stage`].
    pub fn stage_loaded(
        &self,
        model: &ModelName,
        slot: SlotId,
        release: &Release,
        loaded: Arc<Loaded>,
    ) -> Result<Arc<Loaded>, FetchError> {
        let bundle = self.fetch_verified(model, slot, release)?;
        match bundle.digest() == loaded.bundle() {
            true => Ok(loaded),
            false => self.try_out(model, slot, &bundle).map(Arc::new),
        }
    }

    fn fetch_verified(
        &self,
        model: &ModelName,
        slot: SlotId,
        release: &Release,
    ) -> Result<Bundle, FetchError> {
        let prepared = self.fetch(model, slot, release)?;
        let opened = open_verified(&prepared.folder, release.bundle, self.platform);
        opened.inspect_err(|_| self.slots.distrust(model, slot))
    }

    /// Puts the released bundle's files into `slot`, each with the bytes that were signed when it was put there.
    ///
    /// # Errors
    /// As [`Staging::stage`]. A full disk gets back what it held of the bundle: the next try begins anew.
    pub fn fetch(&self, model: &ModelName, slot: SlotId, release: &Release) -> Result<Prepared, FetchError> {
        let prepared = self.slots.prepare(model, slot, release.bundle)?;
        let fetched = self.fetch_into(model, slot, release, &prepared);
        if matches!(&fetched, Err(FetchError::Disk(error)) if error.is_full()) {
            // What the device does besides needs the room more than the next try needs these bytes.
            let _ = self.slots.empty(model, slot);
        }
        fetched.map(|()| prepared)
    }

    fn fetch_into(
        &self,
        model: &ModelName,
        slot: SlotId,
        release: &Release,
        prepared: &Prepared,
    ) -> Result<(), FetchError> {
        let manifest = self.fetch_manifest(model, release, prepared)?;
        let device = self.platform.capabilities(&manifest);
        let needed = needed_files(&manifest, &device)?;
        let total: u64 = needed.iter().map(|path| manifest.files[*path].size_bytes).sum();
        if total > SLOT_BYTES_MAX {
            return Err(FetchError::Unusable(format!(
                "it takes {total} bytes, over {SLOT_BYTES_MAX} per slot"
            )));
        }
        self.room_for(&manifest, &needed, prepared)?;
        let other = self.beside.map_or_else(|| self.slots.folder(model, slot.other()), Path::to_owned);
        let held = Held::new(self.disk(), other, &prepared.folder, &manifest);
        for path in needed {
            self.obtain(path, &manifest.files[path], prepared, &held)?;
        }
        Ok(self.slots.remove_partial(prepared)?)
    }

    /// Whether what is missing fits onto the disk and into the device's share of it, with the copy that the largest file is
    /// made beside.
    fn room_for(
        &self,
        manifest: &Manifest,
        needed: &[&BundlePath],
        prepared: &Prepared,
    ) -> Result<(), FetchError> {
        let missing = needed.iter().map(|path| (path, &manifest.files[*path])).filter(|(path, entry)| {
            let there = self.disk().len(&prepared.folder.join(path.as_str())).ok().flatten();
            there != Some(entry.size_bytes)
        });
        let sizes: Vec<u64> = missing.map(|(_, entry)| entry.size_bytes).collect();
        let needed = sizes.iter().sum::<u64>() + sizes.iter().max().unwrap_or(&0);
        self.slots.room_for(needed).map_err(|(left, limit)| FetchError::NoRoom {
            needed,
            left,
            what: limit.what(),
            hint: limit.hint(),
        })
    }

    fn disk(&self) -> &dyn Disk {
        self.slots.disk()
    }

    /// Loads the bundle and runs its golden test, but not for ever again when that ends the process.
    fn try_out(&self, model: &ModelName, slot: SlotId, bundle: &Bundle) -> Result<Loaded, FetchError> {
        let cut_off = self.slots.begin_trial(model, slot, bundle.digest())?;
        let tried = match cut_off >= TRIALS_CUT_OFF_MAX {
            true => Err(FetchError::Unusable(format!("the agent ended {cut_off} times while testing it"))),
            false => {
                let derived = self.slots.derived(model, slot);
                Picker { platform: self.platform, folder: Some(&derived) }.pick(bundle)
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
        if !self.copied_manifest(&entry, prepared)? {
            self.fetch_file(path::MANIFEST, &entry, prepared)?;
        }
        let wrong = |reason| FetchError::Wrong { what: path::MANIFEST.to_owned(), reason };
        let bytes = read_on(self.disk(), &prepared.folder.join(path::MANIFEST), release.manifest_size_bytes)?;
        let bytes = bytes.unwrap_or_default();
        let manifest = Manifest::parse(&bytes).map_err(|error| wrong(chain(&error)))?;
        if manifest.model != *model {
            return Err(wrong(format!("it is a bundle of {}, not of {model}", manifest.model)));
        }
        Ok(manifest)
    }

    /// Copies the manifest from where the bundle stands already; false if it does not.
    fn copied_manifest(&self, entry: &FileEntry, prepared: &Prepared) -> Result<bool, FetchError> {
        let Some(beside) = self.beside else { return Ok(false) };
        let made = prepared.partial.join(format!("{}.made", entry.digest.hex()));
        let copied = self.copied(&beside.join(path::MANIFEST), entry, &made)?;
        if copied {
            settle(self.disk(), &made, &prepared.folder.join(path::MANIFEST))?;
        }
        Ok(copied)
    }

    /// Fetches one file, unless it is there and whole.
    fn fetch_file(&self, name: &str, entry: &FileEntry, prepared: &Prepared) -> Result<(), FetchError> {
        let target = prepared.folder.join(name);
        if is_whole(self.disk(), &target, entry) {
            return Ok(());
        }
        let part = prepared.partial.join(entry.digest.hex());
        let resumed = self.download(name, entry, &part, true)?;
        if resumed != entry.digest {
            // What stood on the disk before may be at fault: once more from the start.
            let found = self.download(name, entry, &part, false)?;
            if found != entry.digest {
                self.remove_quietly(&part);
                let reason = format!("its digest is {found}, expected {}", entry.digest);
                return Err(FetchError::Damaged { what: name.to_owned(), reason });
            }
        }
        settle(self.disk(), &part, &target)?;
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
        let (mut hasher, mut offset) = match resume {
            true => begun(self.disk(), part, entry.size_bytes).map_err(disk)?,
            false => (Hasher::new(), 0),
        };
        let mut found = Ok(offset);
        if offset < entry.size_bytes {
            let transfer = |error| FetchError::Transfer { what: name.to_owned(), source: Box::new(error) };
            let (honoured, mut reader) = self.source.open(&entry.digest, offset).map_err(transfer)?;
            if offset > 0 && !honoured {
                (hasher, offset) = (Hasher::new(), 0);
            }
            let mut file = self.disk().append(part, offset).map_err(disk)?;
            let copied = self.copy(name, &mut reader, entry.size_bytes - offset, &mut *file, &mut hasher);
            found = copied.map(|copied| offset + copied);
        }
        // What stood there before may not have been said to be on the disk either.
        self.disk().sync_file(part).map_err(disk)?;
        let found = found?;
        if found < entry.size_bytes {
            let (what, expected) = (name.to_owned(), entry.size_bytes);
            return Err(FetchError::BrokeOff { what, expected, found });
        }
        Ok(hasher.finish())
    }

    /// Whether the transfer of a bundle is still wanted, and wanted now.
    fn goes_on(&self, name: &str) -> Result<(), FetchError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(FetchError::Cancelled);
        }
        // A manifest is small, and says whether anything else is missing.
        if name == path::MANIFEST {
            return Ok(());
        }
        self.courtesy.waits_for_link().map_or(Ok(()), |why| Err(FetchError::Waits(why)))
    }

    fn remove_quietly(&self, path: &Path) {
        // Preparing the slot for another bundle empties it anyway.
        let _ = self.disk().remove_file(path);
    }

    /// Copies at most `left` bytes; one more is proof that the file is not what was signed.
    fn copy(
        &self,
        name: &str,
        reader: &mut dyn Read,
        left: u64,
        file: &mut dyn Write,
        hasher: &mut Hasher,
    ) -> Result<u64, FetchError> {
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        let mut copied = 0;
        loop {
            self.goes_on(name)?;
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

/// Whether a file has the bytes that are asked of it.
fn is_whole(disk: &dyn Disk, path: &Path, entry: &FileEntry) -> bool {
    let right_size = disk.len(path).is_ok_and(|len| len == Some(entry.size_bytes));
    let digest = || {
        let mut hasher = Hasher::new();
        let mut file = disk.open(path).ok()??;
        for_each_piece(&mut *file, |piece| {
            hasher.update(piece);
            Ok(())
        })
        .ok()?;
        Some(hasher.finish())
    };
    right_size && digest() == Some(entry.digest)
}

/// A hasher that has seen what stands in a partial file, and how much that is; nothing of one that is too long.
fn begun(disk: &dyn Disk, part: &Path, bytes_max: u64) -> std::io::Result<(Hasher, u64)> {
    let mut hasher = Hasher::new();
    if disk.len(part)?.is_none_or(|len| len > bytes_max) {
        return Ok((hasher, 0));
    }
    let Some(mut file) = disk.open(part)? else { return Ok((hasher, 0)) };
    let len = for_each_piece(&mut *file, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok((hasher, len))
}

#[cfg(test)]
mod tests;
