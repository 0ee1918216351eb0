"""Reads what was sent with the receivers' own libraries."""

import json
import pathlib
import sys

from cloudevents.http import from_http
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families
from standardwebhooks import Webhook

folder, secret = pathlib.Path(sys.argv[1]), sys.argv[2]


def body(name):
    return (folder / f"{name}.body").read_bytes()


def headers(name):
    return dict(json.loads((folder / f"{name}.headers").read_text()))


def families(name):
    return {family.name: family for family in text_string_to_metric_families((folder / name).read_text())}


server, agent = families("server.prom"), families("agent.prom")
runs = {sample.labels["outcome"]: sample.value for sample in server["edgeward_runs"].samples}
assert runs == {"passed": 1.0, "refused": 1.0}, runs
asked = [sample for sample in server["http_request_duration_seconds"].samples if sample.name.endswith("_count")]
assert any(sample.labels["route"] == "/v1/runs" and sample.value >= 2 for sample in asked), asked
assert agent["edgeward_requests"].samples[0].value == 1.0
assert agent["edgeward_requests"].type == "counter"
histogram = agent["edgeward_request_duration_seconds"].samples
assert [sample.value for sample in histogram if sample.labels.get("le") == "+Inf"] == [1.0]
for found in (server, agent):
    assert found["process_resident_memory_bytes"].samples[0].value > 1e6

for name in ("server-metrics", "agent-metrics"):
    message = json_format.Parse(body(name), ExportMetricsServiceRequest())
    (resource,) = message.resource_metrics
    attributes = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert attributes["service.name"] == "edgeward-" + name.split("-")[0], attributes
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    assert metrics["process_cpu_seconds_total"].sum.is_monotonic
    assert metrics["process_resident_memory_bytes"].unit == "By"
    for metric in metrics.values():
        for point in metric.histogram.data_points:
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
            assert sum(point.bucket_counts) == point.count
            assert point.start_time_unix_nano <= point.time_unix_nano

log = json_format.Parse(body("server-log"), ExportLogsServiceRequest())
records = [record for found in log.resource_logs[0].scope_logs for record in found.log_records]
assert any(record.body.string_value == "control plane listens" and record.severity_number == 9 for record in records)

def spans(name):
    message = json_format.Parse(body(name), ExportTraceServiceRequest())
    (resource,) = message.resource_spans
    return {span.name: span for span in resource.scope_spans[0].spans}


def said(span):
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
# Identifiers are hex in OTLP's JSON, where other JSON of protobuf has base64: so they are compared as they were parsed.
parsed = json_format.Parse(json.dumps({"traceId": TRACE, "spanId": CALLER}), Span())
on_agent = spans("agent-spans")
asked, inferred = on_agent["POST /v2/models/{model}/infer"], on_agent["infer pumps"]
assert asked.trace_id == inferred.trace_id == parsed.trace_id
assert asked.parent_span_id == parsed.span_id and inferred.parent_span_id == asked.span_id
assert asked.kind == Span.SPAN_KIND_SERVER and inferred.kind == Span.SPAN_KIND_INTERNAL
assert asked.start_time_unix_nano <= inferred.start_time_unix_nano <= inferred.end_time_unix_nano <= asked.end_time_unix_nano
assert said(asked)["http.response.status_code"] == 200, said(asked)
assert said(inferred)["edgeward.model"] == "pumps" and said(inferred)["edgeward.rows"] == 1, said(inferred)
(on_server,) = spans("server-spans").values()
assert on_server.name == "GET /v1/models" and on_server.parent_span_id == parsed.span_id, on_server

event = from_http(headers("event"), body("event"))
assert event["specversion"] == "1.0" and event["type"] == "io.edgeward.model_registered"
assert event.data["model"] == "pumps", event.data

for name in ("event", "alert"):
    Webhook(secret).verify(body(name), headers(name))

alert = json.loads(body("alert"))
assert alert["version"] == "4" and alert["status"] == "firing"
assert alert["alerts"][0]["labels"]["alertname"] == "EdgewardRunRefused"
assert set(alert) >= {"groupKey", "receiver", "groupLabels", "commonLabels", "commonAnnotations", "externalURL", "alerts"}
print("all of it")
