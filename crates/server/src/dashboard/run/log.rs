//! A run's log: what the pipeline says while it works, a line for each thing, and the stages that can be read from it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// So much of the log's end is read.
const BYTES_MAX: u64 = 256 << 10;
/// Longest line that is shown, in letters.
const LINE_MAX: usize = 2000;
/// Stages that are told apart.
const STEPS_MAX: usize = 64;

/// How a stage went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// Its outputs were there already.
    Cached,
    /// It is at work, or was when the log ended.
    Working,
    /// It ended well, after so many milliseconds.
    Done(u64),
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The candidate it belongs to; empty for what they share.
    pub(crate) branch: String,
    pub(crate) name: String,
    pub(crate) went: Went,
}

/// What there is of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) lines: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

impl Log {
    /// The end of the file; none if there is no such file.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(BYTES_MAX))).ok()?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(Self::of(&String::from_utf8_lossy(&bytes)))
    }

    pub(crate) fn of(text: &str) -> Self {
        let is_said = |line: &&str| !line.starts_with('{');
        let lines: Vec<String> =
            text.lines().filter(is_said).map(|line| line.chars().take(LINE_MAX).collect()).collect();
        let mut places = BTreeMap::<&str, usize>::new();
        let mut steps: Vec<Step> = Vec::new();
        for (stage, went) in text.lines().filter_map(told) {
            if let Some(place) = places.get(stage) {
                steps[*place].went = went;
            } else if steps.len() < STEPS_MAX {
                places.insert(stage, steps.len());
                let (branch, name) = stage.rsplit_once('/').unwrap_or(("", stage));
                steps.push(Step { branch: branch.to_owned(), name: name.to_owned(), went });
            }
        }
        Self { lines, steps }
    }
}

/// What a line says of a stage: `NAME ...`, `NAME: nothing new`, or `NAME: done in N ms`.
fn told(line: &str) -> Option<(&str, Went)> {
    let is_stage = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
    };
    if let Some(stage) = line.strip_suffix(" ...").filter(is_stage) {
        return Some((stage, Went::Working));
    }
    let (stage, rest) = line.split_once(": ").filter(|(stage, _)| is_stage(stage))?;
    if rest == "nothing new" {
        return Some((stage, Went::Cached));
    }
    let millis = rest.strip_prefix("done in ")?.strip_suffix(" ms")?;
    Some((stage, Went::Done(millis.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_read_from_what_the_pipeline_says() {
        let log = Log::of(
            "# edgeward run --project robots\nsnapshot ...\nsnapshot: done in 12 ms\nsplit: nothing new\n\
             recent/train ...\nrecent/train: epoch 1\ngate data.rows passed: enough ...\n{\"run\":\"r1\"}\n",
        );
        let step = |branch: &str, name: &str, went| Step { branch: branch.into(), name: name.into(), went };
        assert_eq!(
            log.steps,
            [
                step("", "snapshot", Went::Done(12)),
                step("", "split", Went::Cached),
                step("recent", "train", Went::Working)
            ]
        );
        assert_eq!(log.lines.len(), 7, "the document at the end is no line for people");
    }

    #[test]
    fn a_log_is_only_text() {
        for text in ["", "\u{0}\u{1}", ": done in 1 ms", "x: done in -1 ms", "<b> ..."] {
            assert_eq!(Log::of(text).steps, [], "{text:?}");
        }
        assert_eq!(Log::read(Path::new("/nowhere/at/all")), None);
    }
}
