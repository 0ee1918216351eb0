//! What watches one bundle: every prediction and every label goes into its monitor.
//!
//! A recorder belongs to one bundle, because the bundle's reference is what it compares with. The lock is held only
//! while numbers are counted. Inputs that are no table count as predictions and confidence only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgeward_model::Interpretation;
use edgeward_monitor::{
    Alarm, AlarmKind, DecodeError, Estimate, Monitor, MonitorConfig, MonitorError, PerformanceReport,
    Profile, Reference, Sample, Segment, SegmentedPerformance, StreamEvidence,
};

use crate::labelled::{Labelled, Reader};
use crate::prediction::Table;
use crate::state;
use crate::suspicion::Possible;

/// Features that an alarm names as those that moved most.
const BLAMED_MAX: usize = 3;
/// Error level of what is estimated without labels.
const ALPHA: f64 = 0.05;

/// Watches the predictions of one bundle.
pub struct Recorder {
    config: MonitorConfig,
    reader: Reader,
    state: Mutex<State>,
    reference: Arc<Reference>,
    possible: Possible,
}

struct State {
    monitor: Monitor,
    samples_taken: u64,
    labelled: u64,
    correct: u64,
    /// Labels of the open window.
    window: SegmentedPerformance,
    /// All labels of the bundle on this device.
    performance: SegmentedPerformance,
    /// The counts of the last window, for what needs more than the open one.
    last: Option<Profile>,
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
    /// How well predictions agreed with those labels.
    pub performance: SegmentedPerformance,
}

impl Recorder {
    /// A recorder that has seen nothing.
    ///
    /// # Errors
    /// No monitor follows from the configuration.
    pub fn new(reference: Arc<Reference>, config: MonitorConfig) -> Result<Self, MonitorError> {
        let possible = Possible::new(&config, None);
        let reader = Reader::new(&reference, &config.segments);
        let state = State {
            monitor: Monitor::new(Arc::clone(&reference), config.clone())?,
            samples_taken: 0,
            labelled: 0,
            correct: 0,
            window: SegmentedPerformance::default(),
            performance: SegmentedPerformance::default(),
            last: None,
        };
        Ok(Self { config, reader, state: Mutex::new(state), reference, possible })
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
        alarms.iter_mut().for_each(|alarm| self.blame(&state, alarm));
        alarms
    }

    /// Takes one label, whenever it arrives.
    pub fn label(&self, label: &Labelled<'_>) -> Option<Alarm> {
        let segments = self.reader.segments(label);
        let mut state = self.state();
        let correct = label.is_correct();
        state.labelled += 1;
        state.correct += u64::from(correct);
        if let Some(outcome) = self.reader.outcome(label) {
            state.window.observe(&outcome, &segments);
            state.performance.observe(&outcome, &segments);
        }
        let mut alarm = state.monitor.observe_label(correct)?;
        self.blame(&state, &mut alarm);
        Some(alarm)
    }

    /// Adds the features that moved most, to an alarm of drift or decay.
    fn blame(&self, state: &State, alarm: &mut Alarm) {
        if alarm.kind == AlarmKind::Outlier {
            return;
        }
        let blamed = state.lately().blame(state.monitor.reference(), &self.config.importance);
        let named: Vec<String> = blamed.unwrap_or_default().iter().take(BLAMED_MAX).map(named).collect();
        if !named.is_empty() {
            alarm.message = format!("{}; moved most: {}", alarm.message, named.join(", "));
        }
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
        let (profile, performance) = (state.monitor.take_profile(), std::mem::take(&mut state.window));
        state.last = Some(profile.clone());
        Some(Window { profile, samples, labelled, correct, performance })
    }

    /// Accuracy over the latest labels and their number; none before the first.
    #[must_use]
    pub fn accuracy(&self) -> Option<(f64, u64)> {
        self.state().monitor.accuracy()
    }

    /// Every metric over all labels of the bundle on this device, each with its confidence sequence at 95%.
    #[must_use]
    pub fn performance(&self) -> PerformanceReport {
        self.reader.report(self.state().performance.all())
    }

    /// The same by segment.
    #[must_use]
    pub fn performance_by_segment(&self) -> Vec<(Segment, PerformanceReport)> {
        let performance = self.state().performance.clone();
        let segments = performance.segments().iter();
        segments.map(|(segment, performance)| (segment.clone(), self.reader.report(performance))).collect()
    }

    /// The accuracy that the confidence of the latest windows lets expect, without labels; none for a bundle without a
    /// calibration. It says itself that it assumes no concept drift.
    #[must_use]
    pub fn estimated_accuracy(&self) -> Option<Estimate> {
        let calibration = self.config.calibration.as_ref()?;
        let state = self.state();
        calibration.estimate(state.monitor.reference(), &state.lately(), ALPHA).ok().flatten()
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
        let state = self.state();
        state::join(&state.monitor.state_to_bytes(), &state.performance.to_bytes())
    }

