//! The commit a folder was checked out at, read from git's own files; no git command is run.
//!
//! Deliberately missing: whether files differ from the commit. A lineage names every file by its digest anyway.

use std::fs;
use std::path::{Path, PathBuf};

/// Most folders upwards that are searched for a checkout.
const PARENTS_MAX: usize = 32;
/// Most symbolic references followed.
const REFS_MAX: usize = 5;

/// The commit of the checkout that `dir` is in; none outside of one.
#[must_use]
pub fn commit(dir: &Path) -> Option<String> {
    let dir = fs::canonicalize(dir).ok()?;
    let dot_git = dir.ancestors().take(PARENTS_MAX).map(|dir| dir.join(".git")).find(|path| path.exists())?;
    let git_dir = git_dir(&dot_git)?;
    let common = match fs::read_to_string(git_dir.join("commondir")) {
        Ok(text) => git_dir.join(text.trim()),
        Err(_) => git_dir.clone(),
    };
    let mut head = fs::read_to_string(git_dir.join("HEAD")).ok()?;
    for _ in 0..REFS_MAX {
        let Some(name) = head.trim().strip_prefix("ref:") else { break };
        head = resolve(name.trim(), &git_dir, &common)?;
    }
    let commit = head.trim();
    let hex = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| commit.to_owned())
}

/// `.git` is a folder, or in a work tree a file that names one.
fn git_dir(dot_git: &Path) -> Option<PathBuf> {
    if dot_git.is_dir() {
        return Some(dot_git.to_owned());
    }
    let text = fs::read_to_string(dot_git).ok()?;
    Some(dot_git.parent()?.join(text.trim().strip_prefix("gitdir:")?.trim()))
}

fn resolve(name: &str, git_dir: &Path, common: &Path) -> Option<String> {
    if name.split('/').any(|part| part == "..") {
        return None;
    }
    let loose = [git_dir, common].into_iter().find_map(|dir| fs::read_to_string(dir.join(name)).ok());
    loose.or_else(|| {
        let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
        let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, found)| *found == name).map(|(commit, _)| commit.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn check(files: &[(&str, &str)], expect: Option<&str>) {
        let root = tempfile::tempdir().unwrap();
        let project = root.path().join("tree/project");
        fs::create_dir_all(&project).unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        assert_eq!(commit(&project).as_deref(), expect, "{files:?}");
    }

    #[test]
    fn the_commit_is_found_wherever_git_keeps_it() {
        let branch = "ref: refs/heads/main\n";
        let packed = format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n");
        check(&[("tree/.git/HEAD", COMMIT)], Some(COMMIT));
        check(&[("tree/.git/HEAD", branch), ("tree/.git/refs/heads/main", COMMIT)], Some(COMMIT));
        check(&[("tree/.git/HEAD", branch), ("tree/.git/packed-refs", &packed)], Some(COMMIT));
        check(
            &[
                ("tree/.git", "gitdir: ../main/.git/worktrees/tree\n"),
                ("main/.git/worktrees/tree/HEAD", branch),
                ("main/.git/worktrees/tree/commondir", "../..\n"),
                ("main/.git/refs/heads/main", COMMIT),
            ],
            Some(COMMIT),
        );
        check(&[("tree/.git/HEAD", branch)], None);
        check(&[("tree/.git/HEAD", "ref: ../../secret")], None);
        check(&[("tree/.git/HEAD", "not a commit")], None);
    }
}
