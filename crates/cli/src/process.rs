//! This process: its signals, its runtime, and the parent it must not outlive.

use std::future::Future;
use std::num::NonZero;
#[cfg(feature = "agent")]
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::Cli;
use crate::output::{Explain, Failure, Outcome};
use crate::telemetry::start_log;

/// Sets up the log and, for a child of the demo, its tie to the parent.
pub(crate) fn prepare(cli: &Cli) -> Outcome {
    start_log(cli)?;
    allow_many_files();
    match cli.parent {
        Some(parent) => tie_to_parent(parent),
        None => Ok(()),
    }
}

/// Takes the open files that the system grants: many systems start a process with room for 1,024 and grant far more, and
/// every connection is one.
#[cfg(unix)]
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What was granted before has to do.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(not(unix))]
const fn allow_many_files() {}

/// Asks the system to stop this process when `parent` ends, however that ends.
#[cfg(target_os = "linux")]
fn tie_to_parent(parent: i32) -> Outcome {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::TERM))
        .explain("system", "tying this process to its parent")?;
    match getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent) {
        true => Ok(()),
        false => Err(Failure::new("orphan", format!("the parent process {parent} has ended already"))),
    }
}

/// Elsewhere the parent's own clean-up has to do.
#[cfg(not(target_os = "linux"))]
fn tie_to_parent(_parent: i32) -> Outcome {
    Ok(())
}

/// Resolves at the first SIGINT or SIGTERM.
pub(crate) async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals cannot be watched here: stop the process by force");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
        _ = terminate.recv() => tracing::info!("asked to end: stopping"),
    }
}

/// How long after it began to serve a program has started up.
#[cfg(feature = "agent")]
const STARTED_UP: Duration = Duration::from_secs(2);

/// Gives back what only starting up needed, in a while. To be called on the runtime.
#[cfg(feature = "agent")]
pub(crate) fn settle_down() {
    tokio::spawn(async {
        tokio::time::sleep(STARTED_UP).await;
        edgeward_agent::give_back_memory();
        edgeward_agent::let_go_of_code();
    });
}

/// Runs `work` to its end on a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    // Two at least: the endpoint keeps one free while a request holds up another.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.max(2))
        .enable_all()
        .build()
        .explain("system", "starting the async runtime")?;
    Ok(runtime.block_on(work))
}
