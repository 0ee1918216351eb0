//! The prices: 33 years to learn from, and April 2020 to live through.

use std::io::{self, Write};

const HISTORY_CSV: &str = include_str!("../../../../../examples/oil/data/wti.csv");
const APRIL_CSV: &str = include_str!("../../../../../examples/oil/data/april-2020.csv");

/// One trading day that is lived through.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Day {
    pub(super) date: String,
    /// Today's price, US dollars per barrel.
    pub(super) price: f32,
    /// Today's price less yesterday's.
    pub(super) change: f32,
}

/// What a model learns: a day, and the next day's price.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) price: f32,
    pub(super) change: f32,
    pub(super) next: f32,
}

/// A day of a file that has no price.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no date and price")]
pub(super) struct NoPrice(String);

fn prices(csv: &str) -> Result<Vec<(&str, f32)>, NoPrice> {
    csv.lines()
        .skip(1)
        .map(|line| {
            let fail = || NoPrice(line.to_owned());
            let (date, price) = line.split_once(',').ok_or_else(fail)?;
            Ok((date, price.parse().map_err(|_| fail())?))
        })
        .collect()
}

/// The days of April 2020 but the first, which has no yesterday here.
pub(super) fn april() -> Result<Vec<Day>, NoPrice> {
    let prices = prices(APRIL_CSV)?;
    let day = |pair: &[(&str, f32)]| Day {
        date: pair[1].0.to_owned(),
        price: pair[1].1,
        change: pair[1].1 - pair[0].1,
    };
    Ok(prices.windows(2).map(day).collect())
}

/// What 33 years teach.
pub(super) fn history_rows() -> Result<Vec<Row>, NoPrice> {
    let prices = prices(HISTORY_CSV)?;
    let row = |days: &[(&str, f32)]| Row { price: days[1].1, change: days[1].1 - days[0].1, next: days[2].1 };
    Ok(prices.windows(3).map(row).collect())
}

/// Writes rows as a project's data.
pub(super) fn write_rows(rows: &[Row], to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "price,change,next")?;
    rows.iter().try_for_each(|Row { price, change, next }| writeln!(to, "{price},{change},{next}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_and_april_are_complete() {
        let (history, april) = (history_rows().unwrap(), april().unwrap());
        assert_eq!((history.len(), april.len()), (8_319, 20));
        assert_eq!(history[0], Row { price: 26.0, change: 26.0 - 25.56, next: 26.53 });
        let negative: Vec<&Day> = april.iter().filter(|day| day.price < 0.0).collect();
        assert_eq!((negative.len(), negative[0].date.as_str(), negative[0].price), (1, "2020-04-20", -36.98));
        assert!(history.iter().all(|row| row.price > 0.0 && row.next > 0.0));
    }

    #[test]
    fn a_line_without_a_price_is_named() {
        assert_eq!(
            prices("date,price\n2020-01-01").unwrap_err().to_string(),
            "'2020-01-01' is no date and price"
        );
    }
}
