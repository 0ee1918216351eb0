//! What a device can run, and whether a form of a model is for it.
//!
//! The decision is made from the manifest alone, so before a byte of the form is downloaded: a context binary compiled
//! for another system on a chip, or by another version of its SDK, costs a device nothing but a line that says why.

use crate::variant::{Format, NamedVersion, Requires, Variant};

/// What a device has. What it does not know about itself it does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Engines that start here.
    pub engines: Vec<EngineCapability>,
    /// Architecture of the processor, such as `x86_64` or `aarch64`.
    pub arch: String,
    /// The system on a chip, such as `SM8550`.
    pub soc: Option<String>,
    /// Vendors' SDKs that are installed.
    pub sdks: Vec<NamedVersion>,
}

/// An engine that starts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineCapability {
    /// Its name, such as `rten`.
    pub name: String,
    /// Its version, where it tells.
    pub version: Option<String>,
    /// Its execution providers, such as `cpu`.
    pub providers: Vec<String>,
    /// The formats it reads.
    pub formats: Vec<Format>,
}

/// Why a form is not for a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Another engine.
    #[error("it is for the engine '{wanted}', this device runs {found}")]
    Engine {
        /// The form's engine.
        wanted: String,
        /// Those of the device.
        found: String,
    },
    /// The engine does not read the file.
    #[error("its format is '{wanted}', which {engine} does not read here")]
    Format {
        /// The form's format.
        wanted: Format,
        /// The engine.
        engine: String,
    },
    /// Another execution provider.
    #[error("it needs the execution provider '{wanted}' of {engine}, which has {found} here")]
    Provider {
        /// The form's provider.
        wanted: String,
        /// The engine.
        engine: String,
        /// Its providers on this device.
        found: String,
    },
    /// An older engine.
    #[error("it needs {engine} {wanted} or newer, this device has {found}")]
    EngineVersion {
        /// The engine.
        engine: String,
        /// The oldest version that will do.
        wanted: String,
        /// The device's.
        found: String,
    },
    /// Another processor.
    #[error("it was made for {wanted}, this device is {found}")]
    Arch {
        /// The form's architectures.
        wanted: String,
        /// The device's.
        found: String,
    },
    /// Another system on a chip.
    #[error("it was compiled for {wanted}, this device is {found}")]
    Soc {
        /// The form's chips.
        wanted: String,
        /// The device's.
        found: String,
    },
    /// Another SDK, or another version of it.
    #[error("it was compiled with {wanted}, this device has {found}")]
    Sdk {
        /// The form's SDK.
        wanted: NamedVersion,
        /// Those of the device.
        found: String,
    },
}

impl Capabilities {
    /// A device with these engines, of which nothing else is known.
    #[must_use]
    pub fn of_engines(engines: Vec<EngineCapability>) -> Self {
        Self { engines, ..Self::default() }
    }

    /// The same device with this engine only.
    #[must_use]
    pub fn only(&self, engine: EngineCapability) -> Self {
        Self { engines: vec![engine], ..self.clone() }
    }

    /// The forms that are for this device, in their order, and why the others are not.
    #[must_use]
    pub fn select<'a>(&self, variants: &'a [Variant]) -> Selection<'a> {
        let mut selection = Selection::default();
        for variant in variants {
            match variant.usable_on(self) {
                Ok(()) => selection.usable.push(variant),
                Err(reason) => selection.refused.push((variant, reason)),
            }
        }
        selection
    }
}

/// Which forms are for a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Those it can use.
    pub usable: Vec<&'a Variant>,
    /// The others.
    pub refused: Vec<(&'a Variant, Unusable)>,
}

impl Selection<'_> {
    /// Each refused form with its reason, for people.
    #[must_use]
    pub fn reasons(&self) -> String {
        let line = |(variant, reason): &(&Variant, Unusable)| format!("{}: {reason}", variant.label());
        self.refused.iter().map(line).collect::<Vec<_>>().join("; ")
    }
}

