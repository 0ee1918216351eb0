//! The one binary. It reads flags, the environment and the terminal, so that no library has to; what it then does is
//! in the libraries. Each command is one file in [`command`], its flags are in [`args`].

#[cfg(feature = "control")]
mod adapters;
mod args;
#[cfg(feature = "agent")]
mod broker;
mod command;
#[cfg(feature = "control")]
mod database;
#[cfg(feature = "control")]
mod demo;
#[cfg(feature = "control")]
mod describe;
#[cfg(feature = "agent")]
mod engines;
mod output;
mod process;
#[cfg(feature = "control")]
mod reload_bench;
mod settings;
#[cfg(feature = "control")]
mod signers;
#[cfg(feature = "control")]
mod sim;
#[cfg(feature = "control")]
mod supervisor;
#[cfg(feature = "agent")]
mod telemetry;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

fn main() -> ExitCode {
    quieten_contained_panics();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(failure) => return failure,
    };
    let json = cli.json;
    match process::prepare(&cli).and_then(|()| command::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// The command line, over the environment, over the settings file.
fn parse() -> Result<args::Cli, ExitCode> {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let is_json = arguments.iter().any(|argument| argument == "--json");
    let definitions = settings::Settings::find(&arguments)
        .and_then(|settings| settings.apply(args::Cli::command()))
        .map_err(|failure| failure.report(is_json))?;
    let matches = definitions.try_get_matches_from(&arguments).map_err(|error| output::usage(&error))?;
    args::Cli::from_arg_matches(&matches).map_err(|error| output::usage(&error))
}

/// An engine's panic that becomes an error is told as that error, once.
fn quieten_contained_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !edgeward_model::engine::is_contained() {
            report(panic);
        }
    }));
}
