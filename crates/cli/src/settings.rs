//! The settings file: what a flag is where neither the command line nor the environment says.
//!
//! TOML. Keys outside any table are flags of every command (`log = "info"`), a table has the flags of the command it is
//! called like (`[agent]`, `[rollout.start]`), each by its long name. The file's values become the defaults of the flags'
//! definitions, so that precedence, checks and messages are those of any flag: command line, environment, file, built-in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use toml::{Table, Value};

use crate::output::{Explain, Failure};

/// The variable that names the file; set and empty, there is none.
pub(crate) const VARIABLE: &str = "EDGEWARD_CONFIG";
const EVERYWHERE: &str = "/etc/edgeward/config.toml";
const BYTES_MAX: u64 = 1 << 20;

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    file: Option<PathBuf>,
    table: Table,
}

impl Settings {
    /// The file that `arguments` or the environment name, or the first that is there: the person's own, then the machine's.
    pub(crate) fn find(arguments: &[OsString]) -> Result<Self, Failure> {
        let named = asked_for(arguments).or_else(|| std::env::var_os(VARIABLE));
        match named {
            Some(name) if name.is_empty() => Ok(Self::default()),
            Some(name) => Self::read(PathBuf::from(name)),
            None => match usual_places().into_iter().find(|place| place.is_file()) {
                Some(place) => Self::read(place),
                None => Ok(Self::default()),
            },
        }
    }

    fn read(file: PathBuf) -> Result<Self, Failure> {
        let doing = format!("reading the settings in {}", file.display());
        let bytes = std::fs::metadata(&file).explain("file", &doing)?.len();
        if bytes > BYTES_MAX {
            return Err(Failure::new("settings", format!("{doing}: it is over {BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(&file).explain("file", &doing)?;
        let table = text.parse().map_err(|error: toml::de::Error| {
            Failure::new("settings", format!("{doing}: {}", error.message()))
        })?;
        Ok(Self { file: Some(file), table })
    }

    /// The file, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether the file says what `flag` of the command at `path` is.
    pub(crate) fn says(&self, path: &[&str], flag: &str) -> bool {
        let inside = path.iter().try_fold(&self.table, |table, name| table.get(*name)?.as_table());
        let has = |table: &Table| table.iter().any(|(key, value)| !value.is_table() && dashed(key) == flag);
        inside.is_some_and(has) || has(&self.table)
    }

    /// The definitions with what the file says as their defaults.
    pub(crate) fn apply(&self, command: Command) -> Result<Command, Failure> {
        let refused = |reason: String| {
            let file = self.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            Failure::new("settings", format!("{file}: {reason}"))
                .hint("`edgeward config show` lists what there is.")
        };
        with_defaults(command, &self.table, "").map_err(refused)
    }
}

/// What `--config` says, before anything else is known of the command line.
fn asked_for(arguments: &[OsString]) -> Option<OsString> {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--") => return None,
            Some("--config") => return rest.next().cloned(),
            Some(text) => {
                if let Some(file) = text.strip_prefix("--config=") {
                    return Some(file.into());
                }
            }
            None => {}
        }
    }
    None
}

fn usual_places() -> Vec<PathBuf> {
    let own = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    own.map(|own| own.join("edgeward/config.toml")).into_iter().chain([PathBuf::from(EVERYWHERE)]).collect()
}

fn dashed(key: &str) -> String {
    key.replace('_', "-")
}

fn with_defaults(command: Command, table: &Table, path: &str) -> Result<Command, String> {
    table.iter().try_fold(command, |command, (key, value)| match value {
        Value::Table(inner) => {
            let whole = format!("{path}{key}");
            let found = command.find_subcommand(key).cloned();
            let found = found.ok_or_else(|| format!("[{whole}]: there is no such command"))?;
            let found = with_defaults(found, inner, &format!("{whole}."))?;
            Ok(command.mut_subcommand(key, |_| found))
        }
        value => {
            let texts = texts(value)
                .ok_or_else(|| format!("{path}{key}: a flag is a text, a number, true or false"))?;
            let id = flag(&command, &dashed(key)).ok_or_else(|| unknown(&command, path, key))?;
            Ok(command.mut_arg(id, |arg| arg.required(false).default_values(texts)))
        }
    })
}

/// The definition of the flag that is called so.
fn flag(command: &Command, long: &str) -> Option<clap::Id> {
    command.get_arguments().find(|arg| arg.get_long() == Some(long)).map(|arg| arg.get_id().clone())
}

fn unknown(command: &Command, path: &str, key: &str) -> String {
    let known: Vec<&str> =
        command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long).collect();
    let place = if path.is_empty() {
        "outside tables".to_owned()
    } else {
        format!("[{}]", path.trim_end_matches('.'))
    };
    format!("{place} there is no '{key}'; the flags there are {}", known.join(", "))
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Float(number) => Some(vec![number.to_string()]),
        Value::Boolean(is) => Some(vec![is.to_string()]),
        Value::Array(values) => values.iter().map(|value| Some(texts(value)?.first()?.clone())).collect(),
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::args::{Cli, Command as Asked};

    fn settings(text: &str) -> Settings {
        Settings { file: Some("c.toml".into()), table: text.parse().unwrap() }
    }

    fn parsed(text: &str, line: &[&str]) -> Cli {
        let command = settings(text).apply(Cli::command()).unwrap();
        Cli::from_arg_matches(&command.try_get_matches_from(line).unwrap()).unwrap()
    }

    #[test]
    fn the_file_is_between_the_command_line_and_what_is_built_in() {
        let file = "log = \"debug\"\n[agent]\nname = \"robot-7\"\npoll_ms = 5000\nno-nudges = true\nmetered = \"always\"\n";
        let Cli { command: Asked::Agent(agent), log, .. } =
            parsed(file, &["edgeward", "agent", "--poll-ms", "70"])
        else {
            unreachable!("agent was asked for")
        };
        assert_eq!((agent.name.as_str(), agent.poll_ms, agent.no_nudges), ("robot-7", 70, true));
        assert_eq!((agent.upload_ms, log.as_str()), (2000, "debug"));
    }

    #[test]
    fn what_is_no_flag_is_refused_with_what_there_is() {
        let refused = |text: &str, expected: &str| {
            let said = format!("{:?}", settings(text).apply(Cli::command()).unwrap_err());
            assert!(said.contains(expected), "{said}");
        };
        refused("[agent]\npol_ms = 3\n", "no 'pol_ms'");
        refused("[agnt]\nname = \"x\"\n", "no such command");
        refused("lgo = \"debug\"\n", "outside tables");
        refused("[agent]\nname = 2026-01-01\n", "a text, a number");
    }

    #[test]
    fn the_file_is_found_before_anything_is_parsed() {
        let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(asked_for(&line(&["edgeward", "agent", "--config", "a"])), Some("a".into()));
        assert_eq!(asked_for(&line(&["edgeward", "--config=b", "agent"])), Some("b".into()));
        assert_eq!(asked_for(&line(&["edgeward", "agent", "--", "--config", "a"])), None);
    }
}
