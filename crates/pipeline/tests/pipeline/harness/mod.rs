//! What the tests of whole runs share: real tools that count their calls, a project folder with real digits, and a run.

pub(crate) mod control;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use edgeward_api::Client;
use edgeward_api::operator::GateVerdict;
use edgeward_core::{Dataset, RunId, Timestamp};
use edgeward_model::{Engine, EngineError, LoadOptions, RtenEngine, Runnable, Signature, Tensor};
use edgeward_pipeline::convert::ComparisonPlan;
use edgeward_pipeline::{
    Announcement, BucketObject, Buckets, Conversion, ConversionPlan, ConvertedVariant, Converter, Progress,
    ProjectFile, RunContext, RunError, RunSummary, ToolError, Tools, TrainedModel, Trainer, run,
};
use edgeward_trust::SigningKey;
use tempfile::TempDir;

/// `edgeward_train`, counting its calls.
#[derive(Default)]
pub(crate) struct RealTrainer {
    pub(crate) calls: AtomicU32,
    pub(crate) rows: AtomicUsize,
}

impl Trainer for RealTrainer {
    fn version(&self) -> String {
        "test".to_owned()
    }

    fn train(
        &self,
        dataset: &Dataset,
        algorithm: &str,
        params: &serde_json::Value,
        seed: u64,
        progress: &mut dyn FnMut(&str),
    ) -> Result<TrainedModel, ToolError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.rows.store(dataset.len(), Ordering::SeqCst);
        let mut params = params.clone();
        params["algorithm"] = algorithm.into();
        params["seed"] = seed.into();
        let params = serde_json::from_value(params)?;
        progress("training");
        let trained = edgeward_train::fit(dataset, &params, &mut |_| {})?;
        Ok(TrainedModel { onnx: trained.onnx, metrics: serde_json::to_value(trained.metrics)? })
    }
}

/// `edgeward_convert`, counting its calls.
#[derive(Default)]
pub(crate) struct RealConverter {
    pub(crate) calls: AtomicU32,
    engine: RtenEngine,
}

impl Converter for RealConverter {
    fn version(&self) -> String {
        "test".to_owned()
    }

    fn convert(
        &self,
        onnx: &[u8],
        plan: &ConversionPlan,
        signature: &Signature,
        samples: &[Vec<Tensor>],
    ) -> Result<Conversion, ToolError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let plan = serde_json::from_value(serde_json::json!({
            "variants": plan.variants,
            "bounds": {
                "abs_difference_max": plan.parity.abs_difference_max,
                "rel_difference_max": plan.parity.rel_difference_max,
                "top1_agreement_min": plan.parity.top1_agreement_min,
            },
        }))?;
        let report = edgeward_convert::convert(onnx, &plan, &[&self.engine], Some(signature), samples)?;
        let verdict = |engine: &str, dtype: &str, passed, reason: String| GateVerdict {
            gate: format!("parity.{engine}-{dtype}"),
            passed,
            reason,
        };
        let passed = report.built.iter().map(|form| {
            verdict(&form.engine, form.dtype.as_str(), true, format!("{} rows agree", form.parity.rows))
        });
        let refused = report
            .refused
            .iter()
            .map(|form| verdict(&form.engine, form.dtype.as_str(), false, form.reason.clone()));
        let variant = |form: &edgeward_convert::BuiltVariant| ConvertedVariant {
            engine: form.engine.clone(),
            dtype: form.dtype.as_str().to_owned(),
            onnx: form.onnx.clone(),
        };
        Ok(Conversion {
            variants: report.built.iter().map(variant).collect(),
            verdicts: passed.chain(refused).collect(),
            report: serde_json::to_value(&report)?,
        })
    }

    fn compare(
        &self,
        original: &dyn Runnable,
        form: &dyn Runnable,
        plan: &ComparisonPlan<'_>,
        samples: &[Vec<Tensor>],
    ) -> Result<Result<String, String>, ToolError> {
        let parity = edgeward_convert::parity::measure(original, form, plan.signature, samples)?;
        Ok(match edgeward_convert::Bounds::exact().judge(&parity) {
            edgeward_convert::Verdict::Within => Ok(format!("{} rows agree", parity.rows)),
            edgeward_convert::Verdict::Outside { reason } => Err(reason),
        })
    }
}

/// The embedded engine, counting what it loads.
#[derive(Default)]
pub(crate) struct CountingEngine {
    engine: RtenEngine,
    pub(crate) loads: AtomicU32,
}

