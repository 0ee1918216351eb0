//! Tasks as processes of this machine, which outlive whoever asked for them.
//!
//! A task has a folder: what it is given (`in`), what it leaves (`out`), what it says (`log`), the leader of its process
//! group (`pid`), and its exit code once it has one (`status`). The command is the child of a small shell that writes the latter. Every
//! process of the task holds the log open, and a lock with it: whether it is alive is a question to the file, which no number
//! that was given out again can answer wrongly. So a run that was killed finds its training where it is, and reads what it
//! missed.
//!
//! Limits: `cpus` binds the command to that many processors, those that fewest tasks of this run use; `memory_mb` is what
//! all its processes together may hold, measured many times a second ([`meter`]). Both need Linux, and a run that is there:
//! nobody measures a task whose run was killed until the next one finds it.

mod meter;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::command::{LINE_BYTES_MAX, LOG_BYTES_MAX, Log};
use super::{Ended, JobError, Runner, Task};
use crate::project::RunnerTable;
use crate::workdir::{WorkError, write_atomically};
use meter::Meter;

const LOG_FILE: &str = "log";
const PID_FILE: &str = "pid";
const STATUS_FILE: &str = "status";
const POLL: Duration = Duration::from_millis(50);
/// How long a group that was killed is waited for.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Waits for a word, so that nothing runs before its limits and its number are set; then runs the command and keeps its exit code.
const SHELL: &str = r#"read -r go || exit 1
sh -c "$1" < /dev/null
echo $? > "$2.new" && mv "$2.new" "$2""#;

/// Runs tasks on this machine.
#[derive(Debug)]
pub struct Local {
    place: PathBuf,
    cpus: Option<usize>,
    memory_mb: Option<u64>,
    at_once: usize,
    /// How many tasks of this run are bound to each processor.
    bound: Mutex<BTreeMap<usize, usize>>,
}

/// How a task ended.
enum End {
    Exited,
    TimedOut,
    Cancelled,
    OverMemory { held_mb: u64 },
}

impl Local {
    /// Tasks that leave what they need in `place`.
    #[must_use]
    pub fn new(table: &RunnerTable, place: PathBuf) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let at_once = table.parallel.unwrap_or(processors);
        Self { place, cpus: table.cpus, memory_mb: table.memory_mb, at_once, bound: Mutex::default() }
    }
}

impl Runner for Local {
    fn run(&self, task: &Task<'_>, said: &mut dyn FnMut(&str)) -> Result<(), JobError> {
        let dir = super::folder(&self.place, task.id)?;
        let dir = fs::canonicalize(&dir).map_err(WorkError::at("finding", &dir))?;
        if task.anew && is_begun(&dir) {
            end(&dir)?;
            super::emptied(&dir)?;
        }
        let is_there = is_begun(&dir) && (is_alive(&dir)? || dir.join(STATUS_FILE).is_file());
        let (child, _bound) = match is_there {
            true => {
                said("this training is under way or done already: going on with it");
                (None, None)
            }
            false => self.begin(task, &dir).map(|(child, bound)| (Some(child), bound))?,
        };
        self.follow(task, &dir, child, said)
    }

    fn at_once(&self) -> usize {
        self.at_once
    }
}

