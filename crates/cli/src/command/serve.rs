//! `edgeward serve`: one model behind the device's endpoint, without a control plane.
//!
//! A bare ONNX file that no engine here takes as it is (scikit-learn's exporter writes operators that none but ONNX Runtime has) is
//! translated first, as `edgeward convert` does; a device's own program has no translator and says so.

use std::sync::Arc;

use edgeward_agent::{AgentError, Bound, ServeConfig, Source, bind_bare};
use edgeward_core::ModelName;
use serde::Serialize;

use crate::args::ServeArgs;
use crate::engines::{engines, hardware};
use crate::output::{Explain, Failure, Outcome, Output, with_causes};
use crate::process::{block_on, interrupted, settle_down};

/// What it says once it listens.
#[derive(Serialize)]
struct Listening {
    address: String,
    /// All of them.
    addresses: Vec<String>,
}

pub(crate) fn run(args: ServeArgs, out: Output) -> Outcome {
    edgeward_agent::use_few_heaps();
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
    let config = ServeConfig {
        source,
        name,
        listen,
        speech,
        collector,
        engines,
        hardware,
        batch_rows: args.batch_rows,
    };
    block_on(serve(config, out))?
}

async fn serve(config: ServeConfig, out: Output) -> Outcome {
    let doing = "serving the model";
    let bound = bind(config).await.map_err(|error| refused(doing, &error))?;
    settle_down();
    let listening = Listening { address: bound.url(), addresses: bound.urls() };
    out.document(&listening, |listening| {
        let Listening { address, addresses } = listening;
        let all = addresses.join(" and ");
        format!("serving at {all} (Open Inference Protocol v2, HTTP and gRPC; see {address}/v1/status)")
    })?;
    bound.serve(interrupted()).await.explain("agent", doing)
}

async fn bind(config: ServeConfig) -> Result<Bound, AgentError> {
    let refusal = match bind_bare(&config).await {
        Err(refusal @ AgentError::Model { .. }) => refusal,
        bound => return bound,
    };
    match translated(&config) {
        Some((config, _file)) => bind_bare(&config).await,
        None => Err(refusal),
    }
}

/// The same with a file that the engines here take, which is gone when the folder is dropped.
#[cfg(feature = "control")]
fn translated(config: &ServeConfig) -> Option<(ServeConfig, tempfile::TempDir)> {
    let Source::Path(path) = &config.source else { return None };
    let engines = config.engines.all();
    let engines: Vec<&dyn edgeward_model::Engine> = engines.iter().map(|engine| &**engine).collect();
    let imported = edgeward_convert::import_file(path, &engines).ok().filter(|_| path.is_file())?;
    let (model, _) = edgeward_convert::optimise(&imported.model, *engines.first()?).ok()?;
    let folder = tempfile::tempdir().ok()?;
    let file = folder.path().join(path.file_name()?);
    std::fs::write(&file, edgeward_model::onnx::encode(&model)).ok()?;
    tracing::warn!("{} is translated for the engines here; `edgeward convert` does so once", path.display());
    Some((ServeConfig { source: Source::Path(file), ..config.clone() }, folder))
}

#[cfg(not(feature = "control"))]
fn translated(_config: &ServeConfig) -> Option<(ServeConfig, ())> {
    None
}

fn refused(doing: &str, error: &AgentError) -> Failure {
    let failure = Failure::new("agent", format!("{doing}: {}", with_causes(error)));
    match error {
        AgentError::Model { path, .. } if path.is_file() => failure.hint(format!(
            "`edgeward convert {} --out BUNDLE` translates it for the engines here, or says what they lack; then serve BUNDLE",
            path.display()
        )),
        _ => failure,
    }
}
