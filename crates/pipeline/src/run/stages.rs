//! The stages themselves: what each reads, writes and depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use edgeward_api::operator::GateVerdict;
use edgeward_core::{Dataset, Digest, Variant};
use edgeward_model::{Bundle, Signature};
use serde_json::json;

use super::external::label_of;
use super::{Made, Pipeline, RunError, inputs};
use crate::assemble::{Parts, assemble};
use crate::bom::Bom;
use crate::cache::{Entry, StageCode, write_json, write_output};
use crate::captured::Captured;
use crate::convert::{ConversionPlan, Form};
use crate::evaluate::{self, Evaluation, evaluate};
use crate::gates;
use crate::index::Content;
use crate::leak::{self, OPENED_FILE, Opened};
use crate::lineage::Lineage;
use crate::opened::OpenedFiles;
use crate::origin::Rows;
use crate::project::{TaskKind, VariantTable};
use crate::schema::DataSchema;
use crate::snapshot::{self, Snapshot, Sources};
use crate::source::{self, Roles};
use crate::split::{Split, SplitRule, split};
use crate::train::{self, CommandTraining, METRICS_FILE, MODEL_FILE, TrainError};
use crate::validate::{self, validate};
use crate::workdir::WorkError;
use crate::yardstick::has_embedding;
use crate::{card, examine, git};

const SNAPSHOT: StageCode = StageCode { name: "snapshot", version: 2 };
const SPLIT: StageCode = StageCode { name: "split", version: 2 };
const VALIDATE: StageCode = StageCode { name: "validate", version: 3 };
const TRAIN: StageCode = StageCode { name: "train", version: 3 };
const CONVERT: StageCode = StageCode { name: "convert", version: 2 };
const EVALUATE: StageCode = StageCode { name: "evaluate", version: 2 };
const BUNDLE: StageCode = StageCode { name: "bundle", version: 4 };

const SPLIT_FILE: &str = "split.json";
pub(super) const VERDICTS_FILE: &str = "verdicts.json";
pub(super) const SIGNATURE_FILE: &str = "signature.json";
pub(super) const FORMS_FILE: &str = "forms.json";
const REPORT_FILE: &str = "report.json";
const EVALUATION_FILE: &str = "evaluation.json";
const BUNDLE_FILE: &str = "bundle.json";

/// Rows that a converter gets for calibration and parity.
const SAMPLE_ROWS_MAX: usize = 512;
/// Digits of a stage's key in the id of its task.
const TASK_DIGITS: usize = 32;
/// Rows of one call among them.
const SAMPLE_BATCH_ROWS: usize = 64;

/// The data of a run: finished stages and their digests.
pub(super) struct Data {
    pub(super) snapshot: Entry,
    manifest: Snapshot,
    split: Entry,
    pub(super) sides: Split,
}

