//! `edgeward demo oil`: April 2020 comes to a device that learned from 33 years of oil prices.
//!
//! One request per trading day: today's price and today's change in, tomorrow's price out. On the 20th the price is
//! -36.98 dollars. The device says so on that sample, what it touches is held back from training, the model is retrained
//! that evening, and a person decides. Beside it, the same training *with* what was held back, and tomorrow taken to be
//! like today: whoever measures a model without that baseline deceives himself.

mod days;
mod desk;
mod summary;
mod whatif;

use std::path::Path;
use std::time::Duration;

use days::{Day, april, history_rows};
use desk::Desk;
use edgeward_api::Client;
use edgeward_api::limits::PAGE_MAX;
use edgeward_api::operator::{HeldSample, QuarantineDecision, RunRequest};
use edgeward_core::event::SampleVerdict;
use edgeward_core::{Alert, ModelName, ProjectName};
pub(crate) use summary::OilSummary;
use summary::{Seen, summarise};

use super::board::{Stage, Stop};
use super::fleet::{DEPLOY_PATIENCE, Fleet};
use super::plainly::{Told, plainly};
use super::stage::{Layout, Project, SERVER};
use crate::output::{Explain, Failure};

const OIL: Project = Project {
    name: "oil",
    toml: include_str!("../../../../examples/oil/edgeward.toml"),
    data: "history.csv",
};
/// The model's name in that project.
const MODEL: &str = "oil-price";
const RETRAIN_PATIENCE: Duration = Duration::from_secs(120);
/// How long labels may take to the control plane.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long an alert is waited for on the day that should raise one.
const ALERT_PATIENCE: Duration = Duration::from_secs(15);
/// The evening on which the model is retrained: the price of that day is known, tomorrow's is not.
const RETRAINED_ON: &str = "2020-04-21";
/// The day of the story.
const NEGATIVE_DAY: &str = "2020-04-20";

/// Tells the story in `dir`; its summary.
pub(crate) fn tell(dir: &Path, devices: u16, stop: &Stop) -> Result<OilSummary, Failure> {
    let rows = history_rows().explain("demo", "reading the price history")?;
    let days = april().explain("demo", "reading April 2020")?;
    let layout = Layout::create(dir, OIL, |data| days::write_rows(&rows, data))?;
    let devices: Vec<String> = (1..=devices).map(|n| format!("desk-{n}")).collect();
    let model = ModelName::new(MODEL).explain("demo", "naming the model")?;
    let Told { seen, ledger_verified, took } =
        plainly(&layout, MODEL, &devices, stop, |fleet| Story { fleet, days: &days, model }.tell(&rows))?;
    Ok(summarise(&seen, &days, (ledger_verified, took)))
}

struct Story<'a> {
    fleet: Fleet<'a>,
    days: &'a [Day],
    model: ModelName,
}

