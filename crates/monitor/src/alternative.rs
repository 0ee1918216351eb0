//! Likelihood ratios of a grid of alternatives, by reference cell, valid for every null near the reference.
//!
//! An alternative tilts the reference: `exp(theta * score)`, with normal scores of mid-ranks for location,
//! their squares for spread, and single cells for missing values, values outside the support and classes.
//! Scores are standardised under the reference, so `theta` counts standard deviations however heavy the ties.
//!
//! The null is composite. A reference of `n` rows is only known up to a confidence region, so each tilt is
//! divided by its largest mean over that region: its expectation is then at most one under *every* null of
//! the region. Alternatives nearer than the region's radius, or without expected growth after that division,
//! are dropped: constant features and never-seen cells therefore cannot explode.
//!
//! Sources: J. Shin, A. Ramdas, A. Rinaldo, "E-detectors" (2022), for e-values under composite nulls.

use crate::bins::{BELOW, FIRST_BIN, FIRST_CLASS, MISSING, NEGATIVE_INFINITY, UNSEEN_CLASS};
use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::confidence::{bernoulli_lower, bernoulli_upper, largest_mean};
use crate::normal;
use crate::ratio;
use crate::reference::{Numeric, Stream, StreamKind};
use crate::runs::Runs;

/// Alternatives per numeric stream fit in this many lanes; tables are padded to a multiple of [`LANES`].
pub(crate) const LANES: usize = 8;

const LOCATIONS: usize = 5;
const LOCATION_MIN: f64 = 0.128;
const LOCATION_MAX: f64 = 2.1;
/// Prior weights: of a shift, of a spread, and of a single cell.
const LOCATION_WEIGHT: f64 = 8.0;
const SPREAD_WEIGHT: f64 = 4.0;
const CELL_WEIGHT: f64 = 2.5;
const SPREADS: [f64; 3] = [0.3, 0.55, -0.8];
const CELL_ODDS: f64 = 5.0;
const CELL_MIN: f64 = 0.05;
/// Cells after a numeric stream's own, if its missing values come in runs: a run goes on, a run ends.
pub(crate) const RUN_CELLS: usize = 2;
const CLASS_ODDS: f64 = 2.5;
/// Classes with alternatives of their own: the most frequent ones.
const CLASSES_TILTED: usize = 32;
/// Categories of a feature with alternatives of their own, and groups of the others.
const CATEGORIES_ALONE: usize = 8;
const CATEGORY_GROUPS: usize = 4;
/// Categories of a group that are named in a message.
const NAMED_MAX: usize = 3;
/// A numeric stream of so few bins is watched bin by bin, too: it may be codes, and codes may trade places without a
/// shift or a spread. More would not fit into the bytes that a stream may touch.
const FEW_BINS: std::ops::RangeInclusive<usize> = 3..=7;
const MIN_GROWTH: f64 = 1e-4;
const MAX_EXPONENT: f64 = 20.0;
/// Probability that the truth of some stream lies beyond its confidence region, over the whole device.
const REGION_MISS: f64 = 0.02;
/// Probability that more mass than assumed lies in cells that some stream's reference never saw. Smaller than
/// [`REGION_MISS`], for the mass beyond a sample's extremes is skewed: it exceeds `x / n` with probability
/// `exp(-x)`.
const UNSEEN_MISS: f64 = 0.002;
/// Nearest alternative, in radii of the region. Evidence for a shift of `theta` grows only beyond
/// `radius + theta / 2`, so this is a second margin: 1.6 radii in all.
const LOCATION_RADII: f64 = 1.2;

/// A way in which a stream may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alternative {
    /// Values grew.
    Higher,
    /// Values shrank.
    Lower,
    /// Values spread out.
    Wider,
    /// Values drew together.
    Narrower,
    /// More values are missing.
    Missing,
    /// More values are below anything in the reference.
    Below,
    /// More values are above anything in the reference.
    Above,
    /// A class is predicted more often, or a category comes more often.
    MoreOften(usize),
    /// A class is predicted less often, or a category comes less often.
    LessOften(usize),
    /// A group of rarer categories comes more often.
    RarerMoreOften(usize),
    /// Categories that the reference does not name come more often.
    UnseenMoreOften,
    /// A bin of a numeric stream with few bins holds more values.
    BinMoreOften(usize),
}