impl Variant {
    /// Whether a device with these capabilities can use this form.
    ///
    /// # Errors
    /// The first thing it lacks, in the order engine, format, provider, engine's version, processor, chip, SDK.
    pub fn usable_on(&self, device: &Capabilities) -> Result<(), Unusable> {
        self.engine_of(device)?;
        let Requires { arch, soc, sdk, .. } = &self.requires;
        let among = |list: &[String], found: &str| {
            list.is_empty() || list.iter().any(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        if !among(arch, &device.arch) {
            return Err(Unusable::Arch { wanted: or_list(arch), found: known(&device.arch) });
        }
        let found = device.soc.as_deref().unwrap_or_default();
        if !among(soc, found) {
            return Err(Unusable::Soc { wanted: or_list(soc), found: known(found) });
        }
        let has = |wanted: &NamedVersion| {
            let same = |found: &&NamedVersion| found.name.eq_ignore_ascii_case(&wanted.name);
            device.sdks.iter().filter(same).any(|found| begins_with(&found.version, &wanted.version))
        };
        match sdk {
            Some(wanted) if !has(wanted) => {
                let found: Vec<String> = device.sdks.iter().map(ToString::to_string).collect();
                Err(Unusable::Sdk { wanted: wanted.clone(), found: or_none(&found) })
            }
            _ => Ok(()),
        }
    }

    /// An engine of the device that runs this form, its provider and version included.
    fn engine_of<'a>(&self, device: &'a Capabilities) -> Result<&'a EngineCapability, Unusable> {
        let mut fits: Vec<&EngineCapability> =
            device.engines.iter().filter(|engine| engine.name == self.engine).collect();
        let engine = self.engine.clone();
        if fits.is_empty() {
            let found: Vec<String> = device.engines.iter().map(|engine| engine.name.clone()).collect();
            return Err(Unusable::Engine { wanted: engine, found: or_none(&found) });
        }
        fits.retain(|engine| engine.formats.contains(&self.format));
        if fits.is_empty() {
            return Err(Unusable::Format { wanted: self.format.clone(), engine });
        }
        if let Some(wanted) = &self.requires.provider {
            let found: Vec<String> = fits.iter().flat_map(|engine| engine.providers.clone()).collect();
            fits.retain(|engine| engine.providers.contains(wanted));
            if fits.is_empty() {
                return Err(Unusable::Provider { wanted: wanted.clone(), engine, found: or_none(&found) });
            }
        }
        let Some(wanted) = &self.requires.engine_version_min else { return Ok(fits[0]) };
        let versions: Vec<String> = fits.iter().filter_map(|engine| engine.version.clone()).collect();
        fits.retain(|engine| engine.version.as_deref().is_some_and(|found| at_least(found, wanted)));
        fits.first().copied().ok_or_else(|| Unusable::EngineVersion {
            engine,
            wanted: wanted.clone(),
            found: if versions.is_empty() {
                "one of unknown version".to_owned()
            } else {
                versions.join(" or ")
            },
        })
    }
}

/// The numbers of a version such as `1.17.3` or `v2.31.0.250130`; whatever follows the last of them is left out.
fn numbers(version: &str) -> Vec<u64> {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    version.trim_start_matches(['v', 'V']).split('.').map_while(|part| digits(part).parse().ok()).collect()
}

/// Whether version `found` is `wanted` or later. A version without numbers is never late enough.
fn at_least(found: &str, wanted: &str) -> bool {
    let (found, wanted) = (numbers(found), numbers(wanted));
    let longest = found.len().max(wanted.len());
    let padded = |mut version: Vec<u64>| {
        version.resize(longest, 0);
        version
    };
    !found.is_empty() && padded(found) >= padded(wanted)
}

/// Whether version `found` is `wanted` or one of those that it stands for: `2.31` stands for `2.31.0`, not for `2.310`.
fn begins_with(found: &str, wanted: &str) -> bool {
    let plain = |version: &str| version.trim_start_matches(['v', 'V']).to_owned();
    let (found, wanted) = (plain(found), plain(wanted));
    found.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
}

fn or_list(texts: &[String]) -> String {
    texts.join(" or ")
}

