//! Explanations: known answers, agreement of the methods with each other, and hostile input.

use std::path::Path;

use edgeward_model::explain::{
    Attributions, CounterfactualOptions, ImageLayout, Rows, SessionFunction, TreeExplainer, counterfactual,
    exact, importance, kernel, occlusion, rise, sample,
};
use edgeward_model::{LoadOptions, RtenEngine, Session};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(path).expect("the fixture is in the repository")
}

fn session(name: &str) -> Session {
    Session::from_onnx(&fixture(name), &RtenEngine::new(), &LoadOptions::with_threads(1))
        .expect("the fixture loads")
}

fn random_rows(count: usize, width: usize, seed: u64) -> Rows {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    Rows::new((0..count * width).map(|_| random.random_range(-2.0..2.0)).collect(), width)
        .expect("whole rows")
}

/// Adds an interaction to a sum; two outputs.
fn curved(rows: &Rows) -> Result<Vec<f64>, std::convert::Infallible> {
    Ok(rows
        .iter()
        .flat_map(|x| [2.0 * x[0] - x[1] + x[2] * x[3], (x[0] * x[4]).tanh() + x[3].powi(2)])
        .collect())
}

fn close(found: &Attributions, expected: &Attributions, tolerance: f64) {
    assert_eq!(found.values.len(), expected.values.len());
    for (at, (found, expected)) in found.values.iter().zip(&expected.values).enumerate() {
        assert!((found - expected).abs() <= tolerance, "value {at}: {found}, expected {expected}");
    }
    for (found, expected) in found.base.iter().zip(&expected.base) {
        assert!((found - expected).abs() <= tolerance, "base {found}, expected {expected}");
    }
}

#[test]
fn a_linear_models_shapley_values_are_its_weights_times_the_distance_from_usual() {
    let weights = [3.0, -2.0, 0.0, 0.5];
    let background = random_rows(20, 4, 1);
    let row = [1.0, 2.0, 3.0, 4.0];
    let linear = |rows: &Rows| {
        let sum = |row: &[f64]| row.iter().zip(weights).map(|(x, w)| x * w).sum();
        Ok::<Vec<f64>, std::convert::Infallible>(rows.iter().map(sum).collect())
    };
    for found in [
        exact(linear, &row, &background).unwrap(),
        kernel(linear, &row, &background, 100, 1).unwrap(),
        sample(linear, &row, &background, 3, 1, || true).unwrap(),
    ] {
        for feature in 0..4 {
            let mean = background.iter().map(|row| row[feature]).sum::<f64>() / 20.0;
            let expected = weights[feature] * (row[feature] - mean);
            assert!((found.value(feature, 0) - expected).abs() < 1e-12);
        }
        assert!(found.errors.iter().all(|error| *error < 1e-12));
    }
}

#[test]
fn sampling_agrees_with_the_exact_values_within_its_stated_error() {
    let background = random_rows(10, 5, 2);
    let row = [1.5, -1.0, 0.7, 1.2, -0.4];
    let expected = exact(curved, &row, &background).unwrap();
    // Regressed coalitions are all of them up to 30, so fewer are asked for.
    let mut outside = 0;
    let mut values = 0;
    for seed in 0..40 {
        for found in [
            sample(curved, &row, &background, 12, seed, || true).unwrap(),
            kernel(curved, &row, &background, 24, seed).unwrap(),
        ] {
            for ((found, expected), error) in found.values.iter().zip(&expected.values).zip(&found.errors) {
                values += 1;
                outside += usize::from((found - expected).abs() > 2.0 * error + 1e-12);
            }
            assert!((0..2).all(|output| found.gap(output).abs() < 1e-12));
        }
    }
    // Two standard errors hold some 95% of a normal's mass; small samples have heavier tails.
    assert!(outside * 100 <= values * 12, "{outside} of {values} outside two standard errors");
    let found = kernel(curved, &row, &background, 30, 0).unwrap();
    close(&found, &expected, 1e-12);
    assert!(found.errors.iter().all(|error| *error == 0.0));
}

