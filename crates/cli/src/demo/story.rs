//! The story, step by step: each step waits for what the system does by itself, and gives up with the name of a log
//! file when it does not happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use edgeward_api::Client;
use edgeward_api::operator::Device;
use edgeward_core::{Alert, Timestamp};

use super::board::{Board, Stage, Stop};
use super::fleet::{DEPLOY_PATIENCE, Fleet};
use super::load::{Load, Plan};
use super::observe::{Ears, Observer};
use super::pools::Pools;
use super::stage::{Layout, MODEL, SERVER};
use super::summary::Marks;
use super::traffic::{Log, Traffic};
use crate::command::now;
use crate::output::{Explain, Failure};
use crate::supervisor::Supervisor;

/// How long each step may take.
const MEASURE_PATIENCE: Duration = Duration::from_secs(120);
const ALERT_PATIENCE: Duration = Duration::from_secs(120);
const RETRAIN_PATIENCE: Duration = Duration::from_secs(180);
/// Answers to measuring images that each phase waits for.
const MEASURED_MIN: usize = 300;

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
    fn fleet(&self) -> Fleet<'_> {
        Fleet {
            layout: self.layout,
            board: self.board,
            supervisor: self.supervisor,
            ears: self.ears,
            stop: self.stop,
            devices: &self.devices,
            model: MODEL,
            traffic: Some(self.traffic),
        }
    }

    /// Starts the control plane and watches it.
    pub(crate) fn open(&self) -> Result<(Client, Observer), Failure> {
        self.fleet().open()
    }

    /// Lets the devices join, trains the first model and begins to send requests.
    pub(crate) fn begin(&self, client: &Client, observer: Observer) -> Result<Running, Failure> {
        let fleet = self.fleet();
        fleet.join(client)?;
        let before = fleet.first_model(client, "the first model learns the digits 0 to 7")?;
        let (endpoints, pools) = (fleet.endpoints()?, Arc::clone(self.pools));
        let plan = Plan { endpoints, model: MODEL.to_owned(), rate: self.rate, pools };
        let load = Load::start(&plan, self.traffic).explain("system", "starting the load generator")?;
        Ok(Running { _observer: observer, load, before })
    }

    /// From good days to bad days and back.
    pub(crate) fn tell(&self, running: &Running) -> Result<Told, Failure> {
        self.board.enter(Stage::Serve, "good days: only the digits 0 to 7 come along");
        self.measure("the devices did not answer", Duration::ZERO)?;
        let arrived_at = now();
        self.traffic.let_new_digits_in();
        self.board.enter(Stage::Decay, "the digits 8 and 9 appear; the model has never seen them");
        let first = self.first_alert(&running.before, arrived_at)?;
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
        let device = first.device.to_string();
        let alert_device = self.devices.iter().position(|name| *name == device).unwrap_or(0);
        let alert = self.traffic.on_clock(first.at_ms);
        let before = running.before.clone();
        let (alert_sample, alert_signal) = (first.sample, signal(&first));
        let marks = Marks { alert, alert_device, alert_sample, alert_signal, deployed, before, after };
        Ok(self.told(marks, arrived_at))
    }

    fn told(&self, marks: Marks, arrived_at: Timestamp) -> Told {
        let heard = self.ears.heard();
        let is_true = |hex: &str, at| hex == marks.before && at >= arrived_at;
        let false_alarms =
            heard.alerts.iter().filter(|alert| !is_true(&alert.bundle.hex(), alert.at_ms)).count();
        Told { log: self.traffic.log().clone(), retrains: heard.runs.len() - 1, false_alarms, marks }
    }

    fn first_alert(&self, bundle: &str, from: Timestamp) -> Result<Alert, Failure> {
        self.until("no device raised an alert", ALERT_PATIENCE, &self.devices[0], || {
            self.ears.heard().first_alert(bundle, from).cloned()
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
        let phase = |device: &Device| Some(self.fleet().model_of(device)?.phase.clone());
        heard.devices.iter().filter_map(|device| Some((device.id.to_string(), phase(device)?))).collect()
    }

    /// See [`Fleet::until`].
    fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        log: &str,
        look: impl FnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        self.fleet().until(what, patience, log, look)
    }
}

/// What an alert rests on: `decay`, which needs labels, or another kind and its stream.
fn signal(alert: &Alert) -> String {
    let kind = alert.kind.as_str();
    alert.stream.as_ref().map_or_else(|| kind.to_owned(), |stream| format!("{kind} of {stream}"))
}
