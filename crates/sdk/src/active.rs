//! What the agent has activated, as files that an app on the same device can follow.
//!
//! In a model's folder (`<agent's data>/models/<model>/`):
//! - `active.json` says which bundle is active and in which slot; it is replaced as a whole, and its sequence number rises
//!   with every activation, going back to an earlier bundle included;
//! - `current` is a link to the active slot's folder, replaced in one rename, for apps that want only a path;
//! - `app/` belongs to the app: what it serves ([`Serving`]) and whether it asks for a pause ([`Hold`]).
//!
//! Nothing here is believed: whoever loads a bundle verifies its bytes against the digest first.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeward_core::slot::SlotId;
use edgeward_core::{Digest, ModelName, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Schema of [`Active`].
pub const ACTIVE_SCHEMA: &str = "edgeward.active/1";
/// Schema of [`Serving`].
const SERVING_SCHEMA: &str = "edgeward.serving/1";
/// Schema of [`Hold`].
const HOLD_SCHEMA: &str = "edgeward.hold/1";
/// Longest time an app may hold an activation back.
pub const HOLD_MAX: Duration = Duration::from_secs(3600);
/// Largest of these files that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Name of the file with [`Active`].
pub const ACTIVE_FILE: &str = "active.json";
/// Name of the link to the active slot's folder.
pub const CURRENT_LINK: &str = "current";
/// Name of the app's own folder.
pub const APP_FOLDER: &str = "app";
const SERVING_FILE: &str = "serving.json";
const HOLD_FILE: &str = "hold.json";

/// Which bundle is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Active {
    /// Always [`ACTIVE_SCHEMA`].
    pub schema: String,
    /// The model.
    pub model: ModelName,
    /// The bundle: the digest of its manifest.
    pub bundle: Digest,
    /// The slot it is in; its folder is named `a` or `b`.
    pub slot: SlotId,
    /// Rises by one with every activation on this device.
    pub sequence: u64,
}

/// What the app made of an activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// Always `edgeward.serving/1`.
    pub schema: String,
    /// The activation.
    pub sequence: u64,
    /// Its bundle.
    pub bundle: Digest,
    /// The app's process.
    pub pid: u32,
    /// Why the app does not serve it; none if it does.
    pub error: Option<String>,
}

/// The app asks that nothing be activated for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Always `edgeward.hold/1`.
    pub schema: String,
    /// Until when, by this device's clock; at most [`HOLD_MAX`] ahead counts.
    pub until_ms: Timestamp,
}

/// A file of these that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct ActiveError {
    /// What was being done.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl Active {
    /// What is active in a model's folder; none before the first activation.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is not of this schema.
    pub fn read(folder: &Path) -> Result<Option<Self>, ActiveError> {
        let path = folder.join(ACTIVE_FILE);
        let active: Option<Self> = read(&path)?;
        match active {
            Some(active) if active.schema != ACTIVE_SCHEMA => {
                let why = format!("its schema is '{}', this program reads '{ACTIVE_SCHEMA}'", active.schema);
                Err(ActiveError { doing: "reading", path, source: io::Error::other(why) })
            }
            active => Ok(active),
        }
    }

    /// The folder of the active bundle.
    #[must_use]
    pub fn bundle_folder(&self, folder: &Path) -> PathBuf {
        folder.join(self.slot.as_str())
    }

    /// The folder of what the agent derived from the bundle on this device.
    #[must_use]
    pub fn derived_folder(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.derived", self.slot.as_str()))
    }
}

impl Serving {
    /// Tells the agent what became of `active`; `error` is why the app does not serve it.
    ///
    /// # Errors
    /// The app's folder cannot be written.
    pub fn write(folder: &Path, active: &Active, error: Option<String>) -> Result<(), ActiveError> {
        let serving = Self {
            schema: SERVING_SCHEMA.to_owned(),
            sequence: active.sequence,
            bundle: active.bundle,
            pid: std::process::id(),
            error,
        };
        write(&app_file(folder, SERVING_FILE), &serving)
    }

