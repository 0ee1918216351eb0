//! The robots story's images, split so that what measures a model can never have taught it.
//!
//! Three pools, chosen by a seeded hash of an image's *content* (two equal images fall into one pool):
//! - `seed`: digits 0-7 only, the project's first training data;
//! - `field`: all digits; sent live, and their labels come back late, so retraining may learn from them;
//! - `measure`: all digits; sent live, but no label ever reaches the system. Every accuracy the demo reports is over
//!   answers to these.
//!
//! A [`Deck`] deals from a pool: each image once before any comes again, new digits with the share they have in the data.

use std::io;

use edgeward_core::Digest;
use edgeward_core::dataset::row_digest;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The digits of the data set, held in the repository with their provenance.
pub(crate) const DIGITS_CSV: &[u8] = include_bytes!("../../../../examples/robots/data/digits.csv");
/// The digits that appear only in the second phase.
pub(crate) const NEW_DIGITS: [&str; 2] = ["8", "9"];

const SPLIT_SEED: &[u8] = b"edgeward demo robots 1";
/// Shares of the digits 0-7; what is left measures.
const KNOWN_SEED_SHARE: f64 = 0.38;
const KNOWN_FIELD_SHARE: f64 = 0.32;
/// Share of the digits 8 and 9; what is left measures.
const NEW_FIELD_SHARE: f64 = 0.65;

/// One image with its truth.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    /// 64 pixels, 0 to 16.
    pub(crate) pixels: Vec<f32>,
    /// The digit.
    pub(crate) label: String,
}

/// The data set, split.
#[derive(Clone, Debug)]
pub(crate) struct Pools {
    /// Column names, the label's last.
    pub(crate) header: Vec<String>,
    pub(crate) seed: Vec<Image>,
    pub(crate) field: Vec<Image>,
    pub(crate) measure: Vec<Image>,
    /// Share of the new digits in the whole data set.
    pub(crate) new_share: f64,
}

/// The built-in data is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("reading the digits")]
    Csv(#[from] csv::Error),
    #[error("row {row} of the digits: '{value}' is no number")]
    Pixel { row: usize, value: String },
}

impl Image {
    /// Whether it shows a digit that the first model does not know.
    pub(crate) fn is_new(&self) -> bool {
        NEW_DIGITS.contains(&self.label.as_str())
    }
}

impl Pools {
    /// Splits the images of a CSV file whose last column is the label.
    pub(crate) fn split(csv: &[u8]) -> Result<Self, PoolError> {
        let mut reader = csv::Reader::from_reader(csv);
        let header = reader.headers()?.iter().map(str::to_owned).collect();
        let mut pools =
            Self { header, seed: Vec::new(), field: Vec::new(), measure: Vec::new(), new_share: 0.0 };
        let (mut all, mut new) = (0_u32, 0_u32);
        for (row, record) in reader.records().enumerate() {
            let image = image_of(row, &record?)?;
            all += 1;
            new += u32::from(image.is_new());
            pools.pool_of(&image).push(image);
        }
        pools.new_share = f64::from(new) / f64::from(all.max(1));
        Ok(pools)
    }

    fn pool_of(&mut self, image: &Image) -> &mut Vec<Image> {
        let place = place_of(&image.pixels);
        match image.is_new() {
            true if place < NEW_FIELD_SHARE => &mut self.field,
            false if place < KNOWN_SEED_SHARE => &mut self.seed,
            false if place < KNOWN_SEED_SHARE + KNOWN_FIELD_SHARE => &mut self.field,
            _ => &mut self.measure,
        }
    }

    /// The first training data as a CSV file.
    pub(crate) fn write_seed(&self, to: impl io::Write) -> Result<(), PoolError> {
        let mut writer = csv::Writer::from_writer(to);
        writer.write_record(&self.header)?;
        for image in &self.seed {
            let pixels = image.pixels.iter().map(ToString::to_string);
            writer.write_record(pixels.chain([image.label.clone()]))?;
        }
        writer.flush().map_err(csv::Error::from)?;
        Ok(())
    }
}

fn image_of(row: usize, record: &csv::StringRecord) -> Result<Image, PoolError> {
    let label = record.get(record.len() - 1).unwrap_or_default().to_owned();
    let pixel = |value: &str| {
        value.parse::<f32>().map_err(|_| PoolError::Pixel { row: row + 1, value: value.to_owned() })
    };
    let pixels = record.iter().take(record.len() - 1).map(pixel).collect::<Result<_, _>>()?;
    Ok(Image { pixels, label })
}

