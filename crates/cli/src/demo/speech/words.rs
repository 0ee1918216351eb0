//! The recordings: which words who says, and the samples themselves, decoded from IMA ADPCM.

use serde::Deserialize;

/// Samples per second of every recording.
pub(super) const RATE_HZ: usize = 8000;

const INDEX_CSV: &[u8] = include_bytes!("../../../../../examples/speech/data/words.csv");
const SOUNDS_IMA: &[u8] = include_bytes!("../../../../../examples/speech/data/words.ima");

/// The step sizes of IMA ADPCM.
const STEPS: [i32; 89] = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88,
    97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658,
    724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272, 2499, 2749, 3024, 3327, 3660,
    4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630, 9493, 10442, 11487, 12635, 13899, 15289, 16818,
    18500, 20350, 22385, 24623, 27086, 29794, 32767,
];
/// How far a code moves the place in [`STEPS`].
const TURNS: [isize; 8] = [-1, -1, -1, -1, 2, 4, 6, 8];

/// One recording.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub(super) accent: String,
    pub(super) speaker: String,
    /// Speakers of the first accent say each word more than once.
    pub(super) take: u32,
    /// What is said.
    pub(super) word: String,
    /// Full scale is -1 to 1.
    pub(super) samples: Vec<f32>,
}

/// The built-in recordings are not what they should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum WordsError {
    #[error("reading the list of words")]
    Csv(#[from] csv::Error),
    #[error("word {0} lies outside the recordings")]
    Outside(usize),
}

#[derive(Deserialize)]
struct Row {
    accent: String,
    speaker: String,
    take: u32,
    word: String,
    /// Bytes before it.
    offset: usize,
    samples: usize,
}

/// Every recording that is built in.
pub(super) fn all() -> Result<Vec<Word>, WordsError> {
    read(INDEX_CSV, SOUNDS_IMA)
}

fn read(index: &[u8], sounds: &[u8]) -> Result<Vec<Word>, WordsError> {
    let rows = csv::Reader::from_reader(index).into_deserialize();
    rows.enumerate()
        .map(|(at, row)| {
            let Row { accent, speaker, take, word, offset, samples } = row?;
            let end = offset.checked_add(samples.div_ceil(2));
            let codes = end.and_then(|end| sounds.get(offset..end)).ok_or(WordsError::Outside(at + 1))?;
            Ok(Word { accent, speaker, take, word, samples: decode(codes, samples) })
        })
        .collect()
}

/// Four bits a sample, the earlier one in the upper half of a byte; each recording begins from a state of zeros.
fn decode(codes: &[u8], samples: usize) -> Vec<f32> {
    let (mut value, mut place) = (0_i32, 0_usize);
    let codes = codes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let sample = |code: u8| {
        let step = STEPS[place];
        let parts = [(4, step), (2, step >> 1), (1, step >> 2)];
        let taken = parts.iter().filter(|(bit, _)| code & bit != 0).map(|(_, part)| part);
        let change = (step >> 3) + taken.sum::<i32>();
        let signed = if code & 8 == 0 { change } else { -change };
        value = (value + signed).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        place = place.saturating_add_signed(TURNS[usize::from(code & 7)]).min(STEPS.len() - 1);
        value as f32 / 32_768.0
    };
    codes.take(samples).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_accent_says_every_word() {
        let words = all().unwrap();
        let accents: BTreeSet<&str> = words.iter().map(|word| word.accent.as_str()).collect();
        assert_eq!((words.len(), accents.len()), (1260, 7));
        for accent in accents {
            let of = words.iter().filter(|word| word.accent == accent);
            let said: BTreeSet<&str> = of.map(|word| word.word.as_str()).collect();
            assert_eq!(said.len(), 10, "{accent}");
        }
    }

    #[test]
    fn recordings_are_sounds_at_the_level_they_were_made_at() {
        for word in all().unwrap() {
            let peak = word.samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
            assert!((0.3..0.9).contains(&peak), "{} {} {}: {peak}", word.accent, word.speaker, word.word);
            let seconds = word.samples.len() as f64 / RATE_HZ as f64;
            assert!((0.05..1.0).contains(&seconds), "{} {}: {seconds} s", word.accent, word.word);
        }
    }

    /// By hand: 7/8 is 0 and bits 4, 2, 1 add 7, 3, 1, so the first code gives 11; its step then is the ninth, 16.
    #[test]
    fn codes_become_samples() {
        assert_eq!(decode(&[0x7F], 2), [11.0 / 32_768.0, (11 - (2 + 16 + 8 + 4)) as f32 / 32_768.0]);
        assert_eq!(decode(&[0x70], 1).len(), 1);
    }

    #[test]
    fn a_list_that_asks_for_more_than_there_is_names_the_word() {
        let index = b"accent,speaker,take,word,offset,samples\nus,m1,0,yes,0,4\nus,m1,0,no,2,4\n";
        assert_eq!(read(index, &[0, 0, 0]).unwrap_err().to_string(), "word 2 lies outside the recordings");
        let index = b"accent,speaker,take,word,offset,samples\nus,m1,0,yes,18446744073709551615,4\n";
        assert!(matches!(read(index, &[0]), Err(WordsError::Outside(1))));
    }
}
