//! What the ledger holds, and proofs about single entries.

use edgeward_api::device::Report;
use edgeward_core::Digest;
use edgeward_core::ledger::Entry;
use edgeward_store::{ENTRIES_PAGE_MAX, StoreError, View};
use edgeward_trust::tree::{StoredTree, leaf_hash};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Identity, Opened};

/// The ledger at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The log's name.
    pub origin: String,
    /// Entries.
    pub entries: u64,
    /// Kept checkpoints.
    pub checkpoints: usize,
    /// Entries that the latest covers.
    pub covered: u64,
    /// What devices saw.
    pub witnesses: Vec<Seen>,
}

/// What one device saw.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Which device.
    pub by: String,
    /// Entries that the checkpoint covers which it saw last; none if it is not signed.
    pub size: Option<u64>,
    /// Why it does not believe the ledger since then.
    pub fault: Option<String>,
}

/// An entry with proof that it is in the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct Inclusion {
    /// The entry's bytes, as they are hashed.
    pub entry: Box<RawValue>,
    /// Its place.
    pub index: u64,
    /// A signed checkpoint that covers it; none yet.
    pub checkpoint: Option<String>,
    /// Hashes that lead from the entry to the checkpoint's root (RFC 9162, section 2.1.3).
    pub proof: Vec<Digest>,
}

impl Opened {
    /// The ledger at a glance; nothing is verified.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn summary(&self) -> Result<Summary, StoreError> {
        self.store.read(|view| {
            let checkpoints = view.checkpoints()?;
            Ok(Summary {
                origin: self.identity.origin.clone(),
                entries: view.head()?.len,
                covered: checkpoints.last().map_or(0, |last| last.size),
                checkpoints: checkpoints.len(),
                witnesses: seen(view, &self.identity)?,
            })
        })
    }

    /// One entry with its proof; none if there is no such entry.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn prove(&self, seq: u64) -> Result<Option<Inclusion>, StoreError> {
        self.store.read(|view| prove(view, seq))
    }
}

fn seen(view: &View<'_>, identity: &Identity) -> Result<Vec<Seen>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = view.devices(after.as_ref(), usize::MAX)?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.id.clone());
        for device in page {
            let report: Option<Report> =
                device.report.and_then(|report| serde_json::from_value(report.document).ok());
            let Some(ledger) = report.and_then(|report| report.ledger) else { continue };
            let size = |note: String| {
                let signed = edgeward_trust::Checkpoint::verify(&note, &identity.origin, &identity.keys);
                signed.ok().map(|checkpoint| checkpoint.head.size)
            };
            all.push(Seen {
                by: device.id.to_string(),
                size: ledger.note.and_then(size),
                fault: ledger.fault,
            });
        }
    }
}

/// One entry with its proof; none if there is no such entry.
pub(crate) fn prove(view: &View<'_>, seq: u64) -> Result<Option<Inclusion>, StoreError> {
    let Some(raw) = view.entries(seq, 1)?.into_iter().find(|raw| raw.seq == seq) else { return Ok(None) };
    let text = String::from_utf8_lossy(&raw.bytes).into_owned();
    let readable = raw.parse().is_ok_and(|entry: Entry| entry.seq == seq);
    let Some(entry) = RawValue::from_string(text).ok().filter(|_| readable) else { return Ok(None) };
    let covering = view.latest_checkpoint()?.filter(|latest| latest.size > seq);
    let Some(latest) = covering else {
        return Ok(Some(Inclusion { entry, index: seq, checkpoint: None, proof: Vec::new() }));
    };
    let tree = tree(view, latest.size)?;
    let proof = tree.prove_inclusion(seq, latest.size).unwrap_or_default();
    Ok(Some(Inclusion { entry, index: seq, checkpoint: Some(latest.note), proof }))
}

/// The tree over the first `size` entries.
fn tree(view: &View<'_>, size: u64) -> Result<StoredTree, StoreError> {
    let mut tree = StoredTree::default();
    while tree.size() < size {
        let page = view.entries(tree.size(), ENTRIES_PAGE_MAX)?;
        if page.is_empty() {
            break;
        }
        let wanted = usize::try_from(size - tree.size()).unwrap_or(usize::MAX);
        page.iter().take(wanted).for_each(|raw| tree.push(leaf_hash(&raw.bytes)));
    }
    Ok(tree)
}
