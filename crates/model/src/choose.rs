//! Of several forms of a model, the fastest that is right here.
//!
//! Each candidate is loaded and must pass its golden test; what fails is out, with the reason. The rest are timed in
//! turns, so that a warm or busy processor is the same for all, until the budget is spent; a candidate that is clearly
//! behind is timed no further. Of those about as fast as the fastest, the one named first is taken, so that noise does not
//! change the choice from day to day. The [`Choice::rows`] say what became of each.
//!
//! There is no clock here: the caller gives one, so that tests decide what is fast.
//!
//! Deliberately missing: memory (a process has one figure for all candidates) and remembering a choice.

use std::sync::Arc;
use std::time::Duration;

use edgeward_core::Capabilities;
use edgeward_core::manifest::Variant;
use edgeward_core::target::Unusable;
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, BundleError};
use crate::engine::{EngineError, Engines, LoadOptions, Runnable, capability};
use crate::golden::{Golden, GoldenReport, ordered};
use crate::tensor::Tensor;

/// A candidate at most this much slower than the fastest counts as just as fast.
pub const NEAR: f64 = 1.05;

/// A candidate this much slower than the fastest is timed no further.
pub const BEHIND: f64 = 3.0;

/// Timed runs of each candidate before any is left behind.
const TRIAL_RUNS: usize = 2;

/// Runs of each candidate before the timed ones.
const WARMING_RUNS: usize = 2;

/// How much is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimingBudget {
    /// Least runs of each candidate that is not clearly behind, whatever the time.
    pub runs_min: usize,
    /// Most runs of each candidate.
    pub runs_max: usize,
    /// No new round of runs begins after this time.
    pub time: Duration,
}

impl Default for TimingBudget {
    /// 5 to 200 runs of each, in two seconds altogether.
    fn default() -> Self {
        Self { runs_min: 5, runs_max: 200, time: Duration::from_secs(2) }
    }
}

/// Makes the runnable of a candidate.
pub type Load<'a> = Box<dyn FnOnce() -> Result<Arc<dyn Runnable>, EngineError> + 'a>;

/// A form of a model that may be chosen.
pub struct Candidate<'a> {
    /// Its name, as the bundle says it: `rten-f32`.
    pub variant: String,
    /// The engine that runs it.
    pub engine: String,
    /// The engine's hardware backend.
    pub provider: String,
    /// Loads it.
    pub load: Load<'a>,
    /// The test it must pass; its inputs are what is timed.
    pub golden: Golden,
}

/// What became of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceRow {
    /// Name of the form.
    pub variant: String,
    /// Engine.
    pub engine: String,
    /// Hardware backend.
    pub provider: String,
    /// Time to load, if it loaded.
    pub load_ms: Option<f64>,
    /// Time to load the form that its engine prepares from it, if that was measured.
    #[serde(default)]
    pub prepared_load_ms: Option<f64>,
    /// Median time of a run, if it was timed.
    pub p50_us: Option<f64>,
    /// 99th percentile of the time of a run (nearest rank).
    pub p99_us: Option<f64>,
    /// Memory of a process that runs this form alone, if it was measured.
    #[serde(default)]
    pub rss_mib: Option<f64>,
    /// The golden test, if it passed.
    pub parity: Option<GoldenReport>,
    /// Whether it was taken.
    pub chosen: bool,
    /// Why, or why not.
    pub reason: String,
}

impl ChoiceRow {
    /// A row that says nothing yet.
    fn new(variant: String, engine: String, provider: impl Into<String>) -> Self {
        Self {
            variant,
            engine,
            provider: provider.into(),
            load_ms: None,
            prepared_load_ms: None,
            p50_us: None,
            p99_us: None,
            rss_mib: None,
            parity: None,
            chosen: false,
            reason: String::new(),
        }
    }
}

/// Which candidate was taken, and what became of all.
pub struct Choice {
    /// One row per candidate, in their order.
    pub rows: Vec<ChoiceRow>,
    /// Position and loaded model of the one taken; none if none is right.
    pub chosen: Option<(usize, Arc<dyn Runnable>)>,
}