impl Alternative {
    /// How likely it is thought to be before anything is seen, against the others of its stream.
    fn weight(self) -> f64 {
        match self {
            Self::Higher | Self::Lower => LOCATION_WEIGHT,
            Self::Wider | Self::Narrower => SPREAD_WEIGHT,
            _ => CELL_WEIGHT,
        }
    }

    /// The change in words.
    #[must_use]
    pub fn describe(self, stream: &Stream) -> String {
        let class = |index: usize| {
            let name = stream.names().and_then(|names| names.get(index)).map_or("?", String::as_str);
            format!("{} '{name}'", if stream.categories().is_some() { "category" } else { "class" })
        };
        match self {
            Self::Higher => "higher values".to_owned(),
            Self::Lower => "lower values".to_owned(),
            Self::Wider => "a wider spread".to_owned(),
            Self::Narrower => "a narrower spread".to_owned(),
            Self::Missing => "more missing values".to_owned(),
            Self::Below => "values below the reference's smallest".to_owned(),
            Self::Above => "values above the reference's largest".to_owned(),
            Self::MoreOften(index) => format!("{} more often", class(index)),
            Self::LessOften(index) => format!("{} less often", class(index)),
            Self::RarerMoreOften(group) => format!("{} more often", rarer(stream, group)),
            Self::UnseenMoreOften => "categories that the reference does not name more often".to_owned(),
            Self::BinMoreOften(bin) => format!("{} more often", values_of(stream, bin)),
        }
    }
}

/// Codes of the ratios of one stream: `codes[cell * lanes + k]` belongs to `alternatives[k]`; padding lanes hold
/// the smallest ratio, and evidence in them dies at once.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) lanes: usize,
    pub(crate) codes: Vec<u16>,
    pub(crate) alternatives: Vec<Alternative>,
    /// Weights of the alternatives, 1 together; of padding 0.
    pub(crate) weights: Vec<f32>,
}

/// Standard normal deviations that cover each stream's reference error in one direction, at once for all
/// streams, with probability `1 - REGION_MISS`.
fn deviations(streams: usize) -> f64 {
    -normal::quantile(REGION_MISS / streams.max(1) as f64)
}

/// How many independent rows a reference is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Worth {
    /// Where values lie.
    pub(crate) location: f64,
    /// How far they spread.
    pub(crate) spread: f64,
}

impl Worth {
    /// Rows that are independent.
    pub(crate) fn of_rows(rows: u64) -> Self {
        let rows = rows.max(1) as f64;
        Self { location: rows, spread: rows }
    }

    /// The lesser of two in each respect.
    pub(crate) fn min(self, other: Self) -> Self {
        Self { location: self.location.min(other.location), spread: self.spread.min(other.spread) }
    }

    pub(crate) fn write(self, w: &mut Writer) {
        w.f64(self.location);
        w.f64(self.spread);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (location, spread) = (r.f64("worth")?, r.f64("worth")?);
        let rows = 1e-3..=crate::MAX_REFERENCE_ROWS as f64;
        ensure(rows.contains(&location) && rows.contains(&spread), "worth")?;
        Ok(Self { location, spread })
    }
}

/// The table of `stream`, one of `streams`; none if the reference resolves no alternative.
pub(crate) fn table(stream: &Stream, worth: Worth, streams: usize) -> Option<Table> {
    let n = stream.rows().max(1);
    let p: Vec<f64> = stream.counts.iter().map(|count| f64::from(*count) / n as f64).collect();
    let null = Null::new(p.clone(), worth.location, streams);
    let columns = match &stream.kind {
        StreamKind::Numeric(numeric) => {
            numeric_columns(&null, &Null::new(p, worth.spread, streams), numeric, (n, streams))
        }
        StreamKind::Categorical { .. } => class_columns(&null),
        StreamKind::Categories(_) => category_columns(&null, &stream.counts),
    };
    let rows = columns.first().map_or(0, |(_, ratios)| ratios.len());
    (!columns.is_empty()).then(|| transpose(&columns, rows))
}

