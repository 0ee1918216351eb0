//! One run: from rows to a registered bundle, stage by stage.
//!
//! snapshot -> split -> validate -> train -> convert (-> tool) -> evaluate -> incumbent -> gates -> bundle -> register
//!
//! Beside a champion, the candidates of `[[shadow]]` go through them instead, side by side ([`beside`]).
//!
//! Each stage up to `bundle` is looked up in the cache first, so that a run with nothing new does no work and a run that
//! was killed goes on where it stopped. Gates are judged anew each time; they only compare numbers.

mod beside;
mod external;
mod judge;
mod noted;
mod stages;

pub(crate) use noted::STAGES;
use noted::{Looking, Notes};

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use edgeward_api::Client;
use edgeward_api::operator::GateVerdict;
use edgeward_core::event::{Project, RunOutcome};
use edgeward_core::{Digest, RunId, Timestamp};
use edgeward_model::{Bundle, Engine};
use edgeward_trust::Signer;
use serde::Serialize;

use crate::assemble::AssembleError;
use crate::cache::{self, Cache, CacheError, Entry, Inputs, StageCode, Turns};
use crate::captured::CapturedError;
use crate::convert::Converter;
use crate::examine::ExamineError;
use crate::gates;
use crate::index::FileIndex;
use crate::mirror::{self, Buckets};
use crate::moved::MovedError;
use crate::progress::{Progress, Report, RunSummary, StageSummary};
use crate::project::ProjectFile;
use crate::register::{RegisterError, Registry};
use crate::runner::{self, JobError, Runner};
use crate::schema::SchemaError;
use crate::snapshot::SnapshotError;
use crate::source::SourceError;
use crate::split::NoOrigin;
use crate::status::Looked;
use crate::tool::ToolRunError;
use crate::train::{ToolError, TrainError, Trainer};
use crate::workdir::{WorkDir, WorkError, write_atomically};

/// What does the heavy work.
pub struct Tools<'a> {
    /// Trains.
    pub trainer: &'a dyn Trainer,
    /// Makes the forms.
    pub converter: &'a dyn Converter,
    /// Run the model for judging, each form on its own; the first also runs the model as it was trained.
    pub engines: &'a [&'a dyn Engine],
    /// Give the objects of `[data] source`.
    pub buckets: &'a dyn Buckets,
}

impl<'a> Tools<'a> {
    /// The engine of this name, if this program has it.
    #[must_use]
    pub fn engine(&self, name: &str) -> Option<&'a dyn Engine> {
        self.engines.iter().copied().find(|engine| engine.name() == name)
    }

    /// Names and versions of the engines, which results depend on.
    fn engine_versions(&self) -> Vec<String> {
        let text =
            |engine: &&dyn Engine| format!("{} {}", engine.name(), engine.version().unwrap_or_default());
        self.engines.iter().map(text).collect()
    }
}

/// Who announces a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// This run announces itself to the control plane.
    Announce,
    /// The control plane asked for it and knows it.
    Known,
}

/// Everything a run needs besides its project.
pub struct RunContext<'a> {
    /// Where it works; see [`WorkDir`].
    pub work_dir: PathBuf,
    /// Its id; the same id started again is the same run.
    pub run: RunId,
    /// Who announces it.
    pub announcement: Announcement,
    /// Why it was started.
    pub cause: String,
    /// The time releases are dated with.
    pub now: Timestamp,
    /// Signs the release; needed with a server.
    pub signer: Option<&'a dyn Signer>,
    /// The control plane; none leaves the bundle in the work folder.
    pub server: Option<&'a Client>,
    /// A model that is trained already, as an ONNX file: it is judged and shipped in place of one of the run's own.
    pub trained: Option<&'a Path>,
    /// Most rows that are looked at, spread over all of them: a smoke run. None for all.
    pub rows_max: Option<usize>,
    /// The pipeline that is followed if the run passes: that of a commit on trial. It is then judged for leaks, too.
    pub adopts: Option<&'a Project>,
    /// The tools.
    pub tools: &'a Tools<'a>,
    /// Set from elsewhere to stop a training command.
    pub cancel: &'a AtomicBool,
    /// Where progress goes.
    pub progress: Report<'a>,
}

