//! The facade an application holds: one call per prediction, one per label.
//!
//! One budget pays for all alarms: half of it drift, a quarter outliers, a quarter decay. Labels are never
//! more than samples, so decay stays inside its share.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alarm::{Alarm, StreamEvidence, decay_alarm, drift_alarm, error_alarm, name_category};
use crate::budget::{Budget, BudgetError};
use crate::calibration::Calibration;
use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::detector::{Block, Detection, Detector};
use crate::losses::{ErrorBaseline, ErrorWindow, LossDetector};
use crate::outlier::{self, Watch};
use crate::performance::{DecayDetector, LabelWindow};
use crate::profile::Profile;
use crate::reference::Reference;
use crate::sample::{Rows, Sample};
use crate::view::InputView;

const DRIFT_SHARE: f64 = 0.5;
const OUTLIER_SHARE: f64 = 0.25;
const DECAY_SHARE: f64 = 0.25;
const DOCUMENT: &str = "monitor state";
const MAGIC: [u8; 4] = *b"EWMS";
const VERSION: u8 = 1;
/// Version of states with errors of a regression.
const VERSION_ERRORS: u8 = 2;
const MAX_PART_BYTES: usize = 64 << 20;

/// How a monitor decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorConfig {
    /// Tolerated false alarms.
    pub budget: Budget,
    /// Labels in the window of [`Monitor::accuracy`].
    pub accuracy_window: usize,
    /// Accuracy at evaluation and the number of held-out rows; without it and `baseline_error` there is no decay alarm.
    pub baseline_accuracy: Option<(f64, u64)>,
    /// Errors of a regression at evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_error: Option<ErrorBaseline>,
    /// Reference ranges beyond the support that a value may lie without an outlier alarm.
    pub outlier_margin: f64,
    /// Samples (labels for decay) without a further alarm of the same kind after one; evidence starts anew.
    pub hold_off_samples: u64,
    /// What to do with a budget beyond what the reference supports.
    pub unsupported: Unsupported,
    /// What of an input the reference's features are. The monitor takes features; whoever calls it asks a
    /// [`crate::View`] for them.
    #[serde(skip_serializing_if = "InputView::is_columns")]
    pub input: InputView,
    /// How often the model was right at each confidence, for an accuracy without labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Features whose ranges performance is told apart by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<String>,
    /// How much the model leans on each feature, on any scale, for blame; all equal if empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub importance: BTreeMap<String, f64>,
}

/// What to do with a budget beyond [`Reference::supported_arl`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsupported {
    /// Judge single values by the supported run length; their alarms show the lower threshold they passed.
    #[default]
    Clamp,
    /// Make no monitor.
    Refuse,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            budget: Budget::default(),
            accuracy_window: 200,
            baseline_accuracy: None,
            baseline_error: None,
            outlier_margin: outlier::DEFAULT_MARGIN,
            hold_off_samples: 0,
            unsupported: Unsupported::Clamp,
            input: InputView::Columns,
            calibration: None,
            segments: Vec::new(),
            importance: BTreeMap::new(),
        }
    }
}

/// A monitor that cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MonitorError {
    /// The budget is no budget.
    #[error("the monitor's budget is unusable")]
    Budget(#[source] BudgetError),
    /// The reference says nothing about events as rare as the budget's.
    #[error(
        "one false alarm in {arl:.1e} samples is asked for; this reference supports one in {supported:.1e}, a larger one more"
    )]
    Unsupported {
        /// Run length asked for, in samples.
        arl: f64,
        /// Longest that the reference supports.
        supported: f64,
    },
    /// A number that must not be negative or NaN.
    #[error("{field} must be a number of at least 0, not {value}")]
    Config {
        /// Field that is wrong.
        field: &'static str,
        /// Its value.
        value: f64,
    },
}

/// What a monitor takes up, in bytes over all streams; labels and buffers of [`Monitor::observe_rows`] apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Counts and statistics that every sample touches.
    pub hot_bytes: usize,
    /// All that belongs to one device, the hot part included.
    pub device_bytes: usize,
    /// Tables and the reference, held once for all monitors of one reference in a process.
    pub shared_bytes: usize,
}

