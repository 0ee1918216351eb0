//! Reading labelled rows from CSV and Parquet files.
//!
//! Every column but those with another role (the label, the time, the group) is a feature; all files have the same columns,
//! in any order. An empty cell, `NaN` or `NA` is a missing value. Anything else that is no number is an error that names file, line and column. A file is Parquet if
//! its content says so.
//!
//! Deliberately missing: text and category columns, folders of images or sounds. Objects of a bucket are copied to files first
//! ([`crate::mirror`]).

use std::path::{Path, PathBuf};

use csv::StringRecord;

use crate::origin::{Origin, Rows, moment};
use crate::pattern::{self, PatternError};
use crate::project::DataTable;
use crate::table::{Column, Selection, Table, TableError, is_parquet};

/// Most files one project may name.
pub const FILES_MAX: usize = 100_000;
/// Most feature columns.
pub const FEATURES_MAX: usize = 16_000;
/// Characters of a cell that an error shows.
const SHOWN_MAX: usize = 80;

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
    /// A window of days over rows without times.
    #[error("window: the rows have no times; name their column in [data] time, or count rows")]
    Timeless,
    /// A filter names a column that is no feature.
    #[error("filter: there is no feature '{0}'; name a column of the data other than the label")]
    NoFeature(String),
    /// A row is at no time.
    #[error(
        "{file}:{line}: the time '{text}' is none; write 2026-01-31T14:30:00Z, with or without its clock, or Unix seconds"
    )]
    NoTime {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What stands there.
        text: String,
    },
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

/// The columns that are no features, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles<'a> {
    /// What is to be predicted.
    pub label: &'a str,
    /// When a row was.
    pub time: Option<&'a str>,
    /// Whom or what a row is about.
    pub group: Option<&'a str>,
}

impl<'a> From<&'a DataTable> for Roles<'a> {
    fn from(data: &'a DataTable) -> Self {
        Self { label: &data.label, time: data.time.as_deref(), group: data.group.as_deref() }
    }
}

impl Roles<'_> {
    /// Where rows of these roles are kept.
    #[must_use]
    pub fn rows(&self) -> Rows {
        Rows::asking(self.time.is_some(), self.group.is_some())
    }

    fn is_feature(&self, name: &str) -> bool {
        name != self.label && Some(name) != self.time && Some(name) != self.group
    }
}

/// Appends the rows of `file`; the first file decides the columns.
///
/// # Errors
/// The file is neither CSV nor Parquet, has other columns, or holds a cell that is no number.
pub fn read(file: &Path, roles: Roles<'_>, rows: &mut Rows) -> Result<(), SourceError> {
    match is_parquet(file) {
        true => read_parquet(file, roles, rows),
        false => read_csv(file, roles, rows),
    }
}

fn read_parquet(file: &Path, roles: Roles<'_>, rows: &mut Rows) -> Result<(), SourceError> {
    let name = file.display().to_string();
    let table = Table::read(file, Selection::All)?;
    let header: StringRecord = table.columns().iter().map(Column::name).collect();
    let columns = Columns::new(&name, &header, roles, rows)?;
    let mut values = Vec::with_capacity(columns.features.len());
    for row in 0..table.rows() {
        let line = row as u64 + 1;
        values.clear();
        for at in &columns.features {
            values.push(columns.value(&table.columns()[*at], *at, row)?);
        }
        let shown = |at: usize| table.columns()[at].shown(row).unwrap_or_default();
        columns.push((&values, &shown(columns.label)), &|at| shown(at).into_owned(), line, rows)?;
    }
    Ok(())
}

fn read_csv(file: &Path, roles: Roles<'_>, rows: &mut Rows) -> Result<(), SourceError> {
    let name = file.display().to_string();
    let fail = |source| SourceError::Read { file: name.clone(), source };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file).map_err(fail)?;
    let header = reader.headers().map_err(fail)?.clone();
    let columns = Columns::new(&name, &header, roles, rows)?;
    let mut record = StringRecord::new();
    let mut row = Vec::new();
    while reader.read_record(&mut record).map_err(fail)? {
        let line = record.position().map_or(0, csv::Position::line);
        columns.parse(&record, line, &mut row)?;
        let shown = |at: usize| record.get(at).unwrap_or_default();
        columns.push((&row, shown(columns.label)), &|at| shown(at).to_owned(), line, rows)?;
    }
    Ok(())
}

/// Where a file keeps each column of the table.
struct Columns<'a> {
    file: &'a str,
    header: &'a StringRecord,
    label: usize,
    time: Option<usize>,
    group: Option<usize>,
    /// Position in the file of each feature of the table.
    features: Vec<usize>,
}

