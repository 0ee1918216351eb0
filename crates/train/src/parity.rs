//! The exported file, run by the embedded engine, says what the trainer's own forward pass says.

use std::sync::Arc;

use edgeward_core::Dataset;
use edgeward_model::onnx::decode;
use edgeward_model::{Engine as _, LoadOptions, RtenEngine, Runnable, Tensor};
use ndarray::Array2;
use proptest::prelude::*;

use crate::fit::{Trained, fit};
use crate::network::{argmax, softmax_rows};
use crate::params::{LogisticParams, MlpParams, RidgeParams, Task, TrainParams};
use crate::refit::{read_network, refit};

const TOLERANCE: f32 = 1e-5;

/// Three columns of different units, the last constant; the label depends on the first two.
fn table(classes: &[&str]) -> Dataset {
    let mut dataset = Dataset::with_columns(vec!["kelvin".into(), "ratio".into(), "constant".into()]);
    for row in 0..120 {
        let (a, b) = ((row as f32 * 0.61).sin(), (row as f32 * 1.7).cos());
        let class = ((a + b + 2.0) / 4.0 * classes.len() as f32) as usize;
        dataset.push(&[293.0 + 12.0 * a, b * 1e-3, 5.0], classes[class.min(classes.len() - 1)]).unwrap();
    }
    dataset
}

fn load(trained: &Trained) -> Arc<dyn Runnable> {
    RtenEngine::new().load(&trained.onnx, &LoadOptions::with_threads(1)).unwrap()
}

fn check_parity(trained: &Trained, rows: &Dataset, label_of: impl Fn(usize) -> i64) {
    let network = read_network(&decode(&trained.onnx).unwrap()).unwrap();
    let raw = Array2::from_shape_vec((rows.len(), rows.width()), rows.values.clone()).unwrap();
    let mut expected = network.forward(&raw);
    let input = Tensor::from_rows(rows.len(), rows.width(), rows.values.clone()).unwrap();
    let model = load(trained);
    let outputs = model.run(&[input]).unwrap();
    let names: Vec<&str> = model.outputs().iter().map(|spec| spec.name.as_str()).collect();
    let numbers = outputs.last().unwrap();
    if trained.task == Task::Classification {
        assert_eq!(names, ["label", "probabilities"]);
        softmax_rows(&mut expected);
        let labels: Vec<i64> = expected.rows().into_iter().map(|row| label_of(argmax(row.iter()))).collect();
        assert_eq!(outputs[0].as_i64().unwrap(), labels);
        assert_eq!(numbers.shape(), [rows.len(), trained.classes.len()]);
    } else {
        assert_eq!(names, ["value"]);
        assert_eq!(numbers.shape(), [rows.len(), 1]);
    }
    for (found, expected) in numbers.as_f32().unwrap().iter().zip(&expected) {
        assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1.0), "{found} {expected}");
    }
}

fn quick_mlp(task: Task) -> TrainParams {
    TrainParams::Mlp(MlpParams { task, hidden: vec![16, 8], epochs: 20, ..MlpParams::default() })
}

#[test]
fn classifiers_with_integer_classes_say_the_class() {
    let rows = table(&["-3", "4", "10"]);
    for params in [quick_mlp(Task::Classification), TrainParams::Logistic(LogisticParams::default())] {
        let trained = fit(&rows, &params, &mut |_| ()).unwrap();
        check_parity(&trained, &rows, |class| [-3, 4, 10][class]);
    }
}

#[test]
fn classifiers_with_named_classes_say_the_index() {
    let rows = table(&["cat", "dog"]);
    let trained = fit(&rows, &TrainParams::Logistic(LogisticParams::default()), &mut |_| ()).unwrap();
    check_parity(&trained, &rows, |class| class as i64);
    assert_eq!(decode(&trained.onnx).unwrap().metadata("edgeward.classes"), Some(r#"["cat","dog"]"#));
}

#[test]
fn regressions_say_the_value() {
    let rows = table(&["-250.5", "12", "1e4"]);
    for params in [quick_mlp(Task::Regression), TrainParams::Ridge(RidgeParams::default())] {
        let trained = fit(&rows, &params, &mut |_| ()).unwrap();
        check_parity(&trained, &rows, |_| 0);
    }
}

#[test]
fn a_refitted_model_says_the_new_class() {
    let two = table(&["0", "1"]);
    let three = table(&["0", "1", "7"]);
    let old = fit(&two, &quick_mlp(Task::Classification), &mut |_| ()).unwrap();
    let new = refit(&old.onnx, &three, &LogisticParams::default(), &mut |_| ()).unwrap();
    check_parity(&new, &three, |class| [0, 1, 7][class]);
    assert!(new.metrics.train_accuracy.unwrap() > 0.8, "{:?}", new.metrics);
}

#[test]
fn one_row_and_many_rows_agree() {
    let rows = table(&["a", "b", "c"]);
    let trained = fit(&rows, &quick_mlp(Task::Classification), &mut |_| ()).unwrap();
    for row in 0..5 {
        check_parity(&trained, &rows.select(&[row]), |class| class as i64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_shape_of_network_survives_export(
        hidden in prop::collection::vec(1usize..20, 0..4),
        seed in any::<u64>(),
    ) {
        let rows = table(&["x", "y", "z"]);
        let params = MlpParams { hidden, seed, epochs: 2, ..MlpParams::default() };
        let trained = fit(&rows, &TrainParams::Mlp(params), &mut |_| ()).unwrap();
        check_parity(&trained, &rows, |class| class as i64);
    }
}