#[test]
fn the_same_seed_gives_the_same_figures_and_a_budget_ends_early() {
    let background = random_rows(10, 5, 3);
    let row = [0.5; 5];
    let whole = sample(curved, &row, &background, 50, 9, || true).unwrap();
    assert_eq!(whole, sample(curved, &row, &background, 50, 9, || true).unwrap());
    assert_ne!(whole.values, sample(curved, &row, &background, 50, 10, || true).unwrap().values);
    let mut left = 5;
    let cut = sample(curved, &row, &background, 50, 9, || {
        left -= 1;
        left >= 0
    });
    let cut = cut.unwrap();
    assert!(cut.evaluations < whole.evaluations);
    assert_eq!(cut, sample(curved, &row, &background, 7, 9, || true).unwrap());
}

#[test]
fn questions_that_do_not_fit_are_refused() {
    let background = random_rows(3, 4, 1);
    let refused = |found: Result<Attributions, _>| {
        let error: edgeward_model::explain::ExplainError<_> = found.unwrap_err();
        error.to_string()
    };
    assert!(
        refused(exact(curved, &[0.0; 5], &background)).contains("4 features but the row to explain has 5")
    );
    let empty = Rows::new(Vec::new(), 5).unwrap();
    assert!(refused(sample(curved, &[0.0; 5], &empty, 3, 0, || true)).contains("no background row"));
    let wide = random_rows(2, 40, 1);
    assert!(refused(exact(curved, &[0.0; 40], &wide)).contains("too many"));
    assert!(Rows::new(vec![0.0; 5], 2).is_none() && Rows::new(Vec::new(), 0).is_none());
}

/// Fixtures whose output is the trees' own sum.
const SUMS: [&str; 5] = [
    "sk_gradient_boosting_regressor.onnx",
    "sk_random_forest_regressor.onnx",
    "sk_decision_tree_regressor.onnx",
    "sk_random_forest.onnx",
    "sk_decision_tree.onnx",
];

#[test]
fn trees_get_from_their_file_what_every_coalition_gives() {
    for name in SUMS {
        let session = session(name);
        let function = SessionFunction::new(&session).unwrap();
        let width = function.width();
        let near = |seed: u64, count: usize| {
            let rows = random_rows(count, width, seed);
            Rows::new(
                rows.values().iter().map(|value| f64::from((value * 1.5 + 3.0) as f32)).collect(),
                width,
            )
            .unwrap()
        };
        let (background, rows) = (near(1, 30), near(2, 8));
        let explainer = TreeExplainer::interventional(&fixture(name), background.clone()).unwrap();
        let found = explainer.explain(&rows).unwrap();
        for (row, found) in rows.iter().zip(&found) {
            let expected = exact(|rows: &Rows| function.call(rows), row, &background).unwrap();
            let scale = expected.answer.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
            if found.outputs() == expected.outputs() {
                close(found, &expected, 2e-6 * scale);
            } else {
                // Leaves that speak of one class of two.
                assert_eq!(explainer.outputs(), [1], "{name}");
                for feature in 0..width {
                    let off = found.value(feature, 0) - expected.value(feature, 1);
                    assert!(off.abs() < 2e-6 * scale, "{name}: {off}");
                }
            }
            assert!((0..found.outputs()).all(|output| found.gap(output).abs() < 1e-9 * scale), "{name}");
        }
    }
}

#[test]
fn log_odds_are_explained_where_the_trees_end_in_a_logistic_function() {
    for name in ["sk_gradient_boosting_binary.onnx", "sk_hist_gradient_boosting_binary.onnx"] {
        let session = session(name);
        let function = SessionFunction::new(&session).unwrap();
        let rows = random_rows(20, function.width(), 4);
        let rows =
            Rows::new(rows.values().iter().map(|value| f64::from(*value as f32)).collect(), rows.width())
                .unwrap();
        let explainer = TreeExplainer::interventional(&fixture(name), rows.clone()).unwrap();
        let answers = function.call(&rows).unwrap();
        for (found, answer) in explainer.explain(&rows).unwrap().iter().zip(answers.chunks_exact(2)) {
            let probability = 1.0 / (1.0 + (-found.answer[0]).exp());
            assert!((probability - answer[1]).abs() < 1e-5, "{name}: {probability} and {}", answer[1]);
        }
    }
}

