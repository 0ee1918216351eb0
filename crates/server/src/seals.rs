//! What signs each entry as it is written, and what is remembered of the ledger beside the keys.
//!
//! The file beside the keys is made at the first start. A ledger that has none is one that an older program wrote, whose
//! entries are sealed once; from then on an entry without a seal stays one, and `edgeward audit verify` names it.

use std::sync::Arc;

use edgeward_store::{Sealer, Store, StoreError};
use edgeward_trust::Checkpoint;
use edgeward_trust::seal;
use edgeward_trust::tree::{Frontier, TreeHead, leaf_hash};

use crate::serve::ServerError;
use crate::setup::{self, LedgerSigner, Setup};

/// Signs entries with the ledger's key.
pub(crate) fn sealer(ledger: &Arc<LedgerSigner>) -> Sealer {
    let (origin, ledger) = (ledger.keys.origin(), Arc::clone(ledger));
    Box::new(move |seq, bytes| Ok(seal::sign(&origin, seq, bytes, &ledger.key)?.to_vec()))
}

/// What the file beside the keys says of the ledger; it is made where there is none.
#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "a method of one lifetime is no closure for all"
)]
pub(crate) fn witness(setup: &Setup, store: &Store) -> Result<Option<TreeHead>, ServerError> {
    let (origin, keys) = (setup.ledger.keys.origin(), &setup.ledger.keys);
    if let Some(note) = setup::read_witness(&setup.home)? {
        let signed = Checkpoint::verify(&note, &origin, keys);
        let untrue = |error| tracing::error!("the checkpoint beside the keys is not believed: {error}");
        return Ok(signed.map_err(untrue).ok().map(|checkpoint| checkpoint.head));
    }
    let latest = store.read(|view| view.latest_checkpoint())?;
    let note = match latest {
        Some(latest) if !covers(store, latest.size, latest.root)? => {
            tracing::error!(
                "the ledger is not the one its checkpoint over {} entries was signed for",
                latest.size
            );
            return Ok(None);
        }
        Some(latest) => latest.note,
        None => Checkpoint { origin: origin.clone(), head: Frontier::default().head() }
            .sign(&[&setup.ledger.key])?,
    };
    let sealed = store.write::<_, StoreError>(|writer| writer.seal_the_unsealed())?;
    if sealed > 0 {
        tracing::info!(sealed, "entries that an older program wrote have their seals now");
    }
    setup::write_witness(&setup.home, &note)?;
    let head = Checkpoint::verify(&note, &origin, keys);
    Ok(head.ok().map(|checkpoint| checkpoint.head))
}

fn covers(store: &Store, size: u64, root: edgeward_core::Digest) -> Result<bool, StoreError> {
    let mut tree = Frontier::default();
    while tree.size() < size {
        let page = store.entries(tree.size(), edgeward_store::ENTRIES_PAGE_MAX)?;
        if page.is_empty() {
            return Ok(false);
        }
        let wanted = usize::try_from(size - tree.size()).unwrap_or(usize::MAX);
        page.iter().take(wanted).for_each(|entry| tree.push(leaf_hash(&entry.bytes)));
    }
    Ok(tree.head() == TreeHead { size, root })
}
