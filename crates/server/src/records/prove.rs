//! What is told about a prediction and about a model, each line of it with its proof.

use std::sync::Arc;

use edgeward_api::limits::LINEAGE_ENTRIES_MAX;
use edgeward_api::record::{
    InputKept, LINEAGE_SCHEMA, Lineage, PREDICTION_SCHEMA, PredictionAnswer, ProvedEntry, ProvedRecord,
};
use edgeward_core::envelope::Base64;
use edgeward_core::record::SALT_LEN;
use edgeward_core::{Digest, ModelName, PredictionId, Record};
use edgeward_store::{BatchRow, Checkpoint, RawEntry, RecordRow, View};
use edgeward_trust::tree::{self, StoredTree};

use super::Place;
use super::batch::leaf_hash;
use crate::app::{App, blocking};
use crate::failure::Failure;
use crate::reconcile::checkpoints;

/// A record and what surrounds it, before the ledger proves it.
struct Found {
    row: RecordRow,
    subjects: Vec<Digest>,
    batch: BatchRow,
    entry: RawEntry,
    index: u64,
    path: Vec<Digest>,
}

/// The record of a prediction with all that proves it. Every record that waits was made part of a batch before.
pub(crate) async fn prediction(app: &App, id: PredictionId) -> Result<PredictionAnswer, Failure> {
    let found = app.read(move |view| records(view, id)).await?;
    let of = |kind: &str| found.iter().filter(|found| found.row.kind == kind).collect::<Vec<_>>();
    let (answered, labels, shadows) = (of("prediction"), of("label"), of("shadows"));
    let Some(record) = answered.first() else {
        return Err(Failure::not_found(format!("no record of a prediction {id} has arrived"))
            .hint("Is [records] in the project's edgeward.toml? A device uploads its records when it reaches the control plane."));
    };
    if answered.len() > 1 {
        return Err(Failure::conflict(format!("{} devices say that {id} is theirs", answered.len())));
    }
    let Some(said) = &record.row.record else { return Err(forgotten(id, record)) };
    let Ok(Record::Prediction(said)) = serde_json::from_str(said) else {
        return Err(Failure::conflict(format!("the record of {id} is damaged"))
            .hint("'edgeward audit verify' names the batch."));
    };
    let lineage = lineage(app, &said.model, said.bundle).await?;
    let input = input(app, id, record).await?;
    let tree = app.tree.lock().await;
    let device = &record.row.device;
    let its_own = |all: &[&Found]| {
        let own = all.iter().filter(|one| one.row.device == *device);
        own.filter_map(|one| proved(one, &tree.stored, &lineage).transpose()).collect::<Result<Vec<_>, _>>()
    };
    let Some(proved_record) = proved(record, &tree.stored, &lineage)? else {
        return Err(forgotten(id, record));
    };
    Ok(PredictionAnswer {
        schema: PREDICTION_SCHEMA.to_owned(),
        device: device.clone(),
        record: proved_record,
        labels: its_own(&labels)?,
        shadows: its_own(&shadows)?,
        input,
        lineage,
    })
}

/// What is left of a record that was forgotten.
fn forgotten(id: PredictionId, found: &Found) -> Failure {
    let (batch, device) = (found.batch.batch, &found.row.device);
    Failure::not_found(format!(
        "the record of {id} by {device} was dropped: its time is over, or its subject was erased"
    ))
    .hint(format!("Its digest is still in batch {batch}, and 'edgeward audit verify' still proves that."))
}

fn records(view: &View<'_>, id: PredictionId) -> Result<Vec<Found>, Failure> {
    let mut found = Vec::new();
    for row in view.records_of(id)? {
        let Some(batch) = row.batch.map(|batch| view.record_batch(batch)).transpose()?.flatten() else {
            continue;
        };
        let leaves = view.leaves_of_batch(batch.batch)?;
        let index = leaves.iter().position(|(seq, _)| *seq == row.seq).unwrap_or_default();
        let hashes: Vec<Digest> = leaves.iter().map(|(_, leaf)| leaf_hash(leaf)).collect();
        let path = tree::prove_inclusion(&hashes, index).unwrap_or_default();
        let entry = view.entries(batch.seq, 1)?.into_iter().find(|entry| entry.seq == batch.seq);
        let Some(entry) = entry else { continue };
        let subjects = view.subjects_of(&row.device, id)?;
        found.push(Found { row, subjects, batch, entry, index: index as u64, path });
    }
    Ok(found)
}

