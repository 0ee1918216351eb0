//! What monitoring systems get: metrics that Prometheus' own parser reads, OTLP that OpenTelemetry's own schema takes,
//! webhooks that the CloudEvents SDK and Standard Webhooks' library accept, and a dashboard file without dead panels.

#![cfg(all(feature = "control", feature = "agent"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
#[path = "harness/pumps.rs"]
mod pumps;
#[path = "harness/sink.rs"]
mod sink;
#[path = "harness/waiting.rs"]
mod waiting;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use harness::{Running, announced, edgeward, serve};
use pumps::{measured, project};
use serde_json::{Value, json};
use sink::{Post, Sink};
use waiting::wait;

const REQUIREMENTS: [&str; 4] = [
    "prometheus-client==0.23.1",
    "opentelemetry-proto==1.38.0",
    "cloudevents==1.12.0",
    "standardwebhooks==1.0.0",
];
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZI";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const DASHBOARD: &str = include_str!("../../../docs/observability/grafana.json");

fn get(address: &str, path: &str) -> String {
    ureq::get(format!("{address}{path}")).call().unwrap().body_mut().read_to_string().unwrap()
}

/// A run that a gate refuses, and one that passes.
fn runs(dir: &Path, address: &str) -> Value {
    let run = |more: &str| {
        fs::write(dir.join("edgeward.toml"), project(more)).unwrap();
        let made = edgeward(dir)
            .args(["run", "--server", address, "--release-key", "srv/keys/releases.json", "--json"])
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&made.stdout).unwrap_or_default()
    };
    run("[gate]\naccuracy_min = 1.0\nrows_min = 100000\n");
    run("")
}

fn served(dir: &Path, bundle: &str, collector: &str) -> (Running, String) {
    let mut served = edgeward(dir);
    served.args(["serve", bundle, "--name", "pumps", "--listen", "127.0.0.1:0", "--json"]);
    served.args([
        "--otlp",
        collector,
        "--otlp-every",
        "200ms",
        "--otlp-trace-ratio",
        "0",
        "--otlp-headers",
        "x-tenant=plant",
        "--log",
        "info",
    ]);
    let (served, said) = announced(served.stderr(Stdio::null()));
    (served, said["address"].as_str().unwrap().to_owned())
}

/// Asks the control plane and the device as steps of a trace.
fn asked_in_a_trace(address: &str, endpoint: &str) {
    let traced = |flags: &str| format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
    let row =
        json!({ "inputs": [{ "name": "input", "datatype": "FP32", "shape": [1, 2], "data": [60.0, 90.0] }] });
    let infer = ureq::post(format!("{endpoint}/v2/models/pumps/infer"));
    infer.header("traceparent", traced("01")).send_json(row).unwrap();
    // A caller that records nothing: neither does anyone it calls.
    ureq::get(format!("{address}/v1/runs")).header("traceparent", traced("00")).call().unwrap();
    ureq::get(format!("{address}/v1/models")).header("traceparent", traced("01")).call().unwrap();
}

fn text_of(post: &Post) -> String {
    String::from_utf8_lossy(&post.body).into_owned()
}

