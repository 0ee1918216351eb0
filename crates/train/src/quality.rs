//! How good the models are on the real handwritten digits: 30% of the rows are held out.

use edgeward_core::{Dataset, Digest};
use edgeward_model::onnx::decode;

use crate::export::CLASSES_KEY;
use crate::fit::{Trained, fit};
use crate::gbdt::boost::boost;
use crate::network::{Fit, fit_of};
use crate::params::{GbdtParams, LogisticParams, MlpParams, Task, TrainParams};
use crate::refit::{RefitError, read_network, refit};
use crate::table::{MissingValues, Table};

const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/robots/data/digits.csv");

/// The rows to learn from and the rows to judge by, shuffled by their content and `seed`.
fn digits(seed: u64) -> (Dataset, Dataset) {
    let mut reader = csv::Reader::from_path(DIGITS).unwrap();
    let names = reader.headers().unwrap().iter().take(64).map(str::to_owned).collect();
    let mut all = Dataset::with_columns(names);
    for record in reader.records() {
        let record = record.unwrap();
        let row: Vec<f32> = record.iter().take(64).map(|pixel| pixel.parse().unwrap()).collect();
        all.push(&row, &record[64]).unwrap();
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    let key = |&row: &usize| Digest::of_parts([&seed.to_le_bytes()[..], all.row_digest(row).as_bytes()]);
    order.sort_by_cached_key(key);
    let (judge, learn) = order.split_at(all.len() * 3 / 10);
    (all.select(learn), all.select(judge))
}

fn judge(trained: &Trained, rows: &Dataset) -> Fit {
    let table = Table::new(rows, Task::Classification, MissingValues::Refused).unwrap();
    assert_eq!(table.classes, trained.classes);
    read_network(&decode(&trained.onnx).unwrap()).unwrap().fit_to(&table)
}

fn mlp(seed: u64) -> TrainParams {
    TrainParams::Mlp(MlpParams { seed, ..MlpParams::default() })
}

/// At most `limit` rows of each class that `pick` accepts.
fn some_of(rows: &Dataset, limit: usize, pick: impl Fn(&str) -> bool) -> Vec<usize> {
    let mut taken = std::collections::HashMap::<&str, usize>::new();
    let mut keep = |label| {
        let count = taken.entry(label).or_default();
        *count += 1;
        *count <= limit
    };
    (0..rows.len()).filter(|&row| pick(&rows.labels[row]) && keep(&rows.labels[row])).collect()
}

#[test]
fn the_perceptron_reads_digits() {
    for seed in 0..3 {
        let (learn, held_out) = digits(seed);
        let trained = fit(&learn, &mlp(seed), &mut |_| ()).unwrap();
        let found = judge(&trained, &held_out);
        assert!(found.accuracy.unwrap() >= 0.96 && found.loss < 0.16, "seed {seed}: {found:?}");
    }
}

#[test]
fn logistic_regression_reads_digits() {
    for seed in 0..3 {
        let (learn, held_out) = digits(seed);
        let params = TrainParams::Logistic(LogisticParams { seed, ..LogisticParams::default() });
        let trained = fit(&learn, &params, &mut |_| ()).unwrap();
        let table = Table::new(&held_out, Task::Classification, MissingValues::Refused).unwrap();
        let network = read_network(&decode(&trained.onnx).unwrap()).unwrap();
        let found = network.fit_to(&table);
        assert!(found.accuracy.unwrap() >= 0.94 && found.loss < 0.2, "seed {seed}: {found:?}");
    }
}

#[test]
fn boosted_trees_read_digits() {
    let (learn, held_out) = digits(0);
    let params = GbdtParams { rounds: 60, learning_rate: 0.2, leaves: 12, ..GbdtParams::default() };
    let table = Table::new(&learn, Task::Classification, MissingValues::Accepted).unwrap();
    let judges = Table::new(&held_out, Task::Classification, MissingValues::Accepted).unwrap();
    let forest = boost(&table, &judges.select(&[]), &params, &mut |_, _, _| ()).unwrap().forest;
    let found = fit_of(&forest.forward(&judges.features), &judges.targets);
    assert!(found.accuracy.unwrap() >= 0.95 && found.loss < 0.2, "{found:?}");
}

#[test]
fn the_same_data_and_parameters_give_the_same_bytes() {
    let (learn, _) = digits(0);
    let train = |seed| fit(&learn, &mlp(seed), &mut |_| ()).unwrap().onnx;
    let first = train(1);
    assert_eq!(Digest::of(&first), Digest::of(&train(1)));
    assert_ne!(Digest::of(&first), Digest::of(&train(2)));
}

#[test]
fn a_refitted_head_reads_new_digits_and_changes_nothing_else() {
    let (learn, held_out) = digits(0);
    let known = |label: &str| !matches!(label, "8" | "9");
    let old = fit(&learn.select(&some_of(&learn, usize::MAX, known)), &mlp(0), &mut |_| ()).unwrap();
    let mut rows = some_of(&learn, usize::MAX, known);
    rows.extend(some_of(&learn, 30, |label| !known(label)));
    let new = refit(&old.onnx, &learn.select(&rows), &LogisticParams::default(), &mut |_| ()).unwrap();
    let found = judge(&new, &held_out);
    assert!(found.accuracy.unwrap() >= 0.93, "{found:?}");
    check_only_the_head_differs(&old, &new);
}

fn check_only_the_head_differs(old: &Trained, new: &Trained) {
    let (old, mut new) = (decode(&old.onnx).unwrap(), decode(&new.onnx).unwrap());
    assert_ne!(old, new);
    let graph = new.graph.as_mut().unwrap();
    let before = old.graph.as_ref().unwrap();
    for (tensor, was) in graph.initializer.iter_mut().zip(&before.initializer) {
        if ["head.weight", "head.bias", "label.values"].contains(&tensor.name.as_str()) {
            tensor.clone_from(was);
        }
    }
    graph.output.clone_from(&before.output);
    new.set_metadata(CLASSES_KEY, old.metadata(CLASSES_KEY).unwrap());
    assert_eq!(old, new);
}

#[test]
fn a_refit_that_cannot_be_right_is_refused() {
    let (learn, _) = digits(0);
    let rows = learn.select(&some_of(&learn, 20, |_| true));
    let quick = |hidden| TrainParams::Mlp(MlpParams { epochs: 1, hidden, ..MlpParams::default() });
    let refit_to =
        |onnx: &[u8], rows: &Dataset| refit(onnx, rows, &LogisticParams::default(), &mut |_| ()).unwrap_err();
    let model = fit(&rows, &quick(vec![8]), &mut |_| ()).unwrap().onnx;
    let forgets = rows.select(&some_of(&rows, 20, |label| label != "3"));
    assert!(matches!(refit_to(&model, &forgets), RefitError::Forgets { class } if class == "3"));
    let mut renamed = rows.clone();
    renamed.feature_names[5] = "other".into();
    assert!(matches!(refit_to(&model, &renamed), RefitError::Feature { column: 5, .. }));
    let flat = fit(&rows, &quick(vec![]), &mut |_| ()).unwrap().onnx;
    assert!(matches!(refit_to(&flat, &rows), RefitError::Structure { .. }));
    assert!(matches!(refit_to(b"not a model", &rows), RefitError::Decode(_)));
    assert!(matches!(refit_to(&model[..model.len() / 2], &rows), RefitError::Decode(_)));
}
