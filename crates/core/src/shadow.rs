//! Shadows: candidates that answer beside the champion on copies of its requests, until one of them is shown to be better.
//!
//! The candidates of one run are compared with the champion that served when the run ended, and with no other: a comparison
//! is named by its run. What devices count and when a winner is declared is the business of others; here stand the nouns
//! that the ledger, the desired state and the project file share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::as_ms;
use crate::{Digest, RunId};

/// Most candidates beside one champion: every combination of right and wrong answers has a counter of its own.
pub const SHADOWS_MAX: usize = 4;

/// What becomes of a winner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promotion {
    /// It is rolled out.
    #[default]
    Auto,
    /// A person is asked.
    Ask,
}

/// How a winner is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowPolicy {
    /// Probability that a candidate which is no better than the champion is declared the winner.
    pub alpha: f64,
    /// Differences of mean loss up to this are not waited for.
    pub margin: f64,
    /// What becomes of a winner.
    pub promote: Promotion,
    /// Without a verdict after so many labels, there is none.
    pub labels_max: u64,
    /// Without a verdict after this time, there is none.
    #[serde(with = "as_ms")]
    pub patience_ms: Duration,
}

impl Default for ShadowPolicy {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            margin: 0.02,
            promote: Promotion::Auto,
            labels_max: 1_000_000,
            patience_ms: Duration::from_secs(14 * 24 * 3600),
        }
    }
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowCandidate {
    /// What the project calls it.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Its bundle.
    pub bundle: Digest,
}

/// How a comparison ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
pub enum ShadowOutcome {
    /// This candidate is better than the champion, and no other is clearly better than it.
    Winner(ShadowCandidate),
    /// No candidate is better than the champion by more than the margin.
    NoneBetter,
    /// It ended before there was a verdict.
    Undecided,
    /// Another champion or other candidates came first.
    Superseded,
}

/// What devices run beside a champion: part of the desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadows {
    /// The run whose candidates they are.
    pub run: RunId,
    /// The bundle they are compared with: devices that run another count nothing.
    pub champion: Digest,
    /// Their bundles, in the order in which they are counted.
    pub bundles: Vec<Digest>,
}

impl Shadows {
    /// Whether a device can count so many, each once.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let distinct: std::collections::BTreeSet<&Digest> = self.bundles.iter().collect();
        (1..=SHADOWS_MAX).contains(&self.bundles.len())
            && distinct.len() == self.bundles.len()
            && !distinct.contains(&self.champion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_four_bundles_other_than_the_champion_are_sound() {
        let of = |bundles: &[&[u8]]| Shadows {
            run: RunId::new("run-1").unwrap(),
            champion: Digest::of(b"champion"),
            bundles: bundles.iter().map(|bytes| Digest::of(bytes)).collect(),
        };
        assert!(of(&[b"a"]).is_sound() && of(&[b"a", b"b", b"c", b"d"]).is_sound());
        let odd: [&[&[u8]]; 4] = [&[], &[b"a", b"a"], &[b"champion"], &[b"a", b"b", b"c", b"d", b"e"]];
        for odd in odd {
            assert!(!of(odd).is_sound(), "{odd:?}");
        }
    }

    #[test]
    fn an_outcome_reads_as_it_was_written() {
        let winner = ShadowCandidate { name: "recent".to_owned(), version: 3, bundle: Digest::of(b"recent") };
        for outcome in [ShadowOutcome::Winner(winner), ShadowOutcome::NoneBetter, ShadowOutcome::Undecided] {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(serde_json::from_str::<ShadowOutcome>(&text).unwrap(), outcome, "{text}");
        }
    }
}