/// Watches the predictions of one model on one device.
#[derive(Debug, Clone)]
pub struct Monitor {
    pub(crate) reference: Arc<Reference>,
    config: MonitorConfig,
    pub(crate) samples: u64,
    pub(crate) profile: Profile,
    pub(crate) detector: Detector,
    drift_quiet_until: u64,
    pub(crate) watch: Watch,
    window: LabelWindow,
    decay: Option<DecayDetector>,
    errors: ErrorWindow,
    losses: Option<LossDetector>,
    decay_quiet_until: u64,
    cells: Vec<u32>,
    pub(crate) block: Block,
}

impl Monitor {
    /// A monitor that has seen nothing.
    ///
    /// # Errors
    /// The configuration holds a number that nothing follows from.
    pub fn new(reference: Arc<Reference>, config: MonitorConfig) -> Result<Self, MonitorError> {
        let arl = config.budget.arl_samples().map_err(MonitorError::Budget)?;
        let supported = reference.supported_arl();
        if arl > supported && config.unsupported == Unsupported::Refuse {
            return Err(MonitorError::Unsupported { arl, supported });
        }
        not_negative("outlier_margin", config.outlier_margin)?;
        let (decay, losses) = decay_detectors(&config, arl / DECAY_SHARE)?;
        Ok(Self {
            samples: 0,
            profile: Profile::new(&reference),
            detector: Detector::new(&reference, arl / DRIFT_SHARE),
            drift_quiet_until: 0,
            watch: Watch::new(
                reference.streams.len(),
                config.outlier_margin,
                arl.min(supported) / OUTLIER_SHARE,
            ),
            window: LabelWindow::new(config.accuracy_window),
            decay,
            errors: ErrorWindow::new(config.accuracy_window),
            losses,
            decay_quiet_until: 0,
            cells: vec![0; reference.streams.len()],
            block: Block::default(),
            config,
            reference,
        })
    }

    /// What the monitor compares with.
    #[must_use]
    pub const fn reference(&self) -> &Arc<Reference> {
        &self.reference
    }

    /// Samples since the first start.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// Counts and judges one sample. The result is empty, and nothing is allocated, while all is well.
    pub fn observe(&mut self, sample: &Sample<'_>) -> Vec<Alarm> {
        self.samples += 1;
        let mut alarms = Vec::new();
        self.place(sample, &mut alarms);
        if let Some(detection) = self.detector.observe_cells(&self.cells) {
            self.raise_drift(&detection, self.samples, &mut alarms);
        }
        alarms
    }

    /// The same of a sample some of whose values are texts that stand for no number and no category of the reference:
    /// `texts` are their streams and what they were. Their values are [`crate::UNSEEN_VALUE`] or
    /// [`crate::WRONG_TYPE_VALUE`].
    pub fn observe_with_texts(&mut self, sample: &Sample<'_>, texts: &[(usize, &str)]) -> Vec<Alarm> {
        let mut alarms = self.observe(sample);
        for (stream, text) in texts {
            self.profile.observe_text(*stream, text);
            if let Some(stream) = self.reference.streams.get(*stream) {
                name_category(&mut alarms, stream, text);
            }
        }
        alarms
    }

    pub(crate) fn raise_drift(&mut self, detection: &Detection, sample: u64, alarms: &mut Vec<Alarm>) {
        if sample >= self.drift_quiet_until {
            self.drift_quiet_until = sample.saturating_add(self.config.hold_off_samples);
            alarms.push(drift_alarm(&self.reference.streams[detection.stream], detection));
        }
    }

    /// Places each value into its cell and its profile, and checks those outside the support.
    fn place(&mut self, sample: &Sample<'_>, alarms: &mut Vec<Alarm>) {
        let Self { reference, samples, profile, watch, detector, cells, .. } = self;
        let counting = profile.begin();
        reference.place(sample, |i, cell, value| {
            let (judged, surprise) = detector.whiten(&reference.streams[i], i, cell, value);
            cells[i] = judged;
            if counting {
                profile.count(i, cell, value);
            }
            if reference.streams[i].is_odd(cell, judged) {
                alarms.extend(watch.judge(reference, i, (value, surprise), *samples));
            }
        });
    }

