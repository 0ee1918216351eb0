//! A project's folder, and a runner with one task in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edgeward_pipeline::project::{RunnerKind, RunnerTable};
use edgeward_pipeline::runner::{self, Input, JobError, Local, Output, Ray, Runner, Task};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
const NOTED: &str = "noted-command";

pub(crate) struct Bench {
    root: PathBuf,
    pub(crate) table: RunnerTable,
    pub(crate) cancel: AtomicBool,
    pub(crate) timeout: Duration,
    pub(crate) anew: bool,
    /// Ended and removed with the bench that made it.
    _home: Option<Home>,
}

/// The folder of a bench.
struct Home(TempDir);

impl Drop for Home {
    fn drop(&mut self) {
        let _ = runner::clear(&self.0.path().join("tasks"));
    }
}

impl Bench {
    pub(crate) fn new(table: &RunnerTable) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["project", "tasks", "out", "seen"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("runner.json"), serde_json::to_vec(table).unwrap()).unwrap();
        let bench = Self::found_in(dir.path());
        Self { _home: Some(Home(dir)), ..bench }
    }

    /// The bench that another process made.
    pub(crate) fn found_in(root: &Path) -> Self {
        let table = serde_json::from_slice(&fs::read(root.join("runner.json")).unwrap()).unwrap();
        Self {
            root: root.to_owned(),
            table,
            cancel: AtomicBool::new(false),
            timeout: PATIENCE,
            anew: false,
            _home: None,
        }
    }

    pub(crate) fn runner(&self) -> Box<dyn Runner> {
        let place = self.root.join("tasks");
        match self.table.kind {
            RunnerKind::Local => Box::new(Local::new(&self.table, place)),
            RunnerKind::Ray => Box::new(Ray::new(&self.table, place).unwrap()),
        }
    }

    /// A file of the project, which the command reads.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.root.join("project").join(name), text).unwrap();
    }

    /// What the command left.
    pub(crate) fn left(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.root.join("out").join(name)).ok()
    }

    /// A file outside of everything by which a command tells that it was here. The cluster is on this machine.
    pub(crate) fn witness(&self, name: &str) -> PathBuf {
        self.root.join("seen").join(name)
    }

    /// How often a witness was written to.
    pub(crate) fn seen(&self, name: &str) -> usize {
        fs::read_to_string(self.witness(name)).map_or(0, |text| text.lines().count())
    }

    pub(crate) fn run(&self, command: &str) -> (Result<(), JobError>, Vec<String>) {
        self.run_as("task", command, |_| {})
    }

    pub(crate) fn run_as(
        &self,
        id: &str,
        command: &str,
        mut hear: impl FnMut(&str),
    ) -> (Result<(), JobError>, Vec<String>) {
        self.with_task(id, command, |runner, task| {
            let mut lines = Vec::new();
            let result = runner.run(task, &mut |line| {
                hear(line);
                lines.push(line.to_owned());
            });
            (result, lines)
        })
    }

    pub(crate) fn with_task<T>(
        &self,
        id: &str,
        command: &str,
        work: impl FnOnce(&dyn Runner, &Task<'_>) -> T,
    ) -> T {
        // The same on every machine, whatever tests ran before.
        let id = format!("{id}-{}", self.root.file_name().unwrap().to_str().unwrap().trim_start_matches('.'));
        let mut files: Vec<String> = fs::read_dir(self.root.join("project"))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let task = Task {
            id: &id,
            command,
            dir: &self.root.join("project"),
            files: &files,
            env: &[("GREETING", "good day, 'sir'".to_owned())],
            inputs: &[Input {
                variable: "DATA",
                name: "rows.csv",
                write: &|path| fs::write(path, "a,b\n1,2\n"),
            }],
            outputs: &[
                Output { variable: "MODEL", name: "model.bin" },
                Output { variable: "METRICS", name: "metrics.json" },
            ],
            out: &self.root.join("out"),
            log: &self.root.join(format!("{id}.log")),
            timeout: self.timeout,
            cancel: &self.cancel,
            anew: self.anew,
        };
        work(&*self.runner(), &task)
    }

    /// A process that runs `command` as this bench would, and can be killed.
    pub(crate) fn client(&self, command: &str) -> Client {
        fs::write(self.root.join(NOTED), command).unwrap();
        let mut client = Command::new(std::env::current_exe().unwrap());
        client.args(["--exact", "client", "--ignored", "--nocapture"]);
        client.env("EDGEWARD_TEST_CLIENT", &self.root).stdin(Stdio::null()).stdout(Stdio::null());
        Client(client.stderr(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn run_noted(&self) -> Result<(), JobError> {
        self.run(&fs::read_to_string(self.root.join(NOTED)).unwrap()).0
    }

    pub(crate) fn clear(&self) {
        runner::clear(&self.root.join("tasks")).unwrap();
    }

    /// Whether nothing writes to the witness any more.
    pub(crate) fn is_still(&self, name: &str) -> bool {
        let before = self.seen(name);
        thread::sleep(Duration::from_millis(500));
        self.seen(name) == before
    }
}

/// A process that ends with the test.
pub(crate) struct Client(Child);

impl Client {
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until something is so.
pub(crate) fn until(what: &str, mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Stops the task as soon as a line says so.
pub(crate) fn cancel_at<'a>(bench: &'a Bench, word: &'a str) -> impl FnMut(&str) + 'a {
    move |line| {
        if line == word {
            bench.cancel.store(true, Ordering::Relaxed);
        }
    }
}
