//! `edgeward inspect`: what a model file or a bundle holds, and which engines load it.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgeward_convert::flops::{Flops, flops};
use edgeward_convert::import::EngineVerdict;
use edgeward_core::{Digest, Manifest};
use edgeward_model::engine::set::ONNXRUNTIME;
use edgeward_model::onnx::ModelProto;
use edgeward_model::{Bundle, Engine, Engines, Signature};
use serde::Serialize;

use crate::adapters::calibration::first_row;
use crate::args::InspectArgs;
use crate::engines::engines;
use crate::output::{Explain, Failure, Outcome, Output, with_causes};

/// What was found in a model file.
#[derive(Serialize)]
struct Inspected {
    /// The bundle it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<BundleFacts>,
    size_bytes: usize,
    digest: Digest,
    producer: String,
    opset: i64,
    /// Numbers in constants of the graph.
    parameters: usize,
    /// Floating-point operations of one call of one row; none where no engine here runs the model.
    flops: Option<Flops>,
    /// Operators with how often each occurs.
    operators: BTreeMap<String, usize>,
    signature: Signature,
    engines: Vec<EngineVerdict>,
}

#[derive(Serialize)]
struct BundleFacts {
    digest: Digest,
    manifest: Manifest,
}

pub(crate) fn run(args: &InspectArgs, out: Output) -> Outcome {
    let inspected = match args.path.is_dir() {
        true => bundle(args)?,
        false => model(args)?,
    };
    out.document(&inspected, words)
}

fn model(args: &InspectArgs) -> Result<Inspected, Failure> {
    let path = &args.path;
    let doing = format_args!("inspecting {}", path.display());
    let imported = edgeward_convert::import_file(path, &[]).explain("model", doing)?;
    let mut inspected = facts(&imported.onnx, &imported.model, imported.signature);
    let engines = engines(&args.engines);
    inspected.engines = verdicts(&imported.onnx, &engines);
    inspected.flops = count(&imported.model, &inspected.signature, &engines);
    Ok(inspected)
}

fn bundle(args: &InspectArgs) -> Result<Inspected, Failure> {
    let path = &args.path;
    let doing = format!("inspecting {}", path.display());
    let hint = "give an ONNX file, or a bundle's folder: one with a manifest.json";
    let opened = Bundle::open(path).explain("bundle", &doing).map_err(|failure| failure.hint(hint))?;
    let digest = opened.digest();
    let verified = Bundle::verify(path, &digest).explain("bundle", &doing)?;
    let onnx = verified.read(edgeward_model::bundle::path::MODEL).explain("bundle", &doing)?;
    let signature = verified.signature().explain("bundle", &doing)?;
    let decoded = edgeward_model::onnx::decode(&onnx).explain("bundle", &doing)?;
    let mut inspected = facts(&onnx, &decoded, signature);
    let engines = engines(&args.engines);
    inspected.engines = verdicts(&onnx, &engines);
    inspected.flops = count(&decoded, &inspected.signature, &engines);
    inspected.bundle = Some(BundleFacts { digest, manifest: verified.manifest().clone() });
    Ok(inspected)
}

/// What each engine here says of the model, and why one that was named is not here.
fn verdicts(onnx: &[u8], engines: &Engines) -> Vec<EngineVerdict> {
    let verdict = |engine: &Arc<dyn Engine>| {
        let refused =
            |refusal: String| EngineVerdict { engine: engine.name().to_owned(), refusal: Some(refusal) };
        match edgeward_convert::import(onnx, &[&**engine]) {
            Ok(imported) => imported.engines,
            Err(error) => vec![refused(with_causes(&error))],
        }
    };
    let mut verdicts: Vec<EngineVerdict> = engines.all().iter().flat_map(verdict).collect();
    let missing = |error: &edgeward_model::EngineError| EngineVerdict {
        engine: ONNXRUNTIME.to_owned(),
        refusal: Some(with_causes(error)),
    };
    verdicts.extend(engines.refusals().into_iter().map(missing));
    verdicts
}

/// The work of one row, from the first engine that runs the model.
fn count(model: &ModelProto, signature: &Signature, engines: &Engines) -> Option<Flops> {
    let all = engines.all();
    let at_hand: Vec<&dyn Engine> = all.iter().map(|engine| &**engine).collect();
    let calls = edgeward_convert::samples::made_up(model, signature, &at_hand).ok()?;
    let call = calls.first()?;
    let call = first_row(call, signature).unwrap_or_else(|| call.clone());
    at_hand.iter().find_map(|engine| flops(model, *engine, &call).ok())
}

fn facts(onnx: &[u8], model: &ModelProto, signature: Signature) -> Inspected {
    let mut operators = BTreeMap::new();
    let graph = model.graph.as_ref();
    for node in graph.iter().flat_map(|graph| &graph.node) {
        *operators.entry(node.op_type.clone()).or_insert(0) += 1;
    }
    let constants = graph.iter().flat_map(|graph| &graph.initializer);
    let parameters =
        constants.filter_map(|constant| constant.shape().ok()).map(|shape| shape.iter().product::<usize>());
    Inspected {
        bundle: None,
        size_bytes: onnx.len(),
        digest: Digest::of(onnx),
        producer: model.producer_name.clone(),
        opset: model.opset_version(),
        parameters: parameters.sum(),
        flops: None,
        operators,
        signature,
        engines: Vec::new(),
    }
}

fn words(inspected: &Inspected) -> String {
    let mut lines = Vec::new();
    if let Some(bundle) = &inspected.bundle {
        lines.push(format!("bundle       {} of model {}", bundle.digest, bundle.manifest.model));
        for (path, entry) in &bundle.manifest.files {
            lines.push(format!("  {:>9}  {path}", entry.size_bytes));
        }
    }
    lines.push(format!("model        {}", inspected.digest));
    lines.push(format!("size         {} bytes, {} parameters", inspected.size_bytes, inspected.parameters));
    lines.push(format!("work         {}", work(inspected.flops.as_ref())));
    lines.push(format!("made by      {}, opset {}", or_dash(&inspected.producer), inspected.opset));
    lines.push(format!("operators    {}", names(&inspected.operators)));
    lines.extend(inspected.signature.inputs.iter().map(|spec| format!("input        {spec}")));
    lines.extend(inspected.signature.outputs.iter().map(|spec| format!("output       {spec}")));
    lines.push(format!("predicts     {}", task(&inspected.signature)));
    lines.extend(inspected.engines.iter().map(|verdict| match &verdict.refusal {
        None => format!("engine       {}: loads it", verdict.engine),
        Some(why) => format!("engine       {}: does not load it: {why}", verdict.engine),
    }));
    lines.join("\n")
}

fn work(flops: Option<&Flops>) -> String {
    let Some(flops) = flops else { return "not counted: no engine here runs the model".to_owned() };
    let left = match flops.uncounted.is_empty() {
        true => String::new(),
        false => format!(" (not counted, sizes unknown: {})", names(&flops.uncounted)),
    };
    format!("{} FLOPs for one row{left}", flops.total)
}

fn names(counts: &BTreeMap<String, usize>) -> String {
    counts.iter().map(|(name, count)| format!("{name} x{count}")).collect::<Vec<_>>().join(", ")
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn task(signature: &Signature) -> String {
    use edgeward_model::Task;
    match &signature.task {
        Task::Classification { classes } if classes.is_empty() => "a class".to_owned(),
        Task::Classification { classes } => {
            format!("one of {} classes: {}", classes.len(), classes.join(", "))
        }
        Task::Regression => "a number".to_owned(),
        Task::Other => "not known".to_owned(),
    }
}
