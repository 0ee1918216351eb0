//! What the guards share: the workspace's source files, and reading licence expressions.

use std::path::{Path, PathBuf};

/// Every Rust file of the workspace, in path order.
pub(crate) fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.join("crates"), root.join("testkit"), root.join("examples")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            match path.is_dir() {
                true if path.file_name().is_some_and(|name| name != "target") => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// Whether an SPDX expression can be satisfied with `allowed` licences. Old `A/B` means `A OR B`.
pub(crate) fn licence_allowed(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let expression = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    expression.split(" AND ").all(|term| term.split(" OR ").any(|licence| allowed.contains(&licence.trim())))
}
