//! Hostile repositories against a whole agent, over real HTTP: refused by name, while what ran before goes on serving.
//!
//! The documents are those of `trust`'s hostile cases around real bundles; slow, endless and lying web servers are added.
//! Each agent starts from the data folder of one that follows the honest repository.

#[path = "../../../trust/tests/hostile/cases.rs"]
mod cases;
mod manifests;
#[path = "../../../trust/tests/hostile/repo.rs"]
#[expect(dead_code, reason = "reading from a folder is for the tests of trust")]
mod repo;
mod web;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use edgeward_api::device::Report;
use edgeward_core::{Digest, Timestamp};
use edgeward_model::bundle::path;
use serde_json::json;
use tempfile::TempDir;

use super::tests::{Agent, PATIENCE};
use super::*;
use crate::fixtures::{get, model};
use crate::nudge::Nudges;
use cases::{Case, Expect};
use manifests::{bundles, manifest};
use repo::{DAY, NOW, bundle, honest};
use web::{Manner, Web};

/// Longest time of a whole refresh here: longer than an honest one takes on a busy machine.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(1500);

/// A web server, and the data folder of a device that follows the honest repository on it.
struct Field {
    web: Web,
    folder: TempDir,
}

fn blobs() -> BTreeMap<String, Vec<u8>> {
    let mut blobs = BTreeMap::new();
    for (n, bundle) in bundles().iter().enumerate() {
        blobs.insert(bundle.digest().hex(), manifest(n));
        for (path, entry) in &bundle.manifest().files {
            blobs.insert(entry.digest.hex(), bundle.read(path.as_str()).unwrap());
        }
    }
    blobs
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &target),
            kind if kind.is_file() => drop(fs::copy(entry.path(), target).unwrap()),
            _ => {}
        }
    }
}

impl Field {
    fn new() -> Self {
        let field = Self { web: Web::start(blobs()), folder: tempfile::tempdir().unwrap() };
        field.web.put("seed", &honest().files, Manner::Plain);
        let agent = field.agent("seed", &field.folder.path().join("seed"), &clock(NOW));
        field.wait("seed", |report| runs(report, bundle(0)));
        agent.stop();
        field
    }

    fn agent(&self, site: &str, data: &Path, clock: &Arc<AtomicI64>) -> Agent {
        Agent::start(self.config(site, data, clock))
    }

    fn config(&self, site: &str, data: &Path, clock: &Arc<AtomicI64>) -> AgentConfig {
        let name = DeviceId::new("robot-1").unwrap();
        let server = format!("{}/{site}", self.web.url);
        let mut config = AgentConfig::new(server, data, name, "127.0.0.1:0".parse::<Address>().unwrap());
        config.join_token = Some("good".to_owned());
        (config.poll, config.upload) = (Duration::from_millis(20), Duration::from_secs(3600));
        (config.nudges, config.refresh_timeout) = (Nudges::Off, REFRESH_TIMEOUT);
        let clock = Arc::clone(clock);
        config.clock = Arc::new(move || Timestamp(clock.load(Ordering::Relaxed)));
        config
    }

    /// An agent that followed the honest repository and meets what is at `site` now.
    fn meet(&self, site: &str, clock: &Arc<AtomicI64>) -> Agent {
        let data: PathBuf = self.folder.path().join(site);
        copy(&self.folder.path().join("seed"), &data);
        let agent = self.agent(site, &data, clock);
        assert_eq!(served(&agent), bundle(0), "{site}");
        agent
    }