type Column = (Alternative, Vec<f64>);

fn transpose(columns: &[Column], cells: usize) -> Table {
    let lanes = columns.len().next_multiple_of(LANES);
    let mut codes = vec![ratio::encode(0.0); cells * lanes];
    for (k, (_, column)) in columns.iter().enumerate() {
        for (cell, ratio) in column.iter().enumerate() {
            codes[cell * lanes + k] = ratio::encode(*ratio);
        }
    }
    let alternatives: Vec<Alternative> = columns.iter().map(|(alternative, _)| *alternative).collect();
    let total: f64 = alternatives.iter().map(|alternative| alternative.weight()).sum();
    let mut weights: Vec<f32> = alternatives.iter().map(|a| (a.weight() / total) as f32).collect();
    weights.resize(lanes, 0.0);
    Table { lanes, codes, alternatives, weights }
}

/// The reference's frequencies and how well they are known.
struct Null {
    p: Vec<f64>,
    radius: f64,
    /// Radius for the mass of rare cells: the Chernoff bound of a binomial.
    unseen_radius: f64,
    resolution: f64,
}

impl Null {
    /// Frequencies known from as much as `rows` independent rows, of one of `streams` streams.
    fn new(p: Vec<f64>, rows: f64, streams: usize) -> Self {
        let z = deviations(streams);
        let unseen_radius = (streams.max(1) as f64 / UNSEEN_MISS).ln() / rows;
        Self { p, radius: z * z / (2.0 * rows), unseen_radius, resolution: z / rows.sqrt() }
    }

    /// Ratios of the tilt by `theta * score`.
    fn tilt(&self, score: &[f64], theta: f64) -> Option<Vec<f64>> {
        let tilts: Vec<f64> =
            score.iter().map(|s| (theta * s).clamp(-MAX_EXPONENT, MAX_EXPONENT).exp()).collect();
        let bound = self.largest_mean(&tilts);
        let mean: f64 = self.p.iter().zip(&tilts).map(|(p, g)| p * g).sum();
        let ratios: Vec<f64> = tilts.iter().map(|g| g / bound).collect();
        let growth: f64 =
            self.p.iter().zip(&tilts).zip(&ratios).map(|((p, g), e)| p * g / mean * e.ln()).sum();
        (growth > MIN_GROWTH).then_some(ratios)
    }

    /// The largest mean of `values` under any null: the region over the cells that the reference saw, and
    /// as much mass as may be in the others.
    fn largest_mean(&self, values: &[f64]) -> f64 {
        let cells = || self.p.iter().copied().zip(values.iter().copied());
        let (p, seen): (Vec<f64>, Vec<f64>) = cells().filter(|(p, _)| *p > 0.0).unzip();
        let bound = largest_mean(&p, &seen, self.radius);
        let unseen = cells().filter(|(p, _)| *p <= 0.0).map(|(_, value)| value).fold(bound, f64::max);
        let mass = bernoulli_upper(0.0, self.unseen_radius);
        (1.0 - mass) * bound + mass * unseen
    }

    /// Ratios of "the probability of `cells` rose to `odds` times its odds, and to `least`".
    fn rise(&self, cells: &[usize], odds: f64, least: f64) -> Option<Vec<f64>> {
        let observed = cells.iter().map(|cell| self.p[*cell]).sum::<f64>().min(1.0);
        let null = bernoulli_upper(observed, self.unseen_radius);
        let raised = (null * odds / (1.0 - null + null * odds)).max(least);
        self.pair(cells, null, raised)
    }

