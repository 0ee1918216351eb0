//! The thread that restarts apps and reboots the device.
//!
//! Both take long, and the control loop must go on meanwhile. Jobs that wait together are one restart. What came of a job
//! goes back as an [`Outcome`]; an app that ends by itself is started again, ever more slowly, and each such end is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use edgeward_core::ModelName;

use super::app::App;
use super::{ActivationConfig, Method, ready};
use crate::durable::{Access, read_if_present, replace};

/// Between two looks at a running app.
const LOOK: Duration = Duration::from_millis(100);
/// Wait before an app that ended by itself is started again; doubled each time.
const RESTART_WAIT: Duration = Duration::from_millis(200);
/// Longest such wait.
const RESTART_WAIT_MAX: Duration = Duration::from_secs(30);
/// An app that ran this long has recovered.
const RECOVERED: Duration = Duration::from_secs(60);
/// A reboot command that was started and did nothing for this long has failed.
const REBOOT_TIMEOUT: Duration = Duration::from_secs(120);
const BOOT_ID_BYTES_MAX: u64 = 256;

/// Something activated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The model.
    pub model: ModelName,
    /// The activation's sequence number.
    pub sequence: u64,
    /// Whether this is another bundle than the app was last told of.
    pub changed: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The app answers, or failed to for this reason, after these activations.
    Activated {
        /// The models and their sequence numbers.
        activations: BTreeMap<ModelName, u64>,
        /// Why it does not answer.
        result: Result<(), String>,
    },
    /// The app ended by itself, for this reason.
    Died(String),
}

/// Orders for the worker.
pub enum Order {
    /// Take up an activation.
    Activate(Job),
    /// End the app and the thread.
    Stop,
}

/// Starts the worker; it ends with [`Order::Stop`] or when nobody can give orders any more.
pub fn spawn(
    config: ActivationConfig,
    data_dir: PathBuf,
    orders: Receiver<Order>,
    tell: impl Fn(Outcome) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || Worker::new(config, data_dir, orders, Box::new(tell)).run())
}

struct Worker {
    config: ActivationConfig,
    data_dir: PathBuf,
    orders: Receiver<Order>,
    tell: Box<dyn Fn(Outcome) + Send>,
    app: Option<App>,
    /// The newest activation of each model.
    activations: BTreeMap<ModelName, u64>,
    started_at: Instant,
    deaths: u32,
    start_due: Option<Instant>,
    stopping: bool,
}

/// What the orders that were waiting come to.
enum Next {
    Nothing,
    Activate { changed: bool },
    Stop,
}

impl Worker {
    fn new(
        config: ActivationConfig,
        data_dir: PathBuf,
        orders: Receiver<Order>,
        tell: Box<dyn Fn(Outcome) + Send>,
    ) -> Self {
        let command = config.app.command.as_deref();
        let app = command.map(|command| App::new(command, &data_dir, config.app.stop_grace));
        let activations = BTreeMap::new();
        Self {
            config,
            data_dir,
            orders,
            tell,
            app,
            activations,
            started_at: Instant::now(),
            deaths: 0,
            start_due: None,
            stopping: false,
        }
    }

    fn run(mut self) {
        loop {
            match self.next() {
                Next::Stop => break,
                Next::Activate { changed } => self.activate(changed),
                Next::Nothing => {}
            }
            self.look_after_app();
        }
        if let Some(app) = &mut self.app {
            app.stop();
        }
    }

