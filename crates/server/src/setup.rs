//! The data folder: made on first start, checked on every other.
//!
//! Each file is written beside its place, flushed and renamed, so that a start that was cut short is simply done again.
//! Secrets are readable by their owner only. A key that is missing although the repository names it is an error and never
//! replaced: devices believe the old one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgeward_api::Problem;
use edgeward_core::{ProjectName, Timestamp};
use edgeward_store::Folder;
use edgeward_trust::fleet::{FleetKeys, Lives, Shelf};
use edgeward_trust::key::KeyError;
use edgeward_trust::{LedgerKeys, Signer, SigningKey};

use crate::audit::WITNESS_FILE;
use crate::mirror::Mirror;
use crate::repository::{FIRST_ROOT, OnlineKeys, Repository, RepositoryError};
use crate::secret::{self, NoRandomness, Purpose};

const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o700;
/// The keys that sign the root of a new repository; two of them suffice, and none is needed here afterwards.
const ROOT_KEYS: [&str; 3] = ["root-1", "root-2", "root-3"];
/// Largest file read at start.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The data folder's layout.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

/// What signs the ledger, and whose signatures count for it.
#[derive(Debug)]
pub(crate) struct LedgerSigner {
    pub(crate) key: SigningKey,
    pub(crate) keys: LedgerKeys,
}

/// Everything a start finds or makes.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) home: Home,
    pub(crate) ledger: Arc<LedgerSigner>,
    pub(crate) repository: Repository,
    pub(crate) operator_token: String,
    /// Held as long as the server lives.
    pub(crate) lock: File,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Making or writing something in it.
    #[error("writing {}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Reading something in it.
    #[error("reading {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another server holds the lock.
    #[error("another control plane is using {}", .0.display())]
    InUse(PathBuf),
    /// A key file is damaged.
    #[error("reading the key {}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: KeyError,
    },
    /// A key that devices believe is gone.
    #[error("the key {} is missing, and devices believe no other", .0.display())]
    KeyMissing(PathBuf),
    /// A key is not the one that the repository names.
    #[error("the {role} key in {} is not one that the repository names", keys.display())]
    KeyMismatch {
        /// Whose key.
        role: &'static str,
        /// Where the keys are.
        keys: PathBuf,
    },
    /// The key that seals the keys of inputs is another than the other servers'.
    #[error("the key {} is not the one that the other servers of the database have", .0.display())]
    ForeignInputs(PathBuf),
    /// The operator token is empty or too long.
    #[error("{} holds no token", .0.display())]
    Token(PathBuf),
    /// The repository is damaged or cannot be made.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// No secrets can be made.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl SetupError {
    /// What to tell the person who started the server.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Write { path, source } | Self::Read { path, source } => io_hint(path, source),
            Self::InUse(dir) => {
                format!("Stop the other server, or give this one another data folder than {}.", dir.display())
            }
            Self::Key { .. } | Self::KeyMissing(_) | Self::KeyMismatch { .. } | Self::ForeignInputs(_) => {
                "Restore the folder 'keys' from a backup, or copy it from a server that shares this one's database; a new \
                 key would not be believed by enrolled devices."
                    .to_owned()
            }
            Self::Token(path) => format!("Delete {}; a new token is made at the next start.", path.display()),
            Self::Repository(
                RepositoryError::Store(_) | RepositoryError::Behind | RepositoryError::Foreign { .. },
            ) => return Vec::new(),
            Self::Repository(_) => {
                "Restore the folder 'repository' from a backup.".to_owned()
            }
            Self::Randomness(_) => return Vec::new(),
        };
        vec![hint]
    }

    pub(crate) fn problem(&self) -> Problem {
        let kind = match self {
            Self::InUse(_) => "data_dir_in_use",
            Self::Write { .. } => "data_dir_not_writable",
            Self::Read { .. } => "data_dir_not_readable",
            _ => "data_dir_damaged",
        };
        let mut problem = Problem::new(kind, crate::failure::chain(self));
        problem.hints = self.hints();
        problem
    }
}

fn io_hint(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "The disk is full: free some space, or use a data folder on another disk.".to_owned()
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!("Give this user the right to write to {}, or use another data folder.", path.display())
        }
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            "The data folder's path names a file: use another path.".to_owned()
        }
        _ => "Check the disk, or use another data folder.".to_owned(),
    }
}

impl Home {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("edgeward.db")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub(crate) fn release_key(&self) -> PathBuf {
        self.key("releases")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.keys().join(format!("{name}.json"))
    }

    pub(crate) fn repository(&self) -> Folder {
        Folder::new(self.0.join("repository"))
    }

    pub(crate) fn authorities(&self) -> PathBuf {
        self.keys().join("authorities.json")
    }