    /// Ratios of "the probability of `cells` fell to its odds over `odds`".
    fn fall(&self, cells: &[usize], odds: f64) -> Option<Vec<f64>> {
        let observed = cells.iter().map(|cell| self.p[*cell]).sum::<f64>().min(1.0);
        let null = bernoulli_lower(observed, self.radius);
        self.pair(cells, null, null / (null + (1.0 - null) * odds))
    }

    fn pair(&self, cells: &[usize], null: f64, alternative: f64) -> Option<Vec<f64>> {
        if !(1e-6..=1.0 - 1e-6).contains(&null) || (alternative - null).abs() < 1e-6 {
            return None;
        }
        let (hit, miss) = (alternative / null, (1.0 - alternative) / (1.0 - null));
        Some((0..self.p.len()).map(|cell| if cells.contains(&cell) { hit } else { miss }).collect())
    }

    /// `raw` with mean 0 and deviation 1 over the cells from `first` on, 0 before; none without spread.
    fn standardise(&self, raw: &[f64], first: usize) -> Option<Vec<f64>> {
        let mass: f64 = self.p[first..].iter().sum();
        let weighted = |f: &dyn Fn(f64) -> f64| -> f64 {
            self.p[first..].iter().zip(&raw[first..]).map(|(p, s)| p * f(*s)).sum::<f64>() / mass
        };
        let mean = weighted(&|s| s);
        let deviation = weighted(&|s| (s - mean).powi(2)).sqrt();
        let scale = |(cell, s): (usize, &f64)| if cell < first { 0.0 } else { (s - mean) / deviation };
        (mass > 0.0 && deviation > 1e-6).then(|| raw.iter().enumerate().map(scale).collect())
    }
}

fn numeric_columns(
    null: &Null,
    spreading: &Null,
    numeric: &Numeric,
    (n, streams): (u64, usize),
) -> Vec<Column> {
    let above = numeric.bins.above();
    let raw = rank_scores(null, above, n);
    let mut columns = Vec::new();
    if let Some(location) = null.standardise(&raw, NEGATIVE_INFINITY) {
        for theta in location_grid(null.resolution) {
            columns.push((Alternative::Higher, null.tilt(&location, theta)));
            columns.push((Alternative::Lower, null.tilt(&location, -theta)));
        }
        let squares: Vec<f64> = location.iter().map(|s| s * s).collect();
        let spread = null.standardise(&squares, NEGATIVE_INFINITY);
        for theta in SPREADS {
            let alternative = if theta > 0.0 { Alternative::Wider } else { Alternative::Narrower };
            let theta = theta.abs().max(spreading.resolution).copysign(theta);
            columns.push((alternative, spread.as_ref().and_then(|score| spreading.tilt(score, theta))));
        }
    }
    columns.push((Alternative::Missing, missing_column(null, numeric.runs, n, streams)));
    columns.push((Alternative::Below, spreading.rise(&[NEGATIVE_INFINITY, BELOW], CELL_ODDS, CELL_MIN)));
    columns.push((Alternative::Above, spreading.rise(&[above, above + 1], CELL_ODDS, CELL_MIN)));
    let bins = above - FIRST_BIN;
    if FEW_BINS.contains(&bins) {
        let rise = |bin| null.rise(&[FIRST_BIN + bin], CLASS_ODDS, CELL_MIN);
        columns.extend((0..bins).map(|bin| (Alternative::BinMoreOften(bin), rise(bin))));
    }
    let mut columns: Vec<Column> =
        columns.into_iter().filter_map(|(alternative, column)| Some((alternative, column?))).collect();
    if numeric.runs.is_some() {
        columns.iter_mut().for_each(|(_, ratios)| ratios.resize(null.p.len() + RUN_CELLS, 1.0));
    }
    columns
}

