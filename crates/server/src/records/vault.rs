//! Keys of what may have to be forgotten: one per day on which it must be unreadable, and one per subject and day.
//!
//! A key is a file of its own beside the server's other keys, made when the first input of its day arrives, and removed on
//! that day. An input about subjects is sealed under a key that follows from the day's and from each subject's of that day:
//! whichever of them is destroyed, nobody reads it any more. A subject is known by the HMAC of its name under a key that stays
//! here, so that neither records nor ledger name it. Where several servers share a database the keys are there, sealed with a
//! key that each server has in its folder `keys` and the database never sees. AES-256-GCM with a random nonce of 96 bits; the
//! prediction's id is authenticated with it, so that one input cannot be put in another's place.
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

use edgeward_core::{Digest, PredictionId, Timestamp};
use edgeward_store::{Store, StoreError, Writer};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

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
/// The folder of subjects' keys, among the keys.
const SUBJECTS: &str = "subjects";
/// What subjects are named by, in that folder.
const NAMING_KEY: &str = "naming.key";
/// What the key of an input about subjects follows from, before the keys themselves.
const DERIVATION: &[u8] = b"edgeward.subject-key/1";

type Key = [u8; KEY_LEN];

/// Keeps the keys.
pub(crate) struct Vault {
    keeps: Keeps,
    keys: Mutex<BTreeMap<i64, Key>>,
}

/// Where the keys are.
enum Keeps {
    Folder(PathBuf),
    Database { store: Arc<Store>, key: Box<LessSafeKey> },
}

