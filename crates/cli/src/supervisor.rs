//! The processes of a demo or a measurement: started, started again when they die, and gone with it.
//!
//! One thread starts every child, because on Linux a child asks to be stopped when the *thread* that started it ends;
//! so no way of ending this program, `kill -9` included, leaves a child behind. Children stand in process groups of their
//! own: a Ctrl-C on the terminal reaches only this program, which then ends them in order.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Between two looks at the children.
const LOOK: Duration = Duration::from_millis(50);
/// Between a child's death and its next start.
const RESTART_DELAY: Duration = Duration::from_millis(300);
/// Starts after the first before a child is given up.
const RESTARTS_MAX: u32 = 20;
/// Times that something done once is started again after it was killed.
const KILLS_MAX: u32 = 3;
/// How long a child may take to end when asked.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a log that an error quotes.
const LOG_TAIL_BYTES: u64 = 600;

/// How to start one process.
pub(crate) struct Spec {
    /// What people call it.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// Asked for at every start, so that a restart can take the address the first start was given.
    pub(crate) args: Box<dyn Fn() -> Vec<OsString> + Send>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    pub(crate) life: Life,
}

/// What its end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It should live as long as this program: started again when it dies.
    Service,
    /// It does one thing and ends: started again only when it was killed.
    Once,
}

/// A process as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) name: String,
    /// While it runs.
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    /// How it ended, if it will not be started again.
    pub(crate) ended: Option<Ended>,
    pub(crate) log: PathBuf,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    Badly,
}

struct Managed {
    spec: Spec,
    child: Option<Child>,
    start_at: Option<Instant>,
    restarts: u32,
    ended: Option<Ended>,
}

struct Shared {
    managed: Mutex<Vec<Managed>>,
    stop: AtomicBool,
    say: Box<dyn Fn(String) + Send + Sync>,
}

/// Owns the processes; dropping it ends them.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// A supervisor of nothing yet, that tells of deaths and restarts through `say`.
    pub(crate) fn new(say: impl Fn(String) + Send + Sync + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            managed: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
            say: Box::new(say),
        });
        let for_thread = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("supervisor".to_owned()).spawn(move || watch(&for_thread))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has `spec` started soon.
    pub(crate) fn start(&self, spec: Spec) {
        let managed = Managed { spec, child: None, start_at: Some(Instant::now()), restarts: 0, ended: None };
        self.shared.lock().push(managed);
    }

    /// Every process, in the order they were started.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().iter().map(Managed::seen).collect()
    }

    /// The process called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<Seen> {
        self.seen().into_iter().find(|seen| seen.name == name)
    }

    /// Restarts of all processes together.
    pub(crate) fn restarts(&self) -> u32 {
        self.shared.lock().iter().map(|managed| managed.restarts).sum()
    }

    /// Ends every process, the last started first, and waits for it.
    pub(crate) fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Managed>> {
        self.managed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch(shared: &Shared) {
    while !shared.stop.load(Ordering::SeqCst) {
        let news: Vec<String> = shared.lock().iter_mut().filter_map(Managed::look).collect();
        news.into_iter().for_each(&shared.say);
        thread::sleep(LOOK);
    }
    for managed in shared.lock().iter_mut().rev() {
        managed.end();
    }
}

impl Managed {
    fn seen(&self) -> Seen {
        Seen {
            name: self.spec.name.clone(),
            pid: self.child.as_ref().map(Child::id),
            restarts: self.restarts,
            ended: self.ended,
            log: self.spec.log.clone(),
        }
    }

    /// Starts what is due and notices what died; what is worth telling.
    fn look(&mut self) -> Option<String> {
        if self.start_at.is_some_and(|at| Instant::now() >= at) {
            return self.start();
        }
        let status = self.child.as_mut()?.try_wait().ok()??;
        let pid = self.child.take().map_or(0, |child| child.id());
        self.died(pid, status)
    }

    fn start(&mut self) -> Option<String> {
        self.start_at = None;
        let name = &self.spec.name;
        match spawn(&self.spec) {
            Ok(child) => {
                let news = (self.restarts > 0).then(|| format!("{name} is back as pid {}", child.id()));
                self.child = Some(child);
                news
            }
            Err(error) => {
                self.ended = Some(Ended::Badly);
                Some(format!("{name} cannot be started: {error}"))
            }
        }
    }

    fn died(&mut self, pid: u32, status: ExitStatus) -> Option<String> {
        let name = &self.spec.name;
        let was_killed = status.code().is_none();
        if self.spec.life == Life::Once && !(was_killed && self.restarts < KILLS_MAX) {
            self.ended = Some(if status.success() { Ended::Well } else { Ended::Badly });
            return None;
        }
        if self.restarts >= RESTARTS_MAX {
            self.ended = Some(Ended::Badly);
            return Some(format!("{name} died {RESTARTS_MAX} times: given up"));
        }
        self.restarts += 1;
        self.start_at = Some(Instant::now() + RESTART_DELAY);
        Some(format!("{name} (pid {pid}) died ({status}): starting it again"))
    }

    fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = Pid::from_child(&child);
        let _ = kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + END_TIMEOUT;
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(LOOK);
        }
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = child.wait();
    }
}

