//! How far a hidden layer's embedding lies from those of rows that the model learned from: what a model has not learned
//! shows there, when its confidence does not.
//!
//! A bounded set of embeddings is kept; the distance of a new one is the mean distance to its [`NEIGHBOURS`] nearest, all
//! brought to length one first. It is a number like any other feature: its values on rows that the model did *not* learn
//! from belong into a [`crate::Reference`], which then says what is usual and what is impossible
//! ([`crate::EMBEDDING_DISTANCE`]).
//!
//! Source: Y. Sun, Y. Ming, X. Zhu, Y. Li, "Out-of-distribution detection with deep nearest neighbors", ICML (2022).
//! Deliberately missing: an index (what is kept is small enough to be searched in full) and learning.

use crate::codec::{DecodeError, Reader, Writer, ensure};

/// Nearest embeddings that a distance is the mean of.
pub const NEIGHBOURS: usize = 5;
/// Most embeddings that are kept.
pub const MAX_EMBEDDINGS: usize = 512;
/// Most numbers of all embeddings that are kept: what a distance costs.
pub const MAX_EMBEDDING_VALUES: usize = 1 << 16;
/// Longest embedding.
pub const MAX_EMBEDDING_WIDTH: usize = 8_192;
/// Fewer rows than this say nothing.
pub const EMBEDDING_ROWS_MIN: usize = 4 * NEIGHBOURS;
/// Sums that are added up side by side.
const LANES: usize = 8;
const DOCUMENT: &str = "embeddings";
const MAGIC: [u8; 4] = *b"EWNN";
const VERSION: u8 = 2;

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

/// Embeddings to compare others with.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    width: usize,
    /// Embeddings of length one, one after the other.
    kept: Vec<f32>,
}

impl Neighbours {
    /// Keeps some of these embeddings of `width` numbers each, one after the other: evenly spread ones if they are too
    /// many. Rows that are not finite or all zero are left out.
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
        let every = usable.len().div_ceil(rows_max(width));
        Ok(Self { width, kept: usable.iter().step_by(every).flatten().copied().collect() })
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

    /// Numbers per embedding.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new(MAGIC, VERSION);
        w.len(self.width);
        w.len(self.kept.len() / self.width);
        self.kept.iter().for_each(|value| w.f32(*value));
        w.finish()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are not embeddings of a known version, or hold values that no fit produces.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes, DOCUMENT, MAGIC, VERSION)?;
        let width = r.len("width", MAX_EMBEDDING_WIDTH)?;
        let rows = r.len("embeddings", MAX_EMBEDDINGS)?;
        ensure(width > 0 && rows >= NEIGHBOURS && rows <= rows_max(width), "embeddings")?;
        let kept = (0..rows * width).map(|_| r.f32("embeddings")).collect::<Result<Vec<_>, _>>()?;
        ensure(kept.iter().all(|value| value.abs() <= 1.001), "embeddings")?;
        r.finish()?;
        Ok(Self { width, kept })
    }
}

/// Most embeddings of this width that are kept.
const fn rows_max(width: usize) -> usize {
    let rows = MAX_EMBEDDING_VALUES / width;
    if rows < MAX_EMBEDDINGS { rows } else { MAX_EMBEDDINGS }
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
        let squared = squared_distance(row, unit);
        if squared < least[NEIGHBOURS - 1] {
            let at = least.partition_point(|known| *known < squared);
            least[at..].rotate_right(1);
            least[at] = squared;
        }
    }
    least.iter().map(|squared| squared.sqrt()).sum::<f32>() / NEIGHBOURS as f32
}

/// Eight sums side by side: in the order of a single one, additions wait for each other.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for k in 0..LANES {
            sums[k] += (a[k] - b[k]) * (a[k] - b[k]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    sums.iter().sum::<f32>() + rest
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
    }

    #[test]
    fn what_points_elsewhere_is_far_away() {
        let row = |i: u16| [10.0 + f32::from(i % 101) / 100.0, 10.0 + f32::from(i % 97) / 100.0, 0.0];
        let rows: Vec<[f32; 3]> = (0..2_000).map(row).collect();
        let neighbours = Neighbours::fit(rows.as_flattened(), 3).unwrap();
        assert_eq!((neighbours.width(), neighbours.kept.len() / 3 <= MAX_EMBEDDINGS), (3, true));
        let far = neighbours.distance(&[0.0, 0.0, 4.0]).unwrap();
        assert!((far - std::f32::consts::SQRT_2).abs() < 1e-3, "{far}");
        assert!(neighbours.distance(&row(7)).unwrap() < 0.01);
        assert_eq!(neighbours.distance(&[1.0]), None);
        assert_eq!(neighbours.distance(&[f32::NAN, 0.0, 0.0]), None);
        assert_eq!(neighbours.distance(&[0.0; 3]), None);
    }

    #[test]
    fn distances_are_those_of_plain_arithmetic() {
        for width in [1, 7, 8, 19, 64] {
            let value = |i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0;
            let (a, b): (Vec<f32>, Vec<f32>) = (0..width).map(|i| (value(i), value(i + 5))).unzip();
            let plain: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            assert!((f64::from(squared_distance(&a, &b)) - plain).abs() < 1e-4, "{width}");
        }
    }

    #[test]
    fn shapes_and_limits_are_kept() {
        assert_eq!(Neighbours::fit(&[1.0; 5], 2), Err(NeighboursError::Shape { values: 5, width: 2 }));
        assert_eq!(Neighbours::fit(&[], 0), Err(NeighboursError::Shape { values: 0, width: 0 }));
        let few = [1.0; EMBEDDING_ROWS_MIN - 1];
        assert_eq!(Neighbours::fit(&few, 1), Err(NeighboursError::TooFew { found: few.len() }));
        assert!(Neighbours::fit(&[1.0; EMBEDDING_ROWS_MIN], 1).is_ok());
        let many: Vec<f32> = (0..20_000u32).map(|i| i as f32 + 1.0).collect();
        assert!(Neighbours::fit(&many, 2).unwrap().kept.len() <= 2 * MAX_EMBEDDINGS);
        let wide = vec![1.0; 40 * MAX_EMBEDDING_WIDTH];
        let kept = Neighbours::fit(&wide, MAX_EMBEDDING_WIDTH).unwrap().kept.len();
        assert!((NEIGHBOURS * MAX_EMBEDDING_WIDTH..=MAX_EMBEDDING_VALUES).contains(&kept), "{kept}");
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
