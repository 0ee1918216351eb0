//! What the microphones hear: a word of somebody, at some moment and distance, in some noise, as log-mel features.
//!
//! Three sources of recordings, which never mix:
//! - `taught`: what the first model learns from, and what is said live by the same people; labels come in later;
//! - `field`: people with other accents, whose labels come in later, so retraining may learn from them;
//! - `measure`: other takes of the first people, and *other* people with other accents. No label of theirs ever reaches
//!   the system. Every accuracy is over answers to these.
//!
//! Every draw is seeded, and has noise of its own: no two sounds are equal.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use realfft::FftError;

use super::calendar::{HOME, arrived, new_share, others};
use super::logmel::{CLIP_SAMPLES, LogMel};
use super::words::Word;

/// The speakers of other accents that measure.
const MEASURING_SPEAKERS: [&str; 5] = ["f2", "f4", "m2", "m4", "m6"];
/// The take of the first people that measures.
const MEASURING_TAKE: u32 = 2;
/// A word begins at most so many samples after its clip.
const START_MAX: usize = 400;
/// How near people are: the loudness of their words.
const NEAR: std::ops::Range<f32> = 0.3..1.0;
/// How much louder words are than the noise, in decibels.
const SIGNAL_TO_NOISE_DB: std::ops::Range<f32> = 10.0..25.0;

/// Whether the system is ever told what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pool {
    /// Its label is handed in later.
    Field,
    /// Its label is kept from the system: it measures.
    Measure,
}

/// One word as a device gets it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard {
    pub(super) pool: Pool,
    pub(super) features: Vec<f32>,
    /// What was said.
    pub(super) word: String,
}

/// Whether other accents arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drift {
    Accents,
    None,
}

/// Where sounds come from.
pub(super) struct Stream {
    /// Recordings by who may say them.
    sources: BTreeMap<(String, Pool), Vec<Word>>,
    logmel: LogMel,
    chance: ChaCha8Rng,
    drift: Drift,
}

/// A source that no recording belongs to, or a sound without a spectrum.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("nobody with the accent '{0}' was recorded")]
    Nobody(String),
    #[error("transforming a sound")]
    Transform(#[from] FftError),
}

impl Stream {
    pub(super) fn new(words: Vec<Word>, drift: Drift, seed: u64) -> Result<Self, StreamError> {
        let mut sources: BTreeMap<(String, Pool), Vec<Word>> = BTreeMap::new();
        for word in words {
            sources.entry((word.accent.clone(), pool_of(&word))).or_default().push(word);
        }
        for accent in others().chain([HOME]) {
            for pool in [Pool::Field, Pool::Measure] {
                if !sources.contains_key(&(accent.to_owned(), pool)) {
                    return Err(StreamError::Nobody(accent.to_owned()));
                }
            }
        }
        Ok(Self { sources, logmel: LogMel::new(), chance: ChaCha8Rng::seed_from_u64(seed), drift })
    }

    /// The next word of a week from 1; week 0 is when the first model's words were collected.
    pub(super) fn next(&mut self, week: u32, pool: Pool) -> Result<Heard, StreamError> {
        let accent = self.accent(week);
        let nobody = || StreamError::Nobody(accent.to_owned());
        let words = self.sources.get(&(accent.to_owned(), pool)).ok_or_else(nobody)?;
        let word = &words[self.chance.random_range(0..words.len())];
        let sound = recorded(&word.samples, &mut self.chance);
        let word = word.word.clone();
        Ok(Heard { pool, features: self.logmel.features(&sound)?, word })
    }

    fn accent(&mut self, week: u32) -> &'static str {
        let arrived = arrived(week);
        let is_new = self.chance.random::<f64>() < new_share(week);
        match self.drift == Drift::Accents && is_new && !arrived.is_empty() {
            true => arrived[self.chance.random_range(0..arrived.len())],
            false => HOME,
        }
    }
}

fn pool_of(word: &Word) -> Pool {
    let measures = match word.accent == HOME {
        true => word.take == MEASURING_TAKE,
        false => MEASURING_SPEAKERS.contains(&word.speaker.as_str()),
    };
    if measures { Pool::Measure } else { Pool::Field }
}

/// A word in a room: somewhere in the clip, at some loudness, with white noise that goes by how loud the word is.
fn recorded(word: &[f32], chance: &mut ChaCha8Rng) -> Vec<f32> {
    let start = chance.random_range(0..START_MAX);
    let loudness = chance.random_range(NEAR);
    let heard = &word[..word.len().min(CLIP_SAMPLES - start)];
    let power = heard.iter().map(|sample| sample * sample).sum::<f32>() / heard.len().max(1) as f32;
    let noise_rms = loudness * power.sqrt() * 10_f32.powf(-chance.random_range(SIGNAL_TO_NOISE_DB) / 20.0);
    // The standard deviation of a uniform variable in [-1, 1] is 1 over the root of 3.
    let scale = noise_rms * 3_f32.sqrt();
    let mut sound: Vec<f32> =
        (0..CLIP_SAMPLES).map(|_| scale * chance.random_range(-1.0..=1.0_f32)).collect();
    for (sample, said) in sound[start..].iter_mut().zip(heard) {
        *sample += loudness * said;
    }
    sound
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::demo::speech::calendar::WEEKS;
    use crate::demo::speech::words;

    fn stream(drift: Drift) -> Stream {
        Stream::new(words::all().unwrap(), drift, 7).unwrap()
    }

    #[test]
    fn nobody_with_another_accent_both_teaches_and_measures() {
        let stream = stream(Drift::Accents);
        let speakers = |accent: &str, pool| -> BTreeSet<&str> {
            stream.sources[&(accent.to_owned(), pool)].iter().map(|word| word.speaker.as_str()).collect()
        };
        for accent in others() {
            let (field, measure) = (speakers(accent, Pool::Field), speakers(accent, Pool::Measure));
            assert!(field.is_disjoint(&measure) && field.len() > 5 && measure.len() == 5, "{accent}");
        }
        let takes = |pool| -> BTreeSet<u32> {
            stream.sources[&(HOME.to_owned(), pool)].iter().map(|word| word.take).collect()
        };
        assert!(takes(Pool::Field).is_disjoint(&takes(Pool::Measure)));
    }

    #[test]
    fn a_seed_gives_the_same_weeks_and_no_sound_twice() {
        let hear = || -> Vec<Heard> {
            let mut stream = stream(Drift::Accents);
            (0..60).map(|n| stream.next(n % (WEEKS + 1), Pool::Field).unwrap()).collect()
        };
        let heard = hear();
        assert_eq!(heard, hear());
        let features: BTreeSet<String> = heard.iter().map(|heard| format!("{:?}", heard.features)).collect();
        assert_eq!(features.len(), heard.len());
    }

    #[test]
    fn accents_arrive_by_the_calendar_or_not_at_all() {
        let new = |drift, week| {
            let mut stream = stream(drift);
            (0..400).filter(|_| stream.accent(week) != HOME).count()
        };
        assert_eq!(
            (new(Drift::Accents, 4), new(Drift::None, WEEKS), new(Drift::Accents, WEEKS)),
            (0, 0, 400)
        );
        assert!((150..250).contains(&new(Drift::Accents, 13)));
    }

    #[test]
    fn without_recordings_of_an_accent_there_is_no_story() {
        let words: Vec<Word> =
            words::all().unwrap().into_iter().filter(|word| word.accent != "korean").collect();
        let refused = Stream::new(words, Drift::Accents, 7).map(|_| ()).unwrap_err();
        assert_eq!(refused.to_string(), "nobody with the accent 'korean' was recorded");
    }
}
