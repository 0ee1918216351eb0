//! The predictions a device gave lately, so that a label that arrives late finds its input.
//!
//! One record per answered request (its rows, what was predicted, which bundle), one per label; both with a single
//! `write(2)`, so that a killed agent still joins labels for what it answered before. In memory stands only where each
//! prediction is. Bounded by [`JOURNAL_PREDICTIONS_MAX`] and [`JOURNAL_BYTES_MAX`]: the oldest segment goes first.
//! A row is labelled once; the same label again changes nothing.
//!
//! Deliberately missing: fsync. A power cut may lose the last moments' predictions; labels for them are then unknown.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use edgeward_core::{Digest, ModelName, PredictionId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::durable::DurableError;
use crate::segments::{Place, SEGMENT_BYTES_MAX, Segments};

/// Most predictions kept.
pub const JOURNAL_PREDICTIONS_MAX: usize = 100_000;
/// Most bytes kept.
pub const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// One answered request.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The prediction.
    pub id: PredictionId,
    /// The model.
    pub model: ModelName,
    /// The bundle that answered.
    pub bundle: Digest,
    /// When.
    pub at_ms: Timestamp,
    /// What was predicted, per row; none where the model does not say.
    pub predicted: Vec<Option<String>>,
    /// Values per row; 0 if the input was no table or too wide to keep.
    pub width: usize,
    /// `rows x width` input values.
    pub values: Vec<f32>,
}

/// One row of an [`Entry`].
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The model.
    pub model: ModelName,
    /// The bundle that answered.
    pub bundle: Digest,
    /// When.
    pub at_ms: Timestamp,
    /// What was predicted.
    pub predicted: Option<String>,
    /// The input values; empty if they were not kept.
    pub values: Vec<f32>,
}

/// Looking up a row that is to be labelled.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// Here it is.
    Found(Box<Row>),
    /// It has a label already.
    Labelled,
    /// The prediction is not known, or not any more.
    UnknownPrediction,
    /// The prediction has fewer rows.
    UnknownRow {
        /// How many it has.
        rows: usize,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Header {
    Prediction {
        id: PredictionId,
        model: ModelName,
        bundle: Digest,
        at_ms: Timestamp,
        predicted: Vec<Option<String>>,
        width: usize,
    },
    Label {
        id: PredictionId,
        row: u32,
    },
}

/// Predictions waiting for labels.
#[derive(Debug)]
pub struct Journal {
    log: Segments,
    places: HashMap<Uuid, Place>,
    labelled: HashSet<(Uuid, u32)>,
    predictions_max: usize,
    bytes_max: u64,
}

impl Journal {
    /// Opens or begins the journal in `folder`.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: &Path, predictions_max: usize, bytes_max: u64) -> Result<Self, DurableError> {
        let mut places = HashMap::new();
        let mut labelled = HashSet::new();
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(bytes_max / 8).max(1);
        let log = Segments::open(folder, segment_bytes_max, |place, _, payload| match decode(payload) {
            Some((Header::Prediction { id, .. }, _)) => {
                places.insert(id.0, place);
            }
            Some((Header::Label { id, row }, _)) => {
                labelled.insert((id.0, row));
            }
            None => {}
        })?;
        labelled.retain(|(id, _)| places.contains_key(id));
        Ok(Self { log, places, labelled, predictions_max, bytes_max })
    }

    /// Remembers an answered request.
    ///
    /// # Errors
    /// The disk refuses it; the prediction is then unknown later.
    pub fn record(&mut self, entry: Entry) -> Result<(), DurableError> {
        let Entry { id, model, bundle, at_ms, predicted, width, values } = entry;
        let header = Header::Prediction { id, model, bundle, at_ms, predicted, width };
        let (_, place) = self.log.append(&encode(&header, &values))?;
        self.places.insert(id.0, place);
        self.make_room()
    }

    /// The row `row` of prediction `id`.
    #[must_use]
    pub fn look_up(&self, id: PredictionId, row: u32) -> Lookup {
        if self.labelled.contains(&(id.0, row)) {
            return Lookup::Labelled;
        }
        let Some(entry) = self.entry(id) else { return Lookup::UnknownPrediction };
        let index = row as usize;
        let Some(predicted) = entry.predicted.get(index) else {
            return Lookup::UnknownRow { rows: entry.predicted.len() };
        };
        let Entry { model, bundle, at_ms, width, .. } = &entry;
        let values = entry.values.get(index * width..(index + 1) * width).unwrap_or_default().to_vec();
        let (model, bundle, at_ms, predicted) = (model.clone(), *bundle, *at_ms, predicted.clone());
        Lookup::Found(Box::new(Row { model, bundle, at_ms, predicted, values }))
    }

    /// Takes a row for one label, in memory only, so that a second label for it finds it taken.
    pub fn claim(&mut self, id: PredictionId, row: u32) {
        self.labelled.insert((id.0, row));
    }

    /// Gives a claimed row back.
    pub fn release(&mut self, id: PredictionId, row: u32) {
        self.labelled.remove(&(id.0, row));
    }

    /// Remembers that a row has its label.
    ///
    /// # Errors
    /// The disk refuses; the row may then be labelled again.
    pub fn mark_labelled(&mut self, id: PredictionId, row: u32) -> Result<(), DurableError> {
        self.labelled.insert((id.0, row));
        self.log.append(&encode(&Header::Label { id, row }, &[]))?;
        self.make_room()
    }

    /// Predictions that can still be labelled.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no prediction is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn entry(&self, id: PredictionId) -> Option<Entry> {
        let payload = self.log.read(*self.places.get(&id.0)?)?;
        match decode(&payload)? {
            (Header::Prediction { id, model, bundle, at_ms, predicted, width }, values) => {
                Some(Entry { id, model, bundle, at_ms, predicted, width, values })
            }
            (Header::Label { .. }, _) => None,
        }
    }

    fn make_room(&mut self) -> Result<(), DurableError> {
        while self.places.len() > self.predictions_max || self.log.bytes() > self.bytes_max {
            let Some(dropped) = self.log.drop_oldest()? else { return Ok(()) };
            self.places.retain(|_, place| place.segment != dropped.segment);
            let places = &self.places;
            self.labelled.retain(|(id, _)| places.contains_key(id));
        }
        Ok(())
    }
}

