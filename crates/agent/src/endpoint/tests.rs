//! The endpoint over real loopback HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeward_api::device::Sample;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{TestEndpoint, bundle, loaded, one_row};
use crate::spool::Lane;

const INFER: &str = "/v2/models/digits/infer";

fn error(answer: (u16, Value), status: u16, expected: &str) {
    let (found, body) = answer;
    let text = body["error"].as_str().unwrap_or_default();
    assert!(found == status && text.contains(expected), "{found} {body}");
}

fn predict(endpoint: &TestEndpoint) -> String {
    let (status, body) = endpoint.post(INFER, &one_row());
    assert_eq!(status, 200, "{body}");
    body["parameters"]["prediction_id"].as_str().unwrap().to_owned()
}

#[test]
fn an_answer_has_the_protocols_shape() {
    let endpoint = TestEndpoint::serving();
    let version = endpoint.served().handle.current().unwrap().bundle().hex();
    let body = json!({
        "id": "42",
        "inputs": [{ "name": "x", "shape": [2, 4], "datatype": "FP32", "data": [[1, 2, 3, 4], [0.5, 0, 0, 0]] }],
        "outputs": [{ "name": "probabilities" }],
    });
    let (status, answer) =
        endpoint.post(&format!("/v2/models/digits/versions/{version}/infer"), &body.to_string());
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["id"], &answer["model_name"]), (&json!("42"), &json!("digits")));
    assert_eq!(answer["model_version"], json!(version));
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    let output = &answer["outputs"][0];
    assert_eq!((&output["name"], &output["datatype"]), (&json!("probabilities"), &json!("FP32")));
    assert_eq!((&output["shape"], output["data"].as_array().unwrap().len()), (&json!([2, 3]), 6));
    let (_, single) = endpoint.post(INFER, &one_row());
    assert!(single["parameters"]["predicted"].is_string() && single["parameters"]["confidence"].is_number());
}

#[test]
fn metadata_and_health_have_the_protocols_shape() {
    let endpoint = TestEndpoint::new();
    assert_eq!(endpoint.get("/v2/health/live"), (200, json!({ "live": true })));
    assert_eq!(endpoint.get("/v2/health/ready"), (503, json!({ "ready": false })));
    assert_eq!(endpoint.get("/v2/models/digits/ready").0, 503);
    error(endpoint.post(INFER, &one_row()), 503, "no model to serve yet");
    let endpoint = TestEndpoint::serving();
    assert_eq!(endpoint.get("/v2/health/ready").0, 200);
    assert_eq!(endpoint.get("/v2/models/digits/ready"), (200, json!({ "name": "digits", "ready": true })));
    assert_eq!(endpoint.get("/v2").1["name"], json!("edgeward"));
    let (_, metadata) = endpoint.get("/v2/models/digits");
    assert_eq!(metadata["inputs"], json!([{ "name": "x", "datatype": "FP32", "shape": [-1, 4] }]));
    assert_eq!(metadata["platform"], json!("edgeward_rten"));
    error(endpoint.get("/v2/models/digits/versions/7"), 404, "is not serving");
    error(endpoint.get("/v2/models/letters"), 404, "it has: digits");
    error(endpoint.get("/nowhere"), 404, "there is no /nowhere");
    error(endpoint.get(INFER), 405, "does not take GET");
}

