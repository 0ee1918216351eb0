//! Tables read from text: what is a number, what is missing, and what is refused.

use super::*;

fn parse(csv: &str) -> Result<Table, String> {
    parse_bytes(csv.as_bytes())
}

fn parse_bytes(csv: &[u8]) -> Result<Table, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.csv");
    std::fs::write(&file, csv).unwrap();
    Table::read(&file, Selection::All).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}").replace(&format!("{}/", dir.path().display()), "")
    })
}

fn numbers(table: &Table, column: usize) -> Vec<Option<f64>> {
    table.columns()[column].cells().iter().map(|cell| cell.as_number()).collect()
}

fn names(table: &Table) -> Vec<&str> {
    table.columns().iter().map(Column::name).collect()
}

#[test]
fn every_usual_separator_quote_and_mark_is_read() {
    for csv in [
        "a,b\n1.5,\"x, y\"\n",
        "a;b\n1,5;\"x, y\"\n",
        "a\tb\n1.5\tx, y\n",
        "a|b\r\n1.5|x, y\r\n",
        "\u{feff}a,b\n1.5,\"x, y\"",
        "\u{feff}\"a\",\"b\"\n\n1.5,\"x, y\"\n  \n",
    ] {
        let table = parse(csv).unwrap();
        assert_eq!(names(&table), ["a", "b"], "{csv:?}");
        assert_eq!((table.rows(), numbers(&table, 0)), (1, vec![Some(1.5)]), "{csv:?}");
        assert_eq!(table.columns()[1].shown(0).as_deref(), Some("x, y"), "{csv:?}");
    }
}

#[test]
fn missing_cells_have_many_spellings_and_numbers_too() {
    let table = parse("a,b\n,1\nNA,-2\nnan,+3e2\nNULL,\"1,234.5\"\n?,inf\n\"\",.5\n").unwrap();
    assert!(table.columns()[0].cells().iter().all(|cell| cell.is_missing()));
    let expected = [1.0, -2.0, 300.0, 1234.5, f64::INFINITY, 0.5].map(Some);
    assert_eq!(numbers(&table, 1), expected);
    assert_eq!(table.columns()[0].kind(0..6), Kind::Empty);
}

#[test]
fn a_column_is_what_most_of_its_cells_are() {
    let rows: String = (0..20)
        .map(|row| format!("{row},{},true,{}\n", if row == 3 { "err" } else { "1" }, row % 2))
        .collect();
    let table = parse(&format!("n,mostly,b,x\n{rows}A,B,C,D\n")).unwrap();
    let kinds: Vec<Kind> = table.columns().iter().map(|column| column.kind(0..20)).collect();
    assert_eq!(kinds, [Kind::Numbers, Kind::Numbers, Kind::Categories, Kind::Numbers]);
    assert_eq!(table.columns()[1].kind(0..4), Kind::Categories);
    assert_eq!(table.columns()[0].kind(30..40), Kind::Empty);
}

#[test]
fn what_is_no_table_says_why() {
    let check = |csv: &[u8], expect: &str| {
        let said = parse_bytes(csv).expect_err(expect);
        assert!(said.contains(expect), "{said}");
    };
    check(b"", "t.csv: the file is empty");
    check(b"\n\n", "the file is empty");
    check(b"a,b\n1,2\n1\n", "t.csv:3: 1 cells, but the header names 2 columns");
    check(b"a,b\n1,2,3\n", "t.csv:2: 3 cells");
    check(b"1,2\n3,4\n", "the first line holds numbers; it must name the columns");
    check(b"a,a\n1,2\n", "the column 'a' is there twice");
    check(b"\x1f\x8b\x08\x00", "compressed");
    check(b"\xff\xfea\x00", "UTF-16");
    check(b"PK\x03\x04zip", "spreadsheet");
    check(b"\x00\x01\x02\n", "neither CSV nor Parquet");
    let endless = [b"a\n\"".to_vec(), vec![b'x'; RECORD_BYTES_MAX + 100_000]].concat();
    check(&endless, "is a quote not closed?");
    let dir = tempfile::tempdir().unwrap();
    assert!(Table::read(dir.path(), Selection::All).unwrap_err().to_string().contains("a folder"));
    assert!(Table::read(&dir.path().join("none"), Selection::All).is_err());
}

#[test]
fn a_selection_keeps_what_is_asked_for_and_what_may_say_when() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.csv");
    std::fs::write(&file, "a,b,c,my_date\n1,2,3,4\n").unwrap();
    let read = |names: &[&str]| {
        let wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Table::read(&file, Selection::Named(&wanted))
    };
    assert_eq!(names(&read(&["c"]).unwrap()), ["a", "c", "my_date"]);
    assert!(read(&["d"]).unwrap_err().to_string().ends_with("has no column 'd'; it has a, b, c, my_date"));
}

