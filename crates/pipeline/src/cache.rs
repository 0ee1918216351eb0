//! The content-addressed cache of finished stages.
//!
//! The key of a stage is the digest of its name, the version of its code, its parameters and the digests of its inputs.
//! Its outputs lie in `cache/<key>/` with an `entry.json` that lists their sizes and digests; the folder appears whole
//! by a rename, or not at all. An entry whose files do not match that list is thrown away and made again.
//!
//! Deliberately missing: eviction. `edgeward` projects are small; removing `cache/` is always safe.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use edgeward_core::{Digest, canonical};
use serde::{Deserialize, Serialize};

use crate::index::{Content, FileIndex};
use crate::workdir::{WorkDir, WorkError, write_atomically};

/// Schema of an entry.
const ENTRY_SCHEMA: &str = "edgeward.cache-entry/1";
const ENTRY_FILE: &str = "entry.json";

/// The code of a stage. Its version rises whenever the same inputs give another output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageCode {
    /// The stage's name.
    pub name: &'static str,
    /// The version of its code.
    pub version: u32,
}

/// What a stage reads: names and digests.
pub type Inputs<'a> = BTreeMap<&'a str, Digest>;

/// A finished stage.
#[derive(Clone, Debug)]
pub struct Entry {
    dir: PathBuf,
    record: Record,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: String,
    stage: String,
    outputs: BTreeMap<String, Content>,
}

/// A stage's outputs that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The key cannot be computed.
    #[error("computing the key of stage {stage}")]
    Key {
        /// The stage.
        stage: &'static str,
        /// Why.
        #[source]
        source: canonical::CanonicalError,
    },
    /// The file system.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// An output changed since it was written.
    #[error("{} was damaged since it was written; run again to make it anew", .0.display())]
    Damaged(PathBuf),
    /// An output is not there.
    #[error("stage {stage} has no output '{name}'")]
    Missing {
        /// The stage.
        stage: String,
        /// The output.
        name: String,
    },
    /// The stage's outputs are not there, and nothing is to be made.
    #[error("stage {stage} would have to run")]
    NotMade {
        /// The stage.
        stage: &'static str,
    },
    /// An output is not the JSON it should be.
    #[error("reading {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Which keys are being made, so that two threads of one run do not make the same.
#[derive(Debug, Default)]
pub struct Turns {
    taken: Mutex<BTreeSet<Digest>>,
    given_back: Condvar,
}

/// The right to make what is kept under one key, given back when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    key: Digest,
}

impl Turns {
    /// Waits until nobody else makes what is kept under `key`.
    #[must_use]
    pub fn take(&self, key: Digest) -> Turn<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.given_back.wait_while(taken, |taken| taken.contains(&key));
        waited.unwrap_or_else(PoisonError::into_inner).insert(key);
        Turn { turns: self, key }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.turns.given_back.notify_all();
    }
}

/// The cache of one work folder.
pub struct Cache<'a> {
    work: &'a WorkDir,
    index: &'a FileIndex,
    turns: &'a Turns,
}

/// The key of a stage.
///
/// # Errors
/// The parameters cannot be written as JSON.
pub fn key(code: StageCode, params: &impl Serialize, inputs: &Inputs<'_>) -> Result<Digest, CacheError> {
    #[derive(Serialize)]
    struct Key<'a, P> {
        stage: &'static str,
        version: u32,
        params: &'a P,
        inputs: &'a Inputs<'a>,
    }
    canonical::digest(&Key { stage: code.name, version: code.version, params, inputs })
        .map_err(|source| CacheError::Key { stage: code.name, source })
}

impl<'a> Cache<'a> {
    /// The cache of `work`.
    #[must_use]
    pub const fn new(work: &'a WorkDir, index: &'a FileIndex, turns: &'a Turns) -> Self {
        Self { work, index, turns }
    }

