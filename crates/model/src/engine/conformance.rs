//! What every engine must do, as a suite to stamp on each: [`assert_conforms`].
//!
//! The cases build their models with this crate's ONNX builders ([`fixture`]) and know the right answers from plain
//! arithmetic written here, not from another engine.

pub mod fixture;

use std::sync::Arc;

use super::{Engine, EngineError, EngineErrorKind, LoadOptions, Runnable};
use crate::onnx::{self, AttributeProto, ModelProto, NodeProto, TensorProto};
use crate::tensor::{DataType, Tensor, TensorData};

/// Largest difference from the arithmetic done here.
const TOLERANCE: f32 = 1e-5;

type Case = (&'static str, fn(&dyn Engine) -> Result<(), String>);

const CASES: &[Case] = &[
    ("declared specs are reported", specs_are_reported),
    ("a classifier gives the right numbers", classifier_is_right),
    ("INT64 outputs are INT64", labels_are_int64),
    ("the first of equal scores wins", first_of_equals_wins),
    ("rows do not touch one another", rows_are_independent),
    ("a run repeats bit for bit", runs_repeat),
    ("threads share a model", threads_share),
    ("any thread count gives the same answer", thread_counts_agree),
    ("NaN flows through", nan_flows),
    ("an empty batch or a clean error", empty_batch),
    ("INT64 arithmetic is right or refused", int64_is_right_or_refused),
    ("BOOL and FP64 keep their datatypes", datatypes_are_kept),
    ("convolutions are right", convolution_is_right),
    ("int8 weights are dequantised", int8_weights_are_dequantised),
    ("inputs that do not fit are refused", bad_inputs_are_refused),
    ("an unknown operator is named", unknown_operator_is_named),
    ("a cycle is refused", cycle_is_refused),
    ("constants in other files are refused", external_data_is_refused),
    ("torn bytes are refused", torn_bytes_are_refused),
    ("the deepest and deeper graphs return", deep_graphs_return),
];

/// Runs every case on `engine`.
///
/// # Panics
/// A case fails; the message lists each that did.
pub fn assert_conforms(engine: &dyn Engine) {
    let run = |&(name, case): &Case| case(engine).err().map(|why| format!("{name}: {why}"));
    let failures: Vec<String> = CASES.iter().filter_map(run).collect();
    assert!(failures.is_empty(), "{} does not conform:\n{}", engine.name(), failures.join("\n"));
}

fn load(engine: &dyn Engine, model: &ModelProto) -> Result<Arc<dyn Runnable>, String> {
    engine.load(&onnx::encode(model), &LoadOptions::with_threads(1)).map_err(|error| error.to_string())
}

fn run(model: &dyn Runnable, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    model.run(inputs).map_err(|error| error.to_string())
}

fn rows(rows: usize, width: usize, seed: u64) -> Result<Tensor, String> {
    Tensor::from_rows(rows, width, fixture::noise(rows * width, seed)).map_err(|error| error.to_string())
}

fn expect(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

fn close(found: &Tensor, expected: &[f32]) -> Result<(), String> {
    let found = found.as_f32().ok_or("the output is not FP32")?;
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE;
    let equal = found.len() == expected.len() && found.iter().zip(expected).all(near);
    expect(equal, || format!("found {found:?}, expected {expected:?}"))
}

fn kind_of<T>(result: Result<T, EngineError>) -> Option<EngineErrorKind> {
    result.err().map(|error| error.kind())
}

fn expect_kind<T>(result: Result<T, EngineError>, expected: EngineErrorKind) -> Result<(), String> {
    let found = kind_of(result);
    expect(found == Some(expected), || format!("found {found:?}, expected {expected:?}"))
}

fn specs_are_reported(engine: &dyn Engine) -> Result<(), String> {
    let model = load(engine, &fixture::classifier())?;
    let text =
        |specs: &[crate::TensorSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let found = format!("{} -> {}", text(model.inputs()), text(model.outputs()));
    let expected = "x FP32[batch, 4] -> label INT64[batch] probabilities FP32[batch, 3]";
    expect(found == expected, || found)
}

fn classifier_is_right(engine: &dyn Engine) -> Result<(), String> {
    let input = rows(5, fixture::FEATURES, 1)?;
    let outputs = run(&*load(engine, &fixture::classifier())?, std::slice::from_ref(&input))?;
    let values = input.as_f32().unwrap_or_default();
    let expected: Vec<f32> = values.chunks(fixture::FEATURES).flat_map(fixture::classify).collect();
    close(&outputs[1], &expected)
}

fn labels_are_int64(engine: &dyn Engine) -> Result<(), String> {
    let outputs = run(&*load(engine, &fixture::classifier())?, &[rows(4, fixture::FEATURES, 2)?])?;
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0) as i64;
    let scores = outputs[1].as_f32().unwrap_or_default();
    let expected: Vec<i64> = scores.chunks(fixture::CLASSES).map(best).collect();
    expect(outputs[0].as_i64() == Some(&expected), || {
        format!("found {:?}, expected {expected:?}", outputs[0])
    })
}

fn first_of_equals_wins(engine: &dyn Engine) -> Result<(), String> {
    let model = load(engine, &fixture::extremes())?;
    let input = Tensor::from_rows(2, 4, vec![1.0, 5.0, 5.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    let outputs = run(&*model, &[input.map_err(|error| error.to_string())?])?;
    let found: Vec<_> = outputs.iter().map(Tensor::as_i64).collect();
    expect(found == [Some(&[1, 0][..]), Some(&[0, 0])], || format!("found {found:?}"))?;
    expect(outputs[1].shape() == [2, 1], || format!("shape {:?}", outputs[1].shape()))
}

fn rows_are_independent(engine: &dyn Engine) -> Result<(), String> {
    let model = load(engine, &fixture::classifier())?;
    let batch = rows(6, fixture::FEATURES, 3)?;
    let together = run(&*model, std::slice::from_ref(&batch))?;
    for (index, row) in batch.as_f32().unwrap_or_default().chunks(fixture::FEATURES).enumerate() {
        let single =
            Tensor::from_rows(1, fixture::FEATURES, row.to_vec()).map_err(|error| error.to_string())?;
        let alone = run(&*model, &[single])?;
        let at = index * fixture::CLASSES;
        close(&alone[1], &together[1].as_f32().unwrap_or_default()[at..at + fixture::CLASSES])?;
    }
    Ok(())
}

fn runs_repeat(engine: &dyn Engine) -> Result<(), String> {
    let model = load(engine, &fixture::classifier())?;
    let input = [rows(3, fixture::FEATURES, 4)?];
    let first = run(&*model, &input)?;
    expect(run(&*model, &input)? == first, || "two runs differ".to_owned())
}

fn threads_share(engine: &dyn Engine) -> Result<(), String> {
    let model = load(engine, &fixture::classifier())?;
    let input = [rows(3, fixture::FEATURES, 5)?];
    let expected = run(&*model, &input)?;
    let same = || (0..20).all(|_| run(&*model, &input).as_ref() == Ok(&expected));
    let all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(same)).collect();
        workers.into_iter().all(|worker| worker.join().unwrap_or(false))
    });
    expect(all, || "a thread saw another answer".to_owned())
}

fn thread_counts_agree(engine: &dyn Engine) -> Result<(), String> {
    let bytes = onnx::encode(&fixture::classifier());
    let input = [rows(8, fixture::FEATURES, 6)?];
    let expected = run(&*load(engine, &fixture::classifier())?, &input)?;
    for threads in [None, Some(0), Some(2), Some(usize::MAX)] {
        let model = engine
            .load(&bytes, &LoadOptions { threads, ..LoadOptions::default() })
            .map_err(|error| error.to_string())?;
        close(&run(&*model, &input)?[1], expected[1].as_f32().unwrap_or_default())?;
    }
    Ok(())
}

fn nan_flows(engine: &dyn Engine) -> Result<(), String> {
    let model = load(engine, &fixture::regressor())?;
    let input = Tensor::from_rows(2, 2, vec![f32::NAN, 1.0, 1.0, 1.0]).map_err(|error| error.to_string())?;
    let outputs = run(&*model, &[input])?;
    let values = outputs[0].as_f32().unwrap_or_default();
    expect(values.len() == 2 && values[0].is_nan() && !values[1].is_nan(), || format!("found {values:?}"))
}

fn empty_batch(engine: &dyn Engine) -> Result<(), String> {
    let model = load(engine, &fixture::regressor())?;
    match model.run(&[rows(0, 2, 0)?]) {
        Ok(outputs) => expect(outputs[0].is_empty(), || format!("found {:?}", outputs[0])),
        Err(error) => expect(error.kind() != EngineErrorKind::Panicked, || error.to_string()),
    }
}

fn int64_is_right_or_refused(engine: &dyn Engine) -> Result<(), String> {
    let model = load(engine, &fixture::add_one(DataType::Int64))?;
    for value in [41, -1, i64::from(i32::MAX) - 1, i64::from(i32::MAX) + 7, i64::MIN / 2] {
        let input = Tensor::new([1], vec![value]).map_err(|error| error.to_string())?;
        match model.run(&[input]) {
            Ok(outputs) => {
                let right = outputs[0].as_i64() == Some(&[value + 1][..]);
                expect(right, || format!("{value} + 1 became {:?}", outputs[0]))?;
            }
            Err(error) if i32::try_from(value).is_ok() => return Err(error.to_string()),
            Err(error) => expect(error.kind() == EngineErrorKind::InvalidInput, || error.to_string())?,
        }
    }
    Ok(())
}

fn datatypes_are_kept(engine: &dyn Engine) -> Result<(), String> {
    let wide = Tensor::new([2], vec![0.5_f64, -3.0]).map_err(|error| error.to_string())?;
    let outputs = run(&*load(engine, &fixture::add_one(DataType::Fp64))?, &[wide])?;
    expect(*outputs[0].data() == TensorData::F64(vec![1.5, -2.0]), || format!("found {:?}", outputs[0]))?;
    let flags = Tensor::new([2], vec![true, false]).map_err(|error| error.to_string())?;
    let outputs = run(&*load(engine, &fixture::negation())?, &[flags])?;
    expect(*outputs[0].data() == TensorData::Bool(vec![false, true]), || format!("found {:?}", outputs[0]))
}

fn convolution_is_right(engine: &dyn Engine) -> Result<(), String> {
    let image = fixture::noise(fixture::SIDE * fixture::SIDE, 7);
    let input = Tensor::new([1, 1, fixture::SIDE, fixture::SIDE], image.clone())
        .map_err(|error| error.to_string())?;
    let outputs = run(&*load(engine, &fixture::convolution())?, &[input])?;
    close(&outputs[0], &fixture::convolve(&image))
}

fn int8_weights_are_dequantised(engine: &dyn Engine) -> Result<(), String> {
    let input = Tensor::from_rows(1, 2, vec![1.0, 2.0]).map_err(|error| error.to_string())?;
    let outputs = run(&*load(engine, &fixture::int8_matmul())?, &[input])?;
    close(&outputs[0], &[1.0 * 0.5 * 10.0 + 2.0 * 0.5 * -20.0, 1.0 * 0.25 * 100.0 + 2.0 * 0.25 * 127.0])
}

fn bad_inputs_are_refused(engine: &dyn Engine) -> Result<(), String> {
    let model = load(engine, &fixture::classifier())?;
    let wide = Tensor::new([1, 4], vec![0.0_f64; 4]).map_err(|error| error.to_string())?;
    for inputs in [vec![], vec![rows(1, 3, 0)?], vec![wide], vec![rows(1, 4, 0)?, rows(1, 4, 0)?]] {
        expect_kind(model.run(&inputs), EngineErrorKind::InvalidInput)?;
    }
    Ok(())
}

fn unknown_operator_is_named(engine: &dyn Engine) -> Result<(), String> {
    let mut model = fixture::classifier();
    if let Some(graph) = &mut model.graph {
        graph.node[1] = NodeProto::new("Frobnicate", "odd", &["hidden"], &["active"]);
    }
    let Err(error) = engine.load(&onnx::encode(&model), &LoadOptions::default()) else {
        return Err("it loaded".to_owned());
    };
    expect(error.kind() == EngineErrorKind::UnsupportedOperator, || format!("kind {:?}", error.kind()))?;
    let text = error.to_string();
    expect(text.contains("Frobnicate") && text.contains("odd"), || text)
}

fn cycle_is_refused(engine: &dyn Engine) -> Result<(), String> {
    let mut model = fixture::classifier();
    if let Some(graph) = &mut model.graph {
        graph.node[0].input[0] = "active".to_owned();
    }
    expect_kind(engine.load(&onnx::encode(&model), &LoadOptions::default()), EngineErrorKind::InvalidGraph)
}

fn external_data_is_refused(engine: &dyn Engine) -> Result<(), String> {
    let mut model = fixture::classifier();
    if let Some(graph) = &mut model.graph {
        let location =
            onnx::proto::StringStringEntryProto { key: "location".into(), value: "/etc/passwd".into() };
        let outside = TensorProto {
            raw_data: None,
            data_location: 1,
            external_data: vec![location],
            ..graph.initializer[0].clone()
        };
        graph.initializer[0] = outside;
    }
    expect_kind(engine.load(&onnx::encode(&model), &LoadOptions::default()), EngineErrorKind::InvalidGraph)
}

fn torn_bytes_are_refused(engine: &dyn Engine) -> Result<(), String> {
    let bytes = onnx::encode(&fixture::classifier());
    for garbage in [&b""[..], b"RTEN0000", b"not a model", &[0xff; 64]] {
        expect_kind(engine.load(garbage, &LoadOptions::default()), EngineErrorKind::NotOnnx)?;
    }
    for cut in (0..bytes.len()).step_by(7) {
        let loaded = engine.load(&bytes[..cut], &LoadOptions::default());
        expect(loaded.is_err(), || format!("a model cut at byte {cut} of {} loaded", bytes.len()))?;
    }
    Ok(())
}

fn deep_graphs_return(engine: &dyn Engine) -> Result<(), String> {
    for length in [1000, 4096, 50_000] {
        let model = fixture::chain(length);
        let Ok(model) = engine.load(&onnx::encode(&model), &LoadOptions::with_threads(1)) else { continue };
        let input = Tensor::new([1], vec![1.0_f32]).map_err(|error| error.to_string())?;
        close(&run(&*model, &[input])?[0], &[1.0])?;
    }
    let zero = AttributeProto::int("axis", 0);
    expect(zero.i == Some(0), || "a zero attribute must stay present".to_owned())
}
