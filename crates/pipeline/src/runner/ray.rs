//! Tasks as jobs of a Ray cluster, by its Jobs REST API over plain HTTP.
//!
//! One task is one job, whose id begins with the task's: a run that was killed, or a second one that asks for the same, finds the
//! job that is there. What follows in the id is new each time: Ray confuses a job with an earlier one of the same id that was
//! deleted a moment ago. What the command reads is sent as a package ([`package`]); what it leaves comes back at the end of the
//! job's log, or by way of a folder that both sides share (`[runner] shared`, [`outcome`]). ADR 41 says why.
//!
//! Ray asks nobody for a login. An address that is neither this machine's nor a private one is refused unless the project
//! says that it is meant to be public.
//!
//! Deliberately missing: TLS (Ray has none of its own) and starting a cluster.

mod cluster;
mod outcome;
mod package;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::command::Log;
use super::{Ended, JobError, Runner, Task};
use crate::project::RunnerTable;
use crate::workdir::{WorkError, write_atomically};
use cluster::{Cluster, JobInfo, Status};
use outcome::Words;

/// Jobs of one run at once, if the project does not say: as many as it may declare shadows.
const AT_ONCE: usize = 16;
const POLL: Duration = Duration::from_millis(500);
/// How long a cluster that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a job that was told to stop is waited for.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// Log read per second of waiting for the next look at it: Ray gives it as a whole each time.
const LOG_BYTES_PER_SECOND: u64 = 4 << 20;
const NOTE_FILE: &str = "ray.json";

/// What Ray did not do.
#[derive(Debug, thiserror::Error)]
pub enum RayError {
    /// No address of a Ray that may be used.
    #[error("[runner] address '{address}' {reason}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No answer.
    #[error("no answer from Ray at {address}; is its head running, with the dashboard (ray[default])?")]
    Unreachable {
        /// The address.
        address: String,
        /// What the network said.
        #[source]
        source: Box<ureq::Error>,
    },
    /// It said no.
    #[error("Ray at {address} answered {status} to {what}: {said}")]
    Refused {
        /// The address.
        address: String,
        /// What was asked.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// The end of what it said.
        said: String,
    },
    /// An answer that is no such document.
    #[error("Ray at {address} sent an answer this program does not understand: {reason}")]
    Answer {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What the command reads cannot be packed.
    #[error("packing the command's files for Ray")]
    Pack(#[source] io::Error),
    /// It is too much.
    #[error(
        "the command's files and its rows are {bytes} bytes packed, over the {limit} that Ray takes; name the files it reads \
         in [train] deps, or fetch large ones in the command"
    )]
    TooLarge {
        /// How much.
        bytes: usize,
        /// How much may be.
        limit: usize,
    },
    /// The job ended well, but what it left did not arrive.
    #[error("the job ended well, but what it left did not come back: {0}")]
    Outputs(String),
}

impl RayError {
    /// Whether the same may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

/// Runs tasks on a Ray cluster.
#[derive(Debug)]
pub struct Ray {
    cluster: Cluster,
    shared: Option<PathBuf>,
    cpus: usize,
    memory_mb: Option<u64>,
    at_once: usize,
    place: PathBuf,
}

/// The jobs of a task that was asked for, as it is noted in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    address: String,
    /// What their ids begin with.
    prefix: String,
    shared: Option<PathBuf>,
}

impl Ray {
    /// Tasks on the cluster that `table` names, noted in `place`.
    ///
    /// # Errors
    /// Its address is none, or one that anybody can reach.
    pub fn new(table: &RunnerTable, place: PathBuf) -> Result<Self, JobError> {
        let address = table.address.clone().unwrap_or_default();
        let cluster = Cluster::at(&address, table.public).map_err(Box::new)?;
        let at_once = table.parallel.unwrap_or(AT_ONCE);
        let cpus = table.cpus.unwrap_or(1);
        Ok(Self { cluster, shared: table.shared.clone(), cpus, memory_mb: table.memory_mb, at_once, place })
    }
}

