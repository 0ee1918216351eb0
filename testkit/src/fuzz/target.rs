//! The parsers that take what strangers send, as functions of bytes.
//!
//! Each says how far the input came; only a panic, an abort or a broken promise is a finding.

use std::io::Cursor;

use edgeward_convert::quantise::{Int8Options, Judgement};
use edgeward_convert::{import, lower, optimise, quantise};
use edgeward_core::{Digest, Manifest};
use edgeward_model::delta::{self, DeltaError};
use edgeward_model::onnx::{self, graph};
use edgeward_model::session::derive_signature;
use edgeward_model::tensor::{pack, unpack};
use edgeward_model::{
    DataType, Dim, Engine, Golden, LoadOptions, NamedTensor, RtenEngine, Signature, Tensor, TensorSpec,
};
use edgeward_monitor::{LossDetector, MonitorConfig, Neighbours, Profile, Reference, SegmentedPerformance};
use edgeward_pipeline::ProjectFile;

use super::corpus;
use super::mutate::Form;

/// Most elements of an input that a model is run with.
const INPUT_ELEMENTS_MAX: usize = 1 << 16;
/// Largest file that a delta is asked for; a few bytes may rightly stand for a long file.
const DELTA_RESULT_BYTES_MAX: u64 = 1 << 20;
/// What a free dimension becomes in a run.
const ROWS: usize = 2;

/// A parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// How its inputs are written.
    pub form: Form,
    /// Its share of all executions, against the shares of the others.
    pub share: u32,
    /// Feeds it; the number says how far the input came.
    pub feed: fn(&[u8]) -> u8,
}

/// Every target.
pub const TARGETS: [Target; 10] = [
    Target { name: "onnx", form: Form::Protobuf, share: 30, feed: read_onnx },
    Target { name: "convert", form: Form::Protobuf, share: 10, feed: convert },
    Target { name: "engine", form: Form::Protobuf, share: 8, feed: load_and_run },
    Target { name: "bundle-json", form: Form::Json, share: 30, feed: read_documents },
    Target { name: "raw-tensor", form: Form::Bytes, share: 10, feed: read_raw },
    Target { name: "packed-tensors", form: Form::Bytes, share: 5, feed: read_packed },
    Target { name: "delta", form: Form::Bytes, share: 10, feed: apply_delta },
    Target { name: "profile", form: Form::Bytes, share: 10, feed: read_profile },
    Target { name: "project", form: Form::Bytes, share: 1, feed: read_project },
    Target { name: "import", form: Form::Protobuf, share: 1, feed: import_model },
];

/// The ONNX reader, the graph's rules, sizes and depth, the guessed signature, and every constant.
fn read_onnx(bytes: &[u8]) -> u8 {
    let Ok(model) = onnx::decode(bytes) else { return 0 };
    let again = onnx::decode(&onnx::encode(&model));
    assert!(again.is_ok_and(|again| same(&again, &model)), "what was read is written and read again");
    let _ = derive_signature(&model);
    let Some(found) = &model.graph else { return 1 };
    found.initializer.iter().for_each(|tensor| drop(tensor.to_tensor()));
    if graph::check(&model).is_err() {
        return 1;
    }
    let _ = graph::depth(found);
    2
}

/// Equality in which NaN equals itself: the bytes are the same.
fn same(a: &onnx::ModelProto, b: &onnx::ModelProto) -> bool {
    a == b || onnx::encode(a) == onnx::encode(b)
}

/// Lowering, optimising and storing weights in fewer bits, as `edgeward convert` does after its checks.
fn convert(bytes: &[u8]) -> u8 {
    let Ok(model) = onnx::decode(bytes) else { return 0 };
    if graph::check(&model).is_err() {
        return 0;
    }
    let Ok(plain) = lower(&lower::unzip(&model)) else { return 1 };
    let Ok((smaller, _)) = optimise(&plain, &RtenEngine::new()) else { return 2 };
    let _ = (quantise::weights_int8(&smaller), quantise::weights_half(&smaller, quantise::Half::Float16));
    quantise_activations(&smaller);
    3
}

/// Dynamic and static int8; whatever comes of it counts as near enough.
fn quantise_activations(model: &onnx::ModelProto) {
    let mut near = |_: &onnx::ModelProto| Ok(Judgement { within: true, distance: 0.0 });
    let options = Int8Options::default();
    let _ = quantise::dynamic_int8(model, &options, &mut near);
    let specs = model.graph.iter().flat_map(onnx::inputs).map(|input| input.spec().ok());
    if let Some(call) = specs.map(|spec| zeros(&spec?)).collect::<Option<Vec<Tensor>>>() {
        let _ = quantise::static_int8(model, &RtenEngine::new(), &[call], &options, &mut near);
    }
}

/// The embedded engine with its kernels for trees: load, and run on zeros.
fn load_and_run(bytes: &[u8]) -> u8 {
    let Ok(model) = RtenEngine::new().load(bytes, &LoadOptions::with_threads(1)) else { return 0 };
    let Some(inputs) = model.inputs().iter().map(zeros).collect::<Option<Vec<Tensor>>>() else { return 1 };
    model.run(&inputs).map_or(1, |outputs| {
        let agree =
            outputs.iter().zip(model.outputs()).all(|(found, spec)| found.datatype() == spec.datatype);
        assert!(agree, "outputs have the declared types");
        2
    })
}

