//! Opening the shared library, once for the process.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::{NAME, error};
use crate::engine::outline::contain;
use crate::engine::{EngineError, EngineErrorKind};

/// Oldest version of ONNX Runtime that can be used, as `1.<this>`.
pub const VERSION_MIN: u32 = ort::MINOR_VERSION;

/// Most section and program headers of a library that are looked at.
const HEADERS_MAX: u64 = 4096;

/// The library of this process and where it was opened from. `ort` keeps both for the life of the process.
static OPENED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// An opened ONNX Runtime.
pub(super) struct Library {
    path: PathBuf,
    environment: Environment,
}

impl Library {
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let reading = |cause| refuse(format!("opening the library {}", path.display())).caused_by(cause);
        let path = path.canonicalize().map_err(reading)?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some((known, environment)) if *known == path => {
                return Ok(Self { path, environment: environment.clone() });
            }
            Some((known, _)) => {
                let known = known.display();
                return Err(refuse(format!(
                    "this process runs ONNX Runtime from {known} already; to use {}, start it anew",
                    path.display()
                )));
            }
            None => {}
        }
        whole(&path)?;
        let environment = contain(NAME, "opening its library", || initialise(&path))??;
        *opened = Some((path.clone(), environment.clone()));
        Ok(Self { path, environment })
    }

    /// The version at the end of the library's real file name (`libonnxruntime.so.1.20.1`): the binding does not tell the
    /// one that the library itself says.
    pub(super) fn version(&self) -> Option<String> {
        version_of(self.path.file_name()?.to_str()?)
    }

    pub(super) const fn environment(&self) -> &Environment {
        &self.environment
    }
}

fn refuse(why: String) -> EngineError {
    error(EngineErrorKind::Library, why)
}

fn version_of(file_name: &str) -> Option<String> {
    let stem = file_name.strip_suffix(".dylib").unwrap_or(file_name);
    let at = stem.find(|letter: char| letter.is_ascii_digit())?;
    let version = &stem[at..];
    let is_version = version.contains('.') && version.split('.').all(|part| part.parse::<u32>().is_ok());
    is_version.then(|| version.to_owned())
}

fn initialise(path: &Path) -> Result<Environment, EngineError> {
    let not_usable = |why: String| {
        refuse(format!(
            "{why}; give the path of libonnxruntime 1.{VERSION_MIN} or newer, as in a Python wheel at onnxruntime/capi/"
        ))
    };
    let builder = ort::init_from(path).map_err(|cause| not_usable(cause.to_string()))?;
    let silent = std::sync::Arc::new(|_: LogLevel, _: &str, _: &str, _: &str, _: &str| {});
    let environment = builder
        .with_name("edgeward")
        .with_telemetry(false)
        .with_logger(silent)
        .build()
        .map_err(|cause| refuse(format!("starting ONNX Runtime: {cause}")))?;
    environment.set_log_level(LogLevel::Fatal);
    Ok(environment)
}

/// Refuses a file that is cut short: mapping such a library kills the process with a signal. Only the 64-bit
/// little-endian ELF form is looked into ("Tool Interface Standard: Executable and Linking Format"); of other files the
/// loader says itself that it cannot read them.
fn whole(path: &Path) -> Result<(), EngineError> {
    let reading = |cause| refuse(format!("reading the library {}", path.display())).caused_by(cause);
    let file = File::open(path).map_err(reading)?;
    let length = file.metadata().map_err(reading)?.len();
    let mut header = [0; 64];
    if (&file).take(64).read(&mut header).map_err(reading)? < 64 || header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(());
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, &byte| (sum << 8) | u64::from(byte));
    let table = |at: usize, size: usize| {
        let (start, entry, count) = (
            number(&header[at..at + 8]),
            number(&header[size..size + 2]),
            number(&header[size + 2..size + 4]),
        );
        (start, entry, count.min(HEADERS_MAX))
    };
    let (sections, section, count) = table(0x28, 0x3a);
    let mut end = sections.saturating_add(section * count);
    let (programs, program, count) = table(0x20, 0x36);
    for index in 0..count {
        let mut entry = [0; 0x28];
        let at = programs.saturating_add(index * program);
        if file.read_exact_at(&mut entry, at).is_err() {
            end = u64::MAX;
            break;
        }
        end = end.max(number(&entry[8..16]).saturating_add(number(&entry[0x20..0x28])));
    }
    if end > length {
        let why = format!("{} is cut short: it has {length} bytes of {end}", path.display());
        return Err(refuse(why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_file_name() {
        for (name, version) in [
            ("libonnxruntime.so.1.20.1", Some("1.20.1")),
            ("libonnxruntime.1.20.1.dylib", Some("1.20.1")),
            ("libonnxruntime.so", None),
            ("libonnxruntime.so.1", None),
            ("libonnxruntime-2x.so", None),
        ] {
            assert_eq!(version_of(name).as_deref(), version, "{name}");
        }
    }
}
