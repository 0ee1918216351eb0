//! Reading CSV: any usual separator, quotes, a byte order mark, missing cells in any usual spelling.
//!
//! The separator is the one of comma, semicolon, tab and bar that the header holds most of, quotes aside. Where it is not
//! the comma, a comma may be the decimal sign. The header is the first line; it must not consist of numbers.

use std::cell::Cell as Shared;
use std::io::{self, BufRead as _, BufReader, Read};
use std::rc::Rc;

use csv::{ByteRecord, Terminator};

use super::{CELLS_MAX, Column, RECORD_BYTES_MAX, Selection, Table, TableError, kept};

const SEPARATORS: [u8; 4] = *b",;\t|";
const MISSING: [&str; 13] =
    ["", ".", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "missing", "<na>"];

/// Reads the table.
pub(super) fn read(file: &str, reader: impl Read, selection: Selection<'_>) -> Result<Table, TableError> {
    let unread = Rc::new(Shared::new(0));
    let mut reader = BufReader::new(reader);
    let separator = separator(reader.fill_buf().map_err(|source| read_error(file, source))?);
    let metered = Metered { reader, unread: Rc::clone(&unread) };
    let mut records = csv::ReaderBuilder::new()
        .delimiter(separator)
        .terminator(Terminator::CRLF)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(metered);
    let mut record = ByteRecord::new();
    let mut next = |record: &mut ByteRecord| {
        unread.set(0);
        records.read_byte_record(record).map_err(|source| read_error(file, io::Error::from(source)))
    };
    if !next(&mut record)? {
        return Err(format_error(file, "the file is empty; it needs a header line and rows"));
    }
    let names = header(file, &record)?;
    let kept = kept(file, &names, selection)?;
    let mut table = Table::default();
    let chosen = |(name, kept): (&String, &bool)| kept.then(|| Column::new(name.clone()));
    table.columns = names.iter().zip(&kept).filter_map(chosen).collect();
    let decimal_comma = separator != b',';
    while next(&mut record)? {
        push(file, &mut table, &record, (&names, &kept), decimal_comma)?;
    }
    Ok(table)
}

fn read_error(file: &str, source: io::Error) -> TableError {
    TableError::Read { file: file.to_owned(), source }
}

fn format_error(file: &str, reason: &str) -> TableError {
    TableError::Format { file: file.to_owned(), reason: reason.to_owned() }
}

/// Ends a file whose lines have no end, as after a quote that nobody closes.
struct Metered<R> {
    reader: R,
    unread: Rc<Shared<usize>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.unread.set(self.unread.get() + read);
        match self.unread.get() > RECORD_BYTES_MAX {
            true => Err(io::Error::other(format!(
                "a line is longer than {RECORD_BYTES_MAX} bytes; is a quote not closed?"
            ))),
            false => Ok(read),
        }
    }
}

/// The separator that the first line of `start` holds most of outside quotes; a comma if it holds none.
fn separator(start: &[u8]) -> u8 {
    let mut counts = [0; SEPARATORS.len()];
    let mut quoted = false;
    for byte in start {
        if !quoted && matches!(*byte, b'\n' | b'\r') {
            break;
        }
        quoted ^= *byte == b'"';
        if let Some(at) = SEPARATORS.iter().position(|separator| separator == byte).filter(|_| !quoted) {
            counts[at] += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    let at = counts.iter().position(|count| *count == most).unwrap_or(0);
    SEPARATORS[at]
}

fn header(file: &str, record: &ByteRecord) -> Result<Vec<String>, TableError> {
    let texts: Vec<String> = record.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(format_error(
            file,
            "this is neither CSV nor Parquet: its first line holds zero bytes; save the table as one of the two",
        ));
    }
    if texts.iter().all(|text| text.parse::<f64>().is_ok()) {
        return Err(format_error(file, "the first line holds numbers; it must name the columns"));
    }
    let named =
        |(at, text): (usize, String)| if text.is_empty() { format!("column {}", at + 1) } else { text };
    Ok(texts.into_iter().enumerate().map(named).collect())
}

fn push(
    file: &str,
    table: &mut Table,
    record: &ByteRecord,
    (names, kept): (&[String], &[bool]),
    decimal_comma: bool,
) -> Result<(), TableError> {
    let blank = record.len() == 1 && record[0].is_empty();
    if blank && names.len() > 1 {
        return Ok(());
    }
    if record.len() != names.len() {
        let line = record.position().map_or(0, csv::Position::line);
        return Err(TableError::Ragged {
            file: file.to_owned(),
            line,
            expected: names.len(),
            found: record.len(),
        });
    }
    if (table.rows + 1).saturating_mul(table.columns.len()) > CELLS_MAX {
        return Err(TableError::TooLarge { file: file.to_owned() });
    }
    let cells = record.iter().zip(kept).filter(|(_, kept)| **kept).map(|(cell, _)| cell);
    for (column, cell) in table.columns.iter_mut().zip(cells) {
        push_cell(column, &String::from_utf8_lossy(cell), decimal_comma);
    }
    table.rows += 1;
    Ok(())
}

fn push_cell(column: &mut Column, text: &str, decimal_comma: bool) {
    if let Some(value) = number(text, decimal_comma) {
        column.push_number(value);
    } else if MISSING.iter().any(|missing| missing.eq_ignore_ascii_case(text)) {
        column.push_missing();
    } else {
        column.push_text(text);
    }
}

/// A number, perhaps with a decimal comma or with groups of thousands; NaN is one.
fn number(text: &str, decimal_comma: bool) -> Option<f64> {
    let starts = text.bytes().next()?;
    if !(starts.is_ascii_digit() || matches!(starts, b'+' | b'-' | b'.' | b',' | b'i' | b'I' | b'n' | b'N')) {
        return None;
    }
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b',' | b'e' | b'E'));
    match (plain, text.matches(',').count()) {
        (true, 1) if decimal_comma && !text.contains('.') => text.replace(',', ".").parse().ok(),
        (true, 1..) if grouped(text) => text.replace(',', "").parse().ok(),
        _ => None,
    }
}

/// Whether commas stand before each group of three digits, and nowhere else.
fn grouped(text: &str) -> bool {
    let whole = text.split('.').next().unwrap_or_default().trim_start_matches(['+', '-']);
    let mut groups = whole.split(',');
    let digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    groups.next().is_some_and(|first| (1..=3).contains(&first.len()) && digits(first))
        && groups.all(|group| group.len() == 3 && digits(group))
}