#[test]
fn bad_inputs_get_a_clear_error_and_count_as_nobodys_failure() {
    let endpoint = TestEndpoint::serving();
    let with = |input: Value| endpoint.post(INFER, &json!({ "inputs": [input] }).to_string());
    let input = |shape: Value, datatype: &str, data: Value| json!({ "name": "x", "shape": shape, "datatype": datatype, "data": data });
    error(endpoint.post(INFER, "{"), 400, "not an inference request");
    error(endpoint.post(INFER, "{\"inputs\": []}"), 400, "no inputs");
    error(endpoint.post(INFER, "{\"input\": []}"), 400, "unknown field `input`");
    error(endpoint.post(INFER, &"[".repeat(100_000)), 400, "not an inference request");
    error(with(input(json!([1, 3]), "FP32", json!([1, 2, 3]))), 400, "takes [batch, 4]");
    error(with(input(json!([1, 4]), "INT64", json!([1, 2, 3, 4]))), 400, "takes FP32");
    error(with(input(json!([1, 4]), "FP32", json!([1, 2]))), 400, "needs 4 values");
    error(with(input(json!([1, 4]), "FP32", json!([1, 2, 3, "x"]))), 400, "tensor 'x'");
    error(with(input(json!([u64::MAX, 4]), "FP32", json!([]))), 400, "not an inference request");
    let rows = ROWS_PER_REQUEST_MAX + 1;
    error(with(input(json!([rows, 4]), "FP32", json!(vec![0; rows * 4]))), 400, "send several requests");
    error(endpoint.post(INFER, &" ".repeat(BODY_BYTES_MAX + 1)), 413, "send fewer rows");
    let other = json!({ "inputs": [input(json!([1, 4]), "FP32", json!([1, 2, 3, 4]))], "outputs": [{ "name": "z" }] });
    error(endpoint.post(INFER, &other.to_string()), 400, "no output 'z'; it has label, probabilities");
    let counters = &endpoint.served().counters;
    assert_eq!(
        (counters.requests_failed.load(Ordering::Relaxed), counters.requests.load(Ordering::Relaxed)),
        (0, 0)
    );
}

/// Posts a body whose JSON is said to be so long.
fn post_binary(endpoint: &TestEndpoint, json_len: &str, body: &[u8]) -> (u16, Vec<u8>, Option<usize>) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request =
        agent.post(format!("{}{INFER}", endpoint.url)).header("inference-header-content-length", json_len);
    let mut answer = request.send(body).unwrap();
    let len = answer.headers().get("inference-header-content-length");
    let len = len.map(|len| len.to_str().unwrap().parse().unwrap());
    (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap(), len)
}

#[test]
fn tensors_may_follow_the_json_both_ways() {
    let endpoint = TestEndpoint::serving();
    let values = [1.0_f32, 2.0, 3.0, 4.0, 0.5, 0.0, 0.0, 0.0];
    let json = json!({
        "parameters": { "binary_data_output": true },
        "inputs": [{ "name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": { "binary_data_size": 32 } }],
        "outputs": [{ "name": "probabilities" }, { "name": "label", "parameters": { "binary_data": false } }],
    });
    let json = json.to_string();
    let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let body = [json.as_bytes(), &elements].concat();
    let (status, answer, len) = post_binary(&endpoint, &json.len().to_string(), &body);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let (head, rest) = answer.split_at(len.unwrap());
    let head: Value = serde_json::from_slice(head).unwrap();
    let outputs = head["outputs"].as_array().unwrap();
    let named = |name: &str| outputs.iter().find(|output| output["name"] == name).unwrap();
    assert!(named("label")["data"].is_array(), "{head}");
    assert_eq!(named("probabilities")["parameters"]["binary_data_size"], rest.len());
    let plain = json!({
        "inputs": [{ "name": "x", "shape": [2, 4], "datatype": "FP32", "data": values }],
        "outputs": [{ "name": "probabilities" }],
    });
    let (_, plain) = endpoint.post(INFER, &plain.to_string());
    let (chunks, _) = rest.as_chunks::<4>();
    let binary: Vec<f32> = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
    let written: Vec<f32> = serde_json::from_value(plain["outputs"][0]["data"].clone()).unwrap();
    assert_eq!(binary, written);
}

#[test]
fn a_body_that_is_not_as_its_header_says_is_refused() {
    let endpoint = TestEndpoint::serving();
    let check = |len: &str, size: Value, rest: &[u8], expected: &str| {
        let input = json!({ "name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": { "binary_data_size": size } });
        let json = json!({ "inputs": [input] }).to_string();
        let len = if len.is_empty() { json.len().to_string() } else { len.to_owned() };
        let (status, answer, _) = post_binary(&endpoint, &len, &[json.as_bytes(), rest].concat());
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(status == 400 && answer.contains(expected), "{status} {answer}");
    };
    check("", json!(16), &[0; 15], "is not a length within the 15 bytes left");
    check("", json!(16), &[0; 17], "1 bytes are left over");
    check("", json!(12), &[0; 12], "has 16 bytes but 12 were given");
    check("", json!(-1), &[0; 16], "is not a length within");
    check("", json!(u64::MAX), &[0; 16], "is not a length within");
    check("", json!("16"), &[0; 16], "is not a length within");
    check("", Value::Null, &[0; 16], "is not a length within");
    check("9999", json!(16), &[0; 16], "must be the length in bytes of the JSON");
    check("-1", json!(16), &[0; 16], "must be the length in bytes of the JSON");
    check("5", json!(16), &[0; 16], "not an inference request");
}

