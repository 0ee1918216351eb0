//! `edgeward sim`: many devices in one process, over real sockets, with the documents that real ones send.
//!
//! Each device asks whether the repository has news, follows it, reports, and uploads profiles with
//! real bytes and labels. Times are spread as the agent spreads them, and connections are kept for as long. What one
//! machine needs for so many devices is measured: every latency, and the control plane's processor time.

mod device;
mod http;
mod repository;
mod tally;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edgeward_agent::identity::DeviceKey;
use edgeward_api::client::{ClientCertificate, Roots, Tls};
use edgeward_api::device::{EnrolAnswer, EnrolRequest};
use edgeward_api::operator::JoinTokenRequest;
use edgeward_api::{JoinPin, routes};
use edgeward_core::envelope::Base64;
use edgeward_core::{DeviceId, Digest};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;

use crate::args::SimArgs;
use crate::command::agent::roots;
use crate::command::remote::refused;
use crate::output::{Explain, Failure, Outcome, Output, note};

use device::{Device, Joined};
use http::{Address, Ask, Connection};
use repository::Parsed;
use tally::{Kind, Summary, Taken, Tally, Watched};
use windows::Windows;

/// Devices that join at the same time, each group on a connection of its own.
const JOINING: u64 = 16;
/// How long the join token is good.
const JOIN_TTL_MS: u64 = 3_600_000;
/// After the last look the fleet gives requests under way so much time.
const END_TIMEOUT: Duration = Duration::from_secs(90);

