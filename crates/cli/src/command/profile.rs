//! `edgeward profile`: a file in, what each of its columns holds out.

use std::path::Path;

use edgeward_pipeline::table::describe::{Description, Numbers, describe};
use serde::Serialize;

use super::history;
use crate::args::ProfileArgs;
use crate::output::{Outcome, Output, table};

const HEADER: [&str; 11] =
    ["column", "kind", "missing", "faulty", "distinct", "mean", "sd", "min", "median", "max", "values"];
/// Values that a line of the table names.
const VALUES_MAX: usize = 4;

/// What a file holds.
#[derive(Serialize)]
struct Profiled<'a> {
    file: &'a Path,
    rows: usize,
    columns: Vec<Description>,
}

pub(crate) fn run(args: &ProfileArgs, out: Output) -> Outcome {
    let read = history::read(&args.data, &args.columns)?;
    let asked = |column: &Description| args.columns.is_empty() || args.columns.contains(&column.column);
    let columns = describe(&read).into_iter().filter(asked).collect();
    let profiled = Profiled { file: &args.data, rows: read.rows(), columns };
    out.document(&profiled, |profiled| {
        let rows: Vec<Vec<String>> = profiled.columns.iter().map(row).collect();
        format!("{}\n{} rows", table(&HEADER, &rows, "no column"), profiled.rows)
    })
}

fn row(column: &Description) -> Vec<String> {
    let number =
        |of: fn(&Numbers) -> f64| column.numbers.as_ref().map_or_else(|| "-".to_owned(), |n| short(of(n)));
    let median = |numbers: &Numbers| {
        numbers
            .quantiles
            .iter()
            .find(|quantile| quantile.name == "p50")
            .map_or(f64::NAN, |quantile| quantile.value)
    };
    vec![
        column.column.clone(),
        column.kind.to_owned(),
        column.missing.to_string(),
        (column.not_numbers + column.infinite[0] + column.infinite[1]).to_string(),
        column.distinct.to_string(),
        number(|numbers| numbers.mean),
        number(|numbers| numbers.sd),
        number(|numbers| numbers.min),
        number(median),
        number(|numbers| numbers.max),
        values(column),
    ]
}

fn values(column: &Description) -> String {
    match &column.span {
        Some([first, last]) => format!("{first} to {last}"),
        None => {
            let named = column.frequent.iter().take(VALUES_MAX);
            named.map(|value| format!("{} x{}", value.value, value.n)).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Six digits, whatever the magnitude.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1e-4..1e9 => format!("{:.*}", (5 - value.abs().log10().floor() as i32).clamp(0, 9) as usize, value),
        _ => format!("{value:.5e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_show_six_digits() {
        let shown = [0.0, 1.0, -36.98, 123_456.789, 1e12, 1e-7].map(short);
        assert_eq!(shown, ["0", "1.00000", "-36.9800", "123457", "1.00000e12", "1.00000e-7"]);
    }
}
