//! No way in without a credential: every operation of the OpenAPI document, with every kind of caller.

use std::time::Duration;

use edgeward_api::access::{DeviceRevocation, TokenRequest};
use edgeward_core::Role;
use serde_json::Value;

use super::support::Plant;

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const SHORT_MS: u64 = 60_000;

/// Whoever may knock.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    Garbage,
    ExpiredToken,
    RevokedToken,
    RevokedDevice,
    Device,
    Person(Role),
}

/// What the document says an operation needs.
#[derive(Debug, PartialEq)]
struct Operation {
    method: String,
    path: String,
    device: bool,
    role: Option<Role>,
}

impl Operation {
    const fn is_open(&self) -> bool {
        !self.device && self.role.is_none()
    }

    /// The status with which `who` is turned away; none if it is let in.
    fn refusal(&self, who: Who) -> Option<u16> {
        let admitted = match who {
            Who::Device => self.device,
            Who::Person(role) => self.role.is_some_and(|least| role >= least),
            _ => false,
        };
        match who {
            _ if admitted || self.is_open() => None,
            Who::Device | Who::Person(_) => Some(403),
            _ => Some(401),
        }
    }
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&crate::openapi_json()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let found =
                Operation { method: method.to_uppercase(), path: path.clone(), device: false, role: None };
            let security = operation["security"].as_array();
            let schemes =
                security.unwrap_or_else(|| panic!("{method} {path} says nothing of who may call it"));
            operations.push(schemes.iter().fold(found, read_scheme));
        }
    }
    operations
}

fn read_scheme(mut operation: Operation, scheme: &Value) -> Operation {
    for (name, roles) in scheme.as_object().unwrap() {
        match (name.as_str(), roles.as_array().unwrap().as_slice()) {
            ("device", []) => operation.device = true,
            ("operator", [role]) => operation.role = Some(role.as_str().unwrap().parse().unwrap()),
            other => panic!("{} {}: {other:?}", operation.method, operation.path),
        }
    }
    operation
}