impl<'a> Columns<'a> {
    fn new(
        file: &'a str,
        header: &'a StringRecord,
        roles: Roles<'_>,
        rows: &mut Rows,
    ) -> Result<Self, SourceError> {
        let dataset = &mut rows.table;
        let refuse = |reason: String| SourceError::Header { file: file.to_owned(), reason };
        let mut names: Vec<&str> = header.iter().collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(refuse(format!("the column '{}' is there twice; rename one of the two", pair[0])));
        }
        let place = |name: &str| header.iter().position(|column| column == name);
        let with_role = |role: &str, name: &str| {
            place(name).ok_or_else(|| {
                let shown: Vec<&str> = header.iter().take(8).collect();
                refuse(format!(
                    "there is no column '{name}'; set [data] {role} to one of its {} columns ({}, ...)",
                    header.len(),
                    shown.join(", ")
                ))
            })
        };
        let label = with_role("label", roles.label)?;
        let time = roles.time.map(|name| with_role("time", name)).transpose()?;
        let group = roles.group.map(|name| with_role("group", name)).transpose()?;
        if dataset.width() == 0 {
            let features = header.iter().filter(|name| roles.is_feature(name));
            dataset.feature_names = features.map(str::to_owned).collect();
        }
        if dataset.width() == 0 || dataset.width() > FEATURES_MAX {
            return Err(refuse(format!("{} feature columns; use 1 to {FEATURES_MAX}", dataset.width())));
        }
        let found =
            |name: &String| place(name).ok_or_else(|| refuse(format!("the column '{name}' is missing")));
        let features = dataset.feature_names.iter().map(found).collect::<Result<Vec<_>, _>>()?;
        match header.iter().filter(|name| roles.is_feature(name)).count() {
            count if count == features.len() => Ok(Self { file, header, label, time, group, features }),
            count => Err(refuse(format!(
                "{count} feature columns, but the files before it have {}",
                features.len()
            ))),
        }
    }

    /// Keeps a row; `cell` tells what stands in one of its columns.
    fn push(
        &self,
        (values, label): (&[f32], &str),
        cell: &dyn Fn(usize) -> String,
        line: u64,
        rows: &mut Rows,
    ) -> Result<(), SourceError> {
        if label.is_empty() {
            return Err(SourceError::NoLabel { file: self.file.to_owned(), line });
        }
        let (time, group) = (self.time.map(cell), self.group.map(cell));
        let read = |text: &String| {
            let none = || SourceError::NoTime {
                file: self.file.to_owned(),
                line,
                text: text.chars().take(SHOWN_MAX).collect(),
            };
            moment(text).ok_or_else(none)
        };
        let origin = Origin { time: time.as_ref().map(read).transpose()?, group: group.as_deref() };
        rows.table.push(values, label).expect("the row has one value per column");
        rows.origins.push(origin);
        Ok(())
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
                text: column
                    .show(cell)
                    .map_or_else(String::new, |text| text.chars().take(SHOWN_MAX).collect()),
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
                text: text.chars().take(SHOWN_MAX).collect(),
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
    use edgeward_core::{Dataset, Timestamp};

    use super::*;

    const LABEL: Roles<'static> = Roles { label: "label", time: None, group: None };

    fn read(files: &[&str]) -> Result<Dataset, String> {
        read_as(LABEL, files).map(|rows| rows.table)
    }

    fn read_as(roles: Roles<'_>, files: &[&str]) -> Result<Rows, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut rows = roles.rows();
        for (at, content) in files.iter().enumerate() {
            let file = dir.path().join(format!("{at}.csv"));
            std::fs::write(&file, content).unwrap();
            let fail =
                |error: SourceError| error.to_string().replace(&format!("{}/", dir.path().display()), "");
            read_csv(&file, roles, &mut rows).map_err(fail)?;
        }
        Ok(rows)
    }

    #[test]
    fn times_and_groups_are_no_features() {
        let roles = Roles { time: Some("at"), group: Some("who"), ..LABEL };
        let files = ["at,a,who,label\n1970-01-02,1,ann,x\n", "who,label,a,at\nben,y,2,3\n"];
        let rows = read_as(roles, &files).unwrap();
        assert_eq!(
            (&rows.table.feature_names[..], &rows.table.values[..]),
            (&["a".to_owned()][..], &[1.0, 2.0][..])
        );
        assert_eq!(rows.origins.times, Some(vec![Timestamp(86_400_000), Timestamp(3_000)]));
        assert_eq!(rows.origins.groups, Some(vec!["ann".to_owned(), "ben".to_owned()]));
        let said = read_as(roles, &["at,a,who,label\nlate,1,ann,x\n"]).unwrap_err();
        assert!(said.contains("0.csv:2: the time 'late' is none"), "{said}");
        let said = read_as(roles, &["at,a,label\n1,1,x\n"]).unwrap_err();
        assert!(said.contains("no column 'who'; set [data] group"), "{said}");
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
        let mut rows = Rows::default();
        let with = |label| Roles { label, ..LABEL };
        let said = super::read(&file, with("id"), &mut rows).unwrap_err().to_string();
        assert!(said.contains("'tags' is nested"), "{said}");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/labelled.parquet");
        super::read(&file, LABEL, &mut rows).unwrap();
        let dataset = rows.table;
        assert_eq!((&dataset.feature_names[..], dataset.len()), (&["a".to_owned(), "b".to_owned()][..], 3));
        assert_eq!(
            (dataset.row(0), dataset.row(2)[0], &dataset.labels[..]),
            (&[1.5, 2.0][..], -36.98, &["x", "y", "x"].map(str::to_owned)[..])
        );
        assert!(dataset.row(1)[1].is_nan());
        let said = super::read(&file, with("b"), &mut Rows::default()).unwrap_err().to_string();
        assert!(said.contains("('label'): 'x' is not a number"), "{said}");
    }

    #[test]
    fn no_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let said = list(dir.path(), &["data/*.csv".to_owned()]).unwrap_err().to_string();
        assert!(said.contains("no file matches data/*.csv"), "{said}");
    }
}
