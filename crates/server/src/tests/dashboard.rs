//! The dashboard before a real store: every page, every action by its form, and who may take which.

use std::collections::BTreeMap;

use edgeward_api::Client;
use edgeward_api::access::TokenRequest;
use edgeward_api::device::AlertsUpload;
use edgeward_core::rollout::{Approval, RolloutPolicy};
use edgeward_core::{Event, Role};

use super::support::{Plant, WEIGHTS, alert, project, report};

/// A browser that is signed in.
struct Person<'a> {
    plant: &'a Plant,
    cookie: String,
    agent: ureq::Agent,
}

impl<'a> Person<'a> {
    fn new(plant: &'a Plant, role: Role) -> Self {
        let request = TokenRequest { name: format!("a {role}"), role, ttl_ms: None };
        let secret = plant.operator().make_token(&request).unwrap().secret;
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        Self { plant, cookie: format!("edgeward_operator={secret}"), agent }
    }

    fn open(&self, path: &str) -> (u16, String) {
        let request = self.agent.get(format!("{}{path}", self.plant.url)).header("cookie", &self.cookie);
        let mut answer = request.call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    /// What the form on the page of `path` carries.
    fn form(&self, path: &str) -> String {
        let (status, page) = self.open(path);
        assert_eq!(status, 200, "{path}: {page}");
        let own = page.split("<main").nth(1).unwrap();
        own.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    /// Sends a form; the status, and where it leads.
    fn send(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let request = self.agent.post(format!("{}{path}", self.plant.url));
        let request = request.header("cookie", &self.cookie).header("sec-fetch-site", "same-origin");
        let mut answer = request.send_form(fields.iter().copied()).unwrap();
        let place = answer.headers().get("location").map(|place| place.to_str().unwrap().to_owned());
        (answer.status().as_u16(), place.unwrap_or_else(|| answer.body_mut().read_to_string().unwrap()))
    }

    /// Opens the page that asks, and confirms.
    fn confirm(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let form = self.form(path);
        let path = path.split('?').next().unwrap();
        self.send(path, &[&[("form", form.as_str())], fields].concat())
    }
}

/// A plant with a version, a device that runs it, and a rollout of it that waits for a person.
fn lively() -> (Plant, String) {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    let (device, client) = plant.enrol("robot");
    let rollout = RolloutPolicy { approval: Approval::Each, ..project().rollout };
    operator.register_project(&edgeward_core::event::Project { rollout, ..project() }).unwrap();
    let version = plant.make_version(&operator, "run-1", WEIGHTS);
    let mut said = report(1, None);
    said.facts = BTreeMap::from([("os".to_owned(), "<linux>".to_owned())]);
    client.report(&said).unwrap();
    client.upload_alerts(&AlertsUpload { alerts: vec![alert("a1", &device, version.bundle)] }).unwrap();
    let rollout = first_rollout(&operator);
    (plant, rollout)
}

fn first_rollout(operator: &Client) -> String {
    for _ in 0..500 {
        if let Some(first) = operator.rollouts().unwrap().rollouts.first() {
            return first.id.to_string();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no rollout began");
}

#[test]
fn every_page_shows_what_is_there_and_escapes_it() {
    let (plant, rollout) = lively();
    let viewer = Person::new(&plant, Role::Viewer);
    for (path, words) in [
        ("/", "digits"),
        ("/fleet", "robot"),
        ("/fleet?standing=fine&group=none", "No such device"),
        ("/devices/robot", "&lt;linux&gt;"),
        ("/models", "digits"),
        ("/models/digits", "run-1"),
        ("/models/digits/1", "rten-f32"),
        ("/models/digits/drift", "Nothing to compare yet"),
        ("/rollouts", "everybody"),
        (format!("/rollouts/{rollout}").as_str(), "needs approval"),
        ("/runs", "robots"),
        ("/runs/run-1", "Carried out elsewhere"),
        ("/shadows", "No shadows yet"),
        ("/alerts?all=true", "error rate rose"),
        ("/audit", "Decay on robot"),
    ] {
        let (status, page) = viewer.open(path);
        assert_eq!(status, 200, "{path}: {page}");
        assert!(page.contains(words), "{path} does not say '{words}': {page}");
        assert!(!page.contains("<linux>"), "{path}");
    }
    plant.stop();
}

#[test]
fn a_form_takes_the_handlers_way_with_the_name_of_who_sent_it() {
    let (plant, rollout) = lively();
    let approver = Person::new(&plant, Role::Approver);
    let approve = format!("/rollouts/{rollout}/approve");
    assert_eq!(
        approver.confirm(&approve, &[("cause", "looks good")]),
        (303, format!("/rollouts/{rollout}?done=approved"))
    );
    let said: Vec<Event> =
        plant.operator().events(0, 1000).unwrap().entries.into_iter().map(|entry| entry.event).collect();
    let by = |event: &Event| match event {
        Event::RolloutApproved { by, cause, .. } => Some((by.clone(), cause.clone())),
        _ => None,
    };
    let (by, cause) = said.iter().find_map(by).unwrap();
    assert!(by.starts_with("a approver (") && cause.contains("looks good"), "{by}: {cause}");
    for (path, fields, place) in [
        (
            "/devices/robot/labels",
            &[("key", "site"), ("value", "berlin")][..],
            "/devices/robot?done=labelled",
        ),
        (
            "/fleet/make-group",
            &[("group", "berlin"), ("expression", "site=berlin")],
            "/groups/berlin?done=saved",
        ),
        ("/devices/robot/pin", &[("target", "digits 1")], "/devices/robot?done=pinned"),
        ("/devices/robot/unpin?model=digits", &[("model", "digits")], "/devices/robot?done=unpinned"),
        (
            &format!("/rollouts/{rollout}/pause"),
            &[("cause", "")],
            &format!("/rollouts/{rollout}?done=paused"),
        ),
        (
            &format!("/rollouts/{rollout}/resume"),
            &[("cause", "")],
            &format!("/rollouts/{rollout}?done=resumed"),
        ),
        (
            &format!("/rollouts/{rollout}/abort"),
            &[("cause", "no")],
            &format!("/rollouts/{rollout}?done=taken-back"),
        ),
        ("/groups/berlin/remove", &[], "/fleet?done=removed"),
        (
            "/alerts/acknowledge?alert=a1",
            &[("alert", "a1"), ("note", "<i>seen</i>")],
            "/alerts?done=acknowledged",
        ),
        ("/devices/robot/revoke", &[("cause", "stolen")], "/devices/robot?done=shut-out"),
    ] {
        assert_eq!(approver.confirm(path, fields), (303, place.to_owned()), "{path}");
    }
    // Whatever a group is called, it has a page.
    let made = approver.confirm("/fleet/make-group", &[("group", "make"), ("expression", "site=paris")]);
    assert_eq!(made, (303, "/groups/make?done=saved".to_owned()));
    let (status, page) = approver.open("/groups/make");
    assert!(status == 200 && page.contains("Group make") && page.contains("site=paris"), "{status} {page}");
    let (status, place) = approver
        .confirm("/models/digits/rollout", &[("target", "1"), ("waves", "1, 100%"), ("approval", "each")]);
    assert_eq!(status, 303, "{place}");
    assert!(approver.open(&place).1.contains("<b>1 device</b>"), "the waves that were typed");
    let (status, place) = approver.confirm("/projects/robots/run", &[("cause", "fresh data")]);
    assert!(status == 303 && place.starts_with("/runs/"), "{status} {place}");
    plant.stop();
}

#[test]
fn whoever_acknowledges_an_alert_stands_beside_it() {
    let (plant, _) = lively();
    // What serves now, so that the alert is about it.
    plant.append(&[Event::AliasMoved {
        model: super::support::model(),
        alias: "champion".into(),
        version: 1,
    }]);
    let (viewer, operator) = (Person::new(&plant, Role::Viewer), Person::new(&plant, Role::Operator));
    let open = "1<span class=\"hidden\"> open</span>";
    assert!(viewer.open("/").1.contains(open), "{}", viewer.open("/").1);
    assert_eq!(viewer.open("/alerts/acknowledge?alert=a1").0, 403);
    let (status, page) = operator.open("/alerts/acknowledge?alert=none");
    assert!(status == 404 && page.contains("there is no alert none"), "{status} {page}");
    let ask = "/alerts/acknowledge?alert=a1";
    assert!(operator.open("/alerts").1.contains(&format!("href=\"{ask}\"")));
    let (_, page) = operator.open(ask);
    assert!(page.contains("error rate rose") && page.contains("starts all the same"), "{page}");
    let form = operator.form(ask);
    let send = |note| {
        operator.send("/alerts/acknowledge", &[("form", form.as_str()), ("alert", "a1"), ("note", note)])
    };
    assert_eq!(send("<i>a new lens</i>"), (303, "/alerts?done=acknowledged".to_owned()));
    let before = "/alerts?acknowledged=true&done=was-acknowledged-before";
    assert_eq!(send("twice"), (303, before.to_owned()), "the first one stands");
    assert_eq!(operator.send(ask, &[("form", "")]).0, 403);
    let page = viewer.open(before).1;
    assert!(page.contains("&lt;i&gt;a new lens&lt;/i&gt;") && page.contains("by a operator ("), "{page}");
    assert!(page.contains("Done: was acknowledged before") && !page.contains("twice"), "{page}");
    assert!(!page.contains(open), "no badge");
    assert!(viewer.open("/devices/robot").1.contains("acknowledged</span>"));
    assert!(viewer.open("/audit").1.contains("Alert acknowledged by a operator"));
    plant.stop();
}

#[test]
fn a_form_counts_once_in_its_session_and_for_its_role() {
    let (plant, rollout) = lively();
    let (viewer, operator, approver) = (
        Person::new(&plant, Role::Viewer),
        Person::new(&plant, Role::Operator),
        Person::new(&plant, Role::Approver),
    );
    let (approve, pause) = (format!("/rollouts/{rollout}/approve"), format!("/rollouts/{rollout}/pause"));
    assert_eq!(viewer.open(&pause).0, 403);
    assert_eq!(operator.open(&approve).0, 403, "what one asks for, another approves");
    let form = approver.form(&approve);
    for (person, path, form) in [
        (&viewer, &pause, form.as_str()),
        (&operator, &pause, form.as_str()),
        (&approver, &pause, form.as_str()),
        (&approver, &approve, ""),
        (&approver, &approve, "18bcfe56800.0011"),
    ] {
        let (status, page) = person.send(path, &[("form", form)]);
        assert_eq!(status, 403, "{path}: {page}");
    }
    let request = approver.agent.post(format!("{}{approve}", plant.url)).header("cookie", &approver.cookie);
    let elsewhere =
        request.header("origin", "http://evil.example").send_form([("form", form.as_str())]).unwrap();
    assert_eq!(elsewhere.status(), 403, "even a right form from elsewhere");
    plant.pass(std::time::Duration::from_secs(3 * 3600));
    assert_eq!(approver.send(&approve, &[("form", &form)]).0, 403, "it was open for too long");
    assert_eq!(approver.confirm(&approve, &[]).0, 303);
    plant.stop();
}

#[test]
fn what_cannot_be_done_is_said_in_a_page() {
    let (plant, rollout) = lively();
    let admin = Person::new(&plant, Role::Admin);
    for (path, fields, status, words) in [
        (
            "/fleet/make-group",
            &[("group", "NOT A NAME"), ("expression", "a=b")][..],
            422,
            "That was not understood",
        ),
        ("/fleet/make-group", &[("group", "g"), ("expression", "a=(")], 422, "the expression cannot be read"),
        ("/models/digits/rollout", &[("target", "9")], 404, "has no version 9"),
        ("/models/digits/rollout", &[("waves", "none")], 422, "a wave is a number"),
        ("/models/digits/held", &[("verdict", "released")], 404, ""),
        ("/alerts/acknowledge?alert=a1", &[("alert", "a2")], 404, "there is no alert a2"),
    ] {
        let form = match path.ends_with("held") {
            // There is nothing to decide about, and so no form.
            true => String::new(),
            false => admin.form(path),
        };
        let path = path.split('?').next().unwrap();
        let (found, page) = admin.send(path, &[&[("form", form.as_str())], fields].concat());
        assert!(found == status || (form.is_empty() && found == 403), "{path}: {found} {page}");
        assert!(page.contains(words) && page.contains("role=\"alert\""), "{path}: {page}");
    }
    assert_eq!(admin.confirm(&format!("/rollouts/{rollout}/abort"), &[]).0, 303);
    let (status, page) = admin.confirm(&format!("/rollouts/{rollout}/pause"), &[]);
    assert!(status == 409 && page.contains("That cannot be done now"), "{status} {page}");
    let (status, place) = admin.send("/sign-out", &[("form", "")]);
    assert_eq!(status, 403, "{place}");
    let page = admin.open("/").1;
    let form = page.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(admin.send("/sign-out", &[("form", form)]), (303, "/".to_owned()));
    plant.stop();
}