#[test]
fn branches_taken_in_training_stand_for_what_is_usual() {
    let name = "sk_gradient_boosting_regressor.onnx";
    let function_session = session(name);
    let function = SessionFunction::new(&function_session).unwrap();
    let training = random_rows(200, function.width(), 5);
    let explainer = TreeExplainer::path_dependent(&fixture(name), Some(&training)).unwrap();
    let found = explainer.explain(&training).unwrap();
    // The base is the mean over the training rows, and so the attributions' mean is none.
    let mean = function.call(&training).unwrap().iter().sum::<f64>() / 200.0;
    assert!((found[0].base[0] - mean).abs() < 1e-4 * mean.abs().max(1.0), "{} and {mean}", found[0].base[0]);
    assert!(found.iter().all(|found| found.gap(0).abs() < 1e-9 * mean.abs().max(1.0)));
    // scikit-learn's exporter writes the same rate for every node, which says nothing.
    let error = TreeExplainer::path_dependent(&fixture(name), None).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("give training rows"), "{error}");
}

#[test]
fn models_that_are_no_plain_trees_are_refused_by_name() {
    let background = random_rows(2, 64, 1);
    for (name, why) in [
        ("digits_mlp.onnx", "no tree ensemble"),
        ("sk_imputed_forest.onnx", "the trees do not read the model's input"),
    ] {
        let error =
            TreeExplainer::interventional(&fixture(name), background.clone()).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(why) || text.contains("computes with"), "{name}: {text}");
        assert!(text.contains("sample it instead"), "{name}: {text}");
    }
    let narrow = random_rows(2, 1, 1);
    let error =
        TreeExplainer::interventional(&fixture("sk_decision_tree.onnx"), narrow).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("rows have 1 features"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(7), cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_explained_or_refused_but_never_panic(at in 0.0..1.0_f64, byte: u8, cut: bool) {
        let mut bytes = fixture("sk_gradient_boosting_binary.onnx");
        let at = (at * bytes.len() as f64) as usize;
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let rows = random_rows(3, 8, 1);
        if let Ok(explainer) = TreeExplainer::interventional(&bytes, rows.clone()) {
            let found = explainer.explain(&rows).unwrap();
            prop_assert!(found.len() == 3);
        }
    }
}

const LAYOUT: ImageLayout = ImageLayout { height: 12, width: 10, channels: 2, channels_last: false };

/// Says how bright the square from (3, 4) to (5, 6) of the second channel is.
fn square(rows: &Rows) -> Result<Vec<f64>, std::convert::Infallible> {
    let bright = |row: &[f64]| (3..6).flat_map(|y| (4..7).map(move |x| row[120 + y * 10 + x])).sum::<f64>();
    Ok(rows.iter().flat_map(|row| [0.0, bright(row)]).collect())
}

