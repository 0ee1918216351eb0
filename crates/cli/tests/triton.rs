//! Triton's own Python clients, unchanged, against a served model: HTTP and gRPC, tensors in every form, streams, metadata,
//! configuration, statistics, the repository's index, compression, and errors; and a plain program at a Unix socket.

#![cfg(all(feature = "control", feature = "agent"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
#[path = "harness/pumps.rs"]
mod pumps;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use harness::{Running, announced, edgeward, serve};
use pumps::{measured, project};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const REQUIREMENTS: [&str; 2] = ["tritonclient[http,grpc]==2.73.0", "numpy==2.4.6"];

/// A model of pumps, served at an address of a network and at a file.
struct Served {
    address: String,
    socket: PathBuf,
    process: Running,
    _folder: TempDir,
}

fn made(dir: &Path) -> String {
    fs::create_dir(dir.join("data")).unwrap();
    fs::write(dir.join("data/1.csv"), measured(400, 0)).unwrap();
    fs::write(dir.join("edgeward.toml"), project("")).unwrap();
    let (_server, said) = serve(dir, &[]);
    let made = edgeward(dir)
        .args(["run", "--server", said["address"].as_str().unwrap(), "--json"])
        .args(["--release-key", "srv/keys/releases.json"])
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    made["bundle_path"].as_str().unwrap().to_owned()
}

fn served() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let bundle = made(folder.path());
    let socket = folder.path().join("edgeward.sock");
    let listen = format!("unix:{}", socket.display());
    let mut served = edgeward(folder.path());
    served.args([
        "serve",
        &bundle,
        "--name",
        "pumps",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &listen,
        "--json",
    ]);
    let (process, said) = announced(served.stderr(Stdio::null()));
    assert_eq!(said["addresses"][1], listen);
    let address = said["address"].as_str().unwrap().trim_start_matches("http://").to_owned();
    Served { address, socket, process, _folder: folder }
}

#[test]
fn tritonclient_speaks_http_and_grpc_with_a_served_model() {
    let Ok(python) = edgeward_testkit_python::environment("triton", &REQUIREMENTS) else { return };
    let served = served();
    let socket = format!("unix:{}", served.socket.display());
    let said = python.run(include_str!("triton_grpc.py"), &[&served.address, &socket]);
    assert!(said.trim_end().ends_with("all of it"), "{said}");
    drop(served);
    let served = self::served();
    let said = python.run(include_str!("triton.py"), &[&served.address]);
    assert!(said.trim_end().ends_with("all of it"), "{said}");
}

#[test]
fn a_plain_program_asks_at_a_unix_socket() {
    let Ok(python) = edgeward_testkit_python::environment("bare", &[]) else { return };
    let Served { socket, mut process, _folder, .. } = served();
    let said = python.run(include_str!("unix_socket.py"), &[&socket.to_string_lossy()]);
    assert!(said.trim_end().ends_with("all of it"), "{said}");
    kill_process(Pid::from_child(&process.0), Signal::TERM).unwrap();
    assert!(process.0.wait().unwrap().success());
    assert!(!socket.exists(), "the socket goes with its process");
}
