//! Forms that external converters make: each is a stage of its own, kept under the converter's version and command.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use edgeward_api::operator::GateVerdict;
use edgeward_core::{Digest, Variant};
use edgeward_model::{LoadOptions, Signature, Tensor};

use super::stages::{Data, FORMS_FILE, SIGNATURE_FILE, VERDICTS_FILE};
use super::{Pipeline, RunError};
use crate::cache::{Entry, StageCode, write_json, write_output};
use crate::convert::{ComparisonPlan, Form};
use crate::project::VariantTable;
use crate::source::SourceError;
use crate::tool::{Place, SAMPLES_MAX, ToolSpec};
use crate::train::MODEL_FILE;
use crate::validate::verdict;
use crate::workdir::WorkError;
use crate::{examine, pattern};

const TOOL: StageCode = StageCode { name: "tool", version: 1 };
const FORM_FILE: &str = "form";
const VARIANT_FILE: &str = "variant.json";

/// What the stages of external converters are made from.
struct Given<'a> {
    trained: Vec<u8>,
    signature: Signature,
    samples: Vec<Vec<Tensor>>,
    made: &'a [Form],
}

impl Pipeline<'_> {
    /// All forms in the project's order, and the verdicts on those that external converters made.
    pub(super) fn all_forms(
        &self,
        data: &Data,
        trained: &Entry,
        converted: &Entry,
    ) -> Result<(Vec<Form>, Vec<GateVerdict>), RunError> {
        let mut forms = self.own_forms(converted)?;
        let mut verdicts = Vec::new();
        let specs =
            self.project.convert.variant.iter().filter_map(|table| ToolSpec::of(table).ok().flatten());
        for spec in specs {
            let entry = self.external(&spec, data, trained, converted, &forms)?;
            verdicts.extend(entry.json::<Vec<GateVerdict>>(VERDICTS_FILE)?);
            if entry.has(FORM_FILE) {
                forms.push(Form { variant: entry.json(VARIANT_FILE)?, bytes: entry.read(FORM_FILE)? });
            }
        }
        let order: Vec<String> = self.project.convert.variant.iter().map(label_of).collect();
        forms.sort_by_key(|form| order.iter().position(|label| *label == form.variant.label()));
        Ok((forms, verdicts))
    }

    /// The embedded converter's forms.
    fn own_forms(&self, converted: &Entry) -> Result<Vec<Form>, RunError> {
        let tables: Vec<VariantTable> = converted.json(FORMS_FILE)?;
        let read = |table: VariantTable| {
            let path = examine::model_path().map_err(|error| RunError::Examine(Box::new(error)))?;
            let bytes = converted.read(&format!("{}/{MODEL_FILE}", table.label()))?;
            Ok(Form { variant: Variant::new(table.engine, table.dtype, path), bytes })
        };
        tables.into_iter().map(read).collect()
    }

    fn external(
        &self,
        spec: &ToolSpec,
        data: &Data,
        trained: &Entry,
        converted: &Entry,
        made: &[Form],
    ) -> Result<Entry, RunError> {
        let label = spec.variant.label();
        let scratch = self.work.partial().join(format!("tool-{label}"));
        let of = self.project.candidate.as_ref().map_or_else(String::new, |name| format!("{name}-"));
        let log = self.work.tool_log(&self.context.run, &format!("{of}{label}"));
        let cancel = self.context.cancel;
        let place = Place { dir: &scratch, project: &self.project.dir, log: &log, cancel };
        fresh(&scratch)?;
        let version = spec.version(&place)?;
        let files = self.declared(spec)?;
        let engines: Vec<String> = self.context.tools.engines.iter().map(|engine| said_by(*engine)).collect();
        let mut read = self.data_inputs(data)?;
        read.insert("model", trained.digest(MODEL_FILE)?);
        read.insert("forms", converted.digest_all(TOOL.name)?);
        let params = (spec, &version, &files, &engines, &self.project.convert.parity);
        let entry = self.stage(TOOL, &params, &read, |out| {
            self.copy_declared(files.keys(), &scratch)?;
            let given = Given {
                trained: trained.read(MODEL_FILE)?,
                signature: converted.json(SIGNATURE_FILE)?,
                samples: self.tool_samples(data, &converted.json(SIGNATURE_FILE)?)?,
                made,
            };
            self.make_external(spec, &version, &given, &place, out)
        });
        // Whatever came of it, nothing of the scratch folder is kept.
        let _ = fs::remove_dir_all(&scratch);
        entry
    }

    fn make_external(
        &self,
        spec: &ToolSpec,
        version: &str,
        given: &Given<'_>,
        place: &Place<'_>,
        out: &Path,
    ) -> Result<(), RunError> {
        let from =
            spec.from.as_ref().and_then(|from| given.made.iter().find(|form| form.variant.label() == *from));
        let model = from.map_or(&given.trained, |form| &form.bytes);
        let mut said = |line: &str| self.log(TOOL.name, line);
        let bytes = spec.convert(model, &given.signature, &given.samples, place, &mut said)?;
        let label = spec.variant.label();
        let judged = self.judge_external(spec, version, given, &bytes)?;
        let (verified, passed, reason) = match judged {
            Judged::Near(reason) => (true, true, reason),
            Judged::Apart(reason) => (true, false, reason),
            Judged::Unverified(reason) => (false, true, reason),
        };
        write_json(&out.join(VERDICTS_FILE), &[verdict(&format!("parity.{label}"), passed, &reason)])?;
        if passed {
            write_json(&out.join(VARIANT_FILE), &spec.made(version, verified))?;
            write_output(&out.join(FORM_FILE), &bytes)?;
        }
        Ok(())
    }

    /// Compares the form with the preferred one of the embedded converter, where an engine here runs it.
    fn judge_external(
        &self,
        spec: &ToolSpec,
        version: &str,
        given: &Given<'_>,
        bytes: &[u8],
    ) -> Result<Judged, RunError> {
        let tools = self.context.tools;
        let engine = match examine::engine_for(&spec.variant, tools.engines) {
            Ok(engine) => engine,
            Err(why) => {
                let (tool, what) = (&spec.tool, "not verified on hardware");
                return Ok(Judged::Unverified(format!("compiled with {tool} {version}, {what}: {why}")));
            }
        };
        let loaded = engine.load(bytes, &LoadOptions::default());
        let form = match loaded {
            Ok(form) => form,
            Err(error) => return Ok(Judged::Apart(format!("does not load: {error}"))),
        };
        let Some(preferred) = given.made.first() else {
            return Ok(Judged::Apart(
                "there is no form of the embedded converter to compare with".to_owned(),
            ));
        };
        let judge = examine::engine_for(&preferred.variant, tools.engines);
        let judge = judge.map_err(|why| RunError::Convert(why.into()))?;
        let original = judge.load(&preferred.bytes, &LoadOptions::default());
        let original = original.map_err(|error| RunError::Convert(error.into()))?;
        let plan = ComparisonPlan {
            dtype: &spec.variant.dtype,
            parity: &self.project.convert.parity,
            signature: &given.signature,
        };
        let compared = tools.converter.compare(&*original, &*form, &plan, &given.samples);
        Ok(match compared {
            Ok(Ok(reason)) => Judged::Near(reason),
            Ok(Err(reason)) => Judged::Apart(reason),
            Err(error) => Judged::Apart(format!("cannot be compared: {error}")),
        })
    }

    fn tool_samples(&self, data: &Data, signature: &Signature) -> Result<Vec<Vec<Tensor>>, RunError> {
        let rows = self.side(data, &data.sides.train)?;
        let some: Vec<usize> = (0..rows.len().min(SAMPLES_MAX)).collect();
        Ok(examine::calls(signature, &rows.select(&some), 1)?)
    }

    /// The project's files that the converter reads, with their digests.
    fn declared(&self, spec: &ToolSpec) -> Result<BTreeMap<String, Digest>, RunError> {
        let dir = &self.project.dir;
        let files = pattern::files(dir, &spec.inputs).map_err(SourceError::List)?;
        Ok(self.index.digests(dir, &files)?)
    }

    fn copy_declared<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        scratch: &Path,
    ) -> Result<(), WorkError> {
        for name in names {
            let target = scratch.join(name);
            let folder = target.parent().unwrap_or(scratch);
            fs::create_dir_all(folder).map_err(WorkError::at("making the folder", folder))?;
            fs::copy(self.project.dir.join(name), &target).map_err(WorkError::at("writing", &target))?;
        }
        Ok(())
    }
}

/// What comparing a form came to, with the reason.
enum Judged {
    Near(String),
    Apart(String),
    Unverified(String),
}

pub(super) fn label_of(table: &VariantTable) -> String {
    let spec = ToolSpec::of(table).ok().flatten();
    spec.map_or_else(|| table.label(), |spec| spec.variant.label())
}

fn said_by(engine: &dyn edgeward_model::Engine) -> String {
    format!("{} {} {}", engine.name(), engine.provider(), engine.version().unwrap_or_default())
}

fn fresh(dir: &Path) -> Result<(), WorkError> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(WorkError::at("removing", dir))?;
    }
    fs::create_dir_all(dir).map_err(WorkError::at("making the folder", dir))
}