impl Engine for CountingEngine {
    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn load(&self, onnx: &[u8], options: &LoadOptions) -> Result<std::sync::Arc<dyn Runnable>, EngineError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.engine.load(onnx, options)
    }
}

/// These projects' data lies in folders.
struct NoBuckets;

impl Buckets for NoBuckets {
    fn list(&self, url: &str) -> Result<Vec<BucketObject>, ToolError> {
        Err(format!("nobody asks for {url}").into())
    }

    fn fetch(&self, url: &str, _: &[String], _: &Path) -> Result<(), ToolError> {
        Err(format!("nobody asks for {url}").into())
    }
}

/// A project in a fresh folder, with its tools.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) trainer: RealTrainer,
    pub(crate) converter: RealConverter,
    pub(crate) engine: CountingEngine,
    pub(crate) events: Mutex<Vec<Progress>>,
}

const DIGITS: &str = include_str!("../../../../../examples/robots/data/digits.csv");

/// The first `rows` digits that `keep` admits, with their header.
pub(crate) fn digits(rows: usize, keep: impl Fn(&str) -> bool) -> String {
    let mut lines = DIGITS.lines();
    let header = lines.next().unwrap();
    let label = |line: &str| line.rsplit(',').next().unwrap().to_owned();
    let kept: Vec<&str> = lines.filter(|line| keep(&label(line))).take(rows).collect();
    format!("{header}\n{}\n", kept.join("\n"))
}

pub(crate) const LOGISTIC: &str = r#"
[project]
name = "digits"
[data]
files = ["data/*.csv"]
captured = true
[train]
builtin = "logistic"
params = { iterations = 60 }
[gate]
accuracy_min = 0.8
regression_max = 0.05
rows_min = 20
"#;

impl Bench {
    pub(crate) fn new(toml: &str) -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
            trainer: RealTrainer::default(),
            converter: RealConverter::default(),
            engine: CountingEngine::default(),
            events: Mutex::default(),
        };
        bench.write("edgeward.toml", toml);
        bench.write("data/digits.csv", &digits(400, |_| true));
        bench
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn work(&self) -> std::path::PathBuf {
        self.dir.path().join("work")
    }

    pub(crate) fn run(&self) -> Result<RunSummary, RunError> {
        self.run_as("run-1", None)
    }

    pub(crate) fn run_as(&self, id: &str, server: Option<&Client>) -> Result<RunSummary, RunError> {
        self.within(id, server, run)
    }

    /// Does something with the project as a run of this id finds it.
    pub(crate) fn within<T>(
        &self,
        id: &str,
        server: Option<&Client>,
        work: impl FnOnce(&ProjectFile, &RunContext<'_>) -> T,
    ) -> T {
        self.events.lock().unwrap().clear();
        let project = ProjectFile::load(self.dir.path()).unwrap();
        let tools = Tools {
            trainer: &self.trainer,
            converter: &self.converter,
            engines: &[&self.engine],
            buckets: &NoBuckets,
        };
        let signer = SigningKey::from_seed(&[7; 32]);
        work(
            &project,
            &RunContext {
                work_dir: self.work(),
                run: RunId::new(id).unwrap(),
                announcement: Announcement::Announce,
                cause: "a test".to_owned(),
                now: Timestamp(1_000),
                signer: Some(&signer),
                server,
                trained: None,
                rows_max: None,
                adopts: None,
                tools: &tools,
                cancel: &AtomicBool::new(false),
                progress: &|event| self.events.lock().unwrap().push(event),
            },
        )
    }

    /// How often trainer, converter and engine were called.
    pub(crate) fn calls(&self) -> (u32, u32, u32) {
        let loads = self.engine.loads.load(Ordering::SeqCst);
        (self.trainer.calls.load(Ordering::SeqCst), self.converter.calls.load(Ordering::SeqCst), loads)
    }
}

/// The stages of a run that did work.
pub(crate) fn worked(summary: &RunSummary) -> Vec<&str> {
    summary.stages.iter().filter(|stage| !stage.cached).map(|stage| stage.name.as_str()).collect()
}

/// The outputs of the only finished stage that has a file `name`.
pub(crate) fn stage_file(work: &Path, name: &str) -> std::path::PathBuf {
    let mut found = std::fs::read_dir(work.join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join(name))
        .filter(|path| path.is_file());
    let first = found.next().unwrap();
    assert!(found.next().is_none(), "more than one stage has {name}");
    first
}
