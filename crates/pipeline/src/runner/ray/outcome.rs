//! A job's log: what the command said, and at its end what it left.
//!
//! The script of [`super::package`] says where the command begins, with the job's id as its mark. After
//! it has ended well come its files: a line with name and digest, then the bytes in base64. Whatever else is written there
//! meanwhile is noticed by the digest.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgeward_core::Digest;

use super::RayError;

/// Begins each line of the script's own; the mark follows.
pub(super) const SIGN: &str = "--edgeward-";
/// Says that the command begins.
pub(super) const BEGIN: &str = "begins";
/// Says that a file follows.
pub(super) const OUTPUT: &str = "left";
/// Says that all files are there.
pub(super) const END: &str = "ended well";
/// Largest file that comes back so.
pub(super) const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// What a job said so far.
#[derive(Debug)]
pub(super) struct Words {
    sign: String,
    text: String,
    /// How much of it was told.
    told: usize,
}

impl Words {
    /// The words of the job with this mark.
    pub(super) fn after(mark: &str) -> Self {
        Self { sign: format!("{SIGN}{mark} "), text: String::new(), told: 0 }
    }

    /// Tells what is new in `text`, which is all that was said so far; a line without an end waits until the `last` time.
    pub(super) fn take(&mut self, text: String, last: bool, take: &mut dyn FnMut(&str)) {
        self.text = text;
        let (begin, end) = self.of_the_command();
        let is_all = last || end < self.text.len();
        let mut at = self.told.max(begin);
        while at < end && self.text.is_char_boundary(at) {
            let rest = &self.text[at..end];
            // The script writes an empty line before each of its own.
            let may_be_the_scripts = rest == "\n";
            let (line, next) = match rest.find('\n') {
                Some(_) if may_be_the_scripts && !is_all => break,
                Some(length) => (&rest[..length], at + length + 1),
                None if is_all => (rest, end),
                None => break,
            };
            take(line.trim_end_matches('\r'));
            at = next;
        }
        self.told = at;
    }

    /// Where in the text the command's own words are.
    fn of_the_command(&self) -> (usize, usize) {
        let Some(sign) = self.line(0) else { return (self.text.len(), self.text.len()) };
        let begin = self.text[sign..].find('\n').map_or(self.text.len(), |length| sign + length + 1);
        // The line break before the script's next line is the script's.
        (begin, self.line(begin).map_or(self.text.len(), |at| begin.max(at.saturating_sub(1))))
    }

    /// The place of the script's first line from `from` on.
    fn line(&self, from: usize) -> Option<usize> {
        let rest = &self.text[from..];
        let at_start = rest.starts_with(&self.sign).then_some(from);
        at_start.or_else(|| rest.find(&format!("\n{}", self.sign)).map(|at| from + at + 1))
    }

    /// The files that the command left, by name.
    pub(super) fn outputs(&self) -> Result<BTreeMap<String, Vec<u8>>, RayError> {
        let (_, end) = self.of_the_command();
        let mut found = BTreeMap::new();
        let mut file: Option<(&str, &str, String)> = None;
        for line in self.text[end..].lines() {
            let Some(own) = line.strip_prefix(&self.sign) else {
                if let Some((.., text)) = &mut file {
                    text.push_str(line);
                }
                continue;
            };
            if let Some((name, hash, text)) = file.take() {
                found.insert(name.to_owned(), decoded(name, hash, &text).map_err(RayError::Outputs)?);
            }
            if own == END {
                return Ok(found);
            }
            let header = own.strip_prefix(OUTPUT).and_then(|header| header.trim().split_once(' '));
            file = header.map(|(name, hash)| (name, hash, String::new()));
        }
        Err(RayError::Outputs("its log has no end; was it cut?".to_owned()))
    }
}

fn decoded(name: &str, hash: &str, text: &str) -> Result<Vec<u8>, String> {
    let damaged = || {
        format!(
            "{name} was damaged on its way through the log; let nothing that the command started write when it has ended"
        )
    };
    let bytes = STANDARD.decode(text).map_err(|_| damaged())?;
    match Digest::of(&bytes).hex() == hash {
        true => Ok(bytes),
        false => Err(damaged()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An earlier job of the same id, and what Ray says itself.
    const BEFORE: &str = "Running entrypoint for job x: sh run.sh\n--edgeward-1 begins\nold\n\n--edgeward-1 ended well\n\
                          Running entrypoint for job x: sh run.sh\n";
    const BEGINS: &str = "--edgeward-2 begins\n";
    const ENDED: &str = "\n--edgeward-2 ended well\n";

    /// The log of a job, as it grows.
    fn told(parts: &[&str]) -> (Vec<String>, Words) {
        let (mut words, mut lines, mut text) = (Words::after("2"), Vec::new(), String::new());
        for (at, part) in parts.iter().enumerate() {
            text.push_str(part);
            words.take(text.clone(), at + 1 == parts.len(), &mut |line| lines.push(line.to_owned()));
        }
        (lines, words)
    }

    fn file(name: &str, bytes: &[u8]) -> String {
        let text = STANDARD.encode(bytes);
        let (one, two) = text.split_at(text.len() / 2);
        format!("\n--edgeward-2 left {name} {}\n{one}\n{two}\n", Digest::of(bytes).hex())
    }

    #[test]
    fn the_commands_own_lines_are_told_once_and_whole() {
        let files = file("model.onnx", b"bytes");
        let parts = [BEFORE, BEGINS, "one\ntw", "o\n\nthree", "\n", &files[..1], &files[1..], ENDED];
        let (lines, words) = told(&parts);
        assert_eq!(lines, ["one", "two", "", "three"]);
        assert_eq!(words.outputs().unwrap()["model.onnx"], b"bytes");
        assert_eq!(told(&[BEFORE, BEGINS, "no end", ENDED]).0, ["no end"]);
        assert_eq!(told(&[BEFORE, BEGINS, ENDED]).0, [""; 0]);
        assert_eq!(told(&[BEFORE, BEGINS, "cut", " off"]).0, ["cut off"]);
    }

    #[test]
    fn a_job_that_never_came_to_its_command_tells_nothing() {
        let (lines, words) = told(&[BEFORE, "more of Ray's\n"]);
        assert!(lines.is_empty());
        assert!(words.outputs().unwrap_err().to_string().contains("no end"));
    }

    #[test]
    fn several_files_come_back_and_a_damaged_one_is_noticed() {
        let text = format!("{BEGINS}words\n{}{}{ENDED}", file("a", b"first"), file("b", &[0; 1000]));
        let found = told(&[&text]).1.outputs().unwrap();
        assert_eq!((found["a"].as_slice(), found["b"].len()), (b"first".as_slice(), 1000));
        let damaged = text.replacen("AAAA", "AAAB", 1);
        assert!(told(&[&damaged]).1.outputs().unwrap_err().to_string().contains("b was damaged"));
        let stray = text.replacen("AAAA", "AAAA\nstill at work\n", 1);
        assert!(told(&[&stray]).1.outputs().unwrap_err().to_string().contains("b was damaged"));
        let cut = text.replace(ENDED, "");
        assert!(told(&[&cut]).1.outputs().unwrap_err().to_string().contains("was it cut?"));
    }
}
