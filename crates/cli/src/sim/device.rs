//! One simulated device: it looks at the repository, follows it, reports, and uploads what it counted.
//!
//! What decides what it should run is the real document and the real computation. Simulated are the model, the requests
//! and the labels. A device trusts its control plane: signatures are the agent's business and have tests of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use edgeward_api::device::{ModelReport, PROFILE_SCHEMA, ProfileUpload, REPORT_SCHEMA, Report, Service};
use edgeward_api::routes;
use edgeward_core::envelope::Base64;
use edgeward_core::slot::Refused;
use edgeward_core::{Desired, DeviceId, Digest, ModelName, Timestamp};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;
use tokio_rustls::rustls::ClientConfig;
use uuid::Uuid;

use super::Fleet;
use super::http::{Answer, Ask, Connection, IDLE_MAX};
use super::repository::{ROLES, Said, TIMESTAMP, document};
use super::tally::Kind;

/// Wrong answers in 100 of a bundle that is as it should be, and of one that is poor.
const WRONG_PERCENT: (u64, u64) = (5, 50);
/// Where latencies are counted: up to 1 ms.
const LATENCY_BUCKET: usize = 3;
/// Longest wait between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What a device was given when it joined.
pub(super) struct Joined {
    pub(super) id: DeviceId,
    /// Without TLS.
    pub(super) credential: Option<String>,
    /// What it believes and shows under TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// A device that has joined.
pub(super) struct Device {
    pub(super) id: DeviceId,
    credential: Option<String>,
    fleet: Arc<Fleet>,
    connection: Connection,
    random: ChaCha8Rng,
    session: Uuid,
    started_at_ms: Timestamp,
    seq: u64,
    profile_seq: u64,
    /// Tag of the timestamp that was followed.
    etag: Option<String>,
    /// Version of each role that was read.
    versions: BTreeMap<String, u64>,
    generation: Option<u64>,
    models: BTreeMap<ModelName, Running>,
    window_from: Timestamp,
    misses: u32,
}

#[derive(Default)]
struct Running {
    active: Option<Digest>,
    since_ms: Option<Timestamp>,
    refused: Vec<Refused>,
    requests: u64,
    swaps: u64,
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Device {
    pub(super) fn new(fleet: Arc<Fleet>, number: u64, joined: Joined) -> Self {
        let Joined { id, credential, tls } = joined;
        let mut random = ChaCha8Rng::seed_from_u64(fleet.seed.wrapping_add(number));
        let session = Uuid::from_u128(u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()));
        Self {
            id,
            credential,
            fleet,
            connection: Connection::new(tls),
            random,
            session,
            started_at_ms: now(),
            seq: 0,
            profile_seq: 0,
            etag: None,
            versions: BTreeMap::new(),
            generation: None,
            models: BTreeMap::new(),
            window_from: now(),
            misses: 0,
        }
    }

