//! Which of several candidates, if any, is better than the champion: a decision that may be looked at after every label.
//!
//! On each labelled request a candidate wins, loses or ties with the champion (see [`PairedLosses`]). Against "it does not
//! do better than the champion by more than `m`" stands the wealth of a gambler who bets shares of it on a win, averaged
//! over [`SHARES`]: whatever came before, one more request multiplies each bet by something whose expectation is at most
//! one while the null holds. So the wealth is an e-process, and it ever exceeds `1/a` with probability at most `a`
//! (J. Ville, 1939; betting on bounded means after I. Waudby-Smith, A. Ramdas, J. R. Stat. Soc. B 86, 2024). It depends on
//! counts only, so summaries of many devices may be added in any order and looked at whenever one arrives.
//!
//! Several candidates share one error rate: a candidate's wealth counts as much as the least average over it and any of
//! the others (closed testing by averages, V. Vovk, R. Wang, Ann. Stat. 49, 2021). The probability that a candidate which
//! is no better than the champion is ever called better is then at most `alpha`, whatever the others are like.
//! The winner is the best of those called better, once every other one is shown, at the same rate again, to be better than
//! it by at most `margin`.
//!
//! What is taken for granted: that whether a request is mirrored and labelled does not depend on which model was right.
//! The null is about each request given those before: a candidate that was better for a while may be called better.
//!
//! Deliberately missing: what to do with a winner, and memory of earlier looks: none is needed.

use serde::{Deserialize, Serialize};

use crate::paired::{Discordance, PairedLosses};

/// Shares of the wealth that are bet.
const SHARES: [f64; 12] = [0.01, 0.02, 0.035, 0.06, 0.1, 0.16, 0.25, 0.38, 0.53, 0.7, 0.85, 0.97];
/// Largest difference of two mean losses that is asked about.
const DIFFERENCE_MAX: f64 = 0.999;
/// Halvings of the interval in which an end of a range lies.
const HALVINGS: usize = 40;

/// How sure one wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectionPolicy {
    /// Probability that a candidate which is no better than the champion is declared the winner.
    pub alpha: f64,
    /// Differences of mean loss up to this are not waited for; 1 declares the first that is better than the champion.
    pub margin: f64,
}

impl Default for SelectionPolicy {
    fn default() -> Self {
        Self { alpha: 0.05, margin: 0.02 }
    }
}

/// How one candidate stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Its place among the candidates as they were given.
    pub candidate: usize,
    /// Its share of labelled requests that were wrong; none without labels.
    pub loss: Option<f64>,
    /// The champion's share on the same requests minus that.
    pub advantage: Option<f64>,
    /// What the advantage lies between, at `alpha` for all numbers of labels at once.
    pub range: [f64; 2],
    /// Evidence, log10, that it is better than the champion, shared among the candidates.
    pub log10_evidence: f64,
    /// Whether that passes the bar.
    pub is_better: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Not enough labels yet.
    Undecided {
        /// How many more labelled requests it takes as things go; none if they lead nowhere.
        more: Option<u64>,
    },
    /// This candidate is better than the champion, and no other is better than it by more than the margin.
    Winner {
        /// Its place among the candidates.
        candidate: usize,
    },
    /// No candidate is better than the champion by more than the margin.
    NoneBetter,
}

/// Candidates in order, and what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Labelled requests it rests on.
    pub labels: u64,
    /// The champion's share of them that were wrong; none without labels.
    pub champion_loss: Option<f64>,
    /// The best first.
    pub standings: Vec<Standing>,
    /// The bar that evidence is held against, log10.
    pub log10_bar: f64,
    /// What follows.
    pub verdict: Verdict,
}

impl Selection {
    /// What these counts say.
    #[must_use]
    pub fn of(losses: &PairedLosses, policy: SelectionPolicy) -> Self {
        let judge = Judge::new(losses, policy);
        let order = judge.order();
        let labels = losses.labels();
        Self {
            labels,
            champion_loss: share(losses.champion_wrong(), labels),
            standings: order.iter().map(|one| judge.standing(*one)).collect(),
            log10_bar: judge.ln_bar / std::f64::consts::LN_10,
            verdict: judge.verdict(&order),
        }
    }
}

/// The verdict of [`Selection::of`] alone, which takes a small part of the work.
#[must_use]
pub fn decide(losses: &PairedLosses, policy: SelectionPolicy) -> Verdict {
    let judge = Judge::new(losses, policy);
    judge.verdict(&judge.order())
}

/// A candidate and the logarithm of its evidence against the champion.
type Ranked = (usize, f64);

struct Judge<'a> {
    losses: &'a PairedLosses,
    policy: SelectionPolicy,
    ln_bar: f64,
}

impl<'a> Judge<'a> {
    fn new(losses: &'a PairedLosses, policy: SelectionPolicy) -> Self {
        let alpha = if policy.alpha > 0.0 { policy.alpha.min(1.0) } else { f64::MIN_POSITIVE };
        let margin = if policy.margin.is_finite() { policy.margin.clamp(0.0, 1.0) } else { 1.0 };
        Self { losses, policy: SelectionPolicy { alpha, margin }, ln_bar: -alpha.ln() }
    }

