//! `[data] source`: a bucket's objects as files, so that everything after is as with a folder.
//!
//! The work folder keeps a copy of the objects that the project's patterns name. A run lists the bucket and fetches those
//! whose version or size is new; one without a version is always fetched. What is gone from the bucket goes from the copy. What
//! counts is the content: the snapshot lists the files by their digests, as it does those of a folder.
//!
//! Deliberately missing: reading a bucket without a copy, and versions of objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use edgeward_core::Digest;
use serde::{Deserialize, Serialize};

use crate::cache::{files_below, write_json};
use crate::pattern::PatternError;
use crate::project::ProjectFile;
use crate::source::{FILES_MAX, SourceError};
use crate::train::ToolError;
use crate::workdir::{WorkDir, WorkError};

const INDEX_FILE: &str = "index.json";
const FILES: &str = "files";
/// Digits of the address's digest in the folder's name.
const NAME_DIGITS: usize = 16;

/// Object stores.
pub trait Buckets: Sync {
    /// The objects below `url`, such as `s3://bucket/prefix`.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    fn list(&self, url: &str) -> Result<Vec<BucketObject>, ToolError>;

    /// Writes the objects of these names below `folder`.
    ///
    /// # Errors
    /// One cannot be had, or not be written.
    fn fetch(&self, url: &str, names: &[String], folder: &Path) -> Result<(), ToolError>;
}

/// An object of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketObject {
    /// Its name below the address, with `/`.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// What changes with its content; none if that is not known.
    pub version: Option<String>,
}

/// What the copy was made from.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    url: String,
    objects: BTreeMap<String, BucketObject>,
}

/// The project with its data in the copy, which is brought up to date; the same project if its data lies in a folder.
///
/// # Errors
/// The bucket does not answer, nothing in it matches, or the copy cannot be written.
pub fn mirrored(
    project: &ProjectFile,
    buckets: &dyn Buckets,
    work: &WorkDir,
    said: &dyn Fn(String),
) -> Result<ProjectFile, SourceError> {
    let Some(url) = &project.data.source else { return Ok(project.clone()) };
    let mirror = Mirror::of(url, work);
    let fail = |source| SourceError::Bucket { url: url.clone(), source };
    let listed = buckets.list(url).map_err(fail)?;
    let wanted = wanted(project, listed)?;
    let stale = mirror.stale(&wanted);
    if !stale.is_empty() {
        let bytes: u64 =
            stale.iter().filter_map(|name| wanted.get(name)).map(|object| object.size_bytes).sum();
        said(format!("fetching {} of {} objects of {url}, {bytes} bytes", stale.len(), wanted.len()));
        let partial = work.partial().join("objects");
        buckets.fetch(url, &stale, &partial).map_err(fail)?;
        mirror.take(&stale, &partial)?;
    }
    mirror.keep(wanted)?;
    let files = mirror.files();
    let data_dir = fs::canonicalize(&files).map_err(WorkError::at("finding", &files))?;
    Ok(ProjectFile { data_dir, ..project.clone() })
}

/// The objects that the project's patterns name, and those of its shadows.
fn wanted(
    project: &ProjectFile,
    listed: Vec<BucketObject>,
) -> Result<BTreeMap<String, BucketObject>, SourceError> {
    let of_shadows = project.shadow.iter().filter_map(|shadow| shadow.files.as_ref()).flatten();
    let named = |pattern: &String| {
        glob::Pattern::new(pattern)
            .map_err(|source| PatternError::Malformed { pattern: pattern.clone(), source })
    };
    let patterns = project.data.files.iter().chain(of_shadows).map(named).collect::<Result<Vec<_>, _>>()?;
    // As among files, `*` stays within a folder.
    let rules = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    let is_plain = |name: &str| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    let matching = |object: &BucketObject| {
        is_plain(&object.name) && patterns.iter().any(|pattern| pattern.matches_with(&object.name, rules))
    };
    let found: BTreeMap<_, _> =
        listed.into_iter().filter(matching).map(|object| (object.name.clone(), object)).collect();
    match found.len() {
        0 => Err(SourceError::NoFiles(project.data.files.join(", "))),
        count if count > FILES_MAX => Err(SourceError::TooManyFiles),
        _ => Ok(found),
    }
}

/// The copy of one bucket.
struct Mirror {
    url: String,
    dir: PathBuf,
}

impl Mirror {
    fn of(url: &str, work: &WorkDir) -> Self {
        let name = &Digest::of(url.as_bytes()).hex()[..NAME_DIGITS];
        Self { url: url.to_owned(), dir: work.objects().join(name) }
    }

    fn files(&self) -> PathBuf {
        self.dir.join(FILES)
    }

    fn index(&self) -> Index {
        let bytes = fs::read(self.dir.join(INDEX_FILE)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// The names of those that the copy does not hold as they are listed.
    fn stale(&self, wanted: &BTreeMap<String, BucketObject>) -> Vec<String> {
        let (index, files) = (self.index(), self.files());
        let is_here = |object: &BucketObject| {
            object.version.is_some()
                && index.objects.get(&object.name) == Some(object)
                && fs::metadata(files.join(&object.name)).is_ok_and(|found| found.len() == object.size_bytes)
        };
        wanted.values().filter(|object| !is_here(object)).map(|object| object.name.clone()).collect()
    }

    /// Takes what was fetched into `from`.
    fn take(&self, names: &[String], from: &Path) -> Result<(), WorkError> {
        for name in names {
            let target = self.files().join(name);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder).map_err(WorkError::at("making the folder", folder))?;
            }
            fs::rename(from.join(name), &target).map_err(WorkError::at("keeping", &target))?;
        }
        Ok(())
    }