/// Posts a body with these headers and tells the answer's status, body and one of its headers.
fn post_with(
    endpoint: &TestEndpoint,
    headers: &[(&str, &str)],
    body: &[u8],
    header: &str,
) -> (u16, Vec<u8>, Option<String>) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.post(format!("{}{INFER}", endpoint.url));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut answer = request.send(body).unwrap();
    let said = answer.headers().get(header).map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap(), said)
}

#[test]
fn bodies_may_be_packed_both_ways() {
    let endpoint = TestEndpoint::serving();
    let rows =
        json!({ "inputs": [{ "name": "x", "shape": [100, 4], "datatype": "FP32", "data": vec![0.5; 400] }] });
    let packed = encoding::Encoding::Gzip.pack(rows.to_string().as_bytes()).unwrap();
    let send = |accept: &str, body: &[u8]| {
        let headers = [("content-encoding", "gzip"), ("accept-encoding", accept)];
        post_with(&endpoint, &headers, body, "content-encoding")
    };
    let (status, plain, said) = send("identity", &packed);
    assert_eq!((status, said), (200, None), "{}", String::from_utf8_lossy(&plain));
    let (status, answer, said) = send("deflate", &packed);
    assert_eq!((status, said.as_deref()), (200, Some("deflate")));
    assert!(answer.len() < plain.len() / 2, "{} of {} bytes", answer.len(), plain.len());
    let bomb = encoding::Encoding::Gzip.pack(&vec![b' '; BODY_BYTES_MAX + 1]).unwrap();
    let (status, answer, _) = send("gzip", &bomb);
    assert!(status == 413 && String::from_utf8_lossy(&answer).contains("unpacks to over"), "{status}");
    let (status, _, _) = send("gzip", b"not packed");
    assert_eq!(status, 400);
}

#[test]
fn a_request_is_a_step_of_its_callers_trace() {
    let endpoint = TestEndpoint::serving();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("traceparent", parent), ("x-request-id", "order 7")];
    let (status, _, said) = post_with(&endpoint, &headers, one_row().as_bytes(), "traceresponse");
    let said = said.unwrap();
    assert!(status == 200 && said.starts_with(&parent[..36]) && said != parent, "{status} {said}");
    let (_, _, said) = post_with(&endpoint, &headers, b"{", "x-request-id");
    assert_eq!(said.as_deref(), Some("order 7"), "what fails says so, too");
    let (_, _, said) = post_with(&endpoint, &[("traceparent", "x")], one_row().as_bytes(), "traceresponse");
    assert_eq!(said, None);
}

#[test]
fn the_likeliest_classes_may_be_asked_for() {
    let endpoint = TestEndpoint::serving();
    let asked = |count: Value| {
        let input =
            json!({ "name": "x", "shape": [2, 4], "datatype": "FP32", "data": [1, 2, 3, 4, 0.5, 0, 0, 0] });
        let output = json!({ "name": "probabilities", "parameters": { "classification": count } });
        endpoint.post(INFER, &json!({ "inputs": [input], "outputs": [output] }).to_string())
    };
    let (status, answer) = asked(json!(2));
    let output = &answer["outputs"][0];
    assert_eq!((status, &output["datatype"], &output["shape"]), (200, &json!("BYTES"), &json!([2, 2])));
    error(asked(json!(0)), 400, "1 or more");
    error(asked(json!("all")), 400, "1 or more");
}

#[test]
fn what_is_set_elsewhere_is_told_and_not_set_here() {
    let endpoint = TestEndpoint::serving();
    assert_eq!(endpoint.get("/v2/logging").0, 200);
    assert_eq!(endpoint.get("/v2/trace/setting").1["trace_level"], json!(["OFF"]));
    assert_eq!(endpoint.get("/v2/systemsharedmemory/status"), (200, json!([])));
    error(endpoint.post("/v2/logging", "{}"), 501, "--log LEVEL");
    error(endpoint.post("/v2/models/digits/trace/setting", "{}"), 501, "traceparent");
    error(endpoint.post("/v2/cudasharedmemory/region/a/register", "{}"), 501, "shared memory");
    assert_eq!(endpoint.post("/v2/cudasharedmemory/region/a/unregister", "").0, 200);
    error(endpoint.post("/v2/repository/models/digits/load", "{}"), 501, "the control plane");
    let input = json!({ "name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": { "shared_memory_region": "a" } });
    error(endpoint.post(INFER, &json!({ "inputs": [input] }).to_string()), 400, "shared memory");
}

