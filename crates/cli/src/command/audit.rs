//! `edgeward audit`: whether the ledger is what was written, entry by entry, and showing it to others.
//!
//! The database is opened for reading only, so a running control plane is not disturbed.

mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use edgeward_core::Timestamp;
use edgeward_server::audit::{ExportError, OpenError, Opened, Verified, WITNESS_FILE, Witness};
use edgeward_store::Address;

use crate::args::{AuditCommand, LedgerFolder};
use crate::database;
use crate::output::{Explain, Failure, Outcome, Output, with_causes};

pub(crate) fn run(command: &AuditCommand, out: Output) -> Outcome {
    match command {
        AuditCommand::Verify { folder, witnesses } => {
            let verified = verify_against(&open(folder)?, &folder.data, witnesses)?;
            out.document(&verified, |verified| format!("verified: {}", words(verified)))
        }
        AuditCommand::Show { entry: None, folder } => show::summary(&open(folder)?, out),
        AuditCommand::Show { entry: Some(seq), folder } => show::entry(&open(folder)?, *seq, out),
        AuditCommand::Export { out: to, folder } => export(folder, to, out),
    }
}

/// In a sentence.
pub(crate) fn words(verified: &Verified) -> String {
    let Verified { entries, checkpoints, witnesses, unsigned, records, .. } = verified;
    let records = match records {
        0 => String::new(),
        records => format!("; {records} records of predictions are those whose roots they have"),
    };
    format!(
        "{entries} entries follow from one another, each with its seal, and {checkpoints} signed checkpoints agree with them, \
         as do {witnesses} that witnesses saw ({unsigned} entries not covered yet){records}"
    )
}

/// Checks the ledger in a control plane's folder.
pub(crate) fn verify(data: &Path) -> Result<Verified, Failure> {
    verify_against(&opened(data, None)?, data, &[])
}

fn verify_against(opened: &Opened, data: &Path, witnesses: &[PathBuf]) -> Result<Verified, Failure> {
    let witnesses = witnesses.iter().map(|path| read_witness(path)).collect::<Result<Vec<_>, _>>()?;
    opened.verify(witnesses).map_err(|fault| failure(data, &fault))
}

fn failure(data: &Path, fault: &dyn std::error::Error) -> Failure {
    Failure::new("ledger", format!("verifying the ledger in {}: {}", data.display(), with_causes(fault)))
        .hint("compare with a backup, and with the checkpoints that devices remember: --witness")
}

fn open(folder: &LedgerFolder) -> Result<Opened, Failure> {
    opened(&folder.data, database::address(&folder.database)?.as_ref())
}

fn opened(data: &Path, address: Option<&Address>) -> Result<Opened, Failure> {
    let doing = format!("reading the ledger in {}", data.display());
    let opened = match address {
        Some(address) => Opened::database(data, address),
        None => Opened::folder(data),
    };
    opened.map_err(|error| {
        let kind = if matches!(error, OpenError::Missing(_)) { "not_found" } else { "store" };
        Failure::new(kind, format!("{doing}: {}", with_causes(&error)))
            .hint("name the control plane's folder with --data or EDGEWARD_DATA")
    })
}

/// A file with a signed note, or an agent's folder.
fn read_witness(path: &Path) -> Result<Witness, Failure> {
    let file = if path.is_dir() { path.join(WITNESS_FILE) } else { path.to_owned() };
    let note = fs::read_to_string(&file).explain("witness", format!("reading {}", file.display()))?;
    Ok(Witness { by: path.display().to_string(), note })
}

fn export(folder: &LedgerFolder, to: &Path, out: Output) -> Outcome {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let opened = open(folder)?;
    let exported = opened.export(to, now).map_err(|error| match error {
        ExportError::Fault(fault) => failure(&folder.data, &fault),
        error => Failure::new("export", with_causes(&error)),
    })?;
    let noted = note(&opened, now);
    out.document(&exported, |exported| {
        format!(
            "{} entries written to {}; {noted}check them: python3 {} {} {}",
            exported.entries,
            to.display(),
            to.join("verify_export.py").display(),
            to.display(),
            exported.origin
        )
    })
}

/// Says in the ledger that records of predictions were taken, if there are any; in words.
fn note(opened: &Opened, now: Timestamp) -> String {
    match opened.has_records() {
        Ok(false) => return String::new(),
        Err(error) => {
            return format!("that records were read is NOT in the ledger: {}; ", with_causes(&error));
        }
        Ok(true) => {}
    }
    match opened.note_reading("every record of a prediction, by an export", "offline", now) {
        Ok(entry) => format!("that records were read is entry {entry}; "),
        Err(error) => format!("that records were read is NOT in the ledger: {}; ", with_causes(&error)),
    }
}
