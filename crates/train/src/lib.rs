//! The embedded trainer: small models for tables, sensor windows and small images, where there is no Python.
//!
//! Contract: [`fit()`] takes a labelled table and [`TrainParams`], and gives standard ONNX that any runtime loads
//! and that takes *raw* features: standardisation and temperature are part of the graph. [`refit()`] replaces only
//! the last layer of a network made here, so that a new class ships as kilobytes. The same data, parameters and
//! processor family give the same bytes.
//!
//! | output | type, shape | meaning |
//! |---|---|---|
//! | `label` | INT64 `[N]` | the class itself where every class is an integer, else its index in `edgeward.classes` |
//! | `probabilities` | FP32 `[N, C]` | one column per class, in the order of `edgeward.classes` |
//! | `value` | FP32 `[N, 1]` | the prediction of a regression, in place of the two above |
//! | `embedding` | FP32 `[N, units]` | the last hidden layer of an mlp that was asked for it; named by `edgeward.embedding` |
//!
//! Trees are `ai.onnx.ml` operators; everything else is plain ONNX.
//!
//! The input is `input`, FP32 `[N, width]`. Metadata: `edgeward.classes` (a JSON list of texts, classification
//! only), `edgeward.features` (a JSON list of column names), `edgeward.task`.
//!
//! Deliberately missing: convolutions and anything larger than about 1e5 rows (a framework of the user's choice
//! writes ONNX too), files, clocks, threads. The seed is part of the parameters. Why an own trainer:
//! `docs/adr/0002-embedded-trainer.md`.

mod error;
mod export;
mod fit;
mod gbdt;
mod lbfgs;
mod linear;
mod mlp;
mod network;
mod params;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod quality;
mod refit;
mod split;
mod standardise;
mod table;
mod temperature;

pub use error::TrainError;
pub use fit::{Metrics, Progress, Trained, fit};
pub use params::{GbdtParams, LogisticParams, MlpParams, RidgeParams, Task, TrainParams};
pub use refit::{RefitError, refit};