/// A run that did not come to an end. A refusal by a gate is no error but an outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is a server but no key.
    #[error("registering at a server needs a release key; pass --release-key, or leave out --server")]
    NoSigner,
    /// The work folder.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The data.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Whether the data moved cannot be told.
    #[error(transparent)]
    Moved(Box<MovedError>),
    /// The data cannot be divided.
    #[error(transparent)]
    Division(#[from] NoOrigin),
    /// Samples of devices.
    #[error(transparent)]
    Captured(#[from] CapturedError),
    /// What the data must be like.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The train stage.
    #[error("the train stage failed")]
    Train(#[from] TrainError),
    /// Where commands run.
    #[error(transparent)]
    Runner(#[from] JobError),
    /// The convert stage.
    #[error("the convert stage failed")]
    Convert(#[source] ToolError),
    /// An external converter.
    #[error(transparent)]
    Tool(Box<ToolRunError>),
    /// The model cannot be judged.
    #[error("judging the model failed")]
    Examine(#[source] Box<ExamineError>),
    /// The bundle cannot be made.
    #[error("the bundle stage failed")]
    Assemble(#[source] Box<AssembleError>),
    /// The control plane.
    #[error(transparent)]
    Register(Box<RegisterError>),
}

macro_rules! boxed {
    ($($error:ty => $variant:ident),*) => {$(
        impl From<$error> for RunError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )*};
}

boxed!(ExamineError => Examine, AssembleError => Assemble, RegisterError => Register, ToolRunError => Tool, MovedError => Moved);

impl From<SnapshotError> for RunError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Source(error) => Self::Source(error),
            SnapshotError::Work(error) => Self::Work(error),
            SnapshotError::Cache(error) => Self::Cache(error),
        }
    }
}

impl RunError {
    /// Whether the same run may succeed when it is started again: the server was away, or someone stopped it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Register(error) => error.is_transient(),
            Self::Captured(CapturedError::Fetch(error)) => error.is_transient(),
            Self::Train(TrainError::Command(error)) | Self::Runner(error) => error.may_pass(),
            Self::Tool(error) => error.is_cancelled(),
            _ => false,
        }
    }

    /// The error with its causes, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error with its causes, in one line; a cause that says what was said is left out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// Runs the project.
///
/// # Errors
/// A stage fails, or the control plane cannot be told. The failure itself is recorded there unless starting the same run
/// again may mend it.
pub fn run(project: &ProjectFile, context: &RunContext<'_>) -> Result<RunSummary, RunError> {
    if context.server.is_some() && context.signer.is_none() {
        return Err(RunError::NoSigner);
    }
    let work = WorkDir::open(&context.work_dir, || (context.progress)(Progress::Waiting))?;
    let registry = context.server.map(|client| Registry { client, project, run: &context.run });
    if let (Some(registry), Announcement::Announce) = (&registry, context.announcement) {
        end_lost_run(registry, &work)?;
        write_atomically(&work.announced(), context.run.as_str().as_bytes())?;
        registry.announce(&context.cause)?;
    }
    let index = FileIndex::open(work.index());
    let turns = Turns::default();
    let result = prepared(project, context, &work).and_then(|(project, runner)| {
        let shared = Shared { context, work: &work, index: &index, turns: &turns, runner: &*runner };
        carry_out(&project, &shared, registry.as_ref())
    });
    index.save()?;
    runner::clear(&work.tasks())?;
    if let (Some(registry), Err(error)) = (&registry, &result) {
        report_failure(registry, context.announcement, error);
    }
    if result.is_ok() {
        // What stays says that a run that has ended has ended.
        let _ = std::fs::remove_file(work.announced());
    }
    result
}

/// The project with its data at hand, and who runs its commands.
fn prepared(
    project: &ProjectFile,
    context: &RunContext<'_>,
    work: &WorkDir,
) -> Result<(ProjectFile, Box<dyn Runner>), RunError> {
    let said = |line| (context.progress)(Progress::Log { stage: "snapshot".to_owned(), line });
    let project = mirror::mirrored(project, context.tools.buckets, work, &said)?;
    let runner = runner::of(&project.runner, work)?;
    Ok((project, runner))
}

/// Makes the project's model, or its shadows where something serves beside which they run, and keeps what was done.
fn carry_out(
    project: &ProjectFile,
    shared: &Shared<'_>,
    registry: Option<&Registry<'_>>,
) -> Result<RunSummary, RunError> {
    let pipeline = Pipeline::new(project, shared);
    let result = match (registry, beside::champion(project, shared.context)?) {
        (Some(registry), Some(champion)) => beside::run(&pipeline, shared, registry, champion),
        _ => pipeline.run().and_then(|made| pipeline.conclude(registry, made)),
    };
    pipeline.record(&result)?;
    result
}

/// The stages of a run as they would be found now, up to the first that would have to work; `captured` stands for the
/// samples of devices.
pub(crate) fn look(
    project: &ProjectFile,
    context: &RunContext<'_>,
    work: &WorkDir,
    captured: Option<Digest>,
) -> Result<Looked, RunError> {
    let index = FileIndex::open(work.index());
    let (looking, turns) = (Some(Looking { captured }), Turns::default());
    // Objects are fetched by a look as well: what a stage would find cannot be told without them.
    let (project, runner) = prepared(project, context, work)?;
    let shared = Shared { context, work, index: &index, turns: &turns, runner: &*runner };
    let pipeline = Pipeline { looking, ..Pipeline::new(&project, &shared) };
    let ends_missing = match pipeline.run() {
        Ok(_) => false,
        Err(RunError::Cache(CacheError::NotMade { .. })) => true,
        Err(error) => return Err(error),
    };
    index.save()?;
    Ok(pipeline.looked(ends_missing))
}

/// Ends the run that worked here before and could not say how it ended: this process holds the lock, so that one is
/// gone. Otherwise no run of the project could begin any more.
fn end_lost_run(registry: &Registry<'_>, work: &WorkDir) -> Result<(), RunError> {
    let noted = std::fs::read_to_string(work.announced()).unwrap_or_default();
    let Ok(lost) = RunId::new(noted.trim()) else { return Ok(()) };
    if lost == *registry.run {
        return Ok(());
    }
    Ok(Registry { run: &lost, ..*registry }.end_if_open("its process ended before it did")?)
}

/// A run that the control plane owns stays open if it may succeed later; nobody would ever close one that it does not.
fn report_failure(registry: &Registry<'_>, announcement: Announcement, error: &RunError) {
    if announcement == Announcement::Known && error.may_pass() {
        return;
    }
    let outcome = RunOutcome::Failed { reason: error.chain() };
    if let Err(unsaid) = registry.finish(&outcome, None) {
        tracing::warn!(error = %unsaid, "the control plane does not know that the run failed");
    }
}

/// What came of the stages.
struct Made {
    verdicts: Vec<GateVerdict>,
    /// Gates of forms that failed and are not in the bundle; others are.
    left_out: BTreeSet<String>,
    metrics: BTreeMap<String, f64>,
    /// None if a gate refused.
    bundle: Option<Bundle>,
}

/// What all models of one run share.
#[derive(Clone, Copy)]
struct Shared<'a> {
    context: &'a RunContext<'a>,
    work: &'a WorkDir,
    index: &'a FileIndex,
    turns: &'a Turns,
    runner: &'a dyn Runner,
}

/// One model of a run under way.
struct Pipeline<'a> {
    project: &'a ProjectFile,
    context: &'a RunContext<'a>,
    work: &'a WorkDir,
    index: &'a FileIndex,
    runner: &'a dyn Runner,
    cache: Cache<'a>,
    stages: RefCell<Vec<StageSummary>>,
    notes: RefCell<Notes>,
    dataset: std::cell::OnceCell<crate::origin::Rows>,
    /// Set if nothing is to be made.
    looking: Option<Looking>,
}

