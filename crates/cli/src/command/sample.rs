//! `edgeward sample`: what devices found impossible waits here until a person releases or discards it.

use edgeward_api::operator::{HeldSample, QuarantineDecision};
use edgeward_core::ModelName;
use edgeward_core::event::SampleVerdict;

use super::remote::{ago, now, refused};
use crate::args::{JudgeArgs, SampleCommand};
use crate::output::{Failure, Outcome, Output, table, with_causes};

const HEADER: [&str; 6] = ["prediction", "captured", "device", "label", "input", "why it is held back"];
/// Values of an input that a line shows.
const VALUES_MAX: usize = 4;

pub(crate) fn run(command: &SampleCommand, out: Output) -> Outcome {
    match command {
        SampleCommand::Ls { model, remote } => {
            let held = remote.client()?.quarantine(&named(model)?);
            let held = held.map_err(|error| refused("listing the samples that are held back", &error))?;
            out.document(&held, |held| {
                let rows: Vec<Vec<String>> = held.held.iter().map(row).collect();
                table(&HEADER, &rows, "no sample is held back")
            })
        }
        SampleCommand::Release(args) => judge(args, SampleVerdict::Released, out),
        SampleCommand::Discard(args) => judge(args, SampleVerdict::Discarded, out),
    }
}

fn named(model: &str) -> Result<ModelName, Failure> {
    ModelName::new(model).map_err(|error| Failure::usage(format!("{model}: {}", with_causes(&error))))
}

fn judge(args: &JudgeArgs, verdict: SampleVerdict, out: Output) -> Outcome {
    let decision =
        QuarantineDecision { predictions: args.predictions.clone(), verdict, cause: args.cause.clone() };
    let decided = args.remote.client()?.decide_quarantine(&named(&args.model)?, &decision);
    let decided = decided.map_err(|error| refused("deciding about samples", &error))?;
    out.document(&decided, |decided| format!("{} samples are {}", decided.samples, verdict.as_str()))
}

fn row(held: &HeldSample) -> Vec<String> {
    let HeldSample { device, sample } = held;
    let values = sample.values();
    let shown: Vec<String> = values.iter().take(VALUES_MAX).map(ToString::to_string).collect();
    let more = if values.len() > VALUES_MAX { ", ..." } else { "" };
    vec![
        sample.prediction.to_string(),
        ago(sample.at_ms, now()),
        device.to_string(),
        sample.label.clone().unwrap_or_else(|| "-".to_owned()),
        format!("{}{more}", shown.join(", ")),
        sample.suspicion.clone().unwrap_or_default(),
    ]
}
