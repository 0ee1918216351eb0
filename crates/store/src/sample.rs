//! Captured samples: inputs with their prediction and, once it is known, their label.
//!
//! A sample's sequence number rises when it is first kept, when its label arrives or changes, and when it is released,
//! so a reader who pages by it misses no label however late. Only the newest [`SAMPLES_PER_MODEL_MAX`] samples of a
//! model stay. A sample that its device found impossible is held back: it is not among the labelled ones, neither in
//! pages nor in counts, until a person releases it.

use crate::engine::{Row, SqlError};
use edgeward_core::event::{SampleRef, SampleVerdict};
use edgeward_core::{DeviceId, Digest, ModelName, PredictionId, Timestamp};
use uuid::Uuid;

use crate::column::{Text, params};
use crate::database::{View, Writer};
use crate::error::StoreError;

/// Most samples kept of one model; the oldest are dropped.
pub const SAMPLES_PER_MODEL_MAX: u64 = 200_000;
/// Most samples in one page.
pub const SAMPLES_PAGE_MAX: usize = 10_000;

/// Samples are counted whenever the sequence number passes a multiple of this; so many too many may stand for a while.
const RETENTION_STRIDE: u64 = 1000;

/// A sample that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSample {
    /// The prediction.
    pub prediction: PredictionId,
    /// The row within the request's batch.
    pub row: u32,
    /// The model.
    pub model: ModelName,
    /// The bundle that answered.
    pub bundle: Digest,
    /// When, by the device's clock.
    pub at_ms: Timestamp,
    /// The input row: little-endian f32 values.
    pub features: Vec<u8>,
    /// The class or value that was predicted.
    pub predicted: Option<String>,
    /// The truth, once known; none leaves a label that is there.
    pub label: Option<String>,
    /// Why its device finds it impossible; none leaves a suspicion that is there.
    pub suspicion: Option<String>,
}

/// A sample as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleRow {
    /// Its place in the order of arrival; see the module's documentation.
    pub seq: u64,
    /// The device.
    pub device: DeviceId,
    /// When the sample or its label was received.
    pub received_at_ms: Timestamp,
    /// Digest of the input row: equal inputs have equal digests.
    pub row_digest: Digest,
    /// The sample.
    pub sample: NewSample,
}

impl SampleRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        let sample = NewSample {
            prediction: PredictionId(row.get::<Text<Uuid>>(4)?.0),
            row: row.get(5)?,
            model: row.get::<Text<_>>(6)?.0,
            bundle: row.get::<Text<_>>(7)?.0,
            at_ms: Timestamp(row.get(8)?),
            features: row.get(9)?,
            predicted: row.get(10)?,
            label: row.get(11)?,
            suspicion: row.get(12)?,
        };
        Ok(Self {
            seq: row.get(0)?,
            device: row.get::<Text<_>>(1)?.0,
            received_at_ms: Timestamp(row.get(2)?),
            row_digest: row.get::<Text<_>>(3)?.0,
            sample,
        })
    }
}

/// Columns of a sample, in the order of [`SampleRow::read`].
const COLUMNS: &str = "seq, device, received_at_ms, row_digest, prediction, row, model, bundle, at_ms, features, \
                       predicted, label, suspicion";
/// What makes a sample one to learn from.
const FREE: &str = "label IS NOT NULL AND (suspicion IS NULL OR verdict = 'released')";

impl View<'_> {
    /// How many samples of `model` got their label at or after `since`, by the control plane's clock.
    ///
    /// # Errors
    /// The database fails.
    pub fn count_labelled_since(&self, model: &ModelName, since: Timestamp) -> Result<u64, StoreError> {
        let sql =
            format!("SELECT count(*) FROM samples WHERE model = ?1 AND {FREE} AND received_at_ms >= ?2");
        let count =
            self.row("counting labelled samples", &sql, params![Text(model), since.0], |row| row.get(0))?;
        Ok(count.unwrap_or(0))
    }

    /// Labelled samples of `model` after sequence number `after`, in order; at most [`SAMPLES_PAGE_MAX`].
    /// Numbers start at 1, so 0 asks for the first page.
    ///
    /// # Errors
    /// The database fails.
    pub fn labelled_samples(
        &self,
        model: &ModelName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<SampleRow>, StoreError> {
        self.rows(
            "reading labelled samples",
            &format!(
                "SELECT {COLUMNS} FROM samples WHERE model = ?1 AND {FREE} AND seq > ?2 ORDER BY seq LIMIT ?3"
            ),
            params![Text(model), after, limit.min(SAMPLES_PAGE_MAX)],
            SampleRow::read,
        )
    }

    /// Samples of `model` that are held back until a person decides, in order; at most [`SAMPLES_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn held_samples(&self, model: &ModelName, limit: usize) -> Result<Vec<SampleRow>, StoreError> {
        self.rows(
            "reading samples that are held back",
            &format!(
                "SELECT {COLUMNS} FROM samples
                 WHERE model = ?1 AND suspicion IS NOT NULL AND verdict IS NULL ORDER BY seq LIMIT ?2"
            ),
            params![Text(model), limit.min(SAMPLES_PAGE_MAX)],
            SampleRow::read,
        )
    }
}