fn spawn(spec: &Spec) -> io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&spec.log)?;
    let mut command = Command::new(&spec.program);
    command.args((spec.args)()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    for name in ["EDGEWARD_SERVER", "EDGEWARD_TOKEN", "EDGEWARD_DATA", "EDGEWARD_DATABASE", "EDGEWARD_LOG"] {
        command.env_remove(name);
    }
    command.spawn()
}

/// The last whole lines of a log file, for an error; the same line in a row only once.
pub(crate) fn log_tail(log: &Path) -> String {
    let Ok(bytes) = fs::read(log) else { return String::new() };
    let from = bytes.len().saturating_sub(usize::try_from(LOG_TAIL_BYTES).unwrap_or(0));
    let text = String::from_utf8_lossy(&bytes[from..]);
    let mut lines: Vec<&str> = text.trim().lines().collect();
    if from > 0 && lines.len() > 1 {
        lines.remove(0);
    }
    lines.dedup();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn shell(name: &str, script: &str, dir: &Path, life: Life) -> Spec {
        let script = script.to_owned();
        Spec {
            name: name.to_owned(),
            program: "/bin/sh".into(),
            args: Box::new(move || vec!["-c".into(), script.clone().into()]),
            log: dir.join(format!("{name}.log")),
            life,
        }
    }

    fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "it never happened");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_alive(pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn a_killed_service_comes_back_and_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&said);
        let supervisor = Supervisor::new(move |text| hears.lock().unwrap().push(text)).unwrap();
        supervisor.start(shell("svc", "exec sleep 600", dir.path(), Life::Service));
        let first = wait(|| supervisor.find("svc")?.pid);
        kill_process(Pid::from_raw(first.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
        let second = wait(|| supervisor.find("svc")?.pid.filter(|pid| *pid != first));
        assert_ne!(first, second);
        assert_eq!(supervisor.restarts(), 1);
        wait(|| (said.lock().unwrap().len() == 2).then_some(()));
        assert!(said.lock().unwrap()[0].contains("signal: 9"), "{said:?}");
        drop(supervisor);
        assert!(!is_alive(second));
    }

    #[test]
    fn ending_takes_a_stubborn_child_and_its_own_children_along() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!("sleep 600 & echo $! > {}; trap '' TERM; wait; wait", pids.display());
        let mut supervisor = Supervisor::new(|_| {}).unwrap();
        supervisor.start(shell("stubborn", &script, dir.path(), Life::Service));
        let inner: u32 = wait(|| fs::read_to_string(&pids).ok()?.trim().parse().ok());
        let outer = wait(|| supervisor.find("stubborn")?.pid);
        supervisor.end();
        wait(|| (!is_alive(inner) && !is_alive(outer)).then_some(()));
    }

    #[test]
    fn something_done_once_is_not_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new(|_| {}).unwrap();
        supervisor.start(shell("good", "echo hello", dir.path(), Life::Once));
        supervisor.start(shell("bad", "echo trouble >&2; exit 3", dir.path(), Life::Once));
        assert_eq!(wait(|| supervisor.find("good")?.ended), Ended::Well);
        assert_eq!(wait(|| supervisor.find("bad")?.ended), Ended::Badly);
        assert_eq!(log_tail(&dir.path().join("bad.log")), "trouble");
        assert_eq!(supervisor.restarts(), 0);
    }

    #[test]
    fn something_done_once_that_was_killed_is_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new(|_| {}).unwrap();
        let flag = dir.path().join("second");
        let script = format!("test -e {0} && exit 0; touch {0}; kill -9 $$", flag.display());
        supervisor.start(shell("run", &script, dir.path(), Life::Once));
        assert_eq!(wait(|| supervisor.find("run")?.ended), Ended::Well);
        assert_eq!(supervisor.restarts(), 1);
    }

    #[test]
    fn a_log_is_quoted_by_whole_lines_and_without_repetition() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "error: the disk is full\n".repeat(100)).unwrap();
        assert_eq!(log_tail(&log), "error: the disk is full");
    }

    #[test]
    fn a_program_that_is_not_there_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::new(|_| {}).unwrap();
        let spec =
            Spec { program: "/nowhere/at/all".into(), ..shell("ghost", "", dir.path(), Life::Service) };
        supervisor.start(spec);
        assert_eq!(wait(|| supervisor.find("ghost")?.ended), Ended::Badly);
    }
}
