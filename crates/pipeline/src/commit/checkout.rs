//! One commit of a repository as a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use edgeward_core::source::{GIT_OPTIONS, GIT_VARIABLES, Source, is_commit, is_safe_name};

use crate::workdir::WorkError;

/// Longest word of git's that an error shows.
const SAID_CHARS_MAX: usize = 800;

/// A commit that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// Not the name of a commit or of a repository.
    #[error("'{0}' is no commit, repository or branch that git is given")]
    Name(String),
    /// git is not there.
    #[error("starting git; install it on the machine that runs pipelines")]
    Start(#[source] std::io::Error),
    /// git refuses.
    #[error("git {doing}: {said}")]
    Refused {
        /// What it was to do.
        doing: String,
        /// What it said.
        said: String,
    },
    /// A folder.
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// The folder with `commit` below `commits`; made if it is not there yet.
pub(super) fn checkout(source: &Source, commit: &str, commits: &Path) -> Result<PathBuf, CheckoutError> {
    if !is_commit(commit) {
        return Err(CheckoutError::Name(commit.to_owned()));
    }
    if let Some(unsafe_name) = [&source.git, &source.branch].into_iter().find(|name| !is_safe_name(name)) {
        return Err(CheckoutError::Name(unsafe_name.clone()));
    }
    let tree = commits.join(commit);
    if tree.exists() {
        restore(&tree, commit)?;
        return Ok(tree);
    }
    let part = commits.join(format!("{commit}.part"));
    if part.exists() {
        fs::remove_dir_all(&part).map_err(WorkError::at("clearing", &part))?;
    }
    fs::create_dir_all(&part).map_err(WorkError::at("making the folder", &part))?;
    git(&part, &["init", "--quiet"])?;
    let alone = git(&part, &["fetch", "--quiet", "--depth", "1", "--no-tags", "--", &source.git, commit]);
    if alone.is_err() {
        // A server may give only what a branch points at.
        let branch = format!("refs/heads/{}", source.branch);
        git(&part, &["fetch", "--quiet", "--no-tags", "--", &source.git, &branch])?;
    }
    restore(&part, commit)?;
    fs::rename(&part, &tree).map_err(WorkError::at("moving the checkout to", &tree))?;
    Ok(tree)
}

/// Makes the folder hold the commit and nothing else.
pub(super) fn restore(tree: &Path, commit: &str) -> Result<(), CheckoutError> {
    git(tree, &["checkout", "--quiet", "--force", "--detach", commit])?;
    git(tree, &["clean", "--quiet", "-ffdx"])
}

/// The commit that git takes `revision` for in the repository that `dir` is in: a branch, a tag, `HEAD~2`. None if it knows
/// no such thing, or there is no git.
#[must_use]
pub fn commit_of(dir: &Path, revision: &str) -> Option<String> {
    if revision.starts_with('-') {
        return None;
    }
    let mut command = Command::new("git");
    command.current_dir(dir).args(GIT_OPTIONS).envs(GIT_VARIABLES).stdin(Stdio::null());
    command.args(["rev-parse", "--verify", "--quiet"]).arg(format!("{revision}^{{commit}}"));
    let answer = command.output().ok().filter(|answer| answer.status.success())?;
    let commit = String::from_utf8(answer.stdout).ok()?.trim().to_owned();
    is_commit(&commit).then_some(commit)
}

fn git(dir: &Path, arguments: &[&str]) -> Result<(), CheckoutError> {
    let mut command = Command::new("git");
    command.current_dir(dir).args(GIT_OPTIONS).args(arguments).envs(GIT_VARIABLES).stdin(Stdio::null());
    let answer = command.output().map_err(CheckoutError::Start)?;
    if answer.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&answer.stderr).trim().chars().take(SAID_CHARS_MAX).collect();
    Err(CheckoutError::Refused { doing: arguments.join(" "), said })
}
