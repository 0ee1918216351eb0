//! The app as a child of the agent.
//!
//! It runs in a process group of its own. `app.json` in the agent's data folder says which process it is and for which
//! activations it was started, so that an agent that died and came back finds its app still answering and leaves it
//! alone; a process id that was given to another process meanwhile is told by its start time.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::durable::{Access, read_if_present, replace};
use crate::records::to_json;

/// Schema of [`Note`].
const NOTE_SCHEMA: &str = "edgeward.app/1";
const NOTE_BYTES_MAX: u64 = 64 << 10;
/// Between two looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(5);

/// Which process the app is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    schema: String,
    pid: i32,
    /// The kernel's start time of the process, in clock ticks since boot.
    start_ticks: u64,
    /// The command it was started with.
    command: String,
    /// What was active when it was started.
    stamp: String,
}

/// The app's process, if it runs.
pub struct App {
    command: String,
    models: PathBuf,
    note: PathBuf,
    stop_grace: Duration,
    running: Option<Running>,
    stamp: Option<String>,
}

enum Running {
    /// Started by this agent.
    Child(Child),
    /// Started by an agent before; the kernel tells only that it ended, not how.
    Adopted(Pid, u64),
}

impl App {
    /// An app that `command` runs, with the models below `data_dir`. One that an agent before left running with the same
    /// command is taken over.
    #[must_use]
    pub fn new(command: &str, data_dir: &Path, stop_grace: Duration) -> Self {
        let note = data_dir.join("app.json");
        let (running, stamp) = adopt(&note, command);
        Self {
            command: command.to_owned(),
            models: data_dir.join("models"),
            note,
            stop_grace,
            running,
            stamp,
        }
    }

    /// What was active when the running app was started.
    #[must_use]
    pub fn stamp(&self) -> Option<&str> {
        self.running.as_ref().and(self.stamp.as_deref())
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(|running| running.pid().as_raw_nonzero().get())
    }

    /// Starts the app; `stamp` says what is active.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, stamp: &str) -> Result<(), String> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("exec {}", self.command)]).stdin(Stdio::null()).process_group(0);
        command.env("EDGEWARD_MODELS", &self.models);
        let child =
            command.spawn().map_err(|error| format!("'{}' cannot be started: {error}", self.command))?;
        let pid = Pid::from_child(&child);
        self.stamp = Some(stamp.to_owned());
        let note = Note {
            schema: NOTE_SCHEMA.to_owned(),
            pid: pid.as_raw_nonzero().get(),
            start_ticks: start_ticks(pid).unwrap_or(0),
            command: self.command.clone(),
            stamp: stamp.to_owned(),
        };
        self.running = Some(Running::Child(child));
        if let Err(error) = replace(&self.note, &to_json(&note), Access::Default) {
            tracing::warn!("an agent that starts anew will not know its app: {error}");
        }
        Ok(())
    }

    /// Whether it runs; an error says how it ended.
    ///
    /// # Errors
    /// It does not run.
    pub fn alive(&mut self) -> Result<(), String> {
        let ended = match &mut self.running {
            None => "the app does not run".to_owned(),
            Some(Running::Child(child)) => match child.try_wait() {
                Ok(None) => return Ok(()),
                Ok(Some(status)) => format!("the app ended with {status}"),
                Err(error) => format!("the app cannot be watched: {error}"),
            },
            Some(Running::Adopted(pid, ticks)) if start_ticks(*pid) == Some(*ticks) => return Ok(()),
            Some(Running::Adopted(..)) => "the app ended".to_owned(),
        };
        self.running = None;
        Err(ended)
    }

    /// Asks it to end, and makes it end when its grace is over.
    pub fn stop(&mut self) {
        if let Some(running) = &self.running {
            // Its own children may need no word; those that are left are ended below.
            let _ = kill_process(running.pid(), Signal::TERM);
        }
        let deadline = Instant::now() + self.stop_grace;
        let pid = self.running.as_ref().map(Running::pid);
        while Instant::now() < deadline && self.alive().is_ok() {
            thread::sleep(LOOK);
        }
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        while self.alive().is_ok() {
            thread::sleep(LOOK);
        }
        let _ = fs::remove_file(&self.note);
    }
}

impl Running {
    fn pid(&self) -> Pid {
        match self {
            Self::Child(child) => Pid::from_child(child),
            Self::Adopted(pid, _) => *pid,
        }
    }
}

/// The app of an agent before, if it still runs and is the same.
fn adopt(note: &Path, command: &str) -> (Option<Running>, Option<String>) {
    let read =
        || -> Option<Note> { serde_json::from_slice(&read_if_present(note, NOTE_BYTES_MAX).ok()??).ok() };
    let Some(note) = read().filter(|note| note.schema == NOTE_SCHEMA) else { return (None, None) };
    let Some(pid) = Pid::from_raw(note.pid) else { return (None, None) };
    if note.start_ticks == 0 || start_ticks(pid) != Some(note.start_ticks) {
        return (None, None);
    }
    let running = Running::Adopted(pid, note.start_ticks);
    // Of another command: it is known, so that it can be ended, but it is for nothing that is active now.
    let stamp = (note.command == command).then_some(note.stamp);
    (Some(running), stamp)
}

/// When the kernel says the process was started; none if it ended.
fn start_ticks(pid: Pid) -> Option<u64> {
    let stat = read_stat(pid).ok()?;
    // The name stands in brackets and may hold anything; state is field 3, the start time field 22.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    (state != "Z" && state != "X").then(|| fields.nth(18)?.parse().ok()).flatten()
}

fn read_stat(pid: Pid) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[test]
    fn an_agent_that_comes_back_finds_its_app() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = App::new("sleep 600", folder.path(), GRACE);
        assert_eq!(first.pid(), None);
        first.start("digits:1").unwrap();
        let pid = first.pid().unwrap();
        // The agent dies without a word.
        let mut second = App::new("sleep 600", folder.path(), GRACE);
        assert_eq!((second.pid(), second.stamp()), (Some(pid), Some("digits:1")));
        assert_eq!(second.alive(), Ok(()));
        let third = App::new("sleep 601", folder.path(), GRACE);
        assert_eq!((third.pid(), third.stamp()), (Some(pid), None), "known, but for another command");
        // As its parent here, this test has to take note of its end.
        let reaper = thread::spawn(move || {
            while first.alive().is_ok() {
                thread::sleep(LOOK);
            }
        });
        second.stop();
        reaper.join().unwrap();
        assert!(App::new("sleep 600", folder.path(), GRACE).pid().is_none());
    }

    #[test]
    fn a_stubborn_app_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sh -c 'sleep 600 & echo $! > {}; trap \"\" TERM; wait; wait'", pids.display());
        let mut app = App::new(&script, folder.path(), Duration::from_millis(200));
        app.start("").unwrap();
        let inner = loop {
            let text = fs::read_to_string(&pids).unwrap_or_default();
            match text.trim().parse().ok().and_then(Pid::from_raw) {
                Some(pid) => break pid,
                None => thread::sleep(LOOK),
            }
        };
        app.stop();
        assert!(app.alive().is_err());
        while start_ticks(inner).is_some() {
            thread::sleep(LOOK);
        }
    }

    #[test]
    fn an_app_says_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut app = App::new("sh -c 'exit 3'", folder.path(), GRACE);
        app.start("").unwrap();
        let why = loop {
            match app.alive() {
                Ok(()) => thread::sleep(LOOK),
                Err(why) => break why,
            }
        };
        assert!(why.contains("exit status: 3"), "{why}");
    }
}
