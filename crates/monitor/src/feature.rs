//! Features that are categories: codes or texts, each with a cell of its own.
//!
//! A value is a number all the same, so that a row stays a row of numbers: a code is itself, a text is its place among
//! the texts that the reference names ([`Categories::code`]). Categories with fewer than [`CATEGORY_ROWS_MIN`] rows, and
//! those beyond [`FEATURE_CATEGORIES_MAX`], have no cell of their own: the reference counts them as unseen, and so does a
//! device.
//!
//! Whether one that the reference never saw is *impossible* depends on how its rarest ones thin out
//! ([`is_closed`]): five colours of equal frequency are all there are, but who has one fault in a thousand rows will
//! have a rarer one, too. The second kind is watched by how often it comes, not one by one.

use crate::bins::{FIRST_CLASS, MISSING, UNSEEN_CLASS};
use crate::codec::{DecodeError, Reader, Writer, ensure};
use crate::reference::MAX_NAME_BYTES;
use crate::sample::UNSEEN_VALUE;

/// Categories of a feature that are counted one by one.
pub const FEATURE_CATEGORIES_MAX: usize = 256;
/// Reference rows that give a category a cell of its own.
pub const CATEGORY_ROWS_MIN: u32 = 5;
/// Rows of the next rarer category that must be lacking before there is believed to be none: had there been one, a
/// reference without it would be as rare as `exp(-7)`.
const LACKING_ROWS_MIN: f64 = 7.0;
/// How common the next rarer category is at most, in parts of the rarest one.
const NEXT_RARER_MAX: f64 = 0.5;

/// How a feature is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FeatureKind {
    /// As a number.
    #[default]
    Number,
    /// As one of a set of numbers whose order means nothing.
    Codes,
    /// As one of a set of texts. Its values in a fit are places in this list, which names every text of the rows.
    Texts(Vec<String>),
}

/// The categories of one feature that a reference names.
#[derive(Debug, Clone, PartialEq)]
pub struct Categories {
    /// Texts in byte order, or the codes as texts.
    names: Vec<String>,
    /// Rising; none if they are texts.
    codes: Option<Box<[f32]>>,
}

impl Categories {
    /// What they are called, in the order of their cells.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether they are texts, whose values are places in [`Categories::names`].
    #[must_use]
    pub const fn are_texts(&self) -> bool {
        self.codes.is_none()
    }

    /// The value that stands for `text` in a row; one that counts as unseen if no category is called so.
    #[must_use]
    pub fn code(&self, text: &str) -> f32 {
        let place = match &self.codes {
            Some(_) => {
                return text.trim().parse().ok().filter(|v: &f32| v.is_finite()).unwrap_or(UNSEEN_VALUE);
            }
            None => self.names.binary_search_by(|name| name.as_str().cmp(text)),
        };
        place.map_or(UNSEEN_VALUE, |place| place as f32)
    }

    /// What a value stands for; none for one that is missing or unseen.
    #[must_use]
    pub fn name(&self, value: f32) -> Option<&str> {
        self.names.get(self.cell(value).checked_sub(FIRST_CLASS)?).map(String::as_str)
    }

    #[inline]
    pub(crate) fn cell(&self, value: f32) -> usize {
        if value.is_nan() {
            return if value.to_bits() == UNSEEN_VALUE.to_bits() { UNSEEN_CLASS } else { MISSING };
        }
        let place = match &self.codes {
            // Zero has two signs and is one category.
            Some(codes) => codes.binary_search_by(|code| code.total_cmp(&(value + 0.0))).ok(),
            None => Some(value as usize).filter(|place| *place < self.names.len() && *place as f32 == value),
        };
        place.map_or(UNSEEN_CLASS, |place| FIRST_CLASS + place)
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.len(self.names.len());
        self.names.iter().for_each(|name| w.str(name));
        w.u8(u8::from(self.codes.is_some()));
        self.codes.iter().flatten().for_each(|code| w.f32(*code));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = r.len("categories", FEATURE_CATEGORIES_MAX)?;
        let names =
            (0..len).map(|_| r.str("name of a category", MAX_NAME_BYTES)).collect::<Result<Vec<_>, _>>()?;
        let coded = r.u8("categories")?;
        ensure(coded <= 1, "categories")?;
        if coded == 0 {
            ensure(names.is_sorted_by(|a, b| a < b), "order of categories")?;
            return Ok(Self { names, codes: None });
        }
        let codes = (0..len).map(|_| r.f32("code of a category")).collect::<Result<Vec<_>, _>>()?;
        let rising =
            codes.windows(2).all(|pair| pair[0] < pair[1]) && codes.iter().all(|code| code.is_finite());
        ensure(rising && codes.iter().all(|code| code.to_bits() != (-0.0f32).to_bits()), "codes")?;
        Ok(Self { names, codes: Some(codes.into()) })
    }
}

