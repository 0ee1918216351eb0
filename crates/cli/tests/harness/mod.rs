//! What tests of the real binary share: children that end with the test, the binary without the caller's settings, and a
//! control plane on a port of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A child that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The binary in `dir`, without the caller's settings.
pub(crate) fn edgeward(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeward"));
    for name in [
        "EDGEWARD_SERVER",
        "EDGEWARD_TOKEN",
        "EDGEWARD_DATA",
        "EDGEWARD_DATABASE",
        "EDGEWARD_LOG",
        "EDGEWARD_CA",
        "EDGEWARD_LOG_FORMAT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ] {
        command.env_remove(name);
    }
    command.current_dir(dir).stdin(Stdio::null()).env("NO_PROXY", "*").env("EDGEWARD_CONFIG", "");
    command
}

/// A control plane that keeps everything in `srv` of `dir`, once it listens, and what it said of itself then.
pub(crate) fn serve(dir: &Path, more: &[&str]) -> (Running, Value) {
    let mut server = edgeward(dir);
    server.args(["server", "--data", "srv", "--listen", "127.0.0.1:0", "--json"]).args(more);
    announced(server.stderr(Stdio::null()))
}

/// A child that listens, and what its first line says of itself: one JSON object with its address.
pub(crate) fn announced(command: &mut Command) -> (Running, Value) {
    let spawned = command.stdout(Stdio::piped()).spawn();
    let mut child = Running(spawned.expect("the binary starts"));
    let mut line = String::new();
    let said = child.0.stdout.take().expect("its output is piped");
    BufReader::new(said).read_line(&mut line).expect("it says where it listens");
    (child, serde_json::from_str(&line).expect("it says so in JSON"))
}
