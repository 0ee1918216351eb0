//! Reading labelled rows from CSV and Parquet files.
//!
//! Every column but the label is a feature; all files have the same columns, in any order. An empty cell, `NaN` or `NA`
//! is a missing value. Anything else that is no number is an error that names file, line and column. A file is Parquet if
//! its content says so.
//!
//! Deliberately missing: text and category columns, folders of images or sounds. Objects of a bucket are copied to files first
//! ([`crate::mirror`]).

use std::path::{Path, PathBuf};

use csv::StringRecord;
use edgeward_core::Dataset;

use crate::pattern::{self, PatternError};
use crate::table::{Column, Selection, Table, TableError, is_parquet};

/// Most files one project may name.
pub const FILES_MAX: usize = 100_000;
/// Most feature columns.
pub const FEATURES_MAX: usize = 16_000;

/// Data that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A pattern is none, or its folder cannot be listed.
    #[error("[data] files: the files cannot be listed")]
    List(#[from] PatternError),
    /// A bucket does not give its objects.
    #[error("[data] source: {url}")]
    Bucket {
        /// The bucket.
        url: String,
        /// Why.
        #[source]
        source: crate::train::ToolError,
    },
    /// The copy of a bucket's objects.
    #[error(transparent)]
    Copy(#[from] crate::workdir::WorkError),
    /// Nothing matches.
    #[error(
        "[data] files: no file matches {0}; paths are relative to the project's folder, or to [data] source"
    )]
    NoFiles(String),
    /// More than [`FILES_MAX`].
    #[error("[data] files: more than {FILES_MAX} files match")]
    TooManyFiles,
    /// A file cannot be opened or is not CSV.
    #[error("reading {file}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: csv::Error,
    },
    /// The header does not fit.
    #[error("{file}:1: {reason}")]
    Header {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A Parquet file cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A cell holds no number.
    #[error("{file}:{line}:{column} ('{name}'): '{text}' is not a number")]
    Cell {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: usize,
        /// The column's name.
        name: String,
        /// What it holds.
        text: String,
    },
    /// A filter names a column that is no feature.
    #[error("[[shadow]] filter: there is no feature '{0}'; name a column of the data other than the label")]
    NoFeature(String),
    /// A row has no label.
    #[error("{file}:{line}: the label is empty; label the row or remove it")]
    NoLabel {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
    },
}

/// The files that match `patterns` below `dir`, each once, by path.
///
/// # Errors
/// A pattern is refused, a folder cannot be listed, nothing matches, or too much does.
pub fn list(dir: &Path, patterns: &[String]) -> Result<Vec<PathBuf>, SourceError> {
    let files = pattern::files(dir, patterns)?;
    match files.len() {
        0 => Err(SourceError::NoFiles(patterns.join(", "))),
        count if count > FILES_MAX => Err(SourceError::TooManyFiles),
        _ => Ok(files),
    }
}

/// Appends the rows of `file` to `dataset`, whose columns the first file decides.
///
/// # Errors
/// The file is neither CSV nor Parquet, has other columns, or holds a cell that is no number.
pub fn read(file: &Path, label: &str, dataset: &mut Dataset) -> Result<(), SourceError> {
    match is_parquet(file) {
        true => read_parquet(file, label, dataset),
        false => read_csv(file, label, dataset),
    }
}

fn read_parquet(file: &Path, label: &str, dataset: &mut Dataset) -> Result<(), SourceError> {
    let name = file.display().to_string();
    let table = Table::read(file, Selection::All)?;
    let header: StringRecord = table.columns().iter().map(Column::name).collect();
    let columns = Columns::new(&name, &header, label, dataset)?;
    let mut values = Vec::with_capacity(columns.features.len());
    for row in 0..table.rows() {
        let line = row as u64 + 1;
        values.clear();
        for at in &columns.features {
            values.push(columns.value(&table.columns()[*at], *at, row)?);
        }
        let text = table.columns()[columns.label].shown(row);
        let text = text.ok_or_else(|| SourceError::NoLabel { file: name.clone(), line })?;
        dataset.push(&values, text).expect("the row has one value per column");
    }
    Ok(())
}

fn read_csv(file: &Path, label: &str, dataset: &mut Dataset) -> Result<(), SourceError> {
    let name = file.display().to_string();
    let fail = |source| SourceError::Read { file: name.clone(), source };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file).map_err(fail)?;
    let header = reader.headers().map_err(fail)?.clone();
    let columns = Columns::new(&name, &header, label, dataset)?;
    let mut record = StringRecord::new();
    let mut row = Vec::new();
    while reader.read_record(&mut record).map_err(fail)? {
        let line = record.position().map_or(0, csv::Position::line);
        columns.parse(&record, line, &mut row)?;
        let text = record.get(columns.label).unwrap_or_default();
        if text.is_empty() {
            return Err(SourceError::NoLabel { file: name, line });
        }
        dataset.push(&row, text).expect("the row has one value per column");
    }
    Ok(())
}

/// Where a file keeps each column of the table.
struct Columns<'a> {
    file: &'a str,
    header: &'a StringRecord,
    label: usize,
    /// Position in the file of each feature of the table.
    features: Vec<usize>,
}

