//! What a monitor adds to a request to a model of about one millisecond: `request [features=20] [requests=4000]`.
//!
//! The model is a real one of its size: dense layers, multiplied out here. Monitored and unmonitored requests take
//! turns, first one then the other, so that whatever else the machine does meets both. Medians are compared. Then what a
//! [`View`] costs per row: an image, a sound, an embedding, in microseconds.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use edgeward_monitor::{ImageLayout, InputView, Monitor, MonitorConfig, Neighbours, Reference, Sample, View};

#[path = "random/mod.rs"]
mod random;
use random::Random;

const WIDTH: usize = 512;
const CLASSES: u32 = 10;

/// Dense layers of one width with rectifiers between them.
struct Model {
    layers: Vec<Vec<f32>>,
}

impl Model {
    fn new(layers: usize, random: &mut Random) -> Self {
        let weights = |_| (0..WIDTH * WIDTH).map(|_| random.normal() as f32 / 16.0).collect();
        Self { layers: (0..layers).map(weights).collect() }
    }

    /// Class and confidence of an input.
    fn infer(&self, features: &[f32]) -> (u32, f32) {
        let mut values = vec![0.0f32; WIDTH];
        values.iter_mut().zip(features.iter().cycle()).for_each(|(value, feature)| *value = *feature);
        for weights in &self.layers {
            let rows = weights.chunks_exact(WIDTH);
            let next = rows.map(|row| row.iter().zip(&values).map(|(w, v)| w * v).sum::<f32>().max(0.0));
            values = next.collect();
        }
        let class = values.iter().position(|v| *v > 0.0).unwrap_or(0) as u32 % CLASSES;
        (class, values[0].abs().min(1.0))
    }
}

/// What turning one row into features costs.
fn views() {
    let mut random = Random::new(3);
    let mut values = |n: usize| (0..n).map(|_| random.normal() as f32 / 4.0).collect::<Vec<f32>>();
    let image = |side: usize| {
        InputView::Image(ImageLayout { width: side, height: side, channels: 3, planar: true, white: 1.0 })
    };
    for side in [28, 224, 1_024] {
        let (row, view) = (values(3 * side * side), View::new(image(side), 0, None));
        println!("image of {side} x {side} x 3: {:.1} us", cost(|| view.row(&row, None).len()));
    }
    for seconds in [1, 10] {
        let (row, rate) = (values(16_000 * seconds), 16_000.0);
        let view = View::new(InputView::Audio { sample_rate: rate }, 0, None);
        println!("sound of {seconds} s at 16 kHz: {:.1} us", cost(|| view.row(&row, None).len()));
    }
    for width in [64, 256, 1_024, 8_192] {
        let neighbours = Neighbours::fit(&values(600 * width), width).expect("the rows are valid");
        let (row, view) = (values(width), View::new(InputView::Columns, 1, Some(neighbours)));
        println!("embedding of {width}: {:.1} us", cost(|| view.row(&[1.0], Some(&row)).len()));
    }
}

/// Median time, in microseconds.
fn cost(work: impl Fn() -> usize) -> f64 {
    let time = |_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed().as_nanos() as u64
    };
    median(&mut (0..501).map(time).collect::<Vec<u64>>())
}

fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64 / 1e3
}

fn main() {
    let given = |key: &str, default: usize| {
        std::env::args().find_map(|a| a.strip_prefix(key)?.strip_prefix('=')?.parse().ok()).unwrap_or(default)
    };
    let (features, requests) = (given("features", 20), given("requests", 4_000));
    let mut random = Random::new(1);
    let mut row = || (0..features).map(|_| random.normal() as f32).collect::<Vec<f32>>();
    let rows: Vec<Vec<f32>> = (0..2_000).map(|_| row()).collect();
    let mut random = Random::new(2);
    let model = {
        let one = Model::new(1, &mut random);
        let time = |row: &Vec<f32>| {
            let start = Instant::now();
            black_box(one.infer(row));
            start.elapsed().as_nanos().max(1)
        };
        let quickest = rows.iter().map(time).min().unwrap_or(1);
        let layers = (1_000_000 / quickest).clamp(1, 200) as usize;
        Model::new(layers, &mut random)
    };
    let answers: Vec<(u32, f32)> = rows.iter().map(|row| model.infer(row)).collect();
    let samples = rows.iter().zip(&answers).map(|(row, (class, confidence))| Sample {
        features: row,
        predicted: Some(*class),
        confidence: Some(*confidence),
    });
    let names: Vec<String> = (0..features).map(|i| format!("f{i}")).collect();
    let classes: Vec<String> = (0..CLASSES).map(|class| class.to_string()).collect();
    let reference = Arc::new(Reference::fit(&names, &classes, samples).expect("the rows are valid"));
    let mut monitor = Monitor::new(reference, MonitorConfig::default()).expect("the budget is positive");
    let (mut bare, mut monitored) = (Vec::new(), Vec::new());
    for request in 0..requests {
        let row = &rows[request % rows.len()];
        let start = Instant::now();
        black_box(model.infer(row));
        bare.push(start.elapsed().as_nanos() as u64);
        let start = Instant::now();
        let (class, confidence) = black_box(model.infer(row));
        let sample = Sample { features: row, predicted: Some(class), confidence: Some(confidence) };
        black_box(monitor.observe(&sample));
        monitored.push(start.elapsed().as_nanos() as u64);
    }
    let (bare, monitored) = (median(&mut bare), median(&mut monitored));
    views();
    println!(
        "{features} features, {requests} requests each way: {bare:.1} us unmonitored, {monitored:.1} us monitored, ratio {:.4}",
        monitored / bare
    );
}