/// Where in [0, 1) an image falls, by its content alone.
fn place_of(pixels: &[f32]) -> f64 {
    let digest = Digest::of_parts([SPLIT_SEED, row_digest(pixels).as_bytes()]);
    let mut first = [0; 4];
    first.copy_from_slice(&digest.as_bytes()[..4]);
    f64::from(u32::from_be_bytes(first)) / (f64::from(u32::MAX) + 1.0)
}

/// Deals images of one pool.
pub(crate) struct Deck {
    known: Cycle,
    new: Cycle,
    new_share: f64,
    rng: ChaCha8Rng,
}

/// Indices into the pool, shuffled anew each time round.
struct Cycle {
    order: Vec<usize>,
    next: usize,
}

impl Deck {
    /// A deck over `pool`, the same for the same `seed`.
    pub(crate) fn new(pool: &[Image], new_share: f64, seed: u64) -> Self {
        let indices = |new: bool| (0..pool.len()).filter(|&index| pool[index].is_new() == new).collect();
        let cycle = |order: Vec<usize>| Cycle { next: order.len(), order };
        Self {
            known: cycle(indices(false)),
            new: cycle(indices(true)),
            new_share,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The index of the next image; only known digits unless `with_new`. None if the pool has none.
    pub(crate) fn deal(&mut self, with_new: bool) -> Option<usize> {
        let new = with_new && self.rng.random_bool(self.new_share);
        let cycle = if new { &mut self.new } else { &mut self.known };
        cycle.deal(&mut self.rng)
    }
}

impl Cycle {
    fn deal(&mut self, rng: &mut ChaCha8Rng) -> Option<usize> {
        if self.next >= self.order.len() {
            self.order.shuffle(rng);
            self.next = 0;
        }
        let dealt = self.order.get(self.next).copied();
        self.next += 1;
        dealt
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn pools() -> Pools {
        Pools::split(DIGITS_CSV).unwrap()
    }

    fn contents(pool: &[Image]) -> HashSet<Digest> {
        pool.iter().map(|image| row_digest(&image.pixels)).collect()
    }

    #[test]
    fn no_content_is_in_two_pools_and_no_image_is_lost() {
        let pools = pools();
        let [seed, field, measure] = [&pools.seed, &pools.field, &pools.measure].map(|pool| contents(pool));
        assert!(seed.is_disjoint(&field) && seed.is_disjoint(&measure) && field.is_disjoint(&measure));
        assert_eq!(pools.seed.len() + pools.field.len() + pools.measure.len(), 1797);
    }

    #[test]
    fn the_first_training_data_knows_only_0_to_7() {
        let pools = pools();
        assert!(!pools.seed.iter().any(Image::is_new));
        let labels: HashSet<&str> = pools.seed.iter().map(|image| image.label.as_str()).collect();
        assert_eq!(labels, HashSet::from(["0", "1", "2", "3", "4", "5", "6", "7"]));
        assert!(pools.field.iter().filter(|image| image.is_new()).count() >= 150);
        assert!(pools.measure.iter().filter(|image| image.is_new()).count() >= 100);
    }

    #[test]
    fn the_seed_file_reads_back_as_it_was() {
        let pools = pools();
        let mut bytes = Vec::new();
        pools.write_seed(&mut bytes).unwrap();
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        assert_eq!(reader.headers().unwrap().len(), 65);
        let rows: Vec<Image> = reader.records().map(|row| image_of(0, &row.unwrap()).unwrap()).collect();
        assert_eq!(rows, pools.seed);
    }

    #[test]
    fn a_deck_deals_every_image_before_any_again() {
        let pools = pools();
        let known = pools.measure.iter().filter(|image| !image.is_new()).count();
        let mut deck = Deck::new(&pools.measure, pools.new_share, 7);
        let dealt: HashSet<usize> = (0..known).map(|_| deck.deal(false).unwrap()).collect();
        assert_eq!(dealt.len(), known);
        assert!(dealt.iter().all(|&index| !pools.measure[index].is_new()));
    }

    #[test]
    fn new_digits_come_with_their_natural_share() {
        let pools = pools();
        let mut deck = Deck::new(&pools.field, pools.new_share, 7);
        let new = (0..10_000).filter(|_| pools.field[deck.deal(true).unwrap()].is_new()).count();
        assert!((1850..2100).contains(&new), "{new}");
    }

    #[test]
    fn an_empty_pool_deals_nothing() {
        assert_eq!(Deck::new(&[], 0.2, 7).deal(true), None);
    }
}
