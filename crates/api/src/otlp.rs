//! Metrics, logs and spans for an OpenTelemetry collector: OTLP over HTTP, in its JSON encoding.
//!
//! Source: OpenTelemetry protocol 1.x (`/v1/metrics`, `/v1/logs`, `/v1/traces`; cumulative temporality). Names stay those of
//! [`crate::metrics`]. What cannot be sent is dropped: counters only grow, so the next push makes up for it.
//! Deliberately missing: gRPC, and the binary encoding.

mod place;
#[cfg(feature = "connections")]
mod push;
mod span;
#[cfg(feature = "connections")]
mod tracer;

use serde::Serialize;
use serde_json::{Value as Json, json};

pub use place::Place;
#[cfg(feature = "connections")]
pub use push::{Collector, PUSH_EVERY, Pusher, now_ns};
pub use span::{HttpRequest, Span, spans_document};
#[cfg(feature = "connections")]
pub use tracer::{Traced, Tracer};

use crate::client::Poster;
use crate::metrics::{Family, Kind, Point, Value};
use crate::{ClientError, client::Tls};

const CUMULATIVE: u8 = 2;
const SCOPE: &str = "edgeward";
/// The address of a collector on this machine.
pub const LOCAL_COLLECTOR: &str = "http://127.0.0.1:4318";

/// Who sends, as OpenTelemetry names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `service.name`.
    pub service: &'static str,
    /// `service.instance.id`.
    pub instance: String,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Nanoseconds since 1970.
    pub at_ns: u64,
    /// 1 to 24, as OpenTelemetry counts: 9 is information, 13 a warning, 17 an error.
    pub severity: u8,
    /// The word for it.
    pub level: &'static str,
    /// Where in the program.
    pub target: String,
    /// What is said.
    pub message: String,
    /// What it is about.
    pub fields: Vec<(String, String)>,
}

/// Sends to one collector.
pub struct Exporter {
    metrics: Poster,
    logs: Poster,
    spans: Poster,
    resource: Resource,
    began_ns: u64,
}

impl Exporter {
    /// To the collector at `endpoint`, such as [`LOCAL_COLLECTOR`], with these headers; `began_ns` is when counting began.
    #[must_use]
    pub fn new(endpoint: &str, headers: &[(String, String)], resource: Resource, began_ns: u64) -> Self {
        let base = endpoint.trim_end_matches('/');
        let to = |path: &str| Poster::new(&format!("{base}{path}"), headers.to_vec(), Tls::default());
        let (metrics, logs, spans) = (to("/v1/metrics"), to("/v1/logs"), to("/v1/traces"));
        Self { metrics, logs, spans, resource, began_ns }
    }

    /// Sends metrics.
    ///
    /// # Errors
    /// The collector does not take them.
    pub fn metrics(&self, families: &[Family], now_ns: u64) -> Result<(), ClientError> {
        post(&self.metrics, &metrics_document(&self.resource, families, self.began_ns, now_ns))
    }

    /// Sends lines of a log.
    ///
    /// # Errors
    /// The collector does not take them.
    pub fn logs(&self, lines: &[LogLine]) -> Result<(), ClientError> {
        post(&self.logs, &logs_document(&self.resource, lines))
    }

    /// Sends spans.
    ///
    /// # Errors
    /// The collector does not take them.
    pub fn spans(&self, spans: &[Span]) -> Result<(), ClientError> {
        post(&self.spans, &spans_document(&self.resource, spans))
    }
}

fn post(poster: &Poster, document: &impl Serialize) -> Result<(), ClientError> {
    let body = serde_json::to_vec(document).unwrap_or_default();
    poster.post("application/json", &[], &body)
}

/// `ExportMetricsServiceRequest`.
#[must_use]
pub fn metrics_document(resource: &Resource, families: &[Family], began_ns: u64, now_ns: u64) -> Json {
    let metrics: Vec<Json> = families.iter().map(|family| metric(family, began_ns, now_ns)).collect();
    json!({ "resourceMetrics": [{
        "resource": resource_json(resource),
        "scopeMetrics": [{ "scope": scope(), "metrics": metrics }],
    }] })
}

/// `ExportLogsServiceRequest`.
#[must_use]
pub fn logs_document(resource: &Resource, lines: &[LogLine]) -> Json {
    let records: Vec<Json> = lines.iter().map(record).collect();
    json!({ "resourceLogs": [{
        "resource": resource_json(resource),
        "scopeLogs": [{ "scope": scope(), "logRecords": records }],
    }] })
}

fn scope() -> Json {
    json!({ "name": SCOPE, "version": env!("CARGO_PKG_VERSION") })
}

