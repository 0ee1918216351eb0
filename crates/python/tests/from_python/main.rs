//! The package as apps in Python meet it: the library that cargo built, beside the package's own files, under a real
//! interpreter with numpy.

#![cfg(all(target_os = "linux", not(miri)))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../../testkit/apps/device.rs"]
mod device;
mod wheel;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use device::{Device, at, converse, model};
use edgeward_core::slot::SlotId;
use edgeward_testkit_python::Environment;
use tempfile::TempDir;

const REQUIREMENTS: [&str; 1] = ["numpy==2.4.6"];
/// Swaps that the camera goes through.
const SWAPS: usize = 10;

/// The package in a folder of its own, as a wheel would lay it out.
struct Package {
    folder: TempDir,
    python: Environment,
}

impl Package {
    fn new() -> Option<Self> {
        let python = edgeward_testkit_python::environment("package", &REQUIREMENTS).ok()?;
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("edgeward");
        fs::create_dir(&package).unwrap();
        for entry in fs::read_dir(at("crates/python/python/edgeward")).unwrap() {
            let file = entry.unwrap();
            if file.file_type().unwrap().is_file() {
                fs::copy(file.path(), package.join(file.file_name())).unwrap();
            }
        }
        let built = std::env::current_exe().unwrap().with_file_name("libedgeward_native.so");
        fs::copy(built, package.join("_native.abi3.so")).unwrap();
        Some(Self { folder, python })
    }

    fn run(&self, script: &Path) -> Command {
        let mut command = self.python.command();
        command.env("PYTHONPATH", self.folder.path()).arg(script);
        command
    }
}

#[test]
fn the_package_answers_every_step_as_every_language_must() {
    let Some(package) = Package::new() else { return };
    converse(&mut package.run(&at("crates/python/tests/conformance.py")));
}

#[test]
fn arrays_errors_threads_and_explanations_are_as_python_expects() {
    let Some(package) = Package::new() else { return };
    let device = Device::new();
    device.activate(SlotId::A, "0");
    let said = package
        .run(&at("crates/python/tests/as_expected.py"))
        .arg(device.folder().join("a"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.trim_end().ends_with("all of it"), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn a_cameras_loop_takes_up_every_model() {
    let Some(package) = Package::new() else { return };
    let device = Device::new();
    let first = device.activate(SlotId::A, "0");
    let mut app = package
        .run(&at("examples/python/camera.py"))
        .arg(device.root.path())
        .args([model().as_str(), "--frames", "100000", "--per-second", "500"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(app.stdout.take().unwrap()).lines();
    device.swap_while_told(first, SWAPS, || said.next().and_then(Result::ok).unwrap_or_default());
    app.kill().unwrap();
    app.wait().unwrap();
    device.heard_of(SWAPS);
}

#[test]
fn a_sensors_loop_answers_line_by_line_and_skips_what_is_none() {
    let Some(package) = Package::new() else { return };
    let device = Device::new();
    device.activate(SlotId::A, "0");
    let mut app = package
        .run(&at("examples/python/sensor.py"))
        .arg(device.root.path())
        .arg(model().as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let readings = "= 1\n0.5,-0.5,0.25,0\n= 1\nnonsense\n1,2,3\n1,2,3,4\n";
    app.stdin.take().unwrap().write_all(readings.as_bytes()).unwrap();
    let said = app.wait_with_output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{text}\n{errors}");
    assert!(text.lines().last().unwrap().starts_with("asked 2 told 1 right "), "{text}");
    assert_eq!(errors.matches("skipped").count(), 2, "{errors}");
}
