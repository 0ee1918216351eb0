//! Making a bundle: files are gathered in memory, then written beside their final place and renamed into it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use edgeward_core::manifest::{BundlePath, FileEntry, MANIFEST_SCHEMA, Variant};
use edgeward_core::{Digest, Manifest, ModelName};

use super::{BUNDLE_FILE_BYTES_MAX, Bundle, BundleError, io, path};
use crate::golden::Golden;
use crate::signature::Signature;

/// Prefix of folders that are being written; what is left of them after a crash may be deleted.
const INCOMING_PREFIX: &str = ".incoming-";

/// Gathers the files of a bundle. The same files, in any order, make the same bundle.
#[derive(Clone, Debug)]
pub struct BundleWriter {
    model: ModelName,
    files: BTreeMap<BundlePath, Vec<u8>>,
    variants: Vec<Variant>,
}

impl BundleWriter {
    /// A writer for a version of `model`, without files.
    #[must_use]
    pub const fn new(model: ModelName) -> Self {
        Self { model, files: BTreeMap::new(), variants: Vec::new() }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// The path is refused, taken or the manifest's, or the file is too large.
    pub fn add(&mut self, path: &str, bytes: Vec<u8>) -> Result<&mut Self, BundleError> {
        let bundle_path = BundlePath::new(path)?;
        if bytes.len() as u64 > BUNDLE_FILE_BYTES_MAX {
            return Err(BundleError::TooLarge { path: bundle_path, size_bytes: bytes.len() as u64 });
        }
        if path == path::MANIFEST || self.files.contains_key(&bundle_path) {
            return Err(BundleError::Duplicate(bundle_path));
        }
        self.files.insert(bundle_path, bytes);
        Ok(self)
    }

    /// Adds the float model. It runs nowhere until [`BundleWriter::variant`] names an engine for it.
    ///
    /// # Errors
    /// As [`BundleWriter::add`].
    pub fn model(&mut self, onnx: Vec<u8>) -> Result<&mut Self, BundleError> {
        self.add(path::MODEL, onnx)
    }

    /// Adds a form of the model for `engine`, after those added before in preference. Bytes equal to the float model's
    /// or to another form's are not stored again.
    ///
    /// # Errors
    /// As [`BundleWriter::add`].
    pub fn variant(&mut self, engine: &str, dtype: &str, onnx: Vec<u8>) -> Result<&mut Self, BundleError> {
        let model = BundlePath::new(path::MODEL)?;
        self.form(Variant::new(engine, dtype, model), onnx)
    }

    /// Adds a form of the model that says more of itself: a name, a format, what it needs. Its path is set here: that of
    /// the float model or another form where the bytes are the same, else `variants/<label>/model.<format>`.
    ///
    /// # Errors
    /// As [`BundleWriter::add`].
    pub fn form(&mut self, mut variant: Variant, bytes: Vec<u8>) -> Result<&mut Self, BundleError> {
        let model = BundlePath::new(path::MODEL)?;
        let mut known = std::iter::once(&model).chain(self.variants.iter().map(|variant| &variant.path));
        let known = known.find(|path| self.files.get(*path) == Some(&bytes)).cloned();
        variant.path = match known {
            Some(path) => path,
            None => {
                let path = path::variant_file(&variant.label(), &variant.format);
                self.add(&path, bytes)?;
                BundlePath::new(path)?
            }
        };
        self.variants.push(variant);
        Ok(self)
    }

    /// Adds what the tensors are called and mean.
    ///
    /// # Errors
    /// The signature breaks its own rules, and as [`BundleWriter::add`].
    pub fn signature(&mut self, signature: &Signature) -> Result<&mut Self, BundleError> {
        signature.validate()?;
        self.add(path::SIGNATURE, signature.to_bytes()?)
    }

    /// Adds the golden test of the float model.
    ///
    /// # Errors
    /// As [`BundleWriter::add`].
    pub fn golden(&mut self, golden: &Golden) -> Result<&mut Self, BundleError> {
        self.add(path::GOLDEN, golden.to_bytes()?)
    }

    /// Adds the golden test of the variant with this label, for one whose answers differ from the float model's by more
    /// than its tolerance.
    ///
    /// # Errors
    /// As [`BundleWriter::add`].
    pub fn variant_golden(&mut self, label: &str, golden: &Golden) -> Result<&mut Self, BundleError> {
        self.add(&path::golden(label), golden.to_bytes()?)
    }

    /// The manifest of the files gathered.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let entry = |bytes: &Vec<u8>| FileEntry { size_bytes: bytes.len() as u64, digest: Digest::of(bytes) };
        Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            model: self.model.clone(),
            files: self.files.iter().map(|(path, bytes)| (path.clone(), entry(bytes))).collect(),
            variants: self.variants.clone(),
        }
    }

    /// Writes the bundle to `<parent>/<hex digest>/`, all of it or nothing, and flushes it to the disk. A bundle that
    /// is there already is verified and kept.
    ///
    /// # Errors
    /// The manifest breaks its own rules (no variant), a file cannot be written, or the one there already is damaged.
    pub fn write(&self, parent: &Path) -> Result<Bundle, BundleError> {
        let (manifest, bytes) = self.sealed()?;
        let digest = Digest::of(&bytes);
        let target = parent.join(digest.hex());
        if target.exists() {
            return Bundle::verify(target, &digest);
        }
        let incoming = self.write_beside(parent, &bytes)?;
        match fs::rename(incoming.path(), &target) {
            Ok(()) => {}
            // Another writer of the same bundle was faster.
            Err(_) if target.exists() => return Bundle::verify(target, &digest),
            Err(source) => return Err(io("renaming into place", &target)(source)),
        }
        // The folder now has another name, so there is nothing left to remove.
        let _ = incoming.keep();
        sync_folder(parent)?;
        Ok(Bundle { dir: target, digest, manifest })
    }

    /// Writes the bundle to the folder `dir` itself, in place of a bundle or an empty folder that is there.
    ///
    /// # Errors
    /// As [`BundleWriter::write`]; also a folder that holds anything else.
    pub fn write_to(&self, dir: &Path) -> Result<Bundle, BundleError> {
        let (manifest, bytes) = self.sealed()?;
        let occupied = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !dir.join(path::MANIFEST).is_file() {
            return Err(BundleError::Occupied(dir.to_owned()));
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let incoming = self.write_beside(parent, &bytes)?;
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(io("replacing", dir))?;
        }
        fs::rename(incoming.path(), dir).map_err(io("renaming into place", dir))?;
        let _ = incoming.keep();
        sync_folder(parent)?;
        Ok(Bundle { dir: dir.to_owned(), digest: Digest::of(&bytes), manifest })
    }

    /// The manifest and its bytes, which keep their own rules.
    fn sealed(&self) -> Result<(Manifest, Vec<u8>), BundleError> {
        let manifest = self.manifest();
        let bytes = manifest.to_bytes()?;
        Manifest::parse(&bytes)?;
        Ok((manifest, bytes))
    }

    /// All files in a folder in `parent` that is not the bundle's yet.
    fn write_beside(&self, parent: &Path, manifest: &[u8]) -> Result<tempfile::TempDir, BundleError> {
        fs::create_dir_all(parent).map_err(io("creating", parent))?;
        let incoming = tempfile::Builder::new().prefix(INCOMING_PREFIX).tempdir_in(parent);
        let incoming = incoming.map_err(io("creating a folder in", parent))?;
        for (path, content) in &self.files {
            write_file(incoming.path(), path.as_str(), content)?;
        }
        write_file(incoming.path(), path::MANIFEST, manifest)?;
        open_to_readers(incoming.path())?;
        Ok(incoming)
    }
}

fn write_file(dir: &Path, path: &str, bytes: &[u8]) -> Result<(), BundleError> {
    let file_path = dir.join(path);
    let folder = file_path.parent().unwrap_or(dir);
    fs::create_dir_all(folder).map_err(io("creating", folder))?;
    let mut file = File::create_new(&file_path).map_err(io("creating", &file_path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("writing", &file_path))?;
    let ancestors = folder.ancestors().take_while(|ancestor| ancestor.starts_with(dir));
    ancestors.into_iter().try_for_each(sync_folder)
}

fn sync_folder(folder: &Path) -> Result<(), BundleError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(io("flushing", folder))
}

/// Temporary folders are private to their user; a bundle may be read by any.
fn open_to_readers(folder: &Path) -> Result<(), BundleError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
            .map_err(io("opening to readers", folder))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
