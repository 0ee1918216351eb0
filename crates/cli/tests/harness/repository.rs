//! A git repository that a pipeline comes from.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What `git` says in a folder.
pub(crate) fn git(dir: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir);
    for setting in ["user.name=a", "user.email=a@b", "commit.gpgsign=false"] {
        command.args(["-c", setting]);
    }
    let output = command.args(words).output().expect("git starts");
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("git speaks UTF-8").trim().to_owned()
}

/// Commits these files on top of what is there: the commit.
pub(crate) fn commit(repository: &Path, message: &str, files: &[(&str, &str)]) -> String {
    for (name, text) in files {
        fs::write(repository.join(name), text).expect("the file is written");
    }
    git(repository, &["add", "--all"]);
    git(repository, &["commit", "--quiet", "--message", message]);
    git(repository, &["rev-parse", "HEAD"])
}