fn call(url: &str, operation: &Operation, credential: Option<&str>) -> u16 {
    let mut path = operation.path.replace("{digest}", HEX).replace("{result}", HEX).replace("{source}", HEX);
    while let Some((before, rest)) = path.split_once('{') {
        path = format!("{before}absent{}", rest.split_once('}').unwrap().1);
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

fn token(plant: &Plant, role: Role, ttl_ms: Option<u64>) -> (edgeward_core::TokenId, String) {
    let request = TokenRequest { name: format!("a {role}"), role, ttl_ms };
    let made = plant.operator().make_token(&request).unwrap();
    (made.token.id, made.secret)
}

fn device_credential(plant: &Plant, name: &str) -> String {
    use edgeward_api::device::EnrolRequest;
    use edgeward_api::operator::JoinTokenRequest;
    let request = JoinTokenRequest { uses: 1, ttl_ms: SHORT_MS, device: None };
    let token = plant.operator().make_join_token(&request).unwrap();
    let name = edgeward_core::DeviceId::new(name).unwrap();
    let request = EnrolRequest::new(token.join_token, name);
    edgeward_api::Client::new(&plant.url, None).enrol(&request).unwrap().credential.unwrap()
}

/// Everyone, with what they show.
fn everyone(plant: &Plant) -> Vec<(Who, Option<String>)> {
    let expired = token(plant, Role::Admin, Some(SHORT_MS)).1;
    let (id, revoked) = token(plant, Role::Admin, None);
    plant.operator().revoke_token(&id).unwrap();
    let lost = device_credential(plant, "lost");
    let revocation = DeviceRevocation { cause: "lost".to_owned() };
    plant.operator().revoke_device(&edgeward_core::DeviceId::new("lost").unwrap(), &revocation).unwrap();
    let device = device_credential(plant, "d1");
    plant.pass(Duration::from_millis(SHORT_MS));
    let mut all = vec![
        (Who::Nobody, None),
        (Who::Garbage, Some("ewo_0000".to_owned())),
        (Who::ExpiredToken, Some(expired)),
        (Who::RevokedToken, Some(revoked)),
        (Who::RevokedDevice, Some(lost)),
        (Who::Device, Some(device)),
        (Who::Person(Role::Admin), Some(plant.token())),
    ];
    all.extend(Role::ALL.map(|role| (Who::Person(role), Some(token(plant, role, None).1))));
    all
}

#[test]
fn every_route_admits_whom_it_declares_and_nobody_else() {
    let plant = Plant::serving(|_| {});
    let (operations, everyone) = (operations(), everyone(&plant));
    assert!(operations.len() >= 35, "{}", operations.len());
    for operation in &operations {
        for (who, credential) in &everyone {
            let status = call(&plant.url, operation, credential.as_deref());
            let about = format!("{} {} by {who:?}: {status}", operation.method, operation.path);
            match operation.refusal(*who) {
                Some(refusal) => assert_eq!(status, refusal, "{about}"),
                // What is let in finds nothing, or its empty document refused; a handler never says who may call.
                None => assert!(status != 401 && status != 403, "{about}"),
            }
        }
    }
    plant.stop();
}

#[test]
fn what_changes_anything_is_not_for_viewers() {
    for operation in operations() {
        let is_view = operation.method == "GET" || operation.is_open() || operation.role.is_none();
        assert!(is_view || operation.role > Some(Role::Viewer), "{operation:?}");
    }
}

#[test]
fn every_route_constant_is_documented() {
    use edgeward_api::routes as r;
    let documented: Vec<String> = operations().into_iter().map(|operation| operation.path).collect();
    for path in [
        r::HEALTH,
        r::OPENAPI,
        r::ENROL,
        r::METADATA,
        r::ROLLOUT_TARGET,
        r::RELEASE_TARGET,
        r::RELEASES,
        r::REPORT,
        r::PROFILES,
        r::SAMPLES_UPLOAD,
        r::ALERTS_UPLOAD,
        r::BLOB,
        r::DELTA,
        r::JOIN_TOKENS,
        r::TOKENS,
        r::TOKEN_REVOKE,
        r::DEVICE_REVOKE,
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
        r::MODEL_HISTORY,
        r::SUBJECT_ERASE,
        r::MODEL_SAMPLES,
        r::ROLLOUTS,
        r::ROLLOUT_ABORT,
        r::ALERTS,
        r::ALERT_ACKNOWLEDGE,
        r::EVENTS,
        r::EVENTS_STREAM,
        r::CHECKPOINT,
        r::CHECKPOINT_SINCE,
    ] {
        assert!(documented.iter().any(|found| found == path), "{path}");
    }
}

#[test]
fn local_callers_are_admins_unless_auth_is_required() {
    let plant = Plant::serving(|config| config.require_auth = false);
    for operation in operations() {
        let status = call(&plant.url, &operation, None);
        let device_only = operation.device && operation.role.is_none();
        assert_eq!(status == 401, device_only, "{} {}: {status}", operation.method, operation.path);
        assert_eq!(call(&plant.url, &operation, Some("garbage")) == 401, !operation.is_open());
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
    let prediction = "/predictions/0192f3a0-0000-7000-8000-000000000000";
    for path in ["/", "/fleet", "/audit", "/audit/0", prediction] {
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
    for path in [
        "/fleet",
        "/models",
        "/rollouts",
        "/runs",
        "/shadows",
        "/alerts",
        "/audit",
        "/audit?kind=records_kept&verify=true",
    ] {
        assert_eq!(get(path, &[("cookie", pair)]).status(), 200, "{path}");
    }
    let looked_up = get("/predictions?id=0192f3a0-0000-7000-8000-000000000000", &[("cookie", pair)]);
    assert_eq!(
        (looked_up.status().as_u16(), &looked_up.headers()["location"]),
        (303, &prediction.parse().unwrap())
    );
    for path in [
        prediction,
        "/audit/99",
        "/devices/nobody",
        "/models/nothing",
        "/models/nothing/1",
        "/runs/run-0",
        "/rollouts/r-0",
    ] {
        assert_eq!(get(path, &[("cookie", pair)]).status(), 404, "{path}");
    }
    assert_eq!(get("/fleet", &[("cookie", pair), ("origin", "http://evil.example")]).status(), 403);
    let mut lost = get("/nowhere", &[("accept", "text/html,*/*")]);
    assert_eq!(lost.status(), 404);
    assert!(lost.body_mut().read_to_string().unwrap().contains("There is nothing here"));
    let asset = get("/assets/style.css", &[]);
    assert!(asset.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let tag = asset.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(get("/assets/style.css", &[("if-none-match", &tag)]).status(), 304);
    plant.stop();
}

#[test]
fn the_dashboard_is_for_whoever_holds_a_token_that_still_works() {
    let plant = Plant::serving(|_| {});
    let (id, secret) = token(&plant, Role::Viewer, Some(SHORT_MS));
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let sign_in = |secret: &str, site: &str| {
        let request = agent.post(format!("{}/sign-in", plant.url)).header("sec-fetch-site", site);
        request.send_form([("token", secret)]).unwrap()
    };
    assert_eq!(sign_in(&secret, "cross-site").status(), 403);
    assert_eq!(sign_in("guess", "same-origin").status(), 401);
    let admitted = sign_in(&secret, "same-origin");
    assert_eq!(admitted.status(), 303);
    let cookie = admitted.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let open = || agent.get(&plant.url).header("cookie", &cookie).call().unwrap().status();
    assert_eq!(open(), 200);
    let audit = agent.get(format!("{}/audit", plant.url)).header("cookie", &cookie).call().unwrap();
    assert_eq!(audit.status(), 200);
    let prediction = format!("{}/predictions/0192f3a0-0000-7000-8000-000000000000", plant.url);
    let looked = agent.get(prediction).header("cookie", &cookie).call().unwrap();
    assert_eq!(looked.status(), 403, "records are not for viewers");
    // The cookie is the token: a viewer's stays a viewer's, and ends with it.
    let tokens = agent.get(format!("{}/v1/tokens", plant.url)).header("cookie", &cookie).call().unwrap();
    assert_eq!(tokens.status(), 403);
    plant.operator().revoke_token(&id).unwrap();
    assert_eq!(open(), 401);
    plant.stop();
}
