//! A control plane's folder, opened for an audit: the ledger, the keys that count, and who saw what of it.

use std::fs;
use std::path::{Path, PathBuf};

use edgeward_api::device::Report;
use edgeward_store::{Address, Folder, FolderError, Store, StoreError, View};
use edgeward_trust::LedgerKeys;
use edgeward_trust::fleet::{LoadError, Shelf};

use crate::repository::FILE_BYTES_MAX;

use super::batches::each_batch;
use super::{AuditFault, Identity, Verified, Witness, audit};

/// The latest checkpoint, beside the keys: who edits the database alone cannot take it back.
pub const WITNESS_FILE: &str = "ledger.witness";

/// A folder that can be audited.
pub struct Opened {
    /// The database, for reading only: a control plane that runs is not disturbed.
    pub store: Store,
    /// Whose ledger it is.
    pub identity: Identity,
    pub(super) keys: PathBuf,
    pub(super) place: Place,
}

/// Where the database is.
pub(super) enum Place {
    File(PathBuf),
    Shared(Box<Address>),
}

/// Why a folder cannot be audited.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a control plane's folder.
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    /// The repository beside it is damaged.
    #[error("reading the repository")]
    Repository(#[from] LoadError<FolderError>),
    /// The repository does not say who signs the ledger.
    #[error("the repository names no key of the ledger; restore the folder 'repository' from a backup")]
    NoKeys,
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Opened {
    /// Opens the folder of a control plane.
    ///
    /// # Errors
    /// It is none, or a file in it cannot be read.
    pub fn folder(data: &Path) -> Result<Self, OpenError> {
        let database = data.join("edgeward.db");
        if !database.is_file() {
            return Err(OpenError::Missing(database));
        }
        Self::with(data, Place::File(database))
    }

    /// Opens a database that servers share, beside the folder of one of them, which says whose signatures count.
    ///
    /// # Errors
    /// The folder is none of a control plane, or the database cannot be read.
    pub fn database(data: &Path, address: &Address) -> Result<Self, OpenError> {
        if !data.join("repository").is_dir() {
            return Err(OpenError::Missing(data.join("repository")));
        }
        Self::with(data, Place::Shared(Box::new(address.clone())))
    }

    fn with(data: &Path, place: Place) -> Result<Self, OpenError> {
        let folder = Folder::new(data.join("repository"));
        let shelf = Shelf::load(|path| folder.read(path, FILE_BYTES_MAX))?;
        let keys = LedgerKeys::of(shelf.root().body()).ok_or(OpenError::NoKeys)?;
        let store = match &place {
            Place::File(path) => Store::open_read_only(path)?,
            Place::Shared(address) => Store::connect_read_only(address)?,
        };
        Ok(Self { store, identity: Identity::of(keys), keys: data.join("keys"), place })
    }

    /// Audits the ledger, also against what `brought` says was seen.
    ///
    /// # Errors
    /// The first fault.
    pub fn verify(&self, brought: Vec<Witness>) -> Result<Verified, AuditFault> {
        let mut witnesses = vec![self.own_witness()?];
        witnesses.extend(brought);
        self.store.read(|view| verify(view, &self.identity, witnesses))
    }

    pub(crate) fn own_witness(&self) -> Result<Witness, AuditFault> {
        own_witness(&self.keys)
    }
}

/// Audits a ledger with the records of predictions, against `witnesses` and what devices reported.
///
/// # Errors
/// The first fault.
pub(crate) fn verify(
    view: &View<'_>,
    identity: &Identity,
    mut witnesses: Vec<Witness>,
) -> Result<Verified, AuditFault> {
    // What a device says counts if the ledger role signed it: no device can make an audit fail.
    witnesses.extend(devices(view)?.into_iter().filter(|witness| identity.signed(&witness.note)));
    let verified = audit(view, identity, &witnesses)?;
    Ok(Verified { records: each_batch(view, |_| Ok::<_, AuditFault>(()))?, ..verified })
}

/// What the file beside the keys says.
///
/// # Errors
/// It is gone.
pub(crate) fn own_witness(keys: &Path) -> Result<Witness, AuditFault> {
    let by = format!("keys/{WITNESS_FILE}");
    match fs::read_to_string(keys.join(WITNESS_FILE)) {
        Ok(note) => Ok(Witness { by, note }),
        Err(_) => Err(AuditFault::WitnessMissing(by)),
    }
}

/// What devices saw last, as they reported it.
pub(crate) fn devices(view: &View<'_>) -> Result<Vec<Witness>, StoreError> {
    let (mut witnesses, mut after) = (Vec::new(), None);
    loop {
        let page = view.devices(after.as_ref(), usize::MAX)?;
        let Some(last) = page.last() else { return Ok(witnesses) };
        after = Some(last.id.clone());
        for device in page {
            let report: Option<Report> =
                device.report.and_then(|report| serde_json::from_value(report.document).ok());
            let note = report.and_then(|report| report.ledger?.note);
            witnesses.extend(note.map(|note| Witness { by: format!("device {}", device.id), note }));
        }
    }
}