/// Ratios of "more values are missing"; where they come in runs, of "runs begin more often and last longer".
fn missing_column(null: &Null, runs: Option<Runs>, n: u64, streams: usize) -> Option<Vec<f64>> {
    let Some(runs) = runs else { return null.rise(&[MISSING], CELL_ODDS, CELL_MIN) };
    let events = |rows: u64| (streams.max(1) as f64 / UNSEEN_MISS).ln() / rows.max(1) as f64;
    let missing = (null.p[MISSING] * n as f64).round() as u64;
    let begun = bernoulli_upper(runs.begun(missing, n), events(n.saturating_sub(u64::from(runs.after))));
    let again =
        bernoulli_upper(f64::from(runs.again) / f64::from(runs.after.max(1)), events(u64::from(runs.after)));
    let raised = |p: f64| p * CELL_ODDS / (1.0 - p + p * CELL_ODDS);
    let mut ratios = null.pair(&[MISSING], begun, raised(begun).max(CELL_MIN))?;
    let goes_on = raised(again);
    ratios.extend([goes_on / again, (1.0 - goes_on) / (1.0 - again)]);
    ratios.iter().all(|ratio| ratio.is_finite()).then_some(ratios)
}

/// Shifts to look for, in standard deviations: a geometric grid from what the reference resolves.
fn location_grid(resolution: f64) -> impl Iterator<Item = f64> {
    let first = (LOCATION_RADII * resolution).max(LOCATION_MIN);
    let last = LOCATION_MAX.max(first);
    let step = (last / first).powf(1.0 / (LOCATIONS - 1) as f64);
    (0..LOCATIONS as i32).map(move |k| first * step.powi(k))
}

/// Normal scores of the mid-ranks of the cells. Cells outside the support score as the outermost bin: how much
/// mass they hold is too uncertain for more, and [`Alternative::Below`] and `Above` watch them on their own.
fn rank_scores(null: &Null, above: usize, n: u64) -> Vec<f64> {
    let half_row = 0.5 / n.max(1) as f64;
    let weight =
        |cell: usize| if cell == BELOW || cell == above { null.p[cell] + half_row } else { null.p[cell] };
    let finite: f64 = (BELOW..=above).map(weight).sum();
    let mut passed = 0.0;
    let mut scores = vec![0.0; null.p.len()];
    for (cell, score) in scores.iter_mut().enumerate().take(above + 1).skip(BELOW) {
        let rank = (passed + weight(cell) / 2.0) / finite;
        passed += weight(cell);
        *score = normal::quantile(rank.clamp(1e-9, 1.0 - 1e-9));
    }
    let (lowest, highest) = (scores[FIRST_BIN], scores[above - 1]);
    scores[..FIRST_BIN].fill(lowest);
    scores[above..].fill(highest);
    scores
}

fn class_columns(null: &Null) -> Vec<Column> {
    let mut classes: Vec<usize> = (FIRST_CLASS..null.p.len()).collect();
    classes.sort_by(|a, b| null.p[*b].total_cmp(&null.p[*a]));
    classes.truncate(CLASSES_TILTED);
    let mut columns = vec![(Alternative::Missing, null.rise(&[MISSING], CELL_ODDS, CELL_MIN))];
    for cell in classes {
        let class = cell - FIRST_CLASS;
        columns.push((Alternative::MoreOften(class), null.rise(&[cell], CLASS_ODDS, CELL_MIN)));
        columns.push((Alternative::LessOften(class), null.fall(&[cell], CLASS_ODDS)));
    }
    columns.into_iter().filter_map(|(alternative, column)| Some((alternative, column?))).collect()
}

/// The most frequent categories one by one, the others in groups of about equal frequency, and those without a cell.
fn category_columns(null: &Null, counts: &[u32]) -> Vec<Column> {
    let ranked = ranked(counts);
    let mut columns = vec![
        (Alternative::Missing, null.rise(&[MISSING], CELL_ODDS, CELL_MIN)),
        (Alternative::UnseenMoreOften, null.rise(&[UNSEEN_CLASS], CELL_ODDS, CELL_MIN)),
    ];
    for &cell in ranked.iter().take(CATEGORIES_ALONE) {
        let category = cell - FIRST_CLASS;
        columns.push((Alternative::MoreOften(category), null.rise(&[cell], CLASS_ODDS, CELL_MIN)));
        columns.push((Alternative::LessOften(category), null.fall(&[cell], CLASS_ODDS)));
    }
    for (group, cells) in groups(&ranked).enumerate() {
        columns.push((Alternative::RarerMoreOften(group), null.rise(cells, CLASS_ODDS, CELL_MIN)));
    }
    columns.into_iter().filter_map(|(alternative, column)| Some((alternative, column?))).collect()
}

