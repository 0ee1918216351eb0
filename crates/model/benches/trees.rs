//! Time per row of tree ensembles on the embedded engine, for comparison by hand with ONNX Runtime on the same files.
//!
//!     cargo bench -p edgeward-model --bench trees -- MODEL.onnx...
//!
//! Each file takes one FP32 input `[rows, features]`. Printed: median microseconds per row, one thread, in batches of 1
//! and of 1,000 rows. Without a file, the fixtures of this crate are timed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use edgeward_model::{Dim, Engine, LoadOptions, RtenEngine, Runnable, Tensor};

const BATCHES: [usize; 2] = [1, 1000];
const RUNS: usize = 301;

fn main() {
    let given = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mut paths: Vec<PathBuf> = given.map(PathBuf::from).collect();
    if paths.is_empty() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        paths =
            ["sk_gradient_boosting_binary", "sk_random_forest_binary", "sk_hist_gradient_boosting_regressor"]
                .map(|name| folder.join(format!("{name}.onnx")))
                .into();
    }
    for path in paths {
        match RtenEngine::new().load_file(&path, &LoadOptions::with_threads(1)) {
            Ok(model) => report(&path, &*model),
            Err(error) => println!("{}: {error}", path.display()),
        }
    }
}

fn report(path: &Path, model: &dyn Runnable) {
    let Some(Dim::Fixed(width)) = model.inputs().first().and_then(|input| input.shape.last()) else {
        println!("{}: the number of features is not declared", path.display());
        return;
    };
    for rows in BATCHES {
        // Spread over [-2, 2) without a pattern, so that walks differ from row to row.
        let value =
            |at: usize| ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / 4_194_304.0 - 2.0;
        let calls: Vec<Tensor> = (0..16)
            .filter_map(|call| {
                let values = (0..rows * width).map(|at| value(at + call * rows * width)).collect();
                Tensor::from_rows(rows, *width, values).ok()
            })
            .collect();
        println!("{} batch {rows}: {:.3} us/row", path.display(), median_us(model, &calls) / rows as f64);
    }
}

fn median_us(model: &dyn Runnable, calls: &[Tensor]) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|run| {
            let input = std::slice::from_ref(&calls[run % calls.len()]);
            let begin = Instant::now();
            let outputs = model.run(input);
            let time = begin.elapsed().as_secs_f64() * 1e6;
            std::hint::black_box(outputs.ok());
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}
