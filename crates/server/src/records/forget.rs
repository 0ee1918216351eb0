//! What is forgotten: inputs and records whose time is over, and whatever is about a subject who asked for it.
//!
//! Keys go first: what stands in the database cannot be read from there on, whatever fails afterwards. Each step may be done
//! again. What was forgotten is an event, and every proof holds as before.

use std::sync::Arc;

use edgeward_api::record::SubjectErased;
use edgeward_core::{Event, Timestamp};
use edgeward_store::{FORGOTTEN_PER_STEP_MAX, Recorded};
use edgeward_trust::tree;

use super::{day_of, make_batches};
use crate::app::{App, Decision, blocking};
use crate::reconcile::ReconcileError;

/// Drops the keys of inputs whose time is over, and says so in the ledger.
pub(crate) async fn erase_due(app: &App) -> Result<(), ReconcileError> {
    let today = today(app.now());
    let due = app.read(move |view| view.inputs_due(today).map_err(ReconcileError::from)).await?;
    if due == 0 {
        return Ok(());
    }
    let vault = Arc::clone(&app.vault);
    blocking(move || vault.erase(today).map_err(ReconcileError::from)).await?;
    app.decide(move |decision| {
        let inputs = decision.drop_sealed(today)? as u64;
        decision.append(Event::InputsErased { day: today, inputs })?;
        Ok::<_, ReconcileError>(())
    })
    .await
}

/// Drops records whose time is over, and what came for them, and says so in the ledger.
pub(crate) async fn expire_due(app: &App) -> Result<(), ReconcileError> {
    let day = today(app.now());
    let is_due = app.read(move |view| Ok::<_, ReconcileError>(!view.records_due(day)?.is_empty())).await?;
    if !is_due {
        return Ok(());
    }
    // What has come for them is to go with them, and a record that is in no batch yet has no leaf that could stay.
    make_batches(app).await?;
    loop {
        let done = app
            .decide(move |decision| {
                let due = decision.records_due(day)?;
                let mut records = 0;
                for of in &due {
                    records += forget(decision, of)?.records;
                }
                if records > 0 {
                    decision.append(Event::RecordsExpired { day, records })?;
                }
                Ok::<_, ReconcileError>(due.len())
            })
            .await?;
        if done < FORGOTTEN_PER_STEP_MAX {
            return Ok(());
        }
    }
}

/// Destroys the keys of a subject, drops what is recorded about it, and says so in the ledger.
pub(crate) async fn erase_subject(
    app: &App,
    name: String,
    by: String,
) -> Result<SubjectErased, ReconcileError> {
    // A record that is in no batch yet has no leaf that could stay.
    make_batches(app).await?;
    let vault = Arc::clone(&app.vault);
    let subject = blocking(move || {
        let subject = vault.subject(&name)?;
        vault.erase_subject(&subject)?;
        Ok::<_, ReconcileError>(subject)
    });
    let subject = subject.await?;
    app.decide(move |decision| {
        let mut all = Forgotten::default();
        for of in &decision.records_about(subject)? {
            let one = forget(decision, of)?;
            all.inputs += one.inputs;
            all.records += one.records;
            all.samples += decision.forget_samples(of)? as u64;
        }
        let Forgotten { inputs, records, samples } = all;
        decision.append(Event::SubjectErased { subject, inputs, records, samples, by })?;
        Ok(SubjectErased { subject, inputs, records, samples })
    })
    .await
}

/// How much was forgotten.
#[derive(Clone, Copy, Debug, Default)]
struct Forgotten {
    inputs: u64,
    records: u64,
    samples: u64,
}

/// Forgets a prediction with all that came for it; the digests of the leaves stay.
fn forget(decision: &Decision<'_, '_>, of: &Recorded) -> Result<Forgotten, ReconcileError> {
    let mut forgotten = Forgotten::default();
    for one in decision.remembered(of)? {
        decision.forget(one.seq, tree::leaf_hash(one.record.as_bytes()))?;
        forgotten.records += 1;
        forgotten.inputs += u64::from(one.is_sealed);
    }
    decision.forget_subjects(of)?;
    Ok(forgotten)
}

/// Today, in days since 1970.
fn today(now: Timestamp) -> i64 {
    day_of(now, 0) - 1
}
