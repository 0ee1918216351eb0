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
#[cfg(feature = "control")]
mod signers;
#[cfg(feature = "control")]
mod sim;
#[cfg(feature = "control")]
mod supervisor;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    quieten_contained_panics();
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let json = cli.json;
    match process::prepare(&cli).and_then(|()| command::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
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