    /// Whether the agent is told to end while waiting; other orders are for after the reboot.
    fn is_stopped_within(&mut self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        while !self.stopping && Instant::now() < deadline {
            self.stopping = matches!(
                self.orders.recv_timeout(LOOK),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected)
            );
        }
        self.stopping
    }

    /// Waits for orders and takes all that are there.
    fn next(&mut self) -> Next {
        if self.stopping {
            return Next::Stop;
        }
        let mut next = Next::Nothing;
        let mut order = self.orders.recv_timeout(LOOK);
        loop {
            match order {
                Ok(Order::Activate(job)) => {
                    let before = matches!(next, Next::Activate { changed: true });
                    self.activations.insert(job.model, job.sequence);
                    next = Next::Activate { changed: before || job.changed };
                }
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return Next::Stop,
                Err(RecvTimeoutError::Timeout) => return next,
            }
            order = self.orders.recv_timeout(Duration::ZERO);
        }
    }

    fn activate(&mut self, changed: bool) {
        let result = match self.config.method {
            Method::Serve => Ok(()),
            Method::Watch => self.start_app_if_needed(),
            Method::Restart => self.restart(changed),
            Method::Reboot => self.reboot(changed),
        };
        // A watching app says by itself what it made of the bundle; a device that goes down says nothing.
        let is_silent = self.stopping || (self.config.method == Method::Watch && result.is_ok());
        if !is_silent {
            (self.tell)(Outcome::Activated { activations: self.activations.clone(), result });
        }
    }

    /// The app belongs to what is active now; one that an agent before left running may be of earlier.
    fn restart(&mut self, changed: bool) -> Result<(), String> {
        let stamp = self.stamp();
        if let Some(app) = &mut self.app {
            if app.alive().is_ok() && app.stamp() == Some(&stamp) {
                return self.wait_until_ready();
            }
            app.stop();
            self.started(&stamp)?;
        } else if let Some(command) = self.config.app.restart_command.clone().filter(|_| changed) {
            ready::run(&command, self.config.app.answer_timeout)?;
        }
        self.wait_until_ready()
    }

    fn start_app_if_needed(&mut self) -> Result<(), String> {
        let stamp = self.stamp();
        if self.app.as_mut().is_none_or(|app| app.alive().is_ok()) {
            return Ok(());
        }
        self.started(&stamp)?;
        self.wait_until_ready()
    }

    fn started(&mut self, stamp: &str) -> Result<(), String> {
        self.started_at = Instant::now();
        self.start_due = None;
        self.app.as_mut().map_or(Ok(()), |app| app.start(stamp))
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let (ready, timeout) = (self.config.app.ready.clone(), self.config.app.answer_timeout);
        let app = &mut self.app;
        ready::wait(ready.as_ref(), timeout, &mut || app.as_mut().map_or(Ok(()), App::alive))
    }

    /// Reboots, once per activation: what is to be taken up is noted with the boot it was noted in, so that a crash before
    /// the reboot leads to one, and the start after it does not.
    fn reboot(&mut self, changed: bool) -> Result<(), String> {
        let note = self.data_dir.join("reboot");
        let boot = read_text(&self.config.boot_id()).unwrap_or_default();
        let noted = read_text(&note);
        if changed || noted.as_deref() == Some(&boot) {
            replace(&note, boot.as_bytes(), Access::Default).map_err(|error| error.to_string())?;
            let command = self.config.reboot_command.clone().unwrap_or_default();
            tracing::info!("rebooting for a new model: {command}");
            ready::run(&command, REBOOT_TIMEOUT)?;
            // The device is going down, and asks its programs to end; one that is still up after the wait will not.
            return match self.is_stopped_within(REBOOT_TIMEOUT) {
                true => Ok(()),
                false => Err(format!("'{command}' did not reboot the device")),
            };
        }
        let _ = fs::remove_file(&note);
        self.start_app_if_needed()?;
        self.wait_until_ready()
    }

    fn look_after_app(&mut self) {
        let stamp = self.stamp();
        let Some(app) = &mut self.app else { return };
        let was_running = app.pid().is_some();
        let Err(why) = app.alive() else { return };
        if was_running {
            self.deaths = if self.started_at.elapsed() > RECOVERED { 1 } else { self.deaths + 1 };
            self.start_due = Some(Instant::now() + restart_wait(self.deaths));
            (self.tell)(Outcome::Died(why));
        }
        let is_due = self.start_due.is_some_and(|due| Instant::now() >= due);
        if is_due && let Err(why) = self.started(&stamp) {
            (self.tell)(Outcome::Died(why));
        }
    }

    /// What is active, in one line.
    fn stamp(&self) -> String {
        let mut stamp = String::new();
        for (model, sequence) in &self.activations {
            let _ = write!(stamp, "{model}:{sequence} ");
        }
        stamp
    }
}

fn restart_wait(deaths: u32) -> Duration {
    let factor = 1_u32.checked_shl(deaths.saturating_sub(1)).unwrap_or(u32::MAX);
    RESTART_WAIT.saturating_mul(factor).min(RESTART_WAIT_MAX)
}

