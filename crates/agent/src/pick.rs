//! Which form of a bundle this device runs, and on which engine.
//!
//! Every form that the device can use runs its golden test; what differs is out, the rest is timed, and the fastest is
//! taken ([`edgeward_model::choose`]). The table is kept beside the slot, so that a restart loads what was taken without
//! trying all again; it is made anew when the processor, an engine or its library is another than it was made with, or
//! when what was taken no longer loads.
//!
//! A form taken that loads slowly is also kept as its engine prepares it, where that loads faster here and passes the same golden
//! test. That copy is derived from bytes that were verified, and is used only while its digests are those that were noted when it was
//! written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeward_core::Digest;
use edgeward_model::choose::{absent, candidates};
use edgeward_model::{Bundle, Choice, ChoiceRow, Engine, Golden, Runnable, TimingBudget, choose};
use edgeward_sdk::Loaded;
use edgeward_sdk::taken::{TAKEN_FILE, TAKEN_SCHEMA, Taken, batched, engine_of, variant_of};

use crate::durable::{Access, replace};
use crate::fetch::FetchError;
use crate::platform::Platform;
use crate::slots::create_folder;
use edgeward_sdk::chain;

/// Time that forms are timed in altogether while a bundle is staged.
pub const TIMING: Duration = Duration::from_secs(2);

/// Least time to load from which on a form is kept as its engine prepares it: below, it would be written for nothing.
const SLOW_LOAD_MS: f64 = 50.0;

/// Chooses among the forms of bundles, with what it remembers of one slot in `folder`.
pub struct Picker<'a> {
    /// What runs them.
    pub platform: &'a Platform,
    /// Where the record and the prepared form of a slot stand; none for a bundle that nothing is remembered of.
    pub folder: Option<&'a Path>,
}

impl Picker<'_> {
    /// The fastest form of a verified bundle that is right here, tried anew.
    ///
    /// # Errors
    /// No form is right here, or a file of the bundle cannot be read.
    pub fn pick(&self, bundle: &Bundle) -> Result<Loaded, FetchError> {
        let unusable = |error: &dyn std::error::Error| FetchError::Unusable(chain(error));
        let device = self.platform.capabilities(bundle.manifest());
        let (engines, options) = (&self.platform.engines, self.platform.options);
        let candidates = candidates(bundle, engines, &device, options).map_err(|error| unusable(&error))?;
        let started = Instant::now();
        let budget = TimingBudget { time: TIMING, ..TimingBudget::default() };
        let Choice { mut rows, chosen } = choose(candidates, &budget, &mut || started.elapsed());
        rows.extend(absent(bundle, engines, &device));
        let Some((at, runnable)) = chosen else {
            let reasons = rows.iter().map(|row| format!("{}: {}", row.variant, row.reason));
            return Err(FetchError::Unusable(reasons.collect::<Vec<_>>().join("; ")));
        };
        let taken = rows[at].clone();
        let loaded = self.loaded(bundle, &taken, runnable, &rows)?;
        if let Some(folder) = self.folder {
            self.remember(folder, bundle, &taken, rows);
        }
        Ok(loaded)
    }

    /// As [`Picker::pick`], but what was taken before is loaded again if nothing it rests on has changed.
    ///
    /// # Errors
    /// As [`Picker::pick`].
    pub fn pick_again(&self, bundle: &Bundle) -> Result<Loaded, FetchError> {
        match self.folder.and_then(|folder| Some((folder, self.remembered(folder, bundle)?))) {
            Some((folder, record)) => self.resume(folder, bundle, &record).or_else(|error| {
                tracing::warn!("what was chosen before does not load, choosing anew: {}", chain(&error));
                self.pick(bundle)
            }),
            None => self.pick(bundle),
        }
    }

    fn resume(&self, folder: &Path, bundle: &Bundle, taken: &Taken) -> Result<Loaded, FetchError> {
        let loaded = taken.load(bundle, folder, &self.platform.engines, &self.platform.options);
        let loaded = loaded.map_err(|error| FetchError::Unusable(chain(&error)))?;
        if let Some(row) = taken.rows.iter().find(|row| row.chosen) {
            tell(row);
        }
        Ok(loaded)
    }

    fn loaded(
        &self,
        bundle: &Bundle,
        row: &ChoiceRow,
        runnable: Arc<dyn Runnable>,
        rows: &[ChoiceRow],
    ) -> Result<Loaded, FetchError> {
        let unusable = |error: &dyn std::error::Error| FetchError::Unusable(chain(error));
        let variant = variant_of(bundle, row).map_err(|error| unusable(&error))?;
        let runnable = batched(bundle, variant, &runnable, &self.platform.options).unwrap_or_else(|why| {
            tracing::warn!(variant = row.variant, "requests are computed one by one: {}", chain(&why));
            runnable
        });
        let loaded = Loaded::from_runnable(bundle, variant, runnable).map_err(|error| unusable(&error))?;
        tell(row);
        Ok(loaded.with_choice(rows.to_vec()))
    }

    /// What was chosen for this very bundle on this very platform.
    fn remembered(&self, folder: &Path, bundle: &Bundle) -> Option<Taken> {
        let platform = self.platform.fingerprint(bundle.manifest());
        Taken::read(folder, bundle.digest()).filter(|taken| taken.platform == platform)
    }

    /// Keeps the choice and the prepared form. A disk that refuses costs a choice at the next start, nothing else.
    fn remember(&self, folder: &Path, bundle: &Bundle, taken: &ChoiceRow, rows: Vec<ChoiceRow>) {
        let prepared = self.prepare(folder, bundle, taken).unwrap_or_default();
        let record = Taken {
            schema: TAKEN_SCHEMA.to_owned(),
            bundle: bundle.digest(),
            platform: self.platform.fingerprint(bundle.manifest()),
            rows,
            prepared,
        };
        let written = create_folder(folder).and_then(|()| {
            replace(&folder.join(TAKEN_FILE), &crate::records::to_json(&record), Access::Default)
        });
        if let Err(error) = written {
            tracing::warn!("the choice is not remembered: {}", chain(&error));
        }
    }

    fn prepare(&self, folder: &Path, bundle: &Bundle, taken: &ChoiceRow) -> Option<BTreeMap<String, Digest>> {
        let plain_ms = taken.load_ms.filter(|plain_ms| *plain_ms >= SLOW_LOAD_MS)?;
        let variant = variant_of(bundle, taken).ok()?;
        let bytes = bundle.read(variant.path.as_str()).ok()?;
        let engine = engine_of(taken, &self.platform.engines)?;
        let files = engine.prepare(&bytes).ok()??;
        create_folder(folder).ok()?;
        let mut digests = BTreeMap::new();
        for file in files {
            replace(&folder.join(file.name), &file.bytes, Access::Default).ok()?;
            digests.insert(file.name.to_owned(), Digest::of(&file.bytes));
        }
        let golden = bundle.golden(variant).ok()?;
        drop(bytes);
        self.pays(folder, &*engine, plain_ms, &golden).then_some(digests)
    }

    /// Whether the prepared form that stands in the folder is right and loads faster than the model as it was sent.
    fn pays(&self, folder: &Path, engine: &dyn Engine, plain_ms: f64, golden: &Golden) -> bool {
        let started = Instant::now();
        let Ok(prepared) = engine.load_prepared(folder, &self.platform.options) else { return false };
        started.elapsed().as_secs_f64() * 1e3 < plain_ms && golden.check(&*prepared).is_ok()
    }
}

