//! The library as apps in C meet it: compiled with the machine's compiler against the committed header, linked, run.
//!
//! The folders are an agent's, and the agent's own code activates.

#![cfg(all(unix, not(miri)))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../../testkit/apps/device.rs"]
mod device;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use device::{Device, at, converse, model};
use edgeward_core::slot::SlotId;
use edgeward_model::{LoadOptions, NamedTensor, RtenEngine, Session, Tensor};

/// Swaps that the example goes through.
const SWAPS: usize = 20;

/// Where cargo puts the libraries of the crate under test.
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Compiles and links one C file with the shared library.
fn compile(source: &Path, into: &Path) -> PathBuf {
    let program = into.join(source.file_stem().unwrap());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut rpath = std::ffi::OsString::from("-Wl,-rpath,");
    rpath.push(libraries());
    let made = Command::new("cc")
        .args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .args([OsStr::new("-I"), root.join("include").as_os_str()])
        .args([source.as_os_str(), OsStr::new("-o"), program.as_os_str()])
        .args([OsStr::new("-L"), libraries().as_os_str(), OsStr::new("-ledgeward"), &rpath])
        .arg("-lm")
        .output()
        .unwrap_or_else(|error| panic!("a C compiler is needed as 'cc': {error}"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    program
}

#[test]
fn the_c_interface_answers_every_step_as_every_language_must() {
    let folder = tempfile::tempdir().unwrap();
    converse(&mut Command::new(compile(&at("crates/cabi/tests/conformance.c"), folder.path())));
}

#[test]
fn an_app_in_c_takes_up_every_model_without_a_failed_call() {
    let device = Device::new();
    let program = compile(&at("examples/c/hotswap.c"), device.root.path());
    let first = device.activate(SlotId::A, "0");
    let mut app = Command::new(program)
        .args([device.root.path().as_os_str(), OsStr::new(model().as_str())])
        .arg(SWAPS.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(app.stdout.take().unwrap()).lines();
    let mut next = || said.next().and_then(Result::ok).unwrap_or_default();
    device.swap_while_told(first, SWAPS, &mut next);
    let last = next();
    let mut errors = String::new();
    app.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(app.wait().unwrap().success(), "{last}; {errors}");
    assert!(last.contains(" failed 0 ") && last.ends_with(&format!("generation {}", SWAPS + 1)), "{last}");
    device.heard_of(SWAPS);
}

#[test]
fn an_answer_in_c_is_the_answer_in_rust() {
    let device = Device::new();
    device.activate(SlotId::A, "0");
    let folder = device.folder().join("a");
    let session = Session::load(
        &edgeward_model::Bundle::open(&folder).unwrap(),
        &RtenEngine::new(),
        &LoadOptions::with_threads(1),
    );
    let rows = Tensor::from_rows(1, 4, vec![0.5, -0.5, 0.25, 0.0]).unwrap();
    let expected = session.unwrap().infer(vec![NamedTensor::new("x", rows)]).unwrap();
    let program = compile(&at("examples/c/ask.c"), device.root.path());
    let said = Command::new(program).arg(folder).args(["0.5", "-0.5", "0.25", "0"]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).unwrap();
    let probabilities = expected.get("probabilities").and_then(Tensor::as_f32).unwrap();
    let words: Vec<String> = probabilities.iter().map(|value| format!("{value:.6}")).collect();
    assert!(text.contains(&format!("probabilities FP32 [1, 3] {}", words.join(" "))), "{text}");
}

#[test]
fn a_careless_caller_gets_a_status_and_words() {
    let device = Device::new();
    device.activate(SlotId::A, "0");
    let program = compile(&at("crates/cabi/tests/refusals.c"), device.root.path());
    let words = [
        device.folder().join("a").into_os_string(),
        device.root.path().as_os_str().to_owned(),
        model().as_str().into(),
    ];
    let run = Command::new(&program).args(&words).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    if Command::new("valgrind").arg("--version").output().is_err() {
        edgeward_testkit_python::skip("valgrind is not installed, so memory was not checked");
        return;
    }
    let checked = Command::new("valgrind")
        .args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"])
        .arg(&program)
        .args(&words)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
