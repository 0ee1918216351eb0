//! Made-up inputs for a model whose real ones are not at hand: enough to compare two forms of it, not to calibrate.
//!
//! Sizes that a model leaves open are found by trying ([`sizes`]): few models that say "any height" take every height.
//! Values are what inputs of that kind hold ([`values`]): indices stay inside the table they index, masks are ones,
//! floats lie between -1 and 1. The same model always gets the same inputs.

mod sizes;
mod values;

use std::sync::Arc;

use edgeward_model::onnx::{self, ModelProto};
use edgeward_model::tensor::element_count;
use edgeward_model::{Engine, LoadOptions, Runnable, Signature, Tensor, TensorSpec};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use self::sizes::Sizes;
use self::values::{INTEGER_ENDS, Meaning};
use crate::optimise::optimise;

/// Calls made up.
const CALLS: usize = 4;
const SEED: u64 = 1;

/// No made-up input runs the model.
#[derive(Debug, thiserror::Error)]
#[error("the model ran on none of {tried} made-up inputs, the last refused because: {last}; give real ones")]
pub struct SamplesError {
    /// Sizes that were tried.
    pub tried: usize,
    /// What an engine said of the last.
    pub last: String,
}

/// A few calls' inputs that `model` runs on: on all of `engines` that load it if there are such, else on one of them.
///
/// # Errors
/// The model ran on none that was tried. Without an engine that loads it the first that fits the signature is given.
pub fn made_up(
    model: &ModelProto,
    signature: &Signature,
    engines: &[&dyn Engine],
) -> Result<Vec<Vec<Tensor>>, SamplesError> {
    let loaded: Vec<Arc<dyn Runnable>> = engines.iter().filter_map(|engine| load(model, *engine)).collect();
    let meanings = |integer_end| -> Vec<Meaning> {
        signature.inputs.iter().map(|spec| Meaning::of(spec, model, integer_end)).collect()
    };
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let (mut on_one, mut last, mut tried) = (None, "they are too large".to_owned(), 0);
    let candidates = sizes::candidates(&signature.inputs);
    let attempts = INTEGER_ENDS.iter().flat_map(|&end| candidates.iter().map(move |sizes| (end, sizes)));
    for (end, sizes) in attempts {
        tried += 1;
        let meanings = meanings(end);
        let Some(call) = call(&signature.inputs, &meanings, sizes, &mut rng) else { continue };
        let failures: Vec<String> =
            loaded.iter().filter_map(|model| model.run(&call).err()).map(|error| error.to_string()).collect();
        if failures.is_empty() {
            return calls(&signature.inputs, &meanings, sizes).ok_or(SamplesError { tried, last });
        }
        if failures.len() < loaded.len() {
            on_one = on_one.or(Some((meanings, sizes)));
        }
        last = failures.join("; ");
    }
    let (meanings, sizes) = on_one.ok_or(SamplesError { tried, last: last.clone() })?;
    calls(&signature.inputs, &meanings, sizes).ok_or(SamplesError { tried, last })
}

fn load(model: &ModelProto, engine: &dyn Engine) -> Option<Arc<dyn Runnable>> {
    let (small, _) = optimise(model, engine).ok()?;
    engine.load(&onnx::encode(&small), &LoadOptions::with_threads(1)).ok()
}

fn calls(inputs: &[TensorSpec], meanings: &[Meaning], sizes: &Sizes) -> Option<Vec<Vec<Tensor>>> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    (0..CALLS).map(|_| call(inputs, meanings, sizes, &mut rng)).collect()
}

/// One call's inputs; none if a tensor would be larger than any is.
fn call(
    inputs: &[TensorSpec],
    meanings: &[Meaning],
    sizes: &Sizes,
    rng: &mut ChaCha8Rng,
) -> Option<Vec<Tensor>> {
    let made = inputs.iter().zip(meanings).enumerate().map(|(at, (spec, meaning))| {
        let shape = sizes.shape(at, spec);
        let count = element_count(&shape).ok()?;
        Tensor::new(shape, meaning.data(spec.datatype, count, rng)).ok()
    });
    made.collect()
}

#[cfg(test)]
mod tests {
    use edgeward_model::engine::conformance::fixture;
    use edgeward_model::onnx::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
    use edgeward_model::session::derive_signature;
    use edgeward_model::{DataType, Dim, RtenEngine, TensorData};

    use super::*;

    fn made(model: &ModelProto) -> Result<Vec<Vec<Tensor>>, SamplesError> {
        made_up(model, &derive_signature(model).unwrap(), &[&RtenEngine::new()])
    }