    /// Notes what the copy was made from, and removes what is no part of it any more.
    fn keep(&self, objects: BTreeMap<String, BucketObject>) -> Result<(), WorkError> {
        let files = self.files();
        let names: BTreeSet<&String> = objects.keys().collect();
        let held = match files_below(&files) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            held => held.map_err(WorkError::at("listing", &files))?,
        };
        for name in held.iter().filter(|name| !names.contains(name)) {
            let gone = files.join(name);
            fs::remove_file(&gone).map_err(WorkError::at("removing", &gone))?;
        }
        if self.index().objects != objects {
            write_json(&self.dir.join(INDEX_FILE), &Index { url: self.url.clone(), objects })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A bucket in memory; its objects' versions are their contents, or there are none.
    struct Held {
        objects: Mutex<BTreeMap<String, String>>,
        fetched: Mutex<Vec<String>>,
        tells_versions: bool,
    }

    impl Held {
        fn new(objects: &[(&str, &str)]) -> Self {
            let objects = objects.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            Self { objects: Mutex::new(objects.collect()), fetched: Mutex::default(), tells_versions: true }
        }

        fn put(&self, name: &str, text: &str) {
            self.objects.lock().unwrap().insert(name.to_owned(), text.to_owned());
        }

        fn fetched(&self) -> Vec<String> {
            std::mem::take(&mut self.fetched.lock().unwrap())
        }
    }

    impl Buckets for Held {
        fn list(&self, url: &str) -> Result<Vec<BucketObject>, ToolError> {
            assert_eq!(url, "s3://data/pumps");
            let object = |(name, text): (&String, &String)| BucketObject {
                name: name.clone(),
                size_bytes: text.len() as u64,
                version: self.tells_versions.then(|| text.clone()),
            };
            Ok(self.objects.lock().unwrap().iter().map(object).collect())
        }

        fn fetch(&self, _: &str, names: &[String], folder: &Path) -> Result<(), ToolError> {
            for name in names {
                crate::cache::write_output(
                    &folder.join(name),
                    self.objects.lock().unwrap()[name].as_bytes(),
                )?;
                self.fetched.lock().unwrap().push(name.clone());
            }
            Ok(())
        }
    }

    fn project(files: &str) -> ProjectFile {
        let text = format!(
            "[project]\nname = \"p\"\n[data]\nsource = \"s3://data/pumps\"\nfiles = {files}\n[train]\nbuiltin = \"mlp\"\n\
             [[shadow]]\nname = \"other\"\nfiles = [\"other.csv\"]\n"
        );
        ProjectFile::parse(&text, "edgeward.toml", Path::new(".")).unwrap()
    }

    fn sync(held: &Held, dir: &Path, files: &str) -> Result<Vec<String>, String> {
        let work = WorkDir::open(dir, || {}).unwrap();
        let made = mirrored(&project(files), held, &work, &|_| {}).map_err(|error| error.to_string())?;
        Ok(files_below(&made.data_dir).unwrap())
    }

    #[test]
    fn only_what_changed_is_fetched_and_what_is_gone_goes() {
        let dir = tempfile::tempdir().unwrap();
        let held = Held::new(&[("a.csv", "1"), ("deep/b.csv", "2"), ("notes.txt", "3"), ("other.csv", "4")]);
        let files = "[\"*.csv\", \"deep/*.csv\"]";
        assert_eq!(sync(&held, dir.path(), files).unwrap(), ["a.csv", "deep/b.csv", "other.csv"]);
        assert_eq!(held.fetched().len(), 3);
        sync(&held, dir.path(), files).unwrap();
        assert!(held.fetched().is_empty(), "nothing changed");
        held.put("a.csv", "9");
        held.objects.lock().unwrap().remove("deep/b.csv");
        assert_eq!(sync(&held, dir.path(), files).unwrap(), ["a.csv", "other.csv"]);
        assert_eq!(held.fetched(), ["a.csv"]);
    }

    #[test]
    fn a_copy_that_was_damaged_or_never_finished_is_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        let held = Held::new(&[("a.csv", "1"), ("b.csv", "2")]);
        sync(&held, dir.path(), "[\"*.csv\"]").unwrap();
        held.fetched();
        let work = WorkDir::open(dir.path(), || {}).unwrap();
        let files = Mirror::of("s3://data/pumps", &work).files();
        fs::write(files.join("a.csv"), "longer").unwrap();
        fs::remove_file(files.join("b.csv")).unwrap();
        drop(work);
        sync(&held, dir.path(), "[\"*.csv\"]").unwrap();
        assert_eq!(held.fetched(), ["a.csv", "b.csv"]);
        assert_eq!(fs::read_to_string(files.join("a.csv")).unwrap(), "1");
    }

    #[test]
    fn without_versions_everything_is_fetched() {
        let dir = tempfile::tempdir().unwrap();
        let held = Held { tells_versions: false, ..Held::new(&[("a.csv", "1")]) };
        for _ in 0..2 {
            sync(&held, dir.path(), "[\"*.csv\"]").unwrap();
            assert_eq!(held.fetched(), ["a.csv"]);
        }
    }

    #[test]
    fn nothing_leaves_the_copy_and_nothing_found_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let held = Held::new(&[("../a.csv", "1"), ("deep/b.csv", "2")]);
        let said = sync(&held, dir.path(), "[\"*.csv\", \"**/a.csv\"]").unwrap_err();
        assert!(said.contains("no file matches *.csv"), "{said}");
        assert!(held.fetched().is_empty());
    }
}
