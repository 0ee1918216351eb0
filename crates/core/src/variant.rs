//! The forms of a model: what each one is, what it was made with, and what it needs of a device.
//!
//! What a form does not say is not written, so that a manifest that says nothing new keeps its bytes and its digest.

use serde::{Deserialize, Serialize};

use crate::manifest::{BundlePath, ManifestError};

/// Longest name of a form, in bytes.
pub const VARIANT_NAME_LEN_MAX: usize = 64;

/// One form of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The engine it was made for, such as `rten`.
    pub engine: String,
    /// The numeric type of its weights, such as `f32` or `w8`.
    pub dtype: String,
    /// The model file.
    pub path: BundlePath,
    /// What it is called, where `<engine>-<dtype>` is taken; see [`Variant::label`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How the file is written.
    #[serde(default, skip_serializing_if = "Format::is_onnx")]
    pub format: Format,
    /// What a device must have to run it.
    #[serde(default, skip_serializing_if = "Requires::is_empty")]
    pub requires: Requires,
    /// The external tool that made it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<Provenance>,
}

/// How a model file is written. A device that does not know a format leaves that form alone and takes another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Format(String);

/// What a form needs of a device beyond its engine. Everything absent is not needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// The engine's execution provider, such as `qnn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The systems on a chip it was compiled for, any of them, such as `SM8550`; case does not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub soc: Vec<String>,
    /// The vendor's SDK and its version; a shorter version stands for all that begin with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdk: Option<NamedVersion>,
    /// The processor architectures it was made for, any of them, such as `x86_64`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arch: Vec<String>,
    /// The oldest version of the engine that reads it, such as `1.17`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version_min: Option<String>,
}

/// Something that has versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedVersion {
    /// Its name.
    pub name: String,
    /// Its version, as it says it.
    pub version: String,
}

/// The external tool that made a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Its name in the project file.
    pub name: String,
    /// What it says of its version.
    pub version: String,
    /// Whether the form's answers were compared with the float model's where it was made. Where they were not, the
    /// device's own golden test is the first comparison.
    pub verified: bool,
}

impl Variant {
    /// An ONNX form that needs nothing but its engine.
    pub fn new(engine: impl Into<String>, dtype: impl Into<String>, path: BundlePath) -> Self {
        Self {
            engine: engine.into(),
            dtype: dtype.into(),
            path,
            name: None,
            format: Format::default(),
            requires: Requires::default(),
            tool: None,
        }
    }

    /// What the form is called in tables, files and gates: its name, or `<engine>-<dtype>`.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}-{}", self.engine, self.dtype))
    }

    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        let Some(name) = &self.name else { return Ok(()) };
        let plain = name.len() <= VARIANT_NAME_LEN_MAX && !name.contains('/');
        match plain && BundlePath::new(name).is_ok() {
            true => Ok(()),
            false => Err(ManifestError::Variants(format!(
                "'{}' is no name; use at most {VARIANT_NAME_LEN_MAX} letters, digits, '.', '_', '-'",
                name.chars().take(VARIANT_NAME_LEN_MAX).collect::<String>()
            ))),
        }
    }
}

impl Format {
    /// Standard ONNX.
    pub const ONNX: &str = "onnx";
    /// ONNX Runtime's own format, written by its offline optimiser.
    pub const ORT: &str = "ort";
    /// An ONNX file around a context binary that Qualcomm's compiler made.
    pub const QNN_CONTEXT: &str = "qnn-context";
    /// A model of Qualcomm's SDK itself, for an app that links it; no engine here runs one.
    pub const DLC: &str = "dlc";

    /// The format of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is standard ONNX, which every engine reads.
    #[must_use]
    pub fn is_onnx(&self) -> bool {
        self.0 == Self::ONNX
    }

    /// How a file of this format ends, without the dot.
    #[must_use]
    pub fn extension(&self) -> &str {
        match self.as_str() {
            Self::ONNX | Self::QNN_CONTEXT => "onnx",
            Self::ORT => "ort",
            Self::DLC => "dlc",
            _ => "bin",
        }
    }
}

impl Default for Format {
    fn default() -> Self {
        Self::new(Self::ONNX)
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Requires {
    /// Whether nothing is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for NamedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    /// A manifest as it was written before forms had requirements.
    const OLD: &str = concat!(
        r#"{"files":{"model.onnx":{"digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","#,
        r#""size_bytes":3}},"model":"digits","schema":"edgeward.manifest/1","#,
        r#""variants":[{"dtype":"f32","engine":"rten","path":"model.onnx"}]}"#
    );

    fn with(fields: &str) -> Result<Manifest, ManifestError> {
        let text = OLD.replace(r#""path":"model.onnx"}"#, &format!(r#""path":"model.onnx"{fields}}}"#));
        Manifest::parse(text.as_bytes())
    }

    #[test]
    fn an_old_manifest_keeps_its_bytes_and_its_digest() {
        let manifest = Manifest::parse(OLD.as_bytes()).unwrap();
        assert_eq!(manifest.to_bytes().unwrap(), OLD.as_bytes());
        assert_eq!(
            manifest.digest().unwrap().to_string(),
            "sha256:24c98c8669140793d555a41560620e7ed764e6b723e38a019a637ec19a72d1f7"
        );
        let variant = &manifest.variants[0];
        assert_eq!((variant.label().as_str(), variant.format.as_str()), ("rten-f32", Format::ONNX));
        assert!(variant.requires.is_empty() && variant.tool.is_none());
    }

    #[test]
    fn what_a_form_needs_is_read_as_it_is_written() {
        let mut manifest = Manifest::parse(OLD.as_bytes()).unwrap();
        manifest.variants[0].name = Some("qnn-v73".to_owned());
        manifest.variants[0].format = Format::new(Format::QNN_CONTEXT);
        manifest.variants[0].requires = Requires {
            provider: Some("qnn".to_owned()),
            soc: vec!["SM8550".to_owned()],
            sdk: Some(NamedVersion { name: "qairt".to_owned(), version: "2.31".to_owned() }),
            arch: vec!["aarch64".to_owned()],
            engine_version_min: Some("1.20".to_owned()),
        };
        manifest.variants[0].tool =
            Some(Provenance { name: "qnn-context".into(), version: "2.31.0".into(), verified: false });
        assert_eq!(Manifest::parse(&manifest.to_bytes().unwrap()).unwrap(), manifest);
        assert_eq!(manifest.variants[0].label(), "qnn-v73");
    }

    #[test]
    fn a_requirement_that_is_not_known_is_refused_not_ignored() {
        let error = with(r#","requires":{"colour":"red"}"#).unwrap_err();
        assert!(matches!(error, ManifestError::Parse(_)), "{error}");
    }

    #[test]
    fn a_name_is_a_plain_segment_and_nobody_elses() {
        let mut manifest = Manifest::parse(OLD.as_bytes()).unwrap();
        let longest = "n".repeat(VARIANT_NAME_LEN_MAX);
        for (name, fits) in [
            ("ort", true),
            (longest.as_str(), true),
            (&format!("{longest}n"), false),
            ("a/b", false),
            ("..", false),
            ("", false),
        ] {
            manifest.variants[0].name = Some(name.to_owned());
            assert_eq!(Manifest::parse(&manifest.to_bytes().unwrap()).is_ok(), fits, "{name}");
        }
        manifest.variants[0].name = Some("twice".to_owned());
        manifest.variants.push(manifest.variants[0].clone());
        let error = Manifest::parse(&manifest.to_bytes().unwrap()).unwrap_err();
        assert!(error.to_string().contains("'twice'"), "{error}");
    }
}