/// What is known of a sample that is there.
struct Known {
    label: Option<String>,
    suspicion: Option<String>,
    verdict: Option<String>,
}

impl Known {
    /// Whether `sample` brings a label or a suspicion that is new.
    fn learns_from(&self, sample: &NewSample) -> bool {
        sample.label.is_some() && self.label != sample.label
            || sample.suspicion.is_some() && self.suspicion != sample.suspicion
    }
}

impl Writer<'_> {
    /// Keeps samples of `device`, each once by `(prediction, row)`. One that is there already takes a label that is
    /// new to it. Returns how many were new or newly labelled.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_samples(
        &self,
        device: &DeviceId,
        samples: &[NewSample],
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.put_samples_keeping(device, samples, now, SAMPLES_PER_MODEL_MAX)
    }

    fn put_samples_keeping(
        &self,
        device: &DeviceId,
        samples: &[NewSample],
        now: Timestamp,
        keep: u64,
    ) -> Result<usize, StoreError> {
        let mut changed = 0;
        for sample in samples {
            if self.is_forgotten(device, sample.prediction)? {
                continue;
            }
            let known = self.known_label(device, sample)?;
            let news = known.as_ref().is_none_or(|known| known.learns_from(sample));
            if news {
                let seq = self.replace_sample(device, sample, known, now)?;
                changed += 1;
                if seq.is_multiple_of(RETENTION_STRIDE) {
                    self.drop_oldest_of_every_model(keep)?;
                }
            }
        }
        Ok(changed)
    }

    /// What is known of a sample that is there; none if it is not there.
    fn known_label(&self, device: &DeviceId, sample: &NewSample) -> Result<Option<Known>, StoreError> {
        self.row(
            "looking for a sample",
            "SELECT label, suspicion, verdict FROM samples WHERE device = ?1 AND prediction = ?2 AND row = ?3",
            params![Text(device), Text(sample.prediction), sample.row],
            |row| Ok(Known { label: row.get(0)?, suspicion: row.get(1)?, verdict: row.get(2)? }),
        )
    }

    /// Sets what becomes of samples that are held back, and gives those that are released a new place in the order. One
    /// that is not there any more, or was decided in this way before, stays as it is.
    pub(crate) fn judge_samples(
        &self,
        samples: &[SampleRef],
        verdict: SampleVerdict,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "DELETE FROM samples WHERE device = ?1 AND prediction = ?2 AND row = ?3 AND suspicion IS NOT NULL
                AND verdict IS DISTINCT FROM ?4 RETURNING {COLUMNS}"
        );
        for SampleRef { device, prediction, row } in samples {
            let held = self.row(
                "deciding about a sample",
                &sql,
                params![Text(device), Text(prediction), row, verdict.as_str()],
                SampleRow::read,
            )?;
            if let Some(held) = held {
                self.insert_sample(device, &held.sample, Some(verdict.as_str()), at)?;
            }
        }
        Ok(())
    }

    /// Puts `sample` in the place of what is known of it; returns its new sequence number.
    fn replace_sample(
        &self,
        device: &DeviceId,
        sample: &NewSample,
        known: Option<Known>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let Some(known) = known else { return self.insert_sample(device, sample, None, now) };
        self.execute(
            "replacing a sample",
            "DELETE FROM samples WHERE device = ?1 AND prediction = ?2 AND row = ?3",
            params![Text(device), Text(sample.prediction), sample.row],
        )?;
        let merged = NewSample {
            label: sample.label.clone().or(known.label),
            suspicion: sample.suspicion.clone().or(known.suspicion),
            ..sample.clone()
        };
        self.insert_sample(device, &merged, known.verdict.as_deref(), now)
    }

    /// Returns the sample's sequence number.
    fn insert_sample(
        &self,
        device: &DeviceId,
        sample: &NewSample,
        verdict: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let NewSample { prediction, row, model, bundle, at_ms, features, predicted, label, suspicion } =
            sample;
        let seq = self.row(
            "keeping a sample",
            "INSERT INTO samples
             (device, prediction, row, model, bundle, at_ms, received_at_ms, features, row_digest, predicted, label,
              suspicion, verdict)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) RETURNING seq",
            params![
                Text(device),
                Text(prediction),
                row,
                Text(model),
                Text(bundle),
                at_ms.0,
                now.0,
                features,
                Text(Digest::of(features)),
                predicted,
                label,
                suspicion,
                verdict
            ],
            |row| row.get(0),
        )?;
        Ok(seq.unwrap_or(0))
    }

    fn drop_oldest_of_every_model(&self, keep: u64) -> Result<(), StoreError> {
        const SQL: &str = "SELECT DISTINCT model FROM samples";
        let models: Vec<ModelName> =
            self.rows("reading the sampled models", SQL, &[], |row| Ok(row.get::<Text<_>>(0)?.0))?;
        models.iter().try_for_each(|model| self.drop_oldest_samples(model, keep).map(|_| ()))
    }

    /// Drops all but the newest `keep` samples of `model`; returns how many were dropped.
    ///
    /// # Errors
    /// The database fails.
    pub fn drop_oldest_samples(&self, model: &ModelName, keep: u64) -> Result<usize, StoreError> {
        self.execute(
            "dropping old samples",
            "DELETE FROM samples WHERE model = ?1 AND seq <=
             (SELECT seq FROM samples WHERE model = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
            params![Text(model), keep],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Store;

    fn sample(n: u64, model: &str) -> NewSample {
        NewSample {
            prediction: PredictionId(Uuid::from_u64_pair(0, n)),
            row: 0,
            model: ModelName::new(model).unwrap(),
            bundle: Digest::of(b"bundle"),
            at_ms: Timestamp(0),
            features: Vec::new(),
            predicted: None,
            label: Some("3".into()),
            suspicion: None,
        }
    }

    #[test]
    fn what_is_held_back_is_not_learned_from_until_a_person_releases_it() {
        let store = Store::in_memory().unwrap();
        let (device, model) = (DeviceId::new("d1").unwrap(), ModelName::new("oil").unwrap());
        let held = |n| NewSample { suspicion: Some("impossible".into()), ..sample(n, "oil") };
        let put = |samples: &[NewSample]| {
            store
                .write::<_, StoreError>(|writer| writer.put_samples(&device, samples, Timestamp(5)))
                .unwrap();
        };
        put(&[sample(1, "oil"), held(2), held(3), NewSample { label: None, ..held(4) }]);
        put(&[sample(4, "oil")]);
        let free = || -> Vec<u64> {
            let rows = store.read::<_, StoreError>(|view| view.labelled_samples(&model, 0, 10)).unwrap();
            let count = store.read::<_, StoreError>(|view| view.count_labelled_since(&model, Timestamp(0)));
            assert_eq!(count.unwrap(), rows.len() as u64);
            rows.iter().map(|row| row.sample.prediction.0.as_u64_pair().1).collect()
        };
        let waiting = || store.read::<_, StoreError>(|view| view.held_samples(&model, 10)).unwrap().len();
        assert_eq!((free(), waiting()), (vec![1], 3));
        let judge = |n: u64, verdict| {
            let sample = sample(n, "oil");
            let which = SampleRef { device: device.clone(), prediction: sample.prediction, row: 0 };
            let event = edgeward_core::Event::SamplesJudged {
                model: model.clone(),
                samples: vec![which],
                verdict,
                cause: "checked".into(),
            };
            store.write::<_, StoreError>(|writer| writer.append(event, Timestamp(9))).unwrap();
        };
        judge(2, SampleVerdict::Released);
        judge(3, SampleVerdict::Discarded);
        assert_eq!((free(), waiting()), (vec![1, 2], 1));
        put(&[held(3), held(2)]);
        judge(77, SampleVerdict::Released);
        assert_eq!((free(), waiting()), (vec![1, 2], 1));
        judge(3, SampleVerdict::Released);
        assert_eq!(free(), [1, 2, 3]);
    }

    #[test]
    fn the_oldest_samples_of_every_model_are_dropped() {
        const KEEP: u64 = 100;
        let store = Store::in_memory().unwrap();
        let device = DeviceId::new("d1").unwrap();
        let samples: Vec<_> = (1..=3 * RETENTION_STRIDE)
            .map(|n| sample(n, if n.is_multiple_of(2) { "even" } else { "odd" }))
            .collect();
        let put = |writer: &Writer<'_>| writer.put_samples_keeping(&device, &samples, Timestamp(0), KEEP);
        assert_eq!(store.write::<_, StoreError>(put).unwrap(), samples.len());
        for (model, newest) in [("even", 3 * RETENTION_STRIDE), ("odd", 3 * RETENTION_STRIDE - 1)] {
            let model = ModelName::new(model).unwrap();
            let kept = store.read::<_, StoreError>(|view| view.labelled_samples(&model, 0, 10_000)).unwrap();
            assert_eq!((kept.len() as u64, kept.last().unwrap().seq), (KEEP, newest));
        }
    }
}
