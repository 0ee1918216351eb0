//! Did the model see the rows it is judged by? What a commit on trial must not do, one verdict each.
//!
//! Two ways are looked for: that the training command opened the data files itself, in which the held-out rows lie, and
//! that a file beside the pipeline's code holds a copy of such rows. Deliberately missing: rows in a form of their own (a
//! pickle, a picture of them, the middle of a script), and what a command fetches over the network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use edgeward_api::operator::GateVerdict;
use edgeward_core::{Dataset, Digest};
use serde::{Deserialize, Serialize};

use crate::origin::Rows;
use crate::source::{self, Roles};
use crate::validate::verdict;

/// What the train stage leaves about the data files that its command opened.
pub const OPENED_FILE: &str = "opened.json";
/// Larger files are no copies of rows that anybody would look for.
const COPY_BYTES_MAX: u64 = 256 << 20;
/// Files that a reason names.
const NAMED_MAX: usize = 3;

/// Which data files a training command opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Their names; none if that was not seen.
    pub files: Option<BTreeSet<String>>,
    /// Why it was not.
    pub unseen: Option<String>,
}

/// Whether the training command kept to the rows it was given.
#[must_use]
pub fn opened(opened: &Opened) -> GateVerdict {
    const GATE: &str = "leak.opened";
    match (&opened.files, &opened.unseen) {
        (Some(files), _) if files.is_empty() => verdict(
            GATE,
            true,
            "the training command opened no data file; it learned from $EDGEWARD_TRAIN_DATA alone",
        ),
        (Some(files), _) => {
            let named: Vec<&str> = files.iter().take(NAMED_MAX).map(String::as_str).collect();
            let reason = format!(
                "the training command opened {} of the data files ({}), which hold the rows it is judged by; \
                 read $EDGEWARD_TRAIN_DATA instead",
                files.len(),
                named.join(", ")
            );
            verdict(GATE, false, reason)
        }
        (None, why) => {
            let why = why.as_deref().unwrap_or("it was trained by a version that did not look");
            verdict(
                GATE,
                false,
                format!("whether the training command opened the data files is not known: {why}"),
            )
        }
    }
}

/// Whether files beside the code hold rows that are held out; `held_out` are the digests of their values.
#[must_use]
pub fn copies(
    dir: &Path,
    deps: &BTreeMap<String, Digest>,
    roles: Roles<'_>,
    columns: &Dataset,
    held_out: &BTreeSet<Digest>,
) -> GateVerdict {
    const GATE: &str = "leak.copies";
    for name in deps.keys() {
        let found = rows_of(&dir.join(name), roles, columns).map_or(0, |rows| {
            (0..rows.len()).filter(|row| held_out.contains(&rows.row_digest(*row))).count()
        });
        if found > 0 {
            let reason = format!(
                "{name} holds {found} of the {} held-out rows: a model that learns from them cannot be judged by them",
                held_out.len()
            );
            return verdict(GATE, false, reason);
        }
    }
    let reason = format!("none of {} files beside the code holds a held-out row", deps.len());
    verdict(GATE, true, reason)
}

/// The rows of a file that has the data's columns.
fn rows_of(file: &Path, roles: Roles<'_>, columns: &Dataset) -> Option<Dataset> {
    let is_table = file.extension().is_some_and(|ending| {
        ["csv", "tsv", "txt", "parquet", "pq"].iter().any(|known| ending.eq_ignore_ascii_case(known))
    });
    if !is_table || fs::metadata(file).ok()?.len() > COPY_BYTES_MAX {
        return None;
    }
    // A copy may come without the columns that are no features.
    let read = |roles: Roles<'_>| {
        let mut rows = Rows::from(Dataset::with_columns(columns.feature_names.clone()));
        source::read(file, roles, &mut rows).ok().map(|()| rows.table)
    };
    read(roles).or_else(|| read(Roles { time: None, group: None, ..roles }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Dataset {
        let mut rows = Dataset::with_columns(vec!["a".into(), "b".into()]);
        rows.push(&[1.0, 2.0], "x").unwrap();
        rows.push(&[3.0, 4.0], "y").unwrap();
        rows
    }

    fn copied(name: &str, text: &str) -> GateVerdict {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        let deps = BTreeMap::from([(name.to_owned(), Digest::of(text.as_bytes()))]);
        let rows = rows();
        copies(
            dir.path(),
            &deps,
            Roles { label: "label", time: None, group: None },
            &rows,
            &BTreeSet::from([rows.row_digest(1)]),
        )
    }

    #[test]
    fn a_copy_of_a_held_out_row_is_found_in_any_order_of_columns() {
        let found = copied("notes.csv", "b,label,a\n9,x,9\n4,y,3\n");
        assert!(
            !found.passed && found.reason.contains("notes.csv holds 1 of the 1 held-out rows"),
            "{found:?}"
        );
    }

    #[test]
    fn other_rows_and_other_files_are_no_copies() {
        assert!(copied("notes.csv", "a,b,label\n1,2,x\n").passed);
        assert!(copied("notes.csv", "c,d\n3,4\n").passed);
        assert!(copied("train.py", "a,b,label\n3,4,y\n").passed);
    }

    #[test]
    fn only_a_command_that_was_seen_to_keep_off_the_data_passes() {
        let of = |files: Option<&[&str]>| {
            let files = files.map(|files| files.iter().map(|file| (*file).to_owned()).collect());
            opened(&Opened { files, unseen: None })
        };
        assert!(of(Some(&[])).passed);
        assert!(of(Some(&["data/all.csv"])).reason.contains("data/all.csv"));
        assert!(!of(Some(&["data/all.csv"])).passed && !of(None).passed);
    }
}
