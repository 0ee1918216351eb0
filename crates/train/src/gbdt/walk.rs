//! An independent reader of exported tree ensembles: walks the attributes of the file as the `ai.onnx.ml`
//! specification says, sharing no code with the writer.

use std::collections::HashMap;

use edgeward_core::Dataset;
use edgeward_model::onnx::{NodeProto, decode};
use edgeward_model::{Engine as _, LoadOptions, RtenEngine, Tensor};

use crate::fit::{Trained, fit};
use crate::gbdt::boost::boost;
use crate::network::{argmax, softmax_rows};
use crate::params::{GbdtParams, Task, TrainParams};
use crate::table::{MissingValues, Table};

fn ints<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    &node.attribute(name).unwrap().ints
}

/// The scores of one row, before any transform.
fn walk(node: &NodeProto, row: &[f32], prefix: &str, outputs: usize) -> Vec<f32> {
    let (trees, ids) = (ints(node, "nodes_treeids"), ints(node, "nodes_nodeids"));
    let place: HashMap<(i64, i64), usize> =
        trees.iter().zip(ids).enumerate().map(|(at, (&tree, &id))| ((tree, id), at)).collect();
    let modes = &node.attribute("nodes_modes").unwrap().strings;
    let thresholds = &node.attribute("nodes_values").unwrap().floats;
    let mut scores = vec![0.0; outputs];
    for tree in 0..=*trees.last().unwrap() {
        let mut at = place[&(tree, 0)];
        while modes[at] == b"BRANCH_LEQ" {
            let value = row[ints(node, "nodes_featureids")[at] as usize];
            let missing_is_true = ints(node, "nodes_missing_value_tracks_true")[at] == 1;
            let holds = value <= thresholds[at] || (value.is_nan() && missing_is_true);
            let next = ints(node, if holds { "nodes_truenodeids" } else { "nodes_falsenodeids" })[at];
            at = place[&(tree, next)];
        }
        let weights = &node.attribute(&format!("{prefix}_weights")).unwrap().floats;
        let keys =
            ints(node, &format!("{prefix}_treeids")).iter().zip(ints(node, &format!("{prefix}_nodeids")));
        for (index, (&of_tree, &of_node)) in keys.enumerate() {
            if (of_tree, of_node) == (tree, ids[at]) {
                scores[ints(node, &format!("{prefix}_ids"))[index] as usize] += weights[index];
            }
        }
    }
    scores
}

/// Two columns with gaps; the label follows the first, and whether the second is missing.
fn table(classes: &[&str]) -> Dataset {
    let mut dataset = Dataset::with_columns(vec!["x".into(), "gaps".into()]);
    for row in 0..300 {
        let x = (row as f32 * 0.731).sin();
        let missing = row % 7 == 0;
        let gaps = if missing { f32::NAN } else { (row as f32 * 1.3).cos() };
        let class = if missing { 0 } else { ((x + 1.0) / 2.0 * classes.len() as f32) as usize };
        dataset.push(&[x, gaps], classes[class.min(classes.len() - 1)]).unwrap();
    }
    dataset
}

fn params(task: Task) -> GbdtParams {
    GbdtParams { task, rounds: 30, ..GbdtParams::default() }
}

fn train(classes: &[&str], task: Task) -> (Dataset, Trained) {
    let rows = table(classes);
    let trained = fit(&rows, &TrainParams::Gbdt(params(task)), &mut |_| ()).unwrap();
    (rows, trained)
}

fn check_classifier(classes: &[&str]) {
    let (rows, trained) = train(classes, Task::Classification);
    let model = decode(&trained.onnx).unwrap();
    let node = &model.graph.as_ref().unwrap().node[0];
    assert_eq!(node.attribute("post_transform").unwrap().s.as_deref(), Some(&b"SOFTMAX"[..]));
    let ids = ints(node, "class_ids");
    assert!((0..classes.len() as i64).all(|class| ids.contains(&class)), "every class has weights");
    let last = model.graph.as_ref().unwrap().node.last().unwrap();
    assert_eq!((last.op_type.as_str(), last.output[0].as_str()), ("Gather", "label"));
    let mut right = 0;
    for (row, label) in rows.rows() {
        let scores = walk(node, row, "class", classes.len());
        right += usize::from(trained.classes[argmax(scores.iter())] == label);
    }
    assert!(right as f64 / rows.len() as f64 > 0.97, "{right} of {}", rows.len());
}