/// What all devices share.
pub(crate) struct Fleet {
    address: Address,
    /// Whom devices believe when they join, where the token does not say.
    roots: Roots,
    poll: Duration,
    upload: Duration,
    labels: u64,
    rate: u64,
    seed: u64,
    bad: BTreeSet<Digest>,
    poor: BTreeSet<Digest>,
    windows: Windows,
    tally: Tally,
    parsed: Parsed,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Told {
    devices: usize,
    joined_in_s: f64,
    measured_s: f64,
    connections_opened: u64,
    requests: BTreeMap<Kind, Summary>,
    server: Option<Taken>,
    sim: Option<Taken>,
}

pub(crate) fn run(args: &SimArgs, out: Output) -> Outcome {
    let fleet = Arc::new(fleet(args)?);
    let token = join_token(args)?;
    // One thread: the other cores are the control plane's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let told = runtime.explain("system", "starting the async runtime")?.block_on(live(args, fleet, token))?;
    out.document(&told, words)
}

fn fleet(args: &SimArgs) -> Result<Fleet, Failure> {
    let address = Address::parse(&args.remote.server).ok_or_else(|| {
        Failure::usage(format!("{} is no address for sim", args.remote.server))
            .hint("name a control plane, such as http://127.0.0.1:7700")
    })?;
    Ok(Fleet {
        address,
        roots: args.remote.ca.as_deref().map(roots).transpose()?.unwrap_or_default(),
        poll: args.poll,
        upload: args.upload,
        labels: args.labels,
        rate: args.rate,
        seed: args.seed,
        bad: args.bad_bundle.iter().copied().collect(),
        poor: args.poor_bundle.iter().copied().collect(),
        windows: Windows::new(args.remote.client()?, args.seed),
        tally: Tally::default(),
        parsed: Parsed::default(),
    })
}

fn join_token(args: &SimArgs) -> Result<String, Failure> {
    if let Some(token) = &args.join_token {
        return Ok(token.trim().to_owned());
    }
    let request = JoinTokenRequest { uses: args.devices, ttl_ms: JOIN_TTL_MS, device: None };
    let token = args.remote.client()?.make_join_token(&request);
    Ok(token.map_err(|error| refused("making a join token", &error))?.join_token)
}

async fn live(args: &SimArgs, fleet: Arc<Fleet>, token: String) -> Result<Told, Failure> {
    let began = Instant::now();
    let devices = join_all(args, &fleet, &token).await?;
    let joined_in_s = began.elapsed().as_secs_f64();
    note(&format!("{} devices joined in {joined_in_s:.1} s", devices.len()));
    fleet.tally.clear();
    let (server, sim) = (args.server_pid.map(Watched::start), Watched::start(std::process::id()));
    let (count, opened) = (devices.len(), Arc::new(AtomicU64::new(0)));
    let (began, until) = (Instant::now(), Instant::now() + args.duration);
    let mut lives = JoinSet::new();
    for device in devices {
        let opened = Arc::clone(&opened);
        lives.spawn(async move { opened.fetch_add(device.live(until).await, Ordering::Relaxed) });
    }
    tokio::time::sleep(args.duration).await;
    let measured = began.elapsed();
    let told = Told {
        devices: count,
        joined_in_s,
        measured_s: measured.as_secs_f64(),
        connections_opened: 0,
        requests: fleet.tally.summary(measured),
        server: server.flatten().and_then(|watched| watched.taken()),
        sim: sim.and_then(|watched| watched.taken()),
    };
    let ends = async { while lives.join_next().await.is_some() {} };
    // Devices that rest when the time is over wake once more, to find that it is.
    let _ = tokio::time::timeout(END_TIMEOUT.min(args.poll * 2), ends).await;
    Ok(Told { connections_opened: opened.load(Ordering::Relaxed), ..told })
}

async fn join_all(args: &SimArgs, fleet: &Arc<Fleet>, token: &str) -> Result<Vec<Device>, Failure> {
    let mut groups = JoinSet::new();
    for group in 0..JOINING {
        let numbers = (group..u64::from(args.devices)).step_by(JOINING as usize);
        groups.spawn(join_group(Arc::clone(fleet), numbers.collect(), args.name.clone(), token.to_owned()));
    }
    let mut devices = Vec::with_capacity(args.devices as usize);
    while let Some(joined) = groups.join_next().await {
        devices.extend(joined.explain("sim", "joining")??);
    }
    Ok(devices)
}

async fn join_group(
    fleet: Arc<Fleet>,
    numbers: Vec<u64>,
    name: String,
    token: String,
) -> Result<Vec<Device>, Failure> {
    let mut connection = Connection::new(fleet.first_contact(&token)?);
    let mut devices = Vec::with_capacity(numbers.len());
    for number in numbers {
        let name = DeviceId::new(format!("{name}-{number:06}")).explain("usage", "naming the devices")?;
        let joined = join(&fleet, &mut connection, EnrolRequest::new(token.clone(), name)).await?;
        devices.push(Device::new(Arc::clone(&fleet), number, joined));
    }
    Ok(devices)
}

async fn join(
    fleet: &Fleet,
    connection: &mut Connection,
    mut request: EnrolRequest,
) -> Result<Joined, Failure> {
    let doing = "making a device's key";
    let key = fleet.address.is_tls().then(DeviceKey::generate).transpose().explain("sim", doing)?;
    if let Some(key) = &key {
        request.public_key = Some(Base64(key.public().explain("sim", doing)?));
    }
    let body = serde_json::to_vec(&request).explain("sim", "writing a request")?;
    let ask = Ask { path: routes::ENROL, credential: None, etag: None, body: Some(&body) };
    let answer = connection.ask(&fleet.address, ask).await;
    let answer = answer.explain("unreachable", format_args!("joining at {}", fleet.address.host))?;
    fleet.tally.answered(Kind::Join, answer.status, answer.took);
    if answer.status != 200 {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(Failure::new("refused", format!("joining was answered with {}: {text}", answer.status)));
    }
    let joined: EnrolAnswer = serde_json::from_slice(&answer.body).explain("malformed", "joining")?;
    let tls = joined.certificate.zip(key).map(|(given, key)| {
        let known: Vec<Vec<u8>> = given.authorities.into_iter().map(|der| der.0).collect();
        Tls {
            roots: if known.is_empty() { fleet.roots.clone() } else { Roots::Certificates(known) },
            floor: Some(given.issued_at_ms),
            certificate: Some(ClientCertificate {
                certificate: given.certificate.0,
                key: key.pkcs8().to_vec(),
            }),
        }
    });
    let tls = tls.as_ref().map(config).transpose()?;
    Ok(Joined { id: joined.device, credential: joined.credential, tls })
}

impl Fleet {
    /// Whom devices believe before they have joined; none without TLS.
    fn first_contact(&self, token: &str) -> Result<Option<Arc<ClientConfig>>, Failure> {
        if !self.address.is_tls() {
            return Ok(None);
        }
        let pin = JoinPin::of(token);
        let roots = pin.map_or_else(|| self.roots.clone(), |pin| Roots::Pinned(pin.authority));
        config(&Tls { roots, floor: pin.map(|pin| pin.made_at), certificate: None }).map(Some)
    }
}

/// A device comes back to one server, and remembers one session, as an agent does.
fn config(tls: &Tls) -> Result<Arc<ClientConfig>, Failure> {
    let mut config =
        tls.config().map_err(|reason| Failure::new("tls", format!("preparing TLS: {reason}")))?;
    config.resumption = Resumption::in_memory_sessions(1);
    Ok(Arc::new(config))
}

fn words(told: &Told) -> String {
    let mut lines = vec![format!(
        "{} devices, {:.0} s measured, {} connections opened",
        told.devices, told.measured_s, told.connections_opened
    )];
    for (kind, summary) in &told.requests {
        lines.push(format!(
            "{:<8} {:>8} ({:.0}/s)  p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms  busy {}  refused {:?}  failed {:?}",
            format!("{kind:?}").to_lowercase(),
            summary.answered,
            summary.per_second,
            summary.p50_ms,
            summary.p99_ms,
            summary.max_ms,
            summary.busy,
            summary.refused,
            summary.failed
        ));
    }
    for (name, taken) in [("server", told.server), ("sim", told.sim)] {
        if let Some(Taken { cores, rss_mib }) = taken {
            lines.push(format!("{name:<8} {cores:.3} cores, {rss_mib:.0} MiB"));
        }
    }
    lines.join("\n")
}
