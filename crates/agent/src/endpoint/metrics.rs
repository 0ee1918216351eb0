//! `GET /metrics` (Prometheus text format 0.0.4) and `GET /v1/status`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use edgeward_api::device::LATENCY_BOUNDS_US;
use edgeward_monitor::{Estimate, PerformanceReport};
use edgeward_sdk::Recorder;
use serde_json::{Value, json};

use super::Endpoint;
use crate::registry::Served;
use crate::spool::Lane;

pub(super) async fn status(State(endpoint): State<Arc<Endpoint>>) -> Json<Value> {
    let link = endpoint.about.link();
    let gap = |served: &Arc<Served>| (served.name.to_string(), json!(served.counters.swap_gap_ms_max()));
    let gaps: serde_json::Map<String, Value> = endpoint.registry.all().iter().map(gap).collect();
    let received = |served: &Arc<Served>| {
        (served.name.to_string(), json!(served.counters.received_bytes.load(Ordering::Relaxed)))
    };
    let received: serde_json::Map<String, Value> = endpoint.registry.all().iter().map(received).collect();
    let choice = |served: &Arc<Served>| {
        let rows = served.handle.current().map(|loaded| loaded.choice().to_vec()).unwrap_or_default();
        (served.name.to_string(), json!(rows))
    };
    let choices: serde_json::Map<String, Value> = endpoint.registry.all().iter().map(choice).collect();
    let spool = endpoint.records.spool();
    let lane = |lane: Lane| json!({ "waiting": spool.waiting(lane), "dropped": spool.dropped(lane) });
    Json(json!({
        "device": endpoint.about.device,
        "version": env!("CARGO_PKG_VERSION"),
        "server": endpoint.about.server,
        "generation": link.generation,
        "trouble": link.trouble,
        "ledger": { "size": link.ledger_size, "fault": link.ledger_fault },
        "models": endpoint.registry.reports(),
        "variants": choices,
        "swap_gap_ms_max": gaps,
        "received_bytes": received,
        "spool": {
            "alerts": lane(Lane::Alerts),
            "samples": lane(Lane::Samples),
            "profiles": lane(Lane::Profiles),
            "records": lane(Lane::Records),
        },
        "journal_predictions": endpoint.records.journalled(),
    }))
}