fn zeros(spec: &TensorSpec) -> Option<Tensor> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Symbolic(_) => ROWS,
    };
    let shape: Vec<usize> = spec.shape.iter().map(size).collect();
    let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    let count = count.filter(|&count| count <= INPUT_ELEMENTS_MAX)?;
    let width = if spec.datatype == DataType::Bytes { 4 } else { spec.datatype.size_bytes()? };
    Tensor::from_le_bytes(spec.datatype, &shape, &vec![0; count * width]).ok()
}

/// Everything in `edgeward inspect MODEL`.
fn import_model(bytes: &[u8]) -> u8 {
    u8::from(import(bytes, &[&RtenEngine::new()]).is_ok())
}

/// Manifest, signature, golden test, a request's tensors and the monitor's configuration.
fn read_documents(bytes: &[u8]) -> u8 {
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert!(manifest.to_bytes().is_ok_and(|again| again == bytes), "a manifest has one spelling");
        return 1;
    }
    if let Ok(signature) = Signature::parse(bytes) {
        assert!(signature.to_bytes().is_ok(), "a signature that was read can be written");
        return 2;
    }
    if Golden::parse(bytes).is_ok() {
        return 3;
    }
    let config = serde_json::from_slice::<MonitorConfig>(bytes).is_ok();
    u8::from(config || serde_json::from_slice::<NamedTensor>(bytes).is_ok()) * 4
}

/// A tensor in binary form: its type and dimensions stand in the first bytes.
fn read_raw(bytes: &[u8]) -> u8 {
    let Some(([kind, rank], rest)) = bytes.split_first_chunk::<2>() else { return 0 };
    let datatype = DataType::ALL[usize::from(*kind) % DataType::ALL.len()];
    let Some((dims, data)) = rest.split_at_checked(usize::from(rank % 20) * 4) else { return 0 };
    let dims: Vec<usize> = dims
        .chunks_exact(4)
        .map(|dim| dim.iter().rev().fold(0, |size, &byte| (size << 8) | usize::from(byte)))
        .collect();
    let Ok(tensor) = Tensor::from_le_bytes(datatype, &dims, data) else { return 1 };
    assert_eq!(tensor.shape(), dims);
    2
}

/// The inputs of a request as they are kept.
fn read_packed(bytes: &[u8]) -> u8 {
    let Ok(tensors) = unpack(bytes) else { return 0 };
    let packed = pack(&tensors);
    let again = unpack(&packed).map(|again| pack(&again));
    assert_eq!(again.as_ref(), Ok(&packed), "what was unpacked is packed and unpacked again");
    1 + u8::from(!tensors.is_empty())
}

/// A delta, applied to the file that the corpus made deltas of; whatever file it says it leads to is asked for.
fn apply_delta(bytes: &[u8]) -> u8 {
    let Ok(header) = delta::Header::read(&mut &bytes[..]) else { return 0 };
    if header.result.size_bytes > DELTA_RESULT_BYTES_MAX {
        return 1;
    }
    let (mut source, mut out) = (Cursor::new(corpus::delta_source()), Vec::new());
    let applied = delta::apply(&mut &bytes[..], Some(&mut source), &header.result, &mut out);
    assert!(out.len() as u64 <= header.result.size_bytes, "no more is written than was asked for");
    match applied {
        Ok(()) => {
            assert_eq!(Digest::of(&out), header.result.digest, "what came of it is what was asked for");
            3
        }
        Err(DeltaError::WrongResult { .. }) => 2,
        Err(_) => 1,
    }
}

/// The monitor's documents: reference, profile, performance, embeddings, and the state of a loss detector.
fn read_profile(bytes: &[u8]) -> u8 {
    if let Ok(neighbours) = Neighbours::from_bytes(bytes) {
        assert_eq!(neighbours.to_bytes(), bytes, "embeddings have one spelling");
        let row = vec![1.0; neighbours.width()];
        assert!(neighbours.distance(&row).is_some_and(|distance| !distance.is_nan()));
        return 3;
    }
    // Without a baseline its highest mean is the same everywhere: that of the golden state.
    let mut losses = LossDetector::new(f64::NAN, 0.0, 0, 1e6);
    if losses.restore(bytes).is_ok() {
        assert_eq!(losses.to_bytes(), bytes, "a state has one spelling");
        let _ = losses.observe(1.0);
        return 2;
    }
    let reference = Reference::from_bytes(bytes).is_ok();
    let counts = reference || Profile::from_bytes(bytes).is_ok();
    u8::from(counts || SegmentedPerformance::from_bytes(bytes).is_ok())
}

/// A project file.
fn read_project(bytes: &[u8]) -> u8 {
    let Ok(text) = std::str::from_utf8(bytes) else { return 0 };
    1 + u8::from(ProjectFile::parse(text, "edgeward.toml", std::path::Path::new(".")).is_ok())
}
