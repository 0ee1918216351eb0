//! How far a hidden layer's embedding lies from those of the reference: what a model has not learned shows there, when
//! its confidence does not.
//!
//! A bounded set of reference embeddings is kept; the distance of a new one is the mean distance to its
//! [`NEIGHBOURS`] nearest, all brought to length one first. Distances of reference embeddings that were held back
//! say what is usual: a rank gives a conformal p-value, their tail a rarity beyond all ranks, and the distance itself
//! is a number that can be watched as one more feature.
//!
//! Source: Y. Sun, Y. Ming, X. Zhu, Y. Li, "Out-of-distribution detection with deep nearest neighbors", ICML (2022).
//! Deliberately missing: an index (a few hundred rows are searched in full) and learning.

use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::tail::Tails;

/// Nearest reference embeddings that a distance is the mean of.
pub const NEIGHBOURS: usize = 5;
/// Most reference embeddings that are kept.
pub const MAX_EMBEDDINGS: usize = 512;
/// Most distances of held-back embeddings that are kept.
pub const MAX_HELD_BACK: usize = 4_096;
/// Longest embedding.
pub const MAX_EMBEDDING_WIDTH: usize = 8_192;
/// Fewer rows than this say nothing.
pub const EMBEDDING_ROWS_MIN: usize = 4 * NEIGHBOURS;
const DOCUMENT: &str = "reference embeddings";
const MAGIC: [u8; 4] = *b"EWNN";
const VERSION: u8 = 1;

/// Embeddings that nothing follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NeighboursError {
    /// No width, too wide, or values that are no whole rows.
    #[error("{values} values are no embeddings of {width} numbers (at most {MAX_EMBEDDING_WIDTH})")]
    Shape {
        /// Number of values.
        values: usize,
        /// Numbers per embedding.
        width: usize,
    },
    /// Too few rows that are finite and not all zero.
    #[error("{found} usable embeddings; at least {EMBEDDING_ROWS_MIN} are needed")]
    TooFew {
        /// How many there are.
        found: usize,
    },
}

/// The embeddings of a reference and the distances that are usual among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    width: usize,
    /// Embeddings of length one, one after the other.
    kept: Vec<f32>,
    /// Distances of embeddings that were not kept, rising.
    held_back: Vec<f32>,
    tails: Tails,
}

impl Neighbours {
    /// The neighbourhood of embeddings of `width` numbers each, one after the other, of rows that the model was not
    /// trained on. Rows that are not finite or all zero are left out.
    ///
    /// # Errors
    /// The values are no embeddings, or too few.
    pub fn fit(values: &[f32], width: usize) -> Result<Self, NeighboursError> {
        if width == 0 || width > MAX_EMBEDDING_WIDTH || !values.len().is_multiple_of(width) {
            return Err(NeighboursError::Shape { values: values.len(), width });
        }
        let usable: Vec<Vec<f32>> = values.chunks_exact(width).filter_map(unit).collect();
        if usable.len() < EMBEDDING_ROWS_MIN {
            return Err(NeighboursError::TooFew { found: usable.len() });
        }
        let every = usable.len().div_ceil(MAX_EMBEDDINGS).max(2);
        let is_kept = |row: usize| row.is_multiple_of(every);
        let rows = || usable.iter().enumerate();
        let kept: Vec<f32> =
            rows().filter(|(row, _)| is_kept(*row)).flat_map(|(_, e)| e.iter().copied()).collect();
        let others: Vec<&Vec<f32>> = rows().filter(|(row, _)| !is_kept(*row)).map(|(_, e)| e).collect();
        let step = others.len().div_ceil(MAX_HELD_BACK).max(1);
        let mut held_back: Vec<f32> = others.iter().step_by(step).map(|e| nearest(&kept, e)).collect();
        held_back.sort_by(f32::total_cmp);
        let tails = Tails::of_sorted(&held_back);
        Ok(Self { width, kept, held_back, tails })
    }

    /// Mean distance of an embedding to its nearest neighbours, 0 to 2; none if it has another width, is not finite
    /// or has no length.
    #[must_use]
    pub fn distance(&self, embedding: &[f32]) -> Option<f32> {
        if embedding.len() != self.width {
            return None;
        }
        unit(embedding).map(|unit| nearest(&self.kept, &unit))
    }

