//! Checking every file of a bundle against its manifest, and that there is no other.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use edgeward_core::digest::Hasher;
use edgeward_core::manifest::{BundlePath, FileEntry};
use edgeward_core::{Digest, Manifest};

use super::{BundleError, io, path};

const READ_BUFFER_BYTES: usize = 64 << 10;

/// Deepest folder inside a bundle.
const FOLDER_DEPTH_MAX: usize = 8;

pub(super) fn all_files(
    dir: &Path,
    manifest: &Manifest,
    wanted: impl Fn(&BundlePath) -> bool,
) -> Result<(), BundleError> {
    let mut present = BTreeSet::new();
    list(dir, "", 0, &mut present)?;
    present.remove(path::MANIFEST);
    present.remove(path::MODEL_SIGNATURE);
    for (path, entry) in &manifest.files {
        if present.remove(path.as_str()) {
            check_file(dir, path, entry)?;
        } else if wanted(path) {
            return Err(BundleError::Missing(path.clone()));
        }
    }
    present.pop_first().map_or(Ok(()), |extra| Err(BundleError::Extra(extra)))
}

/// The relative paths of every file below `dir`.
fn list(dir: &Path, prefix: &str, depth: usize, found: &mut BTreeSet<String>) -> Result<(), BundleError> {
    for entry in fs::read_dir(dir).map_err(io("listing", dir))? {
        let entry = entry.map_err(io("listing", dir))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // The type of the entry itself: links are not followed.
        let kind = entry.file_type().map_err(io("reading", &entry.path()))?;
        if kind.is_dir() && depth < FOLDER_DEPTH_MAX {
            list(&entry.path(), &format!("{name}/"), depth + 1, found)?;
        } else if kind.is_file() {
            found.insert(name);
        } else {
            return Err(BundleError::NotPlain(name));
        }
    }
    Ok(())
}

fn check_file(dir: &Path, path: &BundlePath, entry: &FileEntry) -> Result<(), BundleError> {
    let (found_bytes, found) = hash(&dir.join(path.as_str()), entry.size_bytes)?;
    if found_bytes != entry.size_bytes {
        return Err(BundleError::Size { path: path.clone(), expected: entry.size_bytes, found: found_bytes });
    }
    if found != entry.digest {
        return Err(BundleError::Content { path: path.clone(), expected: entry.digest, found });
    }
    Ok(())
}

/// Size and digest of a file, of which no more than `limit` + 1 bytes are read.
fn hash(path: &Path, limit: u64) -> Result<(u64, Digest), BundleError> {
    let mut file = fs::File::open(path).map_err(io("opening", path))?.take(limit.saturating_add(1));
    let (mut hasher, mut buffer, mut size) = (Hasher::new(), vec![0; READ_BUFFER_BYTES], 0);
    loop {
        let read = file.read(&mut buffer).map_err(io("reading", path))?;
        if read == 0 {
            return Ok((size, hasher.finish()));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}
