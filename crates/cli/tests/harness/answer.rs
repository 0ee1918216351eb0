//! What a command says with `--json`.

use std::process::Output;

use serde_json::Value;

/// The last document that a command printed, which must have succeeded.
pub(crate) fn answer(words: &[&str], output: &Output) -> Value {
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let last = output.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    serde_json::from_slice(last.expect("an answer")).expect("JSON")
}
