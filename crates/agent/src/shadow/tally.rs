//! What is counted of a champion's shadows: a few numbers per candidate, and one counter per combination of right and wrong.

use std::collections::BTreeMap;

use edgeward_api::device::ShadowCount;
use edgeward_core::{Digest, PredictionId};
use edgeward_model::Interpretation;
use edgeward_monitor::{ErrorBaseline, PairedLosses};

use edgeward_sdk::predicted_text;

/// Most rows that wait for their labels; the oldest are forgotten first.
pub(super) const UNLABELLED_MAX: usize = 20_000;

/// What was said of one row.
pub(super) struct Said {
    /// The champion's prediction.
    pub(super) champion: Option<String>,
    /// Each candidate's; none of one that failed.
    pub(super) shadows: Vec<Option<Interpretation>>,
}

/// The predictions of one row that wait for its label: the champion's, then each candidate's.
type Waiting = Vec<Option<String>>;

pub(super) struct Tally {
    scale: Option<ErrorBaseline>,
    losses: Option<PairedLosses>,
    counts: Vec<Count>,
    waiting: BTreeMap<PredictionId, Vec<Option<Waiting>>>,
    /// Rows of the predictions that wait.
    rows: usize,
}

#[derive(Clone, Default)]
struct Count {
    answered: u64,
    failed: u64,
    agreed: u64,
    confidence_micros: u64,
}

impl Tally {
    pub(super) fn new(candidates: usize, scale: Option<ErrorBaseline>) -> Self {
        Self {
            scale,
            losses: PairedLosses::new(candidates),
            counts: vec![Count::default(); candidates],
            waiting: BTreeMap::new(),
            rows: 0,
        }
    }

    pub(super) fn losses(&self) -> Vec<u64> {
        self.losses.clone().map(Vec::from).unwrap_or_default()
    }

    pub(super) fn counts(&self, bundles: &[Digest]) -> Vec<ShadowCount> {
        let shown = |(bundle, count): (&Digest, &Count)| ShadowCount {
            bundle: *bundle,
            staged: true,
            answered: count.answered,
            failed: count.failed,
            agreed: count.agreed,
            confidence_micros: count.confidence_micros,
            reason: None,
        };
        bundles.iter().zip(&self.counts).map(shown).collect()
    }

    /// Counts what was said of a request, and keeps it for its labels.
    pub(super) fn answered(&mut self, id: PredictionId, rows: Vec<Said>) {
        let mut waiting = Vec::with_capacity(rows.len());
        for row in rows {
            let texts = row.shadows.iter().map(|said| said.as_ref().and_then(predicted_text));
            let all: Waiting = std::iter::once(row.champion.clone()).chain(texts).collect();
            for ((count, said), text) in self.counts.iter_mut().zip(&row.shadows).zip(&all[1..]) {
                count.add(said.as_ref(), text.is_some() && *text == row.champion);
            }
            waiting.push(Some(all));
        }
        self.rows += waiting.len();
        self.waiting.insert(id, waiting);
        while self.rows > UNLABELLED_MAX {
            // Ids rise with time.
            let Some((_, oldest)) = self.waiting.pop_first() else { return };
            self.rows -= oldest.len();
        }
    }

    /// Counts one label; of a row that is not known, or was labelled before, nothing.
    pub(super) fn labelled(&mut self, id: PredictionId, row: u32, truth: &str) {
        let Some(rows) = self.waiting.get_mut(&id) else { return };
        let Some(said) = usize::try_from(row).ok().and_then(|row| rows.get_mut(row)?.take()) else { return };
        if rows.iter().all(Option::is_none) {
            self.rows -= rows.len();
            self.waiting.remove(&id);
        }
        let losses: Vec<f64> = said.iter().map(|said| loss(said.as_deref(), truth, self.scale)).collect();
        if let (Some(counts), [champion, shadows @ ..]) = (&mut self.losses, losses.as_slice()) {
            counts.observe(*champion, shadows, drawn(id, row));
        }
    }
}