/// Under which keys something stands, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The day on which it must be unreadable, in days since 1970.
    pub(crate) day: i64,
    /// The prediction.
    pub(crate) prediction: PredictionId,
    /// Whom it is about, in the order of their digests.
    pub(crate) subjects: &'a [Digest],
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
        Self { keeps: Keeps::Folder(folder), keys: Mutex::default() }
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
        let key = key_of(0, &bytes).and_then(|key| cipher(0, &key)).map_err(|_| foreign())?;
        let check = match check {
            Some(check) => check,
            None => {
                let made = sealed(&key, CHECK.as_bytes(), &[]).map_err(SetupError::from)?;
                store.write::<_, StoreError>(|writer| put_once(writer, CHECK, made))?
            }
        };
        opened(&key, CHECK.as_bytes(), &check).ok_or_else(foreign)?;
        let keeps = Keeps::Database { store: Arc::clone(store), key: Box::new(key) };
        Ok(Self { keeps, keys: Mutex::default() })
    }

    /// Forgets the keys of every day up to `day`, which another server dropped.
    pub(crate) fn forget(&self, day: i64) {
        lock(&self.keys).retain(|of, _| *of > day);
    }

    /// Encrypts what must be unreadable on a day, or once a subject of it is erased.
    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let key = cipher(place.day, &self.key(place)?)?;
        Ok(sealed(&key, place.prediction.0.as_bytes(), plain)?)
    }

    /// What was sealed; none if one of its keys was dropped.
    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        let day = place.day;
        let Some(of_day) = self.read(&name(day), day)? else { return Ok(None) };
        let mut of_subjects = Vec::with_capacity(place.subjects.len());
        for subject in place.subjects {
            let Some(key) = self.read(&subject_name(subject, day), day)? else { return Ok(None) };
            of_subjects.push(key);
        }
        let key = cipher(day, &joined(&of_day, &of_subjects))?;
        opened(&key, place.prediction.0.as_bytes(), sealed).map(Some).ok_or(VaultError::Damaged { day })
    }

    /// Drops the keys of every day up to `day`.
    pub(crate) fn erase(&self, day: i64) -> Result<(), VaultError> {
        self.forget(day);
        let folder = match &self.keeps {
            Keeps::Folder(folder) => folder,
            Keeps::Database { store, .. } => {
                return Ok(store.write::<_, StoreError>(|writer| drop_keys(writer, day))?);
            }
        };
        drop_up_to(folder, day)?;
        for subject in listed(&folder.join(SUBJECTS))?.iter().filter(|path| path.is_dir()) {
            drop_up_to(subject, day)?;
            // One that has other days' keys stays.
            let _ = fs::remove_dir(subject);
        }
        Ok(())
    }

    /// The digest by which a subject is known here.
    pub(crate) fn subject(&self, name: &str) -> Result<Digest, VaultError> {
        let _one_at_a_time = lock(&self.keys);
        let key = self.read_or_make(&format!("{SUBJECTS}/{NAMING_KEY}"), 0)?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), name.as_bytes());
        // An HMAC-SHA-256 has the length of a digest.
        Ok(Digest::from_hex(&hex::encode(tag.as_ref())).unwrap_or_else(|_| Digest::of(tag.as_ref())))
    }

    /// Destroys every key of a subject.
    pub(crate) fn erase_subject(&self, subject: &Digest) -> Result<(), VaultError> {
        let _one_at_a_time = lock(&self.keys);
        match &self.keeps {
            Keeps::Folder(folder) => {
                let path = folder.join(SUBJECTS).join(subject.hex());
                match fs::remove_dir_all(&path) {
                    Err(source) if source.kind() != ErrorKind::NotFound => {
                        Err(SetupError::Write { path, source }.into())
                    }
                    _ => Ok(()),
                }
            }
            Keeps::Database { store, .. } => Ok(store.write::<_, StoreError>(|writer| {
                let kept = writer.kept_paths(&format!("{FOLDER}{SUBJECTS}/{}/", subject.hex()))?;
                kept.iter().try_for_each(|path| writer.drop_kept_file(path).map(drop))
            })?),
        }
    }

    /// The key for a place, made where there is none.
    fn key(&self, place: Place<'_>) -> Result<Key, VaultError> {
        let mut keys = lock(&self.keys);
        let day = place.day;
        let of_day = match keys.entry(day) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(entry) => *entry.insert(self.read_or_make(&name(day), day)?),
        };
        let of_subject = |subject: &Digest| self.read_or_make(&subject_name(subject, day), day);
        let of_subjects = place.subjects.iter().map(of_subject).collect::<Result<Vec<_>, _>>()?;
        Ok(joined(&of_day, &of_subjects))
    }

    fn read_or_make(&self, name: &str, day: i64) -> Result<Key, VaultError> {
        self.read(name, day)?.map_or_else(|| self.make(name, day), Ok)
    }

    fn read(&self, name: &str, day: i64) -> Result<Option<Key>, VaultError> {
        let bytes = match &self.keeps {
            Keeps::Folder(folder) => read_if_there(&folder.join(name))?,
            Keeps::Database { store, key } => {
                let kept = format!("{FOLDER}{name}");
                let sealed = store.read::<_, StoreError>(|view| view.kept_file(&kept))?;
                sealed.map(|sealed| unwrapped(key, name, day, &sealed)).transpose()?
            }
        };
        bytes.map(|bytes| key_of(day, &bytes)).transpose()
    }

    fn make(&self, name: &str, day: i64) -> Result<Key, VaultError> {
        let bytes = secret::random::<KEY_LEN>()?;
        match &self.keeps {
            Keeps::Folder(folder) => {
                let path = folder.join(name);
                let inside = path.parent().unwrap_or(folder);
                fs::create_dir_all(inside)
                    .map_err(|source| SetupError::Write { path: inside.to_owned(), source })?;
                write_secret(&path, &bytes)?;
                Ok(bytes)
            }
            Keeps::Database { store, key } => {
                let kept = format!("{FOLDER}{name}");
                let made = sealed(key, name.as_bytes(), &bytes)?;
                // Another server may have been first: then its key is the one.
                let sealed = store.write::<_, StoreError>(|writer| put_once(writer, &kept, made))?;
                key_of(day, &unwrapped(key, name, day, &sealed)?)
            }
        }
    }
}

/// A key, out of what it is sealed in.
fn unwrapped(key: &LessSafeKey, name: &str, day: i64, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
    opened(key, name.as_bytes(), sealed).ok_or(VaultError::Damaged { day })
}

fn name(day: i64) -> String {
    format!("{day}{SUFFIX}")
}

fn subject_name(subject: &Digest, day: i64) -> String {
    format!("{SUBJECTS}/{}/{}", subject.hex(), name(day))
}

fn day_in(name: &str) -> Option<i64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// The day's key alone, or one that needs all of them.
fn joined(of_day: &Key, of_subjects: &[Key]) -> Key {
    if of_subjects.is_empty() {
        return *of_day;
    }
    let parts = [DERIVATION, of_day].into_iter().chain(of_subjects.iter().map(|key| &key[..]));
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    parts.for_each(|part| digest.update(part));
    let mut key = [0; KEY_LEN];
    key.copy_from_slice(digest.finish().as_ref());
    key
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
        let of = path.rsplit('/').next().and_then(day_in);
        if of.is_some_and(|of| of <= day) {
            writer.drop_kept_file(&path)?;
        }
    }
    Ok(())
}

