//! The model that is reloaded: a network of a given size, of which any number of versions can be made.

use std::path::Path;

use edgeward_core::ModelName;
use edgeward_model::onnx::{
    self, AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use edgeward_model::{
    Bundle, BundleWriter, DataType, Dim, Golden, LoadOptions, RtenEngine, Session, Tensor, Tolerance,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::output::{Explain, Failure};

/// The model's name.
pub(super) const MODEL: &str = "reload";
/// Its input's name.
pub(super) const INPUT: &str = "x";
/// Its output's name.
pub(super) const OUTPUT: &str = "probabilities";
/// Values in one row.
pub(super) const WIDTH: usize = 64;
const CLASSES: usize = 10;
const SEED: u64 = 20_261_126;

/// Writes version `number` of a model with about `megabytes` of weights below `dir`.
pub(super) fn write(dir: &Path, number: u32, megabytes: u32) -> Result<Bundle, Failure> {
    let doing = "making the model that is reloaded";
    let onnx = onnx::encode(&network(number, megabytes)?);
    let engine = RtenEngine::new();
    let options = LoadOptions::with_threads(1);
    let session = Session::from_onnx(&onnx, &engine, &options).explain("model", doing)?;
    let calls = [vec![row()?]];
    let golden = Golden::record(session.runnable(), &calls, Tolerance::default()).explain("model", doing)?;
    let name = ModelName::new(MODEL).explain("model", doing)?;
    let mut writer = BundleWriter::new(name);
    writer
        .model(onnx.clone())
        .and_then(|writer| writer.variant("rten", "f32", onnx))
        .and_then(|writer| writer.signature(session.signature()))
        .and_then(|writer| writer.golden(&golden))
        .explain("bundle", doing)?;
    writer.write(dir).explain("bundle", doing)
}

/// What a version answers to the request that is always sent.
pub(super) fn answer(bundle: &Bundle) -> Result<Vec<f32>, Failure> {
    let doing = "asking the model that is reloaded";
    let session = Session::load(bundle, &RtenEngine::new(), &LoadOptions::with_threads(1));
    let outputs = session.explain("model", doing)?.infer_ordered(&[row()?]).explain("model", doing)?;
    let answer = outputs.get(OUTPUT).and_then(Tensor::as_f32).map(<[f32]>::to_vec);
    answer.ok_or_else(|| Failure::new("model", "the model gives no probabilities"))
}

/// The row that is always sent.
fn row() -> Result<Tensor, Failure> {
    let row = (0..WIDTH).map(|n| n as f32 / WIDTH as f32).collect::<Vec<_>>();
    Tensor::from_rows(1, WIDTH, row).explain("model", "making a row")
}

/// Two layers whose weights take the given size; versions differ in every weight, as after training anew.
fn network(number: u32, megabytes: u32) -> Result<ModelProto, Failure> {
    let hidden = megabytes as usize * 1_000_000 / 4 / (WIDTH + CLASSES);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED + u64::from(number));
    let mut weights = |name: &str, rows: usize, columns: usize| {
        let scale = 1.0 / (rows as f32).sqrt();
        let values: Vec<f32> = (0..rows * columns).map(|_| rng.random_range(-scale..scale)).collect();
        Tensor::from_rows(rows, columns, values)
            .map(|tensor| TensorProto::from_tensor(name, &tensor))
            .explain("model", "making weights")
    };
    let mut graph = GraphProto::new("reload");
    graph.initializer = vec![weights("first", WIDTH, hidden)?, weights("second", hidden, CLASSES)?];
    graph.node = vec![
        NodeProto::new("MatMul", "hidden", &[INPUT, "first"], &["sums"]),
        NodeProto::new("Relu", "relu", &["sums"], &["active"]),
        NodeProto::new("MatMul", "output", &["active", "second"], &["scores"]),
        NodeProto::new("Softmax", "softmax", &["scores"], &[OUTPUT]).with(AttributeProto::int("axis", -1)),
    ];
    let rows = Dim::Symbolic("rows".to_owned());
    graph.input = vec![ValueInfoProto::tensor(INPUT, DataType::Fp32, &[rows.clone(), Dim::Fixed(WIDTH)])];
    graph.output = vec![ValueInfoProto::tensor(OUTPUT, DataType::Fp32, &[rows, Dim::Fixed(CLASSES)])];
    Ok(ModelProto::new(graph))
}
