//! Signed checkpoints: the ledger's hash tree at a size, so that history cannot be rewritten unseen.
//!
//! The tree is kept in memory as its frontier and grows with the ledger. After a start it is built again from every
//! entry and must agree with the last checkpoint that was signed; if it does not, nothing more is signed.

use std::time::Duration;

use edgeward_core::Digest;
use edgeward_core::ledger::LedgerFault;
use edgeward_store::{Checkpoint, ENTRIES_PAGE_MAX, Fault, RawEntry};
use edgeward_trust::tree::{Frontier, leaf_hash};
use edgeward_trust::{Root, checkpoint};

use super::ReconcileError;
use crate::app::App;

/// A checkpoint is signed when so many entries are not covered,
const ENTRIES_MAX: u64 = 64;
/// or when the first of them has waited this long.
const AGE_MAX: Duration = Duration::from_secs(10);

/// The ledger's tree, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    frontier: Frontier,
}

/// The name of this control plane's ledger in its checkpoints: it follows from the root of trust.
#[must_use]
pub fn ledger_origin(root: &Root) -> String {
    format!("edgeward-ledger/{}", Digest::of(&root.to_bytes()).short())
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
    grow(app, &mut tree.frontier, len, last.as_ref()).await?;
    if let Some(last) = last.filter(|last| last.size == len) {
        return Ok(last);
    }
    let head = tree.frontier.head();
    let signed = checkpoint::Checkpoint { origin: ledger_origin(&app.keys.root), head };
    let note = signed.sign(&[&app.keys.ledger])?;
    let made = Checkpoint { size: head.size, root: head.root, note, at_ms: app.now() };
    let kept = made.clone();
    app.decide(move |decision| Ok::<_, ReconcileError>(decision.put_checkpoint(&kept)?)).await?;
    Ok(made)
}

/// Adds the entries up to `len`, and compares with the last checkpoint on the way.
async fn grow(
    app: &App,
    frontier: &mut Frontier,
    len: u64,
    last: Option<&Checkpoint>,
) -> Result<(), ReconcileError> {
    while frontier.size() < len {
        let (from, wanted) =
            (frontier.size(), ENTRIES_PAGE_MAX.min(usize::try_from(len).unwrap_or(usize::MAX)));
        let page = app.read(move |view| view.entries(from, wanted).map_err(ReconcileError::from)).await?;
        if page.is_empty() {
            return Err(Fault::Truncated { len: from, expected: len }.into());
        }
        let mut grown = frontier.clone();
        for entry in page.into_iter().take_while(|entry| entry.seq < len) {
            push(&mut grown, &entry)?;
            check(&grown, last)?;
        }
        *frontier = grown;
    }
    match last {
        Some(last) if last.size > len => Err(Fault::Truncated { len, expected: last.size }.into()),
        _ => Ok(()),
    }
}

fn push(frontier: &mut Frontier, entry: &RawEntry) -> Result<(), ReconcileError> {
    let (expected, found) = (frontier.size(), entry.seq);
    if expected != found {
        return Err(Fault::Entry(LedgerFault::OutOfOrder { expected, found }).into());
    }
    frontier.push(leaf_hash(&entry.bytes));
    Ok(())
}

fn check(frontier: &Frontier, last: Option<&Checkpoint>) -> Result<(), ReconcileError> {
    match last.filter(|last| last.size == frontier.size()) {
        Some(last) if last.root != frontier.head().root => Err(ReconcileError::Rewritten { size: last.size }),
        _ => Ok(()),
    }
}
