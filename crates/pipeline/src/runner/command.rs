//! A command that is waited for: `sh -c` on this machine, with a log, a time limit and a way to stop it. External
//! converters and a commit's own tests are run so.
//!
//! The command and all it starts form one process group, which is killed as a whole. Output and errors go to one log and,
//! line by line, to the caller.
//!
//! Deliberately missing: limits on processor and memory, and going on with a command whose caller was killed: what takes
//! long or much is a [`super::Task`]. Such a command writes into a folder that nobody reads any more.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Ended, JobError};
use crate::workdir::WorkError;

/// Largest log kept; what comes after is dropped.
pub const LOG_BYTES_MAX: u64 = 64 << 20;
/// Longest line; a longer one is cut in pieces.
pub const LINE_BYTES_MAX: u64 = 16 << 10;
/// Lines of the log that an error shows.
pub const LAST_LINES: usize = 12;

const LINES_QUEUED_MAX: usize = 1024;
const POLL: Duration = Duration::from_millis(50);
/// How long the log of a command that has ended is still read.
const DRAIN: Duration = Duration::from_secs(2);

/// A command to run.
pub struct Job<'a> {
    /// The command line, for `sh -c`.
    pub command: &'a str,
    /// Where it runs.
    pub dir: &'a Path,
    /// Variables added to the environment.
    pub env: &'a [(&'a str, String)],
    /// Where its output goes.
    pub log: &'a Path,
    /// How long it may take.
    pub timeout: Duration,
    /// Set from elsewhere to stop it.
    pub cancel: &'a AtomicBool,
}

enum End {
    Exited(ExitStatus),
    TimedOut,
    Cancelled,
}

/// Runs the command to its end; `said` gets each line.
///
/// # Errors
/// It cannot be started, fails, takes too long, or is stopped.
pub fn run(job: &Job<'_>, said: &mut dyn FnMut(&str)) -> Result<(), JobError> {
    let command = || job.command.to_owned();
    let mut log = Log::create(job.log)?;
    let mut child = start(job).map_err(|source| JobError::Start { command: command(), source })?;
    let lines = read_lines(&mut child);
    let mut take = |line: &str| {
        log.take(line);
        said(line);
    };
    let end = follow(job, &mut child, &lines, &mut take)
        .map_err(|source| JobError::Wait { command: command(), source })?;
    let ended = || Ended::of(job.command, job.log, Vec::from(log.tail.clone()));
    match end {
        End::Exited(status) if status.success() => Ok(()),
        End::Exited(status) => Err(JobError::Failed { status: status.to_string(), ended: ended() }),
        End::TimedOut => Err(JobError::TimedOut { timeout: job.timeout, ended: ended() }),
        End::Cancelled => Err(JobError::Cancelled { command: command() }),
    }
}

fn start(job: &Job<'_>) -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(job.command).current_dir(job.dir);
    command.envs(job.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
}

/// Kills the command and all it started.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        // A group that has just ended by itself is what was wanted.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
}

fn follow(
    job: &Job<'_>,
    child: &mut Child,
    lines: &Receiver<String>,
    take: &mut dyn FnMut(&str),
) -> io::Result<End> {
    let deadline = Instant::now().checked_add(job.timeout);
    let end = loop {
        match lines.recv_timeout(POLL) {
            Ok(line) => take(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL / 10),
        }
        if job.cancel.load(Ordering::Relaxed) {
            break End::Cancelled;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break End::TimedOut;
        }
        if let Some(status) = child.try_wait()? {
            break End::Exited(status);
        }
    };
    // Whatever the command left running in its group ends with it.
    kill(child);
    child.wait()?;
    drain(lines, take);
    Ok(end)
}

fn drain(lines: &Receiver<String>, take: &mut dyn FnMut(&str)) {
    let until = Instant::now() + DRAIN;
    while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        take(&line);
    }
}

fn read_lines(child: &mut Child) -> Receiver<String> {
    let (send, receive) = sync_channel(LINES_QUEUED_MAX);
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ];
    for stream in streams.into_iter().flatten() {
        let send = send.clone();
        thread::spawn(move || forward(stream, &send));
    }
    receive
}

fn forward(stream: impl Read, send: &SyncSender<String>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
        line.clear();
        if send.send(text).is_err() {
            return;
        }
    }
}

pub(super) struct Log {
    file: File,
    room_bytes: u64,
    pub(super) tail: VecDeque<String>,
}

impl Log {
    pub(super) fn create(path: &Path) -> Result<Self, WorkError> {
        let file = File::create(path).map_err(WorkError::at("creating the log", path))?;
        Ok(Self { file, room_bytes: LOG_BYTES_MAX, tail: VecDeque::with_capacity(LAST_LINES + 1) })
    }

    /// A log that cannot be written any more must not end the training.
    pub(super) fn take(&mut self, line: &str) {
        self.tail.push_back(line.to_owned());
        if self.tail.len() > LAST_LINES {
            self.tail.pop_front();
        }
        let size = line.len() as u64 + 1;
        if size <= self.room_bytes {
            self.room_bytes -= size;
            let _ = writeln!(self.file, "{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_in(command: &str, timeout: Duration, cancel: bool) -> (Result<(), JobError>, Vec<String>, String) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let job = Job {
            command,
            dir: dir.path(),
            env: &[("GREETING", "hello".to_owned())],
            log: &log,
            timeout,
            cancel: &AtomicBool::new(cancel),
        };
        let mut lines = Vec::new();
        let result = run(&job, &mut |line| lines.push(line.to_owned()));
        (result, lines, std::fs::read_to_string(&log).unwrap())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_reaches_the_caller_and_the_log() {
        let (result, lines, log) = run_in("echo $GREETING; echo error >&2", LONG, false);
        result.unwrap();
        assert_eq!((lines.len(), log.lines().count()), (2, 2));
        assert!(lines.contains(&"hello".to_owned()) && lines.contains(&"error".to_owned()), "{lines:?}");
    }

    #[test]
    fn a_failure_says_its_status_and_last_words() {
        let (result, ..) = run_in("seq 1 40; exit 3", LONG, false);
        let Err(JobError::Failed { status, ended }) = result else { panic!("{result:?}") };
        assert!(status.contains('3'), "{status}");
        assert_eq!((ended.tail.len(), ended.tail.last().map(String::as_str)), (LAST_LINES, Some("40")));
    }

    #[test]
    fn a_command_that_takes_too_long_is_stopped_with_all_it_started() {
        let command = "echo begun; sleep 600 & sleep 600";
        let (result, lines, _) = run_in(command, Duration::from_millis(300), false);
        assert!(matches!(result, Err(JobError::TimedOut { .. })), "{result:?}");
        assert_eq!(lines, ["begun"]);
    }

    #[test]
    fn a_cancelled_command_is_stopped() {
        let (result, ..) = run_in("sleep 600", LONG, true);
        assert!(matches!(result, Err(JobError::Cancelled { .. })), "{result:?}");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (result, lines, _) = run_in("head -c 40000 /dev/zero | tr '\\0' x", LONG, false);
        result.unwrap();
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [16384, 16384, 7232]);
    }
}