/// The candidates of a bundle: each variant that is on disk and that this device can use, on each engine that it may
/// run on. What `device` has besides engines (its chip, SDKs) the caller knows.
///
/// # Errors
/// A file of the bundle is not what its manifest says, or a golden test cannot be read.
pub fn candidates(
    bundle: &Bundle,
    engines: &Engines,
    device: &Capabilities,
    options: LoadOptions,
) -> Result<Vec<Candidate<'static>>, BundleError> {
    let mut found = Vec::new();
    for variant in bundle.manifest().variants.iter().filter(|variant| is_present(bundle, variant)) {
        for engine in engines.named(&variant.engine) {
            if variant.usable_on(&device.only(capability(&*engine))).is_err() {
                continue;
            }
            let bytes = bundle.read(variant.path.as_str())?;
            found.push(Candidate {
                variant: variant.label(),
                engine: engine.name().to_owned(),
                provider: engine.provider().to_owned(),
                load: Box::new(move || engine.load(&bytes, &options)),
                golden: bundle.golden(variant)?,
            });
        }
    }
    Ok(found)
}

fn is_present(bundle: &Bundle, variant: &Variant) -> bool {
    bundle.dir().join(variant.path.as_str()).is_file()
}

/// Rows for the variants of a bundle that are no candidates here, with the reason.
#[must_use]
pub fn absent(bundle: &Bundle, engines: &Engines, device: &Capabilities) -> Vec<ChoiceRow> {
    let row = |variant: &Variant| {
        let reason = match variant.usable_on(device) {
            Ok(()) if is_present(bundle, variant) => return None,
            Ok(()) => "its file is not on this device".to_owned(),
            Err(Unusable::Engine { .. }) => absence(&variant.engine, engines),
            Err(reason) => reason.to_string(),
        };
        Some(ChoiceRow { reason, ..ChoiceRow::new(variant.label(), variant.engine.clone(), "-") })
    };
    bundle.manifest().variants.iter().filter_map(row).collect()
}

fn absence(engine: &str, engines: &Engines) -> String {
    let refusals: Vec<String> = engines.refusals().iter().map(ToString::to_string).collect();
    match engine == crate::engine::set::ONNXRUNTIME && !refusals.is_empty() {
        true => refusals.join("; "),
        false => format!("the engine '{engine}' is not here"),
    }
}

/// Takes the fastest candidate that passes its golden test. `clock` tells the time since any fixed moment.
pub fn choose(
    candidates: Vec<Candidate<'_>>,
    budget: &TimingBudget,
    clock: &mut dyn FnMut() -> Duration,
) -> Choice {
    let mut racers: Vec<Racer> =
        candidates.into_iter().map(|candidate| Racer::ready(candidate, clock)).collect();
    race(&mut racers, budget, clock);
    let fastest = racers.iter().filter_map(Racer::p50).min_by(f64::total_cmp);
    let near = |racer: &Racer| racer.p50().zip(fastest).is_some_and(|(p50, fastest)| p50 <= fastest * NEAR);
    let chosen = racers.iter().position(near);
    let rows = racers.iter().enumerate().map(|(at, racer)| racer.row(chosen == Some(at), fastest)).collect();
    let model = chosen.and_then(|at| Some((at, racers.swap_remove(at).model?)));
    Choice { rows, chosen: model }
}

/// A candidate being timed.
struct Racer {
    row: ChoiceRow,
    model: Option<Arc<dyn Runnable>>,
    calls: Vec<Vec<Tensor>>,
    times_us: Vec<f64>,
    behind: bool,
}

impl Racer {
    fn ready(candidate: Candidate<'_>, clock: &mut dyn FnMut() -> Duration) -> Self {
        let row = ChoiceRow::new(candidate.variant, candidate.engine, candidate.provider);
        let mut racer = Self { row, model: None, calls: Vec::new(), times_us: Vec::new(), behind: false };
        let started = clock();
        let loaded = (candidate.load)();
        let load_ms = clock().saturating_sub(started).as_secs_f64() * 1e3;
        match loaded {
            Ok(model) => {
                racer.row.load_ms = Some(load_ms);
                racer.check(model, &candidate.golden);
            }
            Err(error) => racer.row.reason = format!("does not load: {error}"),
        }
        racer
    }

