//! Records become batches.

use edgeward_core::{Digest, Event};
use edgeward_store::{BATCH_RECORDS_MAX, Leaf};
use edgeward_trust::tree;

use crate::app::App;
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

/// The hash of a leaf, whether its record is still there or not.
pub(crate) fn leaf_hash(leaf: &Leaf) -> Digest {
    match leaf {
        Leaf::Record(record) => tree::leaf_hash(record.as_bytes()),
        Leaf::Forgotten(digest) => *digest,
    }
}
