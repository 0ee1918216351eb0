//! Which segments a row belongs to, from features that a reference knows: ranges of numbers, and categories by name.

use super::{OTHER_SEGMENT, Segment};
use crate::bins::{BELOW, FIRST_BIN};
use crate::feature::Categories;
use crate::reference::{Reference, Stream};
use crate::sample::UNSEEN_VALUE;

/// Ranges that a numeric feature is cut into, about equally many reference rows each.
const RANGES: usize = 4;

/// Cuts named features into ranges.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Segmenter(Vec<Feature>);

#[derive(Debug, Clone, PartialEq)]
struct Feature {
    index: usize,
    name: String,
    by: By,
}

#[derive(Debug, Clone, PartialEq)]
enum By {
    /// Upper ends of all ranges but the last.
    Ranges(Vec<f32>),
    Categories(Categories),
}

impl Segmenter {
    /// Cuts those of `features` that `reference` has; other names are ignored.
    #[must_use]
    pub fn new(reference: &Reference, features: &[String]) -> Self {
        let known = &reference.streams()[..reference.features().min(reference.streams().len())];
        let named =
            known.iter().enumerate().filter(|(_, stream)| features.iter().any(|f| f == stream.name()));
        let cut = |(index, stream): (usize, &Stream)| {
            Some(Feature { index, name: stream.name().to_owned(), by: by(stream)? })
        };
        Self(named.filter_map(cut).collect())
    }

    /// The segment of each feature in a row of values.
    #[must_use]
    pub fn of(&self, values: &[f32]) -> Vec<Segment> {
        let value = |feature: &Feature| values.get(feature.index).copied().unwrap_or(f32::NAN);
        self.0.iter().map(|feature| Segment::new(&feature.name, &feature.range(value(feature)))).collect()
    }
}

impl Feature {
    fn range(&self, value: f32) -> String {
        if value.is_nan() && value.to_bits() != UNSEEN_VALUE.to_bits() {
            return "missing".to_owned();
        }
        let cuts = match &self.by {
            By::Categories(categories) => return categories.name(value).unwrap_or(OTHER_SEGMENT).to_owned(),
            By::Ranges(cuts) => cuts,
        };
        let place = cuts.iter().filter(|cut| value > **cut).count();
        match (place.checked_sub(1).and_then(|below| cuts.get(below)), cuts.get(place)) {
            (None, None) => "any".to_owned(),
            (None, Some(high)) => format!("<= {high}"),
            (Some(low), None) => format!("> {low}"),
            (Some(low), Some(high)) => format!("{low} to {high}"),
        }
    }
}

fn by(stream: &Stream) -> Option<By> {
    match stream.categories() {
        Some(categories) => Some(By::Categories(categories.clone())),
        None => cuts(stream).map(By::Ranges),
    }
}

/// Edges of the reference's bins nearest below each quarter of its rows.
fn cuts(stream: &Stream) -> Option<Vec<f32>> {
    let numeric = stream.numeric()?;
    let bins = &stream.counts()[FIRST_BIN..numeric.bins.above()];
    let total: u64 = stream.counts()[BELOW..].iter().sum();
    let mut cuts = Vec::new();
    let mut passed = 0;
    for (count, edge) in bins.iter().zip(numeric.bins.edges()) {
        passed += count;
        let due = (cuts.len() as u64 + 1) * total;
        if passed * RANGES as u64 >= due && cuts.len() < RANGES - 1 {
            cuts.push(*edge);
        }
    }
    Some(cuts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sample;

    fn segmenter(values: &[[f32; 2]], names: &[&str]) -> Segmenter {
        let rows = values.iter().map(|row| Sample { features: row, predicted: None, confidence: None });
        let features = ["age", "kind"].map(str::to_owned);
        let reference = Reference::fit(&features, &[], rows).unwrap();
        Segmenter::new(&reference, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    fn check(segmenter: &Segmenter, values: &[f32], expected: &[(&str, &str)]) {
        let expected: Vec<Segment> = expected.iter().map(|(name, value)| Segment::new(name, value)).collect();
        assert_eq!(segmenter.of(values), expected);
    }

    #[test]
    fn quarters_of_many_values_and_each_of_few() {
        let rows: Vec<[f32; 2]> = (0..320u16).map(|i| [f32::from(i), f32::from(i % 2)]).collect();
        let ages = segmenter(&rows, &["age", "confidence", "nobody"]);
        check(&ages, &[3.0], &[("age", "<= 79.5")]);
        check(&ages, &[100.0], &[("age", "79.5 to 159.5")]);
        check(&ages, &[1e9], &[("age", "> 239.5")]);
        check(&ages, &[f32::NAN], &[("age", "missing")]);
        check(&ages, &[], &[("age", "missing")]);
        let kinds = segmenter(&rows, &["kind"]);
        check(&kinds, &[0.0, 1.0], &[("kind", "> 0.5")]);
        check(&segmenter(&[[1.0, 2.0]], &["kind"]), &[0.0, 1.0], &[("kind", "any")]);
        check(&segmenter(&rows, &[]), &[0.0, 1.0], &[]);
    }
}
