//! The one number a user states, false alarms per device-year, and what follows from it.

use serde::{Deserialize, Serialize};

/// Seconds of a Julian year.
pub const SECONDS_PER_YEAR: f64 = 365.25 * 86_400.0;

/// Longest average run length that evidence can express; larger budgets are clamped to it.
pub const MAX_ARL: f64 = 1e15;

/// How many false alarms a device may raise, and how fast it sees samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Expected false alarms of one device in one year.
    pub false_alarms_per_device_year: f64,
    /// Mean rate of samples of the device.
    pub samples_per_second: f64,
}

/// A budget that no threshold follows from.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{field} must be a positive number, not {value}")]
pub struct BudgetError {
    /// Field that is wrong.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
}

impl Budget {
    /// The budget of one false alarm in `arl_samples` samples.
    #[must_use]
    pub const fn of_arl(arl_samples: f64) -> Self {
        Self { false_alarms_per_device_year: SECONDS_PER_YEAR / arl_samples, samples_per_second: 1.0 }
    }

    /// Average run length: the mean number of samples between false alarms, at most [`MAX_ARL`], at least 1.
    ///
    /// # Errors
    /// A field is not a positive finite number.
    pub fn arl_samples(&self) -> Result<f64, BudgetError> {
        positive("false_alarms_per_device_year", self.false_alarms_per_device_year)?;
        positive("samples_per_second", self.samples_per_second)?;
        let arl = self.samples_per_second * SECONDS_PER_YEAR / self.false_alarms_per_device_year;
        Ok(arl.clamp(1.0, MAX_ARL))
    }
}

impl Default for Budget {
    /// One false alarm in ten device-years at ten samples per second: an average run length of 3.2e9.
    fn default() -> Self {
        Self { false_alarms_per_device_year: 0.1, samples_per_second: 10.0 }
    }
}

fn positive(field: &'static str, value: f64) -> Result<(), BudgetError> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(BudgetError { field, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_length_follows_from_the_budget() {
        let arl =
            Budget { false_alarms_per_device_year: 0.5, samples_per_second: 2.0 }.arl_samples().unwrap();
        assert!((arl - 4.0 * SECONDS_PER_YEAR).abs() < 1.0);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                Budget { false_alarms_per_device_year: bad, samples_per_second: 1.0 }.arl_samples().is_err()
            );
            assert!(
                Budget { false_alarms_per_device_year: 1.0, samples_per_second: bad }.arl_samples().is_err()
            );
        }
    }
}
