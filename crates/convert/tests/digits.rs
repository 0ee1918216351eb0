//! A perceptron another tool wrote, through the whole of convert.

use std::path::{Path, PathBuf};

use edgeward_convert::{
    Bounds, ConvertPlan, Dtype, Int8Options, Reference, VariantSpec, convert, import_file,
};
use edgeward_model::onnx::{self, TensorProto};
use edgeward_model::{Engine, Golden, LoadOptions, RtenEngine, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures").join(name)
}

fn golden() -> Golden {
    let bytes = std::fs::read(fixture("digits_mlp.golden.json")).expect("the fixture is in the repository");
    Golden::parse(&bytes).expect("the fixture is a golden test")
}

fn samples() -> Vec<Vec<Tensor>> {
    golden()
        .cases
        .into_iter()
        .map(|case| case.inputs.into_iter().map(|input| input.tensor).collect())
        .collect()
}

fn plan(bounds: Bounds) -> ConvertPlan {
    let spec = |dtype| VariantSpec { engine: "rten".to_owned(), dtype };
    ConvertPlan { variants: vec![spec(Dtype::F32), spec(Dtype::W8)], bounds, int8: Int8Options::default() }
}

#[test]
fn a_foreign_model_becomes_variants_that_answer_alike() {
    let engine = RtenEngine::new();
    let imported = import_file(&fixture("digits_mlp.onnx"), &[&engine]).unwrap();
    let report = convert(&imported.onnx, &plan(Bounds::default()), &[&engine], None, &samples()).unwrap();
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    let [float, int8] = &report.built[..] else { panic!("two variants: {report:?}") };
    assert_eq!(float.reference, Reference::Optimised, "the engine lacks Dropout, which is removed");
    let model = engine.load(&float.onnx, &LoadOptions::with_threads(1)).unwrap();
    golden().check(&*model).unwrap();
    assert!(int8.size_ratio > 2.5, "{}", int8.size_ratio);
    assert!(
        int8.parity.abs_difference_max > 0.0 && int8.parity.top1_agreement == Some(1.0),
        "{:?}",
        int8.parity
    );
}

#[test]
fn a_variant_outside_its_bounds_is_refused_with_its_numbers() {
    let engine = RtenEngine::new();
    let bytes = std::fs::read(fixture("digits_mlp.onnx")).unwrap();
    let bounds = Bounds { abs_difference_max: Some(1e-6), ..Bounds::default() };
    let report = convert(&bytes, &plan(bounds), &[&engine], None, &samples()).unwrap();
    assert_eq!((report.built.len(), report.refused.len()), (1, 1));
    assert!(report.refused[0].reason.contains("over the bound of 1.000e-6"), "{}", report.refused[0].reason);
    assert!(report.refused[0].parity.is_some());
}

#[test]
fn a_broken_weight_is_refused_not_shipped() {
    let engine = RtenEngine::new();
    let mut model = onnx::decode(&std::fs::read(fixture("digits_mlp.onnx")).unwrap()).unwrap();
    let weight = &mut model.graph.as_mut().unwrap().initializer[0];
    let shape = weight.shape().unwrap();
    let count = shape.iter().product();
    *weight = TensorProto::from_tensor(&weight.name, &Tensor::new(shape, vec![f32::NAN; count]).unwrap());
    let report =
        convert(&onnx::encode(&model), &plan(Bounds::default()), &[&engine], None, &samples()).unwrap();
    let quantise = report.built.iter().find_map(|built| built.quantise.as_ref());
    let kept = quantise.map(|quantise| quantise.kept.values().cloned().collect::<Vec<_>>().join(" "));
    let reasons: String = report.refused.iter().map(|refused| refused.reason.clone()).collect();
    assert!(kept.unwrap_or(reasons).contains("not finite"));
}