#[test]
fn binary_ensembles_weigh_both_classes() {
    check_classifier(&["no", "yes"]);
}

#[test]
fn multiclass_ensembles_weigh_every_class() {
    check_classifier(&["1", "2", "5", "9"]);
}

#[test]
fn the_file_says_what_the_forest_says() {
    for (classes, task, prefix) in [
        (&["a", "b"][..], Task::Classification, "class"),
        (&["a", "b", "c"][..], Task::Classification, "class"),
        (&["-4.5", "10", "1000"][..], Task::Regression, "target"),
    ] {
        let table = Table::new(&table(classes), task, MissingValues::Accepted).unwrap();
        let none = table.select(&[]);
        let forest = boost(&table, &none, &params(task), &mut |_, _, _| ()).unwrap().forest;
        let described =
            crate::export::Described { feature_names: &[], classes: &table.classes, task, embedding: false };
        let model = decode(&super::export::export(&forest, 2, &described)).unwrap();
        let node = &model.graph.as_ref().unwrap().node[0];
        let scores = forest.forward(&table.features);
        for (row, expected) in table.features.rows().into_iter().zip(scores.rows()) {
            let found = walk(node, row.as_slice().unwrap(), prefix, expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
            }
        }
    }
}

#[test]
fn the_embedded_engine_answers_as_the_forest_does() {
    for (classes, task) in [
        (&["a", "b"][..], Task::Classification),
        (&["1", "2", "5", "9"][..], Task::Classification),
        (&["-4.5", "10", "1000"][..], Task::Regression),
    ] {
        let table = Table::new(&table(classes), task, MissingValues::Accepted).unwrap();
        let forest = boost(&table, &table.select(&[]), &params(task), &mut |_, _, _| ()).unwrap().forest;
        let described =
            crate::export::Described { feature_names: &[], classes: &table.classes, task, embedding: false };
        let file = super::export::export(&forest, 2, &described);
        let model = RtenEngine::new().load(&file, &LoadOptions::with_threads(1)).unwrap();
        let rows = table.features.nrows();
        let input = Tensor::from_rows(rows, 2, table.features.iter().copied().collect()).unwrap();
        let outputs = model.run(&[input]).unwrap();
        let mut expected = forest.forward(&table.features);
        if task == Task::Classification {
            softmax_rows(&mut expected);
            let number = |class: usize| classes[class].parse().unwrap_or(class as i64);
            let labels: Vec<i64> =
                expected.rows().into_iter().map(|row| number(argmax(row.iter()))).collect();
            assert_eq!(outputs[0].as_i64().unwrap(), labels);
        }
        let found = outputs.last().unwrap().as_f32().unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
    }
}

#[test]
fn regression_follows_steps_and_gaps() {
    let (rows, trained) = train(&["-4.5", "10", "1000"], Task::Regression);
    let model = decode(&trained.onnx).unwrap();
    let node = &model.graph.as_ref().unwrap().node[0];
    let error = |(row, label): (&[f32], &str)| {
        (walk(node, row, "target", 1)[0] - label.parse::<f32>().unwrap()).powi(2)
    };
    let mean_squared = rows.rows().map(error).sum::<f32>() / rows.len() as f32;
    assert!(mean_squared.sqrt() < 100.0, "{mean_squared} {:?}", trained.metrics);
}

#[test]
fn probabilities_of_a_rare_class_start_at_its_share() {
    let rows = table(&["a", "b"]);
    let table = Table::new(&rows, Task::Classification, MissingValues::Accepted).unwrap();
    let one_leaf = GbdtParams { rounds: 1, rows_per_leaf: 1000, row_share: 1.0, ..GbdtParams::default() };
    let forest = boost(&table, &table.select(&[]), &one_leaf, &mut |_, _, _| ()).unwrap().forest;
    let mut shares = forest.forward(&table.features);
    softmax_rows(&mut shares);
    let first = rows.labels.iter().filter(|label| *label == "a").count() as f32 / rows.len() as f32;
    assert!((shares[[0, 0]] - first).abs() < 1e-5);
}
