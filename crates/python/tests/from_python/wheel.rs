//! The package as `pip install ./crates/python` makes it: the wheel that its build backend builds, installed where nothing else is.

use std::path::{Path, PathBuf};
use std::process::Command;

use edgeward_testkit_python::Environment;

use crate::device::{at, converse};

/// The build backend that `pyproject.toml` names, and what the package asks for.
const REQUIREMENTS: [&str; 2] = ["maturin==1.9.6", "numpy==2.4.6"];
/// Any Python from 3.9 on.
const ABI: &str = "-cp39-abi3-";

#[test]
#[ignore = "builds the sdk once more, three minutes: .ci/run full"]
fn what_pip_builds_and_installs_answers_every_step() {
    let Ok(python) = edgeward_testkit_python::environment("wheel", &REQUIREMENTS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wheel = built(&python, folder.path());
    let name = wheel.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with(concat!("edgeward-", env!("CARGO_PKG_VERSION"))) && name.contains(ABI),
        "{name}"
    );
    let installed = folder.path().join("installed");
    succeed(pip(&python, &["install", "--no-deps", "--no-index", "--target"]).arg(&installed).arg(&wheel));
    assert!(installed.join("edgeward/py.typed").is_file(), "type checkers find its types");
    let mut script = python.command();
    script.env("PYTHONPATH", &installed).arg(at("crates/python/tests/conformance.py"));
    converse(&mut script);
}

/// The wheel, built as pip does, but with the backend that is installed already and without optimisations.
fn built(python: &Environment, folder: &Path) -> PathBuf {
    let wheels = folder.join("wheels");
    let mut command = pip(python, &["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"]);
    command.arg(&wheels).arg(at("crates/python"));
    command.env("MATURIN_PEP517_ARGS", "--profile dev --locked").env("CARGO_TARGET_DIR", target());
    succeed(&mut command);
    let mut found = std::fs::read_dir(&wheels).unwrap();
    found.next().unwrap().unwrap().path()
}

/// A target folder of its own, kept: the library that the workspace's build made stays what it is.
fn target() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    deps.ancestors().nth(3).unwrap().join("wheel")
}

fn pip(python: &Environment, arguments: &[&str]) -> Command {
    let mut command = python.command();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", python.bin().display()));
    command.args(["-m", "pip", "--disable-pip-version-check", "--quiet"]).args(arguments);
    command
}

fn succeed(command: &mut Command) {
    let said = command.output().unwrap();
    assert!(said.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&said.stderr));
}
