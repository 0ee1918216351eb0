//! No way in without a credential: every operation of the OpenAPI document, with every kind of caller.

use serde_json::Value;

use super::support::Plant;

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    Device,
    Operator,
    Garbage,
}

struct Operation {
    method: String,
    path: String,
    schemes: Vec<String>,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&crate::openapi_json()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schemes = operation["security"].as_array().unwrap().iter();
            let schemes = schemes.flat_map(|scheme| scheme.as_object().unwrap().keys().cloned()).collect();
            operations.push(Operation { method: method.to_uppercase(), path: path.clone(), schemes });
        }
    }
    operations
}

fn call(url: &str, operation: &Operation, credential: Option<&str>) -> u16 {
    let mut path = operation.path.replace("{digest}", HEX).replace("{result}", HEX).replace("{source}", HEX);
    for name in ["{project}", "{run}", "{model}", "{rollout}"] {
        path = path.replace(name, "absent");
    }
    let mut request =
        ureq::http::Request::builder().method(operation.method.as_str()).uri(format!("{url}{path}"));
    if let Some(credential) = credential {
        request = request.header("authorization", format!("Bearer {credential}"));
    }
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = request.header("content-type", "application/json");
    match operation.method.as_str() {
        "GET" => agent.run(request.body(()).unwrap()).unwrap().status().as_u16(),
        _ => agent.run(request.body("{}").unwrap()).unwrap().status().as_u16(),
    }
}

fn is_declared(operation: &Operation, who: Who) -> bool {
    let scheme = match who {
        Who::Device => "device",
        Who::Operator => "operator",
        Who::Nobody | Who::Garbage => return operation.schemes.is_empty(),
    };
    operation.schemes.is_empty() || operation.schemes.iter().any(|declared| declared == scheme)
}

fn device_credential(plant: &Plant) -> String {
    use edgeward_api::device::EnrolRequest;
    use edgeward_api::operator::JoinTokenRequest;
    let token = plant.operator().make_join_token(&JoinTokenRequest { uses: 1, ttl_ms: 60_000 }).unwrap();
    let name = edgeward_core::DeviceId::new("d1").unwrap();
    let request = EnrolRequest { join_token: token.join_token, name };
    edgeward_api::Client::new(&plant.url, None).enrol(&request).unwrap().credential
}

#[test]
fn every_route_admits_whom_it_declares_and_nobody_else() {
    let plant = Plant::serving(|_| {});
    let (device, operator) = (device_credential(&plant), plant.token());
    let operations = operations();
    assert!(operations.len() >= 28, "{}", operations.len());
    for operation in &operations {
        for (who, credential) in [
            (Who::Nobody, None),
            (Who::Device, Some(device.as_str())),
            (Who::Operator, Some(operator.as_str())),
            (Who::Garbage, Some("ewo_0000")),
        ] {
            let status = call(&plant.url, operation, credential);
            let refused = if who == Who::Nobody || who == Who::Garbage { 401 } else { 403 };
            let about = format!("{} {} by {who:?}: {status}", operation.method, operation.path);
            // Enrolment is open to all and refuses the empty document, not the caller.
            match is_declared(operation, who) {
                true => assert!(status != 401 && status != 403, "{about}"),
                false => assert_eq!(status, refused, "{about}"),
            }
        }
    }
    plant.stop();
}

#[test]
fn every_route_constant_is_documented() {
    use edgeward_api::routes as r;
    let documented: Vec<String> = operations().into_iter().map(|operation| operation.path).collect();
    for path in [
        r::HEALTH,
        r::OPENAPI,
        r::ENROL,
        r::DESIRED,
        r::REPORT,
        r::PROFILES,
        r::SAMPLES_UPLOAD,
        r::ALERTS_UPLOAD,
        r::BLOB,
        r::DELTA,
        r::JOIN_TOKENS,
        r::DEVICES,
        r::PROJECTS,
        r::PROJECT_RUNS,
        r::RUNS,
        r::RUN_GATES,
        r::RUN_FINISH,
        r::MODELS,
        r::MODEL_VERSIONS,
        r::MODEL_ROLLOUTS,
        r::MODEL_DRIFT,
        r::MODEL_SAMPLES,
        r::ROLLOUTS,
        r::ROLLOUT_ABORT,
        r::ALERTS,
        r::EVENTS,
        r::EVENTS_STREAM,
        r::CHECKPOINT,
    ] {
        assert!(documented.iter().any(|found| found == path), "{path}");
    }
}

#[test]
fn local_callers_are_operators_unless_auth_is_required() {
    let plant = Plant::serving(|config| config.require_auth = false);
    for operation in operations() {
        let status = call(&plant.url, &operation, None);
        let device_only = operation.schemes == ["device"];
        assert_eq!(status == 401, device_only, "{} {}: {status}", operation.method, operation.path);
        assert_eq!(call(&plant.url, &operation, Some("garbage")) == 401, !operation.schemes.is_empty());
    }
    plant.stop();
}

#[test]
fn the_dashboard_is_for_operators() {
    let plant = Plant::serving(|_| {});
    let get = |path: &str, headers: &[(&str, &str)]| {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        let mut request = agent.get(format!("{}{path}", plant.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().unwrap()
    };
    for path in ["/", "/fragments/fleet"] {
        assert_eq!(get(path, &[]).status(), 401, "{path}");
    }
    assert_eq!(get("/?token=wrong", &[]).status(), 401);
    let admitted = get(&format!("/?token={}", plant.token()), &[]);
    assert_eq!(admitted.status(), 303);
    let cookie = admitted.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let mut page = get("/", &[("cookie", pair)]);
    assert_eq!(page.status(), 200);
    let csp = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(csp.contains("default-src 'none'") && !csp.contains("unsafe"), "{csp}");
    assert!(page.body_mut().read_to_string().unwrap().contains("No device has joined"));
    assert_eq!(get("/fragments/fleet", &[("cookie", pair)]).status(), 200);
    assert_eq!(get("/fragments/nothing", &[("cookie", pair)]).status(), 404);
    assert_eq!(get("/fragments/fleet", &[("cookie", pair), ("origin", "http://evil.example")]).status(), 403);
    let asset = get("/assets/style.css", &[]);
    assert!(asset.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let tag = asset.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(get("/assets/style.css", &[("if-none-match", &tag)]).status(), 304);
    plant.stop();
}