/// The categories of a column and its counts, laid out as cells.
pub(crate) fn fit(kind: &FeatureKind, column: &[f32]) -> (Categories, Box<[u32]>) {
    let mut seen: Vec<f32> =
        column.iter().copied().filter(|value| value.is_finite()).map(|value| value + 0.0).collect();
    seen.sort_by(f32::total_cmp);
    let runs = seen.chunk_by(|a, b| a == b).filter(|run| run.len() >= CATEGORY_ROWS_MIN as usize);
    let mut frequent: Vec<(usize, f32)> = runs.map(|run| (run.len(), run[0])).collect();
    frequent.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.total_cmp(&b.1)));
    frequent.truncate(FEATURE_CATEGORIES_MAX);
    let mut codes: Vec<f32> = frequent.into_iter().map(|(_, code)| code).collect();
    let FeatureKind::Texts(vocabulary) = kind else {
        codes.sort_by(f32::total_cmp);
        let names = codes.iter().map(f32::to_string).collect();
        let categories = Categories { names, codes: Some(codes.into()) };
        return counted(categories, column.iter().copied());
    };
    let text = |code: f32| vocabulary.get(code as usize).map(String::as_str);
    let mut names: Vec<String> = codes.iter().filter_map(|code| Some(text(*code)?.to_owned())).collect();
    names.sort_unstable();
    names.dedup();
    let categories = Categories { names, codes: None };
    let known: Vec<f32> = vocabulary.iter().map(|text| categories.code(text)).collect();
    let recoded = |value: &f32| match value.is_finite() {
        true => known.get(*value as usize).copied().unwrap_or(UNSEEN_VALUE),
        false => *value,
    };
    let values: Vec<f32> = column.iter().map(recoded).collect();
    counted(categories, values.into_iter())
}

fn counted(categories: Categories, values: impl Iterator<Item = f32>) -> (Categories, Box<[u32]>) {
    let mut counts = vec![0u32; FIRST_CLASS + categories.names.len()];
    values.for_each(|value| counts[categories.cell(value)] += 1);
    (categories, counts.into())
}

/// Whether a category that is not among those of `counts` is impossible.
pub(crate) fn is_closed(counts: &[u32]) -> bool {
    let mut named: Vec<f64> = counts[FIRST_CLASS..].iter().map(|count| f64::from(*count)).collect();
    named.sort_by(|a, b| b.total_cmp(a));
    let [most, .., before, rarest] = match named[..] {
        [one, two] => [one, one, two],
        [first, .., before, last] => [first, before, last],
        _ => return false,
    };
    let steady = (rarest / most).powf(1.0 / (named.len() - 1) as f64);
    let ratio = (rarest / before).min(steady).min(NEXT_RARER_MAX);
    counts[UNSEEN_CLASS] == 0 && rarest * ratio / (1.0 - ratio) >= LACKING_ROWS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(column: &[f32]) -> (Categories, Box<[u32]>) {
        fit(&FeatureKind::Codes, column)
    }

    #[test]
    fn codes_have_cells_and_rare_ones_count_as_unseen() {
        let mut column = [7.0f32, -0.0, 3.0].repeat(10);
        column.extend([f32::NAN, 9.0, 9.0, f32::INFINITY]);
        let (categories, counts) = codes(&column);
        assert_eq!(
            (categories.names(), &counts[..]),
            (&["0", "3", "7"].map(str::to_owned)[..], &[1, 3, 10, 10, 10][..])
        );
        let cells =
            [f32::NAN, 9.0, 0.0, -0.0, 3.0, 7.0, f32::NEG_INFINITY].map(|value| categories.cell(value));
        assert_eq!(cells, [0, 1, 2, 2, 3, 4, 1]);
        assert_eq!((categories.code("3"), categories.name(3.0)), (3.0, Some("3")));
        assert_eq!(categories.code("x").to_bits(), UNSEEN_VALUE.to_bits());
    }

    #[test]
    fn texts_are_their_places_in_byte_order() {
        let kind = FeatureKind::Texts(["red", "blue", "odd"].map(str::to_owned).to_vec());
        let column: Vec<f32> = (0..20u8).map(|i| f32::from(i % 2)).chain([2.0, 99.0, f32::NAN]).collect();
        let (categories, counts) = fit(&kind, &column);
        assert_eq!(
            (categories.names(), &counts[..]),
            (&["blue", "red"].map(str::to_owned)[..], &[1, 2, 10, 10][..])
        );
        assert_eq!((categories.code("red"), categories.cell(1.0), categories.cell(1.5)), (1.0, 3, 1));
        assert_eq!((categories.cell(categories.code("odd")), categories.name(0.0)), (1, Some("blue")));
    }

    #[test]
    fn a_set_is_closed_if_a_rarer_one_would_have_shown() {
        let closed = |named: &[u32]| is_closed(&[&[3, 0], named].concat());
        assert!(closed(&[100, 100, 100]) && closed(&[14, 14]) && closed(&[600, 300, 98]));
        assert!(!closed(&[100]) && !closed(&[5, 5, 5]) && !closed(&[950, 48]) && !closed(&[9_990, 10]));
        assert!(!is_closed(&[0, 1, 100, 100, 100]));
    }
}