    /// Shows the past of whitened streams without counting or judging it: the rows right before the first that is
    /// observed. Without it a whitened stream waits until its past is long enough.
    pub fn prime(&mut self, rows: &Rows<'_>) {
        let Self { reference, detector, .. } = self;
        for row in 0..rows.len() {
            reference.place(&rows.sample(row), |i, cell, value| {
                detector.whiten(&reference.streams[i], i, cell, value);
            });
        }
    }

    /// Takes one label, whenever it arrives: whether the prediction was right.
    pub fn observe_label(&mut self, correct: bool) -> Option<Alarm> {
        self.window.observe(correct);
        let detection = self.decay.as_mut()?.observe(correct)?;
        if detection.label < self.decay_quiet_until {
            return None;
        }
        self.decay_quiet_until = detection.label.saturating_add(self.config.hold_off_samples);
        Some(decay_alarm(detection, self.window.accuracy(), self.config.baseline_accuracy))
    }

    /// Takes one label of a regression, whenever it arrives: how far the prediction was off, in the label's unit; infinite
    /// for a prediction that is no number.
    pub fn observe_error(&mut self, error: f64) -> Option<Alarm> {
        self.errors.observe(error);
        let baseline = self.config.baseline_error?;
        let detection = self.losses.as_mut()?.observe(baseline.loss(error))?;
        if detection.label < self.decay_quiet_until {
            return None;
        }
        self.decay_quiet_until = detection.label.saturating_add(self.config.hold_off_samples);
        Some(error_alarm(detection, self.errors.mae(), baseline.mae))
    }

    /// Mean absolute error over the latest labels of a regression and their number; none before the first.
    #[must_use]
    pub fn mean_absolute_error(&self) -> Option<(f64, u64)> {
        self.errors.mae()
    }

    /// Accuracy over the latest labels and their number; none before the first.
    #[must_use]
    pub fn accuracy(&self) -> Option<(f64, u64)> {
        self.window.accuracy()
    }

    /// The counts since the last call.
    pub fn take_profile(&mut self) -> Profile {
        let fresh = Profile::new(&self.reference);
        std::mem::replace(&mut self.profile, fresh)
    }

    /// The counts so far.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Evidence of each stream now, in the order of the reference.
    #[must_use]
    pub fn evidence(&self) -> Vec<StreamEvidence> {
        let log10_threshold = self.detector.log10_threshold();
        let named = self.reference.streams.iter().zip(self.detector.log10_evidence());
        named
            .map(|(stream, log10_evidence)| StreamEvidence {
                stream: stream.name.clone(),
                log10_evidence,
                log10_threshold,
            })
            .collect()
    }