    /// Logarithm of each candidate's evidence: the least mean of it and any others.
    fn shared_evidence(&self) -> Vec<f64> {
        let own: Vec<f64> = (0..self.losses.candidates())
            .map(|candidate| ln_better(self.losses.against_champion(candidate), 0.0))
            .collect();
        let shared = |candidate: usize| {
            let mut others = own.clone();
            let mut sum = others.remove(candidate);
            others.sort_by(f64::total_cmp);
            let mut least = sum;
            for (count, other) in others.into_iter().enumerate() {
                sum = ln_sum(sum, other);
                least = least.min(sum - (count as f64 + 2.0).ln());
            }
            least
        };
        (0..own.len()).map(shared).collect()
    }

    /// The candidates, the best first.
    fn order(&self) -> Vec<Ranked> {
        let mut order: Vec<Ranked> = self.shared_evidence().into_iter().enumerate().collect();
        order.sort_by(|(one, of_one), (other, of_other)| {
            let by_loss = self.losses.wrong(*one).cmp(&self.losses.wrong(*other));
            by_loss.then(of_other.total_cmp(of_one))
        });
        order
    }

    fn standing(&self, (candidate, ln_evidence): Ranked) -> Standing {
        let against = self.losses.against_champion(candidate);
        let labels = against.labels;
        Standing {
            candidate,
            loss: share(self.losses.wrong(candidate), labels),
            advantage: (labels > 0).then(|| (against.wins as f64 - against.losses as f64) / labels as f64),
            range: range(against, self.policy.alpha),
            log10_evidence: ln_evidence / std::f64::consts::LN_10,
            is_better: ln_evidence >= self.ln_bar,
        }
    }

    fn verdict(&self, order: &[Ranked]) -> Verdict {
        if let Some((leader, _)) = order.iter().find(|(_, ln)| *ln >= self.ln_bar) {
            return match self.rivals(*leader).fold(Some(0), later) {
                Some(0) => Verdict::Winner { candidate: *leader },
                more => Verdict::Undecided { more },
            };
        }
        let shared = (order.len() as f64).ln();
        let is_ruled_out = |(candidate, _): &Ranked| {
            let against = self.losses.against_champion(*candidate).reversed();
            ln_better(against, -self.policy.margin) - shared >= self.ln_bar
        };
        if order.iter().all(is_ruled_out) {
            return Verdict::NoneBetter;
        }
        let more =
            |(candidate, ln): &Ranked| more(self.losses.against_champion(*candidate), 0.0, self.ln_bar - ln);
        Verdict::Undecided { more: order.iter().filter_map(more).min() }
    }

    /// For each other candidate: how many more labels until it is shown to be better than `leader` by at most the margin.
    fn rivals(&self, leader: usize) -> impl Iterator<Item = Option<u64>> + '_ {
        let count = self.losses.candidates();
        let shared = ((count * count.saturating_sub(1)).max(1) as f64).ln();
        let waits = self.policy.margin < 1.0;
        (0..count).filter(move |other| waits && *other != leader).map(move |other| {
            let against = self.losses.against(leader, other);
            let missing = self.ln_bar + shared - ln_better(against, -self.policy.margin);
            if missing <= 0.0 { Some(0) } else { more(against, -self.policy.margin, missing) }
        })
    }
}

fn later(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one?.max(other?))
}

impl Discordance {
    const fn reversed(self) -> Self {
        Self { labels: self.labels, wins: self.losses, losses: self.wins }
    }

    fn ties(self) -> f64 {
        self.labels.saturating_sub(self.wins.saturating_add(self.losses)) as f64
    }
}

/// Logarithms of what one request multiplies a bet by, as (win, loss, tie), against "the first is better than the second
/// by at most `m`".
fn ln_factors(share: f64, m: f64) -> (f64, f64, f64) {
    let bet = share / (1.0 + m);
    ((bet * (1.0 - m)).ln_1p(), (-share).ln_1p(), (-bet * m).ln_1p())
}

/// Logarithm of the evidence that the first of two is better than the second by more than `m`.
fn ln_better(against: Discordance, m: f64) -> f64 {
    let m = m.clamp(-DIFFERENCE_MAX, DIFFERENCE_MAX);
    let (wins, losses, ties) = (against.wins as f64, against.losses as f64, against.ties());
    let wealth = SHARES.map(|share| {
        let (win, loss, tie) = ln_factors(share, m);
        wins * win + losses * loss + ties * tie
    });
    let sum = wealth.into_iter().fold(f64::NEG_INFINITY, ln_sum);
    sum - (SHARES.len() as f64).ln()
}

/// Labels until `missing` more is gained, as things go.
fn more(against: Discordance, m: f64, missing: f64) -> Option<u64> {
    if against.labels == 0 {
        return None;
    }
    let labels = against.labels as f64;
    let part = [against.wins as f64 / labels, against.losses as f64 / labels, against.ties() / labels];
    let gain = |share: f64| {
        let (win, loss, tie) = ln_factors(share, m.clamp(-DIFFERENCE_MAX, DIFFERENCE_MAX));
        part[0] * win + part[1] * loss + part[2] * tie
    };
    let best = SHARES.into_iter().map(gain).fold(f64::NEG_INFINITY, f64::max);
    let labels = (missing / best).ceil();
    (best > 0.0 && labels.is_finite()).then_some(labels.max(1.0) as u64)
}

