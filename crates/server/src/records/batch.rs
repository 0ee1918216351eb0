//! Records become batches, and inputs whose time is over are erased.

use std::sync::Arc;

use edgeward_core::{Event, Timestamp};
use edgeward_store::BATCH_RECORDS_MAX;
use edgeward_trust::tree;

use super::day_of;
use crate::app::{App, blocking};
use crate::reconcile::ReconcileError;

/// Makes every waiting record part of a batch, with the batch's root in the ledger.
pub(crate) async fn make_batches(app: &App) -> Result<(), ReconcileError> {
    loop {
        let made = app.decide(|decision| {
            let waiting = decision.records_waiting()?;
            let Some((last, _)) = waiting.last() else { return Ok::<_, ReconcileError>(0) };
            let leaves: Vec<_> =
                waiting.iter().map(|(_, record)| tree::leaf_hash(record.as_bytes())).collect();
            let (batch, records) = (decision.next_batch()?, leaves.len());
            decision.put_into_batch(batch, *last)?;
            let root = tree::root(&leaves);
            decision.append(Event::RecordsKept { batch, records: records as u64, root })?;
            Ok(records)
        });
        if made.await? < BATCH_RECORDS_MAX {
            return Ok(());
        }
    }
}

/// Drops the keys of inputs whose time is over, and says so in the ledger.
pub(crate) async fn erase_due(app: &App) -> Result<(), ReconcileError> {
    let today = today(app.now());
    let due = app.read(move |view| view.inputs_due(today).map_err(ReconcileError::from)).await?;
    if due == 0 {
        return Ok(());
    }
    // The key goes first: what stands in the database cannot be read from here on.
    let vault = Arc::clone(&app.vault);
    blocking(move || vault.erase(today).map_err(ReconcileError::from)).await?;
    app.decide(move |decision| {
        let inputs = decision.drop_sealed(today)? as u64;
        decision.append(Event::InputsErased { day: today, inputs })?;
        Ok::<_, ReconcileError>(())
    })
    .await
}

/// Today, in days since 1970.
fn today(now: Timestamp) -> i64 {
    day_of(now, 0) - 1
}
