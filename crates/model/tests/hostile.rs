//! Whatever bytes come in, every parser returns, and a model that loads runs or fails cleanly.

use edgeward_model::engine::conformance::fixture;
use edgeward_model::onnx::{self, graph};
use edgeward_model::session::derive_signature;
use edgeward_model::{DataType, Dim, Engine, Golden, LoadOptions, RtenEngine, Signature, Tensor, TensorSpec};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const ROWS: usize = 2;

fn zeros(spec: &TensorSpec) -> Option<Tensor> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Symbolic(_) => ROWS,
    };
    let shape: Vec<usize> = spec.shape.iter().map(size).collect();
    let count = shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size))
        .filter(|&count| count < 1 << 16)?;
    let bytes = vec![0; count * spec.datatype.size_bytes()?];
    Tensor::from_le_bytes(spec.datatype, &shape, &bytes).ok()
}

fn load_and_run(bytes: &[u8]) {
    let Ok(model) = RtenEngine::new().load(bytes, &LoadOptions::with_threads(1)) else { return };
    let inputs: Option<Vec<Tensor>> = model.inputs().iter().map(zeros).collect();
    if let Some(inputs) = inputs {
        let _ = model.run(&inputs);
    }
}

fn models() -> Vec<Vec<u8>> {
    [fixture::classifier(), fixture::convolution(), fixture::int8_matmul(), fixture::add_one(DataType::Int64)]
        .iter()
        .map(onnx::encode)
        .collect()
}

#[test]
fn every_fixture_encodes_to_the_same_bytes_again() {
    for bytes in models() {
        let model = onnx::decode(&bytes).unwrap();
        assert_eq!(onnx::encode(&model), bytes);
        graph::check(&model).unwrap();
    }
}

#[test]
fn a_model_cut_anywhere_is_refused_or_runs() {
    for bytes in models() {
        for cut in 0..bytes.len() {
            if let Ok(model) = onnx::decode(&bytes[..cut]) {
                let _ = (graph::check(&model), derive_signature(&model));
            }
        }
    }
}

#[test]
fn deeply_nested_messages_are_refused_not_recursed() {
    // Field 7 (graph) of a model, then field 1 (node), 5 (attribute), 6 (graph), and so on.
    let mut bytes = Vec::new();
    for level in 0..100_000 {
        let tag = [0x0a_u8, 0x2a, 0x32][level % 3];
        let mut outer = vec![tag];
        let mut len = bytes.len();
        while len >= 0x80 {
            outer.push((len as u8) | 0x80);
            len >>= 7;
        }
        outer.push(len as u8);
        if bytes.len() > 200_000 {
            break;
        }
        bytes.splice(0..0, outer);
    }
    assert!(onnx::decode(&bytes).is_err());
    assert!(RtenEngine::new().load(&bytes, &LoadOptions::default()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(11), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = onnx::decode(&bytes);
        let _ = Signature::parse(&bytes);
        let _ = Golden::parse(&bytes);
        load_and_run(&bytes);
    }

    #[test]
    fn flipped_bytes_load_and_run_or_fail(which in 0_usize..4, flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = models().swap_remove(which);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(model) = onnx::decode(&bytes) {
            let _ = derive_signature(&model);
            prop_assert_eq!(onnx::decode(&onnx::encode(&model)).unwrap(), model);
        }
        load_and_run(&bytes);
    }
}

/// Found by fuzzing: the engine's table of values had one place fewer than inputs.
#[test]
fn two_inputs_of_one_name_are_refused() {
    let mut model = fixture::classifier();
    let graph = model.graph.as_mut().unwrap();
    let input = graph.input[0].clone();
    graph.input.push(input);
    let error = RtenEngine::new().load(&onnx::encode(&model), &LoadOptions::default()).err().unwrap();
    assert_eq!(error.kind(), edgeward_model::EngineErrorKind::InvalidGraph);
    assert!(error.to_string().contains("makes 'x', which something else makes already"), "{error}");
}
