//! Nudges over a real broker (Mosquitto, under TLS, with a password): news reaches a device that polls every ten minutes,
//! also after the broker was away.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "harness/answer.rs"]
mod answer;
mod harness;
#[path = "harness/pumps.rs"]
mod pumps;
#[path = "harness/waiting.rs"]
mod waiting;
#[path = "harness/yard.rs"]
mod yard;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use harness::{Running, edgeward, serve};
use waiting::wait;
use yard::{active, bundle, join_token, operate, train};

/// A broker on a port of its own, that asks for a password and speaks TLS.
struct Mosquitto {
    port: u16,
    _process: Running,
}

impl Mosquitto {
    /// Makes what a broker needs in `folder`, or says that there is none here.
    fn prepare(folder: &Path) -> Option<u16> {
        let password = |word: &str| {
            let mut command = Command::new("mosquitto_passwd");
            command.args(["-c", "-b"]).arg(folder.join("passwords")).args(["plant", word]);
            command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        if !password("secret") {
            edgeward_testkit_python::skip("mosquitto is not installed");
            return None;
        }
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(folder.join("broker.pem"), certified.cert.pem()).unwrap();
        fs::write(folder.join("broker.key"), certified.signing_key.serialize_pem()).unwrap();
        fs::write(folder.join("password"), "secret\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let conf = format!(
            "user root\nallow_anonymous false\npassword_file {0}/passwords\nlistener {port} 127.0.0.1\n\
             certfile {0}/broker.pem\nkeyfile {0}/broker.key\n",
            folder.display()
        );
        fs::write(folder.join("broker.conf"), conf).unwrap();
        Some(port)
    }

    fn start(folder: &Path, port: u16) -> Self {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(folder.join("broker.conf")).stderr(Stdio::null()).stdout(Stdio::null());
        let process = Running(command.spawn().unwrap());
        wait("the broker", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, _process: process }
    }

    /// The flags that name it.
    fn flags(&self) -> [String; 8] {
        let url = format!("mqtts://127.0.0.1:{}/plant/7", self.port);
        [
            "--mqtt",
            &url,
            "--mqtt-user",
            "plant",
            "--mqtt-password-file",
            "password",
            "--mqtt-ca",
            "broker.pem",
        ]
        .map(str::to_owned)
    }
}

#[test]
fn news_reaches_a_device_by_way_of_a_broker_and_also_after_it_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let Some(port) = Mosquitto::prepare(dir) else { return };
    let broker = Mosquitto::start(dir, port);
    let flags = broker.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let (_server, said) = serve(dir, &flags);
    let url = said["address"].as_str().unwrap();
    for version in 1..=3 {
        train(dir, url, 400 + 40 * version, "");
    }
    let token = join_token(dir, url);
    let mut agent = edgeward(dir);
    agent.args(["agent", "--server", url, "--data", "dev", "--listen", "127.0.0.1:0", "--poll-ms", "600000"]);
    agent.args(["--join-token", &token]).args(&flags);
    let _agent = Running(agent.stderr(Stdio::null()).spawn().unwrap());
    let device = dir.join("dev");
    wait("the device", || fs::read_to_string(device.join("endpoint")).ok());

    for version in [1, 2] {
        operate(dir, url, &["deploy", "pumps", "--version", &version.to_string()]);
        let bundle = bundle(dir, url, version);
        wait("the version by a nudge", || (active(&device).as_ref() == Some(&bundle)).then_some(()));
    }

    // What is published while the broker is away is heard of when it is back.
    drop(broker);
    operate(dir, url, &["deploy", "pumps", "--version", "3"]);
    let _broker = Mosquitto::start(dir, port);
    let bundle = bundle(dir, url, 3);
    wait("the version after the broker came back", || {
        (active(&device).as_ref() == Some(&bundle)).then_some(())
    });
}