#[test]
fn maps_find_the_part_of_an_image_that_matters() {
    let (image, hidden) = (vec![1.0; 240], vec![0.0; 240]);
    let by_patches = occlusion(square, &image, &hidden, LAYOUT, 3, 1, 1).unwrap();
    let by_masks = rise(square, &image, &hidden, LAYOUT, 6, 2000, 1, 5, || true).unwrap();
    for map in [&by_patches, &by_masks] {
        assert_eq!((map.height, map.width, map.values.len(), map.answer), (12, 10, 120, 9.0));
        let greatest = map.values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert!((3..6).contains(&(greatest / 10)) && (4..7).contains(&(greatest % 10)), "{greatest}");
        assert!(map.values[11 * 10 + 9].abs() < map.values[greatest] / 5.0);
    }
    assert_eq!(by_patches.values[4 * 10 + 5], (9.0 + 4.0 * 6.0 + 4.0 * 4.0) / 9.0);
    assert_eq!(by_masks, rise(square, &image, &hidden, LAYOUT, 6, 2000, 1, 5, || true).unwrap());
    let error = occlusion(square, &image[1..], &hidden, LAYOUT, 3, 1, 1).unwrap_err();
    assert!(error.to_string().contains("has 240 numbers, but the image has 239"), "{error}");
    let error = rise(square, &image, &hidden, LAYOUT, 6, 10, 2, 5, || true).unwrap_err();
    assert!(error.to_string().contains("no output 2: the model has 2"), "{error}");
}

#[test]
fn shuffling_a_feature_that_matters_costs_and_one_that_does_not_costs_nothing() {
    let rows = random_rows(300, 3, 6);
    let truth: Vec<f64> = rows.iter().map(|row| 2.0 * row[0] + 0.5 * row[1]).collect();
    let model = |rows: &Rows| {
        Ok::<Vec<f64>, std::convert::Infallible>(rows.iter().map(|row| 2.0 * row[0] + 0.5 * row[1]).collect())
    };
    let losses = |answers: &[f64]| answers.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).collect();
    let found = importance(model, losses, &rows, 10, 1).unwrap();
    assert!(found[0].low > found[1].high && found[1].low > 0.0, "{found:?}");
    assert_eq!((found[2].mean, found[2].low, found[2].high), (0.0, 0.0, 0.0));
    // Shuffled, the squared error is twice the variance of the feature's part: 2 * 4 * 4/3 for values over [-2, 2).
    assert!(found[0].low < 32.0 / 3.0 && found[0].high > 32.0 / 3.0, "{found:?}");
}

#[test]
fn the_smallest_change_is_found_and_keeps_what_is_frozen() {
    let background = random_rows(200, 4, 7);
    // Decided by a line through the first two features.
    let model = |rows: &Rows| {
        Ok::<Vec<f64>, std::convert::Infallible>(rows.iter().map(|row| row[0] + 2.0 * row[1] - 1.0).collect())
    };
    let decide = |answer: &[f64]| usize::from(answer[0] > 0.0);
    let row = [0.0, 0.0, 1.0, -1.0];
    let found =
        counterfactual(model, decide, &row, &background, &CounterfactualOptions::default()).unwrap().unwrap();
    assert_eq!(found.decision, 1);
    assert_eq!(found.changes.len(), 1);
    assert_eq!((found.changes[0].feature, found.changes[0].from), (1, 0.0));
    assert!((found.changes[0].to - 0.5).abs() < 1e-5, "{found:?}");
    let frozen = CounterfactualOptions { frozen: vec![1], ..CounterfactualOptions::default() };
    let found = counterfactual(model, decide, &row, &background, &frozen).unwrap().unwrap();
    assert!((found.row[0] - 1.0).abs() < 1e-5 && found.row[1..] == row[1..], "{found:?}");
    let never = CounterfactualOptions { target: Some(5), ..CounterfactualOptions::default() };
    assert_eq!(counterfactual(model, decide, &row, &background, &never).unwrap(), None);
}

#[test]
fn a_session_is_a_function_of_rows() {
    let session = session("sk_gradient_boosting.onnx");
    let function = SessionFunction::new(&session).unwrap();
    let rows = random_rows(5, function.width(), 8);
    let answers = function.call(&rows).unwrap();
    assert_eq!(answers.len(), 5 * function.outputs().len());
    for line in answers.chunks_exact(function.outputs().len()) {
        assert!((line.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    }
    let background = random_rows(10, function.width(), 9);
    let found = exact(|rows: &Rows| function.call(rows), rows.row(0), &background).unwrap();
    assert!((0..found.outputs()).all(|output| found.gap(output).abs() < 1e-9));
}
