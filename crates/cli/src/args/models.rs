//! Flags of the commands that look at, translate and time model files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::EngineArgs;

/// Flags of `convert`.
#[derive(Args)]
pub(crate) struct ConvertArgs {
    /// The ONNX file to translate
    pub(crate) model: PathBuf,
    /// The folder for the bundle that comes out; new, empty, or an earlier bundle to replace
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// An engine to make forms for: `rten` (embedded) or `onnxruntime`; may be given several times. If not given, every
    /// engine here that runs the model
    #[arg(long = "target", value_name = "NAME")]
    pub(crate) targets: Vec<String>,
    /// A smaller form to make beside the float one; may be given several times
    #[arg(long, value_enum, value_name = "SCHEME")]
    pub(crate) quantize: Vec<Quantize>,
    /// Real inputs to calibrate int8 with and to compare answers on: .npy, .npz, .csv, Open Inference .json, or a folder
    /// of them. If not given, made-up ones
    #[arg(long, value_name = "DATA")]
    pub(crate) calibrate: Option<PathBuf>,
    /// How ranges of activations are chosen; if not given, the first of these that keeps the bounds
    #[arg(long, value_enum, value_name = "METHOD")]
    pub(crate) calibration: Option<CalibrationName>,
    /// A layer that stays float, by its node's name; may be given several times
    #[arg(long, value_name = "NODE")]
    pub(crate) exclude: Vec<String>,
    /// An operator that stays float, such as `Gemm`; may be given several times
    #[arg(long, value_name = "OPERATOR")]
    pub(crate) exclude_operator: Vec<String>,
    /// Seven-bit weights, for x86 processors without VNNI
    #[arg(long)]
    pub(crate) reduce_range: bool,
    /// Greatest difference of a quantised form's outputs, relative to each output's greatest magnitude
    #[arg(long, value_name = "R", default_value_t = 0.05, value_parser = parse_bound)]
    pub(crate) rel_difference_max: f64,
    /// Least share of rows for which a quantised form and the model give the same class
    #[arg(long, value_name = "S", default_value_t = 0.99, value_parser = parse_bound)]
    pub(crate) top1_agreement_min: f64,
    /// The model's name; the file's if not given
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
}

/// How weights are stored, and what is computed in integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Quantize {
    /// Weights and activations as 8-bit integers, ranges from calibration data; matrix products also call by call
    Int8,
    /// Weights as 8-bit integers, activations turned into them call by call
    Int8Dynamic,
    /// Weights as 8-bit integers, computed in floats
    W8,
    /// Weights as 16-bit floats, computed in 32-bit ones
    F16,
    /// Weights as bfloat16, computed in 32-bit floats
    Bf16,
}

/// How a range is chosen from the values seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CalibrationName {
    /// Everything seen
    MinMax,
    /// All but 0.01 % of the values
    Percentile,
    /// Least information lost
    Entropy,
}

/// Flags of `inspect`.
#[derive(Args)]
pub(crate) struct InspectArgs {
    /// An ONNX file or a bundle's folder
    #[arg(value_name = "MODEL|BUNDLE")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
}

/// Flags of `bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// A bundle's folder
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// Threads of one run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// Seconds to time all forms in, in turns
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// Load and run this form alone and print the memory it takes
    #[arg(long, value_name = "VARIANT", hide = true)]
    pub(crate) memory_of: Option<String>,
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
}

/// A number from 0 to 1.
fn parse_bound(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(bound) if (0.0..=1.0).contains(&bound) => Ok(bound),
        _ => Err("a bound is a number from 0 to 1".to_owned()),
    }
}