impl Runner for Ray {
    fn run(&self, task: &Task<'_>, said: &mut dyn FnMut(&str)) -> Result<(), JobError> {
        let dir = super::folder(&self.place, task.id)?;
        let jobs = Jobs {
            address: self.cluster.address().to_owned(),
            prefix: format!("edgeward-{}-", task.id),
            shared: self.shared.as_ref().map(|shared| shared.join(task.id)),
        };
        jobs.note_in(&dir)?;
        let known = self.asked(task, || self.cluster.jobs(&jobs.prefix))?;
        let job = match best(known).filter(|_| !task.anew) {
            Some(job) => {
                said(&format!("job {} is on Ray already: going on with it", job.id()));
                job.id().to_owned()
            }
            None => {
                jobs.end().map_err(Box::new)?;
                let job = self.submit(task, &jobs, &dir)?;
                said(&format!("job {job} was submitted to Ray at {}", jobs.address));
                job
            }
        };
        self.follow(task, &jobs, &job, said)
    }

    fn at_once(&self) -> usize {
        self.at_once
    }
}

impl Ray {
    /// Submits a job; the id of the one to follow.
    fn submit(&self, task: &Task<'_>, jobs: &Jobs, dir: &Path) -> Result<String, JobError> {
        let package = package::of(task, jobs.shared.as_deref(), dir)?;
        let uri = self.asked(task, || self.cluster.keep(&package))?;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let job = format!("{}{:x}", jobs.prefix, since.as_nanos());
        let mut variables: serde_json::Map<_, _> =
            task.env.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        variables.insert(package::COMMAND.to_owned(), json!(task.command));
        variables.insert(package::MARK.to_owned(), json!(job));
        let request = json!({
            "entrypoint": package::ENTRY,
            "submission_id": job,
            "runtime_env": { "working_dir": uri, "env_vars": variables },
            "metadata": { "edgeward_task": task.id },
            "entrypoint_num_cpus": self.cpus,
            "entrypoint_memory": self.memory_mb.map(|limit_mb| limit_mb << 20),
        });
        let refusal = self.cluster.submit(&request).err();
        // An answer may be lost on its way, and an id that is there already is refused with a 500: what counts is the job. Of two
        // that were submitted in one moment the first is followed, and the other is none of this task's.
        let known = self.asked(task, || self.cluster.jobs(&jobs.prefix))?;
        match best(known) {
            Some(first) if first.id() == job => Ok(job),
            Some(first) => {
                jobs.end_one(&self.cluster, &job).map_err(Box::new)?;
                Ok(first.id().to_owned())
            }
            None => {
                let lost = || RayError::Answer {
                    address: jobs.address.clone(),
                    reason: "it does not list the job it took".to_owned(),
                };
                Err(Box::new(refusal.unwrap_or_else(lost)).into())
            }
        }
    }

    fn follow(
        &self,
        task: &Task<'_>,
        jobs: &Jobs,
        job: &str,
        said: &mut dyn FnMut(&str),
    ) -> Result<(), JobError> {
        let (mut log, mut words) = (Log::create(task.log)?, Words::after(job));
        let mut take = |line: &str| {
            log.take(line);
            said(line);
        };
        let end = self.watch(task, job, &mut words, &mut take);
        let ended = Ended::of(task.command, task.log, Vec::from(log.tail));
        match end? {
            End::Cancelled => Err(JobError::Cancelled { command: ended.command }),
            End::TimedOut => Err(JobError::TimedOut { timeout: task.timeout, ended }),
            End::Gone => {
                Err(JobError::Killed { how: "Ray does not know the job any more".to_owned(), ended })
            }
            End::Ended(info) => match info.status {
                Status::Succeeded => bring(task, jobs, &words),
                Status::Stopped => Err(JobError::Failed { status: "being stopped on Ray".to_owned(), ended }),
                _ => Err(failure(jobs, &info, ended)?),
            },
        }
    }

    fn watch(
        &self,
        task: &Task<'_>,
        job: &str,
        words: &mut Words,
        take: &mut dyn FnMut(&str),
    ) -> Result<End, JobError> {
        let (mut since, mut next_log) = (None, Instant::now());
        loop {
            if task.cancel.load(Ordering::Relaxed) {
                // It stays noted: what does not end now is ended by the next run.
                let _ = self.cluster.stop(job);
                return Ok(End::Cancelled);
            }
            let Some(info) = self.asked(task, || self.cluster.job(job))? else { return Ok(End::Gone) };
            let is_over = info.status.is_over();
            if is_over || info.status == Status::Running && Instant::now() >= next_log {
                let text = self.asked(task, || self.cluster.log(job))?;
                let pause = Duration::from_millis(text.len() as u64 * 1000 / LOG_BYTES_PER_SECOND);
                words.take(text, is_over, take);
                next_log = Instant::now() + pause.max(POLL * 2);
            }
            if is_over {
                return Ok(End::Ended(info));
            }
            if info.status == Status::Running
                && since.get_or_insert_with(Instant::now).elapsed() >= task.timeout
            {
                self.asked(task, || self.cluster.stop(job))?;
                return Ok(End::TimedOut);
            }
            thread::sleep(POLL);
        }
    }

