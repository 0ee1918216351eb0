//! Runners: where a training command runs.
//!
//! A [`Task`] is a command with its files. [`local`] runs it on this machine, [`ray`] on a Ray cluster; both keep one contract,
//! which `tests/runners` asks of each:
//!
//! - A task has an id that names all it depends on. Asked for again while it runs, or after it has ended, it is gone on with:
//!   neither the end of whoever asked for it nor a second request makes it run twice.
//! - Its output comes line by line, its files when it has ended well, and a failure with its last lines.
//! - What is left of the tasks of a project is ended by [`clear`], which a run does last of all.
//!
//! What only takes a moment, and is made anew if its caller dies, is a [`command`].
//!
//! Deliberately missing: a queue (a run asks for as many tasks at once as [`Runner::at_once`] says) and graphics processors.

pub mod command;
pub mod local;
pub mod ray;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use local::Local;
pub use ray::{Ray, RayError};

use crate::project::{RunnerKind, RunnerTable};
use crate::workdir::{WorkDir, WorkError};

/// How often a task that something killed from outside is begun, in all.
pub const ATTEMPTS_MAX: u32 = 3;

/// A file that a command is given.
pub struct Input<'a> {
    /// The variable that holds its path.
    pub variable: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Writes it; asked only where the command is really begun.
    pub write: &'a (dyn Fn(&Path) -> io::Result<()> + Sync),
}

/// A file that a command may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// The variable that holds its path.
    pub variable: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// A command with its files.
pub struct Task<'a> {
    /// Names all it depends on: letters, digits, `.`, `_` and `-`.
    pub id: &'a str,
    /// The command line, for `sh -c`.
    pub command: &'a str,
    /// The project's folder.
    pub dir: &'a Path,
    /// The files in it that the command reads, by their relative names: what is sent where the folder itself is not.
    pub files: &'a [String],
    /// Variables added to its environment.
    pub env: &'a [(&'a str, String)],
    /// The files it is given besides.
    pub inputs: &'a [Input<'a>],
    /// The files it may leave.
    pub outputs: &'a [Output<'a>],
    /// The folder they come to lie in.
    pub out: &'a Path,
    /// Where what it says is kept.
    pub log: &'a Path,
    /// How long it may run.
    pub timeout: Duration,
    /// Set from elsewhere to stop it.
    pub cancel: &'a AtomicBool,
    /// Whether one that is under way is ended and begun anew: its beginning was not watched.
    pub anew: bool,
}

/// Runs tasks.
pub trait Runner: Sync {
    /// Runs a task to its end, or goes on with the one of this id; `said` gets each line from its beginning.
    ///
    /// # Errors
    /// It cannot be begun, fails, takes too long or too much, is stopped, or is killed from outside ([`JobError::Killed`]: then
    /// it may be asked for again).
    fn run(&self, task: &Task<'_>, said: &mut dyn FnMut(&str)) -> Result<(), JobError>;

    /// How many tasks to ask for at once.
    fn at_once(&self) -> usize;
}

/// A command that came to its end, one way or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The command.
    pub command: String,
    /// Its log.
    pub log: String,
    /// The end of the log.
    pub tail: Vec<String>,
}

impl Ended {
    /// What is known of `command`.
    #[must_use]
    pub fn of(command: &str, log: &Path, tail: Vec<String>) -> Box<Self> {
        Box::new(Self { command: command.to_owned(), log: log.display().to_string(), tail })
    }

    fn last_words(&self) -> String {
        match self.tail.is_empty() {
            true => "it said nothing".to_owned(),
            false => format!("its last lines, from {}:\n{}", self.log, self.tail.join("\n")),
        }
    }
}

