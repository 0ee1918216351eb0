//! Keys of what may have to be forgotten: one per day on which it must be unreadable.
//!
//! A key is a file of its own beside the server's other keys, made when the first input of its day arrives, and removed on
//! that day. Where several servers share a database the keys are there, sealed with a key that each server has in its
//! folder `keys` and the database never sees. AES-256-GCM with a random nonce of 96 bits; the prediction's id is authenticated with it, so that one input
//! cannot be put in another's place.
//!
//! What it does not do: overwrite a key's old sectors on the disk, or reach into backups of the folder `keys` or of the
//! database.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeward_core::{PredictionId, Timestamp};
use edgeward_store::{Store, StoreError, Writer};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::app::lock;
use crate::secret::{self, NoRandomness};
use crate::serve::ServerError;
use crate::setup::{SetupError, read_if_there, write_secret};

const KEY_LEN: usize = 32;
const DAY_MS: i64 = 24 * 3600 * 1000;
const SUFFIX: &str = ".key";
/// Where the keys are among the files that a database keeps.
const FOLDER: &str = "inputs/";
/// What only the right key opens.
const CHECK: &str = "inputs/check";

/// Keeps the keys.
pub(crate) struct Vault {
    place: Place,
    keys: Mutex<BTreeMap<i64, LessSafeKey>>,
}

/// Where the keys are.
enum Place {
    Folder(PathBuf),
    Database { store: Arc<Store>, key: Box<LessSafeKey> },
}

/// Why something is not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// A key cannot be read or written.
    #[error(transparent)]
    File(#[from] SetupError),
    /// The database of the keys fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key can be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// A key file is damaged, or what it sealed was changed.
    #[error("the input kept until day {day} does not open with its key: one of the two was changed")]
    Damaged {
        /// In days since 1970.
        day: i64,
    },
}

/// The day on which something that is kept for so many days from `now` must be unreadable, in days since 1970.
pub(crate) fn day_of(now: Timestamp, keep_days: u32) -> i64 {
    let until = now + Duration::from_secs(u64::from(keep_days) * 24 * 3600);
    until.0.div_euclid(DAY_MS) + 1
}

impl Vault {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { place: Place::Folder(folder), keys: Mutex::default() }
    }

    /// Keys in a database that several servers share. The file at `path` seals them; it is made where there are none yet.
    pub(crate) fn in_database(path: &Path, store: &Arc<Store>) -> Result<Self, ServerError> {
        let check = store.read::<_, StoreError>(|view| view.kept_file(CHECK))?;
        let bytes = match read_if_there(path)? {
            Some(bytes) => bytes,
            None if check.is_none() => {
                let bytes = secret::random::<KEY_LEN>().map_err(SetupError::from)?.to_vec();
                write_secret(path, &bytes)?;
                bytes
            }
            None => return Err(SetupError::KeyMissing(path.to_owned()).into()),
        };
        let foreign = || SetupError::ForeignInputs(path.to_owned());
        let key = key_of(0, &bytes).map_err(|_| foreign())?;
        let check = match check {
            Some(check) => check,
            None => {
                let made = sealed(&key, CHECK.as_bytes(), &[]).map_err(SetupError::from)?;
                store.write::<_, StoreError>(|writer| put_once(writer, CHECK, made))?
            }
        };
        opened(&key, CHECK.as_bytes(), &check).ok_or_else(foreign)?;
        let place = Place::Database { store: Arc::clone(store), key: Box::new(key) };
        Ok(Self { place, keys: Mutex::default() })
    }

    /// Forgets the keys of every day up to `day`, which another server dropped.
    pub(crate) fn forget(&self, day: i64) {
        lock(&self.keys).retain(|of, _| *of > day);
    }

    /// Encrypts what must be unreadable on `day`.
    pub(crate) fn seal(&self, day: i64, id: PredictionId, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut keys = lock(&self.keys);
        let key = match keys.entry(day) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let kept = self.read(day)?;
                place.insert(kept.map_or_else(|| self.make(day), Ok)?)
            }
        };
        Ok(sealed(key, id.0.as_bytes(), plain)?)
    }

    /// What was sealed; none if its key was dropped.
    pub(crate) fn open(
        &self,
        day: i64,
        id: PredictionId,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(key) = self.read(day)? else { return Ok(None) };
        opened(&key, id.0.as_bytes(), sealed).map(Some).ok_or(VaultError::Damaged { day })
    }

    /// Drops the keys of every day up to `day`.
    pub(crate) fn erase(&self, day: i64) -> Result<(), VaultError> {
        self.forget(day);
        let folder = match &self.place {
            Place::Folder(folder) => folder,
            Place::Database { store, .. } => {
                return Ok(store.write::<_, StoreError>(|writer| drop_keys(writer, day))?);
            }
        };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(SetupError::Read { path: folder.clone(), source }.into()),
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            if name.and_then(day_in).is_some_and(|of| of <= day) {
                fs::remove_file(&path).map_err(|source| SetupError::Write { path, source })?;
            }
        }
        Ok(())
    }

    fn read(&self, day: i64) -> Result<Option<LessSafeKey>, VaultError> {
        let bytes = match &self.place {
            Place::Folder(folder) => read_if_there(&folder.join(name(day)))?,
            Place::Database { store, key } => {
                let kept = format!("{FOLDER}{}", name(day));
                let sealed = store.read::<_, StoreError>(|view| view.kept_file(&kept))?;
                sealed.map(|sealed| unwrapped(key, day, &sealed)).transpose()?
            }
        };
        bytes.map(|bytes| key_of(day, &bytes)).transpose()
    }

    fn make(&self, day: i64) -> Result<LessSafeKey, VaultError> {
        let bytes = secret::random::<KEY_LEN>()?;
        match &self.place {
            Place::Folder(folder) => {
                fs::create_dir_all(folder)
                    .map_err(|source| SetupError::Write { path: folder.clone(), source })?;
                write_secret(&folder.join(name(day)), &bytes)?;
                key_of(day, &bytes)
            }
            Place::Database { store, key } => {
                let kept = format!("{FOLDER}{}", name(day));
                let made = sealed(key, name(day).as_bytes(), &bytes)?;
                // Another server may have been first: then its key is the day's.
                let sealed = store.write::<_, StoreError>(|writer| put_once(writer, &kept, made))?;
                key_of(day, &unwrapped(key, day, &sealed)?)
            }
        }
    }
}

