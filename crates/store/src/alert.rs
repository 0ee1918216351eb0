//! Alerts, and who has seen them.

use edgeward_core::{Alert, ModelName, Timestamp};

use crate::column::{Json, Text, params};
use crate::database::View;
use crate::engine::{Row, SqlError};
use crate::error::StoreError;
use crate::registry::ROWS_PAGE_MAX;

/// An alert and, once a person has seen it, who.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    /// The alert, as it was raised.
    pub alert: Alert,
    /// Who has seen it; none if nobody said so.
    pub acknowledged: Option<AcknowledgementRow>,
}

/// Who has seen an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcknowledgementRow {
    /// Who.
    pub by: String,
    /// When.
    pub at_ms: Timestamp,
    /// What they said about it.
    pub note: Option<String>,
}

const ALERT: &str = "SELECT document, acknowledged_by, acknowledged_at_ms, acknowledged_note FROM alerts";

impl AlertRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        let (by, at, note): (Option<String>, Option<i64>, Option<String>) =
            (row.get(1)?, row.get(2)?, row.get(3)?);
        let acknowledged = by.zip(at).map(|(by, at)| AcknowledgementRow { by, at_ms: Timestamp(at), note });
        Ok(Self { alert: row.get::<Json<_>>(0)?.0, acknowledged })
    }
}

impl View<'_> {
    /// The newest alerts, of one model or of all, the newest first; at most [`ROWS_PAGE_MAX`].
    ///
    /// # Errors
    /// The database fails.
    pub fn alerts(&self, model: Option<&ModelName>, limit: usize) -> Result<Vec<Alert>, StoreError> {
        Ok(self.alert_rows(model, limit)?.into_iter().map(|row| row.alert).collect())
    }

    /// The same with who has seen them.
    ///
    /// # Errors
    /// The database fails.
    pub fn alert_rows(&self, model: Option<&ModelName>, limit: usize) -> Result<Vec<AlertRow>, StoreError> {
        let sql = format!("{ALERT} WHERE ?1 IS NULL OR model = ?1 ORDER BY seq DESC LIMIT ?2");
        self.rows(
            "reading the alerts",
            &sql,
            params![model.map(Text), limit.min(ROWS_PAGE_MAX)],
            AlertRow::read,
        )
    }

    /// One alert.
    ///
    /// # Errors
    /// The database fails.
    pub fn alert(&self, id: &str) -> Result<Option<AlertRow>, StoreError> {
        self.row("reading an alert", &format!("{ALERT} WHERE id = ?1"), params![id], AlertRow::read)
    }

    /// Whether an alert of this id was raised.
    ///
    /// # Errors
    /// The database fails.
    pub fn has_alert(&self, id: &str) -> Result<bool, StoreError> {
        let found =
            self.row("looking for an alert", "SELECT 1 FROM alerts WHERE id = ?1", params![id], |_| Ok(()))?;
        Ok(found.is_some())
    }
}
