//! Getting a file with fewer bytes than it has: from what the device holds already, as a delta to that, or compressed.
//!
//! Nothing here is believed: the other slot may hold anything, a server may send anything as a delta, and the digest of
//! what comes of it decides. Whatever goes wrong with a delta costs its bytes and no more: the next way is taken, the
//! last one being the file itself. One that broke off goes on where it stopped.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use edgeward_api::ClientError;
use edgeward_core::digest::Hasher;
use edgeward_core::manifest::{BundlePath, FileEntry};
use edgeward_core::{Digest, Manifest};
use edgeward_model::bundle::path;
use edgeward_model::delta::{DeltaError, Seekable, apply};

use super::{FetchError, Staging, is_whole};
use crate::disk::{Disk, is_full};
use crate::durable::{COPY_BUFFER_BYTES, DurableError, for_each_piece, read_on, settle};
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
    pub(super) fn new(disk: &dyn Disk, other: PathBuf, folder: &Path, manifest: &Manifest) -> Self {
        let read = read_on(disk, &other.join(path::MANIFEST), MANIFEST_BYTES_MAX).ok().flatten();
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
        if is_whole(self.disk(), &target, entry) {
            return Ok(());
        }
        let made = prepared.partial.join(format!("{}.made", entry.digest.hex()));
        for from in held.same(entry) {
            if self.copied(&from, entry, &made)? {
                return Ok(settle(self.disk(), &made, &target)?);
            }
        }
        self.goes_on(name.as_str())?;
        // Of a file that was begun as it is, the rest is fetched.
        let part = prepared.partial.join(entry.digest.hex());
        let begun = self.disk().len(&part).is_ok_and(|len| len.is_some_and(|len| len > 0));
        if entry.size_bytes < FILE_BYTES_MIN || begun {
            return self.fetch_file(name.as_str(), entry, prepared);
        }
        let before = held.before(name).filter(|(_, digest)| *digest != entry.digest);
        for source in before.map(Some).into_iter().chain([None]) {
            if self.make(name.as_str(), entry, source, prepared, &made)? {
                return Ok(settle(self.disk(), &made, &target)?);
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
            Arrived::Whole => match self.unpack(&packed, old.as_deref(), entry, made) {
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
        self.remove_quietly(&packed);
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
        let mut offset = self.disk().len(packed).map_err(disk)?.unwrap_or(0);
        let mut file = self.disk().append(packed, offset).map_err(disk)?;
        let mut reader = match self.source.open_delta(&entry.digest, from.as_ref(), offset) {
            Ok((honoured, reader)) => {
                if offset > 0 && !honoured {
                    file = self.disk().append(packed, 0).map_err(disk)?;
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
            if let Err(stopped) = self.goes_on(name) {
                self.disk().sync_file(packed).map_err(disk)?;
                return Err(stopped);
            }
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                // As long as it comes nearer, it is gone on with; else this is no way to the file.
                Err(_) if offset == begun => return Ok(Arrived::Never),
                Err(_) => {
                    self.disk().sync_file(packed).map_err(disk)?;
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

    /// Writes what `packed` makes of the file `old`.
    fn unpack(
        &self,
        packed: &Path,
        old: Option<&Path>,
        entry: &FileEntry,
        made: &Path,
    ) -> Result<(), DeltaError> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let patch = self.disk().open(packed).and_then(|file| file.ok_or_else(missing));
        let mut patch = BufReader::new(patch.map_err(DeltaError::Read)?);
        let old = old.map(|old| self.disk().open(old).and_then(|file| file.ok_or_else(missing)));
        let mut old = old.transpose().map_err(DeltaError::Source)?;
        let source = old.as_mut().map(|file| &mut **file as &mut dyn Seekable);
        let out = self.disk().append(made, 0).map_err(DeltaError::Write)?;
        let mut out = BufWriter::with_capacity(COPY_BUFFER_BYTES, out);
        apply(&mut patch, source, entry, &mut out)?;
        out.flush().map_err(DeltaError::Write)?;
        drop(out);
        self.disk().sync_file(made).map_err(DeltaError::Write)
    }

    /// Copies a file of this device, if it is what it is said to be; false if it is not, or cannot be read.
    ///
    /// # Errors
    /// The disk is full.
    pub(super) fn copied(&self, from: &Path, entry: &FileEntry, made: &Path) -> Result<bool, FetchError> {
        if !self.disk().len(from).is_ok_and(|len| len == Some(entry.size_bytes)) {
            return Ok(false);
        }
        let copy = || -> io::Result<Digest> {
            let mut hasher = Hasher::new();
            let Some(from) = self.disk().open(from)? else { return Ok(hasher.finish()) };
            let mut to = self.disk().append(made, 0)?;
            for_each_piece(&mut from.take(entry.size_bytes + 1), |piece| {
                hasher.update(piece);
                to.write_all(piece)
            })?;
            self.disk().sync_file(made)?;
            Ok(hasher.finish())
        };
        match copy() {
            Ok(digest) => Ok(digest == entry.digest),
            Err(source) if is_full(&source) => {
                Err(DurableError::Write { path: made.to_owned(), source }.into())
            }
            Err(_) => Ok(false),
        }
    }
}
