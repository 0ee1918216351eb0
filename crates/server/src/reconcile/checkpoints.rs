//! Signed checkpoints: the ledger's hash tree at a size, so that history cannot be rewritten unseen.
//!
//! The tree is kept in memory and grows with the ledger. After a start it is built again from every entry and must agree
//! with the last checkpoint that was kept and with the one in the file beside the keys, which is written after each; if it
//! does not, nothing more is signed.

use std::time::Duration;

use edgeward_core::ledger::LedgerFault;
use edgeward_store::{Checkpoint, ENTRIES_PAGE_MAX, Fault, RawEntry};
use edgeward_trust::checkpoint;
use edgeward_trust::tree::{StoredTree, TreeHead, leaf_hash};

use super::ReconcileError;
use crate::app::{App, blocking};
use crate::setup;

/// A checkpoint is signed when so many entries are not covered,
const ENTRIES_MAX: u64 = 64;
/// or when the first of them has waited this long.
const AGE_MAX: Duration = Duration::from_secs(10);

/// The ledger's tree, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) stored: StoredTree,
    /// What the file beside the keys said at the start; none once the tree agreed with it.
    witness: Option<TreeHead>,
}

impl Tree {
    /// A tree that must agree with `witness`.
    pub(crate) fn seen_by(witness: Option<TreeHead>) -> Self {
        Self { stored: StoredTree::default(), witness }
    }
}

/// Signs a checkpoint if the last one has fallen behind.
pub(crate) async fn reconcile(app: &App) -> Result<(), ReconcileError> {
    let (len, last) =
        app.read(|view| Ok::<_, ReconcileError>((view.head()?.len, view.latest_checkpoint()?))).await?;
    let covered = last.as_ref().map_or(0, |last| last.size);
    let age = last.map_or(Duration::MAX, |last| app.now().since(last.at_ms));
    let waiting = len.saturating_sub(covered);
    if waiting >= ENTRIES_MAX || waiting > 0 && age >= AGE_MAX {
        sign_now(app).await?;
    }
    Ok(())
}

/// A checkpoint over every entry written so far; the last one if it still is that.
pub(crate) async fn sign_now(app: &App) -> Result<Checkpoint, ReconcileError> {
    let mut tree = app.tree.lock().await;
    let (len, last) =
        app.read(|view| Ok::<_, ReconcileError>((view.head()?.len, view.latest_checkpoint()?))).await?;
    grow(app, &mut tree, len, last.as_ref()).await?;
    if let Some(last) = last.filter(|last| last.size == len) {
        return Ok(last);
    }
    let Some(head) = tree.stored.head_at(len) else {
        return Err(Fault::Truncated { len: tree.stored.size(), expected: len }.into());
    };
    let signed = checkpoint::Checkpoint { origin: app.ledger.keys.origin(), head };
    let note = signed.sign(&[&app.ledger.key])?;
    let made = Checkpoint { size: head.size, root: head.root, note, at_ms: app.now() };
    let kept = made.clone();
    app.decide(move |decision| Ok::<_, ReconcileError>(decision.put_checkpoint(&kept)?)).await?;
    let (home, note) = (app.home.clone(), made.note.clone());
    blocking(move || setup::write_witness(&home, &note).map_err(ReconcileError::from)).await?;
    Ok(made)
}

/// The latest kept checkpoint with a proof that it continues the tree of `seen` entries; none where `seen` is more.
pub(crate) async fn since(
    app: &App,
    seen: u64,
) -> Result<(Checkpoint, Option<Vec<edgeward_core::Digest>>), ReconcileError> {
    let latest = app.read(|view| view.latest_checkpoint().map_err(ReconcileError::from)).await?;
    let latest = match latest {
        Some(latest) => latest,
        None => sign_now(app).await?,
    };
    let mut tree = app.tree.lock().await;
    grow(app, &mut tree, latest.size, Some(&latest)).await?;
    let proof = tree.stored.prove_consistency(seen, latest.size);
    Ok((latest, proof))
}

/// Adds the entries up to `len`, and compares with the last checkpoint and the witness on the way.
async fn grow(app: &App, tree: &mut Tree, len: u64, last: Option<&Checkpoint>) -> Result<(), ReconcileError> {
    while tree.stored.size() < len {
        let (from, wanted) =
            (tree.stored.size(), ENTRIES_PAGE_MAX.min(usize::try_from(len).unwrap_or(usize::MAX)));
        let page = app.read(move |view| view.entries(from, wanted).map_err(ReconcileError::from)).await?;
        if page.is_empty() {
            return Err(Fault::Truncated { len: from, expected: len }.into());
        }
        for entry in page.into_iter().take_while(|entry| entry.seq < len) {
            if let Err(error) = push(&mut tree.stored, &entry).and_then(|()| check(tree, last)) {
                tree.stored.truncate(from);
                return Err(error);
            }
        }
    }
    let longest = last.map(|last| last.size).max(tree.witness.map(|witness| witness.size));
    match longest {
        Some(size) if size > tree.stored.size() => {
            Err(Fault::Truncated { len: tree.stored.size(), expected: size }.into())
        }
        _ => Ok(()),
    }
}

fn push(tree: &mut StoredTree, entry: &RawEntry) -> Result<(), ReconcileError> {
    let (expected, found) = (tree.size(), entry.seq);
    if expected != found {
        return Err(Fault::Entry(LedgerFault::OutOfOrder { expected, found }).into());
    }
    tree.push(leaf_hash(&entry.bytes));
    Ok(())
}

fn check(tree: &mut Tree, last: Option<&Checkpoint>) -> Result<(), ReconcileError> {
    let size = tree.stored.size();
    let last = last.filter(|last| last.size == size).map(|last| last.root);
    let witness = tree.witness.filter(|witness| witness.size == size);
    if last.is_none() && witness.is_none() {
        return Ok(());
    }
    let root = tree.stored.head_at(size).map(|head| head.root);
    if last.into_iter().chain(witness.map(|witness| witness.root)).any(|signed| Some(signed) != root) {
        return Err(ReconcileError::Rewritten { size });
    }
    if witness.is_some() {
        tree.witness = None;
    }
    Ok(())
}
