//! `edgeward serve`: one model behind the device's endpoint, without a control plane.

use edgeward_agent::ServeConfig;
use edgeward_core::ModelName;

use crate::args::ServeArgs;
use crate::output::{Explain, Failure, Outcome};
use crate::process::{block_on, interrupted};

pub(crate) fn run(args: ServeArgs) -> Outcome {
    let name = args.name.map(ModelName::new).transpose();
    let name = name.map_err(|error| Failure::usage(format!("--name: {error}")))?;
    let config = ServeConfig { path: args.source, name, listen: args.listen };
    block_on(edgeward_agent::serve(config, interrupted()))?.explain("agent", "serving the model")
}
