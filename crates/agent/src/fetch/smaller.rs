//! Getting a file with fewer bytes than it has: from what the device holds already, as a delta to that, or compressed.
//!
//! Nothing here is believed: the other slot may hold anything, a server may send anything as a delta, and the digest of
//! what comes of it decides. Whatever goes wrong with a delta costs its bytes and no more: the next way is taken, the
//! last one being the file itself. One that broke off goes on where it stopped.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use edgeward_api::ClientError;
use edgeward_core::digest::Hasher;
use edgeward_core::manifest::{BundlePath, FileEntry};
use edgeward_core::{Digest, Manifest};
use edgeward_model::bundle::path;
use edgeward_model::delta::{DeltaError, Seekable, apply};

use super::{COPY_BUFFER_BYTES, FetchError, Staging, is_whole, remove_quietly};
use crate::disk::OsDisk;
use crate::durable::{DurableError, read_if_present, settle};
use crate::slots::Prepared;

/// Smaller files are fetched as they are.
const FILE_BYTES_MIN: u64 = 1 << 10;
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// What the two slots are said to hold.
pub(super) struct Held {
    other: PathBuf,
    old: BTreeMap<BundlePath, FileEntry>,
    /// Of the bundle that is staged, where it is there already.
    new: Vec<(PathBuf, FileEntry)>,
}

impl Held {
    /// What the manifest in the folder of the `other` slot lists, if there is one, and what `manifest` lists of `folder`.
    pub(super) fn new(other: PathBuf, folder: &Path, manifest: &Manifest) -> Self {
        let read = read_if_present(&other.join(path::MANIFEST), MANIFEST_BYTES_MAX).ok().flatten();
        let old = read.and_then(|bytes| Manifest::parse(&bytes).ok());
        let old = old.map(|manifest| manifest.files).unwrap_or_default();
        let new = manifest.files.iter().map(|(path, entry)| (folder.join(path.as_str()), *entry)).collect();
        Self { other, old, new }
    }

    /// Where files of these bytes may stand.
    fn same(&self, entry: &FileEntry) -> impl Iterator<Item = PathBuf> {
        let old = self.old.iter().map(|(path, held)| (self.other.join(path.as_str()), held));
        let new = self.new.iter().map(|(path, held)| (path.clone(), held));
        old.chain(new).filter(move |(_, held)| *held == entry).map(|(path, _)| path)
    }

    /// The file that stands where `name` will stand.
    fn before(&self, name: &BundlePath) -> Option<(PathBuf, Digest)> {
        let entry = self.old.get(name)?;
        Some((self.other.join(name.as_str()), entry.digest))
    }
}

/// How the transfer of a delta ended.
enum Arrived {
    Whole,
    /// There is none, or none that is of use.
    Never,
}