impl Story<'_> {
    fn tell(&self, rows: &[days::Row]) -> Result<Seen, Failure> {
        let (client, _observer) = self.fleet.open()?;
        self.fleet.join(&client)?;
        let before = self.fleet.first_model(&client, "the first model learns from 33 years of oil prices")?;
        let mut desks: Vec<Desk> = self.fleet.endpoints()?.iter().map(|at| Desk::new(at, MODEL)).collect();
        self.fleet.board.enter(Stage::Serve, "April 2020, day by day");
        for day in self.days.iter().take_while(|day| day.date.as_str() < RETRAINED_ON) {
            self.live_through(day, &mut desks)?;
        }
        let alert = self.outlier(&desks)?;
        self.fleet.board.enter(Stage::Alert, format!("{} says: {}", alert.device, alert.message));
        let evening = self.day(RETRAINED_ON)?;
        desks.iter_mut().try_for_each(|desk| desk.hand_in(evening))?;
        self.uploaded(&client, &desks)?;
        let whatif = whatif::predict(rows, self.days, RETRAINED_ON)?;
        let after = self.retrain(&client, &before)?;
        self.fleet.board.enter(Stage::Recovered, "the rest of April, with the retrained model");
        for day in self.days.iter().filter(|day| day.date.as_str() >= RETRAINED_ON) {
            self.live_through(day, &mut desks)?;
        }
        self.uploaded(&client, &desks)?;
        let quarantined = self.decide(&client)?;
        Ok(Seen {
            desks: desks.into_iter().map(Desk::into_record).collect(),
            alerts: self.fleet.ears.heard().alerts.clone(),
            bundles: (before, after),
            with_outlier: whatif,
            quarantined,
            negative_day: NEGATIVE_DAY,
            retrained_on: RETRAINED_ON,
        })
    }

    fn day(&self, date: &str) -> Result<&Day, Failure> {
        let day = self.days.iter().find(|day| day.date == date);
        day.ok_or_else(|| Failure::new("demo", format!("April 2020 has no {date}")))
    }

    /// Hands in what yesterday's prediction should have been, then asks for tomorrow.
    fn live_through(&self, day: &Day, desks: &mut [Desk]) -> Result<(), Failure> {
        for desk in desks {
            if self.fleet.stop.is_raised() {
                return Err(Failure::new("interrupted", "the demo was stopped before its story ended"));
            }
            desk.hand_in(day)?;
            let predicted = desk.ask(day)?;
            let text =
                format!("{} closes at {:.2}; tomorrow is predicted at {predicted:.2}", day.date, day.price);
            self.fleet.board.say(text);
        }
        Ok(())
    }

    /// The alert of the first device about the day of the story: on that very sample, or it is none.
    fn outlier(&self, desks: &[Desk]) -> Result<Alert, Failure> {
        let device = &self.fleet.devices[0];
        let sample = desks.first().and_then(|desk| desk.sample_of(NEGATIVE_DAY));
        self.fleet.until("the device did not notice a negative price", ALERT_PATIENCE, device, || {
            let heard = self.fleet.ears.heard();
            let of_day = |alert: &&Alert| {
                alert.kind == edgeward_core::alert::AlertKind::Outlier && Some(alert.sample) == sample
            };
            heard.alerts.iter().find(of_day).cloned()
        })
    }

    /// Waits until the control plane has every label, free or held back.
    fn uploaded(&self, client: &Client, desks: &[Desk]) -> Result<(), Failure> {
        let labels: usize = desks.iter().map(Desk::labels).sum();
        self.fleet.until("the labels did not reach the control plane", UPLOAD_PATIENCE, SERVER, || {
            let free = client.labelled_samples(&self.model, 0, PAGE_MAX).ok()?.samples.len();
            let held = client.quarantine(&self.model).ok()?.held.len();
            (free + held >= labels).then_some(())
        })
    }

    fn retrain(&self, client: &Client, before: &str) -> Result<String, Failure> {
        let held = self.held(client)?;
        for HeldSample { device, sample } in &held {
            let label = sample.label.as_deref().unwrap_or("-");
            let why = sample.suspicion.as_deref().unwrap_or_default();
            self.fleet.board.say(format!("held back from training: {device}, label {label}: {why}"));
        }
        self.fleet
            .board
            .enter(Stage::Retrain, format!("the evening of {RETRAINED_ON}: without what is held back"));
        let project = ProjectName::new(OIL.name).explain("demo", "naming the project")?;
        let request = RunRequest { cause: "the evening's retraining".to_owned() };
        client.request_run(&project, &request).explain("demo", "asking for a run")?;
        let ended = |outcomes: usize| {
            self.fleet.ears.heard().runs.iter().filter(|run| run.outcome.is_some()).count() >= outcomes
        };
        self.fleet
            .until("the retraining did not end", RETRAIN_PATIENCE, SERVER, || ended(2).then_some(()))?;
        self.fleet.board.enter(Stage::Rollout, "what passed its gates goes out over the air");
        self.fleet.until("the retrained model did not reach every device", DEPLOY_PATIENCE, SERVER, || {
            let bundle = self.fleet.one_bundle(&self.fleet.ears.heard())?;
            (bundle != before).then_some(bundle)
        })
    }

    fn held(&self, client: &Client) -> Result<Vec<HeldSample>, Failure> {
        Ok(client.quarantine(&self.model).explain("demo", "asking what is held back")?.held)
    }

    /// What a person does in the end: the price was real, and teaches nothing about tomorrow.
    fn decide(&self, client: &Client) -> Result<usize, Failure> {
        let held = self.held(client)?.len();
        let decision = QuarantineDecision {
            predictions: Vec::new(),
            verdict: SampleVerdict::Discarded,
            cause: "a contract that expired into full tanks: real, and no guide to tomorrow".to_owned(),
        };
        client
            .decide_quarantine(&self.model, &decision)
            .explain("demo", "deciding about what is held back")?;
        self.fleet.board.say(format!("a person decided: {held} samples stay out of training for good"));
        Ok(held)
    }
}
