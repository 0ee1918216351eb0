//! Metrics of runs and logged models: every point once, and the latest of each key.

use crate::column::params;
use crate::database::{View, Writer};
use crate::engine::{Row, SqlError};
use crate::error::StoreError;
use crate::mlflow::MlflowKind;

/// One value of a metric.
#[derive(Clone, Copy, Debug)]
pub struct MlflowPoint {
    /// When it was measured.
    pub at_ms: i64,
    /// At which step.
    pub step: i64,
    /// May be no number, or infinite.
    pub value: f64,
}

/// A metric's value, and what it was measured on.
#[derive(Clone, Debug)]
pub struct MlflowMetric {
    /// The run or logged model that it is kept for.
    pub owner: String,
    /// Its name.
    pub key: String,
    /// The value.
    pub point: MlflowPoint,
    /// The run that measured it; empty if unknown.
    pub run: String,
    /// The logged model that it is about; empty if none.
    pub model: String,
    /// The data set's name; empty if none.
    pub dataset: String,
    /// The data set's digest; empty if none.
    pub digest: String,
}

/// A double as an integer of the same order; what is no number comes after everything.
fn ordered(value: f64) -> i64 {
    let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
    fold(bits.cast_signed())
}

/// The double again.
fn unordered(value: i64) -> f64 {
    f64::from_bits(fold(value).cast_unsigned())
}

/// Turns the order of the negative ones round; its own inverse.
const fn fold(bits: i64) -> i64 {
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

const COLUMNS: &str = "owner, key, at_ms, step, value, run, model, dataset, digest";

impl MlflowMetric {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        let point = MlflowPoint { at_ms: row.get(2)?, step: row.get(3)?, value: unordered(row.get(4)?) };
        Ok(Self {
            owner: row.get(0)?,
            key: row.get(1)?,
            point,
            run: row.get(5)?,
            model: row.get(6)?,
            dataset: row.get(7)?,
            digest: row.get(8)?,
        })
    }
}

impl View<'_> {
    /// The points of a metric, the earliest first; `limit` of them after the first `offset`.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_metric_history(
        &self,
        (owner, key): (&str, &str),
        offset: usize,
        limit: usize,
    ) -> Result<Vec<MlflowMetric>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM mlflow_metrics WHERE owner = ?1 AND key = ?2
             ORDER BY at_ms, step, value, run, dataset, digest LIMIT ?3 OFFSET ?4"
        );
        let params = params![owner, key, limit, offset];
        self.rows("reading a metric's history", &sql, params, MlflowMetric::read)
    }

    /// Every point of every metric of a run or logged model, the earliest of each first; at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_metrics(&self, owner: &str, limit: usize) -> Result<Vec<MlflowMetric>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM mlflow_metrics WHERE owner = ?1 ORDER BY key, at_ms, step, value LIMIT ?2"
        );
        self.rows("reading metrics", &sql, params![owner, limit], MlflowMetric::read)
    }

    /// The latest value of each metric of a run or logged model.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_latest_metrics(&self, owner: &str) -> Result<Vec<MlflowMetric>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM mlflow_latest_metrics WHERE owner = ?1 ORDER BY key");
        self.rows("reading metrics", &sql, params![owner], MlflowMetric::read)
    }

    /// The latest values of everything of kind `of` that belongs to `parent`; of all metrics, or of one.
    ///
    /// # Errors
    /// The database fails.
    pub fn mlflow_latest_metrics_below(
        &self,
        (of, parent): (MlflowKind, &str),
        key: Option<&str>,
    ) -> Result<Vec<MlflowMetric>, StoreError> {
        let columns = COLUMNS.split(", ").map(|name| format!("latest.{name}")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT {columns} FROM mlflow_documents AS whose JOIN mlflow_latest_metrics AS latest
                ON latest.owner = whose.id AND (?3 IS NULL OR latest.key = ?3)
             WHERE whose.kind = ?1 AND whose.parent = ?2 ORDER BY latest.owner, latest.key"
        );
        self.rows("reading metrics", &sql, params![of.as_str(), parent, key], MlflowMetric::read)
    }
}

impl Writer<'_> {
    /// Keeps a point; one that is there already changes nothing.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_mlflow_metric(&self, metric: &MlflowMetric) -> Result<(), StoreError> {
        const EVERY: &str =
            "INSERT INTO mlflow_metrics (owner, key, at_ms, step, value, run, model, dataset, digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
        const LATEST: &str =
            "INSERT INTO mlflow_latest_metrics (owner, key, at_ms, step, value, run, model, dataset, digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (owner, key, dataset, digest, run) DO UPDATE SET
                at_ms = excluded.at_ms, step = excluded.step, value = excluded.value, model = excluded.model
             WHERE (excluded.step, excluded.at_ms, excluded.value)
                > (mlflow_latest_metrics.step, mlflow_latest_metrics.at_ms, mlflow_latest_metrics.value)";
        let MlflowMetric { owner, key, point, run, model, dataset, digest } = metric;
        let value = ordered(point.value);
        for sql in [EVERY, LATEST] {
            let params = params![owner, key, point.at_ms, point.step, value, run, model, dataset, digest];
            self.execute("keeping a metric", sql, params)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_keep_their_order_and_come_back() {
        let sorted =
            [f64::NEG_INFINITY, -1e300, -1.5, -0.0, 0.0, 1e-300, 1.0, 1e300, f64::INFINITY, f64::NAN];
        for pair in sorted.windows(2) {
            assert!(ordered(pair[0]) < ordered(pair[1]), "{pair:?}");
        }
        for value in sorted {
            assert_eq!(unordered(ordered(value)).to_bits(), value.to_bits(), "{value}");
        }
    }
}