pub(super) async fn prometheus(State(endpoint): State<Arc<Endpoint>>) -> impl IntoResponse {
    let mut text = String::new();
    let models = endpoint.registry.all();
    counter(&mut text, "edgeward_requests_total", "Requests answered.", &models, |model| {
        model.counters.requests.load(Ordering::Relaxed)
    });
    let failed = "Requests that failed through no fault of the caller.";
    counter(&mut text, "edgeward_requests_failed_total", failed, &models, |model| {
        model.counters.requests_failed.load(Ordering::Relaxed)
    });
    counter(&mut text, "edgeward_swaps_total", "Times a newer model took over.", &models, |model| {
        model.counters.swaps.load(Ordering::Relaxed)
    });
    let received = "Bytes that came from the control plane for a model's bundles.";
    counter(&mut text, "edgeward_received_bytes_total", received, &models, |model| {
        model.counters.received_bytes.load(Ordering::Relaxed)
    });
    durations(&mut text, &models);
    evidence(&mut text, &models);
    performance(&mut text, &models);
    info(&mut text, &models);
    spool(&mut text, &endpoint);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    push(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = text.write_fmt(line);
}

fn counter(
    text: &mut String,
    name: &str,
    help: &str,
    models: &[Arc<Served>],
    value: impl Fn(&Served) -> u64,
) {
    head(text, name, "counter", help);
    for model in models {
        push(text, format_args!("{name}{{model=\"{}\"}} {}\n", model.name, value(model)));
    }
}

fn durations(text: &mut String, models: &[Arc<Served>]) {
    let name = "edgeward_request_duration_seconds";
    head(text, name, "histogram", "Time from the parsed request to its answer.");
    for model in models {
        let label = &model.name;
        let mut total = 0;
        let bounds = LATENCY_BOUNDS_US.iter().map(|us| (*us as f64 / 1e6).to_string());
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(model.counters.latency_buckets()) {
            total += count;
            push(text, format_args!("{name}_bucket{{model=\"{label}\",le=\"{bound}\"}} {total}\n"));
        }
        let sum = model.counters.latency_us_sum.load(Ordering::Relaxed) as f64 / 1e6;
        push(text, format_args!("{name}_sum{{model=\"{label}\"}} {sum}\n"));
        push(text, format_args!("{name}_count{{model=\"{label}\"}} {total}\n"));
    }
}

fn evidence(text: &mut String, models: &[Arc<Served>]) {
    let name = "edgeward_drift_evidence_log10";
    head(text, name, "gauge", "Each stream's evidence of change.");
    for model in models {
        let current = model.handle.current();
        let streams =
            current.as_ref().and_then(|loaded| loaded.recorder()).map(|recorder| recorder.evidence());
        for stream in streams.unwrap_or_default() {
            let (label, value) = (escape(&stream.stream), stream.log10_evidence);
            push(
                text,
                format_args!("{name}{{model=\"{}\",stream=\"{label}\"}} {}\n", model.name, number(value)),
            );
        }
    }
}

/// Metrics over all labels of the bundle that serves, with their confidence sequences, in all and by segment.
fn performance(text: &mut String, models: &[Arc<Served>]) {
    let name = "edgeward_performance";
    head(
        text,
        name,
        "gauge",
        "A metric from labels; bound is value, low or high (95%, at all times at once).",
    );
    for_each_recorder(models, |model, recorder| {
        let label = format!("model=\"{model}\"");
        report(text, name, &label, &recorder.performance());
    });
    let name = "edgeward_segment_performance";
    head(text, name, "gauge", "The same of one segment.");
    for_each_recorder(models, |model, recorder| {
        for (segment, found) in recorder.performance_by_segment() {
            let (segment, value) = (escape(&segment.name), escape(&segment.value));
            let label = format!("model=\"{model}\",segment=\"{segment}\",of=\"{value}\"");
            report(text, name, &label, &found);
        }
    });
    let name = "edgeward_accuracy_estimated";
    head(
        text,
        name,
        "gauge",
        "The accuracy that the model's confidence lets expect; assumes no concept drift.",
    );
    for_each_recorder(models, |model, recorder| {
        if let Some(estimate) = recorder.estimated_accuracy() {
            bounds(text, name, &format!("model=\"{model}\""), &estimate);
        }
    });
}

fn for_each_recorder(models: &[Arc<Served>], mut each: impl FnMut(&str, &Recorder)) {
    for model in models {
        if let Some(recorder) = model.handle.current().as_ref().and_then(|loaded| loaded.recorder()) {
            each(model.name.as_str(), recorder);
        }
    }
}

fn report(text: &mut String, name: &str, labels: &str, report: &PerformanceReport) {
    for (metric, estimate) in &report.metrics {
        bounds(text, name, &format!("{labels},metric=\"{metric}\""), estimate);
    }
    for (class, estimate) in &report.f1 {
        bounds(text, name, &format!("{labels},metric=\"f1\",class=\"{}\"", escape(class)), estimate);
    }
}

fn bounds(text: &mut String, name: &str, labels: &str, estimate: &Estimate) {
    for (bound, value) in [("value", estimate.value), ("low", estimate.low), ("high", estimate.high)] {
        push(text, format_args!("{name}{{{labels},bound=\"{bound}\"}} {}\n", number(value)));
    }
}

fn info(text: &mut String, models: &[Arc<Served>]) {
    let name = "edgeward_model_info";
    head(text, name, "gauge", "The bundle that serves.");
    for model in models {
        if let Some(loaded) = model.handle.current() {
            let bundle = loaded.bundle().hex();
            push(text, format_args!("{name}{{model=\"{}\",bundle=\"{bundle}\"}} 1\n", model.name));
        }
    }
}

fn spool(text: &mut String, endpoint: &Endpoint) {
    let spool = endpoint.records.spool();
    head(text, "edgeward_spool_waiting", "gauge", "Records waiting for upload.");
    for lane in Lane::ALL {
        push(
            text,
            format_args!("edgeward_spool_waiting{{kind=\"{}\"}} {}\n", lane.as_str(), spool.waiting(lane)),
        );
    }
    head(text, "edgeward_spool_dropped_total", "counter", "Records dropped for want of room.");
    for lane in Lane::ALL {
        let (kind, dropped) = (lane.as_str(), spool.dropped(lane));
        push(text, format_args!("edgeward_spool_dropped_total{{kind=\"{kind}\"}} {dropped}\n"));
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    match value {
        value if value == f64::INFINITY => "+Inf".to_owned(),
        value if value == f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_numbers_are_written_as_prometheus_reads_them() {
        assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
        assert_eq!(number(f64::NEG_INFINITY), "-Inf");
        assert_eq!(number(1.5), "1.5");
    }
}
