//! The story, step by step: each step waits for what the system does by itself, and gives up with the name of a log
//! file when it does not happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use edgeward_api::Client;
use edgeward_api::device::ModelReport;
use edgeward_api::operator::{Device, JoinTokenRequest};
use edgeward_core::{Digest, Timestamp};

use super::board::{Board, Stage, Stop};
use super::load::{Load, Plan};
use super::observe::{Ears, Heard, Observer};
use super::pools::Pools;
use super::stage::{FIRST_RUN, Layout, MODEL, SERVER};
use super::summary::Marks;
use super::supervisor::{Ended, Supervisor, log_tail};
use super::traffic::{Log, Traffic};
use crate::command::now;
use crate::output::{Explain, Failure};

/// Between two looks at whether a step is done.
const LOOK: Duration = Duration::from_millis(50);
/// How long each step may take.
const START_PATIENCE: Duration = Duration::from_secs(30);
const TRAIN_PATIENCE: Duration = Duration::from_secs(90);
const DEPLOY_PATIENCE: Duration = Duration::from_secs(60);
const MEASURE_PATIENCE: Duration = Duration::from_secs(120);
const ALERT_PATIENCE: Duration = Duration::from_secs(120);
const RETRAIN_PATIENCE: Duration = Duration::from_secs(180);
/// Answers to measuring images that each phase waits for.
const MEASURED_MIN: usize = 300;
/// How long a join token is good for.
const TOKEN_TTL_MS: u64 = 3_600_000;

/// What the story needs.
pub(crate) struct Story<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) board: &'a Arc<Board>,
    pub(crate) supervisor: &'a Supervisor,
    pub(crate) traffic: &'a Arc<Traffic>,
    pub(crate) pools: &'a Arc<Pools>,
    pub(crate) ears: &'a Ears,
    pub(crate) stop: &'a Stop,
    pub(crate) rate: f64,
    pub(crate) devices: Vec<String>,
}

/// A fleet that serves its first model under load.
pub(crate) struct Running {
    _observer: Observer,
    pub(crate) load: Load,
    before: String,
}

/// A story that came to its end.
pub(crate) struct Told {
    pub(crate) marks: Marks,
    pub(crate) log: Log,
    pub(crate) retrains: usize,
    pub(crate) false_alarms: usize,
}

