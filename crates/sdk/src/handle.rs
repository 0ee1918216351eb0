//! Where an app asks, and where a newer model takes over between two requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use edgeward_core::alert::AlertKind;
use edgeward_core::record::Mark;
use edgeward_core::{Digest, PredictionId};
use edgeward_model::{NamedTensor, SessionError};
use edgeward_monitor::{Alarm, AlarmKind};
use uuid::Uuid;

use crate::keepsake::{Packed, mark};
use crate::labelled::Labelled;
use crate::loaded::Loaded;
use crate::prediction::{Prediction, Table};

/// A model that is asked by any number of threads and replaced at any moment.
#[derive(Default)]
pub struct ModelHandle {
    current: ArcSwapOption<Loaded>,
}

/// A model took over.
#[derive(Clone)]
pub struct Swap {
    /// The model that served before, with the requests that still run on it.
    pub before: Option<Arc<Loaded>>,
    /// How long the exchange took: no request waits longer for it.
    pub took: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// No model is published.
    #[error("no model is serving yet; try again once one is deployed")]
    NotServing,
    /// The model did not answer.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl InferError {
    /// Whether the caller's input is to blame rather than the model.
    #[must_use]
    pub fn is_input(&self) -> bool {
        match self {
            Self::NotServing => false,
            Self::Session(error) => error.is_input(),
        }
    }
}

impl ModelHandle {
    /// A handle that serves nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves `model` from the next request on. Requests under way keep the model they began with.
    pub fn publish(&self, model: Arc<Loaded>) -> Swap {
        self.exchange(Some(model))
    }

    /// Serves nothing from the next request on.
    pub fn withdraw(&self) -> Swap {
        self.exchange(None)
    }

    fn exchange(&self, model: Option<Arc<Loaded>>) -> Swap {
        let began = Instant::now();
        let before = self.current.swap(model);
        Swap { before, took: began.elapsed() }
    }

    /// The model that serves now, pinned for as long as the caller keeps it.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Loaded>> {
        self.current.load_full()
    }

    /// Answers, and records the answer if the model is watched.
    ///
    /// # Errors
    /// Nothing serves, the input does not fit, or the model fails.
    pub fn infer(&self, inputs: Vec<NamedTensor>) -> Result<Prediction, InferError> {
        self.current().ok_or(InferError::NotServing)?.infer(inputs)
    }

    /// Takes a label of a prediction that `bundle` gave. A label of a bundle that serves no more is not counted: it says
    /// nothing about the one that does. Its record is kept all the same, if the label names its prediction.
    pub fn label(&self, bundle: Digest, label: &Labelled<'_>) -> Option<Alarm> {
        let current = self.current()?;
        if let (Some(row), Some(outbox)) = (label.of, current.outbox()) {
            outbox.labelled(row, label.truth);
        }
        (current.bundle() == bundle).then(|| current.recorder()?.label(label))?
    }
}

impl Loaded {
    /// Answers, and records the answer if the model is watched. The prediction's id is a fresh UUIDv7.
    ///
    /// # Errors
    /// The input does not fit, or the model fails.
    pub fn infer(&self, inputs: Vec<NamedTensor>) -> Result<Prediction, InferError> {
        let began = Instant::now();
        let table = Table::of(&inputs);
        // Images and the like are watched, but too large to be kept for labels.
        let flat = match (&table, self.recorder(), &inputs[..]) {
            (None, Some(_), [input]) => Table::flat(&input.tensor),
            _ => None,
        };
        let reading = match (&table, &flat, self.recorder()) {
            (None, None, Some(recorder)) => recorder.read(&self.session().signature().inputs, &inputs),
            _ => None,
        };
        let packed = self.records().map(|_| Packed::of(&inputs));
        let outputs = self.session().infer(inputs)?;
        let alarms = match self.recorder() {
            Some(recorder) => {
                let embedding = self.session().signature().roles.embedding.as_ref();
                let embedding = embedding.filter(|_| recorder.has_embedding());
                let embedding = embedding.and_then(|name| Table::flat(outputs.get(name)?));
                match &reading {
                    Some(reading) => recorder.record_reading(reading, embedding.as_ref(), &outputs.rows),
                    None => {
                        recorder.record(table.as_ref().or(flat.as_ref()), embedding.as_ref(), &outputs.rows)
                    }
                }
            }
            None => Vec::new(),
        };
        let id = PredictionId(Uuid::now_v7());
        let latency = began.elapsed();
        let keepsake = packed.zip(self.records()).map(|(packed, policy)| {
            let session = self.session();
            let named = (id, session.variant().label());
            let seen = table.as_ref().or(flat.as_ref()).or(reading.as_ref().map(|reading| &reading.table));
            packed.keep(policy, session.signature(), named, &outputs.tensors, self.marks(&alarms, seen))
        });
        let mut prediction = Prediction {
            id,
            bundle: self.bundle(),
            outputs: outputs.tensors,
            rows: outputs.rows,
            table,
            alarms,
            latency,
            trace: None,
            keepsake: keepsake.map(Box::new),
        };
        if let Some(outbox) = self.outbox() {
            outbox.answered(&mut prediction);
        }
        Ok(prediction)
    }