impl Local {
    fn begin(&self, task: &Task<'_>, dir: &Path) -> Result<(Child, Option<Bound<'_>>), JobError> {
        super::emptied(dir)?;
        let (given, out) = (dir.join("in"), dir.join("out"));
        let start = |source| JobError::Start { command: task.command.to_owned(), source };
        for folder in [&given, &out] {
            fs::create_dir(folder).map_err(WorkError::at("making the folder", folder))?;
        }
        for input in task.inputs {
            (input.write)(&given.join(input.name)).map_err(start)?;
        }
        let mut command = shell(task, dir).map_err(start)?;
        command.envs(task.inputs.iter().map(|input| (input.variable, given.join(input.name))));
        command.envs(task.outputs.iter().map(|output| (output.variable, out.join(output.name))));
        let mut child = command.spawn().map_err(start)?;
        // Without the word the shell ends by itself.
        let bound = self.bind(child.id()).and_then(|bound| {
            write_atomically(&dir.join(PID_FILE), child.id().to_string().as_bytes())?;
            let mut word = child.stdin.take().expect("it is piped");
            word.write_all(b"go\n").map_err(WorkError::at("starting the command in", dir))?;
            Ok(bound)
        });
        match bound {
            Ok(bound) => Ok((child, bound)),
            Err(error) => {
                drop(child.stdin.take());
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Binds a process, and all it will start, to its share of the processors.
    fn bind(&self, pid: u32) -> Result<Option<Bound<'_>>, JobError> {
        let Some(cpus) = self.cpus else { return Ok(None) };
        let refuse = |reason: String| JobError::NoLimit { key: "cpus", reason };
        let allowed = meter::processors().map_err(|error| refuse(error.to_string()))?;
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_use = allowed;
        by_use.sort_by_key(|processor| bound.get(processor).copied().unwrap_or_default());
        by_use.truncate(cpus);
        meter::bind(pid, &by_use).map_err(|error| refuse(error.to_string()))?;
        by_use.iter().for_each(|processor| *bound.entry(*processor).or_default() += 1);
        Ok(Some(Bound { tasks: &self.bound, processors: by_use }))
    }

    fn follow(
        &self,
        task: &Task<'_>,
        dir: &Path,
        mut child: Option<Child>,
        said: &mut dyn FnMut(&str),
    ) -> Result<(), JobError> {
        let mut log = Log::create(task.log)?;
        let mut take = |line: &str| {
            log.take(line);
            said(line);
        };
        let mut tail = Tail::of(dir.join(LOG_FILE));
        let end = self.watch(task, dir, child.as_mut(), &mut |last| tail.read(last, &mut take));
        // Whatever the command left running in its group ends with it.
        self::end(dir)?;
        if let Some(mut child) = child {
            let _ = child.wait();
        }
        let end = end?;
        tail.read(true, &mut take)?;
        let ended = Ended::of(task.command, task.log, Vec::from(log.tail));
        match end {
            End::Exited => conclude(task, dir, ended),
            End::TimedOut => Err(JobError::TimedOut { timeout: task.timeout, ended }),
            End::Cancelled => {
                super::emptied(dir)?;
                Err(JobError::Cancelled { command: ended.command })
            }
            End::OverMemory { held_mb } => {
                let limit_mb = self.memory_mb.unwrap_or_default();
                Err(JobError::OverMemory { held_mb, limit_mb, ended })
            }
        }
    }

    fn watch(
        &self,
        task: &Task<'_>,
        dir: &Path,
        mut child: Option<&mut Child>,
        read: &mut dyn FnMut(bool) -> Result<(), WorkError>,
    ) -> Result<End, JobError> {
        let wait = |source| JobError::Wait { command: task.command.to_owned(), source };
        let mut meter = self.memory_mb.map(|limit_mb| Meter::of(leader(dir), limit_mb));
        loop {
            read(false)?;
            if task.cancel.load(Ordering::Relaxed) {
                return Ok(End::Cancelled);
            }
            let is_over = match &mut child {
                Some(child) => child.try_wait().map_err(wait)?.is_some(),
                None => dir.join(STATUS_FILE).is_file() || !is_alive(dir)?,
            };
            if is_over {
                return Ok(End::Exited);
            }
            if begun(dir).elapsed().is_ok_and(|elapsed| elapsed >= task.timeout) {
                return Ok(End::TimedOut);
            }
            if let Some(meter) = &mut meter {
                let over = meter
                    .over()
                    .map_err(|error| JobError::NoLimit { key: "memory_mb", reason: error.to_string() })?;
                if let Some(held_mb) = over {
                    return Ok(End::OverMemory { held_mb });
                }
            }
            thread::sleep(POLL);
        }
    }
}

/// The processors that a task is bound to, until it has ended.
struct Bound<'a> {
    tasks: &'a Mutex<BTreeMap<usize, usize>>,
    processors: Vec<usize>,
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for processor in &self.processors {
            if let Some(count) = tasks.get_mut(processor) {
                *count = count.saturating_sub(1);
            }
        }
    }
}

