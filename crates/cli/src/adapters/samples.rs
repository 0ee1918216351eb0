//! Made-up inputs for a model whose real ones are not at hand: enough to compare two forms of it, not to calibrate.

use edgeward_model::tensor::ShapeError;
use edgeward_model::{DataType, Dim, Signature, Tensor, TensorData, TensorSpec};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Calls made up.
const CALLS: usize = 4;
/// Rows in each, where the model takes several.
const ROWS: usize = 32;
/// What a dimension of any size becomes, except the first.
const ANY_SIZE: usize = 4;
const SEED: u64 = 1;
/// Integers are indices more often than measurements, so they stay small.
const INTEGERS: i64 = 2;

/// A few calls' inputs, the same every time: floats from -1 to 1, small integers.
pub(crate) fn sample_calls(signature: &Signature) -> Result<Vec<Vec<Tensor>>, ShapeError> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    (0..CALLS).map(|_| signature.inputs.iter().map(|spec| made_up(spec, &mut rng)).collect()).collect()
}

fn made_up(spec: &TensorSpec, rng: &mut ChaCha8Rng) -> Result<Tensor, ShapeError> {
    let size = |(index, dim): (usize, &Dim)| match dim {
        Dim::Fixed(size) => *size,
        Dim::Symbolic(_) if index == 0 => ROWS,
        Dim::Symbolic(_) => ANY_SIZE,
    };
    let shape: Vec<usize> = spec.shape.iter().enumerate().map(size).collect();
    let count = edgeward_model::tensor::element_count(&shape)?;
    Tensor::new(shape, data(spec.datatype, count, rng))
}

fn data(datatype: DataType, count: usize, rng: &mut ChaCha8Rng) -> TensorData {
    let mut float = || rng.random_range(-1.0..1.0_f64);
    match datatype {
        DataType::Fp32 => (0..count).map(|_| float() as f32).collect::<Vec<_>>().into(),
        DataType::Fp64 => (0..count).map(|_| float()).collect::<Vec<_>>().into(),
        DataType::Bool => (0..count).map(|_| float() > 0.0).collect::<Vec<_>>().into(),
        DataType::Bytes => TensorData::Bytes(vec![b"a".to_vec(); count]),
        DataType::Int64 => integers(count, rng).collect::<Vec<i64>>().into(),
        DataType::Int32 => integers(count, rng).map(|n| n as i32).collect::<Vec<_>>().into(),
        DataType::Uint8 => integers(count, rng).map(|n| n as u8).collect::<Vec<_>>().into(),
        DataType::Int8 => integers(count, rng).map(|n| n as i8).collect::<Vec<_>>().into(),
    }
}

fn integers(count: usize, rng: &mut ChaCha8Rng) -> impl Iterator<Item = i64> {
    (0..count).map(|_| rng.random_range(0..INTEGERS))
}

#[cfg(test)]
mod tests {
    use edgeward_model::{Roles, Task};

    use super::*;

    #[test]
    fn made_up_calls_fit_the_signature_and_repeat() {
        let inputs = vec![
            TensorSpec::new("x", DataType::Fp32, vec![Dim::symbol("batch"), Dim::Fixed(3)]),
            TensorSpec::new("n", DataType::Int64, vec![Dim::symbol("batch"), Dim::symbol("length")]),
        ];
        let signature = Signature {
            schema: edgeward_model::signature::SIGNATURE_SCHEMA.to_owned(),
            task: Task::Other,
            inputs,
            outputs: Vec::new(),
            feature_names: Vec::new(),
            roles: Roles::default(),
        };
        let calls = sample_calls(&signature).unwrap();
        assert_eq!(calls.len(), CALLS);
        for call in &calls {
            assert!(call.iter().zip(&signature.inputs).all(|(tensor, spec)| spec.admits(tensor)));
        }
        assert_eq!(calls, sample_calls(&signature).unwrap());
    }
}
