//! Bundles: a model and all that belongs to it, in a directory named by the digest of its manifest.
//!
//! Files, by the names in [`path`]: `manifest.json` (canonical JSON, lists every other file), `model.onnx`,
//! `variants/<label>/model.<format>`, `signature.json`, `golden/golden.json` (and `golden/<label>.json` where a variant has
//! its own; a label is `<engine>-<dtype>` unless the variant has a name), `reference.profile`, `labels.profile`,
//! `reference.embeddings`, `monitor.json`, `records.json`, `card.md`,
//! `bom.json`, `lineage.json`.
//!
//! [`Bundle::verify`] reads and hashes everything; use it on whatever comes from outside. [`Bundle::open`] reads the
//! manifest only. Either way every later read of a file checks its digest again, so bytes that changed meanwhile are
//! never used. Only plain files count: a symbolic link anywhere is refused.
//!
//! Deliberately missing: signatures (a release outside the bundle says it may run) and the meaning of
//! `reference.profile` and `monitor.json`.

mod verify;
mod writer;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use edgeward_core::canonical::CanonicalError;
use edgeward_core::manifest::{BundlePath, FileEntry, MANIFEST_BYTES_MAX, ManifestError, Variant};
use edgeward_core::{Capabilities, Digest, Manifest};

pub use writer::BundleWriter;

use crate::golden::{Golden, GoldenError};
use crate::signature::{Signature, SignatureError};

/// Largest file of a bundle, in bytes.
pub const BUNDLE_FILE_BYTES_MAX: u64 = crate::onnx::MODEL_BYTES_MAX as u64;

/// Names of a bundle's files.
pub mod path {
    use edgeward_core::variant::Format;

    /// The list of the others.
    pub const MANIFEST: &str = "manifest.json";
    /// The float model.
    pub const MODEL: &str = "model.onnx";
    /// What its tensors are called and mean.
    pub const SIGNATURE: &str = "signature.json";
    /// A signature of the bundle for other tools. It may lie beside the listed files and is no part of the bundle.
    pub const MODEL_SIGNATURE: &str = "model.sig";
    /// The golden test of the float model, and of variants without their own.
    pub const GOLDEN: &str = "golden/golden.json";
    /// What the training data looked like, in the monitor's own form.
    pub const REFERENCE_PROFILE: &str = "reference.profile";
    /// What labels that are numbers looked like, in the same form.
    pub const LABELS_PROFILE: &str = "labels.profile";
    /// Embeddings of rows that the model learned from, in the monitor's own form.
    pub const REFERENCE_EMBEDDINGS: &str = "reference.embeddings";
    /// What is kept of each prediction.
    pub const RECORDS: &str = "records.json";
    /// How to watch the model.
    pub const MONITOR: &str = "monitor.json";
    /// For people: what the model is for and how good it is.
    pub const CARD: &str = "card.md";
    /// What the model is made of, as a CycloneDX bill of materials.
    pub const BOM: &str = "bom.json";
    /// What the model was made from.
    pub const LINEAGE: &str = "lineage.json";

    /// The ONNX file of a variant without a name of its own.
    #[must_use]
    pub fn variant(engine: &str, dtype: &str) -> String {
        format!("variants/{engine}-{dtype}/model.onnx")
    }

    /// The file of a variant with this label.
    #[must_use]
    pub fn variant_file(label: &str, format: &Format) -> String {
        format!("variants/{label}/model.{}", format.extension())
    }

    /// The golden test of a variant with this label.
    #[must_use]
    pub fn golden(label: &str) -> String {
        format!("golden/{label}.json")
    }
}