/// The shell that runs a task, as leader of a group of its own.
fn shell(task: &Task<'_>, dir: &Path) -> io::Result<Command> {
    let log = File::options().create(true).append(true).open(dir.join(LOG_FILE))?;
    // Held by every process that has this file, until the last of them has ended.
    log.lock()?;
    let mut command = Command::new("sh");
    command.arg("-c").arg(SHELL).arg("sh").arg(task.command).arg(dir.join(STATUS_FILE));
    command.current_dir(task.dir);
    command.envs(task.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}

fn conclude(task: &Task<'_>, dir: &Path, ended: Box<Ended>) -> Result<(), JobError> {
    let status = fs::read_to_string(dir.join(STATUS_FILE)).unwrap_or_default();
    match status.trim().parse::<i64>() {
        Ok(0) => Ok(super::bring(task.outputs, &dir.join("out"), task.out)?),
        Ok(code) => match super::killed_by(code) {
            Some(how) => {
                super::emptied(dir)?;
                Err(JobError::Killed { how: how.to_owned(), ended })
            }
            None => Err(JobError::Failed { status: format!("exit code {code}"), ended }),
        },
        Err(_) => {
            super::emptied(dir)?;
            Err(JobError::Killed { how: "it left no exit code".to_owned(), ended })
        }
    }
}

fn is_begun(dir: &Path) -> bool {
    dir.join(PID_FILE).is_file()
}

/// When the command began.
fn begun(dir: &Path) -> SystemTime {
    fs::metadata(dir.join(PID_FILE)).and_then(|found| found.modified()).unwrap_or_else(|_| SystemTime::now())
}

/// The leader of the task's group.
fn leader(dir: &Path) -> Option<i32> {
    fs::read_to_string(dir.join(PID_FILE)).ok()?.trim().parse().ok()
}

/// Whether any process of the task is there.
fn is_alive(dir: &Path) -> Result<bool, WorkError> {
    let path = dir.join(LOG_FILE);
    let Ok(log) = File::open(&path) else { return Ok(false) };
    match log.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(WorkError::at("looking for the processes of", &path)(source)),
    }
}

/// Ends every process of the task in `dir`, if there is any.
pub(super) fn end(dir: &Path) -> Result<(), WorkError> {
    let deadline = std::time::Instant::now() + KILL_WAIT;
    while is_alive(dir)? && std::time::Instant::now() < deadline {
        #[cfg(unix)]
        if let Some(group) = leader(dir).and_then(rustix::process::Pid::from_raw) {
            // A group that has just ended by itself is what was wanted.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        thread::sleep(POLL / 10);
    }
    Ok(())
}

/// What is new in a log.
struct Tail {
    path: PathBuf,
    at: u64,
    rest: Vec<u8>,
}

impl Tail {
    const fn of(path: PathBuf) -> Self {
        Self { path, at: 0, rest: Vec::new() }
    }

    /// Takes the lines that came since; with `last`, also one that has no end.
    fn read(&mut self, last: bool, take: &mut dyn FnMut(&str)) -> Result<(), WorkError> {
        let path = self.path.clone();
        let fail = |source| WorkError::at("reading", &path)(source);
        let mut file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        file.seek(SeekFrom::Start(self.at)).map_err(fail)?;
        let mut chunk = Vec::new();
        while io::Read::by_ref(&mut file).take(LINE_BYTES_MAX).read_to_end(&mut chunk).map_err(fail)? > 0 {
            self.at += chunk.len() as u64;
            self.rest.append(&mut chunk);
            self.give(take);
        }
        if self.at > LOG_BYTES_MAX {
            // What was read may go: it is kept in the run's own log, which has a limit. The command appends.
            file.set_len(0).map_err(fail)?;
            self.at = 0;
        }
        if last && !self.rest.is_empty() {
            take(&String::from_utf8_lossy(&self.rest));
            self.rest.clear();
        }
        Ok(())
    }

    fn give(&mut self, take: &mut dyn FnMut(&str)) {
        let longest = LINE_BYTES_MAX as usize;
        loop {
            let end = self.rest.iter().position(|byte| *byte == b'\n');
            let (line, rest) = match end {
                Some(end) if end <= longest => (&self.rest[..end], end + 1),
                _ if self.rest.len() >= longest => (&self.rest[..longest], longest),
                _ => return,
            };
            take(String::from_utf8_lossy(line).trim_end_matches('\r'));
            self.rest.drain(..rest);
        }
    }
}
