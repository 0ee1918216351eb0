//! Models of other frameworks as their exporters write them: imported, lowered, optimised, and compared with ONNX Runtime's
//! answers. Most are scikit-learn's, by `skl2onnx`; PyTorch's and Keras' come from `examples/frameworks`.

use std::path::{Path, PathBuf};

use edgeward_convert::lower::{lower, unzip};
use edgeward_convert::{Bounds, ConvertPlan, Dtype, VariantSpec, convert, import};
use edgeward_model::onnx;
use edgeward_model::{Engine, Golden, LoadOptions, RtenEngine, Signature, Task, Tensor};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures")
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(fixtures()).expect("the fixtures are in the repository");
    let file = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let name =
        |file: String| file.strip_suffix(".onnx")?.starts_with("sk_").then(|| file.replace(".onnx", ""));
    let mut names: Vec<String> = entries.filter_map(file).filter_map(name).collect();
    names.sort();
    names
}

fn read(name: &str) -> (Vec<u8>, Golden) {
    let file = |suffix: &str| std::fs::read(fixtures().join(format!("{name}.{suffix}"))).expect("a fixture");
    (file("onnx"), Golden::parse(&file("golden.json")).expect("the fixture is a golden test"))
}

fn samples(golden: &Golden) -> Vec<Vec<Tensor>> {
    let inputs =
        golden.cases.iter().map(|case| case.inputs.iter().map(|input| input.tensor.clone()).collect());
    inputs.collect()
}

fn refused(name: &str) -> bool {
    ["sk_svc", "sk_svr"].contains(&name)
}

fn converted(name: &str) -> Result<(), String> {
    let (bytes, golden) = read(name);
    let engine = RtenEngine::new();
    let plan = ConvertPlan {
        variants: vec![VariantSpec { engine: "rten".to_owned(), dtype: Dtype::F32 }],
        bounds: Bounds::default(),
        int8: edgeward_convert::Int8Options::default(),
    };
    let report = convert(&bytes, &plan, &[&engine], None, &samples(&golden)).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    })?;
    let built = report.built.first().ok_or_else(|| report.refused[0].reason.clone())?;
    let model = engine.load(&built.onnx, &LoadOptions::with_threads(1)).map_err(|error| error.to_string())?;
    golden.check(&*model).map(drop).map_err(|error| error.to_string())
}

#[test]
fn every_model_answers_as_onnx_runtime_does() {
    let names: Vec<String> = names().into_iter().filter(|name| !refused(name)).collect();
    assert!(names.len() > 30, "{names:?}");
    let failed = |name: &String| converted(name).err().map(|why| format!("{name}: {why}"));
    let failures: Vec<String> = names.iter().filter_map(failed).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), names.len(), failures.join("\n"));
}

/// What the examples in `examples/frameworks` exported, each with every exporter it knows.
const EXPORTED: [&str; 6] = [
    "torch_cnn_dynamo",
    "torch_cnn_torchscript",
    "keras_cnn_export",
    "keras_cnn_tf2onnx",
    "digits_sk_mlp",
    "digits_sk_logistic",
];

#[test]
fn networks_of_every_framework_answer_as_onnx_runtime_does() {
    let digits: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    for name in EXPORTED {
        converted(name).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(signature(name).task, Task::Classification { classes: digits.clone() }, "{name}");
        assert!(signature(name).inputs[0].is_batched(), "{name}");
    }
}

#[test]
fn what_has_no_plain_form_is_refused_by_name() {
    for (name, expected) in [("sk_svc", "(SVMClassifier) has no plain form"), ("sk_svr", "(SVMRegressor)")] {
        let error = import(&read(name).0, &[&RtenEngine::new()]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn lowering_repeats_and_leaves_plain_models_alone() {
    for name in names().into_iter().filter(|name| !refused(name)) {
        let model = unzip(&onnx::decode(&read(&name).0).unwrap());
        let once = lower(&model).unwrap();
        onnx::graph::check(&once).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(onnx::encode(&lower(&model).unwrap()), onnx::encode(&once), "{name}");
        let left = |node: &onnx::NodeProto| {
            node.domain == "ai.onnx.ml" && !node.op_type.starts_with("Tree") && node.op_type != "LabelEncoder"
        };
        assert!(!once.graph.unwrap().node.iter().any(left), "{name}");
    }
    let plain = edgeward_model::engine::conformance::fixture::classifier();
    assert_eq!(lower(&unzip(&plain)).unwrap(), plain);
}

fn signature(name: &str) -> Signature {
    import(&read(name).0, &[&RtenEngine::new()]).expect("the model is taken").signature
}

#[test]
fn classes_are_named_in_the_signature() {
    let flowers = ["setosa", "versicolor", "virginica"].map(str::to_owned).to_vec();
    for name in [
        "sk_random_forest_names",
        "sk_scaled_logistic",
        "sk_mlp_names",
        "sk_mlp_names_zipmap",
        "sk_naive_bayes",
    ] {
        assert_eq!(signature(name).task, Task::Classification { classes: flowers.clone() }, "{name}");
    }
    let numbers = ["-3", "4", "11"].map(str::to_owned).to_vec();
    assert_eq!(signature("sk_random_forest").task, Task::Classification { classes: numbers });
    assert_eq!(signature("sk_linear").task, Task::Regression);
}