/// A day's key, out of what it is sealed in.
fn unwrapped(key: &LessSafeKey, day: i64, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
    opened(key, name(day).as_bytes(), sealed).ok_or(VaultError::Damaged { day })
}

fn name(day: i64) -> String {
    format!("{day}{SUFFIX}")
}

fn day_in(name: &str) -> Option<i64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// What is at `path` from now on: `bytes`, unless something was there.
fn put_once(writer: &Writer<'_>, path: &str, bytes: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    match writer.kept_file(path)? {
        Some(there) => Ok(there),
        None => writer.put_kept_file(path, &bytes).map(|()| bytes),
    }
}

fn drop_keys(writer: &Writer<'_>, day: i64) -> Result<(), StoreError> {
    for path in writer.kept_paths(FOLDER)? {
        let of = path.strip_prefix(FOLDER).and_then(day_in);
        if of.is_some_and(|of| of <= day) {
            writer.drop_kept_file(&path)?;
        }
    }
    Ok(())
}

/// A nonce, and `plain` encrypted so that it opens only beside `name`.
fn sealed(key: &LessSafeKey, name: &[u8], plain: &[u8]) -> Result<Vec<u8>, NoRandomness> {
    let nonce = secret::random::<NONCE_LEN>()?;
    let mut sealed = plain.to_vec();
    // Refused is only what is longer than any input: then nothing is kept of it.
    let tag =
        key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name), &mut sealed);
    Ok(tag.map_or_else(|_| Vec::new(), |tag| [nonce.as_slice(), &sealed, tag.as_ref()].concat()))
}

/// What was sealed beside `name`; none if it was changed.
fn opened(key: &LessSafeKey, name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let len = key.open_in_place(nonce, Aad::from(name), &mut plain).ok()?.len();
    plain.truncate(len);
    Some(plain)
}

fn key_of(day: i64, bytes: &[u8]) -> Result<LessSafeKey, VaultError> {
    let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| VaultError::Damaged { day })?;
    Ok(LessSafeKey::new(key))
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(n: u128) -> PredictionId {
        PredictionId(Uuid::from_u128(n))
    }

    #[test]
    fn a_dropped_key_makes_its_day_unreadable_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::new(folder.path().join("inputs"));
        let sealed: Vec<Vec<u8>> =
            [10, 11].iter().map(|day| vault.seal(*day, id(1), b"what it saw").unwrap()).collect();
        assert_ne!(sealed[0], vault.seal(10, id(1), b"what it saw").unwrap());
        assert_eq!(vault.open(10, id(1), &sealed[0]).unwrap().unwrap(), b"what it saw");
        vault.erase(10).unwrap();
        assert_eq!(vault.open(10, id(1), &sealed[0]).unwrap(), None);
        let again = Vault::new(folder.path().join("inputs"));
        assert_eq!(again.open(10, id(1), &sealed[0]).unwrap(), None);
        assert_eq!(again.open(11, id(1), &sealed[1]).unwrap().unwrap(), b"what it saw");
    }

    #[test]
    fn what_was_changed_or_belongs_to_another_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::new(folder.path().to_owned());
        let sealed = vault.seal(5, id(1), b"x").unwrap();
        assert!(vault.open(5, id(2), &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(5, id(1), &changed).is_err(), "byte {at}");
        }
        assert!(vault.open(5, id(1), &sealed[..4]).is_err());
    }

    #[test]
    fn a_day_is_over_when_the_last_input_of_it_is_due() {
        let noon = Timestamp(100 * DAY_MS + DAY_MS / 2);
        assert_eq!(day_of(noon, 1), 102);
        assert_eq!(day_of(Timestamp(0), 90), 91);
    }
}
