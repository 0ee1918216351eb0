//! `edgeward convert`: a model file in, a bundle of forms for devices out, each compared with the original on its own
//! engine before it is written.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use edgeward_convert::quantise::product_share;
use edgeward_convert::samples;
use edgeward_convert::{
    Bounds, BuiltVariant, Calibration, ConvertPlan, ConvertReport, Dtype, Imported, Int8Options, VariantSpec,
};
use edgeward_core::{Digest, ModelName};
use edgeward_model::engine::set::{EMBEDDED, ONNXRUNTIME};
use edgeward_model::{BundleWriter, Engine, Engines, Golden, LoadOptions, Signature, Tensor, Tolerance};
use serde::Serialize;

use crate::adapters::calibration;
use crate::args::{CalibrationName, ConvertArgs, Quantize};
use crate::engines::{engines, warn_of_refusals};
use crate::output::{Explain, Failure, Outcome, Output};

/// Most calls that stand in the golden test.
const GOLDEN_CALLS: usize = 8;

/// From this share of matrix products on, `--quantize int8` also makes the form that needs no calibration.
const PRODUCT_SHARE_MIN: f64 = 0.5;

/// What was made.
#[derive(Serialize)]
struct Converted {
    #[serde(flatten)]
    report: ConvertReport,
    /// The model's name.
    model: ModelName,
    /// The bundle's digest: its manifest's.
    bundle: Digest,
    /// The bundle's folder.
    dir: PathBuf,
    /// Calls that were compared, and whether they were made up.
    samples: Samples,
    /// One per form built, in order.
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Samples {
    calls: usize,
    made_up: bool,
}

pub(crate) fn run(args: &ConvertArgs, out: Output) -> Outcome {
    let engines = engines(&args.engines);
    warn_of_refusals(&engines, &args.engines);
    let at_hand = targets(args, &engines)?;
    let at_hand: Vec<&dyn Engine> = at_hand.iter().map(|engine| &**engine).collect();
    let doing = format!("converting {}", args.model.display());
    let imported = edgeward_convert::import_file(&args.model, &at_hand).explain("model", &doing)?;
    let calls = match &args.calibrate {
        Some(data) => calibration::read(data, &imported.signature).explain("data", &doing)?,
        None => samples::made_up(&imported.model, &imported.signature, &at_hand).explain("model", &doing)?,
    };
    let plan = plan(args, &at_hand, &imported);
    let report = edgeward_convert::convert(&imported.onnx, &plan, &at_hand, None, &calls);
    let report = report.explain("model", &doing)?;
    if report.built.is_empty() {
        return Err(nothing_built(&report, &doing));
    }
    let refusal = refusal(args, &report, &doing);
    let given = Samples { calls: calls.len(), made_up: args.calibrate.is_none() };
    let converted = write(args, &at_hand, &imported, report, &calls, given)?;
    out.document(&converted, words)?;
    refusal.map_or(Ok(()), Err)
}

/// The engines asked for, one of each name; without --target all that are here.
fn targets(args: &ConvertArgs, engines: &Engines) -> Result<Vec<Arc<dyn Engine>>, Failure> {
    let known = |name: &str| match name {
        "embedded" | EMBEDDED => Some(EMBEDDED),
        ONNXRUNTIME => Some(ONNXRUNTIME),
        _ => None,
    };
    let mut names = Vec::new();
    for target in &args.targets {
        let name = known(target).ok_or_else(|| {
            Failure::usage(format!("--target {target}: there is no such engine"))
                .hint(format!("targets are {EMBEDDED} and {ONNXRUNTIME}"))
        })?;
        if engines.named(name).is_empty() {
            let why: Vec<String> = engines.refusals().iter().map(ToString::to_string).collect();
            let why = if why.is_empty() { "its library was not found".to_owned() } else { why.join("; ") };
            return Err(Failure::new("engine", format!("--target {target}: {why}"))
                .hint("give ONNX Runtime's shared library with --onnxruntime, or install its Python wheel"));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let names = if names.is_empty() { vec![EMBEDDED, ONNXRUNTIME] } else { names };
    Ok(names.into_iter().filter_map(|name| engines.named(name).into_iter().next()).collect())
}

/// The float form on every engine that runs the model, and what was asked for besides.
fn plan(args: &ConvertArgs, at_hand: &[&dyn Engine], imported: &Imported) -> ConvertPlan {
    let mut dtypes = BTreeSet::from([Dtype::F32]);
    for scheme in &args.quantize {
        dtypes.extend(dtypes_of(*scheme, imported));
    }
    let runs = |engine: &&&dyn Engine| {
        let verdict = imported.engines.iter().find(|verdict| verdict.engine == engine.name());
        !args.targets.is_empty() || verdict.is_none_or(|verdict| verdict.refusal.is_none())
    };
    let specs = at_hand.iter().filter(runs).flat_map(|engine| {
        let spec = |&dtype: &Dtype| VariantSpec { engine: engine.name().to_owned(), dtype };
        dtypes.iter().map(spec).collect::<Vec<_>>()
    });
    let calibration = args.calibration.map(|name| match name {
        CalibrationName::MinMax => Calibration::MinMax,
        CalibrationName::Percentile => Calibration::Percentile,
        CalibrationName::Entropy => Calibration::Entropy,
    });
    ConvertPlan {
        variants: specs.collect(),
        bounds: Bounds {
            abs_difference_max: None,
            rel_difference_max: Some(args.rel_difference_max),
            top1_agreement_min: Some(args.top1_agreement_min),
        },
        int8: Int8Options {
            calibration,
            exclude: args.exclude.iter().cloned().collect(),
            exclude_operators: args.exclude_operator.iter().cloned().collect(),
            reduce_range: args.reduce_range,
            ..Int8Options::default()
        },
    }
}

fn dtypes_of(scheme: Quantize, imported: &Imported) -> Vec<Dtype> {
    match scheme {
        Quantize::Int8 if product_share(&imported.model) >= PRODUCT_SHARE_MIN => {
            vec![Dtype::Int8, Dtype::Int8Dynamic]
        }
        Quantize::Int8 => vec![Dtype::Int8],
        Quantize::Int8Dynamic => vec![Dtype::Int8Dynamic],
        Quantize::W8 => vec![Dtype::W8],
        Quantize::F16 => vec![Dtype::F16],
        Quantize::Bf16 => vec![Dtype::Bf16],
    }
}

fn nothing_built(report: &ConvertReport, doing: &str) -> Failure {
    let reasons = report
        .refused
        .iter()
        .map(|refused| format!("{} {}: {}", refused.engine, refused.dtype.as_str(), refused.reason));
    Failure::new("parity", format!("{doing}: {}", reasons.collect::<Vec<_>>().join("; ")))
}

/// A form that was asked for and that no engine got.
fn refusal(args: &ConvertArgs, report: &ConvertReport, doing: &str) -> Option<Failure> {
    let had = |dtype: Dtype| report.built.iter().any(|built| built.dtype == dtype);
    let optional = |dtype: Dtype| {
        dtype == Dtype::Int8Dynamic && !args.quantize.contains(&Quantize::Int8Dynamic) && had(Dtype::Int8)
            || dtype == Dtype::Int8 && had(Dtype::Int8Dynamic)
    };
    let refused = report.refused.iter().find(|refused| !had(refused.dtype) && !optional(refused.dtype))?;
    let (engine, dtype, reason) = (&refused.engine, refused.dtype.as_str(), &refused.reason);
    let failure = Failure::new("parity", format!("{doing}: {engine} {dtype}: {reason}"));
    Some(match args.calibrate {
        None if matches!(refused.dtype, Dtype::Int8 | Dtype::Int8Dynamic) => {
            failure.hint("made-up inputs are a poor judge; give real ones with --calibrate DATA")
        }
        _ => failure,
    })
}

fn write(
    args: &ConvertArgs,
    at_hand: &[&dyn Engine],
    imported: &Imported,
    report: ConvertReport,
    calls: &[Vec<Tensor>],
    samples: Samples,
) -> Result<Converted, Failure> {
    let doing = format!("writing the bundle {}", args.out.display());
    let model = model_name(args)?;
    let mut writer = BundleWriter::new(model.clone());
    writer
        .model(imported.onnx.clone())
        .and_then(|writer| writer.signature(&imported.signature))
        .explain("bundle", &doing)?;
    let calls = golden_calls(calls, &imported.signature);
    for built in &report.built {
        let engine = at_hand.iter().find(|engine| engine.name() == built.engine);
        let engine =
            engine.ok_or_else(|| Failure::new("engine", format!("{doing}: no engine {}", built.engine)))?;
        let golden = golden(*engine, built, &calls).explain("model", &doing)?;
        let dtype = built.dtype.as_str();
        writer
            .variant(&built.engine, dtype, built.onnx.clone())
            .and_then(|writer| writer.variant_golden(&format!("{}-{dtype}", built.engine), &golden))
            .explain("bundle", &doing)?;
    }
    let bundle = writer.write_to(&args.out).explain("bundle", &doing)?;
    let files =
        bundle.manifest().variants.iter().map(|variant| bundle.dir().join(variant.path.as_str())).collect();
    let dir = bundle.dir().to_owned();
    Ok(Converted { report, model, bundle: bundle.digest(), dir, samples, files })
}

/// The answers of a form on its own engine, which another processor must come near.
fn golden(
    engine: &dyn Engine,
    built: &BuiltVariant,
    calls: &[Vec<Tensor>],
) -> Result<Golden, Box<edgeward_model::GoldenError>> {
    let tolerance = match built.dtype {
        Dtype::Int8 | Dtype::Int8Dynamic => Tolerance::int8(),
        _ => Tolerance::default(),
    };
    let run = |source| edgeward_model::GoldenError::Run { case: 0, source };
    let loaded = engine.load(&built.onnx, &LoadOptions::with_threads(1)).map_err(run)?;
    Ok(Golden::record(&*loaded, calls, tolerance)?)
}

/// A few calls, of one row where the model takes any number of rows.
fn golden_calls(calls: &[Vec<Tensor>], signature: &Signature) -> Vec<Vec<Tensor>> {
    let few = calls.iter().take(GOLDEN_CALLS);
    few.map(|call| calibration::first_row(call, signature).unwrap_or_else(|| call.clone())).collect()
}

fn model_name(args: &ConvertArgs) -> Result<ModelName, Failure> {
    if let Some(name) = &args.name {
        return ModelName::new(name.as_str()).map_err(|error| Failure::usage(format!("--name: {error}")));
    }
    let stem = args.model.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let text: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    ModelName::new(text.trim_matches('-'))
        .or_else(|_| ModelName::new("model"))
        .explain("model", "naming the model")
}

fn words(converted: &Converted) -> String {
    let report = &converted.report;
    let mut lines = vec![format!(
        "{} bytes, {} operators -> {}",
        report.original_size_bytes, report.optimise.nodes_before, report.optimise.nodes_after
    )];
    let rows = if converted.samples.made_up { "made-up" } else { "real" };
    for (built, file) in report.built.iter().zip(&converted.files) {
        lines.push(format!(
            "{}: {} bytes ({:.2} times smaller), outputs within {:.1e} on {rows} inputs",
            file.display(),
            built.size_bytes,
            built.size_ratio,
            built.parity.rel_difference_max
        ));
    }
    for refused in &report.refused {
        lines.push(format!("{}-{} is not built: {}", refused.engine, refused.dtype.as_str(), refused.reason));
    }
    lines.push(format!("bundle {} in {}", converted.bundle.short(), converted.dir.display()));
    lines.join("\n")
}
