//! The predictions a device gave lately, so that a label that arrives late finds its input.
//!
//! One record per answered request (its rows, what was predicted, which bundle), one per label, written with `write(2)`, so that a
//! killed agent still joins labels for what it had written before. In memory stands only where each
//! block of predictions is. Bounded by [`JOURNAL_PREDICTIONS_MAX`] and [`JOURNAL_BYTES_MAX`]: the oldest segment goes
//! first, and so does one whose predictions are all older than [`LABEL_AGE_MAX`]. A row is labelled once; the same label
//! again changes nothing.
//!
//! Deliberately missing: fsync. A power cut may lose the last moments' predictions; labels for them are then unknown.

mod index;

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgeward_core::{Digest, ModelName, PredictionId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::index::Index;
use crate::disk::OsDisk;
use crate::durable::DurableError;
use crate::segments::{Place, SEGMENT_BYTES_MAX, Segments};

/// Most predictions kept.
pub const JOURNAL_PREDICTIONS_MAX: usize = 100_000;
/// Most bytes kept.
pub const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// Oldest prediction that a label still joins.
pub const LABEL_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the header of one row's answer fits into.
const HEADER_BYTES: usize = 512;

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
    /// Probabilities per row: one per class, or 1 for that of the predicted class; 0 if the model gave none.
    pub scored: usize,
    /// `rows x scored` probabilities.
    pub scores: Vec<f32>,
}