/// What is in a folder; nothing if it is not there.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, VaultError> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(SetupError::Read { path: folder.to_owned(), source }.into()),
    }
}

fn drop_up_to(folder: &Path, day: i64) -> Result<(), VaultError> {
    for path in listed(folder)? {
        let of = path.file_name().and_then(|name| day_in(name.to_str()?));
        if of.is_some_and(|of| of <= day) {
            fs::remove_file(&path).map_err(|source| SetupError::Write { path, source })?;
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

fn key_of(day: i64, bytes: &[u8]) -> Result<Key, VaultError> {
    Key::try_from(bytes).map_err(|_| VaultError::Damaged { day })
}

fn cipher(day: i64, key: &Key) -> Result<LessSafeKey, VaultError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Damaged { day })?;
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

    const fn place(day: i64, n: u128, subjects: &[Digest]) -> Place<'_> {
        Place { day, prediction: PredictionId(Uuid::from_u128(n)), subjects }
    }

    #[test]
    fn a_dropped_key_makes_its_day_unreadable_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::new(folder.path().join("inputs"));
        let sealed: Vec<Vec<u8>> =
            [10, 11].iter().map(|day| vault.seal(place(*day, 1, &[]), b"what it saw").unwrap()).collect();
        assert_ne!(sealed[0], vault.seal(place(10, 1, &[]), b"what it saw").unwrap());
        assert_eq!(vault.open(place(10, 1, &[]), &sealed[0]).unwrap().unwrap(), b"what it saw");
        vault.erase(10).unwrap();
        assert_eq!(vault.open(place(10, 1, &[]), &sealed[0]).unwrap(), None);
        let again = Vault::new(folder.path().join("inputs"));
        assert_eq!(again.open(place(10, 1, &[]), &sealed[0]).unwrap(), None);
        assert_eq!(again.open(place(11, 1, &[]), &sealed[1]).unwrap().unwrap(), b"what it saw");
    }

    #[test]
    fn an_erased_subject_takes_what_is_about_it_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::new(folder.path().to_owned());
        let [ada, bob] = ["Ada", "Bob"].map(|name| vault.subject(name).unwrap());
        assert_eq!(Vault::new(folder.path().to_owned()).subject("Ada").unwrap(), ada, "it is named by a key");
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(Vault::new(elsewhere.path().to_owned()).subject("Ada").unwrap(), ada);
        let about: [&[Digest]; 4] = [&[ada], &[bob], &[ada, bob], &[]];
        let seal = |day, subjects| vault.seal(place(day, 1, subjects), b"x").unwrap();
        let sealed: Vec<_> =
            [5, 6].iter().flat_map(|day| about.map(|of| (*day, of, seal(*day, of)))).collect();
        let readable = || -> Vec<bool> {
            let open = |(day, of, sealed): &(i64, &[Digest], Vec<u8>)| {
                matches!(vault.open(place(*day, 1, of), sealed), Ok(Some(_)))
            };
            sealed.iter().map(open).collect()
        };
        assert!(readable().iter().all(|readable| *readable));
        vault.erase_subject(&ada).unwrap();
        assert_eq!(readable(), [false, true, false, true, false, true, false, true]);
        vault.erase_subject(&ada).unwrap();
        // What comes later is about somebody who has not asked yet, and opens nothing of before.
        let later = seal(6, &[ada]);
        assert!(vault.open(place(6, 1, &[ada]), &later).unwrap().is_some());
        assert!(vault.open(place(6, 1, &[ada]), &sealed[4].2).is_err());
        vault.erase(5).unwrap();
        assert!(!readable()[1] && !folder.path().join(SUBJECTS).join(bob.hex()).join("5.key").exists());
        assert!(readable()[5], "another day is another key");
    }

    #[test]
    fn what_was_changed_or_belongs_to_another_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::new(folder.path().to_owned());
        let sealed = vault.seal(place(5, 1, &[]), b"x").unwrap();
        assert!(vault.open(place(5, 2, &[]), &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(place(5, 1, &[]), &changed).is_err(), "byte {at}");
        }
        assert!(vault.open(place(5, 1, &[]), &sealed[..4]).is_err());
    }

    #[test]
    fn a_day_is_over_when_the_last_input_of_it_is_due() {
        let noon = Timestamp(100 * DAY_MS + DAY_MS / 2);
        assert_eq!(day_of(noon, 1), 102);
        assert_eq!(day_of(Timestamp(0), 90), 91);
    }
}
