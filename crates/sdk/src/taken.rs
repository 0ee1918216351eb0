//! The form of a bundle that was taken on this device, as the agent remembers it beside the slot.
//!
//! An app in another process loads the same form, prepared copy included, without trying all of them again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use edgeward_core::Digest;
use edgeward_core::manifest::Variant;
use edgeward_model::batch::{Batched, NotBatched};
use edgeward_model::{Bundle, ChoiceRow, Engine, Engines, LoadOptions, Runnable, SessionError};
use serde::{Deserialize, Serialize};

use crate::loaded::{LoadError, Loaded};

/// Schema of [`Taken`].
pub const TAKEN_SCHEMA: &str = "edgeward.choice/1";

/// Name of the record in a slot's own folder for what is derived.
pub const TAKEN_FILE: &str = "choice.json";

/// Largest record that is read, in bytes.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// A choice as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// Always [`TAKEN_SCHEMA`].
    pub schema: String,
    /// The bundle.
    pub bundle: Digest,
    /// The processor and the engines it was made with.
    pub platform: String,
    /// What became of each form.
    pub rows: Vec<ChoiceRow>,
    /// The form taken in its engine's own form: file names with their digests. Empty if the engine has none.
    pub prepared: BTreeMap<String, Digest>,
}

impl Taken {
    /// What was taken of `bundle`, if `folder` says so.
    #[must_use]
    pub fn read(folder: &Path, bundle: Digest) -> Option<Self> {
        let path = folder.join(TAKEN_FILE);
        let small = fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= RECORD_BYTES_MAX);
        let taken: Self = serde_json::from_slice(&fs::read(path).ok().filter(|_| small)?).ok()?;
        (taken.schema == TAKEN_SCHEMA && taken.bundle == bundle).then_some(taken)
    }

    /// Loads what was taken, in its prepared form if that is whole.
    ///
    /// # Errors
    /// The record names no form, its engine is not here, or it does not load.
    pub fn load(
        &self,
        bundle: &Bundle,
        folder: &Path,
        engines: &Engines,
        options: &LoadOptions,
    ) -> Result<Loaded, LoadError> {
        let row = self.rows.iter().find(|row| row.chosen).ok_or(LoadError::NothingTaken)?;
        let engine = engine_of(row, engines).ok_or_else(|| LoadError::NoEngine(row.engine.clone()))?;
        let variant = variant_of(bundle, row)?;
        let runnable = match self.load_prepared(folder, &*engine, options) {
            Some(runnable) => runnable,
            None => {
                let bytes = bundle.read(variant.path.as_str())?;
                engine.load(&bytes, options).map_err(SessionError::from)?
            }
        };
        let runnable = batched(bundle, variant, &runnable, options).unwrap_or(runnable);
        Ok(Loaded::from_runnable(bundle, variant, runnable)?.with_choice(self.rows.clone()))
    }

    /// The prepared form in `folder`, if every byte of it is what was noted.
    #[must_use]
    pub fn load_prepared(
        &self,
        folder: &Path,
        engine: &dyn Engine,
        options: &LoadOptions,
    ) -> Option<Arc<dyn Runnable>> {
        let whole = |(name, digest): (&String, &Digest)| {
            fs::read(folder.join(name)).is_ok_and(|bytes| Digest::of(&bytes) == *digest)
        };
        let usable = !self.prepared.is_empty() && self.prepared.iter().all(whole);
        usable.then(|| engine.load_prepared(folder, options).ok()).flatten()
    }
}

/// The same form, computing waiting requests together if `options` asks for it.
///
/// # Errors
/// It may not be batched: it is to be used as it is.
pub fn batched(
    bundle: &Bundle,
    variant: &Variant,
    runnable: &Arc<dyn Runnable>,
    options: &LoadOptions,
) -> Result<Arc<dyn Runnable>, NotBatched> {
    if options.batch_rows <= 1 {
        return Ok(Arc::clone(runnable));
    }
    let batched = Batched::over(Arc::clone(runnable), options.batch_rows, &bundle.golden(variant)?)?;
    Ok(Arc::new(batched))
}

/// The engine a row was measured on, if it is here.
#[must_use]
pub fn engine_of(row: &ChoiceRow, engines: &Engines) -> Option<Arc<dyn Engine>> {
    engines.named(&row.engine).into_iter().find(|engine| engine.provider() == row.provider)
}

/// The form a row is about.
///
/// # Errors
/// The bundle has no such form.
pub fn variant_of<'a>(bundle: &'a Bundle, row: &ChoiceRow) -> Result<&'a Variant, LoadError> {
    let found = bundle.manifest().variants.iter().find(|variant| variant.label() == row.variant);
    found.ok_or_else(|| LoadError::NoForm(row.variant.clone()))
}

/// The first form of `bundle` that is on the disk, loads on an engine here and passes its golden test: for an app whose
/// engines are not the agent's.
///
/// # Errors
/// No form is right here; the reason of the last one.
pub fn load_first(bundle: &Bundle, engines: &Engines, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let mut refusal = LoadError::NothingTaken;
    for variant in &bundle.manifest().variants {
        let here = bundle.dir().join(variant.path.as_str()).is_file();
        for engine in engines.named(&variant.engine).into_iter().filter(|_| here) {
            match try_form(bundle, variant, &*engine, options) {
                Ok(loaded) => return Ok(loaded),
                Err(error) => refusal = error,
            }
        }
    }
    Err(refusal)
}

fn try_form(
    bundle: &Bundle,
    variant: &Variant,
    engine: &dyn Engine,
    options: &LoadOptions,
) -> Result<Loaded, LoadError> {
    let runnable = engine.load(&bundle.read(variant.path.as_str())?, options).map_err(SessionError::from)?;
    let loaded = Loaded::from_runnable(bundle, variant, runnable)?;
    loaded.check_golden(bundle)?;
    Ok(loaded)
}