    fn check(&mut self, model: Arc<dyn Runnable>, golden: &Golden) {
        let calls = |model: &dyn Runnable| {
            let case = |(number, case): (usize, &crate::golden::GoldenCase)| {
                ordered(number, model.inputs(), &case.inputs)
            };
            golden.cases.iter().enumerate().map(case).collect::<Result<Vec<_>, _>>()
        };
        match golden.check(&*model).and_then(|report| Ok((report, calls(&*model)?))) {
            Ok((report, calls)) => {
                self.row.parity = Some(report);
                (self.model, self.calls) = (Some(model), calls);
            }
            Err(error) => self.drop_out(format!("fails the golden test: {}", with_cause(&error))),
        }
    }

    fn drop_out(&mut self, reason: String) {
        self.row.reason = reason;
        self.model = None;
        self.times_us.clear();
    }

    /// Runs once and keeps the time. A run that fails ends the race for this one.
    fn run(&mut self, round: usize, clock: &mut dyn FnMut() -> Duration) {
        let Some(model) = &self.model else { return };
        let call = &self.calls[round % self.calls.len()];
        let started = clock();
        let outcome = model.run(call);
        let time_us = clock().saturating_sub(started).as_secs_f64() * 1e6;
        match outcome {
            Ok(_) => self.times_us.push(time_us),
            Err(error) => self.drop_out(format!("fails when run again: {error}")),
        }
    }

    fn runs(&self) -> bool {
        self.model.is_some() && !self.behind
    }

    fn p50(&self) -> Option<f64> {
        quantile(&self.times_us, 0.5)
    }

    fn row(&self, chosen: bool, fastest: Option<f64>) -> ChoiceRow {
        let mut row = self.row.clone();
        (row.chosen, row.p50_us, row.p99_us) = (chosen, self.p50(), quantile(&self.times_us, 0.99));
        if let Some((p50, fastest)) = row.p50_us.zip(fastest) {
            let ratio = p50 / fastest.max(f64::MIN_POSITIVE);
            row.reason = match (chosen, ratio) {
                (true, ..=1.0) => "the fastest that is right".to_owned(),
                (true, _) => format!("as fast as the fastest ({ratio:.2} times its time) and preferred"),
                (false, ..=NEAR) => {
                    format!("as fast ({ratio:.2} times the fastest), but another is preferred")
                }
                (false, _) => format!("{ratio:.2} times the time of the fastest"),
            };
        }
        row
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// Times all in turns; each round begins with another.
fn race(racers: &mut [Racer], budget: &TimingBudget, clock: &mut dyn FnMut() -> Duration) {
    let count = racers.len();
    for round in 0..WARMING_RUNS {
        racers.iter_mut().for_each(|racer| racer.run(round, clock));
    }
    racers.iter_mut().for_each(|racer| racer.times_us.clear());
    let started = clock();
    for round in 0..budget.runs_max.max(1) {
        let spent = clock().saturating_sub(started) >= budget.time;
        if round >= budget.runs_min && (spent || racers.iter().filter(|racer| racer.runs()).count() < 2) {
            break;
        }
        for turn in 0..count {
            let racer = &mut racers[(round + turn) % count];
            if racer.runs() {
                racer.run(round, clock);
            }
        }
        if round + 1 >= TRIAL_RUNS {
            leave_behind(racers);
        }
    }
}

fn leave_behind(racers: &mut [Racer]) {
    let Some(fastest) = racers.iter().filter_map(Racer::p50).min_by(f64::total_cmp) else { return };
    for racer in racers {
        racer.behind = racer.p50().is_some_and(|p50| p50 > fastest * BEHIND);
    }
}

/// The value at this share of the sorted numbers, by nearest rank.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests;
