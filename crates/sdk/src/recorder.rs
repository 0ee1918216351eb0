//! What watches one bundle: every prediction and every label goes into its monitor.
//!
//! A recorder belongs to one bundle, because the bundle's reference is what it compares with. The lock is held only
//! while numbers are counted. What of an input is watched is the [`View`]'s business; an input without numbers counts as
//! prediction and confidence only.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgeward_model::{Interpretation, NamedTensor, TensorSpec};
use edgeward_monitor::{
    Alarm, AlarmKind, DecodeError, ErrorBaseline, ErrorSizes, Estimate, Monitor, MonitorConfig, MonitorError,
    Neighbours, Outcome, PerformanceReport, Profile, Reference, Sample, Segment, SegmentedPerformance,
    StreamEvidence, View,
};

use crate::kept::{Kept, LabelledInput};
use crate::labelled::{Labelled, Reader};
use crate::prediction::Table;
use crate::reading::Reading;
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
    view: View,
    possible: Possible,
}

struct State {
    monitor: Monitor,
    samples_taken: u64,
    labelled: u64,
    correct: u64,
    /// Labels of the open window.
    window: SegmentedPerformance,
    /// Sizes of a regression's errors in it.
    errors: ErrorSizes,
    /// All labels of the bundle on this device.
    performance: SegmentedPerformance,
    /// The counts of the last window, for what needs more than the open one.
    last: Option<Profile>,
    /// What is kept for the agent, if somebody hands it over.
    kept: Option<Kept>,
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
    /// How large a regression's errors were; nothing of classes.
    pub errors: ErrorSizes,
    /// What was kept; nothing without [`Recorder::keep`].
    pub kept: Kept,
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
            errors: ErrorSizes::default(),
            performance: SegmentedPerformance::default(),
            last: None,
            kept: None,
        };
        let view = View::new(config.input, reference.features(), None);
        Ok(Self { config, reader, state: Mutex::new(state), reference, view, possible })
    }

    /// Looks at each answer's embedding, too; the reference's last feature is then its distance.
    #[must_use]
    pub fn with_neighbours(self, neighbours: Neighbours) -> Self {
        let columns = self.reference.features().saturating_sub(1);
        Self { view: View::new(self.config.input, columns, Some(neighbours)), ..self }
    }

    /// Keeps alarms and labelled inputs for the next window, for whoever hands them to the agent.
    pub fn keep(&self) {
        self.state().kept.get_or_insert_default();
    }

    /// Whether it looks at embeddings.
    #[must_use]
    pub const fn has_embedding(&self) -> bool {
        self.view.has_embedding()
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
        self.possible.suspicion(&self.reference, &self.view.input(values), label)
    }

    /// The first feature of an input whose value is impossible, and why, whether it was alarmed before or not.
    pub(crate) fn impossible(&self, values: &[f32]) -> Option<(String, String)> {
        self.possible.impossible(&self.reference, &self.view.input(values))
    }

    /// Counts and judges every row of one answer: its input, its embedding and what was said.
    pub fn record(
        &self,
        table: Option<&Table>,
        embedding: Option<&Table>,
        rows: &[Interpretation],
    ) -> Vec<Alarm> {
        self.observe(table, &[], embedding, rows)
    }

    /// The rows of inputs that no matrix of numbers stands for; none if they are no rows of this reference's features.
    pub(crate) fn read(&self, specs: &[TensorSpec], inputs: &[NamedTensor]) -> Option<Reading> {
        let columns = self.reference.features() - usize::from(self.view.has_embedding());
        let watched = self.config.input.is_columns();
        watched.then(|| Reading::of(&self.reference, columns, specs, inputs)).flatten()
    }

    /// As [`Recorder::record`], of rows with texts.
    pub(crate) fn record_reading(
        &self,
        reading: &Reading,
        embedding: Option<&Table>,
        rows: &[Interpretation],
    ) -> Vec<Alarm> {
        self.observe(Some(&reading.table), &reading.texts, embedding, rows)
    }

    fn observe(
        &self,
        table: Option<&Table>,
        texts: &[(usize, usize, String)],
        embedding: Option<&Table>,
        rows: &[Interpretation],
    ) -> Vec<Alarm> {
        let count = table.map_or(rows.len(), |table| table.rows);
        let mut alarms = Vec::new();
        let view = |index| self.view.row(values_of(table, index), embedding.map(|table| table.row(index)));
        let seen: Vec<Cow<'_, [f32]>> = (0..count).map(view).collect();
        let mut state = self.state();
        for (index, features) in seen.iter().enumerate() {
            let row = rows.get(index);
            let sample = Sample {
                features,
                predicted: row.and_then(|row| row.predicted).and_then(|class| u32::try_from(class).ok()),
                confidence: row.and_then(|row| row.confidence),
            };
            if texts.is_empty() {
                alarms.extend(state.monitor.observe(&sample));
                continue;
            }
            let of_row = texts.iter().filter(|(row, ..)| *row == index);
            let told: Vec<(usize, &str)> =
                of_row.map(|(_, feature, text)| (*feature, text.as_str())).collect();
            alarms.extend(state.monitor.observe_with_texts(&sample, &told));
        }
        alarms.iter_mut().for_each(|alarm| self.blame(&state, alarm));
        if let Some(kept) = &mut state.kept {
            alarms.iter().for_each(|alarm| kept.alarm(alarm));
        }
        alarms
    }

    /// Takes one label, whenever it arrives.
    pub fn label(&self, label: &Labelled<'_>) -> Option<Alarm> {
        let seen = self.view.input(label.values);
        let segments = self.reader.segments(&Labelled { values: &seen, ..*label });
        let mut state = self.state();
        let correct = label.is_correct();
        state.labelled += 1;
        state.correct += u64::from(correct);
        let outcome = self.reader.outcome(label);
        if let Some(outcome) = &outcome {
            state.window.observe(outcome, &segments);
            state.performance.observe(outcome, &segments);
        }
        if let Some(Outcome::Number { predicted, truth }) = &outcome {
            state.errors.observe(error(*predicted, *truth));
        }
        let mut alarm = match outcome {
            Some(Outcome::Number { predicted, truth }) => {
                state.monitor.observe_error(error(predicted, truth))
            }
            _ => state.monitor.observe_label(correct),
        };
        if let Some(alarm) = &mut alarm {
            self.blame(&state, alarm);
        }
        if let Some(kept) = &mut state.kept {
            kept.label(self.labelled_input(label));
            alarm.iter().for_each(|alarm| kept.alarm(alarm));
        }
        alarm
    }

    fn labelled_input(&self, label: &Labelled<'_>) -> LabelledInput {
        LabelledInput {
            values: label.values.to_vec(),
            predicted: label.predicted.to_owned(),
            truth: label.truth.to_owned(),
            suspicion: self.suspicion(label.values, label.truth),
        }
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
        let state = self.state();
        let nothing = state.monitor.samples() == state.samples_taken && state.labelled == 0;
        drop(state);
        (!nothing).then(|| self.take_any_window())
    }

    /// What was counted since the last call, if only nothing.
    pub fn take_any_window(&self) -> Window {
        let mut state = self.state();
        let samples = state.monitor.samples() - state.samples_taken;
        state.samples_taken = state.monitor.samples();
        let (labelled, correct) = (std::mem::take(&mut state.labelled), std::mem::take(&mut state.correct));
        let (profile, performance) = (state.monitor.take_profile(), std::mem::take(&mut state.window));
        state.last = Some(profile.clone());
        let errors = std::mem::take(&mut state.errors);
        let kept = state.kept.as_mut().map(std::mem::take).unwrap_or_default();
        Window { profile, samples, labelled, correct, performance, errors, kept }
    }

    /// How large a regression's errors were at evaluation; none of a bundle that does not say.
    #[must_use]
    pub const fn error_baseline(&self) -> Option<ErrorBaseline> {
        self.config.baseline_error
    }

    /// Mean absolute error over the latest labels of a regression and their number; none before the first.
    #[must_use]
    pub fn mean_absolute_error(&self) -> Option<(f64, u64)> {
        self.state().monitor.mean_absolute_error()
    }

    /// Accuracy over the latest labels and their number; none before the first, and for regressions.
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

