//! Cells, and columns of them.
//!
//! A cell takes eight bytes, whatever it holds: a number is itself, a missing cell is NaN, and a text is a NaN whose
//! payload is its place in the column's list of distinct texts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::time::is_time;

/// Most distinct texts of a column; further ones are all the same unnamed one.
pub const TEXTS_MAX: usize = 1 << 21;
/// Longest text that is kept; a longer one is cut.
const TEXT_BYTES_MAX: usize = 256;
/// Share of cells that must be numbers for the others to count as faults in a column of numbers.
const NUMBERS_MIN: f64 = 0.9;
/// Bits of a text: a quiet NaN that no arithmetic makes.
const TEXT_TAG: u64 = 0x7ffc_0000_0000_0000;
const TAG_MASK: u64 = 0xffff_ffff_0000_0000;

/// One value of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell(u64);

impl Cell {
    /// No value.
    pub const MISSING: Self = Self(0x7ff8_0000_0000_0000);

    /// A number; NaN is missing.
    #[must_use]
    pub const fn number(value: f64) -> Self {
        if value.is_nan() { Self::MISSING } else { Self(value.to_bits()) }
    }

    const fn text(code: u32) -> Self {
        Self(TEXT_TAG | code as u64)
    }

    /// The number, if it is one.
    #[must_use]
    pub const fn as_number(self) -> Option<f64> {
        let value = f64::from_bits(self.0);
        if value.is_nan() { None } else { Some(value) }
    }

    /// The text's place in its column's list, if it is one.
    #[must_use]
    pub const fn as_text(self) -> Option<u32> {
        if self.0 & TAG_MASK == TEXT_TAG { Some(self.0 as u32) } else { None }
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_missing(self) -> bool {
        self.0 == Self::MISSING.0
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Empty,
    /// Numbers, perhaps with a few faulty cells among them.
    Numbers,
    /// Texts, truth values and whatever else comes from a list of names.
    Categories,
    /// Dates, times of day or both.
    Times,
}

/// A named column.
#[derive(Debug, Clone)]
pub struct Column {
    name: String,
    cells: Vec<Cell>,
    texts: Vec<Arc<str>>,
    known: HashMap<Arc<str>, u32>,
}

impl Column {
    pub(super) fn new(name: String) -> Self {
        Self { name, cells: Vec::new(), texts: Vec::new(), known: HashMap::new() }
    }

    pub(super) fn push_number(&mut self, value: f64) {
        self.cells.push(Cell::number(value));
    }

    pub(super) fn push_missing(&mut self) {
        self.cells.push(Cell::MISSING);
    }

    pub(super) fn push_text(&mut self, text: &str) {
        let text = shortened(text);
        let code = self.known.get(text).copied().unwrap_or_else(|| self.learn(text));
        self.cells.push(Cell::text(code));
    }

    fn learn(&mut self, text: &str) -> u32 {
        let code = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        if self.texts.len() >= TEXTS_MAX {
            return code;
        }
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.known.insert(text, code);
        code
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its cells.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// What a cell shows; none if it is missing or not there.
    #[must_use]
    pub fn shown(&self, row: usize) -> Option<Cow<'_, str>> {
        self.show(*self.cells.get(row)?)
    }

    /// What a cell of this column shows; none if it is missing.
    #[must_use]
    pub fn show(&self, cell: Cell) -> Option<Cow<'_, str>> {
        match (cell.as_number(), cell.as_text()) {
            (Some(number), _) => Some(Cow::Owned(number.to_string())),
            (None, Some(code)) => {
                Some(Cow::Borrowed(self.texts.get(code as usize).map_or("(others)", |text| &**text)))
            }
            (None, None) => None,
        }
    }

    /// What the cells of `rows` are.
    #[must_use]
    pub fn kind(&self, rows: Range<usize>) -> Kind {
        let cells = self.part(rows);
        let numbers = cells.iter().filter(|cell| cell.as_number().is_some()).count();
        let texts = cells.iter().filter(|cell| cell.as_text().is_some()).count();
        match (numbers, texts) {
            (0, 0) => Kind::Empty,
            (0, _) if self.times(cells) => Kind::Times,
            _ if numbers as f64 >= NUMBERS_MIN * (numbers + texts) as f64 => Kind::Numbers,
            _ => Kind::Categories,
        }
    }

    fn part(&self, rows: Range<usize>) -> &[Cell] {
        let end = rows.end.min(self.cells.len());
        &self.cells[rows.start.min(end)..end]
    }

    /// Whether every text of `cells` is a time.
    fn times(&self, cells: &[Cell]) -> bool {
        let mut judged = vec![None; self.texts.len()];
        cells.iter().filter_map(|cell| cell.as_text()).all(|code| {
            let text = self.texts.get(code as usize);
            match judged.get_mut(code as usize) {
                Some(known) => *known.get_or_insert_with(|| text.is_some_and(|text| is_time(text))),
                None => true,
            }
        })
    }

    /// Whether the numbers of `rows` rise by the same step from row to row, as an index or a clock does.
    #[must_use]
    pub fn counts_rows(&self, rows: Range<usize>) -> bool {
        let Some(numbers) = self.rising(rows) else { return false };
        let step = numbers[1] - numbers[0];
        numbers.windows(2).all(|pair| (pair[1] - pair[0] - step).abs() <= 1e-6 * step)
    }

    /// Whether the numbers of `rows` never fall and mostly rise, as a counter or a running total does.
    #[must_use]
    pub fn keeps_rising(&self, rows: Range<usize>) -> bool {
        const ROWS_MIN: usize = 30;
        let cells = self.part(rows);
        let ordered =
            |pair: &[Cell]| pair[0].as_number().is_some() && pair[0].as_number() <= pair[1].as_number();
        let rises = cells.windows(2).filter(|pair| pair[0].as_number() < pair[1].as_number()).count();
        cells.len() >= ROWS_MIN && 2 * rises >= cells.len() && cells.windows(2).all(ordered)
    }

    /// Whether the name speaks of time and the numbers of `rows` rise, as seconds since some day do.
    pub(super) fn is_epoch(&self, rows: Range<usize>) -> bool {
        speaks_of_time(&self.name) && self.rising(rows).is_some()
    }

    /// The numbers of `rows`, if there are a few and each is larger than the one before.
    fn rising(&self, rows: Range<usize>) -> Option<Vec<f64>> {
        const ROWS_MIN: usize = 3;
        let cells = self.part(rows);
        let rises = |pair: &[Cell]| pair[0].as_number() < pair[1].as_number();
        if cells.len() < ROWS_MIN || cells[0].as_number().is_none() || !cells.windows(2).all(rises) {
            return None;
        }
        cells.iter().map(|cell| cell.as_number()).collect()
    }
}

/// Whether a column of this name is likely to say when a row was.
pub(super) fn speaks_of_time(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["time", "date", "epoch", "__index_level_0__"].iter().any(|word| name.contains(word))
        || ["ts", "t", "day", "month", "year"].contains(&name.as_str())
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}
