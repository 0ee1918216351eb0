//! Files by pattern: `*`, `?` and `[...]` within a name, `**` over folders.
//!
//! One walk for each pattern, which reads every folder once and asks for a file's kind only where the folder's listing does not
//! tell: with ten thousand files, asking is what a look at them costs. `**` does not follow links to folders, so no walk is endless.

use std::fs::{self, DirEntry, FileType};
use std::io;
use std::path::{Path, PathBuf};

/// How deep folders may lie in each other.
const DEPTH_MAX: usize = 64;
/// Characters that make a part of a path more than a name.
const MARKS: [char; 3] = ['*', '?', '['];

/// Why the files of a pattern cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// It is no pattern.
    #[error("'{pattern}' is not a pattern")]
    Malformed {
        /// It.
        pattern: String,
        /// Why.
        #[source]
        source: glob::PatternError,
    },
    /// A folder cannot be listed.
    #[error("listing {}", .folder.display())]
    List {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Folders lie too deep in each other.
    #[error("{} lies more than {DEPTH_MAX} folders deep", .0.display())]
    TooDeep(PathBuf),
}

/// A part of a pattern between two slashes.
enum Part {
    Name(String),
    Names(glob::Pattern),
    Folders,
}

/// The files below `dir` that match one of `patterns`, each once, in the order of their paths' bytes.
///
/// # Errors
/// A pattern is malformed, or a folder cannot be listed.
pub fn files<P: AsRef<str>>(dir: &Path, patterns: &[P]) -> Result<Vec<PathBuf>, PatternError> {
    let mut found = Vec::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let start = if pattern.starts_with('/') { Path::new("/") } else { dir };
        Walk { found: &mut found }.below(start, &parts(pattern)?, 0)?;
    }
    found.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    found.dedup();
    Ok(found)
}

fn parts(pattern: &str) -> Result<Vec<Part>, PatternError> {
    let malformed = |source| PatternError::Malformed { pattern: pattern.to_owned(), source };
    glob::Pattern::new(pattern).map_err(malformed)?;
    let mut parts = Vec::new();
    for text in pattern.split('/').filter(|text| !matches!(*text, "" | ".")) {
        match text {
            // Twice in a row says no more than once.
            "**" if matches!(parts.last(), Some(Part::Folders)) => {}
            "**" => parts.push(Part::Folders),
            _ if text.contains(MARKS) => {
                let names = glob::Pattern::new(text).map_err(malformed)?;
                parts.push(Part::Names(names));
            }
            _ => parts.push(Part::Name(text.to_owned())),
        }
    }
    Ok(parts)
}

struct Walk<'f> {
    found: &'f mut Vec<PathBuf>,
}