impl<'a> Pipeline<'a> {
    fn new(project: &'a ProjectFile, shared: &Shared<'a>) -> Self {
        let Shared { context, work, index, turns, runner } = *shared;
        let cache = Cache::new(work, index, turns);
        let (stages, notes, dataset) = (RefCell::default(), RefCell::default(), std::cell::OnceCell::new());
        Self { project, context, work, index, runner, cache, stages, notes, dataset, looking: None }
    }
}

impl Pipeline<'_> {
    fn say(&self, progress: Progress) {
        (self.context.progress)(progress);
    }

    fn log(&self, stage: &str, line: impl Into<String>) {
        self.say(Progress::Log { stage: stage.to_owned(), line: line.into() });
    }

    fn judged(&self, verdicts: &[GateVerdict]) {
        verdicts.iter().for_each(|verdict| self.say(Progress::Judged(verdict.clone())));
    }

    /// The outputs of a stage: those kept under its key, or those that `make` writes.
    fn stage(
        &self,
        code: StageCode,
        params: &impl Serialize,
        inputs: &Inputs<'_>,
        make: impl FnOnce(&Path) -> Result<(), RunError>,
    ) -> Result<Entry, RunError> {
        self.stage_or(code, params, inputs, make)
    }

    /// As [`Pipeline::stage`], for a stage whose failure may mean something to the run.
    fn stage_or<E: From<CacheError>>(
        &self,
        code: StageCode,
        params: &impl Serialize,
        inputs: &Inputs<'_>,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Entry, E> {
        let key = cache::key(code, params, inputs)?;
        let _turn = self.cache.turn(key);
        let found = self.cache.find(&key);
        self.note(code, params, inputs, (&key, found.is_some()))?;
        if let Some(entry) = found {
            self.found(code);
            return Ok(entry);
        }
        self.may_make(code)?;
        self.timed(code.name, || self.cache.make(&key, code.name, make))
    }

    /// A stage's outputs were there.
    fn found(&self, code: StageCode) {
        self.say(Progress::StageCached { stage: code.name.to_owned() });
        self.noted(code.name, true, 0);
    }

    fn timed<T, E>(&self, stage: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.say(Progress::StageStarted { stage: stage.to_owned() });
        let begun = Instant::now();
        let done = work()?;
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.say(Progress::StageFinished { stage: stage.to_owned(), millis });
        self.noted(stage, false, millis);
        Ok(done)
    }

    fn noted(&self, name: &str, cached: bool, millis: u64) {
        self.stages.borrow_mut().push(StageSummary { name: name.to_owned(), cached, millis });
    }

    /// Tells the control plane and sums up.
    fn conclude(&self, registry: Option<&Registry<'_>>, made: Made) -> Result<RunSummary, RunError> {
        let Made { verdicts, left_out, metrics, bundle } = made;
        let outcome = match &bundle {
            Some(bundle) => RunOutcome::Passed { bundle: bundle.digest() },
            None => {
                let reason = gates::refusal(&verdicts, &left_out).unwrap_or_default();
                RunOutcome::Refused { reason }
            }
        };
        let version = match registry {
            None => None,
            Some(registry) => self.timed("register", || {
                registry.record_gates(&verdicts)?;
                let version = self.register(registry, bundle.as_ref(), &metrics)?;
                registry.finish(&outcome, self.context.adopts)?;
                Ok::<_, RunError>(version)
            })?,
        };
        Ok(RunSummary {
            run: self.context.run.clone(),
            project: self.project.name.clone(),
            model: self.project.model.clone(),
            outcome,
            bundle: bundle.as_ref().map(Bundle::digest),
            bundle_path: bundle.map(|bundle| bundle.dir().display().to_string()),
            version,
            stages: self.stages.take(),
            metrics,
            gates: verdicts,
            shadows: Vec::new(),
        })
    }

    fn register(
        &self,
        registry: &Registry<'_>,
        bundle: Option<&Bundle>,
        metrics: &BTreeMap<String, f64>,
    ) -> Result<Option<u64>, RunError> {
        let Some(bundle) = bundle else { return Ok(None) };
        let signer = self.context.signer.ok_or(RunError::NoSigner)?;
        Ok(Some(registry.register(bundle, metrics, signer, self.context.now)?))
    }
}

/// The inputs of a stage by name.
fn inputs<const N: usize>(named: [(&'static str, Digest); N]) -> Inputs<'static> {
    Inputs::from(named)
}