fn read_text(path: &Path) -> Option<String> {
    let bytes = read_if_present(path, BOOT_ID_BYTES_MAX).ok()??;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// A sender of orders whose worker may have ended.
pub(crate) fn order(orders: &Sender<Order>, order: Order) {
    // A worker that is gone has told why, or is gone because the agent ends.
    let _ = orders.send(order);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::activation::{AppConfig, Ready};
    use crate::fixtures::model;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Bench {
        folder: tempfile::TempDir,
        orders: Sender<Order>,
        outcomes: Receiver<Outcome>,
        thread: Option<JoinHandle<()>>,
    }

    impl Bench {
        fn new(method: Method, edit: impl FnOnce(&Path, &mut ActivationConfig)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let app = AppConfig { answer_timeout: Duration::from_secs(5), ..AppConfig::default() };
            let mut config = ActivationConfig { method, app, ..ActivationConfig::default() };
            edit(folder.path(), &mut config);
            let (orders, receiver) = mpsc::channel();
            let (sender, outcomes) = mpsc::channel();
            let tell = move |outcome| drop(sender.send(outcome));
            let thread = Some(spawn(config, folder.path().to_owned(), receiver, tell));
            Self { folder, orders, outcomes, thread }
        }

        fn activate(&self, sequence: u64, changed: bool) {
            order(&self.orders, Order::Activate(Job { model: model(), sequence, changed }));
        }

        fn outcome(&self) -> Outcome {
            self.outcomes.recv_timeout(PATIENCE).unwrap()
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            order(&self.orders, Order::Stop);
            self.thread.take().unwrap().join().unwrap();
        }
    }

    fn activated(sequence: u64, result: Result<(), String>) -> Outcome {
        Outcome::Activated { activations: BTreeMap::from([(model(), sequence)]), result }
    }

    /// An app that notes each start and is ready once it has.
    fn noting(folder: &Path, config: &mut ActivationConfig) {
        let starts = folder.join("starts");
        config.app.command = Some(format!("sh -c 'echo up >> {}; exec sleep 600'", starts.display()));
        config.app.ready = Some(Ready::Command(format!("test -s {}", starts.display())));
    }

    #[test]
    fn an_app_is_started_once_per_activation() {
        let bench = Bench::new(Method::Restart, noting);
        bench.activate(1, true);
        assert_eq!(bench.outcome(), activated(1, Ok(())));
        bench.activate(1, false);
        assert_eq!(bench.outcome(), activated(1, Ok(())));
        assert_eq!(bench.read("starts").lines().count(), 1, "it serves that already");
        bench.activate(2, true);
        assert_eq!(bench.outcome(), activated(2, Ok(())));
        while bench.read("starts").lines().count() < 2 {
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn an_app_that_does_not_come_back_is_told() {
        let bench = Bench::new(Method::Restart, |_, config| {
            config.app.command = Some("sh -c 'exit 7'".to_owned());
            config.app.ready = Some(Ready::Command("false".to_owned()));
        });
        bench.activate(1, true);
        let Outcome::Activated { result: Err(why), .. } = bench.outcome() else {
            panic!("it cannot be ready")
        };
        assert!(why.contains("exit status: 7"), "{why}");
    }

    #[test]
    fn an_app_that_dies_is_told_and_started_again() {
        let bench = Bench::new(Method::Restart, |folder, config| {
            noting(folder, config);
            let starts = folder.join("starts");
            config.app.command = Some(format!("sh -c 'echo $$ >> {}; exec sleep 600'", starts.display()));
        });
        bench.activate(1, true);
        assert_eq!(bench.outcome(), activated(1, Ok(())));
        let pid = bench.read("starts").trim().parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let Outcome::Died(why) = bench.outcome() else { panic!("it was killed") };
        assert!(why.contains("signal: 9"), "{why}");
        while bench.read("starts").lines().count() < 2 {
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_service_is_restarted_by_its_command() {
        let bench = Bench::new(Method::Restart, |folder, config| {
            config.app.restart_command = Some(format!("echo again >> {}", folder.join("calls").display()));
            config.app.ready = Some(Ready::Command("true".to_owned()));
        });
        bench.activate(1, false);
        assert_eq!(bench.outcome(), activated(1, Ok(())));
        assert_eq!(bench.read("calls"), "", "the agent started anew, nothing is new");
        bench.activate(2, true);
        assert_eq!(bench.outcome(), activated(2, Ok(())));
        assert_eq!(bench.read("calls"), "again\n");
    }

    #[test]
    fn the_device_is_rebooted_once_even_if_the_agent_dies_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let (boot, calls) = (folder.path().join("boot"), folder.path().join("calls"));
        fs::write(&boot, "boot-1\n").unwrap();
        let config = ActivationConfig {
            method: Method::Reboot,
            reboot_command: Some(format!("echo reboot >> {}", calls.display())),
            boot_id: Some(boot.clone()),
            app: AppConfig { ready: Some(Ready::Command("true".to_owned())), ..AppConfig::default() },
        };
        let begin = |changed: bool| {
            let (_, receiver) = mpsc::channel();
            let (sender, _) = mpsc::channel::<Outcome>();
            let tell = Box::new(move |outcome| drop(sender.send(outcome)));
            let mut worker = Worker::new(config.clone(), folder.path().to_owned(), receiver, tell);
            // The thread that asked for the reboot never returns: the device goes down under it.
            thread::spawn(move || worker.reboot(changed))
        };
        let count = || fs::read_to_string(&calls).unwrap_or_default().lines().count();
        let wait_for = |calls: usize| {
            while count() < calls {
                thread::sleep(Duration::from_millis(5));
            }
        };
        drop(begin(true));
        wait_for(1);
        // The agent was killed before the reboot happened, and starts again in the same boot.
        drop(begin(false));
        wait_for(2);
        fs::write(&boot, "boot-2\n").unwrap();
        assert_eq!(begin(false).join().unwrap(), Ok(()), "back after the boot");
        assert_eq!(begin(false).join().unwrap(), Ok(()), "an agent that restarts later reboots nothing");
        assert_eq!(count(), 2);
    }
}