    /// For whoever is to believe this control plane.
    pub(crate) fn ca_pem(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// What the keys of inputs are sealed with where several servers share a database.
    pub(crate) fn inputs_key(&self) -> PathBuf {
        self.keys().join("inputs.key")
    }

    /// The keys of inputs, one per day on which they are dropped.
    pub(crate) fn vault(&self) -> PathBuf {
        self.keys().join("inputs")
    }

    fn witness(&self) -> PathBuf {
        self.keys().join(WITNESS_FILE)
    }

    pub(crate) fn token(&self) -> PathBuf {
        self.0.join("operator.token")
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    pub(crate) fn work(&self, project: &ProjectName) -> PathBuf {
        self.0.join("work").join(project.as_str())
    }

    pub(crate) fn address(&self) -> PathBuf {
        self.0.join("address")
    }
}

/// Takes possession of `data_dir`, which is made if it is not there.
pub(crate) fn enter(data_dir: &Path) -> Result<(Home, File), SetupError> {
    make_folder(data_dir)?;
    let home = Home(std::path::absolute(data_dir).map_err(|source| read_error(data_dir, source))?);
    let lock = lock(&home)?;
    for folder in [home.blobs(), home.keys(), home.runs(), home.0.join("work")] {
        make_folder(&folder)?;
    }
    Ok((home, lock))
}

/// Opens what is in `home`, making what is missing. Where several servers share a database, `mirror` has copied their
/// repository there already.
pub(crate) fn furnish(
    home: Home,
    lock: File,
    mirror: Option<Mirror>,
    now: Timestamp,
) -> Result<Setup, SetupError> {
    let (repository, ledger) = open_repository(&home, mirror, now)?;
    let operator_token = open_token(&home.token())?;
    Ok(Setup { home, ledger: Arc::new(ledger), repository, operator_token, lock })
}

/// Both, for a server that is alone.
#[cfg(test)]
pub(crate) fn open(data_dir: &Path, now: Timestamp) -> Result<Setup, SetupError> {
    let (home, lock) = enter(data_dir)?;
    furnish(home, lock, None, now)
}

/// The repository, made if there is none, and what signs the ledger.
fn open_repository(
    home: &Home,
    mirror: Option<Mirror>,
    now: Timestamp,
) -> Result<(Repository, LedgerSigner), SetupError> {
    let folder = home.repository();
    let make = !folder.contains(FIRST_ROOT);
    let open = |name: &str| open_key(&home.key(name), make);
    let online = OnlineKeys {
        rollouts: open("rollouts")?,
        snapshot: open("snapshot")?,
        timestamp: open("timestamp")?,
    };
    let key = open("ledger")?;
    if make {
        make_repository(home, &folder, &online, &key, now)?;
    }
    let repository = Repository::open(folder, online, mirror)?;
    if let Some(role) = repository.stranger(&key.public_key()) {
        return Err(SetupError::KeyMismatch { role, keys: home.keys() });
    }
    let keys = repository.ledger_keys();
    Ok((repository, LedgerSigner { key, keys }))
}

/// The root comes last: a start that was cut short is done again.
fn make_repository(
    home: &Home,
    folder: &Folder,
    online: &OnlineKeys,
    ledger: &SigningKey,
    now: Timestamp,
) -> Result<(), SetupError> {
    let open = |name: &str| open_key(&home.key(name), true);
    let root: Vec<SigningKey> = ROOT_KEYS.into_iter().map(open).collect::<Result<_, _>>()?;
    let releases = open("releases")?;
    let keys = FleetKeys {
        root: root.iter().map(Signer::public_key).collect(),
        root_threshold: 2,
        releases: releases.public_key(),
        rollouts: online.rollouts.public_key(),
        snapshot: online.snapshot.public_key(),
        timestamp: online.timestamp.public_key(),
        ledger: ledger.public_key(),
    };
    let signers: Vec<&dyn Signer> = root.iter().take(2).map(|key| key as &dyn Signer).collect();
    let shelf = Shelf::new(&keys, &signers, &releases, &Lives::default(), now);
    for file in shelf.map_err(RepositoryError::from)?.offline_files().iter().rev() {
        folder.write(&file.path, &file.bytes).map_err(RepositoryError::from)?;
    }
    tracing::warn!(
        keys = %home.keys().display(),
        "a new repository: move root-1.json, root-2.json and root-3.json to places apart from this machine"
    );
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), SetupError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, FOLDER_MODE);
    builder.create(path).map_err(|source| write_error(path, source))
}

fn lock(home: &Home) -> Result<File, SetupError> {
    let path = home.0.join("server.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| write_error(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SetupError::InUse(home.0.clone())),
        Err(TryLockError::Error(source)) => Err(write_error(&path, source)),
    }
}

fn open_key(path: &Path, make: bool) -> Result<SigningKey, SetupError> {
    match read_if_there(path)? {
        Some(bytes) => {
            SigningKey::from_json(&bytes).map_err(|source| SetupError::Key { path: path.to_owned(), source })
        }
        None if make => {
            let key = SigningKey::from_seed(&secret::random()?);
            write(path, &key.to_json(), SECRET_MODE)?;
            Ok(key)
        }
        None => Err(SetupError::KeyMissing(path.to_owned())),
    }
}

