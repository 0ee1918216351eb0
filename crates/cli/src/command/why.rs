//! `edgeward why` and `edgeward model lineage`: what the control plane answers, proved here, and the model asked again here.
//!
//! Nothing of what the control plane says is believed: the proofs are checked, every file of the bundle is held against its
//! digest, and the explanation is computed in this process.

mod bundle;
mod device;
mod show;

use std::fs;

use edgeward_api::record::{InputKept, PredictionAnswer};
use edgeward_core::PredictionId;
use edgeward_core::record::PredictionRecord;
use edgeward_model::tensor::unpack;
use edgeward_server::why::{
    Explanation, Held, InputTold, ProofFault, WHY_SCHEMA, Why, explain, page, verify, verify_lineage,
};

use self::bundle::Fetched;
use super::remote::refused;
use crate::args::{LineageArgs, WhyArgs};
use crate::output::{Explain, Failure, Outcome, Output, with_causes};

pub(crate) fn run(args: &WhyArgs, out: Output) -> Outcome {
    let id = PredictionId(args.prediction);
    if let Some(address) = &args.agent {
        return device::run(address, id, out);
    }
    let client = args.remote.client()?;
    let doing = format!("asking about prediction {id}");
    let answer = client.prediction(id).map_err(|error| refused(&doing, &error))?;
    let held = verify(&answer, args.origin.origin.as_deref()).map_err(|fault| unproved(&fault))?;
    if held.record.prediction != id {
        return Err(Failure::new("proof", format!("the answer is about another prediction than {id}")));
    }
    let fetched = Fetched::of(&client, held.record.bundle, Some(&held.record.form));
    let explanation = explained(&fetched, &answer, &held, args.row);
    let Held { record, labels, input, entries, proved } = held;
    let why = Why {
        schema: WHY_SCHEMA,
        device: answer.device,
        received_at_ms: answer.record.received_at_ms,
        model: fetched.told(&answer.lineage, &entries),
        record,
        labels,
        input,
        explanation,
        proof: proved,
    };
    if let Some(file) = &args.html {
        fs::write(file, page(&why)).explain("file", format_args!("writing {}", file.display()))?;
    }
    out.document(&why, show::why)
}

pub(crate) fn lineage(args: &LineageArgs, out: Output) -> Outcome {
    let client = args.remote.client()?;
    let doing = format!("asking where {} comes from", args.model);
    let lineage = client.lineage(&args.model, args.version).map_err(|error| refused(&doing, &error))?;
    let (entries, proved) =
        verify_lineage(&lineage, args.origin.origin.as_deref()).map_err(|fault| unproved(&fault))?;
    let fetched = Fetched::of(&client, lineage.bundle, None);
    let told = show::Lineage { model: fetched.told(&lineage, &entries), proof: proved };
    out.document(&told, show::lineage)
}

fn unproved(fault: &ProofFault) -> Failure {
    Failure::new("proof", format!("the answer is not what the ledger has: {}", with_causes(fault)))
        .hint("'edgeward audit verify' on the control plane's machine names the first bad entry or batch")
}

fn explained(fetched: &Fetched, answer: &PredictionAnswer, held: &Held, row: usize) -> Explanation {
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
    let record: &PredictionRecord = &held.record;
    match fetched.load(&record.form) {
        Ok((session, golden)) => explain(&session, &golden, record, &tensors, row),
        Err(reason) => Explanation::missing(reason),
    }
}
