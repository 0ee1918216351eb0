//! `edgeward config show`: what each flag of a command is, and who says so.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory as _};
use serde::Serialize;

use crate::args::{Cli, ConfigCommand};
use crate::output::{Failure, Outcome, Output, table};
use crate::settings::Settings;

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";
/// Flags whose values nobody need see.
const SECRET: [&str; 4] = ["token", "join-token", "otlp-headers", "database"];

/// One flag.
#[derive(Serialize)]
struct Shown {
    flag: String,
    /// None where it is not set.
    value: Option<String>,
    /// `command line`, `environment VARIABLE`, `file FILE`, `built in`, or `not set`.
    source: String,
}

pub(crate) fn run(command: &ConfigCommand, out: Output) -> Outcome {
    let ConfigCommand::Show { command } = command;
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let settings = Settings::find(&arguments)?;
    let line = std::iter::once(OsString::from("edgeward")).chain(command.iter().map(OsString::from));
    let matches = settings
        .apply(Cli::command())?
        .try_get_matches_from(line)
        .map_err(|error| Failure::usage(error.to_string().trim_end().to_owned()))?;
    let shown = flags(&Cli::command(), &matches, &settings);
    out.document(&shown, |shown| {
        let rows: Vec<Vec<String>> = shown
            .iter()
            .map(|shown| {
                vec![
                    format!("--{}", shown.flag),
                    shown.value.clone().unwrap_or_default(),
                    shown.source.clone(),
                ]
            })
            .collect();
        table(&["flag", "value", "said by"], &rows, "it has no flags")
    })
}

/// The flags of the command that was asked for, those of every command after its own.
fn flags(definitions: &Command, matches: &ArgMatches, settings: &Settings) -> Vec<Shown> {
    let (mut command, mut matches, mut path) = (definitions, matches, Vec::new());
    while let Some((name, inner)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else { break };
        path.push(name);
        (command, matches) = (found, inner);
    }
    let of = |command: &Command| -> Vec<Arg> {
        let is_shown = |arg: &&Arg| {
            !arg.is_hide_set() && !["help", "version", "config"].contains(&arg.get_id().as_str())
        };
        command.get_arguments().filter(is_shown).cloned().collect()
    };
    let own = of(command);
    let global: Vec<Arg> = of(definitions).into_iter().filter(Arg::is_global_set).collect();
    let everything = own.iter().filter(|arg| !arg.is_global_set()).chain(&global);
    everything.filter_map(|arg| shown(arg, matches, &path, settings)).collect()
}

fn shown(arg: &Arg, matches: &ArgMatches, path: &[&str], settings: &Settings) -> Option<Shown> {
    let flag = arg.get_long()?.to_owned();
    let id = arg.get_id().as_str();
    let source = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => "command line".to_owned(),
        Some(ValueSource::EnvVariable) => {
            format!("environment {}", arg.get_env().map(|name| name.to_string_lossy()).unwrap_or_default())
        }
        Some(_) if settings.says(path, &flag) => {
            format!("file {}", settings.file().map(|file| file.display().to_string()).unwrap_or_default())
        }
        Some(_) => "built in".to_owned(),
        None => "not set".to_owned(),
    };
    let raw = matches.get_raw(id);
    let value = raw.map(|raw| raw.map(|text| text.to_string_lossy()).collect::<Vec<_>>().join(" "));
    let value = value.map(|value| if SECRET.contains(&flag.as_str()) { HIDDEN.to_owned() } else { value });
    Some(Shown { flag, value, source })
}