#[test]
fn every_receiver_reads_what_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/1.csv"), measured(400, 0)).unwrap();
    fs::write(dir.path().join("secret"), SECRET).unwrap();
    // Whoever takes events is away at first: nothing is lost by it.
    let (collector, alerts, events) = (Sink::start(0), Sink::start(0), Sink::start(2));
    let flags = [
        "--otlp",
        &collector.url,
        "--otlp-every=200ms",
        "--otlp-trace-ratio=0",
        "--log",
        "info",
        "--alert-webhook",
        &alerts.url,
        "--event-webhook",
        &events.url,
        "--webhook-secret-file",
        "secret",
    ];
    let (server, said) = serve(dir.path(), &flags);
    let address = said["address"].as_str().unwrap();
    let made = runs(dir.path(), address);
    let (_agent, endpoint) = served(dir.path(), made["bundle_path"].as_str().unwrap(), &collector.url);
    asked_in_a_trace(address, &endpoint);

    let alert =
        alerts.wait_for("alert about the refused run", |post| text_of(post).contains("EdgewardRunRefused"));
    let event = events.wait_for("event", |post| text_of(post).contains("io.edgeward.model_registered"));
    assert!(events.has_refused());
    let seen = ids(&events.taken());
    assert!(
        seen.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "no gap and no order but the ledger's: {seen:?}"
    );
    let of = |service: &str, path: &str, word: &str| {
        collector.wait_for(&format!("{path} of {service}"), |post| {
            let text = text_of(post);
            post.path == path && text.contains(service) && text.contains(word)
        })
    };
    let from_server = of("edgeward-server", "/v1/metrics", "edgeward_runs");
    let from_agent = of("edgeward-agent", "/v1/metrics", "edgeward_requests_total");
    assert!(from_agent.headers.contains(&("x-tenant".to_owned(), "plant".to_owned())));
    let log = of("edgeward-server", "/v1/logs", "control plane listens");
    let spans_of_server = of("edgeward-server", "/v1/traces", TRACE);
    let spans_of_agent = of("edgeward-agent", "/v1/traces", TRACE);
    // Counts of the database are kept for a few seconds.
    let on_server = wait("both runs in the figures", || {
        Some(get(address, "/metrics")).filter(|text| text.contains("outcome=\"passed\"} 1"))
    });
    let on_agent = get(&endpoint, "/metrics");
    no_panel_is_dead(&format!("{on_server}{on_agent}"));

    // A server that starts again goes on where it stopped.
    drop(server);
    let before = events.taken().len();
    let (_server, said) = serve(dir.path(), &flags);
    runs(dir.path(), said["address"].as_str().unwrap());
    events.wait_for("event after the restart", |post| {
        ids(std::slice::from_ref(post))[0] > *seen.last().unwrap()
    });
    let all = ids(&events.taken());
    assert!(all[before..].iter().all(|id| *id + 1 >= all[before - 1]), "{all:?}");

    let sent = [
        ("server-metrics", &from_server),
        ("agent-metrics", &from_agent),
        ("server-log", &log),
        ("server-spans", &spans_of_server),
        ("agent-spans", &spans_of_agent),
        ("alert", &alert),
        ("event", &event),
    ];
    official_libraries_agree(dir.path(), [&on_server, &on_agent], sent);
}

/// Reads everything with the receivers' own libraries.
fn official_libraries_agree(dir: &Path, [on_server, on_agent]: [&str; 2], sent: [(&str, &Post); 7]) {
    let Ok(python) = edgeward_testkit_python::environment("observability", &REQUIREMENTS) else { return };
    let keep = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    keep("server.prom", on_server.as_bytes());
    keep("agent.prom", on_agent.as_bytes());
    for (name, post) in sent {
        keep(&format!("{name}.body"), &post.body);
        keep(&format!("{name}.headers"), json!(post.headers).to_string().as_bytes());
    }
    let said = python.run(include_str!("observability.py"), &[dir.to_str().unwrap(), SECRET]);
    assert!(said.trim_end().ends_with("all of it"), "{said}");
}

/// The ledger's numbers of events, as they came.
fn ids(events: &[Post]) -> Vec<u64> {
    let id = |post: &Post| {
        let event: Value = serde_json::from_slice(&post.body).unwrap();
        event["id"].as_str().unwrap().trim_start_matches("entry-").parse().unwrap()
    };
    events.iter().map(id).collect()
}

/// Every metric that the dashboard file asks for is one that is told.
fn no_panel_is_dead(told: &str) {
    let told: BTreeSet<&str> =
        told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut asked = BTreeSet::new();
    for target in
        dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array()).flatten()
    {
        let expr = target["expr"].as_str().unwrap();
        let words = expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let is_metric = |word: &&str| {
            ["edgeward_", "http_", "process_", "nv_"].iter().any(|start| word.starts_with(start))
        };
        asked.extend(words.filter(is_metric).map(|word| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| word.strip_suffix(end))
                .unwrap_or(word)
                .to_owned()
        }));
    }
    assert!(asked.len() > 10, "{asked:?}");
    let dead: Vec<&String> = asked.iter().filter(|name| !told.contains(name.as_str())).collect();
    assert!(dead.is_empty(), "{dead:?} of {told:?}");
}
