//! Real files to begin from: the fixtures of the workspace, read where the workspace stands.

use std::fs;
use std::path::Path;

use edgeward_core::manifest::{BundlePath, FileEntry, MANIFEST_SCHEMA};
use edgeward_core::variant::{Format, NamedVersion, Provenance, Requires};
use edgeward_core::{Digest, Manifest, ModelName, Variant, canonical};
use edgeward_model::Engine as _;
use edgeward_model::delta;
use edgeward_model::engine::conformance::fixture;
use edgeward_model::session::derive_signature;
use edgeward_model::tensor::pack;
use edgeward_model::{DataType, Golden, LoadOptions, NamedTensor, RtenEngine, Tensor, Tolerance, onnx};

use super::mutate::{Form, INPUT_BYTES_MAX};
use super::target::Target;

/// The files that a target begins from; never empty.
#[must_use]
pub fn of(target: &Target, workspace: &Path) -> Vec<Vec<u8>> {
    let below = |folder: &str, extension: &str| files(&workspace.join(folder), extension);
    match (target.name, target.form) {
        (_, Form::Protobuf) => {
            models().into_iter().chain(below("crates/model/tests/fixtures", "onnx")).collect()
        }
        (_, Form::Json) => {
            let golden = files(&workspace.join("crates/model/tests/fixtures"), "json");
            documents().into_iter().chain(golden.into_iter().filter(|bytes| bytes.len() < 8 << 10)).collect()
        }
        ("profile", _) => {
            below("crates/monitor/tests/golden", "bin").into_iter().chain([Vec::new()]).collect()
        }
        ("project", _) => {
            below("examples/robots", "toml").into_iter().chain([b"[project]\n".to_vec()]).collect()
        }
        ("delta", _) => deltas(),
        ("packed-tensors", _) => vec![pack(&packed())],
        _ => raw(),
    }
}

/// The file that the deltas of the corpus are for.
#[must_use]
pub fn delta_source() -> Vec<u8> {
    onnx::encode(&fixture::classifier())
}

/// Deltas of every kind: of a model whose weights moved, of one with other bytes, of a text, and full forms.
fn deltas() -> Vec<Vec<u8>> {
    let source = delta_source();
    let mut moved = fixture::classifier();
    for constant in moved.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        let raw = constant.raw_data.iter_mut().flatten();
        raw.step_by(4).for_each(|byte| *byte = byte.wrapping_add(3));
    }
    let moved = onnx::encode(&moved);
    let results =
        [moved, onnx::encode(&fixture::convolution()), "a text ".repeat(700).into_bytes(), source.clone()];
    let of = |result: &Vec<u8>| [delta::delta(&source, result, usize::MAX), Some(delta::full(result))];
    results.iter().flat_map(of).flatten().collect()
}

fn files(folder: &Path, extension: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .filter(|bytes| bytes.len() <= INPUT_BYTES_MAX)
        .collect()
}

fn models() -> Vec<Vec<u8>> {
    let plain = [
        fixture::classifier(),
        fixture::regressor(),
        fixture::convolution(),
        fixture::int8_matmul(),
        fixture::negation(),
        fixture::extremes(),
        fixture::add_one(DataType::Int64),
        fixture::chain(20),
    ];
    plain.iter().map(onnx::encode).collect()
}

fn documents() -> Vec<Vec<u8>> {
    let model = fixture::classifier();
    let mut found = vec![br#"{"name":"x","shape":[1,2],"datatype":"FP32","data":[[1.5,null]]}"#.to_vec()];
    found.extend(manifest().to_bytes().ok());
    found.extend(derive_signature(&model).ok().and_then(|signature| signature.to_bytes().ok()));
    found.extend(golden().and_then(|golden| golden.to_bytes().ok()));
    found.extend(canonical::to_bytes(&edgeward_monitor::MonitorConfig::default()).ok());
    found
}

fn golden() -> Option<Golden> {
    let model =
        RtenEngine::new().load(&onnx::encode(&fixture::classifier()), &LoadOptions::with_threads(1)).ok()?;
    let rows = Tensor::from_rows(1, fixture::FEATURES, fixture::noise(fixture::FEATURES, 1)).ok()?;
    Golden::record(&*model, &[vec![rows]], Tolerance::default()).ok()
}

fn manifest() -> Manifest {
    let path = BundlePath::new("model.onnx").expect("a plain path");
    let mut variant = Variant::new("onnxruntime", "int8", path.clone());
    variant.name = Some("compiled".to_owned());
    variant.format = Format::new(Format::QNN_CONTEXT);
    variant.requires = Requires {
        provider: Some("qnn".to_owned()),
        soc: vec!["SM8550".to_owned()],
        sdk: Some(NamedVersion { name: "qairt".to_owned(), version: "2.31".to_owned() }),
        ..Requires::default()
    };
    variant.tool = Some(Provenance { name: "qnn".to_owned(), version: "1".to_owned(), verified: false });
    Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        model: ModelName::new("digits").expect("a model's name"),
        files: [(path.clone(), FileEntry { size_bytes: 3, digest: Digest::of(b"abc") })].into(),
        variants: vec![Variant::new("rten", "f32", path), variant],
    }
}

fn packed() -> Vec<NamedTensor> {
    let tensors = [
        Tensor::new([2, 2], vec![1.0_f32, f32::NAN, 3.0, -0.0]).map(|tensor| tensor.named("x")),
        Tensor::new([1, 2], vec![b"red".to_vec(), Vec::new()]).map(|tensor| tensor.named("colour")),
        Tensor::new([1], vec![7_i64]).map(|tensor| tensor.named("")),
    ];
    tensors.into_iter().flatten().collect()
}

fn raw() -> Vec<Vec<u8>> {
    let tensor = |kind: u8, rank: u8, dims: &[u32], data: &[u8]| {
        let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        [&[kind, rank][..], &dims, data].concat()
    };
    vec![
        tensor(0, 1, &[2], &[0; 8]),
        tensor(7, 1, &[2], &[1, 0, 0, 0, b'a', 0, 0, 0, 0]),
        tensor(4, 3, &[1, 2, 2], &[1, 2, 3, 4]),
    ]
}
