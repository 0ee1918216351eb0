//! The converter as the pipeline asks for it: a plan of variants, a signature and sample rows.

use edgeward_api::operator::GateVerdict;
use edgeward_convert::Bounds;
use edgeward_convert::Parity;
use edgeward_convert::{
    BuiltVariant, ConvertPlan, ConvertReport, Dtype, Int8Options, RefusedVariant, VariantSpec,
};
use edgeward_model::{Engine, Runnable, Signature, Tensor};
use edgeward_pipeline::convert::{ComparisonPlan, Conversion, ConversionPlan, ConvertedVariant, Converter};
use edgeward_pipeline::project::ParityTable;
use edgeward_pipeline::train::ToolError;

/// `edgeward_convert` behind [`Converter`], checking every form on its own engine.
pub(crate) struct EmbeddedConverter<'a> {
    pub(crate) engines: &'a [&'a dyn Engine],
}

/// A variant of a type that the converter does not make.
#[derive(Debug, thiserror::Error)]
#[error(
    "[[convert.variant]] dtype = \"{0}\": use \"f32\", \"f16\", \"bf16\", \"w8\", \"int8\" or \"int8_dynamic\""
)]
struct UnknownDtype(String);

impl Converter for EmbeddedConverter<'_> {
    fn version(&self) -> String {
        concat!("edgeward-convert ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn convert(
        &self,
        onnx: &[u8],
        plan: &ConversionPlan,
        signature: &Signature,
        samples: &[Vec<Tensor>],
    ) -> Result<Conversion, ToolError> {
        let own = plan_of(plan)?;
        let report = edgeward_convert::convert(onnx, &own, self.engines, Some(signature), samples)?;
        let verdicts = own.variants.iter().filter_map(|spec| verdict(spec, &report)).collect();
        let value = serde_json::to_value(&report)?;
        let variants = report.built.into_iter().map(variant).collect();
        Ok(Conversion { variants, verdicts, report: value })
    }

    fn compare(
        &self,
        original: &dyn Runnable,
        form: &dyn Runnable,
        plan: &ComparisonPlan<'_>,
        samples: &[Vec<Tensor>],
    ) -> Result<Result<String, String>, ToolError> {
        let bounds = if plan.dtype == Dtype::F32.as_str() { Bounds::exact() } else { bounds_of(plan.parity) };
        let parity = edgeward_convert::parity::measure(original, form, plan.signature, samples)?;
        Ok(match bounds.judge(&parity) {
            edgeward_convert::Verdict::Within => Ok(nearness(&parity)),
            edgeward_convert::Verdict::Outside { reason } => Err(reason),
        })
    }
}

fn plan_of(plan: &ConversionPlan) -> Result<ConvertPlan, UnknownDtype> {
    let spec =
        |engine: &str, dtype: &str| Ok(VariantSpec { engine: engine.to_owned(), dtype: dtype_of(dtype)? });
    let variants = plan.variants.iter().map(|variant| spec(&variant.engine, &variant.dtype));
    let bounds = bounds_of(&plan.parity);
    Ok(ConvertPlan { variants: variants.collect::<Result<_, _>>()?, bounds, int8: Int8Options::default() })
}

const fn bounds_of(table: &ParityTable) -> Bounds {
    let ParityTable { abs_difference_max, rel_difference_max, top1_agreement_min, .. } = *table;
    Bounds { abs_difference_max, rel_difference_max, top1_agreement_min }
}

fn dtype_of(text: &str) -> Result<Dtype, UnknownDtype> {
    Dtype::ALL.into_iter().find(|dtype| dtype.as_str() == text).ok_or_else(|| UnknownDtype(text.to_owned()))
}

fn variant(built: BuiltVariant) -> ConvertedVariant {
    ConvertedVariant { engine: built.engine, dtype: built.dtype.as_str().to_owned(), onnx: built.onnx }
}

/// The parity gate's verdict on one form that was asked for.
fn verdict(spec: &VariantSpec, report: &ConvertReport) -> Option<GateVerdict> {
    let gate = format!("parity.{}-{}", spec.engine, spec.dtype.as_str());
    let is_built = |built: &&BuiltVariant| built.engine == spec.engine && built.dtype == spec.dtype;
    let is_refused = |refused: &&RefusedVariant| refused.engine == spec.engine && refused.dtype == spec.dtype;
    if let Some(built) = report.built.iter().find(is_built) {
        return Some(GateVerdict { gate, passed: true, reason: nearness(&built.parity) });
    }
    let refused = report.refused.iter().find(is_refused)?;
    Some(GateVerdict { gate, passed: false, reason: refused.reason.clone() })
}

fn nearness(parity: &Parity) -> String {
    let (rows, apart) = (parity.rows, parity.rel_difference_max);
    match parity.top1_agreement {
        Some(agreement) => {
            format!(
                "{:.1}% of {rows} rows keep their class; outputs differ by at most {apart:.1e}",
                agreement * 100.0
            )
        }
        None => format!("over {rows} rows, outputs differ by at most {apart:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use edgeward_core::Dataset;
    use edgeward_model::RtenEngine;
    use edgeward_pipeline::project::{ConvertTable, VariantTable};
    use edgeward_pipeline::train::Trainer as _;
    use serde_json::json;

    use super::*;
    use crate::adapters::EmbeddedTrainer;

    fn converted(dtypes: &[&str]) -> Result<Conversion, ToolError> {
        let mut rows = Dataset::with_columns((0..32).map(|n| format!("x{n}")).collect());
        for n in 0..60_u16 {
            let row: Vec<f32> = (0..32_u16).map(|k| f32::from((n * 7 + k * 13) % 17)).collect();
            rows.push(&row, if row[0] < 8.0 { "low" } else { "high" }).unwrap();
        }
        let onnx = EmbeddedTrainer.train(&rows, "mlp", &json!({"epochs": 5}), 1, &mut |_| {}).unwrap().onnx;
        let engine = RtenEngine::new();
        let imported = edgeward_convert::import(&onnx, &[&engine]).unwrap();
        let mut plan = ConversionPlan::from(&ConvertTable::default());
        let table = |dtype: &&str| VariantTable { dtype: (*dtype).to_owned(), ..VariantTable::default() };
        plan.variants = dtypes.iter().map(table).collect();
        plan.parity = ParityTable { rel_difference_max: None, top1_agreement_min: Some(0.5), ..plan.parity };
        let samples = vec![vec![Tensor::from_rows(60, 32, rows.values.clone()).unwrap()]];
        EmbeddedConverter { engines: &[&engine] }.convert(&onnx, &plan, &imported.signature, &samples)
    }

    #[test]
    fn every_form_asked_for_has_a_verdict() {
        let conversion = converted(&["f32", "w8"]).unwrap();
        let gates: Vec<&str> = conversion.verdicts.iter().map(|verdict| verdict.gate.as_str()).collect();
        assert_eq!(gates, ["parity.rten-f32", "parity.rten-w8"]);
        assert!(conversion.verdicts[0].passed, "{:?}", conversion.verdicts);
        assert_eq!(conversion.variants[0].dtype, "f32");
    }

    #[test]
    fn an_unknown_type_is_named() {
        let error = converted(&["int4"]).unwrap_err().to_string();
        assert!(error.contains("int4") && error.contains("w8"), "{error}");
    }
}