    /// Conformal p-value of a distance: at most `p` of the reference's kind are as far out.
    #[must_use]
    pub fn p_value(&self, distance: f32) -> f64 {
        let below = self.held_back.partition_point(|held| *held < distance);
        (self.held_back.len() - below + 1) as f64 / (self.held_back.len() + 1) as f64
    }

    /// Negative base-ten logarithm of how often an embedding of the reference's kind is as far out, from the tail of
    /// held-back distances; 0 for what is no farther out than half of them.
    #[must_use]
    pub fn log10_rarity(&self, distance: f32) -> f64 {
        let usual = self.held_back.get(self.held_back.len() / 2).copied().unwrap_or(f32::INFINITY);
        if distance <= usual { 0.0 } else { self.tails.log10_rarity(f64::from(distance)) }
    }

    /// Whether a distance is rarer than one in `arl_samples` and beyond all held-back ones.
    #[must_use]
    pub fn is_outlier(&self, distance: f32, arl_samples: f64) -> bool {
        let beyond = self.held_back.last().is_some_and(|farthest| distance > *farthest);
        beyond && self.log10_rarity(distance) > arl_samples.log10()
    }

    /// Numbers per embedding.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Distances of held-back reference embeddings, rising: what a stream of distances is compared with.
    #[must_use]
    pub fn held_back(&self) -> &[f32] {
        &self.held_back
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(MAGIC, VERSION);
        w.len(self.width);
        w.len(self.kept.len() / self.width);
        self.kept.iter().for_each(|value| w.f32(*value));
        w.len(self.held_back.len());
        self.held_back.iter().for_each(|value| w.f32(*value));
        w.finish()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are not reference embeddings of a known version, or hold values that no fit produces.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, VERSION)?;
        let width = r.len("width", MAX_EMBEDDING_WIDTH)?;
        let rows = r.len("embeddings", MAX_EMBEDDINGS)?;
        ensure(width > 0 && rows >= NEIGHBOURS, "embeddings")?;
        let kept = (0..rows * width).map(|_| r.f32("embeddings")).collect::<Result<Vec<_>, _>>()?;
        ensure(kept.iter().all(|value| value.abs() <= 1.001), "embeddings")?;
        let len = r.len("distances", MAX_HELD_BACK)?;
        let held_back = (0..len).map(|_| r.f32("distances")).collect::<Result<Vec<_>, _>>()?;
        r.finish()?;
        let rising = held_back.windows(2).all(|pair| pair[0] <= pair[1]);
        ensure(rising && held_back.iter().all(|d| (0.0..=2.01).contains(d)), "distances")?;
        let tails = Tails::of_sorted(&held_back);
        Ok(Self { width, kept, held_back, tails })
    }
}

/// The embedding brought to length one; none if it is not finite or has no length.
fn unit(embedding: &[f32]) -> Option<Vec<f32>> {
    let length = embedding.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let scaled = || embedding.iter().map(|value| (f64::from(*value) / length) as f32).collect();
    (length.is_finite() && length > 0.0).then(scaled)
}