/// An [`Entry`] as it stands in the journal.
pub struct Written {
    id: PredictionId,
    at_ms: Timestamp,
    record: Vec<u8>,
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
    /// The probabilities; empty if the model gave none.
    pub scores: Vec<f32>,
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
        #[serde(default)]
        scored: usize,
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
    index: Index,
    /// When the latest prediction of each segment was given.
    latest: BTreeMap<u64, Timestamp>,
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
        let mut index = Index::default();
        let mut latest = BTreeMap::new();
        let mut labelled = HashSet::new();
        let segment_bytes_max = SEGMENT_BYTES_MAX.min(bytes_max / 8).max(1);
        let log =
            Segments::open(Arc::new(OsDisk), folder, segment_bytes_max, |place, _, payload| {
                match decode(payload) {
                    Some((Header::Prediction { id, at_ms, .. }, _)) => {
                        index.add(id.0, place);
                        note(&mut latest, place, at_ms);
                    }
                    Some((Header::Label { id, row }, _)) => {
                        labelled.insert((id.0, row));
                    }
                    None => {}
                }
            })?;
        let oldest = index.oldest();
        labelled.retain(|(id, _)| oldest.is_some_and(|oldest| oldest <= *id));
        let log = log.fleeting();
        Ok(Self { log, index, latest, labelled, predictions_max, bytes_max })
    }

    /// Remembers answered requests.
    ///
    /// # Errors
    /// The disk refuses them; the predictions are then unknown later.
    pub fn record(&mut self, entries: &[Written]) -> Result<(), DurableError> {
        let records: Vec<&[u8]> = entries.iter().map(|entry| entry.record.as_slice()).collect();
        let places = match self.log.append_all(&records) {
            // It remembers for a while what others have to keep: it gives way first.
            Err(error) if error.is_full() && self.drop_oldest()? => self.log.append_all(&records)?,
            appended => appended?,
        };
        for (entry, place) in entries.iter().zip(places) {
            self.index.add(entry.id.0, place);
            note(&mut self.latest, place, entry.at_ms);
        }
        entries.last().map_or(Ok(()), |last| self.make_room(last.at_ms))
    }

    /// The row `row` of prediction `id`, at `now`.
    #[must_use]
    pub fn look_up(&self, id: PredictionId, row: u32, now: Timestamp) -> Lookup {
        if self.labelled.contains(&(id.0, row)) {
            return Lookup::Labelled;
        }
        let entry = self.entry(id).filter(|entry| now.since(entry.at_ms) <= LABEL_AGE_MAX);
        let Some(entry) = entry else { return Lookup::UnknownPrediction };
        let index = row as usize;
        let Some(predicted) = entry.predicted.get(index) else {
            return Lookup::UnknownRow { rows: entry.predicted.len() };
        };
        let part =
            |of: &[f32], len: usize| of.get(index * len..(index + 1) * len).unwrap_or_default().to_vec();
        Lookup::Found(Box::new(Row {
            model: entry.model.clone(),
            bundle: entry.bundle,
            at_ms: entry.at_ms,
            predicted: predicted.clone(),
            values: part(&entry.values, entry.width),
            scores: part(&entry.scores, entry.scored),
        }))
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
    pub fn mark_labelled(&mut self, id: PredictionId, row: u32, now: Timestamp) -> Result<(), DurableError> {
        self.labelled.insert((id.0, row));
        self.log.append(&encode(&Header::Label { id, row }, &[], &[]))?;
        self.make_room(now)
    }

    /// Predictions that can still be labelled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no prediction is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of a prediction; none if nothing is, or not any more.
    #[must_use]
    pub fn entry(&self, wanted: PredictionId) -> Option<Entry> {
        self.index.may_hold(wanted.0).find_map(|block| {
            let mut left = block.len;
            let mut found = None;
            self.log.scan_from(block.place, |payload| {
                let entry = entry(payload);
                left -= u32::from(entry.is_some());
                found = entry.filter(|entry| entry.id == wanted);
                if found.is_some() || left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            found
        })
    }

    fn make_room(&mut self, now: Timestamp) -> Result<(), DurableError> {
        while self.index.len() > self.predictions_max
            || self.log.bytes() > self.bytes_max
            || self.is_stale(now)
        {
            if !self.drop_oldest()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Forgets the oldest segment; false if there is none to spare.
    fn drop_oldest(&mut self) -> Result<bool, DurableError> {
        let Some(dropped) = self.log.drop_oldest()? else { return Ok(false) };
        self.latest.remove(&dropped.segment);
        self.index.drop_segment(dropped.segment);
        let oldest = self.index.oldest();
        self.labelled.retain(|(id, _)| oldest.is_some_and(|oldest| oldest <= *id));
        Ok(true)
    }
}

impl Journal {
    /// Whether no label can come any more for the oldest segment that holds predictions, though newer ones exist.
    fn is_stale(&self, now: Timestamp) -> bool {
        let oldest = self.latest.first_key_value().filter(|_| self.latest.len() > 1);
        oldest.is_some_and(|(_, latest)| now.since(*latest) > LABEL_AGE_MAX)
    }
}

/// The prediction in a record; none in one that holds something else.
fn entry(payload: &[u8]) -> Option<Entry> {
    match decode(payload)? {
        (Header::Prediction { id, model, bundle, at_ms, predicted, width, scored }, mut values) => {
            let scores = values.split_off(values.len().min(predicted.len() * width));
            Some(Entry { id, model, bundle, at_ms, predicted, width, values, scored, scores })
        }
        (Header::Label { .. }, _) => None,
    }
}

fn note(latest: &mut BTreeMap<u64, Timestamp>, place: Place, at: Timestamp) {
    let known = latest.entry(place.segment).or_insert(at);
    *known = at.max(*known);
}

impl Written {
    /// Its bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it has a header at least")]
    pub const fn len(&self) -> usize {
        self.record.len()
    }
}

/// Length of the header as u32, the header as JSON, the values and the scores as f32; little-endian.
impl Entry {
    /// The entry as it is to stand in the journal.
    #[must_use]
    pub fn written(self) -> Written {
        let Self { id, model, bundle, at_ms, predicted, width, values, scored, scores } = self;
        let header = Header::Prediction { id, model, bundle, at_ms, predicted, width, scored };
        Written { id, at_ms, record: encode(&header, &values, &scores) }
    }
}

fn encode(header: &Header, values: &[f32], scores: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 4 * (values.len() + scores.len()));
    bytes.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut bytes, header).expect("names, numbers and texts always have a JSON form");
    let header_len = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&header_len.to_le_bytes());
    bytes.extend(values.iter().chain(scores).flat_map(|value| value.to_le_bytes()));
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

    const NOW: Timestamp = Timestamp(2_000);

    fn id(n: u128) -> PredictionId {
        PredictionId(Uuid::from_u128(n))
    }

    fn given(n: u128) -> Entry {
        Entry {
            id: id(n),
            model: ModelName::new("digits").unwrap(),
            bundle: Digest::of(b"bundle"),
            at_ms: Timestamp(n as i64),
            predicted: vec![Some("3".into()), None],
            width: 2,
            values: vec![1.0, f32::NEG_INFINITY, 3.0, 4.0],
            scored: 3,
            scores: vec![0.1, 0.2, 0.7, 0.3, 0.3, 0.4],
        }
    }

    fn open(folder: &Path) -> Journal {
        Journal::open(folder, 50, 1 << 20).unwrap()
    }

    #[test]
    fn a_label_finds_its_row_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).record(&[given(1).written()]).unwrap();
        let journal = open(folder.path());
        let Lookup::Found(row) = journal.look_up(id(1), 0, NOW) else { panic!("not found") };
        assert_eq!((row.predicted.as_deref(), row.values), (Some("3"), vec![1.0, f32::NEG_INFINITY]));
        assert_eq!(row.scores, [0.1, 0.2, 0.7]);
        let Lookup::Found(row) = journal.look_up(id(1), 1, NOW) else { panic!("not found") };
        assert_eq!((row.predicted, row.values, row.scores), (None, vec![3.0, 4.0], vec![0.3, 0.3, 0.4]));
        assert_eq!(journal.look_up(id(1), 2, NOW), Lookup::UnknownRow { rows: 2 });
        assert_eq!(journal.look_up(id(2), 0, NOW), Lookup::UnknownPrediction);
    }

    #[test]
    fn a_row_is_labelled_once_even_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        journal.record(&[given(1).written()]).unwrap();
        journal.mark_labelled(id(1), 0, NOW).unwrap();
        assert_eq!(journal.look_up(id(1), 0, NOW), Lookup::Labelled);
        drop(journal);
        let journal = open(folder.path());
        assert_eq!(journal.look_up(id(1), 0, NOW), Lookup::Labelled);
        assert!(matches!(journal.look_up(id(1), 1, NOW), Lookup::Found(_)));
    }

    #[test]
    fn it_stays_inside_its_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 1_000_000, 20_000).unwrap();
        for n in 0..1_000 {
            journal.record(&[given(n).written()]).unwrap();
            journal.mark_labelled(id(n), 0, NOW).unwrap();
        }
        assert!(journal.log.bytes() <= 20_000);
        assert!(journal.len() < 100 && journal.labelled.len() <= journal.len());
        assert_eq!(journal.look_up(id(999), 0, NOW), Lookup::Labelled);
        assert_eq!(journal.look_up(id(0), 0, NOW), Lookup::UnknownPrediction);
    }

    #[test]
    fn a_label_may_come_thirty_days_late_and_no_later() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        journal.record(&[given(1).written()]).unwrap();
        let last = Timestamp(1) + LABEL_AGE_MAX;
        assert!(matches!(journal.look_up(id(1), 0, last), Lookup::Found(_)));
        let late = last + Duration::from_millis(1);
        assert_eq!(journal.look_up(id(1), 0, late), Lookup::UnknownPrediction);
    }

    #[test]
    fn segments_without_hope_of_a_label_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 1_000, 8_000).unwrap();
        // A segment holds an eighth of the bytes: a few entries.
        (0..12).for_each(|n| journal.record(&[given(n).written()]).unwrap());
        let before = journal.len();
        assert!(before == 12 && journal.latest.len() > 2);
        let late = Timestamp(100) + LABEL_AGE_MAX;
        journal.record(&[Entry { at_ms: late, ..given(100) }.written()]).unwrap();
        assert!(journal.len() < before && journal.latest.len() <= 2, "{}", journal.len());
        assert!(matches!(journal.look_up(id(100), 0, late), Lookup::Found(_)));
        drop(journal);
        let journal = Journal::open(folder.path(), 1_000, 8_000).unwrap();
        assert_eq!(journal.latest.last_key_value().map(|(_, at)| *at), Some(late));
    }

    #[test]
    fn what_an_earlier_build_wrote_is_read() {
        let header = r#"{"is":"prediction","id":"00000000-0000-0000-0000-000000000001","model":"digits","bundle":"BUNDLE","at_ms":1,"predicted":["3"],"width":2}"#;
        let header = header.replace("BUNDLE", &Digest::of(b"bundle").to_string());
        let mut bytes = u32::try_from(header.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend([1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()));
        let Some((Header::Prediction { scored, width, .. }, values)) = decode(&bytes) else {
            panic!("unread")
        };
        assert_eq!((scored, width, values), (0, 2, vec![1.0, 2.0]));
    }

    #[test]
    fn values_too_wide_to_keep_leave_the_label_countable() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = open(folder.path());
        journal.record(&[Entry { width: 0, values: Vec::new(), ..given(1) }.written()]).unwrap();
        let Lookup::Found(row) = journal.look_up(id(1), 0, NOW) else { panic!("not found") };
        assert!(row.values.is_empty() && row.predicted.is_some());
    }
}
