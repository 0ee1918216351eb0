//! Following the repository that a pipeline comes from, at level 2: when to look, and when to put a commit on trial.
//!
//! [`plan`] is pure. A commit is tried once, whatever came of it; while a run or a rollout is under way it waits, and if
//! another commit came meanwhile, only the newest is tried. Deliberately missing: git itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::time::as_ms;

/// Longest name of a repository or a branch.
pub const NAME_BYTES_MAX: usize = 2048;

/// Options with which git is run on a repository that others write to: no helper programs, no hooks.
pub const GIT_OPTIONS: [&str; 6] =
    ["-c", "protocol.ext.allow=never", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];
/// Variables with which git asks nobody for a password.
pub const GIT_VARIABLES: [(&str, &str); 2] =
    [("GIT_TERMINAL_PROMPT", "0"), ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")];

/// Where a project's pipeline comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What git calls the repository: an address or an absolute path.
    pub git: String,
    /// The branch that is followed.
    pub branch: String,
    /// The folder with `edgeward.toml` in the repository.
    pub path: String,
    /// Time between two looks.
    #[serde(with = "as_ms")]
    pub poll_ms: Duration,
    /// The folder that was registered by hand: data that is not in the repository is there.
    pub home: String,
    /// The commit whose pipeline is in use; none if it is not one of the repository.
    pub commit: Option<String>,
}

/// What is known about one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The newest commit of the branch, at the last look that succeeded.
    pub head: Option<String>,
    /// When the last look began; none before the first.
    pub looked_at_ms: Option<Timestamp>,
    /// A look is under way.
    pub looking: bool,
    /// Somebody says that there is news.
    pub asked: bool,
    /// The newest commit had its trial.
    pub tried: bool,
    /// A run of the project is under way.
    pub running: bool,
    /// A rollout of the project's model is under way.
    pub rolling_out: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Look at the repository now.
    pub look: bool,
    /// The commit to put on trial now.
    pub commit: Option<String>,
    /// Why, or why not, for people.
    pub reason: String,
}

/// What to do about a source, at `now`.
#[must_use]
pub fn plan(source: &Source, observed: &Observed, now: Timestamp) -> Plan {
    let due = observed.looked_at_ms.is_none_or(|looked| now.since(looked) >= source.poll_ms);
    let look = !observed.looking && (due || observed.asked);
    let (commit, reason) = trial(source, observed);
    Plan { look, commit, reason }
}

fn trial(source: &Source, observed: &Observed) -> (Option<String>, String) {
    let Some(head) = &observed.head else { return (None, "the branch was not seen yet".to_owned()) };
    let waits = |why: &str| (None, format!("commit {} waits: {why}", short(head)));
    if source.commit.as_ref() == Some(head) {
        return (None, format!("commit {} is in use", short(head)));
    }
    if observed.tried {
        return (None, format!("commit {} had its trial", short(head)));
    }
    if observed.running {
        return waits("a run is under way");
    }
    if observed.rolling_out {
        return waits("a rollout is under way");
    }
    (Some(head.clone()), format!("commit {} of {} is new", short(head), source.branch))
}

/// The first characters of a commit, as people write it.
#[must_use]
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// Whether `text` names a commit in full: SHA-1 or SHA-256 in hexadecimal digits.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether git may be given `text` as the name of a repository or a branch: no option, no control character.
#[must_use]
pub fn is_safe_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && !text.starts_with('-')
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "1111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222";

    fn source() -> Source {
        Source {
            git: "/srv/pumps.git".into(),
            branch: "main".into(),
            path: ".".into(),
            poll_ms: Duration::from_secs(60),
            home: "/srv/pumps".into(),
            commit: Some(OLD.into()),
        }
    }

    fn seen(head: &str) -> Observed {
        Observed { head: Some(head.into()), looked_at_ms: Some(Timestamp(1_000)), ..Observed::default() }
    }

    #[test]
    fn it_looks_at_once_then_by_the_clock_or_when_asked_and_never_twice_at_a_time() {
        let fresh = Observed::default();
        let look = |observed: &Observed, now| plan(&source(), observed, Timestamp(now)).look;
        assert!(look(&fresh, 0));
        assert!(!look(&seen(OLD), 60_999));
        assert!(look(&seen(OLD), 61_000));
        assert!(look(&Observed { asked: true, ..seen(OLD) }, 1_001));
        assert!(!look(&Observed { looking: true, asked: true, ..seen(OLD) }, 99_000));
    }

    #[test]
    fn a_commit_is_tried_once_and_waits_for_what_is_under_way() {
        let commit = |observed: &Observed| plan(&source(), observed, Timestamp(1_001)).commit;
        assert_eq!(commit(&seen(OLD)), None);
        assert_eq!(commit(&seen(NEW)).as_deref(), Some(NEW));
        assert_eq!(commit(&Observed { tried: true, ..seen(NEW) }), None);
        assert_eq!(commit(&Observed { running: true, ..seen(NEW) }), None);
        assert_eq!(commit(&Observed { rolling_out: true, ..seen(NEW) }), None);
        assert_eq!(commit(&Observed::default()), None);
    }

    #[test]
    fn only_whole_commits_and_harmless_names_reach_git() {
        assert!(is_commit(NEW) && is_commit(&NEW.repeat(2)[..64]));
        assert!(!is_commit("main") && !is_commit(&NEW[1..]) && !is_commit(&"G".repeat(40)));
        assert!(is_safe_name("git@host:a/b.git") && is_safe_name("../relative"));
        assert!(!is_safe_name("--upload-pack=touch x") && !is_safe_name("") && !is_safe_name("a\nb"));
    }
}
