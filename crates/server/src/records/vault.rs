//! Keys of what may have to be forgotten: one per day on which it must be unreadable.
//!
//! A key is a file of its own beside the server's other keys, made when the first input of its day arrives, and removed on
//! that day. AES-256-GCM with a random nonce of 96 bits; the prediction's id is authenticated with it, so that one input
//! cannot be put in another's place.
//!
//! What it does not do: overwrite a key's old sectors on the disk, or reach into backups of the folder `keys`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use edgeward_core::{PredictionId, Timestamp};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::app::lock;
use crate::secret::{self, NoRandomness};
use crate::setup::{SetupError, read_if_there, write_secret};

const KEY_LEN: usize = 32;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Keeps the keys.
pub(crate) struct Vault {
    folder: PathBuf,
    keys: Mutex<BTreeMap<i64, LessSafeKey>>,
}

/// Why something is not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// A key cannot be read or written.
    #[error(transparent)]
    File(#[from] SetupError),
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
        Self { folder, keys: Mutex::default() }
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
        let nonce = secret::random::<NONCE_LEN>()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::from(*id.0.as_bytes());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| VaultError::Damaged { day })?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed; none if its key was dropped.
    pub(crate) fn open(
        &self,
        day: i64,
        id: PredictionId,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(key) = self.read(day)? else { return Ok(None) };
        let damaged = || VaultError::Damaged { day };
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut plain = sealed.to_vec();
        let aad = Aad::from(*id.0.as_bytes());
        let len = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut plain)
            .map_err(|_| damaged())?
            .len();
        plain.truncate(len);
        Ok(Some(plain))
    }

    /// Drops the keys of every day up to `day`.
    pub(crate) fn erase(&self, day: i64) -> Result<(), VaultError> {
        lock(&self.keys).retain(|of, _| *of > day);
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(SetupError::Read { path: self.folder.clone(), source }.into()),
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let of = path.file_stem().and_then(|name| name.to_str()?.parse::<i64>().ok());
            if of.is_some_and(|of| of <= day) {
                fs::remove_file(&path).map_err(|source| SetupError::Write { path, source })?;
            }
        }
        Ok(())
    }

    fn path(&self, day: i64) -> PathBuf {
        self.folder.join(format!("{day}.key"))
    }

    fn read(&self, day: i64) -> Result<Option<LessSafeKey>, VaultError> {
        let bytes = read_if_there(&self.path(day))?;
        bytes.map(|bytes| key_of(day, &bytes)).transpose()
    }

    fn make(&self, day: i64) -> Result<LessSafeKey, VaultError> {
        let bytes = secret::random::<KEY_LEN>()?;
        fs::create_dir_all(&self.folder)
            .map_err(|source| SetupError::Write { path: self.folder.clone(), source })?;
        write_secret(&self.path(day), &bytes)?;
        key_of(day, &bytes)
    }
}

fn key_of(day: i64, bytes: &[u8]) -> Result<LessSafeKey, VaultError> {
    let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| VaultError::Damaged { day })?;
    Ok(LessSafeKey::new(key))
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("folder", &self.folder).finish_non_exhaustive()
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