    /// The right to look for and make what is kept under `key`.
    #[must_use]
    pub fn turn(&self, key: Digest) -> Turn<'a> {
        self.turns.take(key)
    }

    /// The finished stage under `key`, if it is there and whole.
    #[must_use]
    pub fn find(&self, key: &Digest) -> Option<Entry> {
        let dir = self.work.cache().join(key.hex());
        let record: Record = serde_json::from_slice(&fs::read(dir.join(ENTRY_FILE)).ok()?).ok()?;
        let whole = |(name, content): (&String, &Content)| {
            self.index.content(&dir.join(name)).is_ok_and(|found| found == *content)
        };
        let sound = record.schema == ENTRY_SCHEMA && record.outputs.iter().all(whole);
        sound.then_some(Entry { dir, record })
    }

    /// Makes the outputs of a stage in a fresh folder and keeps them under `key`.
    ///
    /// # Errors
    /// Those of `make`, and of writing the folder.
    pub fn make<E: From<CacheError>>(
        &self,
        key: &Digest,
        stage: &str,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Entry, E> {
        let partial = self.fresh(key)?;
        make(&partial)?;
        Ok(self.keep(key, stage, &partial)?)
    }

    fn fresh(&self, key: &Digest) -> Result<PathBuf, CacheError> {
        let partial = self.work.partial().join(key.hex());
        remove(&partial)?;
        fs::create_dir_all(&partial).map_err(WorkError::at("making the folder", &partial))?;
        Ok(partial)
    }

    fn keep(&self, key: &Digest, stage: &str, partial: &Path) -> Result<Entry, CacheError> {
        let dir = self.work.cache().join(key.hex());
        let mut outputs = BTreeMap::new();
        for name in files_below(partial).map_err(WorkError::at("listing", partial))? {
            let content = self.index.content(&partial.join(&name))?;
            outputs.insert(name, content);
        }
        let record = Record { schema: ENTRY_SCHEMA.to_owned(), stage: stage.to_owned(), outputs };
        write_json(&partial.join(ENTRY_FILE), &record)?;
        remove(&dir)?;
        fs::rename(partial, &dir).map_err(WorkError::at("keeping the stage in", &dir))?;
        Ok(Entry { dir, record })
    }
}

fn remove(dir: &Path) -> Result<(), WorkError> {
    match dir.exists() {
        true => fs::remove_dir_all(dir).map_err(WorkError::at("removing", dir)),
        false => Ok(()),
    }
}

/// The files below `root`, as relative paths with `/`, in order.
pub(crate) fn files_below(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.file_type()?.is_dir() {
                true => folders.push((entry.path(), format!("{name}/"))),
                false => found.push(name),
            }
        }
    }
    found.sort();
    Ok(found)
}

impl Entry {
    /// The folder with the outputs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The digest of output `name`.
    ///
    /// # Errors
    /// There is no such output.
    pub fn digest(&self, name: &str) -> Result<Digest, CacheError> {
        self.content(name).map(|content| content.digest)
    }

    /// The digest of all outputs.
    ///
    /// # Errors
    /// It cannot be written as JSON, which does not happen.
    pub fn digest_all(&self, stage: &'static str) -> Result<Digest, CacheError> {
        canonical::digest(&self.record.outputs).map_err(|source| CacheError::Key { stage, source })
    }

    /// Whether there is an output `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.record.outputs.contains_key(name)
    }

    fn content(&self, name: &str) -> Result<Content, CacheError> {
        let missing = || CacheError::Missing { stage: self.record.stage.clone(), name: name.to_owned() };
        self.record.outputs.get(name).copied().ok_or_else(missing)
    }

    /// The bytes of output `name`, checked against its digest.
    ///
    /// # Errors
    /// It is missing, unreadable, or not what was written.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, CacheError> {
        let expected = self.digest(name)?;
        let path = self.dir.join(name);
        let bytes = fs::read(&path).map_err(WorkError::at("reading", &path))?;
        if Digest::of(&bytes) == expected {
            return Ok(bytes);
        }
        // Without its record the entry is not found again, even if the damage left the file's stamp as it was.
        let _ = fs::remove_file(self.dir.join(ENTRY_FILE));
        Err(CacheError::Damaged(path))
    }

    /// Output `name` as a document.
    ///
    /// # Errors
    /// As [`Entry::read`], or it is not such a document.
    pub fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, CacheError> {
        let bytes = self.read(name)?;
        serde_json::from_slice(&bytes)
            .map_err(|source| CacheError::Json { path: self.dir.join(name), source })
    }
}

