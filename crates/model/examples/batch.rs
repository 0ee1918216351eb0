//! What a row costs alone and among others: `batch MODEL.onnx...` prints microseconds per row for several sizes of the batch,
//! on the embedded engine with one thread, each size in turn, the median of several turns.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use edgeward_model::engine::conformance::fixture::noise;
use edgeward_model::{Dim, Engine, LoadOptions, RtenEngine, Runnable, Tensor};

const SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];
const TURNS: usize = 9;
const TURN: Duration = Duration::from_millis(60);

fn main() -> Result<(), Box<dyn Error>> {
    let models: Vec<String> = std::env::args().skip(1).collect();
    println!("microseconds per row at a batch of {SIZES:?}");
    for path in &models {
        let model = RtenEngine::new().load_file(Path::new(path), &LoadOptions::with_threads(1))?;
        let mut times = vec![Vec::new(); SIZES.len()];
        for _ in 0..TURNS {
            for (size, times) in SIZES.iter().zip(&mut times) {
                times.push(per_row(&*model, *size)?);
            }
        }
        let medians = times.iter_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            format!("{:9.2}", times[TURNS / 2])
        });
        println!("{} {path}", medians.collect::<String>());
    }
    Ok(())
}

fn per_row(model: &dyn Runnable, batch: usize) -> Result<f64, Box<dyn Error>> {
    let shape = |dims: &[Dim]| -> Vec<usize> {
        let of = |(at, dim): (usize, &Dim)| match dim {
            _ if at == 0 => batch,
            Dim::Fixed(size) => *size,
            Dim::Symbolic(_) => 1,
        };
        dims.iter().enumerate().map(of).collect()
    };
    let tensor = |at: usize| {
        let shape = shape(&model.inputs()[at].shape);
        Tensor::new(shape.clone(), noise(shape.iter().product(), 1))
    };
    let inputs: Vec<Tensor> = (0..model.inputs().len()).map(tensor).collect::<Result<_, _>>()?;
    model.run(&inputs)?;
    let (began, mut calls) = (Instant::now(), 0);
    while began.elapsed() < TURN {
        model.run(&inputs)?;
        calls += 1;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(calls * u32::try_from(batch)?))
}
