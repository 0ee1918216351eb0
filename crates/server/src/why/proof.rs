//! Whether an answer is what the ledger has.
//!
//! The keys give the log's name; whoever knows the name from elsewhere says so. The checkpoint is signed by the keys; each
//! entry is in the checkpoint's tree; a record is in the tree of its batch, whose root an entry has; and what is kept of the
//! input has the digest that the record says.

use edgeward_api::record::{InputKept, Lineage, PredictionAnswer, ProvedEntry, ProvedRecord};
use edgeward_core::ledger::Entry;
use edgeward_core::record::{Kept, LabelRecord, PredictionRecord, Record, SALT_LEN, ShadowsRecord, salted};
use edgeward_core::{Digest, Event};
use edgeward_trust::LedgerKeys;
use edgeward_trust::checkpoint::{Checkpoint, CheckpointError};
use edgeward_trust::tree::{ProofError, TreeHead, leaf_hash, verify_inclusion};
use serde::Serialize;

use super::InputTold;

/// What was proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proved {
    /// The log's name.
    pub origin: String,
    /// Whether the caller knew the name from elsewhere.
    pub origin_known: bool,
    /// Entries that the checkpoint covers.
    pub checkpoint_size: u64,
    /// The tree's root over them.
    pub checkpoint_root: Digest,
    /// The batch's number and the entry that has its root; none of a lineage alone.
    pub batch: Option<(u64, u64)>,
    /// Entries shown to be in the ledger.
    pub entries: usize,
}