    /// Asks until there is an answer, or one that asking again cannot change.
    fn asked<T>(&self, task: &Task<'_>, call: impl Fn() -> Result<T, RayError>) -> Result<T, JobError> {
        let begun = Instant::now();
        loop {
            match call() {
                Err(error) if error.is_transient() && begun.elapsed() < PATIENCE => {
                    if task.cancel.load(Ordering::Relaxed) {
                        return Err(JobError::Cancelled { command: task.command.to_owned() });
                    }
                    tracing::debug!(%error, "Ray is asked again");
                    thread::sleep(POLL);
                }
                answer => return Ok(answer.map_err(Box::new)?),
            }
        }
    }
}

/// How following a job ended.
enum End {
    Ended(JobInfo),
    Gone,
    TimedOut,
    Cancelled,
}

/// What came of a job that failed. One that something killed is removed, so that another is submitted.
fn failure(jobs: &Jobs, info: &JobInfo, ended: Box<Ended>) -> Result<JobError, JobError> {
    let killed = match info.driver_exit_code {
        Some(code) => super::killed_by(code).map(str::to_owned),
        None => info.is_lost().then(|| info.reason()),
    };
    Ok(match (killed, info.driver_exit_code) {
        (Some(how), _) => {
            jobs.end().map_err(Box::new)?;
            JobError::Killed { how, ended }
        }
        (None, Some(code)) => JobError::Failed { status: format!("exit code {code}"), ended },
        (None, None) => JobError::Failed { status: format!("no exit code ({})", info.reason()), ended },
    })
}

fn bring(task: &Task<'_>, jobs: &Jobs, words: &Words) -> Result<(), JobError> {
    if let Some(shared) = &jobs.shared {
        return Ok(super::bring(task.outputs, shared, task.out)?);
    }
    let left = words.outputs().map_err(Box::new)?;
    for output in task.outputs {
        if let Some(bytes) = left.get(output.name) {
            let target = task.out.join(output.name);
            fs::write(&target, bytes).map_err(WorkError::at("writing", &target))?;
        }
    }
    Ok(())
}

/// The job to go on with: the first of those that did not fail, or one that failed by itself.
fn best(known: Vec<JobInfo>) -> Option<JobInfo> {
    let worth = known.into_iter().filter(|info| info.status != Status::Stopped);
    worth.min_by_key(|info| (info.status == Status::Failed, info.start_time, info.id().to_owned()))
}

impl Jobs {
    /// The jobs of the task in `dir`, if it was Ray's.
    pub(super) fn noted_in(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join(NOTE_FILE)).ok()?).ok()
    }

    fn note_in(&self, dir: &Path) -> Result<(), WorkError> {
        let path = dir.join(NOTE_FILE);
        let bytes =
            serde_json::to_vec(self).map_err(|error| WorkError::at("writing", &path)(error.into()))?;
        write_atomically(&path, &bytes)
    }

    /// Stops those that run, and removes them and what they left.
    pub(super) fn end(&self) -> Result<(), RayError> {
        // The address was checked when they were submitted there.
        let cluster = Cluster::at(&self.address, true)?;
        for info in cluster.jobs(&self.prefix)? {
            self.end_one(&cluster, info.id())?;
        }
        if let Some(shared) = self.shared.as_ref().filter(|shared| shared.exists()) {
            fs::remove_dir_all(shared).map_err(RayError::Pack)?;
        }
        Ok(())
    }

    fn end_one(&self, cluster: &Cluster, job: &str) -> Result<(), RayError> {
        let deadline = Instant::now() + STOP_WAIT;
        let mut told = false;
        while let Some(info) = cluster.job(job)? {
            if info.status.is_over() {
                return cluster.delete(job);
            }
            if !std::mem::replace(&mut told, true) {
                cluster.stop(job)?;
            }
            if Instant::now() >= deadline {
                let (address, status) = (self.address.clone(), 408);
                let said = format!("job {job} does not end");
                return Err(RayError::Refused { address, what: "stopping a job", status, said });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}
