//! One device as its desk uses it: asked once a day, told the truth a day later.

use super::days::Day;
use crate::demo::infer::{Caller, Prediction, insist};
use crate::output::Failure;

/// What a desk asked, and what became of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) answers: Vec<Answer>,
    pub(super) requests: u64,
    pub(super) failed: u64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) date: String,
    /// The bundle that answered.
    pub(super) bundle: String,
    /// The price predicted for the next trading day.
    pub(super) predicted: f64,
}

/// A desk and its device.
pub(super) struct Desk {
    caller: Caller,
    record: Record,
    /// The latest prediction whose truth is not handed in yet.
    open: Option<String>,
    labels: usize,
}

impl Desk {
    pub(super) fn new(endpoint: &str, model: &str) -> Self {
        Self { caller: Caller::new(endpoint, model), record: Record::default(), open: None, labels: 0 }
    }

    /// Asks for tomorrow's price.
    pub(super) fn ask(&mut self, day: &Day) -> Result<f64, Failure> {
        self.record.requests += 1;
        let answered = insist(|deadline| self.caller.infer(&[day.price, day.change], deadline));
        let Prediction { version, id, class } = answered.map_err(|why| self.failed(day, &why))?;
        let predicted = class.parse().map_err(|_| self.failed(day, "the answer is no number"))?;
        self.record.answers.push(Answer { date: day.date.clone(), bundle: version, predicted });
        self.open = Some(id);
        Ok(predicted)
    }

    /// Tells the device what it should have predicted yesterday, once.
    pub(super) fn hand_in(&mut self, today: &Day) -> Result<(), Failure> {
        let Some(id) = self.open.take() else { return Ok(()) };
        let label = [(id, today.price.to_string())];
        insist(|deadline| self.caller.label(&label, deadline)).map_err(|why| self.failed(today, &why))?;
        self.labels += 1;
        Ok(())
    }

    fn failed(&mut self, day: &Day, why: &str) -> Failure {
        self.record.failed += 1;
        Failure::new("demo", format!("the device gave no valid answer on {}: {why}", day.date))
    }

    /// Labels handed in.
    pub(super) const fn labels(&self) -> usize {
        self.labels
    }

    /// Which sample of its first model a day was, from 1.
    pub(super) fn sample_of(&self, date: &str) -> Option<u64> {
        self.record.answers.iter().position(|answer| answer.date == date).map(|at| at as u64 + 1)
    }

    pub(super) fn into_record(self) -> Record {
        self.record
    }
}
