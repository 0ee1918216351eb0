//! An app beside the agent serves the model: what its monitor counts, the alarms it raises, the labels it hears and the
//! records of its predictions reach the control plane as if the agent had answered.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "harness/answer.rs"]
mod answer;
mod harness;
#[path = "harness/pumps.rs"]
mod pumps;
#[path = "harness/waiting.rs"]
mod waiting;
#[path = "harness/yard.rs"]
mod yard;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use harness::{Running, edgeward, serve};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use waiting::wait;
use yard::{active, bundle, get, join_token, operate, train};

/// Requests to the app, of one row each.
const REQUESTS: u64 = 300;

/// The app outlives an agent that is killed; it ends with the test.
struct App<'a>(&'a Path);

impl Drop for App<'_> {
    fn drop(&mut self) {
        let said = fs::read(self.0.join("app.json")).unwrap_or_default();
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        let pid = said["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

fn post(url: &str, body: &Value) -> Value {
    let answer = ureq::post(url).config().proxy(None).build().send_json(body);
    answer.unwrap().body_mut().read_json().unwrap()
}

/// Asks the app about a good pump, and says afterwards that it was worn; the prediction's id.
fn ask_and_contradict(app: &str, request: u64) -> String {
    let spread = request * 7919 % 1000;
    let row = [55.0 + (spread % 7) as f64, 40.0 + (spread % 13) as f64];
    let input = json!({"name": "input", "datatype": "FP32", "shape": [1, 2], "data": row});
    let answer = post(&format!("{app}/v2/models/pumps/infer"), &json!({"inputs": [input]}));
    let id = answer["parameters"]["prediction_id"].as_str().or(answer["id"].as_str()).unwrap();
    let taken = post(&format!("{app}/v1/feedback"), &json!({"id": id, "label": "worn"}));
    assert_eq!(taken["accepted"], 1, "{taken}");
    id.to_owned()
}

/// Why the app said so, once the record of it and of its truth have arrived.
fn is_explained(dir: &Path, url: &str, id: &str, bundle: &str) {
    let why = wait("the record of an app's prediction", || {
        let asked = edgeward(dir).env("EDGEWARD_SERVER", url).args(["why", id, "--json"]).output().unwrap();
        let why: Value = serde_json::from_slice(&asked.stdout).ok()?;
        why["labels"][0].is_object().then_some(why)
    });
    assert_eq!(
        (&why["record"]["bundle"], &why["record"]["answers"][0]["predicted"], &why["labels"][0]["label"]),
        (&json!(bundle), &json!("good"), &json!("worn")),
        "{why}"
    );
    let explanation = &why["explanation"];
    assert_eq!(
        (&why["input"]["state"], &explanation["state"], &explanation["reproduced"]["same"]),
        (&json!("here"), &json!("given"), &json!(true)),
        "{explanation}"
    );
}

/// A person says that they have seen an alert, twice, and once of an alert that there is not.
fn is_acknowledged_once(dir: &Path, url: &str, alert: &Value) {
    assert!(alert["acknowledged"].is_null(), "{alert}");
    let id = alert["id"].as_str().unwrap();
    let first = operate(dir, url, &["alert", "acknowledge", id, "--note", "a new bearing"]);
    assert_eq!(
        (&first["alert"], &first["already"], &first["acknowledged"]["note"]),
        (&alert["id"], &json!(false), &json!("a new bearing"))
    );
    let again = operate(dir, url, &["alert", "acknowledge", id]);
    assert_eq!((&again["already"], &again["acknowledged"]), (&json!(true), &first["acknowledged"]));
    let listed = operate(dir, url, &["alert", "ls"]);
    let mut expected = alert.clone();
    expected["acknowledged"] = first["acknowledged"].clone();
    assert!(listed["alerts"].as_array().unwrap().contains(&expected), "{listed}");
    let say = |words: &[&str]| edgeward(dir).env("EDGEWARD_SERVER", url).args(words).output().unwrap();
    let told = String::from_utf8(say(&["alert", "ls"]).stdout).unwrap();
    assert!(told.contains(id) && told.contains("by local"), "{told}");
    let told = String::from_utf8(say(&["alert", "acknowledge", id]).stdout).unwrap();
    assert!(told.contains("by local: a new bearing; the first one stands"), "{told}");
    let missing = say(&["alert", "acknowledge", "no-such"]);
    let told = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(missing.status.code(), Some(1), "{told}");
    assert!(told.contains("there is no alert no-such") && told.contains("hint: "), "{told}");
}

#[test]
fn what_an_app_sees_is_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (_server, said) = serve(dir, &[]);
    let url = said["address"].as_str().unwrap();
    train(dir, url, 400, "[records]\ninputs = \"all\"\n");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let app = format!("http://127.0.0.1:{port}");
    let program = env!("CARGO_BIN_EXE_edgeward");
    let command = format!("'{program}' serve --watch dev --name pumps --listen 127.0.0.1:{port}");
    let mut agent = edgeward(dir);
    agent.args(["agent", "--server", url, "--data", "dev", "--listen", "127.0.0.1:0", "--poll-ms", "100"]);
    agent.args(["--upload-ms", "200", "--join-token", &join_token(dir, url)]);
    agent.args(["--activation", "watch", "--app", &command]);
    let device = dir.join("dev");
    let _app = App(&device);
    let _agent = Running(agent.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());

    operate(dir, url, &["deploy", "pumps"]);
    let bundle = bundle(dir, url, 1);
    wait("the model", || (active(&device).as_ref() == Some(&bundle)).then_some(()));
    wait("the app", || get(&format!("{app}/v2/models/pumps")));
    let ids: Vec<String> = (0..REQUESTS).map(|request| ask_and_contradict(&app, request)).collect();

    let alerts = || operate(dir, url, &["alert", "ls"])["alerts"].as_array().cloned();
    let decayed = wait("the alarm that the app raised", || {
        alerts()?.into_iter().find(|alert| alert["kind"] == "decay")
    });
    assert!(decayed.to_string().contains(&bundle), "{decayed}");
    is_acknowledged_once(dir, url, &decayed);
    let learned = wait("every label", || {
        let page = get(&format!("{url}/v1/models/pumps/samples?after=0&limit=1000"))?;
        (page["samples"].as_array()?.len() as u64 == REQUESTS).then_some(page)
    });
    assert_eq!(
        (&learned["samples"][0]["label"], &learned["samples"][0]["predicted"]),
        (&json!("worn"), &json!("good"))
    );
    let counted = wait("every row that was counted", || {
        let drift = get(&format!("{url}/v1/models/pumps/drift"))?;
        let windows = drift["windows"].as_array()?;
        let sum = |name: &str| windows.iter().filter_map(|window| window[name].as_u64()).sum::<u64>();
        (sum("labelled") == REQUESTS).then(|| ["samples", "correct"].map(sum))
    });
    assert_eq!(counted, [REQUESTS, 0]);
    [&ids[0], &ids[ids.len() - 1]].into_iter().for_each(|id| is_explained(dir, url, id, &bundle));
}