fn values_of(table: Option<&Table>, index: usize) -> &[f32] {
    table.map_or(&[], |table| table.row(index))
}

/// How far a prediction was off. One that is no number is off by any measure; a truth that is none says nothing.
fn error(predicted: f64, truth: f64) -> f64 {
    if predicted.is_finite() || truth.is_nan() { predicted - truth } else { f64::INFINITY }
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
        Labelled { predicted: "a", truth, scores, values: &[0.5], tags: &[], of: None }
    }

    fn table(value: f32) -> Table {
        Table { rows: 1, width: 1, values: vec![value] }
    }

    #[test]
    fn a_window_holds_what_came_since_the_last() {
        let recorder = recorder();
        assert!(recorder.take_window().is_none());
        assert!(recorder.record(Some(&table(0.5)), None, &[row(0)]).is_empty());
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
        let alarms = recorder.record(Some(&table(-1e6)), None, &[row(0)]);
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

    /// A recorder of a regression whose errors at evaluation were those of `error`, and labels that are off by as much.
    fn regression(error: impl Fn(u32) -> f64) -> Recorder {
        let values: Vec<[f32; 1]> = (0..500).map(|n| [n as f32 / 500.0]).collect();
        let rows = values.iter().map(|row| Sample { features: row, predicted: None, confidence: None });
        let reference = Reference::fit(&["x".to_owned()], &[], rows).unwrap();
        let errors: Vec<f64> = (0..500).map(error).collect();
        let baseline_error = ErrorBaseline::of(&errors, 0.0);
        Recorder::new(Arc::new(reference), MonitorConfig { baseline_error, ..MonitorConfig::default() })
            .unwrap()
    }

    /// Normal-like errors, reproducible and of no order.
    fn noise(n: u32) -> f64 {
        let mixed = |salt: u32| {
            (n.wrapping_add(salt).wrapping_mul(0x9e37_79b9) ^ n.rotate_left(13)).wrapping_mul(0x85eb_ca6b)
        };
        (0..6).map(|salt| f64::from(mixed(salt * 7_919) >> 8) / f64::from(1 << 24) - 0.5).sum()
    }

    fn off_by(recorder: &Recorder, error: f64) -> Option<Alarm> {
        let predicted = (100.0 + error).to_string();
        let label = Labelled {
            predicted: &predicted,
            truth: "100",
            scores: &[],
            values: &[0.5],
            tags: &[],
            of: None,
        };
        recorder.label(&label)
    }

    #[test]
    fn errors_of_a_regression_as_at_evaluation_are_no_decay() {
        let recorder = regression(noise);
        let alarms: Vec<Alarm> = (10_000..40_000).filter_map(|n| off_by(&recorder, noise(n))).collect();
        assert!(alarms.is_empty(), "{alarms:?}");
        assert_eq!(recorder.accuracy(), None);
        let (mae, n) = recorder.mean_absolute_error().unwrap();
        assert!((mae - 0.57).abs() < 0.1 && n == 200, "{mae}");
    }

    #[test]
    fn larger_errors_of_a_regression_are_decay_and_survive_a_restart() {
        let first = regression(noise);
        assert!((10_000..10_500).all(|n| off_by(&first, noise(n)).is_none()));
        assert!((0..20).all(|n| off_by(&first, 2.0 * noise(n)).is_none()));
        let second = regression(noise);
        second.restore(&first.state_to_bytes()).unwrap();
        assert_eq!(second.mean_absolute_error(), first.mean_absolute_error());
        let alarm = (20..400).find_map(|n| off_by(&second, 2.0 * noise(n))).unwrap();
        assert_eq!(alarm.kind, AlarmKind::Decay);
        assert!(alarm.sample > 520 && alarm.sample < 700, "{alarm:?}");
        let change = alarm.change_sample.unwrap();
        assert!(change.abs_diff(501) < 60, "{change}");
        assert!(alarm.message.contains("at evaluation") && alarm.value.unwrap() > 0.6, "{alarm:?}");
        assert!(
            Recorder::new(Arc::clone(&second.reference), MonitorConfig::default())
                .unwrap()
                .restore(&second.state_to_bytes())
                .is_ok()
        );
    }

    #[test]
    fn predictions_that_are_no_number_are_decay() {
        let recorder = regression(noise);
        let label =
            Labelled { predicted: "NaN", truth: "100", scores: &[], values: &[0.5], tags: &[], of: None };
        let alarm = (0..200).find_map(|_| recorder.label(&label)).unwrap();
        assert_eq!((alarm.kind, alarm.value), (AlarmKind::Decay, None));
    }

    #[test]
    fn an_alarm_of_drift_names_what_moved() {
        let recorder = recorder();
        let rows: Vec<f32> = (0..200u16).map(|n| 0.9 + f32::from(n % 10) / 100.0).collect();
        let alarms: Vec<Alarm> = rows
            .into_iter()
            .flat_map(|value| recorder.record(Some(&table(value)), None, &[row(0)]))
            .collect();
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
            recorder.record(Some(&table(value)), None, &[said]);
            let tags = [("site".to_owned(), "north".to_owned())];
            let scores = [value, 1.0 - value];
            recorder.label(&Labelled {
                predicted: "a",
                truth,
                scores: &scores,
                values: &[value],
                tags: &tags,
                of: None,
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
        recorder.record(None, None, &[row(0), row(1)]);
        assert_eq!(recorder.take_window().unwrap().samples, 2);
    }
}
