//! `edgeward inspect`: what a model file or a bundle holds, and which engines load it.

use std::collections::BTreeMap;
use std::path::Path;

use edgeward_convert::import::EngineVerdict;
use edgeward_core::{Digest, Manifest};
use edgeward_model::onnx::ModelProto;
use edgeward_model::{Bundle, RtenEngine, Signature};
use serde::Serialize;

use crate::args::InspectArgs;
use crate::output::{Explain, Failure, Outcome, Output};

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
        true => bundle(&args.path)?,
        false => model(&args.path)?,
    };
    out.document(&inspected, words)
}

fn model(path: &Path) -> Result<Inspected, Failure> {
    let doing = format_args!("inspecting {}", path.display());
    let imported = edgeward_convert::import_file(path, &[]).explain("model", doing)?;
    let mut inspected = facts(&imported.onnx, &imported.model, imported.signature);
    inspected.engines = edgeward_convert::import(&imported.onnx, &[&RtenEngine::new()])
        .map_or_else(|error| refusal(&error), |checked| checked.engines);
    Ok(inspected)
}

fn bundle(path: &Path) -> Result<Inspected, Failure> {
    let doing = format!("inspecting {}", path.display());
    let hint = "give an ONNX file, or a bundle's folder: one with a manifest.json";
    let opened = Bundle::open(path).explain("bundle", &doing).map_err(|failure| failure.hint(hint))?;
    let digest = opened.digest();
    let verified = Bundle::verify(path, &digest).explain("bundle", &doing)?;
    let onnx = verified.read(edgeward_model::bundle::path::MODEL).explain("bundle", &doing)?;
    let signature = verified.signature().explain("bundle", &doing)?;
    let decoded = edgeward_model::onnx::decode(&onnx).explain("bundle", &doing)?;
    let mut inspected = facts(&onnx, &decoded, signature);
    inspected.engines = edgeward_convert::import(&onnx, &[&RtenEngine::new()])
        .map_or_else(|error| refusal(&error), |checked| checked.engines);
    inspected.bundle = Some(BundleFacts { digest, manifest: verified.manifest().clone() });
    Ok(inspected)
}

fn refusal(error: &edgeward_convert::ImportError) -> Vec<EngineVerdict> {
    vec![EngineVerdict { engine: "rten".to_owned(), refusal: Some(error.to_string()) }]
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
    let operators: Vec<String> =
        inspected.operators.iter().map(|(name, count)| format!("{name} x{count}")).collect();
    lines.push(format!("model        {}", inspected.digest));
    lines.push(format!("size         {} bytes, {} parameters", inspected.size_bytes, inspected.parameters));
    lines.push(format!("made by      {}, opset {}", or_dash(&inspected.producer), inspected.opset));
    lines.push(format!("operators    {}", operators.join(", ")));
    lines.extend(inspected.signature.inputs.iter().map(|spec| format!("input        {spec}")));
    lines.extend(inspected.signature.outputs.iter().map(|spec| format!("output       {spec}")));
    lines.push(format!("predicts     {}", task(&inspected.signature)));
    lines.extend(inspected.engines.iter().map(|verdict| match &verdict.refusal {
        None => format!("engine       {}: loads it", verdict.engine),
        Some(why) => format!("engine       {}: does not load it: {why}", verdict.engine),
    }));
    lines.join("\n")
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