impl Story<'_> {
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

    /// Lets the devices join, trains the first model and begins to send requests.
    pub(crate) fn begin(&self, client: &Client, observer: Observer) -> Result<Running, Failure> {
        self.start_devices(client)?;
        self.board.enter(Stage::Train, "the first model learns the digits 0 to 7");
        self.supervisor.start(self.layout.first_run_spec(client.base()));
        self.until("the first model was not trained", TRAIN_PATIENCE, FIRST_RUN, || {
            self.supervisor.find(FIRST_RUN)?.ended.filter(|ended| *ended == Ended::Well)
        })?;
        self.board.enter(Stage::Deploy, "the model rolls out to the devices");
        let before =
            self.until("the first model did not reach every device", DEPLOY_PATIENCE, SERVER, || {
                one_bundle(&self.ears.heard(), self.devices.len())
            })?;
        let endpoints: Option<Vec<String>> =
            self.devices.iter().map(|device| self.layout.endpoint(device)).collect();
        let endpoints = endpoints.ok_or_else(|| Failure::new("demo", "a device has no address"))?;
        let plan =
            Plan { endpoints, model: MODEL.to_owned(), rate: self.rate, pools: Arc::clone(self.pools) };
        let load = Load::start(&plan, self.traffic).explain("system", "starting the load generator")?;
        Ok(Running { _observer: observer, load, before })
    }

    fn start_devices(&self, client: &Client) -> Result<(), Failure> {
        let uses = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
        let token = client
            .make_join_token(&JoinTokenRequest { uses, ttl_ms: TOKEN_TTL_MS })
            .explain("demo", "making a join token")?;
        self.layout.keep_join_token(&token.join_token)?;
        for device in &self.devices {
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

    /// From good days to bad days and back.
    pub(crate) fn tell(&self, running: &Running) -> Result<Told, Failure> {
        self.board.enter(Stage::Serve, "good days: only the digits 0 to 7 come along");
        self.measure("the devices did not answer", Duration::ZERO)?;
        let arrived_at = now();
        self.traffic.let_new_digits_in();
        self.board.enter(Stage::Decay, "the digits 8 and 9 appear; the model has never seen them");
        let (alert, alert_sample, device) = self.first_alert(&running.before, arrived_at)?;
        self.board.enter(Stage::Alert, "the devices noticed; labels come in late");
        self.until("no retraining was started", RETRAIN_PATIENCE, SERVER, || {
            (self.ears.heard().runs.len() > 1).then_some(())
        })?;
        self.board.enter(Stage::Retrain, "the pipeline trains on what the devices captured");
        let runs = || self.ears.heard().runs.iter().skip(1).filter(|run| run.outcome.is_some()).count();
        self.until("the retraining did not end", RETRAIN_PATIENCE, SERVER, || (runs() > 0).then_some(()))?;
        self.board.enter(Stage::Rollout, "what passed its gates goes out, wave by wave, under full load");
        let after =
            self.until("the new model did not reach every device", RETRAIN_PATIENCE, SERVER, || {
                self.replaced(&running.before)
            })?;
        let deployed = self.deployed(&after);
        self.board.enter(Stage::Recovered, "every device answers with the new model");
        self.measure("the devices did not answer", deployed)?;
        self.until("the rollout did not complete", DEPLOY_PATIENCE, SERVER, || {
            self.ears.heard().is_rolled_out(&after).then_some(())
        })?;
        let alert_device = self.devices.iter().position(|name| *name == device).unwrap_or(0);
        let alert = self.traffic.on_clock(alert);
        let before = running.before.clone();
        let marks = Marks { alert, alert_device, alert_sample, deployed, before, after };
        Ok(self.told(marks, arrived_at))
    }

    fn told(&self, marks: Marks, arrived_at: Timestamp) -> Told {
        let heard = self.ears.heard();
        let is_true = |hex: &str, at| hex == marks.before && at >= arrived_at;
        let false_alarms =
            heard.alerts.iter().filter(|alert| !is_true(&alert.bundle.hex(), alert.at_ms)).count();
        Told { log: self.traffic.log().clone(), retrains: heard.runs.len() - 1, false_alarms, marks }
    }

    /// When the first alert was raised, at which sample, by whom.
    fn first_alert(&self, bundle: &str, from: Timestamp) -> Result<(Timestamp, u64, String), Failure> {
        self.until("no device raised an alert", ALERT_PATIENCE, &self.devices[0], || {
            let heard = self.ears.heard();
            let alert = heard.first_alert(bundle, from)?;
            Some((alert.at_ms, alert.sample, alert.device.to_string()))
        })
    }

    fn measure(&self, what: &str, from: Duration) -> Result<(), Failure> {
        self.until(what, MEASURE_PATIENCE, &self.devices[0], || {
            (self.traffic.measured_since(from) >= MEASURED_MIN).then_some(())
        })
    }

    /// The bundle that every device answers with, if it is one other than `before`.
    fn replaced(&self, before: &str) -> Option<String> {
        let log = self.traffic.log();
        let serving = log.serving();
        let first = (*serving.first()?)?;
        (first != before && serving.iter().all(|version| *version == Some(first))).then(|| first.to_owned())
    }

    /// When the last device first answered with `bundle`.
    fn deployed(&self, bundle: &str) -> Duration {
        let log = self.traffic.log();
        let first = |device| {
            let with = |answer: &&super::traffic::Answer| {
                answer.device == device && log.versions[answer.version] == bundle
            };
            log.answers.iter().find(with).map(|answer| answer.at)
        };
        (0..self.devices.len()).filter_map(first).max().unwrap_or_default()
    }

    /// What each device is doing with its slots, as it last reported.
    pub(crate) fn phases(&self) -> BTreeMap<String, String> {
        let heard = self.ears.heard();
        let phase = |device: &Device| Some(model_of(device)?.phase.clone());
        heard.devices.iter().filter_map(|device| Some((device.id.to_string(), phase(device)?))).collect()
    }

    /// Waits until `look` finds something; gives up after `patience`, at a stop, or when a process is past help.
    fn until<T>(
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
        let problems = self.traffic.log().problems.join("; ");
        let text = match problems.is_empty() {
            true => format!("{what} within {} s", patience.as_secs()),
            false => format!("{what} within {} s; failed requests: {problems}", patience.as_secs()),
        };
        Failure::new("demo", text)
            .hint(format!("see {}", self.layout.log(log).display()))
            .hint(format!("every log is in {}", self.layout.dir().join("logs").display()))
    }
}

/// The bundle that all `devices` report as active, if they agree.
fn one_bundle(heard: &Heard, devices: usize) -> Option<String> {
    let reports = heard.devices.iter().filter_map(model_of);
    let mut bundles: Vec<Digest> = reports.filter_map(|model| model.active).collect();
    let complete = bundles.len() == devices;
    bundles.dedup();
    (complete && bundles.len() == 1).then(|| bundles[0].hex())
}

/// What a device last said of the story's model.
fn model_of(device: &Device) -> Option<&ModelReport> {
    let models = &device.report.as_ref()?.models;
    models.iter().find(|(name, _)| name.as_str() == MODEL).map(|(_, model)| model)
}
