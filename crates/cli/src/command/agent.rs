//! `edgeward agent`: a device.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use edgeward_agent::{
    ActivationConfig, AgentConfig, AppConfig, Courtesy, Metered, Method, Nudges, Ready, Roots,
};
use edgeward_core::DeviceId;

use crate::args::{ActivationArgs, ActivationName, AgentArgs, CourtesyArgs, MeteredName};
use crate::broker::broker;
use crate::engines::{engines, hardware};
use crate::output::{Explain, Failure, Outcome, with_causes};
use crate::process::{block_on, interrupted, settle_down};

pub(crate) fn run(args: AgentArgs) -> Outcome {
    edgeward_agent::use_few_heaps();
    let config = config(args)?;
    let running = async {
        settle_down();
        edgeward_agent::run(config, interrupted()).await
    };
    block_on(running)?.explain("agent", "running the agent")
}

fn config(args: AgentArgs) -> Result<AgentConfig, Failure> {
    let name = DeviceId::new(args.name).map_err(|error| Failure::usage(format!("--name: {error}")))?;
    let token = args.join_token_file.map(|file| {
        fs::read_to_string(&file)
            .explain("file", format_args!("reading the join token in {}", file.display()))
    });
    let token = token.transpose()?.map(|token| token.trim().to_owned());
    let listen = args.listen.addresses();
    let mut config = AgentConfig::new(args.server, args.data, name, listen);
    config.engines = Arc::new(engines(&args.engines));
    config.hardware = hardware(&args.engines);
    config.batch_rows = args.batch_rows;
    config.join_token = args.join_token.or(token);
    config.roots = args.ca.as_deref().map(roots).transpose()?;
    config.speech = args.speech.speech();
    config.collector = args.telemetry.collector();
    config.repository = args.repository;
    config.poll = Duration::from_millis(args.poll_ms);
    config.upload = Duration::from_millis(args.upload_ms);
    config.nudges = match (broker(&args.broker)?, args.no_nudges) {
        (Some(broker), _) => Nudges::Broker(Box::new(broker)),
        (None, true) => Nudges::Off,
        (None, false) => Nudges::Stream,
    };
    config.bandwidth_bytes_per_second = args.bandwidth_limit_bytes_per_second;
    config.disk_quota_bytes = args.disk_quota_bytes;
    config.courtesy = courtesy(args.courtesy);
    config.activation = activation(args.activation);
    if let Some(problem) = config.activation.problem() {
        return Err(Failure::usage(problem));
    }
    Ok(config)
}

/// What `--ca` says.
pub(crate) fn roots(ca: &str) -> Result<Roots, Failure> {
    Roots::parse(ca).map_err(|error| {
        Failure::new("ca", format!("--ca: {}", with_causes(&error))).hint(
            "give the file DATA/ca.pem of the control plane, or the fingerprint that `edgeward ca ls` shows",
        )
    })
}

fn courtesy(args: CourtesyArgs) -> Arc<Courtesy> {
    let metered = match (args.metered_command, args.metered) {
        (Some(command), _) => Metered::Command(command),
        (None, MeteredName::Always) => Metered::Always,
        (None, MeteredName::Never) => Metered::Never,
    };
    Arc::new(Courtesy::new(metered, args.maintenance_windows))
}

fn activation(args: ActivationArgs) -> ActivationConfig {
    let method = match args.activation {
        ActivationName::Serve => Method::Serve,
        ActivationName::Watch => Method::Watch,
        ActivationName::Restart => Method::Restart,
        ActivationName::Reboot => Method::Reboot,
    };
    let app = AppConfig {
        command: args.app,
        restart_command: args.restart_command,
        ready: args.ready_url.map(Ready::Url).or(args.ready_command.map(Ready::Command)),
        answer_timeout: args.answer_timeout,
        stop_grace: args.stop_grace,
    };
    ActivationConfig { method, app, reboot_command: args.reboot_command, boot_id: args.boot_id }
}
