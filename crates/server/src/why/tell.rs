//! An answer, proved and put in order: what is told about a prediction or a model, whoever asks and wherever the blobs are.

use edgeward_api::record::{InputKept, Lineage, PredictionAnswer};
use edgeward_core::PredictionId;
use edgeward_model::tensor::unpack;

use super::bundle::{Fetched, Shelf};
use super::explain::{Question, explain};
use super::proof::{Held, ProofFault, Proved, verify, verify_lineage};
use super::{Explanation, InputTold, ModelTold, WHY_SCHEMA, Why};

/// Which prediction is asked about, and what the asker knows.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The prediction.
    pub prediction: PredictionId,
    /// The row of the request that is explained.
    pub row: usize,
    /// The ledger's name as the asker knows it from elsewhere.
    pub origin: Option<&'a str>,
}

/// What is told about a prediction. Nothing of `answer` is believed; `go_on` is asked from time to time whether there is time
/// for a finer explanation.
///
/// # Errors
/// The first thing that the ledger does not prove.
pub fn tell(
    shelf: &dyn Shelf,
    answer: &PredictionAnswer,
    asked: Asked<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Why, ProofFault> {
    let held = verify(answer, asked.origin)?;
    if held.record.prediction != asked.prediction {
        return Err(ProofFault::Unrelated("is about another prediction than was asked about"));
    }
    let fetched = Fetched::of(shelf, held.record.bundle, Some(&held.record.form));
    let explanation = explained(&fetched, answer, &held, asked.row, go_on);
    let Held { record, labels, shadows, input, entries, proved } = held;
    Ok(Why {
        schema: WHY_SCHEMA,
        device: answer.device.clone(),
        received_at_ms: answer.record.received_at_ms,
        model: fetched.told(&answer.lineage, &entries),
        record,
        labels,
        shadows,
        input,
        explanation,
        proof: proved,
    })
}

/// What is told about a version of a model, with its card.
///
/// # Errors
/// The first thing that the ledger does not prove.
pub fn tell_lineage(
    shelf: &dyn Shelf,
    lineage: &Lineage,
    origin: Option<&str>,
) -> Result<(ModelTold, Option<String>, Proved), ProofFault> {
    let (entries, proved) = verify_lineage(lineage, origin)?;
    let fetched = Fetched::of(shelf, lineage.bundle, None);
    Ok((fetched.told(lineage, &entries), fetched.card(), proved))
}

fn explained(
    fetched: &Fetched,
    answer: &PredictionAnswer,
    held: &Held,
    row: usize,
    go_on: &mut dyn FnMut() -> bool,
) -> Explanation {
    let input = match (&held.input, &answer.input) {
        (InputTold::Here { redacted }, InputKept::Readable { input: Some(input), .. })
            if redacted.is_empty() =>
        {
            input
        }
        (InputTold::Here { .. }, _) => {
            return Explanation::missing("fields of the input were taken out before it left the device");
        }
        (InputTold::DigestOnly { .. }, _) => return Explanation::missing("the input was not kept"),
        (InputTold::Erased, _) => return Explanation::missing("the input was erased"),
    };
    let tensors = match unpack(&input.0) {
        Ok(tensors) => tensors,
        Err(error) => return Explanation::missing(error.to_string()),
    };
    let record = &held.record;
    match fetched.load(&record.form) {
        Ok((session, golden)) => {
            let question = Question { record, inputs: &tensors, row, view: fetched.view() };
            explain(&session, &golden, &question, go_on)
        }
        Err(reason) => Explanation::missing(reason),
    }
}
