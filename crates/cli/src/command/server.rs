//! `edgeward server`: the control plane.

use std::time::Duration;

use edgeward_server::{ServerConfig, ServerError, TlsConfig, bind};
use serde::Serialize;

use crate::adapters::bucket_config;
use crate::args::ServerArgs;
use crate::broker::broker;
use crate::database;
use crate::output::{Explain, Failure, Outcome, Output};
use crate::process::{block_on, interrupted};

/// Longest time between two looks of the reconcilers.
const TICK: Duration = Duration::from_millis(500);

/// What it says once it listens.
#[derive(Serialize)]
struct Listening {
    address: String,
    /// The file with the certificate authority to believe.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
}

pub(crate) fn run(args: ServerArgs, out: Output) -> Outcome {
    let program = std::env::current_exe().explain("system", "finding this program's own file")?;
    let config = ServerConfig {
        data_dir: args.data,
        database: database::address(&args.database)?,
        blobs: args.blobs.as_deref().map(bucket_config),
        listen: args.listen,
        require_auth: args.require_auth,
        tls: TlsConfig {
            always: args.tls,
            names: args.public_name,
            public: args.tls_cert.zip(args.tls_key),
            device_life: args.certificate_life,
        },
        runner_program: program,
        broker: broker(&args.broker)?,
        tick: TICK,
    };
    block_on(serve(config, out))?
}

async fn serve(config: ServerConfig, out: Output) -> Outcome {
    let failed = |error: ServerError| {
        let problem = error.problem();
        let failure = Failure::new(&problem.kind, format!("starting the control plane: {}", problem.error));
        problem.hints.iter().fold(failure, Failure::hint)
    };
    let bound = bind(config).await.map_err(failed)?;
    let ca = bound.authority_file().map(|file| file.display().to_string());
    let listening = Listening { address: bound.url().to_owned(), ca };
    out.document(&listening, |listening| {
        let ca = listening.ca.as_ref().map(|file| format!("; commands believe it with --ca {file}"));
        format!("the control plane and its dashboard are at {}{}", listening.address, ca.unwrap_or_default())
    })?;
    bound.serve(interrupted()).await.map_err(failed)
}
