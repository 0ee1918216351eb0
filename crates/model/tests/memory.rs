//! Loading, running and dropping models leaves the process as small as it was: the embedded engine. ONNX Runtime's test
//! stands with its other tests, since it needs the library.
#![cfg(target_os = "linux")]

use edgeward_model::engine::conformance::fixture;
use edgeward_model::{Engine, LoadOptions, RtenEngine, Tensor, onnx};

const CYCLES: usize = 1000;
/// Cycles after which the allocator has what it needs.
const WARMING: usize = 100;
const GROWTH_BYTES_MAX: usize = 16 << 20;

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

#[test]
fn a_thousand_loads_leave_memory_flat() {
    let models = [onnx::encode(&fixture::classifier()), onnx::encode(&fixture::convolution())];
    let trees = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/sk_random_forest.onnx"));
    let trees = trees.expect("the fixture is in the repository");
    let engine = RtenEngine::new();
    let options = LoadOptions::with_threads(1);
    let mut after_warming = 0;
    for cycle in 0..CYCLES {
        for bytes in models.iter().chain([&trees]) {
            let model = engine.load(bytes, &options).expect("it loads");
            let inputs: Option<Vec<Tensor>> = model.inputs().iter().map(zeros).collect();
            model.run(&inputs.expect("small inputs")).expect("it runs");
        }
        after_warming = if cycle == WARMING { resident_bytes() } else { after_warming };
    }
    let grown = resident_bytes().saturating_sub(after_warming);
    assert!(grown < GROWTH_BYTES_MAX, "{} cycles left {grown} bytes more", CYCLES - WARMING);
}

fn zeros(spec: &edgeward_model::TensorSpec) -> Option<Tensor> {
    let size = |dim: &edgeward_model::Dim| match dim {
        edgeward_model::Dim::Fixed(size) => *size,
        edgeward_model::Dim::Symbolic(_) => 2,
    };
    let shape: Vec<usize> = spec.shape.iter().map(size).collect();
    let bytes = vec![0; shape.iter().product::<usize>() * spec.datatype.size_bytes()?];
    Tensor::from_le_bytes(spec.datatype, &shape, &bytes).ok()
}
