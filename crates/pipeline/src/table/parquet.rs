//! Reading Parquet: flat columns of numbers, texts, truth values, dates, times and decimals, nulls among them.
//!
//! One batch of one column is in memory besides the table itself. The library is trusted with bytes but not with its
//! manners: a panic of it is an error here. Deliberately missing: nested and repeated columns, which are refused by name,
//! and encrypted files.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, Int96};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::ColumnDescPtr;

use super::{CELLS_MAX, Column, Selection, Table, TableError, kept};

/// How a Parquet file begins and ends.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;
/// Largest column of one row group, decompressed, that is read.
const CHUNK_BYTES_MAX: i64 = 1 << 31;

/// Reads the table.
pub(super) fn read(file: &str, reader: File, selection: Selection<'_>) -> Result<Table, TableError> {
    let result = catch_unwind(AssertUnwindSafe(|| read_flat(file, reader, selection)));
    result.unwrap_or_else(|_| Err(damaged(file, "the reader gave up on it")))
}

fn damaged(file: &str, why: impl std::fmt::Display) -> TableError {
    TableError::Format { file: file.to_owned(), reason: format!("the Parquet file is damaged: {why}") }
}

fn read_flat(file: &str, reader: File, selection: Selection<'_>) -> Result<Table, TableError> {
    let reader = SerializedFileReader::new(reader).map_err(|error| damaged(file, error))?;
    let (mut table, leaves) = plan(file, &reader, selection)?;
    check_size(file, &reader, leaves.len())?;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(|error| damaged(file, error))?;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        table.rows += rows;
        for (column, (leaf, description)) in table.columns.iter_mut().zip(&leaves) {
            if group.metadata().column(*leaf).uncompressed_size() > CHUNK_BYTES_MAX {
                return Err(TableError::TooLarge { file: file.to_owned() });
            }
            let chunk = group.get_column_reader(*leaf).map_err(|error| damaged(file, error))?;
            append(column, chunk, description, rows).map_err(|error| damaged(file, error))?;
            if column.cells().len() != table.rows {
                let why = format!("column '{}' has another number of rows than it says", column.name());
                return Err(damaged(file, why));
            }
        }
    }
    Ok(table)
}

type Leaf = (usize, ColumnDescPtr);

/// The columns that are kept, still empty, and where each is in the file.
fn plan(
    file: &str,
    reader: &SerializedFileReader<File>,
    selection: Selection<'_>,
) -> Result<(Table, Vec<Leaf>), TableError> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let names: Vec<String> =
        schema.root_schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
    let kept = kept(file, &names, selection)?;
    let wanted = |name: &String| match selection {
        Selection::All => true,
        Selection::Named(wanted) => wanted.contains(name),
    };
    let (mut table, mut leaves) = (Table::default(), Vec::new());
    let mut last = None;
    for leaf in 0..schema.num_columns() {
        let (root, description) = (schema.get_column_root_idx(leaf), schema.column(leaf));
        if !kept[root] || last == Some(root) {
            continue;
        }
        last = Some(root);
        if description.path().parts().len() == 1 && description.max_rep_level() == 0 {
            table.columns.push(Column::new(names[root].clone()));
            leaves.push((leaf, description));
        } else if wanted(&names[root]) {
            let reason = format!("the column '{}' is nested; name the others with --column", names[root]);
            return Err(TableError::Format { file: file.to_owned(), reason });
        }
    }
    Ok((table, leaves))
}

fn check_size(file: &str, reader: &SerializedFileReader<File>, columns: usize) -> Result<(), TableError> {
    let groups = reader.metadata().row_groups();
    let rows =
        groups.iter().try_fold(0_usize, |rows, group| rows.checked_add(group.num_rows().try_into().ok()?));
    let cells = rows.and_then(|rows| rows.checked_mul(columns));
    match cells {
        Some(cells) if cells <= CELLS_MAX => Ok(()),
        _ => Err(TableError::TooLarge { file: file.to_owned() }),
    }
}

/// What a column's values mean.
#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    Plain,
    Unsigned,
    /// Digits after the point.
    Decimal(i32),
    /// Days since 1970.
    Date,
    /// Units per second since midnight.
    Clock(i64),
    /// Units per second since 1970, and whether that was in UTC.
    Instant(i64, bool),
    Half,
    /// Bytes without characters.
    Opaque,
}

const fn per_second(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::MILLIS => 1_000,
        TimeUnit::MICROS => 1_000_000,
        TimeUnit::NANOS => 1_000_000_000,
    }
}

fn meaning(description: &ColumnDescPtr) -> Meaning {
    match description.logical_type_ref() {
        Some(LogicalType::Timestamp(time)) => {
            Meaning::Instant(per_second(&time.unit), time.is_adjusted_to_u_t_c)
        }
        Some(LogicalType::Time(time)) => Meaning::Clock(per_second(&time.unit)),
        Some(LogicalType::Date) => Meaning::Date,
        Some(LogicalType::Decimal(decimal)) => Meaning::Decimal(decimal.scale),
        Some(LogicalType::Integer(integer)) if !integer.is_signed => Meaning::Unsigned,
        Some(LogicalType::Float16) => Meaning::Half,
        Some(LogicalType::Uuid) => Meaning::Opaque,
        Some(_) => Meaning::Plain,
        None => converted(description),
    }
}

fn converted(description: &ColumnDescPtr) -> Meaning {
    match description.converted_type() {
        ConvertedType::TIMESTAMP_MILLIS => Meaning::Instant(1_000, true),
        ConvertedType::TIMESTAMP_MICROS => Meaning::Instant(1_000_000, true),
        ConvertedType::TIME_MILLIS => Meaning::Clock(1_000),
        ConvertedType::TIME_MICROS => Meaning::Clock(1_000_000),
        ConvertedType::DATE => Meaning::Date,
        ConvertedType::DECIMAL => Meaning::Decimal(description.type_scale()),
        ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64 => {
            Meaning::Unsigned
        }
        ConvertedType::INTERVAL => Meaning::Opaque,
        _ => Meaning::Plain,
    }
}

