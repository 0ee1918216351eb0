//! Makes a virtual environment, once, beside others that try the same.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// Written last: an environment without it was cut short.
const COMPLETE: &str = "edgeward-complete";
/// Hex digits of the hash that stand in a folder's name.
const HASH_DIGITS: usize = 16;

/// How long an unreachable package index is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// pip's own habit: the test must run.
    Full,
    /// Give up soon: the test may be skipped.
    Short,
}

/// Cargo's target folder, found from the running test; else the system's temporary folder.
pub(crate) fn folder() -> PathBuf {
    let tagged = |folder: &&Path| folder.join("CACHEDIR.TAG").is_file();
    let running = std::env::current_exe().unwrap_or_default();
    let target = running.ancestors().find(tagged).map(Path::to_owned);
    target.unwrap_or_else(std::env::temp_dir).join("python")
}

/// The root of an environment with `requirements` under `folder`; made, if it has to be.
pub(crate) fn environment(
    folder: &Path,
    name: &str,
    requirements: &[&str],
    patience: Patience,
) -> Result<PathBuf, String> {
    let base = std::env::var_os("EDGEWARD_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let version =
        output(Command::new(&base).args(["-c", "import sys; print(sys.version, sys.base_prefix)"]))?;
    let root = folder.join(format!("{name}-{}", hash(&version, requirements)));
    if is_complete(&root) {
        return Ok(root);
    }
    fs::create_dir_all(folder).map_err(|source| format!("{}: {source}", folder.display()))?;
    // Held by one process; the system frees it when that process ends, however it ends.
    let _lock = locked(&root.with_extension("lock"))?;
    if !is_complete(&root) {
        make(Path::new(&base), &root, requirements, patience)?;
    }
    Ok(root)
}

fn hash(version: &str, requirements: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in std::iter::once(&version).chain(requirements) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())[..HASH_DIGITS].to_owned()
}

fn locked(path: &Path) -> Result<File, String> {
    let file = File::create(path).map_err(|source| format!("{}: {source}", path.display()))?;
    file.lock().map_err(|source| format!("locking {}: {source}", path.display()))?;
    Ok(file)
}

fn is_complete(root: &Path) -> bool {
    root.join(COMPLETE).is_file() && interpreter(root).is_file()
}

pub(crate) fn interpreter(root: &Path) -> PathBuf {
    root.join("bin").join("python")
}

fn make(base: &Path, root: &Path, requirements: &[&str], patience: Patience) -> Result<(), String> {
    if root.exists() {
        fs::remove_dir_all(root).map_err(|source| format!("{}: {source}", root.display()))?;
    }
    let mut venv = Command::new(base);
    venv.args(["-m", "venv"]).arg(root);
    if requirements.is_empty() {
        output(venv.arg("--without-pip"))?;
    } else {
        output(&mut venv)?;
        output(pip(root, patience).args(requirements))?;
    }
    let list = requirements.join("\n");
    fs::write(root.join(COMPLETE), list).map_err(|source| format!("{}: {source}", root.display()))
}

fn pip(root: &Path, patience: Patience) -> Command {
    let mut command = Command::new(interpreter(root));
    command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]);
    if patience == Patience::Short {
        command.args(["--retries", "1", "--timeout", "10"]);
    }
    command.args(["install", "--quiet"]);
    command
}

/// What a command printed, or why it failed, with the end of what it complained.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|source| format!("starting {program}: {source}"))?;
    if !done.status.success() {
        let complaint = String::from_utf8_lossy(&done.stderr);
        return Err(format!("{program}: {}: {}", done.status, complaint.trim()));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;

    /// Environments without packages need no network.
    fn bare(folder: &Path, requirements: &[&str]) -> Option<PathBuf> {
        match environment(folder, "bare", requirements, Patience::Short) {
            Ok(root) => Some(root),
            Err(why) => {
                let _ = crate::skip(&why);
                None
            }
        }
    }

    #[test]
    fn an_environment_is_made_once_and_found_again() {
        let folder = folder().join("tests-once");
        let Some(root) = bare(&folder, &[]) else { return };
        let made = fs::metadata(root.join(COMPLETE)).unwrap().modified().unwrap();
        assert_eq!(bare(&folder, &[]).unwrap(), root);
        assert_eq!(fs::metadata(root.join(COMPLETE)).unwrap().modified().unwrap(), made);
        let python = Environment { root: root.clone() };
        let prefix = python.run("import sys; print(sys.prefix, sys.argv[1])", &["argument"]);
        assert_eq!(prefix.trim(), format!("{} argument", root.display()));
    }

    #[test]
    fn one_that_was_cut_short_is_made_anew() {
        let folder = folder().join("tests-short");
        let Some(root) = bare(&folder, &[]) else { return };
        fs::remove_file(root.join(COMPLETE)).unwrap();
        fs::write(root.join("half-written"), "").unwrap();
        assert_eq!(bare(&folder, &[]).unwrap(), root);
        assert!(!root.join("half-written").exists());
    }

    #[test]
    fn those_who_ask_at_once_share_one() {
        let folder = folder().join("tests-race");
        let _ = fs::remove_dir_all(&folder);
        let roots = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| bare(&folder, &[]))).collect();
            asking.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(roots.iter().all(|root| *root == roots[0]));
        if let Some(root) = &roots[0] {
            assert!(is_complete(root));
        }
    }

    #[test]
    fn other_requirements_or_another_interpreter_are_another_environment() {
        let plain = hash("3.13", &["a==1", "b==2"]);
        assert_eq!(plain.len(), HASH_DIGITS);
        for other in
            [hash("3.12", &["a==1", "b==2"]), hash("3.13", &["a==1b==2"]), hash("3.13", &["b==2", "a==1"])]
        {
            assert_ne!(other, plain);
        }
    }

    #[test]
    fn why_it_cannot_be_had_is_said() {
        let absent = output(&mut Command::new("no-such-interpreter")).unwrap_err();
        assert!(absent.contains("starting no-such-interpreter"), "{absent}");
        let failing =
            output(Command::new("sh").args(["-c", "echo what went wrong >&2; exit 3"])).unwrap_err();
        assert!(failing.contains("what went wrong") && failing.contains('3'), "{failing}");
    }
}
