//! `bom.json`: what the model is made of, as a CycloneDX bill of materials with a model card.
//!
//! Source: CycloneDX 1.6, JSON. No times and no serial number are in it: a run that is repeated makes the same bundle.

use edgeward_core::Digest;
use edgeward_model::{Signature, TensorSpec};
use serde_json::{Value, json};

use crate::measure::Quality;
use crate::project::{ProjectFile, TaskKind};
use crate::snapshot::Snapshot;

/// Most data files that are named one by one; the snapshot's digest covers them all.
const FILES_NAMED_MAX: usize = 1000;
const SNAPSHOT: &str = "data/snapshot";

/// What a bundle is made of.
pub struct Bom<'a> {
    /// The project.
    pub project: &'a ProjectFile,
    /// The data.
    pub snapshot: &'a Snapshot,
    /// What the tensors mean.
    pub signature: &'a Signature,
    /// The trained model, and the forms by name.
    pub models: &'a [(String, Digest)],
    /// How good each form is on held-out rows, the preferred one first.
    pub qualities: &'a [(String, Quality)],
}

impl Bom<'_> {
    /// The document.
    #[must_use]
    pub fn document(&self) -> Value {
        let models: Vec<Value> = self.models.iter().skip(1).map(|model| component(model, "form")).collect();
        let mut data = vec![dataset(SNAPSHOT, &self.snapshot.digest)];
        let files = self.snapshot.files.iter().take(FILES_NAMED_MAX);
        data.extend(files.map(|(name, content)| dataset(&format!("data/file/{name}"), &content.digest)));
        data.extend(self.snapshot.captured_digest.iter().map(|digest| dataset("data/captured", digest)));
        let refs: Vec<&Value> = data.iter().map(|one| &one["bom-ref"]).collect();
        let mut dependencies = vec![json!({ "ref": "model", "dependsOn": refs })];
        let forms = models.iter().map(|form| json!({ "ref": form["bom-ref"], "dependsOn": ["model"] }));
        dependencies.extend(forms);
        let mut model = self.models.first().map_or(Value::Null, |model| component(model, "trained"));
        model["bom-ref"] = json!("model");
        model["name"] = json!(self.project.model);
        model["modelCard"] = self.card();
        let components = [models, data].concat();
        json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "tools": { "components": [{
                    "type": "application", "name": "edgeward", "version": env!("CARGO_PKG_VERSION"),
                }] },
                "component": model,
            },
            "components": components,
            "dependencies": dependencies,
        })
    }

    fn card(&self) -> Value {
        let task = match self.project.task() {
            TaskKind::Classification => "classification",
            TaskKind::Regression => "regression",
        };
        let tensors = |specs: &[TensorSpec]| -> Vec<Value> {
            specs.iter().map(|spec| json!({ "format": spec.to_string() })).collect()
        };
        let metrics: Vec<Value> =
            self.qualities.iter().flat_map(|(form, quality)| metrics(form, quality)).collect();
        json!({
            "modelParameters": {
                "approach": { "type": "supervised" },
                "task": task,
                "datasets": [{ "ref": SNAPSHOT }],
                "inputs": tensors(&self.signature.inputs),
                "outputs": tensors(&self.signature.outputs),
            },
            "quantitativeAnalysis": { "performanceMetrics": metrics },
        })
    }
}

fn component((name, digest): &(String, Digest), kind: &str) -> Value {
    json!({
        "type": "machine-learning-model",
        "bom-ref": format!("{kind}/{name}"),
        "name": name,
        "hashes": [{ "alg": "SHA-256", "content": digest.hex() }],
    })
}

fn dataset(name: &str, digest: &Digest) -> Value {
    json!({
        "type": "data",
        "bom-ref": name,
        "name": name,
        "hashes": [{ "alg": "SHA-256", "content": digest.hex() }],
        "data": [{ "type": "dataset", "name": name }],
    })
}

fn metrics(form: &str, quality: &Quality) -> Vec<Value> {
    let slice = format!("{form}, {} held-out rows", quality.rows);
    let plain = |kind: &str, value: f64| json!({ "type": kind, "value": value.to_string(), "slice": slice });
    let mut all = Vec::new();
    if let Some(accuracy) = &quality.accuracy {
        let mut metric = plain("accuracy", accuracy.value);
        let (low, high) = (accuracy.low.to_string(), accuracy.high.to_string());
        metric["confidenceInterval"] = json!({ "lowerBound": low, "upperBound": high });
        all.push(metric);
    }
    all.extend(quality.log_loss.map(|value| plain("log loss", value)));
    all.extend(quality.mae.map(|value| plain("mean absolute error", value)));
    all.extend(quality.rmse.map(|value| plain("root mean squared error", value)));
    all.extend(quality.recall.iter().map(|(class, (recall, rows))| {
        let slice = format!("{form}, class {class}, {rows} held-out rows");
        json!({ "type": "recall", "value": recall.to_string(), "slice": slice })
    }));
    all
}
