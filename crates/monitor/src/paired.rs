//! How a champion and its shadows did on the same requests: counts that merge by addition and lose nothing that a
//! comparison of any two of them needs.
//!
//! Each labelled request falls into one of `2^(k + 1)` cells by which of the models were wrong. A loss between right and
//! wrong, such as the error of a regression as a share of what is tolerated, is rounded to one of the two by a number that
//! is drawn once per request and the same for every model: the expected difference of any two stays what it was, and two
//! models that lose alike are counted alike.
//!
//! Deliberately missing: which request it was, and when.

use serde::{Deserialize, Serialize};

/// Most candidates beside one champion.
pub const CANDIDATES_MAX: usize = 4;

/// Counts of labelled requests by which of the models were wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct PairedLosses {
    /// Bit 0 of a cell's index is the champion's, bit `i + 1` that of candidate `i`.
    cells: Vec<u64>,
}

/// Counts of another number of models, or of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} counts are not those of a champion and 1 to {CANDIDATES_MAX} candidates; they are 4, 8, 16 or 32"
)]
pub struct NotPaired {
    /// How many there are.
    found: usize,
}

/// Of two models: how often only one of them was wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discordance {
    /// All labelled requests.
    pub labels: u64,
    /// Only the second was wrong: the first wins.
    pub wins: u64,
    /// Only the first was wrong.
    pub losses: u64,
}

impl PairedLosses {
    /// Nothing counted yet; none for a number of candidates outside 1 to [`CANDIDATES_MAX`].
    #[must_use]
    pub fn new(candidates: usize) -> Option<Self> {
        (1..=CANDIDATES_MAX).contains(&candidates).then(|| Self { cells: vec![0; 2 << candidates] })
    }

    /// The number of candidates.
    #[must_use]
    pub const fn candidates(&self) -> usize {
        self.cells.len().ilog2() as usize - 1
    }

    /// Counts one labelled request: the champion's loss and those of the candidates, 0 to 1 each, and a number that was
    /// drawn evenly from 0 to 1 for this request. What is no loss counts as wrong; a candidate without one, too.
    pub fn observe(&mut self, champion: f64, candidates: &[f64], drawn: f64) {
        let is_wrong = |loss: f64| loss.is_nan() || loss > drawn || loss >= 1.0;
        let mut cell = usize::from(is_wrong(champion));
        for candidate in 0..self.candidates() {
            let loss = candidates.get(candidate).copied().unwrap_or(1.0);
            cell |= usize::from(is_wrong(loss)) << (candidate + 1);
        }
        self.cells[cell] = self.cells[cell].saturating_add(1);
    }

    /// Both together; none if they count different numbers of models.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let both = self.cells.iter().zip(&other.cells);
        let cells = both.map(|(one, other)| one.saturating_add(*other)).collect();
        (self.cells.len() == other.cells.len()).then_some(Self { cells })
    }

    /// Labelled requests.
    #[must_use]
    pub fn labels(&self) -> u64 {
        self.count(|_| true)
    }

    /// How often the champion was wrong.
    #[must_use]
    pub fn champion_wrong(&self) -> u64 {
        self.count(|cell| cell & 1 == 1)
    }

    /// How often this candidate was wrong.
    #[must_use]
    pub fn wrong(&self, candidate: usize) -> u64 {
        self.count(|cell| bit(cell, candidate + 1))
    }

    /// A candidate against the champion.
    #[must_use]
    pub fn against_champion(&self, candidate: usize) -> Discordance {
        self.discordance(candidate + 1, 0)
    }

    /// A candidate against another.
    #[must_use]
    pub fn against(&self, candidate: usize, other: usize) -> Discordance {
        self.discordance(candidate + 1, other + 1)
    }

    fn discordance(&self, first: usize, second: usize) -> Discordance {
        Discordance {
            labels: self.labels(),
            wins: self.count(|cell| !bit(cell, first) && bit(cell, second)),
            losses: self.count(|cell| bit(cell, first) && !bit(cell, second)),
        }
    }

    fn count(&self, counts: impl Fn(usize) -> bool) -> u64 {
        let counted = self.cells.iter().enumerate().filter(|(cell, _)| counts(*cell));
        counted.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

const fn bit(cell: usize, place: usize) -> bool {
    cell >> place & 1 == 1
}

impl TryFrom<Vec<u64>> for PairedLosses {
    type Error = NotPaired;

    fn try_from(cells: Vec<u64>) -> Result<Self, NotPaired> {
        let fits = (1..=CANDIDATES_MAX).any(|candidates| cells.len() == 2 << candidates);
        if fits { Ok(Self { cells }) } else { Err(NotPaired { found: cells.len() }) }
    }
}

impl From<PairedLosses> for Vec<u64> {
    fn from(losses: PairedLosses) -> Self {
        losses.cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_two_are_compared_and_the_order_of_merging_is_nothing() {
        let mut one = PairedLosses::new(2).unwrap();
        one.observe(1.0, &[0.0, 1.0], 0.5);
        one.observe(0.0, &[0.0, 1.0], 0.5);
        let mut other = PairedLosses::new(2).unwrap();
        other.observe(0.0, &[1.0], 0.5);
        let all = one.plus(&other).unwrap();
        assert_eq!(Some(&all), other.plus(&one).as_ref());
        assert_eq!((all.labels(), all.champion_wrong(), all.wrong(0), all.wrong(1)), (3, 1, 1, 3));
        assert_eq!(all.against_champion(0), Discordance { labels: 3, wins: 1, losses: 1 });
        assert_eq!(all.against(0, 1), Discordance { labels: 3, wins: 2, losses: 0 });
        assert_eq!(all.plus(&PairedLosses::new(1).unwrap()), None);
    }

    #[test]
    fn a_loss_between_right_and_wrong_counts_as_large_as_it_is_and_alike_for_alike_models() {
        let mut losses = PairedLosses::new(1).unwrap();
        for step in 0..1000 {
            losses.observe(0.3, &[0.5], (f64::from(step) + 0.5) / 1000.0);
        }
        assert_eq!((losses.champion_wrong(), losses.wrong(0)), (300, 500));
        assert_eq!(losses.against_champion(0), Discordance { labels: 1000, wins: 0, losses: 200 });
    }

    #[test]
    fn nonsense_counts_as_wrong_and_counts_of_another_shape_are_refused() {
        let mut losses = PairedLosses::new(1).unwrap();
        losses.observe(f64::NAN, &[f64::INFINITY], 0.99);
        losses.observe(-1.0, &[0.0], 0.0);
        assert_eq!((losses.champion_wrong(), losses.wrong(0)), (1, 1));
        assert!(PairedLosses::new(0).is_none() && PairedLosses::new(5).is_none());
        let text = serde_json::to_string(&losses).unwrap();
        assert_eq!(text, "[1,0,0,1]");
        assert_eq!(serde_json::from_str::<PairedLosses>(&text).unwrap(), losses);
        let error = serde_json::from_str::<PairedLosses>("[1,2]").unwrap_err().to_string();
        assert!(error.contains("4, 8, 16 or 32"), "{error}");
        let full = PairedLosses::try_from(vec![u64::MAX; 4]).unwrap();
        assert_eq!(full.plus(&full).unwrap().labels(), u64::MAX);
    }
}
