//! A hidden layer in a few numbers: its size, its spread, and where it points.

use super::{SummaryError, finished, moments, share};

/// Directions that an embedding is projected on.
pub const EMBEDDING_PROJECTIONS: usize = 8;
/// Names of what [`embedding`] gives, in order.
pub const EMBEDDING_FEATURES: [&str; 5 + EMBEDDING_PROJECTIONS] = [
    "norm",
    "mean",
    "deviation",
    "largest",
    "zero_share",
    "projection_0",
    "projection_1",
    "projection_2",
    "projection_3",
    "projection_4",
    "projection_5",
    "projection_6",
    "projection_7",
];

/// The numbers of [`EMBEDDING_FEATURES`] for one embedding.
///
/// The projections are sums with signs that are fixed for ever, divided by the square root of the length: a change that
/// moves embeddings in any one direction moves most of them (D. Achlioptas, "Database-friendly random projections", 2003).
///
/// # Errors
/// There are no values.
pub fn embedding(values: &[f32]) -> Result<[f32; EMBEDDING_FEATURES.len()], SummaryError> {
    if values.is_empty() {
        return Err(SummaryError::Empty("values"));
    }
    let wide = || values.iter().map(|value| f64::from(*value));
    let (mean, deviation) = moments(wide());
    let mut summary = [0.0; EMBEDDING_FEATURES.len()];
    summary[0] = wide().map(|value| value * value).sum::<f64>().sqrt();
    summary[1] = mean;
    summary[2] = deviation;
    summary[3] = wide().map(f64::abs).fold(0.0, f64::max);
    summary[4] = share(values.iter(), |value| **value == 0.0);
    let scale = (values.len() as f64).sqrt();
    for (direction, projection) in (0u32..).zip(&mut summary[5..]) {
        *projection = (0u64..).zip(wide()).map(|(i, value)| sign(i, direction) * value).sum::<f64>() / scale;
    }
    Ok(finished(summary))
}

/// The sign of value `i` in a direction: a bit of SplitMix64 (G. Steele et al., 2014).
fn sign(i: u64, direction: u32) -> f64 {
    let mut z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    if ((z ^ (z >> 31)) >> (8 * direction)) & 1 == 0 { 1.0 } else { -1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_direction_show() {
        let here: Vec<f32> = (0..256u16).map(|i| f32::from(i % 2)).collect();
        let there: Vec<f32> = (0..256u16).map(|i| f32::from((i / 2) % 2)).collect();
        let (here, there) = (embedding(&here).unwrap(), embedding(&there).unwrap());
        assert_eq!(here[..5], there[..5], "only the direction differs");
        assert!((here[0] - 128f32.sqrt()).abs() < 1e-5 && here[1] == 0.5 && here[4] == 0.5);
        let moved = here[5..].iter().zip(&there[5..]).filter(|(a, b)| (*a - *b).abs() > 0.2).count();
        assert!(moved >= 4, "{here:?} {there:?}");
    }

    #[test]
    fn directions_are_near_orthogonal_and_never_change() {
        for (a, b) in [(0, 1), (2, 5), (6, 7)] {
            let product: f64 = (0..4_096).map(|i| sign(i, a) * sign(i, b)).sum();
            assert!(product.abs() < 200.0, "{a} {b}: {product}");
        }
        let signs: Vec<f64> = (0..8).map(|i| sign(i, 0)).collect();
        assert_eq!(signs, [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]);
        assert_eq!(embedding(&[]), Err(SummaryError::Empty("values")));
        assert!(embedding(&[f32::NAN]).unwrap()[0].is_nan());
    }
}
