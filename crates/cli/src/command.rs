//! One file per noun; each takes its flags and an [`Output`], and returns an [`Outcome`].

#[cfg(feature = "agent")]
pub(crate) mod agent;
#[cfg(feature = "control")]
mod alert;
#[cfg(feature = "control")]
pub(crate) mod audit;
#[cfg(feature = "control")]
mod backtest;
#[cfg(feature = "control")]
mod bench;
#[cfg(feature = "control")]
mod ca;
mod completions;
mod config;
#[cfg(feature = "control")]
mod convert;
#[cfg(feature = "control")]
mod deploy;
#[cfg(feature = "control")]
mod device;
#[cfg(feature = "control")]
mod drift;
#[cfg(feature = "control")]
mod events;
#[cfg(feature = "control")]
mod group;
#[cfg(feature = "control")]
mod history;
#[cfg(feature = "control")]
mod init;
#[cfg(feature = "control")]
mod inspect;
#[cfg(feature = "control")]
mod man;
#[cfg(feature = "control")]
mod model;
#[cfg(feature = "control")]
mod profile;
#[cfg(feature = "control")]
mod project;
#[cfg(feature = "control")]
mod record;
#[cfg(feature = "control")]
pub(crate) mod remote;
#[cfg(feature = "control")]
pub(crate) use remote::now;
#[cfg(feature = "control")]
mod repo;
#[cfg(feature = "control")]
mod rollout;
#[cfg(feature = "control")]
mod run;
#[cfg(feature = "control")]
mod runs;
#[cfg(feature = "control")]
mod sample;
#[cfg(feature = "agent")]
mod serve;
#[cfg(feature = "control")]
mod server;
#[cfg(feature = "control")]
mod shadow;
#[cfg(feature = "control")]
mod sign_model;
#[cfg(feature = "control")]
mod source;
#[cfg(feature = "agent")]
mod status;
#[cfg(feature = "control")]
mod token;
#[cfg(feature = "control")]
mod trial;
#[cfg(feature = "control")]
mod tuf_client;
#[cfg(feature = "control")]
mod why;

use crate::args::{Cli, Command};
use crate::output::{Outcome, Output};

/// Does what was asked.
pub(crate) fn run(cli: Cli) -> Outcome {
    let out = Output::new(cli.json);
    match cli.command {
        #[cfg(feature = "agent")]
        Command::Agent(args) => agent::run(*args),
        #[cfg(feature = "agent")]
        Command::Serve(args) => serve::run(*args, out),
        #[cfg(feature = "control")]
        Command::Status(ref args) if args.project.is_some() => project::status(args, out),
        #[cfg(feature = "agent")]
        Command::Status(args) => status::run(&args, out),
        Command::Completions(args) => completions::run(&args),
        Command::Config(command) => config::run(&command, out),
        #[cfg(feature = "control")]
        command => control(command, out),
    }
}

#[cfg(feature = "control")]
fn control(command: Command, out: Output) -> Outcome {
    match command {
        Command::Demo(args) => crate::demo::run(&args, out),
        Command::Server(args) => server::run(args, out),
        Command::Init(args) => init::run(&args, out),
        Command::Man(args) => man::run(&args),
        Command::Run(args) => run::run(&args, out),
        Command::Diff(args) => project::diff(&args, out),
        Command::Log(args) => project::log(&args, out),
        Command::Convert(args) => convert::run(&args, out),
        Command::Inspect(args) => inspect::run(&args, out),
        Command::Bench(args) => bench::run(&args, out),
        Command::ReloadBench(args) => crate::reload_bench::run(&args, out),
        Command::Profile(args) => profile::run(&args, out),
        Command::Drift(args) => drift::run(&args, out),
        Command::Backtest(args) => backtest::run(&args, out),
        Command::Deploy(args) => deploy::run(&args, out),
        Command::Ca(command) => ca::run(&command, out),
        Command::Token(command) => token::run(&command, out),
        Command::Device(command) => device::run(&command, out),
        Command::Group(command) => group::run(&command, out),
        Command::Model(command) => model::run(&command, out),
        Command::Runs(command) => runs::run(&command, out),
        #[cfg(feature = "control")]
        Command::Source(command) => source::run(&command, out),
        Command::Shadow(command) => shadow::run(&command, out),
        Command::Rollout(command) => rollout::run(&command, out),
        Command::Alert(command) => alert::run(&command, out),
        Command::Sample(command) => sample::run(&command, out),
        Command::Sim(args) => crate::sim::run(&args, out),
        Command::Events(args) => events::run(&args, out),
        Command::Audit(command) => audit::run(&command, out),
        Command::Why(args) => why::run(&args, out),
        Command::Record(command) => record::run(&command, out),
        Command::Repo(command) => repo::run(&command, out),
        Command::SignModel(args) => sign_model::run(&args, out),
        Command::TufClient(args) => tuf_client::run(&args, out),
        Command::Agent(_)
        | Command::Serve(_)
        | Command::Status(_)
        | Command::Completions(_)
        | Command::Config(_) => Ok(()),
    }
}