fn or_none(texts: &[String]) -> String {
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn known(text: &str) -> String {
    if text.is_empty() { "of unknown kind".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::BundlePath;

    fn engine(name: &str, version: &str, providers: &[&str], formats: &[&str]) -> EngineCapability {
        EngineCapability {
            name: name.to_owned(),
            version: Some(version.to_owned()),
            providers: providers.iter().map(|&text| text.to_owned()).collect(),
            formats: formats.iter().map(|&text| Format::new(text)).collect(),
        }
    }

    fn phone() -> Capabilities {
        Capabilities {
            engines: vec![
                engine("rten", "0.27.0", &["cpu"], &["onnx"]),
                engine("onnxruntime", "1.20.1", &["cpu", "qnn"], &["onnx", "ort", "qnn-context"]),
            ],
            arch: "aarch64".to_owned(),
            soc: Some("SM8550".to_owned()),
            sdks: vec![NamedVersion { name: "qairt".to_owned(), version: "2.31.0.250130".to_owned() }],
        }
    }

    fn context() -> Variant {
        let path = BundlePath::new("variants/qnn-v73/model.onnx").unwrap();
        let mut variant = Variant::new("onnxruntime", "int8", path);
        variant.format = Format::new(Format::QNN_CONTEXT);
        variant.requires = Requires {
            provider: Some("qnn".to_owned()),
            soc: vec!["SM8650".to_owned(), "sm8550".to_owned()],
            sdk: Some(NamedVersion { name: "QAIRT".to_owned(), version: "2.31".to_owned() }),
            arch: vec!["aarch64".to_owned()],
            engine_version_min: Some("1.20".to_owned()),
        };
        variant
    }

    fn refused(change: impl FnOnce(&mut Variant, &mut Capabilities), expected: &str) {
        let (mut variant, mut device) = (context(), phone());
        change(&mut variant, &mut device);
        assert_eq!(variant.usable_on(&device).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_form_made_for_the_device_is_usable() {
        assert_eq!(context().usable_on(&phone()), Ok(()));
        let plain = Variant::new("rten", "f32", BundlePath::new("model.onnx").unwrap());
        assert_eq!(plain.usable_on(&phone()), Ok(()));
    }

    #[test]
    fn each_thing_a_device_lacks_is_named() {
        refused(
            |_, device| device.engines.truncate(1),
            "it is for the engine 'onnxruntime', this device runs rten",
        );
        refused(
            |variant, _| variant.format = Format::new("tensorrt-plan"),
            "its format is 'tensorrt-plan', which onnxruntime does not read here",
        );
        refused(
            |_, device| device.engines[1].providers.truncate(1),
            "it needs the execution provider 'qnn' of onnxruntime, which has cpu here",
        );
        refused(
            |_, device| device.engines[1].version = Some("1.9.9".to_owned()),
            "it needs onnxruntime 1.20 or newer, this device has 1.9.9",
        );
        refused(
            |_, device| device.engines[1].version = None,
            "it needs onnxruntime 1.20 or newer, this device has one of unknown version",
        );
        refused(
            |_, device| device.arch = "x86_64".to_owned(),
            "it was made for aarch64, this device is x86_64",
        );
        refused(
            |_, device| device.soc = Some("QCS6490".to_owned()),
            "it was compiled for SM8650 or sm8550, this device is QCS6490",
        );
        refused(
            |_, device| device.soc = None,
            "it was compiled for SM8650 or sm8550, this device is of unknown kind",
        );
        refused(
            |_, device| device.sdks[0].version = "2.310".to_owned(),
            "it was compiled with QAIRT 2.31, this device has qairt 2.310",
        );
        refused(|_, device| device.sdks.clear(), "it was compiled with QAIRT 2.31, this device has none");
    }

    #[test]
    fn requirements_hold_of_one_engine_together() {
        // One instance has the provider, another the version: neither will do.
        let mut device = phone();
        device.engines = vec![
            engine("onnxruntime", "1.17.0", &["qnn"], &["qnn-context"]),
            engine("onnxruntime", "1.20.0", &["cpu"], &["qnn-context"]),
        ];
        let error = context().usable_on(&device).unwrap_err();
        assert!(matches!(error, Unusable::EngineVersion { .. }), "{error}");
        let selected = phone();
        assert!(context().usable_on(&selected.only(selected.engines[0].clone())).is_err());
    }

    #[test]
    fn versions_compare_by_number() {
        for (found, wanted, fits) in [
            ("1.17", "1.17.0", true),
            ("1.17.0", "1.17", true),
            ("1.9", "1.17", false),
            ("v2.0-rc1", "1.99", true),
            ("1.17", "1.17.1", false),
            ("unknown", "0", false),
        ] {
            assert_eq!(at_least(found, wanted), fits, "{found} >= {wanted}");
        }
        for (found, wanted, fits) in [
            ("2.31.0", "2.31", true),
            ("v2.31", "2.31", true),
            ("2.31", "2.31.0", false),
            ("2.3", "2.31", false),
        ] {
            assert_eq!(begins_with(found, wanted), fits, "{found} {wanted}");
        }
    }

    #[test]
    fn selection_keeps_the_order_and_the_reasons() {
        let plain = Variant::new("rten", "f32", BundlePath::new("model.onnx").unwrap());
        let device = Capabilities::of_engines(vec![engine("rten", "0.27", &["cpu"], &["onnx"])]);
        let variants = [context(), plain.clone()];
        let selection = device.select(&variants);
        assert_eq!(selection.usable, [&plain]);
        assert_eq!(
            selection.reasons(),
            "onnxruntime-int8: it is for the engine 'onnxruntime', this device runs rten"
        );
    }
}
