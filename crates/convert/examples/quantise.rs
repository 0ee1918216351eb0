//! Makes every form of a model with the embedded engine and writes them beside one another:
//! `quantise MODEL ROWS OUT [PLAN]`, where ROWS holds calls as little-endian FP32, each filling the model's one input (a
//! symbolic dimension counts as 1), and PLAN is a [`ConvertPlan`] in JSON.

use std::error::Error;
use std::path::Path;

use edgeward_convert::{ConvertPlan, convert, import_file};
use edgeward_model::{Dim, RtenEngine, Tensor};

const PLAN: &str = r#"{"variants": [{"engine": "rten", "dtype": "f32"}, {"engine": "rten", "dtype": "f16"},
    {"engine": "rten", "dtype": "w8"}, {"engine": "rten", "dtype": "int8"}]}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, rows, out, plan @ ..] = &arguments[..] else {
        return Err("quantise MODEL ROWS OUT [PLAN]".into());
    };
    let plan: ConvertPlan = serde_json::from_str(plan.first().map_or(PLAN, String::as_str))?;
    let engine = RtenEngine::new();
    let imported = import_file(Path::new(model), &[&engine])?;
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 1 };
    let shape: Vec<usize> = imported.signature.inputs[0].shape.iter().map(size).collect();
    let bytes = std::fs::read(rows)?;
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]))
        .collect();
    let call = |values: &[f32]| Ok(vec![Tensor::new(shape.clone(), values.to_vec())?]);
    let samples: Vec<Vec<Tensor>> =
        values.chunks_exact(shape.iter().product()).map(call).collect::<Result<_, Box<dyn Error>>>()?;
    let report = convert(&imported.onnx, &plan, &[&engine], None, &samples)?;
    for built in &report.built {
        std::fs::write(Path::new(out).join(format!("{}.onnx", built.dtype.as_str())), &built.onnx)?;
    }
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