impl Staging<'_> {
    /// Gets one file with as few bytes as there is a way for, unless it is there and whole.
    pub(super) fn obtain(
        &self,
        name: &BundlePath,
        entry: &FileEntry,
        prepared: &Prepared,
        held: &Held,
    ) -> Result<(), FetchError> {
        let target = prepared.folder.join(name.as_str());
        if is_whole(&target, entry) {
            return Ok(());
        }
        let made = prepared.partial.join(format!("{}.made", entry.digest.hex()));
        if held.same(entry).any(|from| copied(&from, entry, &made)) {
            return Ok(settle(&OsDisk, &made, &target)?);
        }
        // Of a file that was begun as it is, the rest is fetched.
        let begun = fs::metadata(prepared.partial.join(entry.digest.hex())).is_ok_and(|part| part.len() > 0);
        if entry.size_bytes < FILE_BYTES_MIN || begun {
            return self.fetch_file(name.as_str(), entry, prepared);
        }
        let before = held.before(name).filter(|(_, digest)| *digest != entry.digest);
        for source in before.map(Some).into_iter().chain([None]) {
            if self.make(name.as_str(), entry, source, prepared, &made)? {
                return Ok(settle(&OsDisk, &made, &target)?);
            }
        }
        self.fetch_file(name.as_str(), entry, prepared)
    }

    /// Fetches the delta from `source` and applies it; false if that is no way to the file.
    fn make(
        &self,
        name: &str,
        entry: &FileEntry,
        source: Option<(PathBuf, Digest)>,
        prepared: &Prepared,
        made: &Path,
    ) -> Result<bool, FetchError> {
        let (old, from) = source.unzip();
        let ending = from.map_or_else(|| "full".to_owned(), |from| format!("from-{}", from.hex()));
        let packed = prepared.partial.join(format!("{}.{ending}", entry.digest.hex()));
        let arrived = self.download_delta(name, entry, from, &packed)?;
        let applied = match arrived {
            Arrived::Never => Ok(false),
            Arrived::Whole => match unpack(&packed, old.as_deref(), entry, made) {
                Ok(()) => Ok(true),
                Err(DeltaError::Write(source)) => {
                    Err(DurableError::Write { path: made.to_owned(), source }.into())
                }
                Err(error) => {
                    let cause = edgeward_sdk::chain(&error);
                    tracing::warn!(file = name, %cause, "a delta was of no use; another way is taken");
                    Ok(false)
                }
            },
        };
        remove_quietly(&packed);
        applied
    }

    /// Downloads the rest of a delta into `packed`. One that is not shorter than the file is none.
    fn download_delta(
        &self,
        name: &str,
        entry: &FileEntry,
        from: Option<Digest>,
        packed: &Path,
    ) -> Result<Arrived, FetchError> {
        let disk = |source| FetchError::Disk(DurableError::Write { path: packed.to_owned(), source });
        let mut file = OpenOptions::new().append(true).create(true).open(packed).map_err(disk)?;
        let mut offset = file.metadata().map_err(disk)?.len();
        let mut reader = match self.source.open_delta(&entry.digest, from.as_ref(), offset) {
            Ok((honoured, reader)) => {
                if offset > 0 && !honoured {
                    file.set_len(0).map_err(disk)?;
                    offset = 0;
                }
                reader
            }
            // Nothing stands behind what is here.
            Err(ClientError::Refused { status: 416, .. }) if offset > 0 => return Ok(Arrived::Whole),
            Err(error @ (ClientError::Unreachable { .. } | ClientError::Untrusted { .. })) => {
                return Err(FetchError::Transfer { what: name.to_owned(), source: Box::new(error) });
            }
            Err(_) => return Ok(Arrived::Never),
        };
        let mut buffer = vec![0; COPY_BUFFER_BYTES];
        let begun = offset;
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(FetchError::Cancelled);
            }
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                // As long as it comes nearer, it is gone on with; else this is no way to the file.
                Err(_) if offset == begun => return Ok(Arrived::Never),
                Err(_) => {
                    file.sync_data().map_err(disk)?;
                    return Err(FetchError::DeltaBrokeOff { what: name.to_owned(), found: offset });
                }
            };
            self.received.fetch_add(count as u64, Ordering::Relaxed);
            offset += count as u64;
            if offset >= entry.size_bytes {
                return Ok(Arrived::Never);
            }
            file.write_all(&buffer[..count]).map_err(disk)?;
        }
        Ok(Arrived::Whole)
    }
}

/// Writes what `packed` makes of the file `old`.
fn unpack(packed: &Path, old: Option<&Path>, entry: &FileEntry, made: &Path) -> Result<(), DeltaError> {
    let mut patch = BufReader::new(File::open(packed).map_err(DeltaError::Read)?);
    let mut old = old.map(File::open).transpose().map_err(DeltaError::Source)?;
    let source = old.as_mut().map(|file| file as &mut dyn Seekable);
    let mut out = BufWriter::new(File::create(made).map_err(DeltaError::Write)?);
    apply(&mut patch, source, entry, &mut out)?;
    let file = out.into_inner().map_err(|error| DeltaError::Write(error.into_error()))?;
    file.sync_data().map_err(DeltaError::Write)
}

/// Copies a file of this device, if it is what it is said to be.
fn copied(from: &Path, entry: &FileEntry, made: &Path) -> bool {
    let copy = || -> io::Result<Digest> {
        let mut from = File::open(from)?.take(entry.size_bytes + 1);
        let mut to = File::create(made)?;
        let (mut hasher, mut buffer) = (Hasher::new(), vec![0; COPY_BUFFER_BYTES]);
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                to.sync_data()?;
                return Ok(hasher.finish());
            }
            hasher.update(&buffer[..count]);
            to.write_all(&buffer[..count])?;
        }
    };
    copy().is_ok_and(|digest| digest == entry.digest)
}