fn tell(row: &ChoiceRow) {
    tracing::info!(variant = row.variant, engine = row.engine, provider = row.provider, "{}", row.reason);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use edgeward_model::Engines;
    use tempfile::TempDir;

    use super::*;
    use crate::fixtures::bundle;
    use crate::platform::Hardware;

    fn platform(processor: &str) -> Platform {
        let hardware = Hardware { processor: processor.to_owned(), ..Hardware::default() };
        Platform::new(Arc::new(Engines::embedded()), hardware)
    }

    struct Bench {
        folder: TempDir,
        bundle: Bundle,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let bundle = bundle(&folder.path().join("made"), "1");
            Self { folder, bundle }
        }

        fn record(&self) -> Option<Taken> {
            serde_json::from_slice(&fs::read(self.derived().join(TAKEN_FILE)).ok()?).ok()
        }

        fn derived(&self) -> std::path::PathBuf {
            self.folder.path().join("derived")
        }

        fn pick_again(&self, platform: &Platform) -> Loaded {
            Picker { platform, folder: Some(&self.derived()) }.pick_again(&self.bundle).unwrap()
        }
    }

    #[test]
    fn the_table_is_kept_and_says_why_each_form_was_left() {
        let bench = Bench::new();
        let loaded = bench.pick_again(&platform("one"));
        let record = bench.record().unwrap();
        assert_eq!(record.rows, loaded.choice());
        let chosen: Vec<&str> =
            record.rows.iter().filter(|row| row.chosen).map(|row| row.variant.as_str()).collect();
        assert_eq!(chosen, ["rten-f32"]);
        let other = record.rows.iter().find(|row| row.engine == "other").unwrap();
        assert_eq!(other.reason, "the engine 'other' is not here");
        assert!(record.platform.starts_with("one; rten "), "{}", record.platform);
    }

    #[test]
    fn a_restart_loads_what_was_taken_and_another_processor_chooses_anew() {
        let bench = Bench::new();
        bench.pick_again(&platform("one"));
        let mut record = bench.record().unwrap();
        record.rows[0].p50_us = Some(12345.0);
        fs::write(bench.derived().join(TAKEN_FILE), serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(bench.pick_again(&platform("one")).choice(), record.rows, "not timed again");
        assert_ne!(bench.pick_again(&platform("two")).choice(), record.rows, "timed again");
        assert!(bench.record().unwrap().platform.starts_with("two; "));
    }

    #[test]
    fn a_torn_record_or_prepared_form_is_not_believed() {
        let bench = Bench::new();
        bench.pick_again(&platform("one"));
        let mut record = bench.record().unwrap();
        let options = crate::agent::ONE_THREAD;
        let engine = platform("one").engines.default_engine();
        // Whether it pays is a matter of time; that it is there and right is not.
        let form = engine.prepare(&bench.bundle.read(edgeward_model::bundle::path::MODEL).unwrap());
        for file in form.unwrap().unwrap() {
            fs::write(bench.derived().join(file.name), &file.bytes).unwrap();
            record.prepared.insert(file.name.to_owned(), Digest::of(&file.bytes));
        }
        assert!(record.load_prepared(&bench.derived(), &*engine, &options).is_some());
        let file = bench.derived().join(record.prepared.keys().next().unwrap());
        fs::write(file, b"rot").unwrap();
        assert!(record.load_prepared(&bench.derived(), &*engine, &options).is_none());
        bench.pick_again(&platform("one"));
        fs::write(bench.derived().join(TAKEN_FILE), b"{").unwrap();
        bench.pick_again(&platform("one"));
        assert_eq!(bench.record().unwrap().bundle, record.bundle);
    }
}