fn append(
    column: &mut Column,
    reader: ColumnReader,
    description: &ColumnDescPtr,
    rows: usize,
) -> Result<(), ParquetError> {
    let meaning = meaning(description);
    let optional = description.max_def_level() > 0;
    let mut sink = Sink { column, optional, rows };
    match reader {
        ColumnReader::BoolColumnReader(reader) => {
            sink.drain(reader, |column, value| column.push_text(if *value { "true" } else { "false" }))
        }
        ColumnReader::Int32ColumnReader(reader) => sink.drain(reader, |column, value| match meaning {
            Meaning::Unsigned => column.push_number(f64::from(value.cast_unsigned())),
            _ => whole(column, i64::from(*value), meaning),
        }),
        ColumnReader::Int64ColumnReader(reader) => sink.drain(reader, |column, value| match meaning {
            Meaning::Unsigned => column.push_number(value.cast_unsigned() as f64),
            _ => whole(column, *value, meaning),
        }),
        ColumnReader::Int96ColumnReader(reader) => {
            sink.drain(reader, |column, value: &Int96| instant(column, i128::from(value.to_nanos()), false))
        }
        ColumnReader::FloatColumnReader(reader) => {
            sink.drain(reader, |column, value| column.push_number(f64::from(*value)))
        }
        ColumnReader::DoubleColumnReader(reader) => {
            sink.drain(reader, |column, value| column.push_number(*value))
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            sink.drain(reader, |column, value: &ByteArray| bytes(column, value.data(), meaning))
        }
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            let opaque = if meaning == Meaning::Plain { Meaning::Opaque } else { meaning };
            sink.drain(reader, |column, value| bytes(column, value.data(), opaque))
        }
    }
}

/// Where the values of one column of one row group go.
struct Sink<'a> {
    column: &'a mut Column,
    optional: bool,
    rows: usize,
}

impl Sink<'_> {
    fn drain<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        mut push: impl FnMut(&mut Column, &T::T),
    ) -> Result<(), ParquetError> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let mut left = self.rows;
        while left > 0 {
            levels.clear();
            values.clear();
            let most = BATCH_ROWS.min(left);
            let (records, found, _) =
                reader.read_records(most, self.optional.then_some(&mut levels), None, &mut values)?;
            if records == 0 {
                return Ok(());
            }
            left = left.saturating_sub(records);
            let mut found = values.iter().take(found);
            for row in 0..records {
                let there = !self.optional || levels.get(row).is_some_and(|level| *level > 0);
                match if there { found.next() } else { None } {
                    Some(value) => push(self.column, value),
                    None => self.column.push_missing(),
                }
            }
        }
        Ok(())
    }
}

fn whole(column: &mut Column, value: i64, meaning: Meaning) {
    match meaning {
        Meaning::Decimal(scale) => column.push_number(value as f64 / 10_f64.powi(scale)),
        Meaning::Date => date(column, value),
        Meaning::Clock(per_second) => clock(column, value, per_second),
        Meaning::Instant(per_second, utc) => {
            instant(column, i128::from(value) * i128::from(1_000_000_000 / per_second), utc);
        }
        _ => column.push_number(value as f64),
    }
}

fn date(column: &mut Column, days: i64) {
    let date =
        jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).unwrap_or_default());
    match date {
        Ok(date) => column.push_text(&date.to_string()),
        Err(_) => column.push_missing(),
    }
}

/// An instant that no calendar holds is missing.
fn instant(column: &mut Column, nanoseconds: i128, utc: bool) {
    match jiff::Timestamp::from_nanosecond(nanoseconds) {
        Ok(instant) => {
            let text = instant.to_string();
            column.push_text(if utc { &text } else { text.trim_end_matches('Z') });
        }
        Err(_) => column.push_missing(),
    }
}

fn clock(column: &mut Column, value: i64, per_second: i64) {
    let (seconds, part) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let digits = per_second.ilog10() as usize;
    column.push_text(&format!("{hours:02}:{minutes:02}:{seconds:02}.{part:0digits$}"));
}

fn bytes(column: &mut Column, bytes: &[u8], meaning: Meaning) {
    match meaning {
        Meaning::Decimal(scale) => column.push_number(big_endian(bytes) / 10_f64.powi(scale)),
        Meaning::Half => match bytes {
            [low, high] => column.push_number(half(u16::from_le_bytes([*low, *high]))),
            _ => column.push_missing(),
        },
        Meaning::Opaque => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            column.push_text(&digits);
        }
        _ if bytes.is_empty() => column.push_missing(),
        _ => column.push_text(&String::from_utf8_lossy(bytes)),
    }
}

/// A whole number in two's complement, the highest byte first.
fn big_endian(bytes: &[u8]) -> f64 {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let magnitude =
        bytes.iter().fold(0.0, |sum, byte| sum * 256.0 + f64::from(if negative { !byte } else { *byte }));
    if negative { -magnitude - 1.0 } else { magnitude }
}

/// An IEEE 754 number of half precision.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_whole_numbers_and_halves() {
        assert_eq!(big_endian(&[0x04, 0xd2]), 1234.0);
        assert_eq!(big_endian(&[0xff, 0xfe]), -2.0);
        assert_eq!(big_endian(&[]), 0.0);
        let halves = [0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00].map(half);
        assert_eq!(halves, [1.0, -2.0, 65504.0, 2_f64.powi(-24), f64::INFINITY]);
        assert!(half(0x7e00).is_nan());
    }
}
