//! A network that is made so large that one request takes a given time here: what the measurements ask.

use std::time::Instant;

use edgeward_model::onnx::{
    self, AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use edgeward_model::{DataType, Dim, LoadOptions, NamedTensor, RtenEngine, Tensor};
use edgeward_sdk::Loaded;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const WIDTH: usize = 64;
const CLASSES: usize = 10;
/// Requests of one block.
pub(crate) const BLOCK: usize = 100;
/// Models that are tried until one is of the right speed.
const TRIES: usize = 6;

/// The network behind a session of one thread.
pub(crate) fn load(onnx: &[u8]) -> Loaded {
    Loaded::from_onnx(onnx, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap()
}

/// One row to ask.
pub(crate) fn row() -> Vec<NamedTensor> {
    let values: Vec<f32> = (0..WIDTH).map(|at| at as f32 / WIDTH as f32).collect();
    vec![Tensor::from_rows(1, WIDTH, values).unwrap().named("x")]
}

/// The units of a network of which one request takes about so many milliseconds here.
pub(crate) fn units_of_speed(wanted_ms: f64) -> usize {
    let mut hidden = 1024;
    for _ in 0..TRIES {
        let loaded = load(&onnx::encode(&network(hidden, 0)));
        (0..BLOCK).for_each(|_| drop(loaded.infer(row()).unwrap()));
        let began = Instant::now();
        (0..BLOCK).for_each(|_| drop(loaded.infer(row()).unwrap()));
        let took_ms = began.elapsed().as_secs_f64() * 1e3 / BLOCK as f64;
        println!("a network with {hidden} units takes {took_ms:.3} ms");
        if (took_ms / wanted_ms - 1.0).abs() < 0.1 {
            return hidden;
        }
        // Two of its three layers grow with it, the one between them with its square.
        hidden = ((hidden as f64 * (wanted_ms / took_ms).sqrt()) as usize).clamp(64, 16_384);
    }
    hidden
}

/// A network of so many units; another `seed`, other weights.
pub(crate) fn network(hidden: usize, seed: u64) -> ModelProto {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = |name: &str, rows: usize, columns: usize| {
        let scale = 1.0 / (rows as f32).sqrt();
        let values: Vec<f32> = (0..rows * columns).map(|_| rng.random_range(-scale..scale)).collect();
        TensorProto::from_tensor(name, &Tensor::from_rows(rows, columns, values).unwrap())
    };
    let mut graph = GraphProto::new("bench");
    graph.initializer =
        vec![weights("a", WIDTH, hidden), weights("b", hidden, hidden), weights("c", hidden, CLASSES)];
    graph.node = vec![
        NodeProto::new("MatMul", "first", &["x", "a"], &["sums"]),
        NodeProto::new("Relu", "relu", &["sums"], &["active"]),
        NodeProto::new("MatMul", "second", &["active", "b"], &["more"]),
        NodeProto::new("Relu", "again", &["more"], &["deep"]),
        NodeProto::new("MatMul", "third", &["deep", "c"], &["scores"]),
        NodeProto::new("Softmax", "softmax", &["scores"], &["probabilities"])
            .with(AttributeProto::int("axis", -1)),
    ];
    let rows = Dim::symbol("rows");
    graph.input = vec![ValueInfoProto::tensor("x", DataType::Fp32, &[rows.clone(), Dim::Fixed(WIDTH)])];
    graph.output =
        vec![ValueInfoProto::tensor("probabilities", DataType::Fp32, &[rows, Dim::Fixed(CLASSES)])];
    ModelProto::new(graph)
}