    fn fraction(&mut self) -> f64 {
        f64::from(self.random.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }

    /// Lives until the fleet's time is over: the first look and the first upload come at any time of their interval.
    pub(super) async fn live(mut self, until: Instant) -> u64 {
        let first = self.fleet.poll.mul_f64(self.fraction());
        let mut upload_due = Instant::now() + self.fleet.upload.mul_f64(self.fraction());
        self.rest(first).await;
        while Instant::now() < until {
            let wait = self.visit(Instant::now() >= upload_due).await;
            if Instant::now() >= upload_due && self.misses == 0 {
                upload_due = Instant::now() + self.fleet.upload.mul_f64(0.8 + 0.4 * self.fraction());
            }
            self.rest(wait).await;
        }
        self.connection.opened
    }

    /// Waits; the connection is closed when it was idle for too long.
    async fn rest(&mut self, wait: Duration) {
        if wait > IDLE_MAX {
            sleep(IDLE_MAX).await;
            self.connection.close_if_idle();
            sleep(wait.saturating_sub(IDLE_MAX)).await;
        } else {
            sleep(wait).await;
        }
    }

    /// Looks, follows, reports, and uploads if that is due; how long to wait after that.
    async fn visit(&mut self, upload: bool) -> Duration {
        let outcome = async {
            self.look().await?;
            self.report().await?;
            if upload { self.upload().await } else { Ok(()) }
        };
        match outcome.await {
            Ok(()) => {
                self.misses = 0;
                self.fleet.poll.mul_f64(0.8 + 0.4 * self.fraction())
            }
            Err(retry_after) => {
                self.misses += 1;
                let factor = 1_u32.checked_shl(self.misses - 1).unwrap_or(u32::MAX);
                let backoff =
                    Duration::from_secs(1).saturating_mul(factor).min(BACKOFF_MAX.max(self.fleet.poll));
                let asked = retry_after.map_or(Duration::ZERO, |asked| asked.mul_f64(1.0 + self.fraction()));
                backoff.mul_f64(0.8 + 0.4 * self.fraction()).max(asked)
            }
        }
    }

    /// Asks; an answer that is no success says when to try again, if it does.
    async fn ask(&mut self, kind: Kind, path: &str, body: Option<&[u8]>) -> Result<Answer, Option<Duration>> {
        let etag = self.etag.as_deref().filter(|_| kind == Kind::Poll);
        let ask = Ask { path, credential: self.credential.as_deref(), etag, body };
        match self.connection.ask(&self.fleet.address, ask).await {
            Ok(answer) => {
                self.fleet.tally.answered(kind, answer.status, answer.took);
                match answer.status {
                    200..300 | 304 => Ok(answer),
                    // There is no newer root, or nothing is published yet.
                    404 if matches!(kind, Kind::Poll | Kind::File) => Ok(answer),
                    _ => Err(answer.retry_after),
                }
            }
            Err(error) => {
                self.fleet.tally.failed(kind, &error);
                Err(None)
            }
        }
    }

    async fn look(&mut self) -> Result<(), Option<Duration>> {
        let path = document(TIMESTAMP);
        let answer = self.ask(Kind::Poll, &path, None).await?;
        let (200, Some(etag)) = (answer.status, answer.etag) else { return Ok(()) };
        let Some(Said::Versions(news)) = Said::read(&path, &answer.body) else { return Ok(()) };
        self.ask(Kind::File, &document("2.root.json"), None).await?;
        let Some(snapshot) = news.get("snapshot") else { return Ok(()) };
        let snapshot = self.file(&document(&format!("{snapshot}.snapshot.json"))).await?;
        let Some(Said::Versions(listed)) = snapshot.as_deref() else { return Ok(()) };
        for role in ROLES {
            let Some(version) = listed.get(role).filter(|version| self.versions.get(role) != Some(*version))
            else {
                continue;
            };
            let said = self.file(&document(&format!("{version}.{role}.json"))).await?;
            if let Some(Said::Target(path)) = said.as_deref()
                && let Some(Said::Desired(desired)) = self.file(path).await?.as_deref()
            {
                self.follow(desired);
            }
            self.versions.insert(role.to_owned(), *version);
        }
        self.etag = Some(etag);
        Ok(())
    }

    /// What a file says that never changes.
    async fn file(&mut self, path: &str) -> Result<Option<Arc<Said>>, Option<Duration>> {
        let answer = self.ask(Kind::File, path, None).await?;
        Ok(self.fleet.parsed.of(path, &answer.body).filter(|_| answer.status == 200))
    }

    fn follow(&mut self, desired: &Desired) {
        self.generation = Some(desired.generation);
        for (model, assignment) in &desired.models {
            let wanted = assignment.bundle_for(&self.id);
            self.models.entry(model.clone()).or_default().follow(wanted, &self.fleet);
        }
    }

    async fn report(&mut self) -> Result<(), Option<Duration>> {
        self.seq += 1;
        let requests = self.fleet.rate * self.fleet.poll.as_secs();
        self.models.values_mut().for_each(|model| model.requests += requests);
        let report = Report {
            schema: REPORT_SCHEMA.to_owned(),
            session: self.session,
            seq: self.seq,
            session_started_at_ms: self.started_at_ms,
            at_ms: now(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoint: "http://127.0.0.1:8600".to_owned(),
            pid: std::process::id(),
            generation: self.generation,
            clock_unsure: false,
            repository: None,
            facts: BTreeMap::from([
                ("hardware".to_owned(), "simulated".to_owned()),
                ("os".to_owned(), std::env::consts::OS.to_owned()),
            ]),
            models: self.models.iter().map(|(name, model)| (name.clone(), model.report())).collect(),
            ledger: None,
        };
        let body = serde_json::to_vec(&report).unwrap_or_default();
        self.ask(Kind::Report, routes::REPORT, Some(&body)).await.map(|_| ())
    }

    async fn upload(&mut self) -> Result<(), Option<Duration>> {
        let (from_ms, to_ms) = (self.window_from, now());
        self.window_from = to_ms;
        let running: Vec<(ModelName, Digest)> =
            self.models.iter().filter_map(|(name, model)| Some((name.clone(), model.active?))).collect();
        for (model, bundle) in running {
            let profiles = self.fleet.windows.of(bundle);
            let place = self.random.next_u64() as usize % profiles.len().max(1);
            let Some(profile) = profiles.get(place) else { continue };
            self.profile_seq += 1;
            let (labelled, correct) = self.labels(bundle);
            let mut service = Service::default();
            service.latency[LATENCY_BUCKET] = self.fleet.rate * self.fleet.upload.as_secs();
            let upload = ProfileUpload {
                schema: PROFILE_SCHEMA.to_owned(),
                session: self.session,
                seq: self.profile_seq,
                model,
                bundle,
                from_ms,
                to_ms,
                profile: Base64(profile.clone()),
                labelled,
                correct,
                performance: None,
                service: Some(service),
            };
            let body = serde_json::to_vec(&upload).unwrap_or_default();
            self.ask(Kind::Profile, routes::PROFILES, Some(&body)).await?;
        }
        Ok(())
    }

    fn labels(&mut self, bundle: Digest) -> (u64, u64) {
        let poor = self.fleet.poor.contains(&bundle);
        let percent = if poor { WRONG_PERCENT.1 } else { WRONG_PERCENT.0 };
        let labelled = self.fleet.labels;
        let correct = (0..labelled).filter(|_| self.random.next_u64() % 100 >= percent).count();
        (labelled, correct as u64)
    }
}

impl Running {
    /// Runs what it should, unless it refuses that.
    fn follow(&mut self, wanted: Option<Digest>, fleet: &Fleet) {
        let Some(bundle) = wanted.filter(|wanted| self.active != Some(*wanted)) else { return };
        if self.refused.iter().any(|refused| refused.bundle == bundle) {
            return;
        }
        if fleet.bad.contains(&bundle) {
            self.refused.push(Refused { bundle, reason: "golden test: answers differ".to_owned() });
            return;
        }
        self.swaps += u64::from(self.active.is_some());
        (self.active, self.since_ms) = (Some(bundle), Some(now()));
    }

    fn report(&self) -> ModelReport {
        ModelReport {
            active: self.active,
            active_since_ms: self.since_ms,
            phase: "idle".to_owned(),
            refused: self.refused.clone(),
            requests: self.requests,
            requests_failed: 0,
            swaps: self.swaps,
            received_bytes: 0,
            accuracy: Some(0.95),
            accuracy_labels: 200,
            evidence: BTreeMap::from([("prediction".to_owned(), 0.5), ("confidence".to_owned(), 0.25)]),
            log10_threshold: Some(9.5),
            reasons: vec!["serving".to_owned()],
            shadows: None,
        }
    }
}
