//! `edgeward agent`: a device.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use edgeward_agent::AgentConfig;
use edgeward_core::DeviceId;

use crate::args::AgentArgs;
use crate::engines::{engines, hardware};
use crate::output::{Explain, Failure, Outcome};
use crate::process::{block_on, interrupted};

pub(crate) fn run(args: AgentArgs) -> Outcome {
    let config = config(args)?;
    block_on(edgeward_agent::run(config, interrupted()))?.explain("agent", "running the agent")
}

fn config(args: AgentArgs) -> Result<AgentConfig, Failure> {
    let name = DeviceId::new(args.name).map_err(|error| Failure::usage(format!("--name: {error}")))?;
    let token = args.join_token_file.map(|file| {
        fs::read_to_string(&file)
            .explain("file", format_args!("reading the join token in {}", file.display()))
    });
    let token = token.transpose()?.map(|token| token.trim().to_owned());
    let mut config = AgentConfig::new(args.server, args.data, name, args.listen);
    config.engines = Arc::new(engines(&args.engines));
    config.hardware = hardware(&args.engines);
    config.join_token = args.join_token.or(token);
    config.poll = Duration::from_millis(args.poll_ms);
    config.upload = Duration::from_millis(args.upload_ms);
    Ok(config)
}