    /// Takes up the state of an earlier recorder of the same bundle.
    ///
    /// # Errors
    /// The bytes are not such a state; nothing is changed then.
    pub fn restore(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let (monitor, performance) = state::split(bytes);
        let performance = performance.map(SegmentedPerformance::from_bytes).transpose()?;
        let mut state = self.state();
        state.monitor.restore(monitor)?;
        state.samples_taken = state.monitor.samples();
        state.performance = performance.unwrap_or_default();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The counts of the open window and the one before.
    fn lately(&self) -> Profile {
        let open = self.monitor.profile();
        let both = self.last.as_ref().and_then(|last| last.merge(open).ok());
        both.unwrap_or_else(|| open.clone())
    }
}

fn named(feature: &edgeward_monitor::Blamed) -> String {
    format!("'{}' ({})", feature.stream, feature.reasons.join("; "))
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

    fn label<'a>(truth: &'a str, scores: &'a [f32]) -> Labelled<'a> {
        Labelled { predicted: "a", truth, scores, values: &[0.5], tags: &[] }
    }

    fn table(value: f32) -> Table {
        Table { rows: 1, width: 1, values: vec![value] }
    }

    #[test]
    fn a_window_holds_what_came_since_the_last() {
        let recorder = recorder();
        assert!(recorder.take_window().is_none());
        assert!(recorder.record(Some(&table(0.5)), &[row(0)]).is_empty());
        assert!(recorder.label(&label("a", &[0.9, 0.1])).is_none());
        let window = recorder.take_window().unwrap();
        assert_eq!((window.samples, window.labelled, window.correct), (1, 1, 1));
        assert_eq!(window.performance.all().accuracy(), Some((1.0, 1)));
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
        let mut alarms = (0..30).filter_map(|_| first.label(&label("b", &[]))).count();
        let second = recorder();
        second.restore(&first.state_to_bytes()).unwrap();
        assert_eq!(second.accuracy(), Some((0.0, 30)));
        assert_eq!(second.performance(), first.performance());
        assert_eq!(second.performance().labels, 30);
        alarms += (0..200).filter_map(|_| second.label(&label("b", &[]))).count();
        assert!(alarms > 0);
        assert!(second.restore(b"junk").is_err());
    }

    #[test]
    fn an_alarm_of_drift_names_what_moved() {
        let recorder = recorder();
        let rows: Vec<f32> = (0..200u16).map(|n| 0.9 + f32::from(n % 10) / 100.0).collect();
        let alarms: Vec<Alarm> =
            rows.into_iter().flat_map(|value| recorder.record(Some(&table(value)), &[row(0)])).collect();
        let drift = alarms.iter().find(|alarm| alarm.kind == AlarmKind::Drift).unwrap();
        assert!(drift.message.contains("; moved most: 'x' (mean 0.9"), "{}", drift.message);
    }

    #[test]
    fn performance_is_told_apart_by_segment_and_estimated_without_labels() {
        let values: Vec<[f32; 1]> = (0..500).map(|n| [n as f32 / 500.0]).collect();
        let rows =
            values.iter().map(|row| Sample { features: row, predicted: Some(0), confidence: Some(row[0]) });
        let classes = ["a".to_owned(), "b".to_owned()];
        let reference = Reference::fit(&["x".to_owned()], &classes, rows).unwrap();
        let pairs = values.iter().map(|row| (Some(row[0]), row[0] > 0.5));
        let calibration = edgeward_monitor::Calibration::fit(&reference, pairs);
        let config =
            MonitorConfig { calibration, segments: vec!["x".to_owned()], ..MonitorConfig::default() };
        let recorder = Recorder::new(Arc::new(reference), config).unwrap();
        assert!(recorder.estimated_accuracy().is_none());
        for (value, truth) in [(0.1, "b"), (0.9, "a"), (0.95, "a")] {
            let said = Interpretation { confidence: Some(value), ..row(0) };
            recorder.record(Some(&table(value)), &[said]);
            let tags = [("site".to_owned(), "north".to_owned())];
            let scores = [value, 1.0 - value];
            recorder.label(&Labelled {
                predicted: "a",
                truth,
                scores: &scores,
                values: &[value],
                tags: &tags,
            });
        }
        let segments = recorder.performance_by_segment();
        let accuracy = |name: &str, value: &str| {
            let of = segments.iter().find(|(segment, _)| *segment == Segment::new(name, value)).unwrap();
            (of.1.metrics["accuracy"].value, of.1.labels)
        };
        assert_eq!(segments.len(), 3);
        assert_eq!(accuracy("site", "north"), (2.0 / 3.0, 3));
        assert!(
            segments.iter().any(|(segment, report)| segment.value.starts_with("> ") && report.labels == 2)
        );
        let estimated = recorder.estimated_accuracy().unwrap();
        assert!((estimated.value - 2.0 / 3.0).abs() < 0.01);
        assert_eq!(estimated.assumes.as_deref(), Some("assumes no concept drift"));
        assert!(recorder.performance().metrics.contains_key("log_loss"));
    }

    #[test]
    fn an_input_that_is_no_table_counts_its_predictions() {
        let recorder = recorder();
        recorder.record(None, &[row(0), row(1)]);
        assert_eq!(recorder.take_window().unwrap().samples, 2);
    }
}
