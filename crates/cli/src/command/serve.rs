//! `edgeward serve`: one model behind the device's endpoint, without a control plane.

use std::sync::Arc;

use edgeward_agent::{ServeConfig, Source, bind_bare};
use edgeward_core::ModelName;
use serde::Serialize;

use crate::args::ServeArgs;
use crate::engines::{engines, hardware};
use crate::output::{Explain, Failure, Outcome, Output};
use crate::process::{block_on, interrupted};

/// What it says once it listens.
#[derive(Serialize)]
struct Listening {
    address: String,
    /// All of them.
    addresses: Vec<String>,
}

pub(crate) fn run(args: ServeArgs, out: Output) -> Outcome {
    edgeward_agent::use_one_heap();
    let name = args.name.map(ModelName::new).transpose();
    let name = name.map_err(|error| Failure::usage(format!("--name: {error}")))?;
    let (engines, hardware) = (Arc::new(engines(&args.engines)), hardware(&args.engines));
    let source = match (args.source, args.watch) {
        (Some(path), _) => Source::Path(path),
        (None, Some(data_dir)) => Source::Active(data_dir),
        (None, None) => {
            return Err(Failure::usage("name a bundle's folder or an ONNX file, or give --watch"));
        }
    };
    let (listen, speech, collector) =
        (args.listen.addresses(), args.speech.speech(), args.telemetry.collector());
    let config = ServeConfig { source, name, listen, speech, collector, engines, hardware };
    block_on(serve(config, out))?
}

async fn serve(config: ServeConfig, out: Output) -> Outcome {
    let doing = "serving the model";
    let bound = bind_bare(&config).await.explain("agent", doing)?;
    let listening = Listening { address: bound.url(), addresses: bound.urls() };
    out.document(&listening, |listening| {
        let Listening { address, addresses } = listening;
        let all = addresses.join(" and ");
        format!("serving at {all} (Open Inference Protocol v2, HTTP and gRPC; see {address}/v1/status)")
    })?;
    bound.serve(interrupted()).await.explain("agent", doing)
}
