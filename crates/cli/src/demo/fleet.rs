//! What every story begins with: a control plane and devices as processes, and a first model on all of them.
//!
//! Each step waits for what the system does by itself, and gives up with the name of a log file when it does not happen.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use edgeward_api::Client;
use edgeward_api::device::ModelReport;
use edgeward_api::operator::{Device, JoinTokenRequest};
use edgeward_core::Digest;

use super::board::{Board, Stage, Stop};
use super::observe::{Ears, Heard, Observer};
use super::stage::{FIRST_RUN, Layout, SERVER};
use super::traffic::Traffic;
use crate::output::{Explain, Failure};
use crate::supervisor::{Ended, Supervisor, log_tail};

/// Between two looks at whether a step is done.
const LOOK: Duration = Duration::from_millis(50);
/// How long each step may take.
const START_PATIENCE: Duration = Duration::from_secs(30);
const TRAIN_PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const DEPLOY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a join token is good for.
const TOKEN_TTL_MS: u64 = 3_600_000;

/// The processes of a story.
#[derive(Clone, Copy)]
pub(crate) struct Fleet<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) board: &'a Arc<Board>,
    pub(crate) supervisor: &'a Supervisor,
    pub(crate) ears: &'a Ears,
    pub(crate) stop: &'a Stop,
    pub(crate) devices: &'a [String],
    /// The story's model.
    pub(crate) model: &'a str,
    /// Requests whose failures explain why a step did not happen.
    pub(crate) traffic: Option<&'a Traffic>,
}

impl Fleet<'_> {
    /// Starts the control plane and watches it.
    pub(crate) fn open(&self) -> Result<(Client, Observer), Failure> {
        self.board.enter(Stage::Start, "a control plane and devices, each a process");
        self.supervisor.start(self.layout.server_spec());
        let address = self.until("the control plane did not start", START_PATIENCE, SERVER, || {
            let address = self.layout.server_address()?;
            Client::new(&address, None).health().ok().map(|()| address)
        })?;
        self.board.set_dashboard(&address);
        let observer =
            Observer::start(&address, self.ears, self.board).explain("system", "starting a thread")?;
        Ok((Client::new(&address, None), observer))
    }

    /// Lets the devices join.
    pub(crate) fn join(&self, client: &Client) -> Result<(), Failure> {
        let uses = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
        let token = client
            .make_join_token(&JoinTokenRequest { uses, ttl_ms: TOKEN_TTL_MS, device: None })
            .explain("demo", "making a join token")?;
        self.layout.keep_join_token(&token.join_token)?;
        for device in self.devices {
            self.supervisor.start(self.layout.device_spec(device, client.base()));
        }
        self.until("not every device joined", START_PATIENCE, &self.devices[0], || {
            let listening = self.devices.iter().all(|device| self.layout.endpoint(device).is_some());
            (listening && self.ears.heard().enrolled >= self.devices.len()).then_some(())
        })?;
        for seen in self.supervisor.seen() {
            self.board.say(format!("{} runs as pid {}", seen.name, seen.pid.unwrap_or_default()));
        }
        Ok(())
    }

    /// Trains the first model, which learns `what`, and waits until every device serves it: its bundle.
    pub(crate) fn first_model(&self, client: &Client, what: &str) -> Result<String, Failure> {
        self.board.enter(Stage::Train, what);
        self.supervisor.start(self.layout.first_run_spec(client.base()));
        self.until("the first model was not trained", TRAIN_PATIENCE, FIRST_RUN, || {
            self.supervisor.find(FIRST_RUN)?.ended.filter(|ended| *ended == Ended::Well)
        })?;
        self.board.enter(Stage::Deploy, "the model rolls out to the devices");
        self.until("the first model did not reach every device", DEPLOY_PATIENCE, SERVER, || {
            self.one_bundle(&self.ears.heard())
        })
    }

    /// Where each device serves predictions.
    pub(crate) fn endpoints(&self) -> Result<Vec<String>, Failure> {
        let endpoints: Option<Vec<String>> =
            self.devices.iter().map(|device| self.layout.endpoint(device)).collect();
        endpoints.ok_or_else(|| Failure::new("demo", "a device has no address"))
    }

    /// The bundle that all devices report as active, if they agree.
    pub(crate) fn one_bundle(&self, heard: &Heard) -> Option<String> {
        let reports = heard.devices.iter().filter_map(|device| self.model_of(device));
        let mut bundles: Vec<Digest> = reports.filter_map(|model| model.active).collect();
        let complete = bundles.len() == self.devices.len();
        bundles.dedup();
        (complete && bundles.len() == 1).then(|| bundles[0].hex())
    }

    /// What a device last said of the story's model.
    pub(crate) fn model_of<'d>(&self, device: &'d Device) -> Option<&'d ModelReport> {
        let models = &device.report.as_ref()?.models;
        models.iter().find(|(name, _)| name.as_str() == self.model).map(|(_, model)| model)
    }

    /// Waits until `look` finds something; gives up after `patience`, at a stop, or when a process is past help.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        log: &str,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if self.stop.is_raised() {
                return Err(Failure::new("interrupted", "the demo was stopped before its story ended"));
            }
            if let Some(lost) = self.supervisor.seen().iter().find(|seen| seen.ended == Some(Ended::Badly)) {
                let why = format!("{what}: {} ended: {}", lost.name, log_tail(&lost.log));
                return Err(Failure::new("demo", why).hint(format!("see {}", lost.log.display())));
            }
            if Instant::now() >= deadline {
                return Err(self.too_late(what, patience, log));
            }
            thread::sleep(LOOK);
        }
    }

    fn too_late(&self, what: &str, patience: Duration, log: &str) -> Failure {
        let problems = self.traffic.map(|traffic| traffic.log().problems.join("; ")).unwrap_or_default();
        let text = match problems.is_empty() {
            true => format!("{what} within {} s", patience.as_secs()),
            false => format!("{what} within {} s; failed requests: {problems}", patience.as_secs()),
        };
        Failure::new("demo", text)
            .hint(format!("see {}", self.layout.log(log).display()))
            .hint(format!("every log is in {}", self.layout.dir().join("logs").display()))
    }
}
