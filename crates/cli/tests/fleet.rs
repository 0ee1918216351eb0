//! The real binary: a control plane and a simulated fleet over real sockets. A poor version is stopped by its labels and a
//! broken one by its failures, both in the first wave; a good one reaches everybody.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "harness/answer.rs"]
mod answer;
mod harness;
#[path = "harness/pumps.rs"]
mod pumps;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use answer::answer;
use harness::{Running, edgeward, serve};
use pumps::{measured, project};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(90);
const DEVICES: &str = "40";

const ROLLOUT: &str = "[rollout]\nwaves = [\"25%\", \"100%\"]\nbake = \"1s\"\nprobation = \"1s\"\n";

struct Plant {
    dir: TempDir,
    url: String,
    server: Running,
}

impl Plant {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("edgeward.toml"), project(ROLLOUT)).unwrap();
        let (server, said) = serve(dir.path(), &[]);
        let url = said["address"].as_str().unwrap().to_owned();
        Self { dir, url, server }
    }

    fn run(&self, words: &[&str]) -> Value {
        let mut command = edgeward(self.dir.path());
        command.env("EDGEWARD_SERVER", &self.url).args(words).arg("--json");
        answer(words, &command.output().unwrap())
    }

    /// Another version, from other data; its bundle.
    fn version(&self, number: u64) -> String {
        let rows = measured(400, number * 104_729);
        fs::write(self.dir.path().join(format!("data/{number}.csv")), rows).unwrap();
        self.run(&["run", "--release-key", "srv/keys/releases.json"]);
        let models = self.run(&["model", "ls"]);
        let versions = models["models"][0]["versions"].as_array().unwrap();
        assert_eq!(versions.len() as u64, number);
        versions.last().unwrap()["bundle"].as_str().unwrap().to_owned()
    }

    /// A fleet that lives for a minute, or until the test ends.
    fn fleet(&self, more: &[&str]) -> Running {
        let mut sim = edgeward(self.dir.path());
        sim.env("EDGEWARD_SERVER", &self.url);
        sim.args(["sim", "--devices", DEVICES, "--poll", "300ms", "--upload", "500ms", "--duration", "2m"]);
        sim.args(["--labels", "5"]).args(more).stdout(Stdio::null()).stderr(Stdio::null());
        Running(sim.spawn().unwrap())
    }

    /// The rollout under way, or the newest one, once `is_so`.
    fn when(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let status = self.run(&["rollout", "status"]);
            if is_so(&status) {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn roll_out(&self, version: u64, outcome: &str) -> Value {
        let started = self.run(&["rollout", "start", "pumps", &version.to_string()]);
        assert_eq!(started["version"], version);
        let end = self.when(|status| !status["rollout"]["outcome"].is_null());
        assert_eq!(end["rollout"]["outcome"], outcome, "{end}");
        end
    }
}

#[test]
fn poor_and_broken_versions_are_stopped_in_the_first_wave_and_a_good_one_reaches_everybody() {
    let plant = Plant::start();
    plant.version(1);
    let (poor, broken) = (plant.version(2), plant.version(3));
    plant.version(4);
    let _fleet = plant.fleet(&["--poor-bundle", &poor, "--bad-bundle", &broken]);
    plant.roll_out(1, "completed");

    let started = plant.run(&["rollout", "start", "pumps", &poor, "--bake", "60s"]);
    assert_eq!(started["version"], 2);
    let end = plant.when(|status| !status["rollout"]["outcome"].is_null());
    let reason = end["rollout"]["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("accuracy: fail: "), "{reason}");
    assert_eq!((&end["rollout"]["outcome"], &end["rollout"]["wave"]), (&"rolled_back".into(), &0.into()));

    let end = plant.roll_out(3, "rolled_back");
    let reason = end["rollout"]["reasons"][0].as_str().unwrap();
    assert!(reason.ends_with("golden test: answers differ"), "{reason}");
    assert_eq!(end["rollout"]["wave"], 0);

    let end = plant.roll_out(4, "completed");
    assert_eq!((&end["devices"][0]["all"], &end["devices"][0]["running"]), (&40.into(), &40.into()));
    drop(plant.server);
}

#[test]
fn a_simulated_fleet_measures_what_it_asks() {
    let plant = Plant::start();
    plant.version(1);
    plant.run(&["rollout", "start", "pumps", "--waves", "100%"]);
    let pid = plant.server.0.id().to_string();
    let told = plant.run(&[
        "sim",
        "--devices",
        "20",
        "--poll",
        "200ms",
        "--upload",
        "400ms",
        "--duration",
        "3s",
        "--server-pid",
        &pid,
    ]);
    assert_eq!(told["devices"], 20);
    for kind in ["poll", "report", "profile"] {
        let summary = &told["requests"][kind];
        assert!(summary["answered"].as_u64().unwrap() >= 20, "{kind}: {told}");
        assert!(summary["p99_ms"].as_f64().unwrap() >= summary["p50_ms"].as_f64().unwrap(), "{told}");
        assert_eq!(
            (&summary["refused"], &summary["failed"]),
            (&serde_json::json!({}), &serde_json::json!({}))
        );
    }
    assert!(told["requests"]["poll"]["unchanged"].as_u64().unwrap() > 0, "{told}");
    if cfg!(target_os = "linux") {
        assert!(told["server"]["rss_mib"].as_f64().unwrap() > 1.0, "{told}");
    }
}