/// Writes `document` as canonical JSON.
///
/// # Errors
/// It has no such form, or the file cannot be written.
pub(crate) fn write_json(path: &Path, document: &impl Serialize) -> Result<(), WorkError> {
    let bytes = canonical::to_bytes(document)
        .map_err(|error| WorkError::at("writing", path)(io::Error::other(error)))?;
    write_atomically(path, &bytes)
}

/// Writes `bytes` as an output, making the folders above it.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_output(path: &Path, bytes: &[u8]) -> Result<(), WorkError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(WorkError::at("making the folder", folder))?;
    }
    fs::write(path, bytes).map_err(WorkError::at("writing", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: StageCode = StageCode { name: "double", version: 1 };

    fn with_cache(test: impl FnOnce(&Cache<'_>, &Path)) {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::open(dir.path(), || {}).unwrap();
        let index = FileIndex::open(work.index());
        test(&Cache::new(&work, &index, &Turns::default()), dir.path());
    }

    fn make(cache: &Cache<'_>, key: &Digest) -> Result<Entry, CacheError> {
        cache.make(key, "double", |dir| Ok(write_output(&dir.join("sub/out"), b"four")?))
    }

    #[test]
    fn keys_differ_by_code_params_and_inputs() {
        let inputs = Inputs::from([("data", Digest::of(b"d"))]);
        let base = key(CODE, &1, &inputs).unwrap();
        assert_eq!(key(CODE, &1, &inputs).unwrap(), base);
        assert_ne!(key(StageCode { version: 2, ..CODE }, &1, &inputs).unwrap(), base);
        assert_ne!(key(CODE, &2, &inputs).unwrap(), base);
        assert_ne!(key(CODE, &1, &Inputs::from([("data", Digest::of(b"e"))])).unwrap(), base);
    }

    #[test]
    fn what_was_made_is_found() {
        with_cache(|cache, _| {
            let key = key(CODE, &(), &Inputs::new()).unwrap();
            assert!(cache.find(&key).is_none());
            make(cache, &key).unwrap();
            assert_eq!(cache.find(&key).unwrap().read("sub/out").unwrap(), b"four");
        });
    }

    #[test]
    fn a_damaged_entry_is_not_found_and_made_again() {
        with_cache(|cache, root| {
            let key = key(CODE, &(), &Inputs::new()).unwrap();
            let entry = make(cache, &key).unwrap();
            let output = root.join("cache").join(key.hex()).join("sub/out");
            fs::write(&output, b"five").unwrap();
            assert!(cache.find(&key).is_none());
            assert!(matches!(entry.read("sub/out"), Err(CacheError::Damaged(_))));
            make(cache, &key).unwrap();
            assert!(cache.find(&key).is_some());
            fs::remove_file(&output).unwrap();
            assert!(cache.find(&key).is_none());
        });
    }

    #[test]
    fn a_stage_that_fails_leaves_nothing() {
        with_cache(|cache, _| {
            let key = key(CODE, &(), &Inputs::new()).unwrap();
            let failed = cache.make(&key, "double", |dir| {
                fs::write(dir.join("out"), b"half").unwrap();
                Err(CacheError::Damaged(PathBuf::new()))
            });
            assert!(failed.is_err() && cache.find(&key).is_none());
        });
    }
}