/// Why an answer is not what the ledger has.
#[derive(Debug, thiserror::Error)]
pub enum ProofFault {
    /// The ledger's keys cannot be read.
    #[error("reading the ledger's keys")]
    Keys(#[source] serde_json::Error),
    /// Another ledger than expected.
    #[error("the ledger is {found}, not {expected}")]
    Origin {
        /// Which was expected.
        expected: String,
        /// Which it is.
        found: String,
    },
    /// The checkpoint is not believed.
    #[error("believing the checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// An entry is not in the tree.
    #[error("entry {index} is not in the ledger that was signed")]
    Entry {
        /// Which.
        index: u64,
        /// Why not.
        #[source]
        source: ProofError,
    },
    /// An entry does not parse or says something else than it should.
    #[error("entry {index} {reason}")]
    Unfit {
        /// Which.
        index: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A record is not in its batch.
    #[error("the record is not in batch {batch}, as entry {entry} has it: it was edited")]
    Record {
        /// Which batch.
        batch: u64,
        /// The entry.
        entry: u64,
        /// Why not.
        #[source]
        source: ProofError,
    },
    /// A record is about something else, or does not parse.
    #[error("the record {0}")]
    Unrelated(&'static str),
    /// The input is not what the record says.
    #[error("the kept input is not the one whose digest the record has: it was changed")]
    Input,
}

/// An answer that holds.
pub struct Held {
    /// What the prediction's record says.
    pub record: PredictionRecord,
    /// What became known about its rows.
    pub labels: Vec<LabelRecord>,
    /// What shadows said to the same request.
    pub shadows: Vec<ShadowsRecord>,
    /// What of the input is there.
    pub input: InputTold,
    /// The entries about the model.
    pub entries: Vec<Entry>,
    /// What was proved.
    pub proved: Proved,
}

/// Checks an answer about a prediction; `origin` is the log's name as the caller knows it.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify(answer: &PredictionAnswer, origin: Option<&str>) -> Result<Held, ProofFault> {
    let (entries, mut proved) = verify_lineage(&answer.lineage, origin)?;
    let head = TreeHead { size: proved.checkpoint_size, root: proved.checkpoint_root };
    let (said, batch) = record(&answer.record, &head)?;
    proved.batch = Some(batch);
    let Record::Prediction(said) = said else {
        return Err(ProofFault::Unrelated("is not that of a prediction"));
    };
    if said.bundle != answer.lineage.bundle || said.model != answer.lineage.model {
        return Err(ProofFault::Unrelated("names another model than the lineage that came with it"));
    }
    let mut labels = Vec::new();
    for label in &answer.labels {
        match record(label, &head)?.0 {
            Record::Label(label) if label.prediction == said.prediction => labels.push(label),
            _ => return Err(ProofFault::Unrelated("of a label is about another prediction")),
        }
    }
    let mut shadows = Vec::new();
    for shadow in &answer.shadows {
        match record(shadow, &head)?.0 {
            Record::Shadows(shadow) if shadow.prediction == said.prediction => shadows.push(shadow),
            _ => return Err(ProofFault::Unrelated("of shadows is about another prediction")),
        }
    }
    let input = input(&answer.input, &said)?;
    Ok(Held { record: said, labels, shadows, input, entries, proved })
}

/// Checks where a model comes from; the entries, and what was proved.
///
/// # Errors
/// The first thing that does not hold.
pub fn verify_lineage(lineage: &Lineage, expected: Option<&str>) -> Result<(Vec<Entry>, Proved), ProofFault> {
    let keys: LedgerKeys = serde_json::from_value(lineage.ledger_keys.clone()).map_err(ProofFault::Keys)?;
    let origin = keys.origin();
    if let Some(expected) = expected.filter(|expected| *expected != origin) {
        return Err(ProofFault::Origin { expected: expected.to_owned(), found: origin });
    }
    let head = Checkpoint::verify(&lineage.checkpoint, &origin, &keys)?.head;
    let entries = lineage.entries.iter().map(|proved| entry(proved, &head));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    let proved = Proved {
        origin,
        origin_known: expected.is_some(),
        checkpoint_size: head.size,
        checkpoint_root: head.root,
        batch: None,
        entries: entries.len(),
    };
    Ok((entries, proved))
}

fn entry(proved: &ProvedEntry, head: &TreeHead) -> Result<Entry, ProofFault> {
    let index = proved.index;
    verify_inclusion(leaf_hash(proved.entry.as_bytes()), index, head, &proved.path)
        .map_err(|source| ProofFault::Entry { index, source })?;
    let entry: Option<Entry> = serde_json::from_str(&proved.entry).ok();
    entry.filter(|entry| entry.seq == index).ok_or(ProofFault::Unfit { index, reason: "does not parse" })
}

/// A record that is in its batch, with the batch's number and entry.
fn record(proved: &ProvedRecord, head: &TreeHead) -> Result<(Record, (u64, u64)), ProofFault> {
    let index = proved.entry.index;
    let Event::RecordsKept { batch, records, root } = entry(&proved.entry, head)?.event else {
        return Err(ProofFault::Unfit { index, reason: "has no root of records" });
    };
    let tree = TreeHead { size: records, root };
    verify_inclusion(leaf_hash(proved.record.as_bytes()), proved.index, &tree, &proved.path)
        .map_err(|source| ProofFault::Record { batch, entry: index, source })?;
    let record = serde_json::from_str(&proved.record);
    let record = record.map_err(|_| ProofFault::Unrelated("does not parse, though it is what was kept"))?;
    Ok((record, (batch, index)))
}

fn input(kept: &InputKept, record: &PredictionRecord) -> Result<InputTold, ProofFault> {
    let InputKept::Readable { salt, input } = kept else { return Ok(InputTold::Erased) };
    let salt: [u8; SALT_LEN] = salt.0.as_slice().try_into().map_err(|_| ProofFault::Input)?;
    let found = input.as_ref().map(|input| salted(&salt, &input.0));
    match (&record.kept, found) {
        (Kept::Whole, Some(found)) if found == record.input => Ok(InputTold::Here { redacted: Vec::new() }),
        (Kept::Redacted { fields, digest }, Some(found)) if found == *digest => {
            Ok(InputTold::Here { redacted: fields.clone() })
        }
        (kept @ (Kept::Nothing | Kept::TooManySubjects | Kept::TooLarge { .. }), None) => {
            Ok(InputTold::DigestOnly { kept: kept.clone() })
        }
        _ => Err(ProofFault::Input),
    }
}