fn open_token(path: &Path) -> Result<String, SetupError> {
    let Some(bytes) = read_if_there(path)? else {
        let token = secret::generate(Purpose::Operator)?;
        write(path, token.as_bytes(), SECRET_MODE)?;
        return Ok(token);
    };
    let token = String::from_utf8_lossy(&bytes).trim().to_owned();
    match token.is_empty() || token.len() > secret::SECRET_LEN_MAX {
        true => Err(SetupError::Token(path.to_owned())),
        false => Ok(token),
    }
}

pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, SetupError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| read_error(path, source))?,
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX), &mut bytes)
        .map_err(|source| read_error(path, source))?;
    Ok(Some(bytes))
}

/// The latest checkpoint as it was left beside the keys; none before the first.
pub(crate) fn read_witness(home: &Home) -> Result<Option<String>, SetupError> {
    let bytes = read_if_there(&home.witness())?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Leaves the latest checkpoint beside the keys.
pub(crate) fn write_witness(home: &Home, note: &str) -> Result<(), SetupError> {
    write(&home.witness(), note.as_bytes(), PUBLIC_MODE)
}

/// Writes the address clients should use.
pub(crate) fn write_address(home: &Home, address: &str) -> Result<(), SetupError> {
    write(&home.address(), format!("{address}\n").as_bytes(), PUBLIC_MODE)
}

/// Writes what only its owner may read.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), SetupError> {
    write(path, bytes, SECRET_MODE)
}

/// Writes what anyone may read.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), SetupError> {
    write(path, bytes, PUBLIC_MODE)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SetupError> {
    write_whole(path, bytes, mode).map_err(|source| write_error(path, source))
}

fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn write_error(path: &Path, source: io::Error) -> SetupError {
    SetupError::Write { path: path.to_owned(), source }
}

fn read_error(path: &Path, source: io::Error) -> SetupError {
    SetupError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn a_second_start_finds_what_the_first_made() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), NOW).unwrap();
        let (root, token) = (first.repository.root(), first.operator_token.clone());
        drop(first);
        let second = open(dir.path(), NOW).unwrap();
        assert_eq!((second.repository.root(), second.operator_token), (root, token));
    }

    #[test]
    fn two_servers_never_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path(), NOW).unwrap();
        let error = open(dir.path(), NOW).unwrap_err();
        assert!(matches!(error, SetupError::InUse(_)), "{error}");
        assert_eq!(error.problem().kind, "data_dir_in_use");
    }

    #[test]
    fn a_path_that_is_a_file_gets_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"").unwrap();
        let problem = open(&path, NOW).unwrap_err().problem();
        assert_eq!(problem.kind, "data_dir_not_writable");
        assert!(problem.hints[0].contains("another path"), "{problem:?}");
    }

    #[test]
    fn a_lost_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), NOW).unwrap());
        fs::remove_file(dir.path().join("keys/rollouts.json")).unwrap();
        assert!(matches!(open(dir.path(), NOW).unwrap_err(), SetupError::KeyMissing(_)));
    }

    #[test]
    fn another_controls_key_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        drop((open(one.path(), NOW).unwrap(), open(two.path(), NOW).unwrap()));
        for foreign in ["ledger", "timestamp", "rollouts"] {
            let key = |dir: &tempfile::TempDir| dir.path().join(format!("keys/{foreign}.json"));
            let own = fs::read(key(&two)).unwrap();
            fs::copy(key(&one), key(&two)).unwrap();
            let error = open(two.path(), NOW).unwrap_err();
            assert!(matches!(error, SetupError::KeyMismatch { role, .. } if role == foreign), "{error}");
            fs::write(key(&two), own).unwrap();
        }
    }

    #[test]
    fn a_first_start_that_was_cut_short_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), NOW).unwrap());
        let releases = fs::read(dir.path().join("keys/releases.json")).unwrap();
        fs::remove_file(dir.path().join("repository/metadata/1.root.json")).unwrap();
        fs::remove_file(dir.path().join("keys/ledger.json")).unwrap();
        drop(open(dir.path(), NOW).unwrap());
        assert_eq!(fs::read(dir.path().join("keys/releases.json")).unwrap(), releases);
    }

    #[test]
    fn offline_keys_need_not_be_here() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), NOW).unwrap());
        for name in ["root-1", "root-2", "root-3", "releases"] {
            fs::remove_file(dir.path().join(format!("keys/{name}.json"))).unwrap();
        }
        open(dir.path(), NOW).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), NOW).unwrap());
        for name in ["keys/releases.json", "keys/rollouts.json", "keys/ledger.json", "operator.token"] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, SECRET_MODE, "{name}");
        }
    }
}