impl<'a> Columns<'a> {
    fn new(
        file: &'a str,
        header: &'a StringRecord,
        label: &str,
        dataset: &mut Dataset,
    ) -> Result<Self, SourceError> {
        let refuse = |reason: String| SourceError::Header { file: file.to_owned(), reason };
        let mut names: Vec<&str> = header.iter().collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(refuse(format!("the column '{}' is there twice; rename one of the two", pair[0])));
        }
        let place = |name: &str| header.iter().position(|column| column == name);
        let at = place(label).ok_or_else(|| {
            let shown: Vec<&str> = header.iter().take(8).collect();
            refuse(format!(
                "there is no column '{label}'; set [data] label to one of its {} columns ({}, ...)",
                header.len(),
                shown.join(", ")
            ))
        })?;
        if dataset.width() == 0 {
            dataset.feature_names = header.iter().filter(|name| *name != label).map(str::to_owned).collect();
        }
        if dataset.width() == 0 || dataset.width() > FEATURES_MAX {
            return Err(refuse(format!("{} feature columns; use 1 to {FEATURES_MAX}", dataset.width())));
        }
        let found =
            |name: &String| place(name).ok_or_else(|| refuse(format!("the column '{name}' is missing")));
        let features = dataset.feature_names.iter().map(found).collect::<Result<Vec<_>, _>>()?;
        match header.len() - 1 == features.len() {
            true => Ok(Self { file, header, label: at, features }),
            false => Err(refuse(format!(
                "{} feature columns, but the files before it have {}",
                header.len() - 1,
                features.len()
            ))),
        }
    }

    /// A feature's value in a row of a Parquet file; rows are counted from 1 as lines are.
    fn value(&self, column: &Column, at: usize, row: usize) -> Result<f32, SourceError> {
        let cell = column.cells()[row];
        match cell.as_number() {
            Some(value) => Ok(canonical(value as f32)),
            None if cell.is_missing() => Ok(f32::NAN),
            None => Err(SourceError::Cell {
                file: self.file.to_owned(),
                line: row as u64 + 1,
                column: at + 1,
                name: column.name().to_owned(),
                text: column.show(cell).map_or_else(String::new, |text| text.chars().take(80).collect()),
            }),
        }
    }

    fn parse(&self, record: &StringRecord, line: u64, row: &mut Vec<f32>) -> Result<(), SourceError> {
        row.clear();
        for &at in &self.features {
            let text = record.get(at).unwrap_or_default();
            let value = number(text).ok_or_else(|| SourceError::Cell {
                file: self.file.to_owned(),
                line,
                column: at + 1,
                name: self.header.get(at).unwrap_or_default().to_owned(),
                text: text.chars().take(80).collect(),
            })?;
            row.push(value);
        }
        Ok(())
    }
}

fn number(text: &str) -> Option<f32> {
    match text {
        "" | "NA" => Some(f32::NAN),
        text => text.parse().ok().map(canonical),
    }
}

/// One spelling per value: a missing value is one NaN, and zero has no sign. Row digests rest on it.
pub(crate) fn canonical(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[&str]) -> Result<Dataset, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut dataset = Dataset::default();
        for (at, content) in files.iter().enumerate() {
            let file = dir.path().join(format!("{at}.csv"));
            std::fs::write(&file, content).unwrap();
            let fail =
                |error: SourceError| error.to_string().replace(&format!("{}/", dir.path().display()), "");
            read_csv(&file, "label", &mut dataset).map_err(fail)?;
        }
        Ok(dataset)
    }

    #[test]
    fn columns_may_stand_in_any_order() {
        let dataset = read(&["a,b,label\n1,2,x\n", "label,b,a\ny,4,3\n"]).unwrap();
        assert_eq!(dataset.values, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(dataset.labels, ["x", "y"]);
    }

    #[test]
    fn missing_values_and_signless_zeros_have_one_spelling() {
        let dataset = read(&["a,b,label\n, -0.0 ,x\nNA,nan,x\n"]).unwrap();
        let bits: Vec<u32> = dataset.values.iter().map(|value| value.to_bits()).collect();
        let nan = f32::NAN.to_bits();
        assert_eq!(bits, [nan, 0, nan, nan]);
    }

    #[test]
    fn errors_name_the_place() {
        let check = |files: &[&str], expect: &str| {
            let said = read(files).expect_err(expect);
            assert!(said.contains(expect), "{said}");
        };
        check(&["a,b,label\n1,2,x\n1,two,x\n"], "0.csv:3:2 ('b'): 'two' is not a number");
        check(&["a,label\n1,\n"], "0.csv:2: the label is empty");
        check(&["a,class\n1,x\n"], "0.csv:1: there is no column 'label'");
        check(&["a,a,label\n1,2,x\n"], "the column 'a' is there twice");
        check(&["label\nx\n"], "0 feature columns");
        check(&["a,label\n1,x\n", "b,label\n1,x\n"], "1.csv:1: the column 'a' is missing");
        check(&["a,label\n1,x\n", "a,b,label\n1,2,x\n"], "2 feature columns, but the files before it have 1");
        check(&["a,label\n1,x\n1\n"], "reading 0.csv");
    }

    #[test]
    fn parquet_files_are_told_by_their_content() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nested.parquet");
        let mut dataset = Dataset::default();
        let said = super::read(&file, "id", &mut dataset).unwrap_err().to_string();
        assert!(said.contains("'tags' is nested"), "{said}");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/labelled.parquet");
        super::read(&file, "label", &mut dataset).unwrap();
        assert_eq!((&dataset.feature_names[..], dataset.len()), (&["a".to_owned(), "b".to_owned()][..], 3));
        assert_eq!(
            (dataset.row(0), dataset.row(2)[0], &dataset.labels[..]),
            (&[1.5, 2.0][..], -36.98, &["x", "y", "x"].map(str::to_owned)[..])
        );
        assert!(dataset.row(1)[1].is_nan());
        let said = super::read(&file, "b", &mut Dataset::default()).unwrap_err().to_string();
        assert!(said.contains("('label'): 'x' is not a number"), "{said}");
    }

    #[test]
    fn no_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let said = list(dir.path(), &["data/*.csv".to_owned()]).unwrap_err().to_string();
        assert!(said.contains("no file matches data/*.csv"), "{said}");
    }
}