    fn model(
        nodes: Vec<NodeProto>,
        constants: &[(&str, Tensor)],
        inputs: &[(&str, DataType, &[Dim])],
    ) -> ModelProto {
        let mut graph = GraphProto::new("sizes");
        graph.node = nodes;
        graph.initializer =
            constants.iter().map(|(name, tensor)| TensorProto::from_tensor(*name, tensor)).collect();
        graph.input = inputs
            .iter()
            .map(|(name, datatype, shape)| ValueInfoProto::tensor(*name, *datatype, shape))
            .collect();
        graph.output =
            vec![ValueInfoProto::tensor("y", DataType::Fp32, &[Dim::symbol("a"), Dim::symbol("b")])];
        ModelProto::new(graph)
    }

    fn matrix(rows: usize, columns: usize) -> Tensor {
        Tensor::from_rows(rows, columns, fixture::noise(rows * columns, 1)).unwrap()
    }

    #[test]
    fn calls_fit_the_signature_and_repeat() {
        let model = fixture::classifier();
        let calls = made(&model).unwrap();
        assert_eq!((calls.len(), calls[0][0].shape()), (CALLS, &[32, fixture::FEATURES][..]));
        assert_eq!(calls, made(&model).unwrap());
        assert_ne!(calls[0], calls[1]);
    }

    #[test]
    fn a_size_the_model_hides_is_found() {
        let dims = [Dim::symbol("batch"), Dim::symbol("length")];
        let hidden = |size| {
            let node = NodeProto::new("MatMul", "m", &["x", "w"], &["y"]);
            model(vec![node], &[("w", matrix(size, 2))], &[("x", DataType::Fp32, &dims)])
        };
        for size in [1, 16, 80, 512] {
            assert_eq!(made(&hidden(size)).unwrap()[0][0].shape(), [32, size]);
        }
        let error = made(&hidden(12_345)).unwrap_err();
        assert!(error.to_string().contains("'m' (MatMul)") && error.tried > 10, "{error}");
    }

    #[test]
    fn inputs_that_must_agree_do() {
        let dims = |name: &str| vec![Dim::symbol(name), Dim::Fixed(3)];
        let (left, right, state) =
            (dims("unk__1"), dims("unk__2"), [Dim::Fixed(1), Dim::symbol("?"), Dim::Fixed(3)]);
        let nodes = vec![
            NodeProto::new("Add", "add", &["a", "b"], &["ab"]),
            NodeProto::new("Concat", "join", &["ab", "flat"], &["y"]).with(AttributeProto::int("axis", 1)),
            NodeProto::new("Squeeze", "flatten", &["state", "first"], &["flat"]),
        ];
        let first = Tensor::new([1], vec![0_i64]).unwrap();
        let calls = made(&model(
            nodes,
            &[("first", first)],
            &[("a", DataType::Fp32, &left), ("b", DataType::Fp32, &right), ("state", DataType::Fp32, &state)],
        ));
        let calls = calls.unwrap();
        let rows = calls[0][0].shape()[0];
        assert!(rows > 1);
        assert_eq!((calls[0][1].shape(), calls[0][2].shape()), (&[rows, 3][..], &[1, rows, 3][..]));
    }

    #[test]
    fn indices_stay_inside_their_table_and_masks_are_ones() {
        let dims = [Dim::symbol("batch"), Dim::symbol("length")];
        let nodes = vec![
            NodeProto::new("Cast", "index", &["ids"], &["at"]).with(AttributeProto::int("to", 7)),
            NodeProto::new("Gather", "look", &["table", "at"], &["found"]),
            NodeProto::new("ReduceSum", "sum", &["found", "last"], &["sums"])
                .with(AttributeProto::int("keepdims", 0)),
            NodeProto::new("Mul", "mask", &["sums", "attention_mask"], &["y"]),
        ];
        let constants = [("table", matrix(900, 4)), ("last", Tensor::new([1], vec![-1_i64]).unwrap())];
        let inputs = [("ids", DataType::Int64, &dims[..]), ("attention_mask", DataType::Fp32, &dims[..])];
        let calls = made(&model(nodes, &constants, &inputs)).unwrap();
        let TensorData::I64(ids) = calls[0][0].data() else { panic!("{:?}", calls[0][0]) };
        assert!(ids.iter().all(|id| (0..900).contains(id)) && ids.iter().any(|&id| id > 100), "{ids:?}");
        assert!(calls[0][1].as_f32().unwrap().iter().all(|&mask| mask == 1.0));
    }

    #[test]
    fn images_get_sizes_of_images() {
        let dims = [Dim::symbol("n"), Dim::Fixed(3), Dim::symbol("?"), Dim::symbol("?")];
        let node = NodeProto::new("GlobalAveragePool", "pool", &["x"], &["y"]);
        let calls = made(&model(vec![node], &[], &[("x", DataType::Fp32, &dims)])).unwrap();
        assert_eq!(calls[0][0].shape(), [1, 3, 224, 224]);
    }
}
