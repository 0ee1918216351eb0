//! `edgeward deploy`: starts a rollout of a version.

use edgeward_api::operator::RolloutRequest;
use edgeward_core::ModelName;

use super::remote::refused;
use crate::args::DeployArgs;
use crate::output::{Failure, Outcome, Output};

pub(crate) fn run(args: &DeployArgs, out: Output) -> Outcome {
    let model = ModelName::new(&args.model).map_err(|error| Failure::usage(error.to_string()))?;
    let request =
        RolloutRequest { version: args.version, cause: args.cause.clone(), ..RolloutRequest::default() };
    let rollout =
        args.remote.client()?.start_rollout(&model, &request).map_err(|error| {
            refused(&format!("deploying {model}"), &error).hint("see `edgeward model ls`")
        })?;
    out.document(&rollout, |rollout| {
        format!(
            "rollout {} of {} version {} ({}) has begun; follow it with `edgeward events --follow`",
            rollout.id,
            rollout.model,
            rollout.version,
            rollout.bundle.short()
        )
    })
}