impl Pipeline<'_> {
    pub(super) fn run(&self) -> Result<Made, RunError> {
        let deps = self.deps()?;
        self.notes.borrow_mut().deps.clone_from(&deps);
        let data = self.data()?;
        let mut verdicts = self.validate(&data)?;
        verdicts.extend(self.moved(&data)?);
        self.judged(&verdicts);
        if gates::refusal(&verdicts, &BTreeSet::new()).is_some() {
            let (left_out, metrics) = (BTreeSet::new(), BTreeMap::new());
            return Ok(Made { verdicts, left_out, metrics, bundle: None });
        }
        let trained = self.train(&data, &deps)?;
        let converted = self.convert(&data, &trained)?;
        let (mut forms, on_external) = self.all_forms(&data, &trained, &converted)?;
        let evaluated = self.evaluate(&data, &trained, &converted, &forms)?;
        let mut evaluation: Evaluation = evaluated.json(EVALUATION_FILE)?;
        let mut metrics = train::numbers(&trained.json(METRICS_FILE)?);
        metrics.extend(evaluation.forms.first().map(|form| form.quality.metrics()).unwrap_or_default());
        let mut judged: Vec<GateVerdict> = converted.json(VERDICTS_FILE)?;
        judged.extend(on_external);
        judged.extend(self.metric_drops(&evaluation));
        let left_out = left_out(&self.project.convert.variant, &judged);
        let stays = |variant: &Variant| !left_out.contains(&gates::metric_gate(&variant.label()));
        evaluation.forms.retain(|form| stays(&form.variant));
        forms.retain(|form| stays(&form.variant));
        judged.extend(self.gates(&data, &evaluation)?);
        judged.extend(self.endurance(&data, (&converted, &forms), &evaluation)?);
        if self.context.adopts.is_some() {
            judged.extend(self.leaks(&data, &deps, &trained)?);
        }
        self.judged(&judged);
        verdicts.extend(judged);
        let bundle = match gates::refusal(&verdicts, &left_out) {
            Some(_) => None,
            None => Some(self.bundle(&data, &deps, (&trained, &converted), (&evaluated, &forms))?),
        };
        Ok(Made { verdicts, left_out, metrics, bundle })
    }

    fn data(&self) -> Result<Data, RunError> {
        let snapshot = self.snapshot()?;
        let manifest: Snapshot = snapshot.json(snapshot::SNAPSHOT_FILE)?;
        let (task, data) = (self.project.task(), &self.project.data);
        let read = inputs([("snapshot", snapshot.digest_all(SPLIT.name)?)]);
        let how = (self.project.seed, data.holdout, data.split, data.stratify, data.gap, task);
        let entry = self.stage(SPLIT, &how, &read, |out| {
            let rows = self.told_rows(&snapshot)?;
            let sides = split(rows, SplitRule::of(self.project, rows)?, task)?;
            Ok(write_json(&out.join(SPLIT_FILE), &sides)?)
        })?;
        Ok(Data { snapshot, manifest, sides: entry.json(SPLIT_FILE)?, split: entry })
    }

    fn snapshot(&self) -> Result<Entry, RunError> {
        let (dir, data) = (&self.project.data_dir, &self.project.data);
        let files = self.index.named(dir, &source::list(dir, &data.files)?)?;
        self.note_files(&files);
        let captured = match self.context.server {
            Some(client) if data.captured && self.looking.is_none() => {
                Some(Captured::pinned(client, &self.project.model, self.work, &self.context.run)?)
            }
            _ => None,
        };
        let (task, rows_max) = (self.project.task(), self.context.rows_max);
        let mut read = inputs([("files", files_digest(&files))]);
        let samples = captured.as_ref().map(Captured::digest).or(self.assumed_captured());
        read.extend(samples.map(|digest| ("captured", digest)));
        let lens = &self.project.lens;
        let roles = Roles::from(data);
        self.stage(SNAPSHOT, &(roles.label, roles.time, roles.group, task, rows_max, lens), &read, |out| {
            let captured = captured.as_ref();
            let (manifest, rows) =
                snapshot::take(&Sources { dir, files: &files, roles, task, captured, rows_max, lens })?;
            Ok(snapshot::write(out, &manifest, &rows)?)
        })
    }

    /// The rows of the snapshot, read once and only when a stage works.
    pub(super) fn rows(&self, snapshot: &Entry) -> Result<&Dataset, RunError> {
        Ok(&self.told_rows(snapshot)?.table)
    }

    /// The same with where they are from.
    pub(super) fn told_rows(&self, snapshot: &Entry) -> Result<&Rows, RunError> {
        if let Some(rows) = self.dataset.get() {
            return Ok(rows);
        }
        let rows = snapshot::load(snapshot)?;
        Ok(self.dataset.get_or_init(|| rows))
    }

    pub(super) fn side(&self, data: &Data, rows: &[usize]) -> Result<Dataset, RunError> {
        Ok(self.rows(&data.snapshot)?.select(rows))
    }

    pub(super) fn data_inputs(&self, data: &Data) -> Result<crate::cache::Inputs<'static>, RunError> {
        Ok(inputs([
            ("snapshot", data.snapshot.digest_all(SNAPSHOT.name)?),
            ("split", data.split.digest(SPLIT_FILE)?),
        ]))
    }

    fn validate(&self, data: &Data) -> Result<Vec<GateVerdict>, RunError> {
        let rules = &self.project.validate;
        let schema = self.pinned(data)?;
        let entry = self.stage(VALIDATE, &(rules, &schema), &self.data_inputs(data)?, |out| {
            let rows = self.told_rows(&data.snapshot)?;
            let subject = validate::Subject {
                snapshot: &data.manifest,
                dataset: &rows.table,
                origins: &rows.origins,
                split: &data.sides,
                task: self.project.task(),
                schema: schema.as_ref(),
            };
            Ok(write_json(&out.join(VERDICTS_FILE), &validate(rules, &subject))?)
        })?;
        Ok(entry.json(VERDICTS_FILE)?)
    }

    /// What the rows must be like, by the project's file; inferred and pinned where the file is not there.
    fn pinned(&self, data: &Data) -> Result<Option<DataSchema>, RunError> {
        let Some(name) = &self.project.validate.schema else { return Ok(None) };
        let path = self.project.dir.join(name);
        if let Some(schema) = DataSchema::read(&path)? {
            return Ok(Some(schema));
        }
        if self.context.rows_max.is_some() {
            // Some of the rows do not show what all are like.
            return Ok(None);
        }
        self.may_make(VALIDATE)?;
        let schema = DataSchema::infer(self.rows(&data.snapshot)?, self.project.task());
        schema.write(&path)?;
        self.log(VALIDATE.name, format!("inferred what the data is like and pinned it in {name}"));
        Ok(Some(schema))
    }

    /// Files that a training command depends on.
    fn deps(&self) -> Result<BTreeMap<String, Digest>, RunError> {
        let project = self.project;
        match project.train.run {
            Some(_) => {
                Ok(train::deps(&project.dir, &project.train, &project.data, self.work.root(), self.index)?)
            }
            None => Ok(BTreeMap::new()),
        }
    }

    fn train(&self, data: &Data, deps: &BTreeMap<String, Digest>) -> Result<Entry, RunError> {
        let table = &self.project.train;
        if let Some(path) = self.context.trained {
            return self.take(path);
        }
        if let Some(name) = &table.mlflow {
            return Err(TrainError::NoneBrought { name: name.clone() }.into());
        }
        let tool = table.builtin.map(|_| self.context.tools.trainer.version());
        let params = json!({
            "run": table.run, "builtin": table.builtin, "params": train::params_json(table)?,
            "seed": self.project.seed, "tool": tool, "deps_digest": deps_digest(deps), "label": self.project.data.label,
            "newest_weight": self.project.newest_weight,
        });
        let read = self.data_inputs(data)?;
        let key = crate::cache::key(TRAIN, &params, &read)?;
        self.stage(TRAIN, &params, &read, |out| {
            let told = self.told_rows(&data.snapshot)?;
            let in_time = told.origins.in_time(&data.sides.train);
            let rows = told.table.select(&weighted(&data.sides.train, &in_time, self.project.newest_weight));
            match &table.run {
                Some(command) => self.train_by_command((command, &key), &rows, deps, (&data.manifest, out)),
                None => self.train_builtin(&rows, out),
            }
        })
    }

    /// Takes a model that is trained already; what it is made of is known by its digest alone.
    fn take(&self, path: &std::path::Path) -> Result<Entry, RunError> {
        let model = train::read_trained(path)?;
        let read = BTreeMap::from([("model", Digest::of(&model))]);
        self.stage(TRAIN, &json!({ "taken": true }), &read, |out| {
            write_output(&out.join(MODEL_FILE), &model)?;
            Ok(write_output(&out.join(METRICS_FILE), b"{}")?)
        })
    }

    fn train_by_command(
        &self,
        (command, key): (&str, &Digest),
        rows: &Dataset,
        deps: &BTreeMap<String, Digest>,
        (snapshot, out): (&Snapshot, &std::path::Path),
    ) -> Result<(), RunError> {
        let data_dir = &self.project.data_dir;
        let watch = OpenedFiles::watch(snapshot.files.keys().map(|name| data_dir.join(name)));
        let files: Vec<String> = deps.keys().cloned().collect();
        let training = CommandTraining {
            runner: self.runner,
            id: &format!("{}-{}", self.project.name, &key.hex()[..TASK_DIGITS]),
            files: &files,
            // One whose beginning was not watched could not be judged for leaks.
            anew: self.context.adopts.is_some(),
            command,
            dir: &self.project.dir,
            table: &self.project.train,
            label: &self.project.data.label,
            seed: self.project.seed,
            log: &self.work.train_log(&self.context.run, self.project.candidate.as_deref()),
            cancel: self.context.cancel,
        };
        training.run(rows, out, &mut |line| self.log(TRAIN.name, line))?;
        let opened = match watch.and_then(OpenedFiles::opened) {
            Ok(files) => Opened { files: Some(named(&files, data_dir)), unseen: None },
            Err(error) => Opened { files: None, unseen: Some(error.to_string()) },
        };
        Ok(write_json(&out.join(OPENED_FILE), &opened)?)
    }

    /// Whether a commit's training saw rows that it is judged by.
    fn leaks(
        &self,
        data: &Data,
        deps: &BTreeMap<String, Digest>,
        trained: &Entry,
    ) -> Result<Vec<GateVerdict>, RunError> {
        let project = self.project;
        if project.train.run.is_none() {
            return Ok(Vec::new());
        }
        let rows = self.rows(&data.snapshot)?;
        let held_out = data.sides.holdout.iter().map(|row| rows.row_digest(*row)).collect();
        Ok(vec![
            leak::opened(&trained.json(OPENED_FILE)?),
            leak::copies(&project.dir, deps, Roles::from(&project.data), rows, &held_out),
        ])
    }

    fn train_builtin(&self, rows: &Dataset, out: &std::path::Path) -> Result<(), RunError> {
        let project = self.project;
        let algorithm = project.train.builtin.map_or("", crate::project::Builtin::as_str);
        let params = train::params_json(&project.train)?;
        let mut said = |line: &str| self.log(TRAIN.name, line);
        let trainer = self.context.tools.trainer;
        let trained = trainer
            .train(rows, algorithm, &params, project.seed, &mut said)
            .map_err(|source| TrainError::Builtin { algorithm, source })?;
        write_output(&out.join(MODEL_FILE), &trained.onnx)?;
        let metrics = serde_json::to_vec(&trained.metrics).map_err(TrainError::Params)?;
        Ok(write_output(&out.join(METRICS_FILE), &metrics)?)
    }

    fn convert(&self, data: &Data, trained: &Entry) -> Result<Entry, RunError> {
        let plan = ConversionPlan::from(&self.project.convert);
        let converter = self.context.tools.converter;
        let (task, engines) = (self.project.task(), self.context.tools.engine_versions());
        let mut read = self.data_inputs(data)?;
        read.insert("model", trained.digest(MODEL_FILE)?);
        let params = (&plan, converter.version(), task, engines, &self.project.monitor.embedding);
        self.stage(CONVERT, &params, &read, |out| {
            let model = trained.read(MODEL_FILE)?;
            let rows = self.side(data, &data.sides.train)?;
            let embedding = self.project.monitor.embedding.as_deref();
            let signature = examine::signature_with(&model, &rows, task, embedding)?;
            let some: Vec<usize> = (0..rows.len().min(SAMPLE_ROWS_MAX)).collect();
            let samples = examine::calls(&signature, &rows.select(&some), SAMPLE_BATCH_ROWS)?;
            let made = converter.convert(&model, &plan, &signature, &samples).map_err(RunError::Convert)?;
            let mut forms = Vec::new();
            for form in made.variants {
                let variant = VariantTable::plain(form.engine, form.dtype);
                write_output(&out.join(form_file(&variant)), &form.onnx)?;
                forms.push(variant);
            }
            write_json(&out.join(FORMS_FILE), &forms)?;
            write_json(&out.join(SIGNATURE_FILE), &signature)?;
            write_json(&out.join(VERDICTS_FILE), &parity_verdicts(made.verdicts, &forms))?;
            let report = serde_json::to_vec(&made.report).map_err(|error| RunError::Convert(error.into()))?;
            Ok(write_output(&out.join(REPORT_FILE), &report)?)
        })
    }

    fn evaluate(
        &self,
        data: &Data,
        trained: &Entry,
        converted: &Entry,
        forms: &[Form],
    ) -> Result<Entry, RunError> {
        let (task, tools) = (self.project.task(), self.context.tools);
        let mut read = self.data_inputs(data)?;
        read.insert("model", trained.digest(MODEL_FILE)?);
        read.insert("forms", forms_digest(forms));
        self.stage(EVALUATE, &(task, tools.engine_versions()), &read, |out| {
            let signature: Signature = converted.json(SIGNATURE_FILE)?;
            let subject =
                evaluate::Subject { trained: &trained.read(MODEL_FILE)?, signature: &signature, forms, task };
            let evaluation = evaluate(&subject, &self.side(data, &data.sides.holdout)?, tools.engines)?;
            Ok(write_json(&out.join(EVALUATION_FILE), &evaluation)?)
        })
    }

    fn bundle(
        &self,
        data: &Data,
        deps: &BTreeMap<String, Digest>,
        (trained, converted): (&Entry, &Entry),
        (evaluated, forms): (&Entry, &[Form]),
    ) -> Result<Bundle, RunError> {
        let mut read = self.data_inputs(data)?;
        read.insert("model", trained.digest_all(TRAIN.name)?);
        read.insert("converted", converted.digest_all(CONVERT.name)?);
        read.insert("forms", forms_digest(forms));
        read.insert("evaluation", evaluated.digest(EVALUATION_FILE)?);
        // The card tells quality by slice.
        let slices = &self.project.gate.slices;
        if !slices.is_empty() {
            read.insert("slices", Digest::of(slices.join("\n").as_bytes()));
        }
        let recipe = self.project.recipe();
        let key = crate::cache::key(BUNDLE, &recipe, &read)?;
        let _turn = self.cache.turn(key);
        let kept = self.kept_bundle(&key)?;
        self.note(BUNDLE, &recipe, &read, (&key, kept.is_some()))?;
        if let Some(bundle) = kept {
            self.found(BUNDLE);
            return Ok(bundle);
        }
        self.may_make(BUNDLE)?;
        let mut made = None;
        self.timed(BUNDLE.name, || {
            self.cache.make(&key, BUNDLE.name, |out| {
                let bundle = self.make_bundle(data, deps, (trained, converted), (evaluated, forms))?;
                write_json(&out.join(BUNDLE_FILE), &bundle.digest())?;
                made = Some(bundle);
                Ok::<(), RunError>(())
            })
        })?;
        Ok(made.expect("the stage was made just now"))
    }

    /// The bundle made before, unless it is gone or damaged; a damaged one is removed.
    fn kept_bundle(&self, key: &Digest) -> Result<Option<Bundle>, RunError> {
        let Some(entry) = self.cache.find(key) else { return Ok(None) };
        let digest: Digest = entry.json(BUNDLE_FILE)?;
        let dir = self.work.bundles().join(digest.hex());
        match Bundle::verify(&dir, &digest) {
            Ok(bundle) => Ok(Some(bundle)),
            Err(_) if dir.exists() => {
                fs::remove_dir_all(&dir).map_err(WorkError::at("removing the damaged bundle", &dir))?;
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    fn make_bundle(
        &self,
        data: &Data,
        deps: &BTreeMap<String, Digest>,
        (trained, converted): (&Entry, &Entry),
        (evaluated, forms): (&Entry, &[Form]),
    ) -> Result<Bundle, RunError> {
        let (project, tools) = (self.project, self.context.tools);
        let mut evaluation: Evaluation = evaluated.json(EVALUATION_FILE)?;
        let stays = |measured: &Variant| forms.iter().any(|form| form.variant.label() == measured.label());
        evaluation.forms.retain(|form| stays(&form.variant));
        let qualities: Vec<(String, crate::measure::Quality)> =
            evaluation.forms.iter().map(|form| (form.variant.label(), form.quality.clone())).collect();
        let accuracy = evaluation
            .forms
            .first()
            .and_then(|form| form.quality.accuracy.map(|accuracy| (accuracy.value, form.quality.rows)));
        let (model, signature) = (trained.read(MODEL_FILE)?, converted.json::<Signature>(SIGNATURE_FILE)?);
        let learned = has_embedding(&signature).then(|| self.side(data, &data.sides.train)).transpose()?;
        let models = models(&model, forms);
        let holdout = self.side(data, &data.sides.holdout)?;
        let slices = card::slices(project, &holdout, &evaluation.predictions);
        let bom = Bom {
            project,
            snapshot: &data.manifest,
            signature: &signature,
            models: &models,
            qualities: &qualities,
        };
        let parts = Parts {
            project,
            trained: &model,
            signature: &signature,
            forms,
            holdout: &holdout,
            learned: learned.as_ref(),
            predictions: &evaluation.predictions,
            baseline_accuracy: accuracy.filter(|_| project.task() == TaskKind::Classification),
            card: card::card(project, &data.manifest, &data.sides, &qualities, &slices),
            bom: bom.document(),
            lineage: self.lineage(data, deps, &models, forms),
        };
        Ok(assemble(&parts, tools, &self.work.bundles())?)
    }

    fn lineage(
        &self,
        data: &Data,
        deps: &BTreeMap<String, Digest>,
        models: &[(String, Digest)],
        forms: &[Form],
    ) -> serde_json::Value {
        let tools = self.context.tools;
        let mut versions = BTreeMap::from([
            ("edgeward", env!("CARGO_PKG_VERSION").to_owned()),
            ("trainer", tools.trainer.version()),
            ("converter", tools.converter.version()),
            ("engine", tools.engine_versions().join(", ")),
        ]);
        let external = forms.iter().filter_map(|form| form.variant.tool.as_ref());
        versions.extend(external.map(|tool| (tool.name.as_str(), tool.version.clone())));
        Lineage {
            project: self.project,
            run: &self.context.run,
            snapshot: &data.manifest,
            rule: &data.sides.rule,
            deps,
            commit: git::commit(&self.project.dir).as_deref(),
            models,
            tools: &versions,
        }
        .statement()
    }
}

/// The trained model, and the forms by name.
fn models(trained: &[u8], forms: &[Form]) -> Vec<(String, Digest)> {
    let forms = forms.iter().map(|form| (form.variant.label(), Digest::of(&form.bytes)));
    std::iter::once(("model.onnx".to_owned(), Digest::of(trained))).chain(forms).collect()
}

/// The rows with the newer half of them, which stand in time in `in_time`, so many times.
fn weighted(rows: &[usize], in_time: &[usize], times: usize) -> Vec<usize> {
    let newer = &in_time[in_time.len() / 2..];
    let repeated = newer.repeat(times.saturating_sub(1));
    rows.iter().copied().chain(repeated).collect()
}

/// Files by their names below `dir`, for people.
fn named(files: &BTreeSet<std::path::PathBuf>, dir: &std::path::Path) -> BTreeSet<String> {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    files.iter().map(|file| file.strip_prefix(&dir).unwrap_or(file).display().to_string()).collect()
}

fn form_file(variant: &VariantTable) -> String {
    format!("{}/{MODEL_FILE}", variant.label())
}

/// What the forms are and say of themselves.
pub(super) fn forms_digest(forms: &[Form]) -> Digest {
    let told: Vec<_> = forms.iter().map(|form| (&form.variant, Digest::of(&form.bytes))).collect();
    edgeward_core::canonical::digest(&told).expect("variants and digests have a canonical form")
}

fn files_digest(files: &BTreeMap<String, Content>) -> Digest {
    edgeward_core::canonical::digest(files).expect("names and digests have a canonical form")
}

fn deps_digest(deps: &BTreeMap<String, Digest>) -> Digest {
    Digest::of_parts(deps.iter().flat_map(|(name, digest)| [name.as_bytes(), digest.as_bytes()]))
}

/// Gates that failed of forms that the project can do without: all but the preferred one.
fn left_out(wanted: &[VariantTable], judged: &[GateVerdict]) -> BTreeSet<String> {
    let others: Vec<String> = wanted.iter().skip(1).map(label_of).collect();
    let of_other = |gate: &str| {
        let name = gate.strip_prefix("parity.").map(|rest| rest.strip_prefix("metric.").unwrap_or(rest));
        name.is_some_and(|name| others.iter().any(|other| other == name))
    };
    let failed = judged.iter().filter(|verdict| !verdict.passed && of_other(&verdict.gate));
    failed.map(|verdict| verdict.gate.clone()).collect()
}

/// The converter's verdicts; without any form that stayed, one more that refuses.
fn parity_verdicts(mut verdicts: Vec<GateVerdict>, forms: &[VariantTable]) -> Vec<GateVerdict> {
    if forms.is_empty() && verdicts.iter().all(|verdict| verdict.passed) {
        verdicts.push(validate::verdict("parity", false, "no form of the model could be made"));
    }
    verdicts
}
