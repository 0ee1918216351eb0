//! `edgeward audit show`.

use edgeward_core::Digest;
use edgeward_core::ledger::Entry;
use edgeward_server::audit::{Inclusion, Opened, Summary};

use crate::output::{Explain, Failure, Outcome, Output, table};

pub(super) fn summary(opened: &Opened, out: Output) -> Outcome {
    let summary = opened.summary().explain("store", "reading the ledger")?;
    out.document(&summary, |Summary { origin, entries, checkpoints, covered, witnesses }| {
        let rows: Vec<Vec<String>> = witnesses
            .iter()
            .map(|seen| {
                let size = seen.size.map_or_else(|| "nothing that is signed".to_owned(), |size| size.to_string());
                vec![seen.by.clone(), size, seen.fault.clone().unwrap_or_else(|| "-".to_owned())]
            })
            .collect();
        let seen = table(&["witness", "entries seen", "fault"], &rows, "no witness has reported yet");
        format!(
            "{origin}: {entries} entries, {checkpoints} checkpoints, the latest over {covered} entries\n{seen}"
        )
    })
}

pub(super) fn entry(opened: &Opened, seq: u64, out: Output) -> Outcome {
    let found = opened.prove(seq).explain("store", "reading the ledger")?;
    let Some(found) = found else {
        return Err(Failure::new("not_found", format!("the ledger has no entry {seq}"))
            .hint("see edgeward audit show for how many there are"));
    };
    out.document(&found, |Inclusion { entry, checkpoint, proof, .. }| {
        let says: Option<Entry> = serde_json::from_str(entry.get()).ok();
        let kind = says.map(|entry| entry.event.kind()).unwrap_or_default();
        let hashes: Vec<String> = proof.iter().map(Digest::hex).collect();
        let shown = match checkpoint {
            Some(note) => {
                format!("in the tree of this checkpoint:\n{note}by these hashes:\n{}", hashes.join("\n"))
            }
            None => "no checkpoint covers it yet".to_owned(),
        };
        format!("entry {seq}, {kind}:\n{}\n{shown}", entry.get())
    })
}