    /// The first report that is as wanted.
    fn wait(&self, site: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let began = Instant::now();
        loop {
            let found =
                self.web.reports(site, |reports| reports.iter().find(|report| wanted(report)).cloned());
            if let Some(found) = found {
                return found;
            }
            let last = self.web.reports(site, |reports| reports.last().cloned());
            assert!(began.elapsed() < PATIENCE, "{site}: waited in vain; the last report: {last:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The honest repository is taken again.
    fn recovers(&self, site: &str, agent: &Agent) {
        let mut next = honest();
        next.publish(bundle(1));
        self.web.put(site, &next.files, Manner::Plain);
        let report = self.wait(site, |report| runs(report, bundle(1)));
        assert_eq!((report.repository, served(agent)), (None, bundle(1)), "{site}");
    }

    fn check(&self, case: &Case) {
        let (site, mut repo) = (case.name, honest());
        let now = (case.bend)(&mut repo);
        self.web.put(site, &repo.files, Manner::Plain);
        let agent = self.meet(site, &clock(now));
        let report = self.wait(site, |report| match case.expect {
            Expect::Refused(reason) => named(report) == Some(reason),
            Expect::NotReleased => {
                report.models[&model()].reasons.iter().any(|reason| reason.contains("was not released"))
            }
        });
        assert!(runs(&report, bundle(0)), "{site}: {report:?}");
        assert_eq!(served(&agent), bundle(0), "{site}");
        if case.recovers && now == NOW {
            self.recovers(site, &agent);
        }
        agent.stop();
    }
}

fn clock(now: Timestamp) -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(now.0))
}

fn runs(report: &Report, bundle: Digest) -> bool {
    report.models.get(&model()).is_some_and(|model| model.active == Some(bundle))
}

fn named(report: &Report) -> Option<&str> {
    report.repository.as_ref().map(|trouble| trouble.name.as_str())
}

/// The bundle that answers a request.
fn served(agent: &Agent) -> Digest {
    let (status, body) = agent.predict();
    assert_eq!(status, 200, "{body}");
    Digest::from_hex(body["model_version"].as_str().unwrap()).unwrap()
}

#[test]
fn every_hostile_repository_is_refused_by_name_while_the_old_model_serves() {
    let field = Field::new();
    let cases = cases::all();
    assert!(cases.len() >= 40, "{}", cases.len());
    cases.iter().for_each(|case| field.check(case));
}

#[test]
fn slow_endless_and_lying_servers_are_refused_by_name_while_the_old_model_serves() {
    let field = Field::new();
    for (site, manner, reason) in [
        ("endless-timestamp-on-the-wire", Manner::Endless("timestamp.json"), "too_large"),
        ("endless-root-on-the-wire", Manner::Endless("2.root.json"), "too_large"),
        ("slow-timestamp", Manner::Drip("timestamp.json"), "too_slow"),
        ("slow-root", Manner::Drip("2.root.json"), "too_slow"),
        ("late-files", Manner::Late(900), "too_slow"),
        ("silent", Manner::Silent, "too_slow"),
        ("sign-in-page", Manner::Portal, "malformed"),
        ("nothing-is-there", Manner::Status(404), "absent"),
        ("not-modified-unasked", Manner::Status(304), "absent"),
    ] {
        field.web.put(site, &honest().files, manner);
        let agent = field.meet(site, &clock(NOW));
        let report = field.wait(site, |report| named(report) == Some(reason));
        assert!(runs(&report, bundle(0)), "{site}: {report:?}");
        assert_eq!(served(&agent), bundle(0), "{site}");
        field.recovers(site, &agent);
        agent.stop();
    }
}

#[test]
fn targets_that_never_end_or_never_come_are_refused_by_name() {
    let field = Field::new();
    let mut next = honest();
    next.publish(bundle(1));
    for (site, manner, reason) in [
        ("endless-target-on-the-wire", Manner::Endless("desired.json"), "wrong_length"),
        ("slow-target", Manner::Drip("desired.json"), "too_slow"),
        ("endless-snapshot-on-the-wire", Manner::Endless("3.snapshot.json"), "too_large"),
        ("slow-snapshot", Manner::Drip("3.snapshot.json"), "too_slow"),
    ] {
        field.web.put(site, &next.files, manner);
        let agent = field.meet(site, &clock(NOW));
        let report = field.wait(site, |report| named(report) == Some(reason));
        assert!(runs(&report, bundle(0)), "{site}: {report:?}");
        field.recovers(site, &agent);
        agent.stop();
    }
}

#[test]
fn servers_that_cannot_be_told_are_named_on_the_device() {
    let field = Field::new();
    for (site, manner, words) in [
        ("hangs-up", Manner::HangUp("timestamp.json"), "no answer from"),
        ("redirects", Manner::Status(302), "answered 302"),
        ("broken", Manner::Status(500), "answered 500"),
    ] {
        field.web.put(site, &honest().files, manner);
        let agent = field.meet(site, &clock(NOW));
        let began = Instant::now();
        loop {
            let (_, status) = get(&format!("{}/v1/status", agent.url));
            if status["trouble"].as_str().is_some_and(|trouble| trouble.contains(words)) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{site}: {status}");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(served(&agent), bundle(0), "{site}");
        field.recovers(site, &agent);
        agent.stop();
    }
}

#[test]
fn a_server_that_says_nothing_is_new_for_ever_is_found_out() {
    let field = Field::new();
    field.web.put("frozen-by-tag", &honest().files, Manner::Frozen);
    let clock = clock(NOW);
    let agent = field.meet("frozen-by-tag", &clock);
    let report = field.wait("frozen-by-tag", |report| report.seq > 3);
    assert_eq!(report.repository, None);
    clock.store((NOW + 8 * DAY).0, Ordering::Relaxed);
    let report = field.wait("frozen-by-tag", |report| named(report) == Some("expired"));
    assert!(runs(&report, bundle(0)));
    let (_, status) = get(&format!("{}/v1/status", agent.url));
    assert!(status["trouble"].as_str().unwrap().starts_with("expired"), "{status}");
    assert_eq!((served(&agent), status["generation"].clone()), (bundle(0), json!(2)));
    agent.stop();
}

#[test]
fn bytes_of_a_bundle_that_are_not_those_released_never_serve() {
    let field = Field::new();
    let mut blobs = blobs();
    for bytes in blobs.values_mut() {
        bytes[0] ^= 1;
    }
    let mut next = honest();
    next.publish(bundle(1));
    let web = Web::start(blobs);
    web.put("changed-blobs", &next.files, Manner::Plain);
    let field = Field { web, folder: field.folder };
    let agent = field.meet("changed-blobs", &clock(NOW));
    let report = field.wait("changed-blobs", |report| {
        report.models[&model()].reasons.iter().any(|reason| reason.contains("damaged"))
    });
    assert!(runs(&report, bundle(0)) && report.models[&model()].refused.is_empty(), "{report:?}");
    assert!(bundles()[1].dir().join(path::MODEL).is_file());
    agent.stop();
}

#[test]
fn a_mirror_is_followed_without_trust_and_what_it_lacks_comes_from_the_control_plane() {
    let field = Field::new();
    let mirror = Web::start(BTreeMap::new());
    let mut repo = honest();
    repo.publish(bundle(1));
    // A site's files are below /v1/repository/ here; the mirror's address ends there.
    mirror.put("mirror", &repo.files, Manner::Portal);
    field.web.put("plane", &BTreeMap::new(), Manner::Status(500));
    let data = field.folder.path().join("mirrored");
    copy(&field.folder.path().join("seed"), &data);
    let mut config = field.config("plane", &data, &clock(NOW));
    config.repository = Some(format!("{}/mirror/v1/repository", mirror.url));
    let agent = Agent::start(config);
    let report = field.wait("plane", |report| named(report) == Some("malformed"));
    assert!(runs(&report, bundle(0)), "{report:?}");
    mirror.put("mirror", &repo.files, Manner::Plain);
    field.wait("plane", |report| runs(report, bundle(1)));
    assert_eq!(served(&agent), bundle(1));
    mirror.put("mirror", &repo.files, Manner::Silent);
    field
        .wait("plane", |report| report.repository.as_ref().is_some_and(|trouble| trouble.name == "too_slow"));
    agent.stop();
}
