//! `edgeward convert`: a model file in, the forms for devices out, each compared with the original before it is written.

use std::fs;
use std::path::PathBuf;

use edgeward_convert::{Bounds, BuiltVariant, ConvertPlan, ConvertReport, Dtype, Int8Options, VariantSpec};
use edgeward_model::bundle::path;
use edgeward_model::{Engine as _, RtenEngine};
use serde::Serialize;

use crate::adapters::sample_calls;
use crate::args::{ConvertArgs, Quantize};
use crate::output::{Explain, Failure, Outcome, Output};

/// What was made.
#[derive(Serialize)]
struct Converted {
    #[serde(flatten)]
    report: ConvertReport,
    /// One per form built, in order.
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &ConvertArgs, out: Output) -> Outcome {
    let engine = RtenEngine::new();
    let doing = format!("converting {}", args.model.display());
    let imported = edgeward_convert::import_file(&args.model, &[&engine]).explain("model", &doing)?;
    let samples = sample_calls(&imported.signature).explain("model", &doing)?;
    let plan = plan(args, engine.name());
    let report = edgeward_convert::convert(&imported.onnx, &plan, &[&engine], None, &samples);
    let report = report.explain("model", &doing)?;
    let files = report.built.iter().map(|built| write(args, built)).collect::<Result<_, _>>()?;
    let refused = report.refused.first().map(|refused| {
        Failure::new(
            "parity",
            format!("{doing}: {} {}: {}", refused.engine, refused.dtype.as_str(), refused.reason),
        )
    });
    out.document(&Converted { report, files }, words)?;
    refused.map_or(Ok(()), Err)
}

/// The float form always, and what was asked for besides.
fn plan(args: &ConvertArgs, engine: &str) -> ConvertPlan {
    let asked = args.quantize.map(|Quantize::W8| Dtype::W8);
    let dtypes = std::iter::once(Dtype::F32).chain(asked);
    let variants = dtypes.map(|dtype| VariantSpec { engine: engine.to_owned(), dtype }).collect();
    ConvertPlan { variants, bounds: Bounds::default(), int8: Int8Options::default() }
}

fn write(args: &ConvertArgs, built: &BuiltVariant) -> Result<PathBuf, Failure> {
    let file = args.out.join(path::variant(&built.engine, built.dtype.as_str()));
    let doing = format!("writing {}", file.display());
    fs::create_dir_all(file.parent().unwrap_or(&args.out)).explain("file", &doing)?;
    fs::write(&file, &built.onnx).explain("file", &doing)?;
    Ok(file)
}

fn words(converted: &Converted) -> String {
    let report = &converted.report;
    let mut lines = vec![format!(
        "{} bytes, {} operators -> {}",
        report.original_size_bytes, report.optimise.nodes_before, report.optimise.nodes_after
    )];
    for (built, file) in report.built.iter().zip(&converted.files) {
        lines.push(format!(
            "{}: {} bytes ({:.2} times smaller), outputs within {:.1e} on made-up rows",
            file.display(),
            built.size_bytes,
            built.size_ratio,
            built.parity.rel_difference_max
        ));
    }
    lines.join("\n")
}