/// A bundle that cannot be read, or is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file or folder cannot be read or written.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The manifest is refused.
    #[error("reading the bundle's manifest")]
    Manifest(#[from] ManifestError),
    /// The manifest cannot be written.
    #[error("writing the bundle's manifest")]
    Write(#[from] CanonicalError),
    /// The manifest is that of another bundle.
    #[error(
        "the manifest's digest is {found}, expected {expected}: this is not the bundle that was asked for"
    )]
    Digest {
        /// Digest asked for.
        expected: Digest,
        /// Digest of the manifest found.
        found: Digest,
    },
    /// A listed file is not there.
    #[error("the bundle lacks '{0}', which its manifest lists")]
    Missing(BundlePath),
    /// The manifest does not list a file that is needed.
    #[error("the bundle has no '{0}'")]
    Unlisted(String),
    /// A file that the manifest does not list.
    #[error("the bundle holds '{0}', which its manifest does not list")]
    Extra(String),
    /// A symbolic link, device or the like.
    #[error("'{0}' in the bundle is not a plain file or folder; links are refused")]
    NotPlain(String),
    /// A file of another size.
    #[error("'{path}' in the bundle has {found} bytes, its manifest says {expected}")]
    Size {
        /// The file.
        path: BundlePath,
        /// Size the manifest says.
        expected: u64,
        /// Size found.
        found: u64,
    },
    /// A file with other content.
    #[error("'{path}' in the bundle is not what its manifest says: digest {found}, expected {expected}")]
    Content {
        /// The file.
        path: BundlePath,
        /// Digest the manifest says.
        expected: Digest,
        /// Digest found.
        found: Digest,
    },
    /// A file over [`BUNDLE_FILE_BYTES_MAX`].
    #[error("'{path}' has {size_bytes} bytes, over the limit of {BUNDLE_FILE_BYTES_MAX}")]
    TooLarge {
        /// The file.
        path: BundlePath,
        /// Its size.
        size_bytes: u64,
    },
    /// A path given to a writer twice, or reserved for the manifest.
    #[error("'{0}' cannot be added to the bundle: it is there already")]
    Duplicate(BundlePath),
    /// A folder with something else in it.
    #[error("{} holds something that is no bundle; give a new or empty folder", .0.display())]
    Occupied(PathBuf),
    /// The signature is refused.
    #[error("reading the bundle's signature")]
    Signature(#[from] SignatureError),
    /// The golden test is refused.
    #[error("reading the bundle's golden test")]
    Golden(#[from] GoldenError),
    /// A JSON document of the bundle is none.
    #[error("parsing '{path}' of the bundle")]
    Json {
        /// The file.
        path: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A text of the bundle is not UTF-8.
    #[error("'{0}' of the bundle is not UTF-8")]
    Text(&'static str),
}

/// A bundle on disk.
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
    digest: Digest,
    manifest: Manifest,
}

impl Bundle {
    /// Reads the manifest of the bundle in `dir`. Its files are checked when they are read, not now.
    ///
    /// # Errors
    /// No manifest, or one that is refused.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, BundleError> {
        let dir = dir.into();
        let bytes = read_bounded(&dir.join(path::MANIFEST), MANIFEST_BYTES_MAX as u64)?;
        let manifest = Manifest::parse(&bytes)?;
        if let Some((path, entry)) = manifest.files.iter().find(|(_, e)| e.size_bytes > BUNDLE_FILE_BYTES_MAX)
        {
            return Err(BundleError::TooLarge { path: path.clone(), size_bytes: entry.size_bytes });
        }
        Ok(Self { dir, digest: Digest::of(&bytes), manifest })
    }

    /// Opens the bundle in `dir`, which must be `expected`, and checks everything in it: every listed file is there
    /// with its size and digest, nothing else is, and nothing is a link.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn verify(dir: impl Into<PathBuf>, expected: &Digest) -> Result<Self, BundleError> {
        Self::verify_subset(dir, expected, |_| true)
    }

    /// As [`Bundle::verify`], but files that are not `wanted` may be absent. A device leaves out the variants it
    /// cannot run; what is there must still be right.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn verify_subset(
        dir: impl Into<PathBuf>,
        expected: &Digest,
        wanted: impl Fn(&BundlePath) -> bool,
    ) -> Result<Self, BundleError> {
        let bundle = Self::open(dir)?;
        if bundle.digest != *expected {
            return Err(BundleError::Digest { expected: *expected, found: bundle.digest });
        }
        verify::all_files(&bundle.dir, &bundle.manifest, wanted)?;
        Ok(bundle)
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The digest of the manifest: the bundle's name.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the manifest lists this file.
    #[must_use]
    pub fn lists(&self, path: &str) -> bool {
        self.entry(path).is_some()
    }

    /// The content of a listed file, checked against its size and digest.
    ///
    /// # Errors
    /// Not listed, not readable, or changed.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, BundleError> {
        let (path, entry) = self.entry(path).ok_or_else(|| BundleError::Unlisted(path.to_owned()))?;
        let bytes = read_bounded(&self.dir.join(path.as_str()), entry.size_bytes)?;
        let found = Digest::of(&bytes);
        if found == entry.digest {
            return Ok(bytes);
        }
        Err(BundleError::Content { path: path.clone(), expected: entry.digest, found })
    }

    /// What the model's tensors are called and mean.
    ///
    /// # Errors
    /// As [`Bundle::read`], or the file is not a signature.
    pub fn signature(&self) -> Result<Signature, BundleError> {
        Ok(Signature::parse(&self.read(path::SIGNATURE)?)?)
    }

    /// The golden test of `variant`: its own if it has one, else the bundle's.
    ///
    /// # Errors
    /// As [`Bundle::read`], or the file is not a golden test.
    pub fn golden(&self, variant: &Variant) -> Result<Golden, BundleError> {
        let own = path::golden(&variant.label());
        let path = if self.lists(&own) { own.as_str() } else { path::GOLDEN };
        Ok(Golden::parse(&self.read(path)?)?)
    }

    /// The first variant that a `device` can use and whose file is on disk; the manifest's order is the maker's
    /// preference.
    #[must_use]
    pub fn variant_for(&self, device: &Capabilities) -> Option<&Variant> {
        let present = |variant: &&Variant| {
            variant.usable_on(device).is_ok() && self.dir.join(variant.path.as_str()).is_file()
        };
        self.manifest.variants.iter().find(present)
    }

    /// The reference profile, if there is one.
    ///
    /// # Errors
    /// As [`Bundle::read`].
    pub fn reference_profile(&self) -> Result<Option<Vec<u8>>, BundleError> {
        self.read_optional(path::REFERENCE_PROFILE)
    }

    /// What labels that are numbers looked like, if the bundle says.
    ///
    /// # Errors
    /// As [`Bundle::read`].
    pub fn labels_profile(&self) -> Result<Option<Vec<u8>>, BundleError> {
        self.read_optional(path::LABELS_PROFILE)
    }

    /// Embeddings of rows that the model learned from, if there are any.
    ///
    /// # Errors
    /// As [`Bundle::read`].
    pub fn reference_embeddings(&self) -> Result<Option<Vec<u8>>, BundleError> {
        self.read_optional(path::REFERENCE_EMBEDDINGS)
    }

    /// How to watch the model, if the bundle says.
    ///
    /// # Errors
    /// As [`Bundle::read`], or the file is not JSON.
    pub fn monitor(&self) -> Result<Option<serde_json::Value>, BundleError> {
        self.json(path::MONITOR)
    }

    /// What is kept of the model's predictions, if the bundle has any kept.
    ///
    /// # Errors
    /// As [`Bundle::read`], or the file is not JSON.
    pub fn records(&self) -> Result<Option<serde_json::Value>, BundleError> {
        self.json(path::RECORDS)
    }

    /// What the model was made from, if the bundle says.
    ///
    /// # Errors
    /// As [`Bundle::read`], or the file is not JSON.
    pub fn lineage(&self) -> Result<Option<serde_json::Value>, BundleError> {
        self.json(path::LINEAGE)
    }

    /// The model card, if there is one.
    ///
    /// # Errors
    /// As [`Bundle::read`], or the file is not UTF-8.
    pub fn card(&self) -> Result<Option<String>, BundleError> {
        let text = |bytes| String::from_utf8(bytes).map_err(|_| BundleError::Text(path::CARD));
        self.read_optional(path::CARD)?.map(text).transpose()
    }

    fn entry(&self, path: &str) -> Option<(&BundlePath, &FileEntry)> {
        self.manifest.files.get_key_value(&BundlePath::new(path).ok()?)
    }

    fn read_optional(&self, path: &str) -> Result<Option<Vec<u8>>, BundleError> {
        self.lists(path).then(|| self.read(path)).transpose()
    }

    fn json(&self, path: &'static str) -> Result<Option<serde_json::Value>, BundleError> {
        let parse = |bytes: Vec<u8>| {
            serde_json::from_slice(&bytes).map_err(|source| BundleError::Json { path, source })
        };
        self.read_optional(path)?.map(parse).transpose()
    }
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BundleError {
    move |source| BundleError::Io { operation, path: path.to_owned(), source }
}

/// At most `limit` + 1 bytes of the file, so that a file that grew is seen and costs no more.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io("opening", path))?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io("reading", path))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
