//! What people and programs read: tables or JSON on stdout, failures on stderr, exit codes.
//!
//! A failure is `{kind, error, hints}`. For people it is `error: what failed: why` and one `hint: what to do next` line
//! each; with `--json` it is one object. Exit codes: 0 done, 1 a gate, check or operation failed, 2 wrong usage.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Display;
#[cfg(feature = "control")]
use std::io::IsTerminal;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

/// Longest error printed, in bytes.
const ERROR_BYTES_MAX: usize = 8 << 10;

/// What a command comes to.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a command did not do what it was asked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    /// A word for programs.
    pub(crate) kind: String,
    /// What failed and why.
    pub(crate) error: String,
    /// What to do next.
    pub(crate) hints: Vec<String>,
    #[serde(skip)]
    exit: Exit,
}

#[derive(Clone, Copy, Debug)]
enum Exit {
    Failed = 1,
    Usage = 2,
}

impl Failure {
    /// A gate, check or operation failed.
    pub(crate) fn new(kind: &str, error: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), error: clipped(error.into()), hints: Vec::new(), exit: Exit::Failed }
    }

    /// The command was asked for in a wrong way.
    pub(crate) fn usage(error: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new("usage", error) }
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says it on stderr; the exit code to end with.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let text = match json {
            true => serde_json::to_string(self).unwrap_or_else(|_| self.error.clone()),
            false => plain(&self.lines()).into_owned(),
        };
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::from(self.exit as u8)
    }

    fn lines(&self) -> String {
        let hints = self.hints.iter().map(|hint| format!("\nhint: {hint}"));
        std::iter::once(format!("error: {}", self.error)).chain(hints).collect()
    }
}

/// Text that is short enough to read: names in a hostile file may be megabytes long, and errors repeat them.
fn clipped(mut text: String) -> String {
    let length = text.len();
    if let Some((cut, _)) = text.char_indices().find(|(at, _)| *at >= ERROR_BYTES_MAX) {
        text.truncate(cut);
        text.push_str(&format!(" ... ({} bytes more)", length - cut));
    }
    text
}

/// Text that does nothing to a terminal but stand there: what devices and files chose the words of is printed with the rest.
fn plain(text: &str) -> Cow<'_, str> {
    let acts = |char: char| char.is_control() && !matches!(char, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let one = |char: char| if acts(char) { char.escape_default().to_string() } else { char.to_string() };
    Cow::Owned(text.chars().map(one).collect())
}

/// Turns a library's error into a [`Failure`] that says what was being done.
pub(crate) trait Explain<T> {
    /// `what` failed, with every cause behind it.
    fn explain(self, kind: &str, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Error> Explain<T> for Result<T, E> {
    fn explain(self, kind: &str, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(kind, format!("{what}: {}", with_causes(&error))))
    }
}

/// An error and every cause behind it, on one line; a cause its parent already told is left out.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

/// What the parser said: help and version on stdout, mistakes on stderr with code 2.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let asked_for_json = std::env::args_os().any(|word| word == "--json");
    if error.use_stderr() && asked_for_json {
        let text = error.render().to_string();
        return Failure::usage(usage_error(&text)).hint("see edgeward --help").report(true);
    }
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { 0 })
}

/// What the parser says before its hints, on one line: a missing argument is named on a line of its own.
fn usage_error(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

/// Where a command's result goes.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Tables for people, or JSON for programs.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read it.
    #[cfg(feature = "control")]
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// One document: JSON on one line, or what `words` makes of it.
    pub(crate) fn document<T: Serialize>(self, document: &T, words: impl FnOnce(&T) -> String) -> Outcome {
        self.row(document, words).map(|_| ())
    }

    /// One document of many; whether anybody still reads them.
    pub(crate) fn row<T: Serialize>(
        self,
        document: &T,
        words: impl FnOnce(&T) -> String,
    ) -> Result<bool, Failure> {
        match self.json {
            true => {
                let text = serde_json::to_string(document).explain("output", "writing JSON")?;
                line(&text)
            }
            false => line(&plain(words(document).trim_end())),
        }
    }
}

/// Writes one line to stdout. A reader that went away is no failure; then the answer is false.
pub(crate) fn line(text: &str) -> Result<bool, Failure> {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new("output", format!("writing to stdout: {error}"))),
    }
}

/// Writes one line to stderr.
#[cfg(feature = "control")]
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether a person looks at stdout.
#[cfg(feature = "control")]
pub(crate) fn on_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns padded to their widest cell, with a header; a sentence when there is no row.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let format_row = |cells: &mut dyn Iterator<Item = &str>| -> String {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![format_row(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|row| format_row(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(all(test, feature = "control"))]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("opening the store")]
    struct Outer(#[source] io::Error);

    #[test]
    fn words_of_others_do_nothing_to_a_terminal() {
        assert_eq!(plain("a\tb\nü"), "a\tb\nü");
        assert_eq!(plain("\u{1b}]0;own\u{7}\rgone\u{9b}2J"), "\\u{1b}]0;own\\u{7}\\rgone\\u{9b}2J");
    }

    #[test]
    fn a_failure_tells_every_cause_once() {
        let result: Result<(), Outer> = Err(Outer(io::Error::other("disk full")));
        let failure = result.explain("store", "starting the server").unwrap_err();
        assert_eq!(failure.lines(), "error: starting the server: opening the store: disk full");
        let hinted = failure.hint("free some space");
        assert!(hinted.lines().ends_with("\nhint: free some space"));
    }

    #[test]
    fn an_error_without_end_is_cut() {
        let whole = "ä".repeat(ERROR_BYTES_MAX / 2);
        assert_eq!(Failure::new("model", whole.clone()).error, whole);
        let cut = Failure::new("model", format!("{whole}ä")).error;
        assert_eq!(cut, format!("{whole} ... (2 bytes more)"));
    }

    #[test]
    fn a_failure_in_json_has_kind_error_and_hints() {
        let json = serde_json::to_value(Failure::new("gate", "no").hint("look")).unwrap();
        assert_eq!(json, serde_json::json!({"kind": "gate", "error": "no", "hints": ["look"]}));
    }

    #[test]
    fn a_usage_error_names_what_is_missing() {
        let text = "error: the following arguments were not provided:\n  <MODEL>\n\nUsage: edgeward deploy <MODEL>\n";
        assert_eq!(usage_error(text), "the following arguments were not provided: <MODEL>");
    }

    #[test]
    fn tables_line_up() {
        let rows = vec![vec!["robot-1".to_owned(), "idle".to_owned()], vec!["r".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["name", "phase"], &rows, ""), "name     phase\nrobot-1  idle\nr        x");
        assert_eq!(table(&["name"], &[], "nothing yet"), "nothing yet");
    }
}