/// Differences that neither side's evidence speaks against: a confidence sequence.
fn range(against: Discordance, alpha: f64) -> [f64; 2] {
    let bar = (2.0 / alpha).ln();
    let end = |against: Discordance| {
        let (mut low, mut high) = (-DIFFERENCE_MAX, DIFFERENCE_MAX);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if ln_better(against, middle) >= bar { low = middle } else { high = middle }
        }
        if low > -DIFFERENCE_MAX { low } else { -1.0 }
    };
    [end(against), -end(against.reversed())]
}

fn share(of: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| of as f64 / all as f64)
}

fn ln_sum(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(cells: [u64; 8]) -> PairedLosses {
        PairedLosses::try_from(cells.to_vec()).unwrap()
    }

    #[test]
    fn nothing_says_nothing() {
        let said = Selection::of(&PairedLosses::new(3).unwrap(), SelectionPolicy::default());
        assert_eq!(
            (said.labels, said.champion_loss, said.verdict),
            (0, None, Verdict::Undecided { more: None })
        );
        assert!(said.standings.iter().all(|standing| standing.range == [-1.0, 1.0] && !standing.is_better));
    }

    #[test]
    fn the_best_is_declared_once_the_others_are_known_to_be_no_better() {
        // Cells by (second, first, champion) wrong. The first candidate wins 80, the second 40 and loses 10.
        let cells = [800, 40, 5, 5, 10, 40, 0, 100];
        let said = Selection::of(&losses(cells), SelectionPolicy::default());
        assert_eq!(said.verdict, Verdict::Winner { candidate: 0 }, "{said:?}");
        assert_eq!(said.standings[0].candidate, 0);
        assert!(said.standings[0].log10_evidence > 10.0 && said.standings[0].range[0] > 0.0);
        // The same with two that can hardly be told apart: better than the champion, but which is the best?
        let few = [80, 0, 3, 0, 3, 0, 0, 14].map(|count: u64| count);
        let said = Selection::of(&losses([60, 4, 2, 4, 2, 4, 0, 24]), SelectionPolicy::default());
        assert!(matches!(said.verdict, Verdict::Undecided { .. }), "{said:?}");
        assert!(matches!(
            Selection::of(&losses(few), SelectionPolicy::default()).verdict,
            Verdict::Undecided { .. }
        ));
    }

    #[test]
    fn no_wait_for_the_best_if_any_better_one_will_do() {
        let cells = [800, 10, 5, 30, 5, 30, 0, 100];
        let policy = SelectionPolicy { margin: 1.0, ..SelectionPolicy::default() };
        assert!(matches!(Selection::of(&losses(cells), policy).verdict, Verdict::Winner { .. }));
    }

    #[test]
    fn candidates_that_are_worse_are_ruled_out() {
        let cells = [900, 5, 10, 0, 10, 0, 15, 60];
        let said = Selection::of(&losses(cells.map(|count| count * 5)), SelectionPolicy::default());
        assert_eq!(said.verdict, Verdict::NoneBetter, "{said:?}");
    }

    #[test]
    fn what_is_still_needed_is_what_it_takes() {
        let at = |labels: u64| {
            let cells = [0.85, 0.05, 0.01, 0.0, 0.0, 0.0, 0.0, 0.09];
            Selection::of(
                &losses(cells.map(|part: f64| (part * labels as f64) as u64)),
                SelectionPolicy::default(),
            )
        };
        let Verdict::Undecided { more: Some(more) } = at(100).verdict else { panic!("{:?}", at(100)) };
        let needed = (100..5_000).find(|labels| at(*labels).standings[0].is_better).unwrap() - 100;
        assert!((needed / 3..needed * 3).contains(&more), "{more} said, {needed} needed");
    }

    #[test]
    fn nonsense_and_very_large_counts_are_survived() {
        let policy = SelectionPolicy { alpha: f64::NAN, margin: f64::INFINITY };
        for cells in [[u64::MAX; 8], [u64::MAX, 0, 0, 0, 0, 0, 0, 0], [0, u64::MAX, 0, 0, 0, 0, 0, 0]] {
            let said = Selection::of(&losses(cells), policy);
            assert!(said.standings.iter().all(|standing| !standing.log10_evidence.is_nan()), "{said:?}");
        }
    }

    #[test]
    fn a_range_holds_the_advantage() {
        for (wins, losses) in [(0, 0), (50, 10), (10, 50), (500, 100), (1000, 0)] {
            let against = Discordance { labels: 1_000, wins, losses };
            let advantage = (wins as f64 - losses as f64) / 1000.0;
            let [low, high] = range(against, 0.05);
            assert!(low <= advantage && advantage <= high && high - low < 0.2, "{low} {high} {advantage}");
        }
    }
}