/// Length of the header as u32, the header as JSON, the values as f32; little-endian.
fn encode(header: &Header, values: &[f32]) -> Vec<u8> {
    let header = serde_json::to_vec(header).expect("names, numbers and texts always have a JSON form");
    let mut bytes = Vec::with_capacity(4 + header.len() + 4 * values.len());
    bytes.extend_from_slice(&u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

fn decode(payload: &[u8]) -> Option<(Header, Vec<f32>)> {
    let (len, rest) = payload.split_first_chunk::<4>()?;
    let (header, values) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let header = serde_json::from_slice(header).ok()?;
    let (values, _) = values.as_chunks::<4>();
    Some((header, values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> PredictionId {
        PredictionId(Uuid::from_u128(n))
    }

    fn entry(n: u128) -> Entry {
        Entry {
            id: id(n),
            model: ModelName::new("digits").unwrap(),
            bundle: Digest::of(b"bundle"),
            at_ms: Timestamp(n as i64),
            predicted: vec![Some("3".into()), None],
            width: 2,
            values: vec![1.0, f32::NEG_INFINITY, 3.0, 4.0],
        }
    }

    fn open(folder: &Path) -> Journal {
        Journal::open(folder, 50, 1 << 20).unwrap()
    }

    #[test]
    fn a_label_finds_its_row_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).record(entry(1)).unwrap();
        let journal = open(folder.path());
        let Lookup::Found(row) = journal.look_up(id(1), 0) else { panic!("not found") };
        assert_eq!((row.predicted.as_deref(), row.values), (Some("3"), vec![1.0, f32::NEG_INFINITY]));
        let Lookup::Found(row) = journal.look_up(id(1), 1) else { panic!("not found") };
        assert_eq!((row.predicted, row.values), (None, vec![3.0, 4.0]));
        assert_eq!(journal.look_up(id(1), 2), Lookup::UnknownRow { rows: 2 });
        assert_eq!(journal.look_up(id(2), 0), Lookup::UnknownPrediction);
    }

    #[test]
    fn a_row_is_labelled_once_even_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        journal.record(entry(1)).unwrap();
        journal.mark_labelled(id(1), 0).unwrap();
        assert_eq!(journal.look_up(id(1), 0), Lookup::Labelled);
        drop(journal);
        let journal = open(folder.path());
        assert_eq!(journal.look_up(id(1), 0), Lookup::Labelled);
        assert!(matches!(journal.look_up(id(1), 1), Lookup::Found(_)));
    }

    #[test]
    fn it_stays_inside_its_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 1_000_000, 20_000).unwrap();
        for n in 0..1_000 {
            journal.record(entry(n)).unwrap();
            journal.mark_labelled(id(n), 0).unwrap();
        }
        assert!(journal.log.bytes() <= 20_000);
        assert!(journal.len() < 100 && journal.labelled.len() <= journal.len());
        assert_eq!(journal.look_up(id(999), 0), Lookup::Labelled);
        assert_eq!(journal.look_up(id(0), 0), Lookup::UnknownPrediction);
    }

    #[test]
    fn values_too_wide_to_keep_leave_the_label_countable() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        journal.record(Entry { width: 0, values: Vec::new(), ..entry(1) }).unwrap();
        let Lookup::Found(row) = journal.look_up(id(1), 0) else { panic!("not found") };
        assert!(row.values.is_empty() && row.predicted.is_some());
    }
}
