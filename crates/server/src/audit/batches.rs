//! Records of predictions, held against the roots that the ledger has.

use edgeward_core::Event;
use edgeward_store::{ENTRIES_PAGE_MAX, Leaf, StoreError, View};
use edgeward_trust::tree;

use super::AuditFault;
use crate::records::leaf_hash;

/// Hands the leaves of every batch in the ledger to `each`, batch after batch, once they are those that were kept; how many
/// there are. Of a record that was forgotten the digest is there.
pub(super) fn each_batch<E: From<AuditFault> + From<StoreError>>(
    view: &View<'_>,
    mut each: impl FnMut(&[Leaf]) -> Result<(), E>,
) -> Result<u64, E> {
    let (mut from, mut all) = (0, 0);
    loop {
        let page = view.batches_in_ledger(from, ENTRIES_PAGE_MAX)?;
        let Some(last) = page.last() else { return Ok(all) };
        from = last.seq + 1;
        for raw in &page {
            let entry = raw.parse().map_err(AuditFault::from)?;
            let Event::RecordsKept { batch, records, root } = entry.event else { continue };
            let found: Vec<Leaf> = view.leaves_of_batch(batch)?.into_iter().map(|(_, leaf)| leaf).collect();
            let leaves: Vec<_> = found.iter().map(leaf_hash).collect();
            if leaves.len() as u64 != records || tree::root(&leaves) != root {
                return Err(AuditFault::Records { batch, entry: raw.seq }.into());
            }
            all += records;
            each(&found)?;
        }
    }
}