    /// What this monitor takes up.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let (statistics, tables) = self.detector.memory_bytes();
        let (counted, profile) = self.profile.memory_bytes();
        let limits = self.reference.streams.len() * (size_of::<u64>() + size_of::<u32>());
        Memory {
            hot_bytes: statistics + counted,
            device_bytes: statistics + profile + limits,
            shared_bytes: tables + self.reference.memory_bytes(),
        }
    }

    /// Everything a restart must not forget, the profile included.
    #[must_use]
    pub fn state_to_bytes(&self) -> Vec<u8> {
        let of_errors = self.losses.is_some() || self.errors.mae().is_some();
        let mut w = Writer::new(MAGIC, if of_errors { VERSION_ERRORS } else { VERSION });
        w.u64(self.samples);
        w.bytes(&self.profile.to_bytes());
        w.bytes(&self.detector.to_bytes());
        w.u64(self.drift_quiet_until);
        w.len(self.watch.limiter.quiet_until.len());
        self.watch.limiter.write(&mut w);
        self.window.write(&mut w);
        w.u64(self.decay_quiet_until);
        w.u8(u8::from(self.decay.is_some()));
        if let Some(decay) = &self.decay {
            decay.write(&mut w);
        }
        if of_errors {
            self.errors.write(&mut w);
            w.bytes(&self.losses.as_ref().map_or_else(Vec::new, LossDetector::to_bytes));
        }
        w.finish()
    }

    /// Takes up the state of a monitor of the same reference; on an error nothing changes.
    ///
    /// # Errors
    /// The bytes are not such a state.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let of_errors = bytes.get(MAGIC.len()) == Some(&VERSION_ERRORS);
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, if of_errors { VERSION_ERRORS } else { VERSION })?;
        let mut next = self.clone();
        next.samples = r.u64("samples")?;
        next.profile = Profile::from_bytes(r.bytes("profile", MAX_PART_BYTES)?)?;
        let (expected, found) = (self.reference.fingerprint, next.profile.fingerprint());
        if found != expected {
            return Err(DecodeError::OtherReference { expected, found });
        }
        // Merging with an empty profile of this reference proves that the shapes agree.
        next.profile = Profile::new(&self.reference)
            .merge(&next.profile)
            .map_err(|_| DecodeError::Invalid { what: "shape of the profile" })?;
        next.detector.restore(r.bytes("detector", MAX_PART_BYTES)?)?;
        next.drift_quiet_until = r.u64("hold-off")?;
        let streams = self.reference.streams.len();
        ensure(r.len("outlier limits", streams)? == streams, "outlier limits")?;
        next.watch.limiter.read(&mut r)?;
        next.window = LabelWindow::read(self.config.accuracy_window, &mut r)?;
        next.decay_quiet_until = r.u64("hold-off")?;
        next.decay = self.read_decay(&mut r)?;
        if of_errors {
            next.errors = ErrorWindow::read(self.config.accuracy_window, &mut r)?;
            let stored = r.bytes("losses", MAX_PART_BYTES)?;
            let known = next.losses.as_mut().filter(|_| !stored.is_empty());
            known.map_or(Ok(()), |losses| losses.restore(stored))?;
        }
        r.finish()?;
        *self = next;
        Ok(())
    }

    /// A stored decay detector, unless labels were not watched then or are not now.
    fn read_decay(&self, r: &mut Reader<'_>) -> Result<Option<DecayDetector>, DecodeError> {
        let stored = r.u8("decay")?;
        ensure(stored <= 1, "decay")?;
        if stored == 0 {
            return Ok(self.decay.clone());
        }
        let shape = DecayDetector::new(1.0, 1, 1.0);
        let restored = self.decay.as_ref().unwrap_or(&shape).read(r)?;
        Ok(self.decay.is_some().then_some(restored))
    }
}

/// The detectors of labels that the configuration has baselines for; they share the run length.
fn decay_detectors(
    config: &MonitorConfig,
    arl_labels: f64,
) -> Result<(Option<DecayDetector>, Option<LossDetector>), MonitorError> {
    if let Some((accuracy, _)) = config.baseline_accuracy {
        not_negative("baseline_accuracy", accuracy)?;
    }
    if let Some(ErrorBaseline { bound, mae, mean, sd, .. }) = config.baseline_error {
        let fields = [
            ("baseline_error.bound", bound),
            ("baseline_error.mae", mae),
            ("baseline_error.mean", mean),
            ("baseline_error.sd", sd),
        ];
        fields.into_iter().try_for_each(|(field, value)| not_negative(field, value))?;
    }
    let both = config.baseline_accuracy.is_some() && config.baseline_error.is_some();
    let arl = if both { 2.0 * arl_labels } else { arl_labels };
    let decay = config.baseline_accuracy.map(|(accuracy, n)| DecayDetector::new(accuracy, n, arl));
    let losses = config.baseline_error.map(|base| LossDetector::new(base.mean, base.sd, base.rows, arl));
    Ok((decay, losses))
}

fn not_negative(field: &'static str, value: f64) -> Result<(), MonitorError> {
    if value >= 0.0 { Ok(()) } else { Err(MonitorError::Config { field, value }) }
}
