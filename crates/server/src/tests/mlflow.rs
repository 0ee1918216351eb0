//! The MLflow API over real HTTP: who may ask what, and how it says no. What its own client makes of it is tested with that
//! client, in `edgeward`'s `tests/mlflow.rs`.

use edgeward_api::access::TokenRequest;
use edgeward_core::Role;
use serde_json::{Value, json};

use super::support::Plant;
use crate::mlflow::{changing_paths, readable_paths};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

fn ask(plant: &Plant, token: Option<&str>, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", plant.url));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = request.header("content-type", "application/json");
    let answer = match method {
        "GET" | "DELETE" => agent.run(request.body(()).unwrap()),
        _ => agent.run(request.body(body.to_string()).unwrap()),
    };
    let mut answer = answer.unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn filled(path: &str) -> String {
    let mut path = path.to_owned();
    while let Some((before, rest)) = path.split_once('{') {
        path = format!("{before}absent{}", rest.split_once('}').unwrap().1);
    }
    path
}

#[test]
fn nobody_reads_without_a_token_and_viewers_change_nothing() {
    let plant = Plant::serving(|_| {});
    let request = TokenRequest { name: "reader".to_owned(), role: Role::Viewer, ttl_ms: None };
    let viewer = plant.operator().make_token(&request).unwrap().secret;
    let (readable, changing) = (readable_paths(), changing_paths());
    assert!(readable.len() >= 30 && changing.len() >= 44, "{} {}", readable.len(), changing.len());
    for path in readable.iter().chain(&changing) {
        for method in METHODS {
            let (status, said) = ask(&plant, None, method, &filled(path), &json!({}));
            assert!(matches!(status, 401 | 405), "{method} {path}: {status} {said}");
            let (status, said) = ask(&plant, Some("ewo_wrong"), method, &filled(path), &json!({}));
            assert!(matches!(status, 401 | 405), "{method} {path}: {status} {said}");
        }
    }
    for path in changing.iter().filter(|path| !readable.contains(path)) {
        for method in METHODS {
            let (status, said) = ask(&plant, Some(&viewer), method, &filled(path), &json!({}));
            // A method that the route does not have may be one of the wide routes for what is not here.
            assert!(matches!(status, 403..=405), "{method} {path}: {status} {said}");
            assert!(status != 403 || said["error_code"] == "PERMISSION_DENIED", "{said}");
        }
    }
    for path in &readable {
        let (status, said) = ask(&plant, Some(&viewer), "GET", &filled(path), &json!({}));
        assert!(!matches!(status, 401 | 403 | 500), "{path}: {status} {said}");
    }
    plant.stop();
}

#[test]
fn refusals_are_in_the_words_of_mlflow() {
    let plant = Plant::serving(|_| {});
    let token = plant.token();
    let check = |method: &str, path: &str, body: Value, status: u16, code: &str| {
        let (found, said) = ask(&plant, Some(&token), method, path, &body);
        assert_eq!((found, said["error_code"].as_str()), (status, Some(code)), "{method} {path}: {said}");
        assert!(said["message"].as_str().is_some_and(|text| !text.is_empty()), "{said}");
    };
    let v2 = |path: &str| format!("/api/2.0/mlflow/{path}");
    check("GET", &v2("experiments/get?experiment_id=77"), json!({}), 404, "RESOURCE_DOES_NOT_EXIST");
    check("GET", &v2("experiments/get"), json!({}), 400, "INVALID_PARAMETER_VALUE");
    check("GET", &v2("experiments/get-by-name?experiment_name=x"), json!({}), 404, "RESOURCE_DOES_NOT_EXIST");
    check("POST", &v2("experiments/create"), json!({"name": "Default"}), 400, "RESOURCE_ALREADY_EXISTS");
    check("POST", &v2("experiments/create"), json!({"name": ["x"]}), 400, "INVALID_PARAMETER_VALUE");
    check("POST", &v2("experiments/create"), json!([]), 400, "BAD_REQUEST");
    check("GET", &v2("runs/get?run_id=x"), json!({}), 404, "RESOURCE_DOES_NOT_EXIST");
    check("POST", &v2("runs/search"), json!({"filter": "a ="}), 400, "INVALID_PARAMETER_VALUE");
    check("POST", &v2("runs/search"), json!({"max_results": 60_000}), 400, "INVALID_PARAMETER_VALUE");
    check("GET", &v2("unheard-of"), json!({}), 404, "ENDPOINT_NOT_FOUND");
    check("GET", "/api/3.0/mlflow/datasets/x", json!({}), 404, "ENDPOINT_NOT_FOUND");
    check("POST", "/v1/traces", json!({}), 501, "NOT_IMPLEMENTED");
    let artifacts = "/api/2.0/mlflow-artifacts/artifacts";
    check("PUT", &format!("{artifacts}/a/%2e%2e/b"), json!({}), 400, "INVALID_PARAMETER_VALUE");
    check("PUT", &format!("{artifacts}/a%5C..%5Cb"), json!({}), 400, "INVALID_PARAMETER_VALUE");
    check("GET", &format!("{artifacts}/none"), json!({}), 404, "RESOURCE_DOES_NOT_EXIST");
    check("POST", "/api/2.0/mlflow-artifacts/mpu/create/a", json!({}), 501, "NOT_IMPLEMENTED");
    plant.stop();
}

#[test]
fn what_is_logged_survives_a_crash() {
    let plant = Plant::serving(|_| {});
    let token = plant.token();
    let post = |plant: &Plant, path: &str, body: Value| {
        let (status, said) = ask(plant, Some(&token), "POST", &format!("/api/2.0/mlflow/{path}"), &body);
        assert_eq!(status, 200, "{path}: {said}");
        said
    };
    let run = post(&plant, "runs/create", json!({"experiment_id": "0", "run_name": "x", "start_time": 5}));
    let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let metrics = json!([{"key": "a", "value": "NaN", "timestamp": "1", "step": 0}, {"key": "a", "value": 2, "timestamp": 2, "step": 1}]);
    post(
        &plant,
        "runs/log-batch",
        json!({"run_id": run, "metrics": metrics, "params": [{"key": "p", "value": "v"}]}),
    );
    let put =
        ask(&plant, Some(&token), "PUT", "/api/2.0/mlflow-artifacts/artifacts/0/f.txt", &json!("bytes"));
    assert_eq!(put.0, 200, "{put:?}");
    let mut plant = plant.crash();
    plant.begin_serving();
    let (_, said) =
        ask(&plant, Some(&token), "GET", &format!("/api/2.0/mlflow/runs/get?run_id={run}"), &json!({}));
    assert_eq!(said["run"]["data"]["metrics"][0]["value"], 2.0, "{said}");
    assert_eq!(said["run"]["data"]["params"][0], json!({"key": "p", "value": "v"}));
    let path = format!("/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=a");
    let (_, said) = ask(&plant, Some(&token), "GET", &path, &json!({}));
    assert_eq!(said["metrics"][0]["value"], "NaN");
    let (_, said) =
        ask(&plant, Some(&token), "GET", "/api/2.0/mlflow-artifacts/artifacts/0/f.txt", &json!({}));
    assert_eq!(said, "bytes");
    plant.stop();
}
