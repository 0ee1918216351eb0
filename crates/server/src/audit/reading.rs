//! That somebody took records of predictions out of a control plane's folder is in its ledger.
//!
//! The database is opened for writing for this one entry; a control plane that runs goes on beside it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use edgeward_core::{Event, Timestamp};
use edgeward_store::{Store, StoreError};
use edgeward_trust::SigningKey;
use edgeward_trust::key::KeyError;

use super::Opened;
use super::folder::Place;
use crate::seals;
use crate::setup::LedgerSigner;

/// Why a reading is not in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// The key that seals entries cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key is damaged.
    #[error("reading the ledger's key")]
    Key(#[from] KeyError),
    /// The database cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Opened {
    /// Says in the ledger that `by` read `what`; the entry's number.
    ///
    /// # Errors
    /// The key is not here, or the folder is for reading only, as a copy may be.
    pub fn note_reading(&self, what: &str, by: &str, now: Timestamp) -> Result<u64, ReadingError> {
        let path = self.keys.join("ledger.json");
        let bytes = fs::read(&path).map_err(|source| ReadingError::Read { path, source })?;
        let signer = LedgerSigner { key: SigningKey::from_json(&bytes)?, keys: self.identity.keys.clone() };
        let store = match &self.place {
            Place::File(path) => Store::open(path)?,
            Place::Shared(address) => Store::connect(address)?,
        };
        store.seal_with(seals::sealer(&Arc::new(signer)));
        let event = Event::RecordsRead { what: what.to_owned(), by: by.to_owned() };
        store.write(|writer| Ok(writer.append(event, now)?.seq))
    }

    /// Whether any record of a prediction is kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn has_records(&self) -> Result<bool, StoreError> {
        self.store.read(|view| Ok(!view.newest_recorded(1)?.is_empty()))
    }
}
