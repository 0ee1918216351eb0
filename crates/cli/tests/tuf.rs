//! `edgeward tuf-client` against repositories that other implementations write, and theirs against ours.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use edgeward_testkit_python::Environment;

/// python-tuf, the reference implementation, with what it needs for every kind of key.
const PYTHON_TUF: [&str; 3] = ["tuf==7.0.1", "securesystemslib==1.6.0", "cryptography==50.0.2"];

fn edgeward(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgeward")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs the client; the exit code must be `code`.
fn client(args: &[&str], code: i32) -> String {
    let output = edgeward(&[&["tuf-client"], args].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

/// Any web server: here the one that comes with Python.
struct WebServer {
    child: Child,
    url: String,
}

impl WebServer {
    fn start(python: &Environment, folder: &Path) -> Self {
        let mut command = Command::new(python.python());
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_once('(').unwrap().1.split_once(')').unwrap().0.trim_end_matches('/').to_owned();
        Self { child, url }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_python_tuf_writes_is_read() {
    let Ok(python) = edgeward_testkit_python::environment("tuf", &PYTHON_TUF) else { return };
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    python.run(include_str!("tuf/write.py"), &[repository.to_str().unwrap()]);
    let server = WebServer::start(&python, &repository);
    let (metadata, targets) = (folder.path().join("trusted"), folder.path().join("downloads"));
    let (metadata, targets) = (metadata.to_str().unwrap(), targets.to_str().unwrap());
    let (metadata_url, targets_url) = (format!("{}/metadata", server.url), format!("{}/targets", server.url));
    let root = repository.join("metadata/1.root.json");
    client(&["--metadata-dir", metadata, "init", root.to_str().unwrap()], 0);
    let refresh = ["--metadata-dir", metadata, "--metadata-url", &metadata_url, "refresh"];
    client(&refresh, 0);
    let download = |name: &str, code| {
        let place =
            ["--target-name", name, "--target-base-url", &targets_url, "--target-dir", targets, "download"];
        client(&[&refresh[..4], &place].concat(), code)
    };
    let wanted: [(&str, &str, &[u8]); 3] = [
        ("plain.txt", "plain.txt", b"plain"),
        ("docs/a/read.md", "docs%2Fa%2Fread.md", b"read me"),
        ("anything", "anything", b"binary \x00\xff"),
    ];
    for (name, file, content) in wanted {
        download(name, 0);
        assert_eq!(fs::read(Path::new(targets).join(file)).unwrap(), content);
    }
    assert!(download("docs/read.md", 1).contains("may vouch"));
    for name in ["../plain.txt", "/plain.txt", "docs//a"] {
        download(name, 1);
    }
    let kept = fs::read(Path::new(metadata).join("root.json")).unwrap();
    assert_eq!(kept, fs::read(repository.join("metadata/2.root.json")).unwrap());
    // A torn copy of what is trusted is damage, and not a reason to begin anew.
    fs::write(Path::new(metadata).join("timestamp.json"), b"{\"signed\":").unwrap();
    assert!(client(&refresh, 1).contains("timestamp.json"));
}
