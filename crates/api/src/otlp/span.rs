//! A span: one step of a trace, and how long it took.
//!
//! Source: `opentelemetry.proto.trace.v1`, and OpenTelemetry's semantic conventions for HTTP and gRPC servers.

use serde_json::{Value as Json, json};

use super::place::Place;
use super::{Resource, attribute, resource_json, scope};

/// Statuses of gRPC that say that the server failed, by its conventions: unknown, deadline exceeded, unimplemented,
/// internal, unavailable and data loss.
const GRPC_SERVER_FAULTS: [i64; 6] = [2, 4, 12, 13, 14, 15];

const STATUS_ERROR: u8 = 2;

/// What a span is to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// A step within a process.
    Internal = 1,
    /// An answer to another process.
    Server = 2,
}

/// One step that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    place: Place,
    name: String,
    kind: Kind,
    began_ns: u64,
    ended_ns: u64,
    attributes: Vec<Json>,
    fault: Option<String>,
}

/// An HTTP request as its conventions tell of it.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The route that answered, with names for what varies; none if there was none.
    pub route: Option<&'a str>,
    /// The path that was asked for.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
}

impl Span {
    /// A step within a process that began and ended then, in nanoseconds since 1970.
    #[must_use]
    pub fn internal(place: Place, name: impl Into<String>, (began_ns, ended_ns): (u64, u64)) -> Self {
        let (name, attributes) = (name.into(), Vec::new());
        Self { place, name, kind: Kind::Internal, began_ns, ended_ns, attributes, fault: None }
    }

    /// The answer to an HTTP request.
    #[must_use]
    pub fn http(place: Place, request: HttpRequest<'_>, when: (u64, u64)) -> Self {
        let HttpRequest { method, route, path, status } = request;
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let mut span = Self { kind: Kind::Server, ..Self::internal(place, name, when) };
        span.attributes.extend(route.map(|route| attribute("http.route", route)));
        let span = span.with("http.request.method", method).with("url.path", path);
        let span = span.counted("http.response.status_code", status.into());
        if status >= 500 { span.failed(format!("HTTP {status}")) } else { span }
    }

    /// The answer to a gRPC call of `path`, such as `/package.Service/Method`.
    #[must_use]
    pub fn grpc(place: Place, path: &str, status: i64, when: (u64, u64)) -> Self {
        let name = path.trim_start_matches('/');
        let mut span = Self { kind: Kind::Server, ..Self::internal(place, name, when) };
        span.attributes.push(attribute("rpc.system", "grpc"));
        if let Some((service, method)) = name.split_once('/') {
            span = span.with("rpc.service", service).with("rpc.method", method);
        }
        let span = span.counted("rpc.grpc.status_code", status);
        if GRPC_SERVER_FAULTS.contains(&status) { span.failed(format!("gRPC {status}")) } else { span }
    }

    /// What else there is to say.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.attributes.push(attribute(key, value));
        self
    }

    /// A number there is to say.
    #[must_use]
    pub fn counted(mut self, key: &str, value: i64) -> Self {
        // 64-bit integers are texts in the JSON encoding.
        self.attributes.push(json!({ "key": key, "value": { "intValue": value.to_string() } }));
        self
    }

    /// It failed.
    #[must_use]
    pub fn failed(mut self, why: impl Into<String>) -> Self {
        self.fault = Some(why.into());
        self
    }

    fn json(&self) -> Json {
        let Self { place, name, kind, began_ns, ended_ns, attributes, fault } = self;
        let mut json = json!({
            "traceId": place.trace, "spanId": place.step, "name": name, "kind": *kind as u8,
            "startTimeUnixNano": began_ns.to_string(), "endTimeUnixNano": ended_ns.to_string(),
            "attributes": attributes,
        });
        if let Some(parent) = &place.parent {
            json["parentSpanId"] = parent.as_str().into();
        }
        if let Some(why) = fault {
            json["status"] = json!({ "code": STATUS_ERROR, "message": why });
        }
        json
    }
}

/// `ExportTraceServiceRequest`.
#[must_use]
pub fn spans_document(resource: &Resource, spans: &[Span]) -> Json {
    let spans: Vec<Json> = spans.iter().map(Span::json).collect();
    json!({ "resourceSpans": [{
        "resource": resource_json(resource),
        "scopeSpans": [{ "scope": scope(), "spans": spans }],
    }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(span: Span) -> Json {
        let resource = Resource { service: "edgeward-agent", instance: "robot-1".to_owned() };
        spans_document(&resource, &[span])["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone()
    }

    fn request(status: u16) -> Json {
        let request = HttpRequest {
            method: "POST",
            route: Some("/v2/models/{model}/infer"),
            path: "/v2/models/m/infer",
            status,
        };
        told(Span::http(Place::first(1.0), request, (1, 2)))
    }

    #[test]
    fn a_request_has_the_shape_of_the_protocol() {
        let span = request(200);
        assert_eq!((&span["name"], &span["kind"]), (&json!("POST /v2/models/{model}/infer"), &json!(2)));
        assert_eq!((&span["startTimeUnixNano"], &span["endTimeUnixNano"]), (&json!("1"), &json!("2")));
        assert!(span.get("parentSpanId").is_none() && span.get("status").is_none());
        let status = json!({ "key": "http.response.status_code", "value": { "intValue": "200" } });
        assert!(span["attributes"].as_array().unwrap().contains(&status));
    }

    #[test]
    fn only_what_the_server_is_to_blame_for_is_a_fault() {
        assert!(request(404).get("status").is_none());
        assert_eq!(request(503)["status"]["code"], 2);
        let call = |status| told(Span::grpc(Place::first(1.0), "/inference.S/ModelInfer", status, (1, 2)));
        assert!(call(3).get("status").is_none() && call(0).get("status").is_none());
        assert_eq!(
            (&call(13)["status"]["code"], &call(13)["name"]),
            (&json!(2), &json!("inference.S/ModelInfer"))
        );
    }

    #[test]
    fn a_step_within_hangs_below_its_caller() {
        let outer = Place::first(1.0);
        let span = told(Span::internal(outer.inner(), "infer", (1, 2)).with("edgeward.model", "m"));
        assert_eq!((&span["traceId"], &span["parentSpanId"]), (&json!(outer.trace), &json!(outer.step)));
        assert_eq!(span["attributes"][0]["value"]["stringValue"], "m");
    }
}
