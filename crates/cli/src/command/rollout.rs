//! `edgeward rollout`: start, watch, stop, agree to and take back rollouts.

use edgeward_api::Client;
use edgeward_api::operator::{
    PolicyChanges, Rollout, RolloutDevices, RolloutRequest, RolloutStatus, RolloutWish,
};
use edgeward_core::event::RolloutOutcome;
use edgeward_core::rollout::{Approval, OnFail};
use edgeward_core::{ModelName, RolloutId};

use super::remote::{ago, now, refused};
use crate::args::{ApprovalName, OnFailName, Remote, RolloutArgs, RolloutCommand, RolloutStartArgs, Start};
use crate::describe;
use crate::output::{Failure, Outcome, Output, table};

const HEADER: [&str; 6] = ["rollout", "model", "version", "started", "state", "reasons"];
const DEVICES: [&str; 6] = ["devices", "all", "reached", "running", "failed", "away"];

pub(crate) fn run(command: &RolloutCommand, out: Output) -> Outcome {
    match command {
        RolloutCommand::Ls { remote } => list(remote, out),
        RolloutCommand::Start(args) => start(args, out),
        RolloutCommand::Status(args) => status(args, out),
        RolloutCommand::Pause(args) => decide(args, out, "pausing", Client::pause_rollout, |rollout| {
            format!("rollout {} is paused; `edgeward rollout resume` lets it go on", rollout.id)
        }),
        RolloutCommand::Resume(args) => decide(args, out, "resuming", Client::resume_rollout, |rollout| {
            format!("rollout {} goes on", rollout.id)
        }),
        RolloutCommand::Approve(args) => decide(args, out, "approving", Client::approve_rollout, |rollout| {
            format!("wave {} of rollout {} is approved", rollout.waves_approved, rollout.id)
        }),
        RolloutCommand::Abort(args) => {
            decide(args, out, "taking back", Client::abort_rollout, |rollout| match rollout.outcome {
                Some(RolloutOutcome::RolledBack) => format!("rollout {} is taken back", rollout.id),
                _ => format!(
                    "rollout {} had ended before: {}; deploy another version",
                    rollout.id,
                    state(rollout)
                ),
            })
        }
    }
}

fn list(remote: &Remote, out: Output) -> Outcome {
    let rollouts = remote.client()?.rollouts().map_err(|error| refused("listing rollouts", &error))?;
    out.document(&rollouts, |rollouts| {
        let rows: Vec<Vec<String>> = rollouts.rollouts.iter().map(row).collect();
        table(&HEADER, &rows, "no rollout yet; start one with `edgeward rollout start MODEL`")
    })
}

fn start(args: &RolloutStartArgs, out: Output) -> Outcome {
    let model = ModelName::new(&args.model).map_err(|error| Failure::usage(error.to_string()))?;
    let request = RolloutRequest {
        version: None,
        target: args.target.clone(),
        cause: args.cause.clone(),
        start_at_ms: args.at.map(|start| match start {
            Start::At(at) => at,
            Start::In(span) => now() + span,
        }),
        changes: changes(args),
    };
    let rollout = args.remote.client()?.start_rollout(&model, &request).map_err(|error| {
        refused(&format!("starting a rollout of {model}"), &error).hint("see `edgeward model ls`")
    })?;
    out.document(&rollout, |rollout| {
        format!(
            "rollout {} of {} version {} ({}) has begun; follow it with `edgeward rollout status`",
            rollout.id,
            rollout.model,
            rollout.version,
            rollout.bundle.short()
        )
    })
}

fn changes(args: &RolloutStartArgs) -> PolicyChanges {
    PolicyChanges {
        waves: (!args.waves.is_empty()).then(|| args.waves.clone()),
        bake_ms: args.bake.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        approval: args.approval.map(|name| match name {
            ApprovalName::None => Approval::None,
            ApprovalName::First => Approval::First,
            ApprovalName::Each => Approval::Each,
        }),
        window: args.window,
        group: args.group.clone(),
        on_fail: args.on_fail.map(|name| match name {
            OnFailName::RollBack => OnFail::RollBack,
            OnFailName::Pause => OnFail::Pause,
        }),
    }
}