/// Mean distance of a unit vector to the nearest of the `kept` ones.
fn nearest(kept: &[f32], unit: &[f32]) -> f32 {
    let mut least = [f32::INFINITY; NEIGHBOURS];
    for row in kept.chunks_exact(unit.len()) {
        let squared: f32 = row.iter().zip(unit).map(|(a, b)| (a - b) * (a - b)).sum();
        if squared < least[NEIGHBOURS - 1] {
            let at = least.partition_point(|known| *known < squared);
            least[at..].rotate_right(1);
            least[at] = squared;
        }
    }
    least.iter().map(|squared| squared.sqrt()).sum::<f32>() / NEIGHBOURS as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Real handwritten digits: their 64 pixels stand in for a hidden layer.
    fn digits(of: impl Fn(u32) -> bool) -> Vec<[f32; 64]> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/robots/data/digits.csv");
        let text = std::fs::read_to_string(path).expect("the digits are part of the repository");
        let numbers =
            |line: &str| line.split(',').map(|v| v.trim().parse().ok()).collect::<Option<Vec<f32>>>();
        let rows = text.lines().filter_map(numbers).filter(|row| of(row[64] as u32));
        rows.map(|row| row[..64].try_into().expect("64 pixels and a class")).collect()
    }

    #[test]
    fn new_classes_are_farther_away_than_new_rows_of_known_ones() {
        let known = digits(|class| class < 8);
        let part = |odd: usize| known.iter().skip(odd).step_by(2).copied().collect::<Vec<_>>();
        let (reference, rest) = (part(0), part(1));
        let neighbours = Neighbours::fit(reference.as_flattened(), 64).unwrap();
        let distances = |rows: &[[f32; 64]]| -> Vec<f32> {
            rows.iter().filter_map(|row| neighbours.distance(row)).collect()
        };
        let (usual, new) = (distances(&rest), distances(&digits(|class| class >= 8)));
        let above = |a: &f32| {
            usual
                .iter()
                .map(|b| {
                    if a > b {
                        1.0
                    } else if a == b {
                        0.5
                    } else {
                        0.0
                    }
                })
                .sum::<f64>()
        };
        let auroc = new.iter().map(above).sum::<f64>() / (usual.len() * new.len()) as f64;
        assert!(auroc > 0.85, "{auroc}");
        let alarmed = |rows: &[f32], level: f64| {
            rows.iter().filter(|d| neighbours.p_value(**d) <= level).count() as f64 / rows.len() as f64
        };
        let (false_share, share) = (alarmed(&usual, 0.05), alarmed(&new, 0.05));
        eprintln!(
            "digits 8 and 9 against 0 to 7: AUROC {auroc:.3}, at p = .05 {share:.2} against {false_share:.3}"
        );
        assert!(false_share < 0.08 && share > 0.3, "{false_share} {share}");
        assert!(usual.iter().filter(|d| neighbours.is_outlier(**d, 1e4)).count() == 0);
    }

    #[test]
    fn what_points_elsewhere_is_an_outlier() {
        let row = |i: u16| [10.0 + f32::from(i % 101) / 100.0, 10.0 + f32::from(i % 97) / 100.0, 0.0];
        let rows: Vec<[f32; 3]> = (0..2_000).map(row).collect();
        let neighbours = Neighbours::fit(rows.as_flattened(), 3).unwrap();
        assert_eq!((neighbours.width(), neighbours.kept.len() / 3 <= MAX_EMBEDDINGS), (3, true));
        let far = neighbours.distance(&[0.0, 0.0, 4.0]).unwrap();
        assert!(neighbours.is_outlier(far, 1e6) && neighbours.p_value(far) < 1e-3);
        let near = neighbours.distance(&row(7)).unwrap();
        assert!(!neighbours.is_outlier(near, 1.0) && neighbours.p_value(near) > 0.01);
        assert_eq!(neighbours.distance(&[1.0]), None);
        assert_eq!(neighbours.distance(&[f32::NAN, 0.0, 0.0]), None);
        assert_eq!(neighbours.distance(&[0.0; 3]), None);
    }

    #[test]
    fn shapes_and_limits_are_kept() {
        assert_eq!(Neighbours::fit(&[1.0; 5], 2), Err(NeighboursError::Shape { values: 5, width: 2 }));
        assert_eq!(Neighbours::fit(&[], 0), Err(NeighboursError::Shape { values: 0, width: 0 }));
        let few = [1.0; EMBEDDING_ROWS_MIN - 1];
        assert_eq!(Neighbours::fit(&few, 1), Err(NeighboursError::TooFew { found: few.len() }));
        assert!(Neighbours::fit(&[1.0; EMBEDDING_ROWS_MIN], 1).is_ok());
        let many: Vec<f32> = (0..20_000u32).map(|i| i as f32 + 1.0).collect();
        let neighbours = Neighbours::fit(&many, 2).unwrap();
        assert!(neighbours.kept.len() <= 2 * MAX_EMBEDDINGS && neighbours.held_back.len() <= MAX_HELD_BACK);
    }

    #[test]
    fn bytes_survive_and_others_are_refused() {
        let values: Vec<f32> = (0..200u16).map(|i| f32::from(i * 71 % 97) + 1.0).collect();
        let neighbours = Neighbours::fit(&values, 4).unwrap();
        let bytes = neighbours.to_bytes();
        assert_eq!(Neighbours::from_bytes(&bytes).unwrap(), neighbours);
        assert!((0..bytes.len()).all(|len| Neighbours::from_bytes(&bytes[..len]).is_err()));
        assert!(Neighbours::from_bytes(&[bytes.clone(), vec![0]].concat()).is_err());
        let mut broken = bytes;
        broken[13..17].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Neighbours::from_bytes(&broken).is_err());
    }
}
