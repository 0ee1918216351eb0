//! Prints the choice among forms of a model: `choose LIBRARY MODEL [FORM]...`, where LIBRARY is ONNX Runtime's. The
//! first model's answers on the embedded engine are the golden test, with a tolerance that int8 keeps.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use edgeward_model::engine::conformance::fixture::noise;
use edgeward_model::engine::{OnnxRuntimeEngine, THREADS_MAX};
use edgeward_model::{
    Candidate, Dim, Engine, Golden, LoadOptions, RtenEngine, Tensor, TimingBudget, Tolerance, choose,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, library, models @ ..] = &arguments[..] else {
        return Err("choose LIBRARY MODEL [FORM]...".into());
    };
    let (rten, runtime) = (RtenEngine::new(), OnnxRuntimeEngine::open(Path::new(library))?);
    println!("{} (at most {THREADS_MAX} threads; 1 used)", runtime.build_info());
    let options = LoadOptions::with_threads(1);
    let original = rten.load_file(Path::new(models.first().ok_or("no model")?), &options)?;
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 1 };
    let shape: Vec<usize> = original.inputs()[0].shape.iter().map(size).collect();
    let input = Tensor::new(shape.clone(), noise(shape.iter().product(), 1))?;
    let golden = Golden::record(&*original, &[vec![input]], Tolerance { abs: 2.0, rel: 0.1 })?;
    drop(original);
    let mut candidates = Vec::new();
    for engine in [&rten as &dyn Engine, &runtime] {
        for model in models {
            candidates.push(Candidate {
                variant: model.clone(),
                engine: engine.name().to_owned(),
                provider: engine.provider().to_owned(),
                load: Box::new(move || engine.load_file(Path::new(model), &options)),
                golden: golden.clone(),
            });
        }
    }
    let started = Instant::now();
    let choice = choose(candidates, &TimingBudget::default(), &mut || started.elapsed());
    for row in choice.rows {
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(())
}