/// A record with its proof; none if it was forgotten.
fn proved(found: &Found, tree: &StoredTree, lineage: &Lineage) -> Result<Option<ProvedRecord>, Failure> {
    let size = size(&lineage.checkpoint);
    let Some(record) = found.row.record.clone() else { return Ok(None) };
    Ok(Some(ProvedRecord {
        record,
        received_at_ms: found.row.received_at_ms,
        index: found.index,
        size: found.batch.records,
        path: found.path.clone(),
        entry: entry(&found.entry, tree, size)?,
    }))
}

async fn input(app: &App, prediction: PredictionId, found: &Found) -> Result<InputKept, Failure> {
    let Some(sealed) = found.row.sealed.clone() else { return Ok(InputKept::Erased) };
    let (vault, day, subjects) = (Arc::clone(&app.vault), found.row.erase_day, found.subjects.clone());
    let opened = blocking(move || {
        let place = Place { day, prediction, subjects: &subjects };
        vault.open(place, &sealed).map_err(|error| Failure::internal("reading a kept input", &error))
    });
    let opened = opened.await?;
    let Some(plain) = opened else { return Ok(InputKept::Erased) };
    let (salt, input) = plain.split_at(SALT_LEN.min(plain.len()));
    let input = (!input.is_empty()).then(|| Base64(input.to_vec()));
    Ok(InputKept::Readable { salt: Base64(salt.to_vec()), input })
}

/// Where a bundle comes from, under a checkpoint made now.
pub(crate) async fn lineage(app: &App, model: &ModelName, bundle: Digest) -> Result<Lineage, Failure> {
    let signing = |error: &dyn std::error::Error| Failure::unavailable("signing a checkpoint", error);
    let Checkpoint { size, note, .. } = checkpoints::sign_now(app).await.map_err(|error| signing(&error))?;
    let of = model.clone();
    let (version, entries) = app
        .read(move |view| {
            let version = view.version_of_bundle(&of, bundle)?;
            let run = version.as_ref().map(|version| version.run.to_string());
            let rollouts = view.rollouts_of(bundle)?;
            let rollouts = rollouts.iter().map(ToString::to_string);
            let words: Vec<String> = rollouts.chain(run).map(|id| format!("\"{id}\"")).collect();
            let words = [vec![format!("\"{bundle}\"")], words].concat();
            let entries = view.entries_about(&words, 0, LINEAGE_ENTRIES_MAX + 1)?;
            Ok::<_, Failure>((version, entries))
        })
        .await?;
    let more = entries.len() > LINEAGE_ENTRIES_MAX;
    let covered = entries.iter().take(LINEAGE_ENTRIES_MAX).filter(|entry| entry.seq < size);
    let tree = app.tree.lock().await;
    let keys = serde_json::to_value(&app.ledger.keys);
    Ok(Lineage {
        schema: LINEAGE_SCHEMA.to_owned(),
        model: model.clone(),
        bundle,
        version: version.as_ref().map(|version| version.version),
        run: version.map(|version| version.run),
        entries: covered.map(|raw| entry(raw, &tree.stored, size)).collect::<Result<_, _>>()?,
        more,
        checkpoint: note,
        ledger_keys: keys.map_err(|error| Failure::internal("writing the ledger's keys", &error))?,
    })
}

fn entry(raw: &RawEntry, tree: &StoredTree, size: u64) -> Result<ProvedEntry, Failure> {
    let path = tree.prove_inclusion(raw.seq, size).ok_or_else(|| {
        Failure::conflict(format!("entry {} is not covered by a checkpoint yet", raw.seq)).hint("Ask again.")
    })?;
    Ok(ProvedEntry { entry: String::from_utf8_lossy(&raw.bytes).into_owned(), index: raw.seq, path })
}

/// How many entries a note covers.
fn size(note: &str) -> u64 {
    note.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or_default()
}