/// The rollout that was named, or the only one under way.
fn which(args: &RolloutArgs, client: &Client) -> Result<RolloutId, Failure> {
    if let Some(rollout) = &args.rollout {
        return RolloutId::new(rollout).map_err(|error| Failure::usage(error.to_string()));
    }
    let all = client.rollouts().map_err(|error| refused("listing rollouts", &error))?.rollouts;
    let mut under_way = all.iter().filter(|rollout| rollout.outcome.is_none());
    match (under_way.next(), under_way.next(), all.first()) {
        (Some(only), None, _) => Ok(only.id.clone()),
        (Some(_), Some(_), _) => Err(Failure::usage("several rollouts are under way")
            .hint("name one of those that `edgeward rollout ls` lists")),
        (None, _, Some(newest)) => Ok(newest.id.clone()),
        (None, _, None) => Err(Failure::new("not_found", "there is no rollout yet")
            .hint("start one with `edgeward rollout start MODEL`")),
    }
}

fn decide(
    args: &RolloutArgs,
    out: Output,
    doing: &str,
    call: impl Fn(&Client, &RolloutId, &RolloutWish) -> Result<Rollout, edgeward_api::ClientError>,
    words: impl FnOnce(&Rollout) -> String,
) -> Outcome {
    let client = args.remote.client()?;
    let id = which(args, &client)?;
    let wish = RolloutWish { cause: args.cause.clone() };
    let rollout = call(&client, &id, &wish).map_err(|error| {
        refused(&format!("{doing} rollout {id}"), &error).hint("see `edgeward rollout ls`")
    })?;
    out.document(&rollout, words)
}

fn status(args: &RolloutArgs, out: Output) -> Outcome {
    let client = args.remote.client()?;
    let id = which(args, &client)?;
    let status = client.rollout(&id).map_err(|error| {
        refused(&format!("asking about rollout {id}"), &error).hint("see `edgeward rollout ls`")
    })?;
    out.document(&status, words)
}

fn words(status: &RolloutStatus) -> String {
    let rollout = &status.rollout;
    let mut lines = vec![
        format!(
            "rollout {} of {} version {} ({})",
            rollout.id,
            rollout.model,
            rollout.version,
            rollout.bundle.short()
        ),
        format!("state: {}", state(rollout)),
    ];
    lines.extend(status.now.iter().map(|reason| format!("now: {reason}")));
    lines.push(format!("last: {}", rollout.reasons.join("; ")));
    lines.extend(status.gates.iter().map(|gate| format!("gate {}", gate.says)));
    lines.push(table(&DEVICES, &status.devices.iter().map(device_row).collect::<Vec<_>>(), ""));
    lines.join("\n")
}

fn device_row(devices: &RolloutDevices) -> Vec<String> {
    let RolloutDevices { hardware, all, reached, running, failed, away } = devices;
    let counts = [all, reached, running, failed, away].into_iter().map(ToString::to_string);
    std::iter::once(hardware.clone().unwrap_or_else(|| "all".to_owned())).chain(counts).collect()
}

fn state(rollout: &Rollout) -> String {
    match (&rollout.outcome, rollout.wave) {
        (Some(outcome), _) => describe::rollout_outcome(*outcome).to_owned(),
        (None, _) if rollout.paused => "paused".to_owned(),
        (None, Some(wave)) => format!("wave {}", wave + 1),
        (None, None) => "starting".to_owned(),
    }
}

fn row(rollout: &Rollout) -> Vec<String> {
    vec![
        rollout.id.to_string(),
        rollout.model.to_string(),
        rollout.version.to_string(),
        ago(rollout.started_at_ms, now()),
        state(rollout),
        rollout.reasons.join("; "),
    ]
}
