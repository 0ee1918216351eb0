//! What runs models on this device: its engines, and what is known of its hardware.
//!
//! The hardware is described in one line, read from files that are given by path, so that a choice of engine that was
//! made on other hardware is known to be stale.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use edgeward_core::variant::NamedVersion;
use edgeward_core::{Capabilities, Digest, Manifest};
use edgeward_model::{Engines, LoadOptions};

/// Most bytes read of the kernel's description of the processor.
const CPUINFO_BYTES_MAX: usize = 64 << 10;

/// What a device has besides engines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hardware {
    /// Its processor in one line; another line is another processor.
    pub processor: String,
    /// The system on a chip, such as `SM8550`.
    pub soc: Option<String>,
    /// Vendors' SDKs that are installed.
    pub sdks: Vec<NamedVersion>,
}

impl Hardware {
    /// This machine, as the Linux kernel describes its processor in `cpuinfo`; elsewhere, what the compiler knew.
    #[must_use]
    pub fn read(cpuinfo: &Path) -> Self {
        let bytes = fs::read(cpuinfo).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(CPUINFO_BYTES_MAX)]).into_owned();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut processor = format!("{} x {threads}", std::env::consts::ARCH);
        let value = |keys: &[&str]| {
            let mut fields = text.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(key, _)| keys.contains(&key.trim())).map(|(_, value)| value.trim().to_owned())
        };
        if let Some(name) = value(&["model name", "Hardware", "CPU part", "uarch"]) {
            let _ = write!(processor, ", {name}");
        }
        // Instruction sets decide what is fast; a hundred names would drown the line.
        if let Some(flags) = value(&["flags", "Features", "isa"]) {
            let _ = write!(processor, ", features {}", Digest::of(flags.as_bytes()).short());
        }
        Self { processor, ..Self::default() }
    }
}

/// What runs models on one device.
pub struct Platform {
    /// The engines at hand.
    pub engines: Arc<Engines>,
    /// The rest.
    pub hardware: Hardware,
    /// How models are loaded.
    pub options: LoadOptions,
}

impl Platform {
    /// This machine with these engines, models on one thread each.
    #[must_use]
    pub fn new(engines: Arc<Engines>, hardware: Hardware) -> Self {
        Self { engines, hardware, options: crate::agent::ONE_THREAD }
    }

    /// The same, where up to `rows` rows of waiting requests are computed together.
    #[must_use]
    pub const fn batching(mut self, rows: usize) -> Self {
        self.options.batch_rows = rows;
        self
    }

    /// What the device says of itself, as labels.
    #[must_use]
    pub fn facts(&self) -> BTreeMap<String, String> {
        let arch = std::env::consts::ARCH;
        let hardware = self.hardware.soc.as_deref().unwrap_or(arch);
        let mut facts: BTreeMap<String, String> = [
            ("agent", env!("CARGO_PKG_VERSION")),
            ("arch", arch),
            ("hardware", hardware),
            ("os", std::env::consts::OS),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        facts.insert("engine".to_owned(), self.engines.names().join(","));
        facts.extend(self.hardware.soc.clone().map(|soc| ("soc".to_owned(), soc)));
        facts
    }

    /// What this device has of what the forms of a bundle may ask for. The library of an engine is opened only if a form
    /// is for it.
    #[must_use]
    pub fn capabilities(&self, manifest: &Manifest) -> Capabilities {
        let Hardware { soc, sdks, .. } = self.hardware.clone();
        Capabilities { soc, sdks, ..self.engines.capabilities(&names(manifest)) }
    }

    /// What a choice among the forms of a bundle rests on: other words mean that it must be made again.
    #[must_use]
    pub fn fingerprint(&self, manifest: &Manifest) -> String {
        format!("{}; {}", self.hardware.processor, self.engines.fingerprint(&names(manifest)))
    }
}

/// The engines that forms of a bundle are for.
fn names(manifest: &Manifest) -> Vec<&str> {
    manifest.variants.iter().map(|variant| variant.engine.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_told_by_its_name_and_features() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = folder.path().join("cpuinfo");
            fs::write(&path, text).unwrap();
            Hardware::read(&path).processor
        };
        let one = read("processor\t: 0\nmodel name\t: Alpha 9\nflags\t\t: fpu sse2\n");
        assert!(one.contains("Alpha 9") && one.contains("features"), "{one}");
        assert_eq!(one, read("processor\t: 0\nmodel name\t: Alpha 9\nflags\t\t: fpu sse2\nMHz: 1200\n"));
        assert_ne!(one, read("processor\t: 0\nmodel name\t: Alpha 9\nflags\t\t: fpu sse2 avx2\n"));
        let none = Hardware::read(&folder.path().join("nothing")).processor;
        assert!(none.starts_with(std::env::consts::ARCH), "{none}");
    }
}
