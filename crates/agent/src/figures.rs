//! The device's figures, for whoever scrapes or collects them: what it serves, how well, and what waits for upload.
//!
//! `nv_inference_*` are Triton's names for what dashboards made for it show; everything else is `edgeward_*`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use edgeward_api::device::LATENCY_BOUNDS_US;
use edgeward_api::metrics::{Family, Histogram, process};
use edgeward_monitor::{Estimate, PerformanceReport};
use edgeward_sdk::Recorder;

use crate::records::Records;
use crate::registry::{Counters, Registry, Served};
use crate::spool::Lane;

type Labels = Vec<(&'static str, String)>;

/// Every family, as things stand.
pub(crate) fn families(registry: &Registry, records: &Records) -> Vec<Family> {
    let models = registry.all();
    let mut families = requests(&models);
    families.extend([durations(&models), evidence(&models)]);
    families.extend(performance(&models));
    families.push(info(&models));
    families.extend(spool(records));
    families.extend(triton(&models));
    families.push(build());
    families.extend(process());
    families
}

fn of(model: &Served) -> Labels {
    vec![("model", model.name.to_string())]
}

fn counted(
    name: &'static str,
    help: &'static str,
    models: &[Arc<Served>],
    value: impl Fn(&Counters) -> u64,
) -> Family {
    let mut family = Family::counter(name, help);
    models.iter().for_each(|model| family.push(of(model), value(&model.counters) as f64));
    family
}

fn requests(models: &[Arc<Served>]) -> Vec<Family> {
    vec![
        counted("edgeward_requests_total", "Requests answered.", models, |counters| {
            counters.requests.load(Ordering::Relaxed)
        }),
        counted(
            "edgeward_requests_failed_total",
            "Requests that failed through no fault of the caller.",
            models,
            |counters| counters.requests_failed.load(Ordering::Relaxed),
        ),
        counted("edgeward_swaps_total", "Times a newer model took over.", models, |counters| {
            counters.swaps.load(Ordering::Relaxed)
        }),
        counted(
            "edgeward_received_bytes_total",
            "Bytes that came from the control plane for a model's bundles.",
            models,
            |counters| counters.received_bytes.load(Ordering::Relaxed),
        ),
    ]
}

fn durations(models: &[Arc<Served>]) -> Family {
    let mut family =
        Family::histogram("edgeward_request_duration_seconds", "Time from the parsed request to its answer.");
    for model in models {
        let histogram = Histogram {
            bounds: LATENCY_BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect(),
            counts: model.counters.latency_buckets().collect(),
            sum: model.counters.latency_us_sum.load(Ordering::Relaxed) as f64 / 1e6,
        };
        family.push_histogram(of(model), histogram);
    }
    family
}

fn evidence(models: &[Arc<Served>]) -> Family {
    let mut family = Family::gauge("edgeward_drift_evidence_log10", "Each stream's evidence of change.");
    for_each_recorder(models, |model, recorder| {
        for stream in recorder.evidence() {
            let mut labels = of(model);
            labels.push(("stream", stream.stream.clone()));
            family.push(labels, stream.log10_evidence);
        }
    });
    family
}

/// Metrics over all labels of the bundle that serves, with their confidence sequences, in all and by segment.
fn performance(models: &[Arc<Served>]) -> [Family; 3] {
    let mut whole = Family::gauge(
        "edgeward_performance",
        "A metric from labels; bound is value, low or high (95%, at all times at once).",
    );
    let mut segments = Family::gauge("edgeward_segment_performance", "The same of one segment.");
    let mut estimated = Family::gauge(
        "edgeward_accuracy_estimated",
        "The accuracy that the model's confidence lets expect; assumes no concept drift.",
    );
    for_each_recorder(models, |model, recorder| {
        report(&mut whole, &of(model), &recorder.performance());
        for (segment, found) in recorder.performance_by_segment() {
            let mut labels = of(model);
            labels.extend([("segment", segment.name), ("of", segment.value)]);
            report(&mut segments, &labels, &found);
        }
        if let Some(estimate) = recorder.estimated_accuracy() {
            bounds(&mut estimated, &of(model), &estimate);
        }
    });
    [whole, segments, estimated]
}

fn for_each_recorder(models: &[Arc<Served>], mut each: impl FnMut(&Served, &Recorder)) {
    for model in models {
        if let Some(recorder) = model.handle.current().as_ref().and_then(|loaded| loaded.recorder()) {
            each(model, recorder);
        }
    }
}

fn report(family: &mut Family, labels: &Labels, report: &PerformanceReport) {
    let with = |more: &[(&'static str, &str)]| -> Labels {
        let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
        labels.iter().cloned().chain(more).collect()
    };
    for (metric, estimate) in &report.metrics {
        bounds(family, &with(&[("metric", metric)]), estimate);
    }
    for (class, estimate) in &report.f1 {
        bounds(family, &with(&[("metric", "f1"), ("class", class)]), estimate);
    }
}

fn bounds(family: &mut Family, labels: &Labels, estimate: &Estimate) {
    for (bound, value) in [("value", estimate.value), ("low", estimate.low), ("high", estimate.high)] {
        let mut labels = labels.clone();
        labels.push(("bound", bound.to_owned()));
        family.push(labels, value);
    }
}

fn info(models: &[Arc<Served>]) -> Family {
    let mut family = Family::gauge("edgeward_model_info", "The bundle that serves.");
    for model in models {
        if let Some(loaded) = model.handle.current() {
            let mut labels = of(model);
            labels.push(("bundle", loaded.bundle().hex()));
            family.push(labels, 1.0);
        }
    }
    family
}

fn spool(records: &Records) -> [Family; 2] {
    let spool = records.spool();
    let mut waiting = Family::gauge("edgeward_spool_waiting", "Records waiting for upload.");
    let mut dropped = Family::counter("edgeward_spool_dropped_total", "Records dropped for want of room.");
    for lane in Lane::ALL {
        let kind = || vec![("kind", lane.as_str().to_owned())];
        waiting.push(kind(), spool.waiting(lane) as f64);
        dropped.push(kind(), spool.dropped(lane) as f64);
    }
    [waiting, dropped]
}

fn triton(models: &[Arc<Served>]) -> [Family; 3] {
    let mut families = [
        Family::counter("nv_inference_request_success", "Requests answered."),
        Family::counter("nv_inference_request_failure", "Requests that failed."),
        Family::counter("nv_inference_request_duration_us", "Time of all requests, in microseconds."),
    ];
    for model in models {
        let Some(loaded) = model.handle.current() else { continue };
        let counters = &model.counters;
        let values = [&counters.requests, &counters.requests_failed, &counters.latency_us_sum];
        for (family, value) in families.iter_mut().zip(values) {
            let mut labels = of(model);
            labels.push(("version", loaded.bundle().short().to_string()));
            family.push(labels, value.load(Ordering::Relaxed) as f64);
        }
    }
    families
}

fn build() -> Family {
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    Family::gauge("edgeward_build_info", "The program that runs.").with(version, 1.0)
}
