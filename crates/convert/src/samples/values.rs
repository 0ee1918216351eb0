//! What an input of some kind holds, by its name and by what the graph does with it first.

use edgeward_model::onnx::{GraphProto, ModelProto};
use edgeward_model::{DataType, TensorData, TensorSpec};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Ends of the ranges that integers of unknown meaning come from, in the order tried. Variety first: inputs that are nearly
/// all alike make normalisations divide by nearly nothing, where engines differ. Where a model refuses those, they may be
/// indices of something small.
pub(super) const INTEGER_ENDS: [i64; 2] = [128, 2];
/// Samples of sound in a second, where a model asks.
const SAMPLE_RATE: i64 = 16_000;

/// What an input means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    /// Floats from -1 to 1; integers from 0 to below this.
    Numbers(i64),
    /// Whole numbers from 0 to below this.
    Index(i64),
    /// Always this.
    Always(i64),
}

impl Meaning {
    /// What `spec` holds; integers of unknown meaning stay below `integer_end`.
    pub(super) fn of(spec: &TensorSpec, model: &ModelProto, integer_end: i64) -> Self {
        let name = spec.name.to_lowercase();
        if let Some(size) = model.graph.as_ref().and_then(|graph| table(graph, &spec.name)) {
            return Self::Index(size);
        }
        if name.contains("mask") {
            return Self::Always(1);
        }
        if name == "sr" || name.contains("sample_rate") || name.contains("sampling_rate") {
            return Self::Always(SAMPLE_RATE);
        }
        Self::Numbers(integer_end)
    }

    pub(super) fn data(self, datatype: DataType, count: usize, rng: &mut ChaCha8Rng) -> TensorData {
        match datatype {
            DataType::Fp32 => (0..count).map(|_| self.float(rng) as f32).collect::<Vec<_>>().into(),
            DataType::Fp64 => (0..count).map(|_| self.float(rng)).collect::<Vec<_>>().into(),
            DataType::Bool => (0..count).map(|_| self.float(rng) > 0.0).collect::<Vec<_>>().into(),
            DataType::Bytes => TensorData::Bytes(vec![b"a".to_vec(); count]),
            DataType::Int64 => (0..count).map(|_| self.integer(rng)).collect::<Vec<_>>().into(),
            DataType::Int32 => (0..count).map(|_| self.integer(rng) as i32).collect::<Vec<_>>().into(),
            DataType::Uint8 => (0..count).map(|_| self.integer(rng) as u8).collect::<Vec<_>>().into(),
            DataType::Int8 => (0..count).map(|_| self.integer(rng) as i8).collect::<Vec<_>>().into(),
        }
    }

    fn float(self, rng: &mut ChaCha8Rng) -> f64 {
        match self {
            Self::Numbers(_) => rng.random_range(-1.0..1.0_f64),
            Self::Index(_) | Self::Always(_) => self.integer(rng) as f64,
        }
    }

    fn integer(self, rng: &mut ChaCha8Rng) -> i64 {
        match self {
            Self::Numbers(size) | Self::Index(size) => rng.random_range(0..size.max(1)),
            Self::Always(value) => value,
        }
    }
}

/// Rows of the smallest table that `value` indexes, at once or after a change of its type or shape.
fn table(graph: &GraphProto, value: &str) -> Option<i64> {
    let reads = |node: &&edgeward_model::onnx::NodeProto| node.input.iter().any(|input| input == value);
    let sizes = graph.node.iter().filter(reads).filter_map(|node| match node.op_type.as_str() {
        "Gather" if node.input.get(1).is_some_and(|input| input == value) => {
            let axis = usize::try_from(node.int("axis", 0)).ok()?;
            graph.constant(node.input.first()?)?.dims.get(axis).copied()
        }
        "Cast" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Identity" | "Transpose" => {
            let output = node.output.first().filter(|output| *output != value)?;
            table(graph, output)
        }
        _ => None,
    });
    sizes.min()
}
