//! `docs/reference/cli.md` is written from the definitions: a test compares, and writes anew with
//! `EDGEWARD_WRITE_REFERENCE=1 cargo test -p edgeward reference`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use super::Cli;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");
const HEAD: &str = "# Commands\n\nWritten from the definitions in `crates/cli/src/args`; `edgeward help COMMAND` says the same. \
                    Flags of every command stand under `edgeward`.\n";

fn write(text: &mut String, path: &str, command: &Command) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    writeln!(text, "\n## `{path}`\n\n{}", about.trim_end()).unwrap();
    let is_own = |arg: &&Arg| {
        let is_common = arg.is_global_set() && path != "edgeward";
        !arg.is_hide_set() && !is_common && !["help", "version"].contains(&arg.get_id().as_str())
    };
    let args: Vec<&Arg> = command.get_arguments().filter(is_own).collect();
    if !args.is_empty() {
        text.push_str("\n| | default | |\n|---|---|---|\n");
        args.iter().for_each(|arg| row(text, arg));
    }
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        write(text, &format!("{path} {}", inner.get_name()), inner);
    }
}

fn row(text: &mut String, arg: &Arg) {
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let takes = arg.get_action().takes_values();
    let value = if takes { values.join(" ") } else { String::new() };
    let name = match arg.get_long() {
        Some(long) => format!("--{long} {value}").trim_end().to_owned(),
        None => value,
    };
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    let default = if takes { defaults.join(" ") } else { String::new() };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut help = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    if let Some(variable) = arg.get_env() {
        write!(help, " (`{}`)", variable.to_string_lossy()).unwrap();
    }
    let choices: Vec<String> =
        arg.get_possible_values().iter().map(|choice| format!("`{}`", choice.get_name())).collect();
    if takes && !choices.is_empty() {
        write!(help, ": {}", choices.join(", ")).unwrap();
    }
    writeln!(text, "| `{}` | {default} | {help} |", name.replace('|', "\\|")).unwrap();
}

#[test]
fn the_reference_says_what_the_definitions_say() {
    let mut command = Cli::command();
    command.build();
    let mut text = HEAD.to_owned();
    write(&mut text, "edgeward", &command);
    if std::env::var_os("EDGEWARD_WRITE_REFERENCE").is_some() {
        std::fs::write(PAGE, &text).unwrap();
    }
    let there = std::fs::read_to_string(Path::new(PAGE)).unwrap_or_default();
    let differs = text.lines().zip(there.lines()).find(|(new, old)| new != old);
    assert!(
        there == text,
        "docs/reference/cli.md is stale at {differs:?}; EDGEWARD_WRITE_REFERENCE=1 writes it anew"
    );
}
