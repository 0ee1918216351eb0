//! What a newcomer and a packager use: projects begun from every template run, settings are found and told, manual pages and
//! the Debian package are made of the very binary.

#![cfg(all(unix, feature = "control", feature = "agent"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::{edgeward, serve};
use serde_json::Value;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/frameworks");

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("\n")
}

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Begins a project in `dir` and runs it; the bundle.
fn begins_and_runs(dir: &Path, template: &str, path: Option<&Path>) -> Value {
    let project = dir.join(template);
    done(edgeward(dir).args(["init", template, "--template", template]));
    if template == "onnx" {
        let given =
            fs::read_dir(dir.join("sensor/.edgeward/bundles")).unwrap().next().unwrap().unwrap().path();
        fs::copy(given.join("model.onnx"), project.join("model.onnx")).unwrap();
        fs::copy(dir.join("sensor/data/readings.csv"), project.join("data/rows.csv")).unwrap();
    }
    let mut run = edgeward(&project);
    if let Some(bin) = path {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
        run.env("PATH", std::env::join_paths(paths).unwrap());
    }
    let made = done(run.args(["run", "--json"]));
    let made: Value = serde_json::from_str(made.trim()).unwrap();
    assert_eq!(made["outcome"]["result"], "passed", "{made}");
    assert!(project.join("schema.json").is_file(), "the schema is pinned");
    made
}

#[test]
fn every_template_runs_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for template in ["sensor", "camera", "onnx"] {
        let made = begins_and_runs(dir.path(), template, None);
        assert!(made["metrics"]["accuracy"].as_f64().unwrap() > 0.8, "{template}: {made}");
    }
    let again = edgeward(dir.path()).args(["init", "sensor"]).output().unwrap();
    assert!(!again.status.success() && said(&again).contains("is there already"), "{}", said(&again));
    let requirements = fs::read_to_string(format!("{EXAMPLES}/sklearn/requirements.txt")).unwrap();
    let requirements: Vec<&str> = requirements.lines().filter(|line| !line.is_empty()).collect();
    let Ok(python) = edgeward_testkit_python::environment("sklearn", &requirements) else { return };
    begins_and_runs(dir.path(), "sklearn", Some(&python.bin()));
}

#[test]
#[ignore = "PyTorch takes 5.6 GB installed: .ci/run full"]
fn the_pytorch_template_runs_as_it_is() {
    let requirements = fs::read_to_string(format!("{EXAMPLES}/pytorch/requirements.txt")).unwrap();
    let requirements: Vec<&str> = requirements.lines().filter(|line| !line.is_empty()).collect();
    let Ok(python) = edgeward_testkit_python::environment("pytorch", &requirements) else { return };
    let dir = tempfile::tempdir().unwrap();
    begins_and_runs(dir.path(), "pytorch", Some(&python.bin()));
}

#[test]
fn settings_come_from_the_command_line_the_environment_and_a_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("own.toml"), "log = \"info\"\n[agent]\nname = \"robot-7\"\npoll-ms = 5000\n")
        .unwrap();
    let mut show = edgeward(dir.path());
    show.env("EDGEWARD_CONFIG", "own.toml").env("EDGEWARD_SERVER", "https://plane.example");
    let shown =
        done(show.args(["config", "show", "--json", "agent", "--poll-ms", "70", "--join-token", "x"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let of = |flag: &str| {
        let found = shown.as_array().unwrap().iter().find(|shown| shown["flag"] == flag).unwrap();
        (found["value"].as_str().map(str::to_owned), found["source"].as_str().unwrap().to_owned())
    };
    let told = |value: &str, source: &str| (Some(value.to_owned()), source.to_owned());
    assert_eq!(of("name"), told("robot-7", "file own.toml"));
    assert_eq!(of("poll-ms"), told("70", "command line"));
    assert_eq!(of("server"), told("https://plane.example", "environment EDGEWARD_SERVER"));
    assert_eq!(of("upload-ms"), told("2000", "built in"));
    assert_eq!(of("log"), told("info", "file own.toml"));
    assert_eq!(of("join-token"), told("(hidden)", "command line"));
    assert_eq!(of("repository"), (None, "not set".to_owned()));

    // A file that is named is used, and one with a mistake stops everything with its name.
    fs::write(dir.path().join("plane.toml"), "[server]\ndata = \"elsewhere\"\nlisten = \"127.0.0.1:0\"\n")
        .unwrap();
    let (_server, said_so) = serve(dir.path(), &["--config", "plane.toml"]);
    assert!(said_so["address"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    fs::write(dir.path().join("own.toml"), "[agent]\nnme = \"x\"\n").unwrap();
    let refused = edgeward(dir.path()).args(["--config", "own.toml", "status"]).output().unwrap();
    assert!(said(&refused).contains("own.toml: [agent] there is no 'nme'"), "{}", said(&refused));
}

#[test]
fn a_debian_package_holds_what_it_should() {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !has("dpkg-deb") {
        edgeward_testkit_python::skip("this is no Debian: there is no dpkg-deb");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let built = Command::new(format!("{PACKAGING}/debian/build"))
        .args([env!("CARGO_BIN_EXE_edgeward"), dir.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", said(&built));
    let package = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let root = dir.path().join("root");
    done(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root));
    let fields = done(Command::new("dpkg-deb").arg("-f").arg(&package));
    assert!(fields.contains("Package: edgeward\n") && fields.contains("Version: 0."), "{fields}");
    for file in [
        "etc/edgeward/config.toml",
        "lib/systemd/system/edgeward-server.service",
        "lib/systemd/system/edgeward-agent.service",
        "usr/share/man/man1/edgeward-agent.1.gz",
        "usr/share/man/man1/edgeward-rollout-start.1.gz",
        "usr/share/bash-completion/completions/edgeward",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    // What is installed runs, with the settings that are installed.
    let mut installed = Command::new(root.join("usr/bin/edgeward"));
    let shown = done(
        installed
            .env("EDGEWARD_CONFIG", root.join("etc/edgeward/config.toml"))
            .args(["config", "show", "agent"]),
    );
    assert!(shown.contains("--poll-ms"), "{shown}");
    if has("systemd-analyze") {
        for unit in ["server", "agent"] {
            let file = root.join(format!("lib/systemd/system/edgeward-{unit}.service"));
            let verified = Command::new("systemd-analyze").arg("verify").arg(&file).output().unwrap();
            let complaints = said(&verified);
            assert!(
                !complaints.contains("Unknown") && !complaints.contains("Failed to parse"),
                "{complaints}"
            );
        }
    }
}