fn resource_json(resource: &Resource) -> Json {
    json!({ "attributes": [
        attribute("service.name", resource.service),
        attribute("service.instance.id", &resource.instance),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
    ] })
}

fn attribute(key: &str, value: &str) -> Json {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn record(line: &LogLine) -> Json {
    let mut attributes = vec![attribute("target", &line.target)];
    attributes.extend(line.fields.iter().map(|(key, value)| attribute(key, value)));
    // 64-bit integers are texts in the JSON encoding.
    json!({
        "timeUnixNano": line.at_ns.to_string(), "observedTimeUnixNano": line.at_ns.to_string(),
        "severityNumber": line.severity, "severityText": line.level,
        "body": { "stringValue": line.message }, "attributes": attributes,
    })
}

fn metric(family: &Family, began_ns: u64, now_ns: u64) -> Json {
    let points: Vec<Json> = family.points.iter().map(|point| data_point(point, began_ns, now_ns)).collect();
    let (name, description, unit) = (family.name, family.help, unit(family.name));
    match family.kind {
        Kind::Gauge => {
            json!({ "name": name, "description": description, "unit": unit, "gauge": { "dataPoints": points } })
        }
        Kind::Counter => json!({
            "name": name, "description": description, "unit": unit,
            "sum": { "dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true },
        }),
        Kind::Histogram => json!({
            "name": name, "description": description, "unit": unit,
            "histogram": { "dataPoints": points, "aggregationTemporality": CUMULATIVE },
        }),
    }
}

/// The unit that a name ends in, in UCUM.
fn unit(name: &str) -> &'static str {
    match name.trim_end_matches("_total") {
        name if name.ends_with("_seconds") => "s",
        name if name.ends_with("_bytes") => "By",
        _ => "1",
    }
}

fn data_point(point: &Point, began_ns: u64, now_ns: u64) -> Json {
    let attributes: Vec<Json> = point.labels.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut json = json!({
        "attributes": attributes,
        "startTimeUnixNano": began_ns.to_string(), "timeUnixNano": now_ns.to_string(),
    });
    match &point.value {
        Value::Number(value) => json["asDouble"] = double(*value),
        Value::Histogram(histogram) => {
            let count: u64 = histogram.counts.iter().sum();
            json["count"] = count.to_string().into();
            json["sum"] = double(histogram.sum);
            json["bucketCounts"] = histogram.counts.iter().map(u64::to_string).collect();
            json["explicitBounds"] = histogram.bounds.iter().copied().collect();
        }
    }
    json
}

/// What JSON has no number for is a text.
fn double(value: f64) -> Json {
    match value {
        value if value.is_finite() => value.into(),
        value if value.is_nan() => "NaN".into(),
        value if value > 0.0 => "Infinity".into(),
        _ => "-Infinity".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    fn resource() -> Resource {
        Resource { service: "edgeward-agent", instance: "robot-1".to_owned() }
    }

    #[test]
    fn metrics_have_the_shape_of_the_protocol() {
        let mut sizes = Family::histogram("wait_seconds", "Waits.");
        let histogram = Histogram { bounds: vec![0.5], counts: vec![1, 2], sum: 9.5 };
        sizes.push_histogram(vec![("model", "m".to_owned())], histogram);
        let families = [
            sizes,
            Family::counter("sent_bytes_total", "Sent.").with(Vec::new(), 7.0),
            Family::gauge("g", "G.").with(Vec::new(), f64::NAN),
        ];
        let document = metrics_document(&resource(), &families, 1, 2);
        let metric = |at: usize| &document["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][at];
        let point = &metric(0)["histogram"]["dataPoints"][0];
        assert_eq!((&point["count"], &point["bucketCounts"]), (&json!("3"), &json!(["1", "2"])));
        assert_eq!((&point["timeUnixNano"], &metric(0)["unit"]), (&json!("2"), &json!("s")));
        assert_eq!(metric(1)["sum"]["isMonotonic"], true);
        assert_eq!(metric(1)["unit"], "By");
        assert_eq!(metric(2)["gauge"]["dataPoints"][0]["asDouble"], "NaN");
    }

    #[test]
    fn lines_keep_their_severity_and_fields() {
        let line = LogLine {
            at_ns: 5,
            severity: 13,
            level: "WARN",
            target: "edgeward_agent".to_owned(),
            message: "late".to_owned(),
            fields: vec![("model".to_owned(), "m".to_owned())],
        };
        let document = logs_document(&resource(), &[line]);
        let record = &document["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!((&record["severityNumber"], &record["body"]["stringValue"]), (&json!(13), &json!("late")));
        assert_eq!(record["attributes"][1], json!({ "key": "model", "value": { "stringValue": "m" } }));
    }
}
