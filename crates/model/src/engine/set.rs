//! The engines at hand on one machine: the embedded one always, ONNX Runtime where its library is given.
//!
//! The library is opened when something first asks for it, so that a machine whose models run embedded never pays for
//! it. A library that cannot be used, or a provider it lacks, is a refusal that says why; the embedded engine goes on.
//!
//! Deliberately missing: finding the library, which needs the environment.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use edgeward_core::Capabilities;

use super::{Engine, EngineError, RtenEngine, capability};

/// Name of the engine that is always there.
pub const EMBEDDED: &str = "rten";

/// Name of the engine whose library comes from elsewhere.
pub const ONNXRUNTIME: &str = "onnxruntime";

/// Where ONNX Runtime is, and on what it is to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxRuntimeConfig {
    /// Its shared library.
    pub library: PathBuf,
    /// Names of execution providers; each is an engine of its own here. Empty means `cpu`.
    pub providers: Vec<String>,
}

impl OnnxRuntimeConfig {
    /// The library at `library` on the CPU.
    #[must_use]
    pub fn on_cpu(library: impl Into<PathBuf>) -> Self {
        Self { library: library.into(), providers: vec!["cpu".to_owned()] }
    }
}

/// The engines of one machine.
pub struct Engines {
    embedded: Arc<RtenEngine>,
    runtime: Option<Runtime>,
}

struct Runtime {
    config: OnnxRuntimeConfig,
    opened: OnceLock<Vec<Result<Arc<dyn Engine>, EngineError>>>,
}

impl Engines {
    /// The embedded engine alone.
    #[must_use]
    pub fn embedded() -> Self {
        Self { embedded: Arc::new(RtenEngine::new()), runtime: None }
    }

    /// The embedded engine and ONNX Runtime; the library is opened when it is first needed.
    #[must_use]
    pub fn with_onnxruntime(config: OnnxRuntimeConfig) -> Self {
        Self { runtime: Some(Runtime { config, opened: OnceLock::new() }), ..Self::embedded() }
    }

    /// The engines of this name, one per execution provider; none if they are not here or cannot be used
    /// ([`Engines::refusals`] says why).
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<Arc<dyn Engine>> {
        match name {
            EMBEDDED => vec![self.default_engine()],
            ONNXRUNTIME => self.opened().iter().flatten().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Every engine, the embedded one first. Opens the library if there is one.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<dyn Engine>> {
        [EMBEDDED, ONNXRUNTIME].iter().flat_map(|name| self.named(name)).collect()
    }

    /// The embedded engine.
    #[must_use]
    pub fn default_engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.embedded) as Arc<dyn Engine>
    }

    /// The library that was given, opened or not.
    #[must_use]
    pub fn library(&self) -> Option<&Path> {
        self.runtime.as_ref().map(|runtime| runtime.config.library.as_path())
    }

    /// Names of the engines that may be asked for; the library is not opened.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        std::iter::once(EMBEDDED).chain(self.runtime.as_ref().map(|_| ONNXRUNTIME)).collect()
    }

    /// Why ONNX Runtime, or a provider of it, cannot be used. Opens the library if there is one.
    #[must_use]
    pub fn refusals(&self) -> Vec<&EngineError> {
        self.opened().iter().filter_map(|engine| engine.as_ref().err()).collect()
    }

    /// What the engines of these names are, in one line: another line means that what was measured may no longer hold.
    #[must_use]
    pub fn fingerprint(&self, names: &[&str]) -> String {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        let text = |engine: Arc<dyn Engine>| {
            let version = engine.version().unwrap_or_default();
            format!("{} {version} {}", engine.name(), engine.provider())
        };
        names.into_iter().flat_map(|name| self.named(name)).map(text).collect::<Vec<_>>().join(", ")
    }

    /// What a device with these engines can run, as far as a bundle whose forms are for engines of `names` asks: the
    /// library is opened only if they name it.
    #[must_use]
    pub fn capabilities(&self, names: &[&str]) -> Capabilities {
        let named = [EMBEDDED, ONNXRUNTIME].into_iter().filter(|name| names.contains(name));
        let engines = named.flat_map(|name| self.named(name)).map(|engine| capability(&*engine)).collect();
        Capabilities { arch: std::env::consts::ARCH.to_owned(), ..Capabilities::of_engines(engines) }
    }

    fn opened(&self) -> &[Result<Arc<dyn Engine>, EngineError>] {
        self.runtime.as_ref().map_or(&[], |runtime| runtime.opened.get_or_init(|| open(&runtime.config)))
    }
}

#[cfg(feature = "onnxruntime")]
fn open(config: &OnnxRuntimeConfig) -> Vec<Result<Arc<dyn Engine>, EngineError>> {
    let cpu = ["cpu".to_owned()];
    let providers = if config.providers.is_empty() { &cpu[..] } else { &config.providers[..] };
    let open = |provider: &String| {
        let engine = super::OnnxRuntimeEngine::open_with(&config.library, provider)?;
        Ok(Arc::new(engine) as Arc<dyn Engine>)
    };
    providers.iter().map(open).collect()
}

#[cfg(not(feature = "onnxruntime"))]
fn open(config: &OnnxRuntimeConfig) -> Vec<Result<Arc<dyn Engine>, EngineError>> {
    let why =
        format!("this program was built without ONNX Runtime, so {} is not used", config.library.display());
    vec![Err(EngineError::new(ONNXRUNTIME, super::EngineErrorKind::Library, why))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineErrorKind;

    #[test]
    fn the_embedded_engine_is_always_there() {
        let engines = Engines::embedded();
        assert_eq!(engines.all().len(), 1);
        assert_eq!(engines.names(), [EMBEDDED]);
        assert!(engines.refusals().is_empty() && engines.named("nothing").is_empty());
        assert!(engines.fingerprint(&[EMBEDDED, EMBEDDED]).starts_with("rten "));
    }

    #[test]
    fn a_wrong_library_is_a_refusal_and_the_embedded_engine_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libonnxruntime.so");
        std::fs::write(&library, b"not a library").unwrap();
        let engines = Engines::with_onnxruntime(OnnxRuntimeConfig::on_cpu(&library));
        assert_eq!(engines.names(), [EMBEDDED, ONNXRUNTIME]);
        assert!(engines.named(ONNXRUNTIME).is_empty());
        assert_eq!(engines.all().len(), 1);
        let refusals = engines.refusals();
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].kind(), EngineErrorKind::Library);
        assert!(refusals[0].to_string().contains("libonnxruntime"), "{}", refusals[0]);
    }
}
