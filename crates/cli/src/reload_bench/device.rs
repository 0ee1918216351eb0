//! The measured device: an agent and an app, and a hook that "reboots" both.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::model::MODEL;
use super::plane::Plane;
use crate::output::{Explain, Failure, Outcome};
use crate::supervisor::log_tail;

/// Between two looks at whether the agent asked for a reboot.
const LOOK: Duration = Duration::from_millis(1);

/// How a version is activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Restart,
    RebootHook,
    Watch,
    /// The agent answers by itself.
    Serve,
}

impl Way {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::RebootHook => "reboot-hook",
            Self::Watch => "watch",
            Self::Serve => "serve",
        }
    }
}

/// A device of its own folder, processes and address.
pub(super) struct Device {
    shared: Arc<Shared>,
    /// Carries out reboots.
    hook: Option<JoinHandle<()>>,
    app_address: String,
}

struct Shared {
    program: PathBuf,
    args: Vec<OsString>,
    data: PathBuf,
    log: PathBuf,
    agent: Mutex<Option<Child>>,
    boots: AtomicU32,
    stop: AtomicBool,
}

impl Device {
    /// Starts a device below `dir` that joins the control plane.
    pub(super) fn start(
        dir: &Path,
        plane: &Plane,
        way: Way,
        poll: Duration,
        nudges: bool,
    ) -> Result<Self, Failure> {
        let data = dir.join("agent");
        fs::create_dir_all(&data).explain("folder", format_args!("making {}", data.display()))?;
        let port = free_port()?;
        let app_address = format!("http://127.0.0.1:{port}");
        let own_port = if way == Way::Serve { port } else { 0 };
        let mut args = agent_args(plane, dir, &data, poll, own_port)?;
        args.extend(way_args(way, &plane.program, &data, port).into_iter().map(OsString::from));
        match nudges {
            true => args.extend(plane.broker.iter().cloned()),
            false => args.push("--no-nudges".into()),
        }
        let shared = Arc::new(Shared {
            program: plane.program.clone(),
            args,
            data,
            log: dir.join("agent.log"),
            agent: Mutex::default(),
            boots: AtomicU32::new(0),
            stop: AtomicBool::new(false),
        });
        shared.boot().explain("reload", "starting the agent")?;
        let boots = Arc::clone(&shared);
        let hook = thread::Builder::new().name("boots".to_owned()).spawn(move || boots.run_hook());
        let hook = hook.explain("system", "starting a thread")?;
        Ok(Self { shared, hook: Some(hook), app_address })
    }

    /// Where the app answers.
    pub(super) fn app_address(&self) -> &str {
        &self.app_address
    }

    /// Where its processes write.
    pub(super) fn log(&self) -> &Path {
        &self.shared.log
    }

    /// Whether the agent still runs.
    pub(super) fn look(&self) -> Outcome {
        let mut agent = self.shared.agent.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = agent.as_mut().and_then(|child| child.try_wait().ok().flatten());
        match ended {
            Some(status) => {
                let log = log_tail(self.log());
                Err(Failure::new("reload", format!("the agent ended with {status}: {log}")))
            }
            None => Ok(()),
        }
    }

    /// Ends every process of the device without warning and starts the agent again.
    pub(super) fn cut(&self) -> Outcome {
        self.shared.kill_all();
        self.shared.boot().explain("reload", "starting the agent")
    }

    /// Memory that the app has in use, and the agent, in bytes; the largest process of each group.
    pub(super) fn resident_bytes(&self) -> (Option<u64>, Option<u64>) {
        let agent = self.shared.agent.lock().unwrap_or_else(PoisonError::into_inner);
        let agent = agent.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        (self.shared.app_group().and_then(resident_bytes), agent.and_then(resident_bytes))
    }

    /// Ends its processes.
    pub(super) fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(hook) = self.hook.take() {
            let _ = hook.join();
        }
        self.shared.kill_all();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Starts the agent as a boot would, with words of its own for this boot.
    fn boot(&self) -> std::io::Result<()> {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed);
        fs::write(self.data.join("boot-id"), format!("boot {boot}\n"))?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }

    /// The app's process group.
    fn app_group(&self) -> Option<i32> {
        let app = fs::read(self.data.join("app.json")).ok()?;
        let app: Value = serde_json::from_slice(&app).ok()?;
        app["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    /// A loss of power for every process of the device.
    fn kill_all(&self) {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = agent.take() {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
        if let Some(pid) = self.app_group().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    fn run_hook(&self) {
        let asked = self.data.join("reboot-asked");
        while !self.stop.load(Ordering::Relaxed) {
            if fs::remove_file(&asked).is_ok() {
                self.kill_all();
                // The caller sees that nothing comes back.
                let _ = self.boot();
            }
            thread::sleep(LOOK);
        }
    }
}

fn agent_args(
    plane: &Plane,
    dir: &Path,
    data: &Path,
    poll: Duration,
    port: u16,
) -> Result<Vec<OsString>, Failure> {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = std::process::id().to_string();
    let poll = poll.as_millis().to_string();
    let token = plane.join_token()?;
    let data = data.display().to_string();
    let listen = format!("127.0.0.1:{port}");
    let words = [
        "--parent",
        &parent,
        "agent",
        "--log",
        "info",
        "--server",
        plane.address(),
        "--name",
        &name,
        "--data",
        &data,
        "--listen",
        &listen,
        "--poll-ms",
        &poll,
        "--join-token",
        &token,
        "--onnxruntime",
        "off",
    ];
    Ok(words.map(OsString::from).to_vec())
}

fn way_args(way: Way, program: &Path, data: &Path, port: u16) -> Vec<String> {
    let (program, data) = (program.display(), data.display());
    let ready = format!("http://127.0.0.1:{port}/v2/health/ready");
    let serve = |what: String| {
        format!(
            "'{program}' --log info serve {what} --name {MODEL} --listen 127.0.0.1:{port} --onnxruntime off"
        )
    };
    let slot = serve(format!("'{data}/models/{MODEL}/current'"));
    let words = match way {
        Way::Restart => vec!["restart".to_owned(), "--app".to_owned(), slot],
        Way::RebootHook => {
            let hook = format!("touch '{data}/reboot-asked'");
            let boot_id = format!("{data}/boot-id");
            let words = ["reboot", "--app", &slot, "--reboot-command", &hook, "--boot-id", &boot_id];
            words.map(str::to_owned).to_vec()
        }
        Way::Serve => return Vec::new(),
        Way::Watch => vec!["watch".to_owned(), "--app".to_owned(), serve(format!("--watch '{data}'"))],
    };
    let ready = ["--ready-url".to_owned(), ready, "--activation".to_owned()];
    ready.into_iter().chain(words).collect()
}

/// Memory in use by the largest process of a group; none where the system does not tell.
fn resident_bytes(group: i32) -> Option<u64> {
    let of = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name, in brackets, may hold anything; state, parent and group follow it.
        let found: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok().filter(|_| found == group)?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(resident.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    fs::read_dir("/proc").ok()?.flatten().filter_map(of).max()
}

/// A port that nobody uses now.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").explain("system", "finding a free port")?;
    Ok(listener.local_addr().explain("system", "finding a free port")?.port())
}