/// Cells of categories, the most frequent first.
fn ranked(counts: &[u32]) -> Vec<usize> {
    let mut cells: Vec<usize> = (FIRST_CLASS..counts.len()).collect();
    cells.sort_by(|a, b| counts[*b].cmp(&counts[*a]).then(a.cmp(b)));
    cells
}

/// Those that have no alternative of their own, in groups.
fn groups(ranked: &[usize]) -> impl Iterator<Item = &[usize]> {
    let rarer = ranked.get(CATEGORIES_ALONE..).unwrap_or_default();
    rarer.chunks(rarer.len().div_ceil(CATEGORY_GROUPS).max(1))
}

/// A group of rarer categories in words.
fn rarer(stream: &Stream, group: usize) -> String {
    let (ranked, names) = (ranked(&stream.counts), stream.names().unwrap_or_default());
    let cells = groups(&ranked).nth(group).unwrap_or_default();
    let named: Vec<String> =
        cells.iter().take(NAMED_MAX).map(|cell| format!("'{}'", names[cell - FIRST_CLASS])).collect();
    let more = if cells.len() > NAMED_MAX { ", ..." } else { "" };
    format!("one of {} rarer categories ({}{more})", cells.len(), named.join(", "))
}

/// The values of one bin in words.
fn values_of(stream: &Stream, bin: usize) -> String {
    let Some(bins) = stream.numeric().map(|numeric| &numeric.bins) else { return "?".to_owned() };
    let (edges, (min, max)) = (bins.edges(), bins.support());
    match (bin.checked_sub(1).and_then(|before| edges.get(before)), edges.get(bin)) {
        (Some(low), Some(high)) => format!("values between {low} and {high}"),
        (Some(low), None) => format!("values between {low} and {max}"),
        (None, Some(high)) => format!("values between {min} and {high}"),
        (None, None) => format!("values between {min} and {max}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reference, Sample};

    fn stream(values: &[f32]) -> (Stream, u64) {
        let rows = values.iter().map(|v| Sample {
            features: std::slice::from_ref(v),
            predicted: None,
            confidence: None,
        });
        let reference = Reference::fit(&["x".to_owned()], &[], rows).unwrap();
        (reference.streams()[0].clone(), reference.rows())
    }

    fn check_expectation(values: &[f32]) -> usize {
        let (stream, n) = stream(values);
        let table = table(&stream, Worth::of_rows(n), 20).unwrap();
        for k in 0..table.alternatives.len() {
            let mean: f64 = stream
                .counts
                .iter()
                .enumerate()
                .map(|(cell, count)| {
                    f64::from(*count) / n as f64
                        * f64::from(ratio::decode(table.codes[cell * table.lanes + k]))
                })
                .sum();
            assert!(mean <= 1.0, "{:?} {mean}", table.alternatives[k]);
        }
        table.alternatives.len()
    }

    #[test]
    fn no_ratio_has_an_expectation_above_one() {
        let smooth: Vec<f32> = (0..500u16).map(f32::from).collect();
        let tied: Vec<f32> = (0..500u16).map(|i| f32::from((i % 20).saturating_sub(15))).collect();
        assert!(check_expectation(&smooth) > 8);
        assert!(check_expectation(&tied) > 4);
    }

    #[test]
    fn a_constant_feature_is_watched_only_for_what_it_never_was() {
        let (stream, n) = stream(&[3.0; 500]);
        let found = table(&stream, Worth::of_rows(n), 20).unwrap().alternatives;
        assert_eq!(found, [Alternative::Missing, Alternative::Below, Alternative::Above]);
    }
}
