//! `edgeward record`: what may have to be forgotten of records of predictions.

use super::remote::refused;
use crate::args::{EraseArgs, RecordCommand};
use crate::output::{Failure, Outcome, Output};

pub(crate) fn run(command: &RecordCommand, out: Output) -> Outcome {
    match command {
        RecordCommand::Erase(args) => erase(args, out),
    }
}

fn erase(args: &EraseArgs, out: Output) -> Outcome {
    if args.subject.is_empty() {
        return Err(Failure::usage(
            "--subject is empty; give a value of the field that [records] subject names",
        ));
    }
    let erased = args.remote.client()?.erase_subject(&args.subject);
    let erased = erased.map_err(|error| refused("erasing a subject", &error))?;
    out.document(&erased, |erased| match erased.records {
        0 => {
            "nothing is recorded about this subject; does [records] name the field with 'subject'?".to_owned()
        }
        records => format!(
            "forgotten: {} inputs, {records} records, {} labelled samples; the ledger names the subject {}",
            erased.inputs,
            erased.samples,
            erased.subject.short()
        ),
    })
}