impl Count {
    fn add(&mut self, said: Option<&Interpretation>, agreed: bool) {
        let Some(said) = said else {
            self.failed += 1;
            return;
        };
        self.answered += 1;
        self.agreed += u64::from(agreed);
        let confidence = said.confidence.filter(|confidence| confidence.is_finite()).unwrap_or(0.0);
        self.confidence_micros += (f64::from(confidence.clamp(0.0, 1.0)) * 1e6).round() as u64;
    }
}

/// 0 is right and 1 is wrong; an error of a number lies between by the champion's scale.
fn loss(said: Option<&str>, truth: &str, scale: Option<ErrorBaseline>) -> f64 {
    let Some(said) = said else { return 1.0 };
    let number = |text: &str| text.trim().parse::<f64>().ok();
    match (scale, number(said), number(truth)) {
        (Some(scale), Some(said), Some(truth)) => scale.loss(said - truth),
        _ => f64::from(u8::from(said != truth)),
    }
}

/// A number from 0 to 1 that follows from the row alone and nothing about the models.
fn drawn(id: PredictionId, row: u32) -> f64 {
    let digest = Digest::of_parts([b"shadow".as_slice(), id.to_string().as_bytes(), &row.to_be_bytes()]);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    (u64::from_be_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(number: u128) -> PredictionId {
        PredictionId(Uuid::from_u128(number))
    }

    fn class(name: &str) -> Interpretation {
        Interpretation { label: Some(name.to_owned()), confidence: Some(0.75), ..Interpretation::default() }
    }

    fn said(champion: &str, shadows: &[Option<&str>]) -> Said {
        let shadows = shadows.iter().map(|said| said.map(class)).collect();
        Said { champion: Some(champion.to_owned()), shadows }
    }

    #[test]
    fn a_label_counts_once_for_all_models_and_a_failure_is_wrong() {
        let mut tally = Tally::new(2, None);
        let rows = vec![said("a", &[Some("b"), None]), said("a", &[Some("a"), Some("a")])];
        tally.answered(id(1), rows);
        for _ in 0..2 {
            tally.labelled(id(1), 0, "b");
            tally.labelled(id(1), 7, "b");
            tally.labelled(id(2), 0, "b");
        }
        // The champion and the second were wrong: cell 0b101.
        assert_eq!(tally.losses(), [0, 0, 0, 0, 0, 1, 0, 0]);
        tally.labelled(id(1), 1, "a");
        assert_eq!(tally.losses(), [1, 0, 0, 0, 0, 1, 0, 0]);
        assert!(tally.waiting.is_empty());
        let bundles = [Digest::of(b"1"), Digest::of(b"2")];
        let counts = tally.counts(&bundles);
        assert_eq!((counts[0].answered, counts[0].agreed, counts[0].failed), (2, 1, 0));
        assert_eq!((counts[1].answered, counts[1].agreed, counts[1].failed), (1, 1, 1));
        assert_eq!(counts[0].confidence_micros, 1_500_000);
    }

    #[test]
    fn the_oldest_predictions_are_forgotten_first() {
        let mut tally = Tally::new(1, None);
        for number in 0..=UNLABELLED_MAX as u128 {
            tally.answered(id(number), vec![said("a", &[Some("a")])]);
        }
        assert_eq!(tally.waiting.len(), UNLABELLED_MAX);
        tally.labelled(id(0), 0, "a");
        assert_eq!(tally.losses(), [0; 4]);
        tally.labelled(id(1), 0, "a");
        assert_eq!(tally.losses(), [1, 0, 0, 0]);
    }

    #[test]
    fn errors_of_numbers_count_as_large_as_they_are() {
        let scale = ErrorBaseline { bound: 4.0, mae: 1.0, mean: 0.2, sd: 0.1, rows: 100 };
        assert!((loss(Some("3.0"), "2", Some(scale)) - 0.25).abs() < 1e-12);
        assert_eq!([loss(Some("30"), "2", Some(scale)), loss(None, "2", Some(scale))], [1.0, 1.0]);
        assert_eq!([loss(Some("a"), "a", None), loss(Some("a"), "b", None)], [0.0, 1.0]);
        let mean = (0..4_000).map(|number| drawn(id(number), 0)).sum::<f64>() / 4_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
