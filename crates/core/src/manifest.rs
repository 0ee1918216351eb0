//! The bundle's manifest, and what a device knows of a bundle that may run.
//!
//! A bundle is a directory named by the SHA-256 of its `manifest.json` (canonical JSON). The manifest lists every
//! other file with size and digest, so that one digest stands for all bytes of a model.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::canonical::{self, CanonicalError};
pub use crate::variant::Variant;
use crate::{Digest, ModelName};

/// Schema of [`Manifest`].
pub const MANIFEST_SCHEMA: &str = "edgeward.manifest/1";
/// Most files one bundle may list.
pub const BUNDLE_FILES_MAX: usize = 1024;
/// Largest manifest accepted, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Longest path inside a bundle, in bytes.
pub const BUNDLE_PATH_LEN_MAX: usize = 200;

/// The list of a bundle's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// The model this bundle is a version of.
    pub model: ModelName,
    /// Every file but the manifest itself, by path.
    pub files: BTreeMap<BundlePath, FileEntry>,
    /// The forms of the model that a device may choose from; never empty.
    pub variants: Vec<Variant>,
}

/// Size and digest of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Digest of the content.
    pub digest: Digest,
}

/// A relative path of plain segments with `/` between them: it cannot leave its folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BundlePath(String);

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A path is empty, absolute, too long, or has a segment that is not a plain name.
    #[error("'{0}' is not a path inside a bundle; use plain segments of letters, digits, '.', '_', '-'")]
    Path(String),
    /// Larger than [`MANIFEST_BYTES_MAX`].
    #[error("the manifest is {0} bytes, over the limit of {MANIFEST_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the JSON of a manifest.
    #[error("parsing the manifest")]
    Parse(#[source] serde_json::Error),
    /// Another schema.
    #[error("the manifest's schema is '{0}', this program reads '{MANIFEST_SCHEMA}'; update the program")]
    Schema(String),
    /// No variant, or one that names a file the manifest does not list.
    #[error("the manifest has no usable variant: {0}")]
    Variants(String),
    /// More than [`BUNDLE_FILES_MAX`] files.
    #[error("the manifest lists {0} files, over the limit of {BUNDLE_FILES_MAX}")]
    TooManyFiles(usize),
    /// Valid, but not in canonical form, so its digest would not be unique.
    #[error("the manifest is not in canonical form")]
    NotCanonical,
    /// Cannot be written.
    #[error(transparent)]
    Write(#[from] CanonicalError),
}

impl Manifest {
    /// Reads and checks a manifest from untrusted bytes.
    ///
    /// # Errors
    /// Any rule in [`ManifestError`] is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(ManifestError::Parse)?;
        manifest.check()?;
        if manifest.to_bytes()? != bytes {
            return Err(ManifestError::NotCanonical);
        }
        Ok(manifest)
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_bytes(self)
    }

    /// The digest that names the bundle.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        canonical::digest(self)
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.schema != MANIFEST_SCHEMA {
            return Err(ManifestError::Schema(self.schema.clone()));
        }
        if self.files.len() > BUNDLE_FILES_MAX {
            return Err(ManifestError::TooManyFiles(self.files.len()));
        }
        if self.variants.is_empty() {
            return Err(ManifestError::Variants("the list is empty".to_owned()));
        }
        if let Some(variant) = self.variants.iter().find(|variant| !self.files.contains_key(&variant.path)) {
            return Err(ManifestError::Variants(format!("'{}' is not listed", variant.path)));
        }
        self.variants.iter().try_for_each(Variant::check)?;
        self.check_names()
    }

    /// A name that was given must tell its form from every other.
    fn check_names(&self) -> Result<(), ManifestError> {
        let mut labels: BTreeMap<String, usize> = BTreeMap::new();
        for variant in &self.variants {
            *labels.entry(variant.label()).or_default() += 1;
        }
        let twice = |variant: &&Variant| variant.name.is_some() && labels[&variant.label()] > 1;
        match self.variants.iter().find(twice) {
            Some(variant) => Err(ManifestError::Variants(format!("'{}' names two of them", variant.label()))),
            None => Ok(()),
        }
    }
}

impl BundlePath {
    /// Checks and wraps `text`.
    ///
    /// # Errors
    /// The path could leave its folder, or is no portable file name.
    pub fn new(text: impl Into<String>) -> Result<Self, ManifestError> {
        let text = text.into();
        let plain = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if text.len() <= BUNDLE_PATH_LEN_MAX && text.split('/').all(plain) {
            return Ok(Self(text));
        }
        Err(ManifestError::Path(text.chars().take(BUNDLE_PATH_LEN_MAX).collect()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BundlePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A bundle that may run: what a device needs of a verified release to fetch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The bundle: the digest of its manifest.
    pub bundle: Digest,
    /// Length of the manifest, so that a download can be bounded before it starts.
    pub manifest_size_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let path = BundlePath::new("variants/rten-f32/model.onnx").unwrap();
        let entry = FileEntry { size_bytes: 3, digest: Digest::of(b"abc") };
        Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            model: ModelName::new("digits").unwrap(),
            files: BTreeMap::from([(path.clone(), entry)]),
            variants: vec![Variant::new("rten", "f32", path)],
        }
    }

    #[test]
    fn parse_reads_what_was_written() {
        let bytes = manifest().to_bytes().unwrap();
        assert_eq!(Manifest::parse(&bytes).unwrap(), manifest());
    }

    #[test]
    fn a_second_spelling_is_refused() {
        let pretty = serde_json::to_vec_pretty(&manifest()).unwrap();
        assert!(matches!(Manifest::parse(&pretty), Err(ManifestError::NotCanonical)));
    }

    #[test]
    fn a_variant_must_be_listed() {
        let mut broken = manifest();
        broken.files.clear();
        assert!(matches!(Manifest::parse(&broken.to_bytes().unwrap()), Err(ManifestError::Variants(_))));
    }

    #[test]
    fn paths_cannot_leave() {
        for bad in ["", "/etc", "../x", "a/../b", "a//b", "a/", "a\\b", "a b", "C:x"] {
            assert!(BundlePath::new(bad).is_err(), "{bad}");
        }
        assert!(BundlePath::new("golden/golden.json").is_ok());
    }
}
