//! What watches one bundle: every prediction and every label goes into its monitor.
//!
//! A recorder belongs to one bundle, because the bundle's reference is what it compares with. The lock is held only
//! while numbers are counted. Inputs that are no table count as predictions and confidence only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgeward_model::Interpretation;
use edgeward_monitor::{
    Alarm, DecodeError, Monitor, MonitorConfig, MonitorError, Profile, Reference, Sample, StreamEvidence,
};

use crate::prediction::Table;
use crate::suspicion::Possible;

/// Watches the predictions of one bundle.
pub struct Recorder {
    state: Mutex<State>,
    reference: Arc<Reference>,
    possible: Possible,
}

struct State {
    monitor: Monitor,
    samples_taken: u64,
    labelled: u64,
    correct: u64,
}

/// What was counted since the last window.
#[derive(Clone, Debug)]
pub struct Window {
    /// The counts.
    pub profile: Profile,
    /// Predictions in it.
    pub samples: u64,
    /// Labels that arrived.
    pub labelled: u64,
    /// How many of them agreed with the prediction.
    pub correct: u64,
}

impl Recorder {
    /// A recorder that has seen nothing.
    ///
    /// # Errors
    /// No monitor follows from the configuration.
    pub fn new(reference: Arc<Reference>, config: MonitorConfig) -> Result<Self, MonitorError> {
        let possible = Possible::new(&config, None);
        let monitor = Monitor::new(Arc::clone(&reference), config)?;
        let state = Mutex::new(State { monitor, samples_taken: 0, labelled: 0, correct: 0 });
        Ok(Self { state, reference, possible })
    }

    /// Knows what labels that are numbers looked like, too: a reference of one feature.
    #[must_use]
    pub fn with_labels(self, config: &MonitorConfig, labels: Reference) -> Self {
        Self { possible: Possible::new(config, Some(labels)), ..self }
    }

    /// What is impossible about an input or its label, for a person to look at before anything learns from it; none if
    /// nothing is.
    #[must_use]
    pub fn suspicion(&self, values: &[f32], label: &str) -> Option<String> {
        self.possible.suspicion(&self.reference, values, label)
    }

    /// Counts and judges every row of one answer.
    pub fn record(&self, table: Option<&Table>, rows: &[Interpretation]) -> Vec<Alarm> {
        let count = table.map_or(rows.len(), |table| table.rows);
        let mut alarms = Vec::new();
        let mut state = self.state();
        for index in 0..count {
            let row = rows.get(index);
            let sample = Sample {
                features: table.map_or(&[], |table| table.row(index)),
                predicted: row.and_then(|row| row.predicted).and_then(|class| u32::try_from(class).ok()),
                confidence: row.and_then(|row| row.confidence),
            };
            alarms.extend(state.monitor.observe(&sample));
        }
        alarms
    }

    /// Takes one label: whether the prediction was right.
    pub fn label(&self, correct: bool) -> Option<Alarm> {
        let mut state = self.state();
        state.labelled += 1;
        state.correct += u64::from(correct);
        state.monitor.observe_label(correct)
    }

    /// What was counted since the last call; none if nothing was.
    pub fn take_window(&self) -> Option<Window> {
        let mut state = self.state();
        let samples = state.monitor.samples() - state.samples_taken;
        if samples == 0 && state.labelled == 0 {
            return None;
        }
        state.samples_taken = state.monitor.samples();
        let (labelled, correct) = (std::mem::take(&mut state.labelled), std::mem::take(&mut state.correct));
        Some(Window { profile: state.monitor.take_profile(), samples, labelled, correct })
    }

    /// Accuracy over the latest labels and their number; none before the first.
    #[must_use]
    pub fn accuracy(&self) -> Option<(f64, u64)> {
        self.state().monitor.accuracy()
    }

    /// Evidence of each stream now, in the order of the reference.
    #[must_use]
    pub fn evidence(&self) -> Vec<StreamEvidence> {
        self.state().monitor.evidence()
    }

    /// What a restart must not forget. Take it right after [`Recorder::take_window`], or the window's counts are counted
    /// again by whoever restores it.
    #[must_use]
    pub fn state_to_bytes(&self) -> Vec<u8> {
        self.state().monitor.state_to_bytes()
    }

    /// Takes up the state of an earlier recorder of the same bundle.
    ///
    /// # Errors
    /// The bytes are not such a state; nothing is changed then.
    pub fn restore(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut state = self.state();
        state.monitor.restore(bytes)?;
        state.samples_taken = state.monitor.samples();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> Recorder {
        let values: Vec<[f32; 1]> = (0..500).map(|n| [n as f32 / 500.0]).collect();
        let sample = |row| Sample { features: row, predicted: Some(0), confidence: Some(0.9) };
        let names = (vec!["x".to_owned()], vec!["a".to_owned(), "b".to_owned()]);
        let rows = values.iter().map(|row| sample(row.as_slice()));
        let reference = Reference::fit(&names.0, &names.1, rows).unwrap();
        let config = MonitorConfig { baseline_accuracy: Some((0.95, 500)), ..MonitorConfig::default() };
        Recorder::new(Arc::new(reference), config).unwrap()
    }

    fn row(predicted: usize) -> Interpretation {
        Interpretation { predicted: Some(predicted), confidence: Some(0.9), ..Interpretation::default() }
    }

    fn table(value: f32) -> Table {
        Table { rows: 1, width: 1, values: vec![value] }
    }

    #[test]
    fn a_window_holds_what_came_since_the_last() {
        let recorder = recorder();
        assert!(recorder.take_window().is_none());
        assert!(recorder.record(Some(&table(0.5)), &[row(0)]).is_empty());
        assert!(recorder.label(true).is_none());
        let window = recorder.take_window().unwrap();
        assert_eq!((window.samples, window.labelled, window.correct), (1, 1, 1));
        assert!(recorder.take_window().is_none());
        assert_eq!(recorder.accuracy(), Some((1.0, 1)));
    }

    #[test]
    fn an_impossible_value_is_an_alarm_at_once() {
        let recorder = recorder();
        let alarms = recorder.record(Some(&table(-1e6)), &[row(0)]);
        assert_eq!(alarms.len(), 1);
        assert_eq!(alarms[0].stream.as_deref(), Some("x"));
    }

    #[test]
    fn wrong_labels_are_an_alarm_and_survive_a_restart() {
        let first = recorder();
        let mut alarms = (0..30).filter_map(|_| first.label(false)).count();
        let second = recorder();
        second.restore(&first.state_to_bytes()).unwrap();
        assert_eq!(second.accuracy(), Some((0.0, 30)));
        alarms += (0..200).filter_map(|_| second.label(false)).count();
        assert!(alarms > 0);
        assert!(second.restore(b"junk").is_err());
    }

    #[test]
    fn an_input_that_is_no_table_counts_its_predictions() {
        let recorder = recorder();
        recorder.record(None, &[row(0), row(1)]);
        assert_eq!(recorder.take_window().unwrap().samples, 2);
    }
}
