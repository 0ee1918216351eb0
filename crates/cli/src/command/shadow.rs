//! `edgeward shadow`: candidates that run beside their champion, how they stand, and promoting one of them.

use edgeward_api::operator::{RolloutRequest, Shadow, ShadowTest, ShadowTests};
use edgeward_core::ModelName;
use edgeward_core::shadow::ShadowOutcome;

use super::remote::{ago, now, refused};
use crate::args::{ShadowCommand, ShadowPromoteArgs};
use crate::describe::shadow_outcome;
use crate::output::{Failure, Outcome, Output, table};

const HEADER: [&str; 8] =
    ["model", "shadow", "version", "staged", "agrees", "wrong", "better by (points)", "evidence 10^"];

pub(crate) fn run(command: &ShadowCommand, out: Output) -> Outcome {
    match command {
        ShadowCommand::Ls { remote } => {
            let tests = remote.client()?.shadows().map_err(|error| refused("listing shadows", &error))?;
            out.document(&tests, words)
        }
        ShadowCommand::Promote(args) => promote(args, out),
    }
}

fn words(tests: &ShadowTests) -> String {
    let Some(newest) = tests.tests.first() else {
        return "no shadows; see [[shadow]] in the guide on shadows".to_owned();
    };
    let current: Vec<&ShadowTest> =
        tests.tests.iter().filter(|test| test.outcome.is_none() || test.run == newest.run).collect();
    let rows: Vec<Vec<String>> =
        current.iter().flat_map(|test| test.shadows.iter().map(|shadow| row(test, shadow))).collect();
    let said: Vec<String> = current.iter().map(|test| stands(test)).collect();
    format!("{}\n{}", table(&HEADER, &rows, ""), said.join("\n"))
}

fn row(test: &ShadowTest, shadow: &Shadow) -> Vec<String> {
    let [low, high] = shadow.range;
    vec![
        test.model.to_string(),
        shadow.name.clone(),
        format!("v{}", shadow.version),
        format!("{} devices", shadow.staged),
        share(shadow.agreement),
        share(shadow.loss),
        format!("{:.1} to {:.1}", low * 100.0, high * 100.0),
        format!("{:.1} of {:.1}", shadow.log10_evidence, test.log10_bar),
    ]
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.1}%", value * 100.0))
}

fn stands(test: &ShadowTest) -> String {
    let began = ago(test.started_at_ms, now());
    let head = format!(
        "{} since {began}: {} requests mirrored on {} devices, {} dropped, {} labels; the champion got {} wrong",
        test.model,
        test.mirrored,
        test.devices,
        test.dropped,
        test.labels,
        share(test.champion_loss)
    );
    let verdict = test.outcome.as_ref().map_or_else(|| "no verdict yet".to_owned(), shadow_outcome);
    format!("{head}\n{verdict}")
}

fn promote(args: &ShadowPromoteArgs, out: Output) -> Outcome {
    let model = ModelName::new(args.model.as_str()).map_err(|error| Failure::usage(error.to_string()))?;
    let client = args.remote.client()?;
    let doing = format!("promoting a shadow of {model}");
    let tests = client.shadows().map_err(|error| refused(&doing, &error))?;
    let newest = tests.tests.into_iter().find(|test| test.model == model);
    let test = newest.ok_or_else(|| Failure::new("shadow", format!("{model} has no shadows")))?;
    let version = chosen(&test, args.name.as_deref())?;
    let request = RolloutRequest {
        version: Some(version),
        cause: args.cause.clone().unwrap_or_else(|| "shadow promoted by hand".to_owned()),
        ..RolloutRequest::default()
    };
    let rollout = client.start_rollout(&model, &request).map_err(|error| refused(&doing, &error))?;
    out.document(&rollout, |rollout| {
        format!(
            "rollout {} of {model} v{version} started: devices that run it as a shadow have it already",
            rollout.id
        )
    })
}

/// The version of the shadow that is named, or of the winner.
fn chosen(test: &ShadowTest, name: Option<&str>) -> Result<u64, Failure> {
    let names: Vec<&str> = test.shadows.iter().map(|shadow| shadow.name.as_str()).collect();
    let hint = format!("its shadows are {}", names.join(", "));
    match (name, &test.outcome) {
        (Some(name), _) => {
            let found = test.shadows.iter().find(|shadow| shadow.name == name);
            found.map(|shadow| shadow.version).ok_or_else(|| {
                Failure::new("shadow", format!("{} has no shadow '{name}'", test.model)).hint(hint)
            })
        }
        (None, Some(ShadowOutcome::Winner(winner))) => Ok(winner.version),
        (None, _) => {
            Err(Failure::new("shadow", format!("no shadow of {} was declared the winner", test.model))
                .hint(format!("name the one to promote; {hint}")))
        }
    }
}