    /// What the app said last; a file that cannot be read says nothing.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let serving: Option<Self> = read(&app_file(folder, SERVING_FILE)).ok().flatten();
        serving.filter(|serving| serving.schema == SERVING_SCHEMA)
    }

    /// Forgets what an earlier app said.
    pub fn forget(folder: &Path) {
        // A word about another activation is not listened to anyway.
        let _ = fs::remove_file(app_file(folder, SERVING_FILE));
    }
}

impl Hold {
    /// Asks that nothing be activated until `timeout` has passed, at most [`HOLD_MAX`].
    ///
    /// # Errors
    /// The app's folder cannot be written.
    pub fn write(folder: &Path, timeout: Duration) -> Result<(), ActiveError> {
        let until_ms = now() + timeout.min(HOLD_MAX);
        write(&app_file(folder, HOLD_FILE), &Self { schema: HOLD_SCHEMA.to_owned(), until_ms })
    }

    /// Takes the wish back.
    pub fn release(folder: &Path) {
        // A wish that stays runs out by itself.
        let _ = fs::remove_file(app_file(folder, HOLD_FILE));
    }

    /// How long activations still have to wait; none if nobody asks for it. A wish that lies farther ahead than
    /// [`HOLD_MAX`] was written by another clock and does not count.
    #[must_use]
    pub fn remaining(folder: &Path, now: Timestamp) -> Option<Duration> {
        let hold: Self = read(&app_file(folder, HOLD_FILE)).ok().flatten()?;
        let remaining = hold.until_ms.since(now);
        let counts = hold.schema == HOLD_SCHEMA && remaining > Duration::ZERO && remaining <= HOLD_MAX;
        counts.then_some(remaining)
    }
}

fn app_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(APP_FOLDER).join(name)
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ActiveError> {
    let wrap = |source| ActiveError { doing: "reading", path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrap(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(wrap)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| wrap(error.into()))
}

/// Replaces a file of the app's as a whole.
fn write(path: &Path, document: &impl Serialize) -> Result<(), ActiveError> {
    let written = serde_json::to_vec(document).map_err(io::Error::from);
    let written = written.and_then(|bytes| write_whole(path, &bytes));
    written.map_err(|source| ActiveError { doing: "writing", path: path.to_owned(), source })
}

/// Writes beside and renames, so that nobody reads half of it. It need not survive a loss of power: what it says is about
/// this start.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let renamed = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if renamed.is_err() {
        // A part that stays is written over by the next.
        let _ = fs::remove_file(&beside);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_by_itself_and_cannot_last_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Hold::remaining(folder.path(), now()), None);
        Hold::write(folder.path(), Duration::from_secs(1_000_000)).unwrap();
        let remaining = Hold::remaining(folder.path(), now()).unwrap();
        assert!(remaining <= HOLD_MAX && remaining > HOLD_MAX / 2);
        assert_eq!(Hold::remaining(folder.path(), now() + HOLD_MAX), None);
        assert_eq!(Hold::remaining(folder.path(), Timestamp(0)), None, "another clock wrote it");
        Hold::release(folder.path());
        assert_eq!(Hold::remaining(folder.path(), now()), None);
    }

    #[test]
    fn files_that_are_torn_or_of_another_schema_say_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Active::read(folder.path()).unwrap().is_none());
        fs::write(folder.path().join(ACTIVE_FILE), b"{").unwrap();
        assert!(Active::read(folder.path()).is_err());
        fs::create_dir(folder.path().join(APP_FOLDER)).unwrap();
        fs::write(app_file(folder.path(), SERVING_FILE), b"[]").unwrap();
        fs::write(app_file(folder.path(), HOLD_FILE), b"{}").unwrap();
        assert_eq!(Serving::read(folder.path()), None);
        assert_eq!(Hold::remaining(folder.path(), now()), None);
    }
}
