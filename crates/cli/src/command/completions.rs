//! `edgeward completions`: shell completions from the definitions in `args`.

use std::io;

use clap::CommandFactory;
use clap_complete::{Shell as Generator, generate};

use crate::args::{Cli, CompletionsArgs, Shell};
use crate::output::Outcome;

pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    let generator = match args.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    generate(generator, &mut Cli::command(), "edgeward", &mut io::stdout());
    Ok(())
}