    /// What a record says about an answer: the alarms it raised, and impossible values whose alarm holds its peace.
    fn marks(&self, alarms: &[Alarm], seen: Option<&Table>) -> Vec<Mark> {
        let mut marks: Vec<Mark> = alarms.iter().map(mark).collect();
        if let (Some(recorder), Some(table)) = (self.recorder(), seen)
            && !alarms.iter().any(|alarm| alarm.kind == AlarmKind::Outlier)
        {
            let impossible = (0..table.rows).find_map(|row| recorder.impossible(table.row(row)));
            marks.extend(impossible.map(|(stream, message)| Mark {
                kind: AlertKind::Outlier.as_str().to_owned(),
                stream: Some(stream),
                message,
            }));
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeward_model::engine::conformance::fixture;
    use edgeward_model::{LoadOptions, RtenEngine, Tensor, onnx};

    fn loaded(version: &str) -> Arc<Loaded> {
        let mut model = fixture::classifier();
        model.set_metadata("version", version);
        let options = LoadOptions::with_threads(1);
        Arc::new(Loaded::from_onnx(&onnx::encode(&model), &RtenEngine::new(), &options).unwrap())
    }

    fn rows() -> Vec<NamedTensor> {
        vec![Tensor::from_rows(2, 4, fixture::noise(8, 1)).unwrap().named("x")]
    }

    #[test]
    fn an_answer_names_its_bundle_and_its_rows() {
        let handle = ModelHandle::new();
        assert!(matches!(handle.infer(rows()), Err(InferError::NotServing)));
        let model = loaded("1");
        assert!(handle.publish(Arc::clone(&model)).before.is_none());
        let first = handle.infer(rows()).unwrap();
        let second = handle.infer(rows()).unwrap();
        assert_eq!((first.bundle, first.rows.len()), (model.bundle(), 2));
        assert_ne!(first.id, second.id);
        assert_eq!(first.table.unwrap().row(1).len(), 4);
        let error = handle.infer(Vec::new()).unwrap_err();
        assert!(error.is_input(), "{error}");
    }

    #[test]
    fn a_pinned_model_lives_until_its_last_request_left() {
        let handle = ModelHandle::new();
        let first = loaded("1");
        let watch = Arc::downgrade(&first);
        handle.publish(first);
        let pinned = handle.current().unwrap();
        drop(handle.publish(loaded("2")));
        assert_ne!(handle.current().unwrap().bundle(), pinned.bundle());
        pinned.infer(rows()).unwrap();
        assert!(watch.upgrade().is_some());
        drop(pinned);
        assert!(watch.upgrade().is_none());
        handle.withdraw();
        assert!(handle.current().is_none());
    }

    #[test]
    fn swaps_under_load_fail_no_request() {
        let handle = ModelHandle::new();
        let models = [loaded("1"), loaded("2")];
        handle.publish(Arc::clone(&models[0]));
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let ask = || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let bundle = handle.infer(rows()).unwrap().bundle;
                    assert!(models.iter().any(|model| model.bundle() == bundle));
                }
            };
            let threads = [scope.spawn(ask), scope.spawn(ask)];
            for n in 0..2_000 {
                handle.publish(Arc::clone(&models[n % 2]));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}