/// A command that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It cannot be started.
    #[error("starting '{command}'")]
    Start {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The work folder.
    #[error(transparent)]
    Log(#[from] WorkError),
    /// It cannot be waited for.
    #[error("waiting for '{command}'")]
    Wait {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// This system keeps no such limit.
    #[error("[runner] {key} is not kept on this system: {reason}; leave it out")]
    NoLimit {
        /// The key.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// It ended with a failure.
    #[error("'{}' ended with {status}; {}", ended.command, ended.last_words())]
    Failed {
        /// How it ended.
        status: String,
        /// What it said.
        ended: Box<Ended>,
    },
    /// It took too long and was stopped.
    #[error(
        "'{}' was stopped after {} s, its time limit; {}",
        ended.command, timeout.as_secs_f64(), ended.last_words()
    )]
    TimedOut {
        /// The time limit.
        timeout: Duration,
        /// What it said.
        ended: Box<Ended>,
    },
    /// It took too much memory and was stopped.
    #[error(
        "'{}' was stopped over its memory: it held {held_mb} MB, and [runner] memory_mb is {limit_mb}; raise it, or let the \
         command hold less at once; {}",
        ended.command, ended.last_words()
    )]
    OverMemory {
        /// What it held.
        held_mb: u64,
        /// What it may hold.
        limit_mb: u64,
        /// What it said.
        ended: Box<Ended>,
    },
    /// Something killed it: a person, the system short of memory, the end of the machine it ran on.
    #[error("'{}' was killed from outside: {how}; {}", ended.command, ended.last_words())]
    Killed {
        /// What is known of that.
        how: String,
        /// What it said.
        ended: Box<Ended>,
    },
    /// It was stopped from elsewhere.
    #[error("'{command}' was stopped")]
    Cancelled {
        /// The command.
        command: String,
    },
    /// Ray.
    #[error(transparent)]
    Ray(#[from] Box<RayError>),
}

impl JobError {
    /// Whether the same may succeed when it is asked for again: somebody stopped it, or its cluster was away.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Cancelled { .. } => true,
            Self::Ray(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// The runner that `table` asks for; its tasks leave what they need in `work`.
///
/// # Errors
/// The address is none, or one that anybody can reach.
pub fn of(table: &RunnerTable, work: &WorkDir) -> Result<Box<dyn Runner>, JobError> {
    let place = work.tasks();
    Ok(match table.kind {
        RunnerKind::Local => Box::new(Local::new(table, place)),
        RunnerKind::Ray => Box::new(Ray::new(table, place)?),
    })
}

/// Runs a task, and begins it again if something kills it from outside, [`ATTEMPTS_MAX`] times in all.
///
/// # Errors
/// As [`Runner::run`].
pub fn to_its_end(runner: &dyn Runner, task: &Task<'_>, said: &mut dyn FnMut(&str)) -> Result<(), JobError> {
    for attempt in 1..ATTEMPTS_MAX {
        match runner.run(task, said) {
            Err(JobError::Killed { how, .. }) => {
                said(&format!("killed from outside: {how}; begun again, {attempt} of {}", ATTEMPTS_MAX - 1));
            }
            outcome => return outcome,
        }
    }
    runner.run(task, said)
}

/// Ends what is left of the tasks in `place`, wherever they run. What cannot be ended now is left for the next time.
///
/// # Errors
/// The folder cannot be read.
pub fn clear(place: &Path) -> Result<(), WorkError> {
    for entry in fs::read_dir(place).map_err(WorkError::at("listing", place))?.flatten() {
        let task = entry.path();
        let left = match ray::Jobs::noted_in(&task) {
            Some(jobs) => jobs.end().map_err(|error| error.to_string()),
            None => local::end(&task).map_err(|error| error.to_string()),
        };
        let gone = left.and_then(|()| fs::remove_dir_all(&task).map_err(|error| error.to_string()));
        if let Err(error) = gone {
            tracing::warn!(task = %task.display(), error, "something of a task is left");
        }
    }
    Ok(())
}

/// The folder of one task; made if it is not there.
fn folder(place: &Path, id: &str) -> Result<PathBuf, WorkError> {
    let folder = place.join(id);
    fs::create_dir_all(&folder).map_err(WorkError::at("making the folder", &folder))?;
    Ok(folder)
}

/// An empty folder.
fn emptied(folder: &Path) -> Result<(), WorkError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(WorkError::at("removing", folder))?;
    }
    fs::create_dir_all(folder).map_err(WorkError::at("making the folder", folder))
}

/// Copies what the command left among `outputs` from one folder to another.
fn bring(outputs: &[Output<'_>], from: &Path, to: &Path) -> Result<(), WorkError> {
    for output in outputs {
        let left = from.join(output.name);
        if left.is_file() {
            let target = to.join(output.name);
            fs::copy(&left, &target).map_err(WorkError::at("writing", &target))?;
        }
    }
    Ok(())
}

/// How a shell's exit code says that something killed the command, if it does: signals that nobody sends to oneself.
fn killed_by(code: i64) -> Option<&'static str> {
    match code {
        129 | -1 => Some("signal 1 (SIGHUP)"),
        137 | -9 => Some("signal 9 (SIGKILL), which the system also sends when memory runs out"),
        143 | -15 => Some("signal 15 (SIGTERM)"),
        _ => None,
    }
}