#[test]
fn missing_values_are_answered_and_counted() {
    let endpoint = TestEndpoint::serving();
    let body =
        json!({ "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP32", "data": [null, 1, 2, 3] }] });
    assert_eq!(endpoint.post(INFER, &body.to_string()).0, 200);
}

#[test]
fn swaps_under_load_fail_no_request() {
    let endpoint = TestEndpoint::serving();
    let parent = endpoint.folder.path().join("bundles");
    let models = ["1", "2"].map(|version| loaded(&bundle(&parent, version)));
    let stop = AtomicBool::new(false);
    let answers: Vec<usize> = std::thread::scope(|scope| {
        let ask = || {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let (status, body) = endpoint.post(INFER, &one_row());
                assert_eq!(status, 200, "{body}");
                let version = body["model_version"].as_str().unwrap();
                assert!(models.iter().any(|model| model.bundle().hex() == version), "{version}");
                answered += 1;
            }
            answered
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        for n in 0..500 {
            endpoint.served().publish(Arc::clone(&models[n % 2]));
            std::thread::yield_now();
        }
        while endpoint.served().counters.requests.load(Ordering::Relaxed) < 50 {
            endpoint.served().publish(Arc::clone(&models[0]));
        }
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let report = endpoint.served().report();
    assert_eq!(report.requests_failed, 0);
    assert_eq!(report.requests as usize, answers.iter().sum::<usize>());
    assert!(report.swaps >= 500);
}

#[test]
fn a_label_is_joined_kept_and_counted_once() {
    let endpoint = TestEndpoint::serving();
    let id = predict(&endpoint);
    let label = |label: &str| endpoint.post("/v1/feedback", &json!({ "id": id, "label": label }).to_string());
    let (status, answer) = label("1");
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)));
    assert_eq!(label("1").1["already_labelled"], json!(1));
    assert_eq!(endpoint.served().report().accuracy_labels, 1);
    let batch = endpoint.records.spool().batch(Lane::Samples, 10, 1 << 20);
    let [(_, record)] = &batch[..] else { panic!("{} samples", batch.len()) };
    let sample: Sample = serde_json::from_slice(record).unwrap();
    assert_eq!((sample.prediction.to_string(), sample.label.as_deref()), (id, Some("1")));
    assert_eq!(sample.values(), edgeward_model::engine::conformance::fixture::noise(4, 3));
    assert!(sample.predicted.is_some());
}

#[test]
fn labels_become_metrics_in_all_and_by_tag() {
    let endpoint = TestEndpoint::serving();
    for _ in 0..3 {
        let id = predict(&endpoint);
        let body = json!({ "id": id, "label": "1", "tags": { "site": "no\"rth" } });
        assert_eq!(endpoint.post("/v1/feedback", &body.to_string()).0, 200);
    }
    let (_, text) = endpoint.get("/metrics");
    let text = text.as_str().unwrap();
    for expected in [
        "edgeward_performance{model=\"digits\",metric=\"accuracy\",bound=\"low\"}",
        "edgeward_performance{model=\"digits\",metric=\"log_loss\",bound=\"value\"}",
        "edgeward_performance{model=\"digits\",metric=\"calibration_error\",bound=\"high\"}",
        "edgeward_segment_performance{model=\"digits\",segment=\"site\",of=\"no\\\"rth\",metric=\"accuracy\",bound=\"value\"}",
        "assumes no concept drift",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn feedback_that_joins_nothing_is_told_so() {
    let endpoint = TestEndpoint::serving();
    let id = predict(&endpoint);
    let stranger = uuid::Uuid::now_v7().to_string();
    let one = |body: Value| endpoint.post("/v1/feedback", &body.to_string());
    error(one(json!({ "id": stranger, "label": "1" })), 404, "none of the labels");
    error(one(json!({ "id": id, "row": 5, "label": "1" })), 404, "rows 0 to 0");
    error(one(json!({ "id": "x", "label": "1" })), 400, "not feedback");
    error(one(json!({ "id": id, "label": null })), 400, "send the class name");
    error(one(json!({ "id": id, "label": "" })), 400, "1 to 1024 bytes");
    let tags: serde_json::Map<String, Value> =
        (0..=feedback::TAGS_MAX).map(|tag| (tag.to_string(), json!("x"))).collect();
    error(one(json!({ "id": id, "label": "1", "tags": tags })), 400, "tags, over 8");
    let mixed = json!({ "feedback": [{ "id": id, "label": 1 }, { "id": stranger, "label": "1" }] });
    let (status, answer) = one(mixed);
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)));
    assert_eq!(answer["unknown"][0]["id"], json!(stranger));
    let many = vec![json!({ "id": id, "label": "1" }); LABELS_PER_REQUEST_MAX + 1];
    error(one(json!({ "feedback": many })), 400, "send several");
}