#[test]
fn a_header_alone_is_a_table_without_rows() {
    let table = parse("a,,c\n").unwrap();
    assert_eq!((table.rows(), names(&table)), (0, vec!["a", "column 2", "c"]));
    assert_eq!(table.time(0..0), None);
}

#[test]
fn texts_that_are_no_utf8_or_very_long_do_no_harm() {
    let long = "é".repeat(500);
    let table = parse_bytes(&[b"a\n\xff\xfe\xfd\n", long.as_bytes(), b"\n"].concat()).unwrap();
    assert_eq!(table.rows(), 2);
    assert_eq!(table.columns()[0].shown(1).unwrap().len(), 256);
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn every_kind_of_parquet_column_is_read() {
    let table = Table::read(&fixture("kinds.parquet"), Selection::All).unwrap();
    assert_eq!(table.rows(), 6);
    let check = |name: &str, kind: Kind, expect: &str| {
        let (_, column) = table.column(name).unwrap();
        let shown = (0..6).map(|row| column.shown(row).map_or("-".to_owned(), std::borrow::Cow::into_owned));
        let shown = shown.collect::<Vec<_>>().join(" ");
        assert!(shown.starts_with(expect), "{name}: {shown}");
        assert_eq!(column.kind(0..6), kind, "{name}");
    };
    check("when", Kind::Times, "2020-04-20T14:30:00 2020-04-21T14:30:00");
    check("day", Kind::Times, "2020-04-20 2020-04-21");
    check("utc", Kind::Times, "2020-04-20T00:00:00Z 2020-04-21T00:00:00Z");
    check("clock", Kind::Times, "01:02:03.000");
    check("i8", Kind::Numbers, "-1 2 - 4 5 6");
    check("u64", Kind::Numbers, "9223372036854778000 2 - 4");
    check("i64", Kind::Numbers, "9007199254740992 2 - 4");
    check("f32", Kind::Numbers, "1.5 - - inf -2.5 0");
    check("f64", Kind::Numbers, "1.5 - - -inf -2.5 0");
    check("half", Kind::Numbers, "1.5 - 2 3 4 5");
    check("flag", Kind::Categories, "true false - true false true");
    check("text", Kind::Categories, "a b - - a ü");
    check("dict", Kind::Categories, "x y - x x y");
    check("money", Kind::Numbers, "1.25 - -36.98 0.01 2 3");
    check("cents", Kind::Numbers, "1.25 - -36.98 0.01 2 3");
    check("null", Kind::Empty, "- - - - - -");
    assert_eq!(table.time(0..6), Some(0));
}

#[test]
fn every_compression_of_parquet_is_read() {
    for name in ["none", "gzip", "brotli", "lz4"] {
        let table = Table::read(&fixture(&format!("{name}.parquet")), Selection::All).unwrap();
        let sum: f64 = numbers(&table, 0).into_iter().flatten().sum();
        assert_eq!((table.rows(), sum), (100, 295.0), "{name}");
    }
}

#[test]
fn nested_columns_are_refused_by_name_unless_others_are_asked_for() {
    let refused = Table::read(&fixture("nested.parquet"), Selection::All).unwrap_err().to_string();
    assert!(refused.contains("'tags' is nested; name the others with --column"), "{refused}");
    let wanted = ["x".to_owned()];
    let table = Table::read(&fixture("nested.parquet"), Selection::Named(&wanted)).unwrap();
    assert_eq!(names(&table), ["id", "x"]);
    let missing = Table::read(&fixture("nested.parquet"), Selection::Named(&["y".to_owned()]));
    assert!(missing.unwrap_err().to_string().contains("it has id, tags, x"));
}

#[test]
fn damaged_parquet_is_an_error_and_never_the_end() {
    let whole = std::fs::read(fixture("kinds.parquet")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("damaged.parquet");
    let read = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        Table::read(&file, Selection::All)
    };
    for cut in (4..whole.len()).step_by(97) {
        let error = read(&whole[..cut]).unwrap_err().to_string();
        assert!(error.contains("the Parquet file is damaged"), "{error}");
    }
    for at in (4..whole.len()).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        if let Err(error) = read(&bytes) {
            let said = error.to_string();
            assert!(
                ["damaged", "nested", "cells", "twice", "columns"].iter().any(|word| said.contains(word)),
                "{said}"
            );
        }
    }
}
