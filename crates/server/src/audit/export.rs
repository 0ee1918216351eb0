//! The ledger as one folder that verifies without Edgeward.
//!
//! Every entry byte for byte, its seal, every checkpoint that was kept or seen by a device, every record of a prediction (but
//! no input), the keys, a page for people, and a script in Python that checks all of it with Python's standard library.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use edgeward_core::envelope::Base64;
use edgeward_core::ledger::Entry;
use edgeward_core::{Digest, Timestamp};
use edgeward_store::{ENTRIES_PAGE_MAX, Leaf, SealedEntry, StoreError, View};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;
use serde_json::json;

use super::batches::each_batch;
use super::folder::devices;
use super::{AuditFault, Opened, Verified, Witness, audit};
use crate::instant::rfc3339;

/// Schema of [`Exported`].
pub const EXPORT_SCHEMA: &str = "edgeward.ledger-export/1";
/// The script that verifies an export.
pub const VERIFIER: &str = include_str!("../../../../docs/audit/verify_export.py");

/// Most entries shown on the page; all of them are in the file.
const ENTRIES_SHOWN_MAX: u64 = 10_000;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#1a1a1a}table{border-collapse:collapse;\
    width:100%}th,td{text-align:left;vertical-align:top;padding:.25rem .75rem;border-bottom:1px solid #ddd}\
    code{font:12px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}";

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Always [`EXPORT_SCHEMA`].
    pub schema: String,
    /// The log's name.
    pub origin: String,
    /// Entries from the first on.
    pub entries: u64,
    /// The tree's root over them.
    pub root: Digest,
    /// Checkpoints kept, and seen by devices.
    pub checkpoints: usize,
    /// Records of predictions, batch after batch. No input is among them.
    pub records: u64,
    /// When it was made.
    pub made_at_ms: Timestamp,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger has a fault; an export would only hide it.
    #[error(transparent)]
    Fault(#[from] AuditFault),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be written.
    #[error("writing {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Opened {
    /// Writes the ledger into `folder`, after an audit on the same snapshot.
    ///
    /// # Errors
    /// The ledger has a fault, or the folder cannot be written.
    pub fn export(&self, folder: &Path, made_at_ms: Timestamp) -> Result<Exported, ExportError> {
        let own = self.own_witness()?;
        let out = Folder(folder);
        fs::create_dir_all(folder)
            .map_err(|source| ExportError::Write { path: folder.to_owned(), source })?;
        self.store.read(|view| {
            let mut witnesses = vec![own];
            witnesses.extend(devices(view)?.into_iter().filter(|seen| self.identity.signed(&seen.note)));
            let verified = audit(view, &self.identity, &witnesses)?;
            let kept = view.checkpoints()?;
            let kept =
                kept.into_iter().map(|kept| Witness { by: "the control plane".to_owned(), note: kept.note });
            let seen: Vec<Witness> = kept.chain(witnesses).collect();
            let records = out.records(view)?;
            let exported = Exported {
                schema: EXPORT_SCHEMA.to_owned(),
                origin: self.identity.origin.clone(),
                entries: verified.entries,
                root: verified.root,
                checkpoints: seen.len(),
                records,
                made_at_ms,
            };
            out.entries(view)?;
            out.write("ledger-keys.json", &self.identity.keys.to_bytes())?;
            let notes: Vec<_> = seen.iter().map(|seen| json!({ "by": seen.by, "note": seen.note })).collect();
            out.write("checkpoints.json", json!(notes).to_string().as_bytes())?;
            out.write("export.json", json!(exported).to_string().as_bytes())?;
            out.write("verify_export.py", VERIFIER.as_bytes())?;
            out.write("index.html", page(view, &exported, &verified)?.into_string().as_bytes())?;
            Ok(exported)
        })
    }
}

struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.0.join(name);
        fs::write(&path, bytes).map_err(|source| ExportError::Write { path, source })
    }

    /// One record per line, batch after batch, and of one that was forgotten its leaf's digest as a JSON text; how many.
    fn records(&self, view: &View<'_>) -> Result<u64, ExportError> {
        let path = self.0.join("records.jsonl");
        let failed = |source| ExportError::Write { path: path.clone(), source };
        let mut lines = BufWriter::new(File::create(&path).map_err(failed)?);
        let written = each_batch(view, |records| {
            let mut write = |leaf: &Leaf| match leaf {
                Leaf::Record(record) => writeln!(lines, "{record}"),
                Leaf::Forgotten(digest) => writeln!(lines, "\"{digest}\""),
            };
            records.iter().try_for_each(|leaf| write(leaf).map_err(failed))
        })?;
        lines.flush().map_err(failed)?;
        Ok(written)
    }

    /// One entry per line in one file, its seal on the same line of the other.
    fn entries(&self, view: &View<'_>) -> Result<(), ExportError> {
        let (entries, seals) = (self.0.join("entries.jsonl"), self.0.join("seals.txt"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ExportError::Write { path, source }
        };
        let mut lines = BufWriter::new(File::create(&entries).map_err(failed(&entries))?);
        let mut marks = BufWriter::new(File::create(&seals).map_err(failed(&seals))?);
        each(view, 0, |sealed| {
            let line = [sealed.entry.bytes.as_slice(), b"\n"].concat();
            lines.write_all(&line).map_err(failed(&entries))?;
            let seal = json!(Base64(sealed.seal.clone().unwrap_or_default()));
            let seal = format!("{}\n", seal.as_str().unwrap_or_default());
            marks.write_all(seal.as_bytes()).map_err(failed(&seals))
        })?;
        lines.flush().map_err(failed(&entries))?;
        marks.flush().map_err(failed(&seals))
    }
}

fn each(
    view: &View<'_>,
    from: u64,
    mut each: impl FnMut(&SealedEntry) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut next = from;
    loop {
        let page = view.sealed_entries(next, ENTRIES_PAGE_MAX)?;
        let Some(last) = page.last() else { return Ok(()) };
        next = last.entry.seq + 1;
        page.iter().try_for_each(&mut each)?;
    }
}

fn page(view: &View<'_>, exported: &Exported, verified: &Verified) -> Result<Markup, ExportError> {
    let from = exported.entries.saturating_sub(ENTRIES_SHOWN_MAX);
    let mut rows = Vec::new();
    each(view, from, |sealed| {
        rows.extend(serde_json::from_slice::<Entry>(&sealed.entry.bytes).ok());
        Ok(())
    })?;
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Ledger " (exported.origin) } style { (PreEscaped(STYLE)) } }
            body {
                h1 { "Ledger " (exported.origin) }
                p {
                    (exported.entries) " entries, " (verified.checkpoints) " signed checkpoints, "
                    (verified.witnesses) " seen by witnesses; " (exported.records) " records of predictions. Root " code { (exported.root) } "."
                }
                p {
                    "Check it: " code { "python3 verify_export.py . " (exported.origin) }
                    ", with the origin as you know it from elsewhere."
                }
                @if from > 0 { p { "The newest " (ENTRIES_SHOWN_MAX) " entries; all are in entries.jsonl." } }
                table {
                    thead { tr { th { "entry" } th { "when" } th { "what" } th { "says" } } }
                    tbody { @for entry in &rows { (row(entry)) } }
                }
            }
        }
    })
}

fn row(entry: &Entry) -> Markup {
    let when = rfc3339(entry.at_ms);
    let says = serde_json::to_string(&entry.event).unwrap_or_default();
    html! { tr { td { (entry.seq) } td { (when) } td { (entry.event.kind()) } td { code { (says) } } } }
}
