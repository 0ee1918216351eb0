//! Statistics on the device: what a stream looked like, whether it still does, and how sure one may be.
//!
//! Data flows one way: a [`Sample`] is placed into cells by a [`Reference`] (`bins`), the cells are counted
//! into a [`Profile`] and fed to a [`Detector`]; labels feed a [`LabelWindow`], a [`DecayDetector`] and a
//! [`Performance`]; a support check ([`outlier`]) looks at the raw value. [`Monitor`] wires them and is what an
//! application holds. [`Profile::drift`] says how far each stream moved, [`Profile::blame`] which features matter.
//! Every alarm threshold follows from one [`Budget`].
//!
//! Contract: bounded memory, no allocation per quiet sample, no panic on any input or any bytes, merging of
//! profiles exact and independent of order.
//!
//! Streams of a reference that was fitted in order ([`Reference::fit_ordered`]) are whitened before they are
//! placed: the detector sees what their past did not predict. [`backtest()`] replays a history.
//!
//! [`LossDetector`] watches a regression's errors as [`DecayDetector`] does right and wrong. A [`View`] makes features of
//! what is no table: summaries of images and sounds, and by [`Neighbours`] how far a hidden layer's output lies from what
//! the model learned from.
//!
//! [`FleetWatch`] pools the profiles of many devices and tells an odd one from another world; a [`Comparison`] tells
//! whether devices with a newer model do worse than the others; a [`Selection`] says which of several models that were asked
//! the same is better than the one that serves ([`PairedLosses`]).
//!
//! Deliberately missing: clocks, input and output, threads, and any dependency on another crate of the workspace.

mod alarm;
mod alternative;
mod autoregression;
mod backtest;
mod bins;
mod blame;
mod block;
mod budget;
mod calibration;
mod category;
pub mod classic;
mod codec;
mod comparison;
mod confidence;
mod detector;
mod effect;
mod errors;
mod feature;
mod fit;
mod fleet;
mod limiter;
mod losses;
pub mod measure;
mod metrics;
mod mixture;
mod monitor;
mod neighbours;
mod normal;
pub mod outlier;
mod paired;
mod performance;
mod profile;
mod ratio;
mod reference;
mod runs;
mod sample;
mod selection;
mod summary;
mod tail;
mod verification;
mod view;
mod volatility;
mod wander;
mod whitening;

pub use alarm::{Alarm, AlarmKind, StreamEvidence};
pub use alternative::Alternative;
pub use autoregression::SEASON_MAX;
pub use backtest::{Backtest, BacktestAlarm, BacktestConfig, BacktestError, backtest};
pub use bins::{Bins, MAX_BINS};
pub use blame::{Blamed, blame};
pub use budget::{Budget, BudgetError, MAX_ARL, SECONDS_PER_YEAR};
pub use calibration::{Calibration, NO_CONCEPT_DRIFT};
pub use category::{CategorySketch, MAX_CATEGORIES, MAX_CATEGORY_BYTES};
pub use codec::DecodeError;
pub use comparison::{Comparison, Counts, log10_alarming};
pub use detector::{Detection, Detector};
pub use effect::StreamDrift;
pub use errors::ErrorSizes;
pub use feature::{CATEGORY_ROWS_MIN, Categories, FEATURE_CATEGORIES_MAX, FeatureKind};
pub use fit::{Feature, FitError, MAX_REFERENCE_ROWS, Seasons};
pub use fleet::{FLEET_LARGE, FleetChange, FleetConfig, FleetJudgement, FleetWatch};
pub use fleet::{MAX_FLEET_DEVICES, e_benjamini_hochberg};
pub use losses::{ErrorBaseline, LossDetector};
pub use metrics::{
    CALIBRATION_BINS, MAX_LABELS, MAX_SCORED_CLASSES, MAX_SEGMENT_BYTES, MAX_SEGMENTS, SCORE_BINS,
};
pub use metrics::{Estimate, Judged, OTHER_SEGMENT, Outcome, Performance, PerformanceReport, Scores};
pub use metrics::{Segment, SegmentLoss, SegmentedPerformance, Segmenter, TooManyLabels};
pub use monitor::{Memory, Monitor, MonitorConfig, MonitorError, Unsupported};
pub use neighbours::{EMBEDDING_ROWS_MIN, MAX_EMBEDDING_VALUES, MAX_EMBEDDING_WIDTH, MAX_EMBEDDINGS};
pub use neighbours::{NEIGHBOURS, Neighbours, NeighboursError};
pub use outlier::Outlier;
pub use paired::{CANDIDATES_MAX, Discordance, NotPaired, PairedLosses};
pub use performance::{DecayDetection, DecayDetector, LabelWindow, MAX_LABEL_WINDOW};
pub use profile::{MAX_OBSERVATIONS, Offender, Profile, ProfileError, StreamProfile};
pub use reference::{CONFIDENCE, MAX_CLASSES, MAX_NAME_BYTES, MAX_STREAMS, Numeric, PREDICTION};
pub use reference::{Reference, Stream, StreamKind, supported_arl};
pub use sample::{MISSING_VALUE, Rows, Sample, UNSEEN_VALUE, WRONG_TYPE_VALUE};
pub use selection::{Selection, SelectionPolicy, Standing, Verdict, decide};
pub use summary::{AUDIO_FEATURES, AUDIO_FRAME, AUDIO_FRAMES_MAX, IMAGE_FEATURES, IMAGE_PIXELS_MAX};
pub use summary::{ImageLayout, SummaryError, audio, image};
pub use verification::Verification;
pub use view::{EMBEDDING_DISTANCE, InputView, View};
