//! Records that arrived become batches every so often, whatever the number of devices, and inputs and records whose time is
//! over are forgotten.

use std::time::Duration;

use super::ReconcileError;
use crate::app::App;
use crate::records;

/// How long the first record of a batch waits for others.
const BATCH_EVERY: Duration = Duration::from_secs(10);

/// Makes the waiting records a batch if the first of them waits for long enough.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    records::erase_due(app).await?;
    records::expire_due(app).await?;
    let oldest = app.read(|view| view.oldest_waiting_record().map_err(ReconcileError::from)).await?;
    match oldest {
        Some(since) if app.now().since(since) >= BATCH_EVERY => records::make_batches(app).await,
        _ => Ok(()),
    }
}
