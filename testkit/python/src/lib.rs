//! Python environments for tests: what a test needs is installed once, kept by its requirements, and found again.
//!
//! ```no_run
//! # fn compares_with_numpy() {
//! let Ok(python) = edgeward_testkit_python::environment("numbers", &["numpy==2.3.5"]) else { return };
//! assert_eq!(python.run("import numpy; print(int(numpy.sum([1, 2])))", &[]).trim(), "3");
//! # }
//! ```
//!
//! **Contract.** An environment is a virtual environment under cargo's target folder, named by the hash of its
//! requirements and of the interpreter it came from, so changed requirements make another one and test processes that
//! run at once share one: the first installs, the others wait at a lock. One that was cut short is made anew. Where it
//! cannot be had (no Python, no network) the test says that it is skipped and why; where nothing may be skipped, as in
//! CI (`EDGEWARD_TEST_NO_SKIP` is set), it fails. `EDGEWARD_TEST_PYTHON` names another interpreter than `python3`.
//!
//! Pin every requirement: an environment is never upgraded.
//!
//! A crate of its own, so that a test of a small crate does not build the simulated fleet and all that it drives.

mod install;
mod onnxruntime;
mod ray;
#[path = "../../skip.rs"]
mod skip;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use onnxruntime::{ONNXRUNTIME, onnxruntime_library};
pub use ray::{RayHead, ray_head};
use skip::no_skip;
pub use skip::{Skip, skip};

/// An installed virtual environment.
#[derive(Clone, Debug)]
pub struct Environment {
    root: PathBuf,
}

/// A virtual environment with `requirements` (as `pip install` takes them), made when it is not there yet.
///
/// # Errors
/// Says why on standard error, with the name of the test, and returns it: return from the test.
///
/// # Panics
/// Instead, where `EDGEWARD_TEST_NO_SKIP` is set.
pub fn environment(name: &str, requirements: &[&str]) -> Result<Environment, Skip> {
    let asked = if no_skip() { install::Patience::Full } else { install::Patience::Short };
    install::environment(&install::folder(), name, requirements, asked)
        .map(|root| Environment { root })
        .map_err(|why| skip(&format!("no Python environment '{name}': {why}")))
}

impl Environment {
    /// The environment's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of its interpreter and commands, for a `PATH`.
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Its interpreter.
    pub fn python(&self) -> PathBuf {
        install::interpreter(&self.root)
    }

    /// Its interpreter as a command that knows nothing of the caller's Python settings.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.python());
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Runs a program given as text, with `arguments` in `sys.argv[1:]`, and returns what it printed.
    ///
    /// # Panics
    /// When it cannot be started or fails, with what it wrote to standard error.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        install::output(self.command().arg("-c").arg(program).args(arguments))
            .unwrap_or_else(|why| failed(&why))
    }

    /// As [`run`](Self::run), for a program in a file.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_file(&self, program: &Path, arguments: &[&str]) -> String {
        install::output(self.command().arg(program).args(arguments)).unwrap_or_else(|why| failed(&why))
    }
}

#[expect(clippy::panic, reason = "the tests' own: a comparison that cannot run has failed")]
fn failed(why: &str) -> String {
    panic!("{why}")
}