impl Walk<'_> {
    fn below(&mut self, folder: &Path, parts: &[Part], depth: usize) -> Result<(), PatternError> {
        if depth > DEPTH_MAX {
            return Err(PatternError::TooDeep(folder.to_owned()));
        }
        match parts {
            [] => Ok(()),
            [Part::Name(name)] => {
                let path = folder.join(name);
                if path.is_file() {
                    self.found.push(path);
                }
                Ok(())
            }
            [Part::Name(name), rest @ ..] => self.below(&folder.join(name), rest, depth + 1),
            [Part::Names(names), rest @ ..] => self.named(folder, names, rest, depth),
            [Part::Folders, rest @ ..] => self.anywhere(folder, parts, rest, depth),
        }
    }

    /// Entries of one folder whose names match.
    fn named(
        &mut self,
        folder: &Path,
        names: &glob::Pattern,
        rest: &[Part],
        depth: usize,
    ) -> Result<(), PatternError> {
        for entry in listed(folder)?.filter(|entry| matches(names, entry)) {
            let path = entry.path();
            match kind(&entry) {
                Some(kind) if kind.is_dir() && !rest.is_empty() => self.below(&path, rest, depth + 1)?,
                Some(kind) if kind.is_file() && rest.is_empty() => self.found.push(path),
                _ => {}
            }
        }
        Ok(())
    }

    /// `parts`, which begins with `**`, and what follows it, in this folder and all below it.
    fn anywhere(
        &mut self,
        folder: &Path,
        parts: &[Part],
        rest: &[Part],
        depth: usize,
    ) -> Result<(), PatternError> {
        for entry in listed(folder)? {
            let path = entry.path();
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let Some(kind) = kind(&entry) else { continue };
            if kind.is_dir() && !is_link {
                self.below(&path, parts, depth + 1)?;
            }
            let is_named = match rest.first() {
                Some(Part::Name(name)) => entry.file_name().to_str() == Some(name),
                Some(Part::Names(names)) => matches(names, &entry),
                Some(Part::Folders) | None => true,
            };
            match rest {
                [] | [_] if kind.is_file() && is_named => self.found.push(path),
                [_, after @ ..] if kind.is_dir() && is_named => self.below(&path, after, depth + 1)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What a folder holds: nothing if it is not there or no folder.
fn listed(folder: &Path) -> Result<impl Iterator<Item = DirEntry>, PatternError> {
    let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Vec::new()
        }
        Err(source) => return Err(PatternError::List { folder: folder.to_owned(), source }),
    };
    Ok(entries.into_iter())
}

fn matches(names: &glob::Pattern, entry: &DirEntry) -> bool {
    names.as_str() == "*" || names.matches(&entry.file_name().to_string_lossy())
}

/// What an entry is, or what the link that it is leads to; none if that is not there.
fn kind(entry: &DirEntry) -> Option<FileType> {
    let kind = entry.file_type().ok()?;
    match kind.is_symlink() {
        true => fs::metadata(entry.path()).ok().map(|metadata| metadata.file_type()),
        false => Some(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(made: &[&str], patterns: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for file in made {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        let found = files(dir.path(), patterns).unwrap();
        found.iter().map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
    }

    #[test]
    fn patterns_mean_what_they_do_in_a_shell() {
        let made = ["a.csv", "b.txt", "d/a.csv", "d/e/a.csv", "d/e/b1.csv", "d/e/b22.csv", "f/e/a.csv"];
        let check = |patterns: &[&str], expect: &[&str]| {
            assert_eq!(found(&made, patterns), expect, "{patterns:?}");
        };
        check(&["a.csv"], &["a.csv"]);
        check(&["*.csv"], &["a.csv"]);
        check(&["*"], &["a.csv", "b.txt"]);
        check(&["d/*.csv", "./d//a.csv"], &["d/a.csv"]);
        check(&["*/e/a.csv"], &["d/e/a.csv", "f/e/a.csv"]);
        check(&["d/e/b?.csv"], &["d/e/b1.csv"]);
        check(&["d/e/b[0-9]*.csv"], &["d/e/b1.csv", "d/e/b22.csv"]);
        check(&["**/a.csv"], &["a.csv", "d/a.csv", "d/e/a.csv", "f/e/a.csv"]);
        check(&["d/**/*"], &["d/a.csv", "d/e/a.csv", "d/e/b1.csv", "d/e/b22.csv"]);
        check(&["d/**/**/*"], &["d/a.csv", "d/e/a.csv", "d/e/b1.csv", "d/e/b22.csv"]);
        check(&["**/e/a.csv"], &["d/e/a.csv", "f/e/a.csv"]);
        check(&["f/**"], &["f/e/a.csv"]);
        check(&["missing/*.csv", "a.csv/x", "d"], &[]);
        check(&["*.csv", "a.*"], &["a.csv"]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for pattern in ["[a", "a**", "***"] {
            let error = files(dir.path(), &[pattern]).unwrap_err();
            assert!(matches!(error, PatternError::Malformed { .. }), "{error}");
            assert!(error.to_string().contains(pattern), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_to_files_and_never_in_a_circle() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), b"").unwrap();
        std::os::unix::fs::symlink("../d", dir.path().join("d/again")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("d/b")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("d/c")).unwrap();
        let found = files(dir.path(), &["**/*"]).unwrap();
        assert_eq!(found, [dir.path().join("d/a"), dir.path().join("d/b")]);
    }
}