#[test]
fn an_impossible_value_becomes_an_alert_in_the_spool() {
    let endpoint = TestEndpoint::serving();
    let body =
        json!({ "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP32", "data": [-1e9, 0, 0, 0] }] });
    assert_eq!(endpoint.post(INFER, &body.to_string()).0, 200);
    let batch = endpoint.records.spool().batch(Lane::Alerts, 10, 1 << 20);
    let alert: edgeward_core::Alert = serde_json::from_slice(&batch[0].1).unwrap();
    assert_eq!((alert.kind, alert.stream.as_deref()), (edgeward_core::alert::AlertKind::Outlier, Some("a")));
}

#[test]
fn more_requests_than_permits_are_told_to_come_again() {
    let endpoint = TestEndpoint::serving();
    let (registry, records) = (Arc::clone(&endpoint.registry), Arc::clone(&endpoint.records));
    let about = Arc::new(About::new(DeviceId::new("robot-1").unwrap(), None));
    let busy = Endpoint::new(registry, records, about, || crate::fixtures::NOW);
    let permits = Arc::clone(&busy.permits);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}{INFER}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, busy.router(None)).await });
    let all = permits.try_acquire_many(REQUESTS_CONCURRENT_MAX as u32).unwrap();
    error(crate::fixtures::post(&url, &one_row()), 429, "try again shortly");
    drop(all);
    assert_eq!(crate::fixtures::post(&url, &one_row()).0, 200);
}

#[test]
fn metrics_and_status_say_what_runs() {
    let endpoint = TestEndpoint::serving();
    predict(&endpoint);
    let (_, text) = endpoint.get("/metrics");
    let text = text.as_str().unwrap();
    for expected in [
        "edgeward_requests_total{model=\"digits\"} 1",
        "edgeward_requests_failed_total{model=\"digits\"} 0",
        "edgeward_request_duration_seconds_bucket{model=\"digits\",le=\"+Inf\"} 1",
        "edgeward_swaps_total{model=\"digits\"} 0",
        "edgeward_drift_evidence_log10{model=\"digits\",stream=\"confidence\"}",
        "edgeward_model_info{model=\"digits\",bundle=\"",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    let (_, status) = endpoint.get("/v1/status");
    assert_eq!(status["models"]["digits"]["requests"], json!(1));
    assert_eq!((&status["device"], &status["journal_predictions"]), (&json!("robot-1"), &json!(1)));
}

#[test]
fn a_page_of_another_origin_is_refused() {
    let check = |host: &str, origin: Option<&str>, expected: bool| {
        let pairs = [(header::HOST, Some(host)), (header::ORIGIN, origin)];
        let headers = pairs.into_iter().filter_map(|(name, value)| Some((name, value?.parse().unwrap())));
        assert_eq!(is_from_foreign_page(&headers.collect()), expected, "{host} {origin:?}");
    };
    check("127.0.0.1:8600", None, false);
    check("robot.local:8600", None, false);
    check("127.0.0.1:8600", Some("http://127.0.0.1:8600"), false);
    check("[::1]:8600", Some("http://[::1]:8600"), false);
    check("localhost:8600", Some("http://LOCALHOST:8600"), false);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:3000", "http://127.0.0.1:8600.evil"] {
        check("127.0.0.1:8600", Some(origin), true);
    }
    check("evil.example:8600", Some("http://evil.example:8600"), true);
}
