//! Flags of the commands that look at data in a file: `profile`, `drift`, `backtest`.

use std::path::PathBuf;

use clap::Args;
use edgeward_monitor::{Budget, MAX_ARL};

/// Flags of `profile`.
#[derive(Args)]
pub(crate) struct ProfileArgs {
    /// A CSV or Parquet file
    pub(crate) data: PathBuf,
    /// A column to look at; may be given again. Every column if not given
    #[arg(long = "column", value_name = "C")]
    pub(crate) columns: Vec<String>,
}

/// Flags of `drift`.
#[derive(Args)]
pub(crate) struct DriftArgs {
    /// What is compared with: a CSV or Parquet file
    #[arg(long, value_name = "A")]
    pub(crate) reference: PathBuf,
    /// What is compared: a CSV or Parquet file
    #[arg(long, value_name = "B")]
    pub(crate) current: PathBuf,
    /// A column to compare; may be given again. Every column that can be if not given
    #[arg(long = "column", value_name = "C")]
    pub(crate) columns: Vec<String>,
    /// Write the comparison as one self-contained page, too
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// Flags of `backtest`.
#[derive(Args)]
pub(crate) struct BacktestArgs {
    /// The history: a CSV or Parquet file, one row per sample, oldest first
    pub(crate) data: PathBuf,
    /// How many rows, the first, the monitor learns from; the others are replayed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) reference: u64,
    /// A column to watch; may be given again. Every column that can be watched if not given
    #[arg(long = "column", value_name = "C")]
    pub(crate) columns: Vec<String>,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Rows without a further drift alarm after one; then the evidence starts anew
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    pub(crate) hold_off: u64,
    /// Refuse a budget that the reference is too short for, instead of judging single values by the one it supports
    #[arg(long)]
    pub(crate) strict: bool,
}

/// How many false alarms are tolerated, in all columns together.
#[derive(Args)]
pub(crate) struct BudgetArgs {
    /// Tolerated false alarms: a number per device-year, or -month, -week, -day or -hour [default: 0.1/device-year]
    #[arg(long, value_name = "N/device-year", value_parser = parse_budget, conflicts_with = "arl")]
    budget: Option<f64>,
    /// The same as a mean number of rows between false alarms
    #[arg(long, value_name = "ROWS", value_parser = parse_arl)]
    arl: Option<f64>,
    /// How many rows a device sees in a second; it turns --budget into rows
    #[arg(long, value_name = "R", default_value_t = Budget::default().samples_per_second, value_parser = parse_rate, conflicts_with = "arl")]
    requests_per_second: f64,
}

impl BudgetArgs {
    /// The budget as the monitor states it.
    pub(crate) fn budget(&self) -> Budget {
        match self.arl {
            Some(arl) => Budget::of_arl(arl),
            None => Budget {
                false_alarms_per_device_year: self
                    .budget
                    .unwrap_or(Budget::default().false_alarms_per_device_year),
                samples_per_second: self.requests_per_second,
            },
        }
    }
}

/// `0.1/device-year`, `1/device-month`; a number alone is per year.
fn parse_budget(text: &str) -> Result<f64, String> {
    const RULE: &str = "a budget is a number above 0 and a period: 0.1/device-year, 1/device-month, 1/device-week, \
                        1/device-day, 1/device-hour";
    let (number, period) = text.split_once('/').unwrap_or((text, "device-year"));
    let per_year = match period.trim() {
        "device-year" => 1.0,
        "device-month" => 12.0,
        "device-week" => 365.25 / 7.0,
        "device-day" => 365.25,
        "device-hour" => 365.25 * 24.0,
        _ => return Err(RULE.to_owned()),
    };
    let number = number.trim().parse::<f64>().ok().map(|number| number * per_year);
    number.filter(|number| number.is_finite() && *number > 0.0).ok_or_else(|| RULE.to_owned())
}

/// A mean number of rows.
fn parse_arl(text: &str) -> Result<f64, String> {
    let arl = text.parse::<f64>().ok().filter(|arl| (1.0..=MAX_ARL).contains(arl));
    arl.ok_or_else(|| format!("a mean number of rows is 1 to {MAX_ARL:e}, such as 1e6"))
}

/// Rows per second.
fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "a rate is a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_read_as_people_write_them() {
        assert_eq!(parse_budget("0.1/device-year"), Ok(0.1));
        assert_eq!(parse_budget("2"), Ok(2.0));
        assert_eq!(parse_budget("1/device-day"), Ok(365.25));
        for bad in ["", "0", "-1/device-year", "NaN", "inf", "1/year", "1/device-eon", "x/device-year"] {
            assert!(parse_budget(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mean_number_of_rows_is_bounded() {
        assert_eq!(parse_arl("1e6"), Ok(1e6));
        for bad in ["0", "0.5", "-1", "NaN", "inf", "1e16", "x"] {
            assert!(parse_arl(bad).is_err(), "{bad}");
        }
        assert!(parse_rate("0").is_err() && parse_rate("inf").is_err());
    }
}
