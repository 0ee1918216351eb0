//! The dashboard in a real Chromium, before a real control plane with real agents and simulated devices: every page at 320 px,
//! at 1280 px and by night; what assistive technology needs; how much it moves, weighs and asks of others; and one journey from
//! an alert to a rollout that a person approves and watches.

#![cfg(feature = "control")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "harness/answer.rs"]
mod answer;
#[path = "harness/browser.rs"]
mod browser;
mod harness;
#[path = "harness/pumps.rs"]
mod pumps;
#[path = "harness/waiting.rs"]
mod waiting;
#[path = "harness/yard.rs"]
mod yard;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use browser::{Browser, ENTER, Light, TAB};
use edgeward_core::envelope::Base64;
use harness::{Running, edgeward, serve};
use serde_json::{Value, json};
use tempfile::TempDir;
use waiting::wait;
use yard::{active, bundle, get, join_token, operate, train};

/// Heaviest page, with everything that it loads, uncompressed.
const PAGE_BYTES_MAX: u64 = 200_000;
/// Most that a page may move by itself: "good" ends at 0.1.
const SHIFT_MAX: f64 = 0.005;
/// Most characters in a line of text, however wide the screen is: eyes find the next one no more from there on.
const LINE_CHARS_MAX: u64 = 120;
/// Most stops of the Tab key to the last control of a form.
const STOPS_MAX: usize = 40;
const AXE: &[&str] = &["--no-deps", "axe-playwright-python==0.1.8"];

/// A control plane with a model, a device with traffic, simulated ones, an alert, and a rollout that waits.
struct Yard {
    dir: TempDir,
    url: String,
    _running: Vec<Running>,
}

impl Yard {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (server, said) = serve(dir.path(), &[]);
        let url = said["address"].as_str().unwrap().to_owned();
        train(dir.path(), &url, 600, "");
        operate(dir.path(), &url, &["deploy", "pumps"]);
        let mut yard = Self { dir, url, _running: vec![server] };
        yard.agent("pump-1");
        yard.simulated(24);
        wait("the model on the device", || active(&yard.path().join("pump-1")));
        yard.ask("pump-1", 60, 1.0);
        // One value that no pump has: an alert at once.
        yard.ask("pump-1", 1, -1e6);
        wait("the alert", || yard.operate(&["alert", "ls"])["alerts"].as_array()?.first().cloned());
        yard
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn operate(&self, words: &[&str]) -> Value {
        operate(self.path(), &self.url, words)
    }

    fn start(&mut self, words: &[&str]) {
        let mut command = edgeward(self.dir.path());
        command.env("EDGEWARD_SERVER", &self.url).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        self._running.push(Running(command.spawn().unwrap()));
    }

    fn agent(&mut self, name: &str) {
        let token = join_token(self.path(), &self.url);
        self.start(&[
            "agent",
            "--data",
            name,
            "--name",
            name,
            "--join-token",
            &token,
            "--listen",
            "127.0.0.1:0",
            "--poll-ms",
            "200",
            "--upload-ms",
            "300",
        ]);
    }

    fn simulated(&mut self, devices: u32) {
        self.start(&[
            "sim",
            "--devices",
            &devices.to_string(),
            "--poll",
            "1s",
            "--upload",
            "2s",
            "--duration",
            "1h",
        ]);
        wait("the simulated devices", || {
            let all = self.operate(&["device", "ls"])["devices"].as_array()?.len();
            (all > devices as usize).then_some(())
        });
    }

    /// So many requests of a device, each with its label; `vibration` scales one feature.
    fn ask(&self, device: &str, requests: u64, vibration: f64) {
        let url = fs::read_to_string(self.path().join(device).join("endpoint")).unwrap().trim().to_owned();
        for request in 0..requests {
            let (worn, spread) = (request % 2, request * 7919 % 1000);
            let row =
                [55.0 + (10 * worn + spread % 7) as f64, (40 + 50 * worn + spread % 13) as f64 * vibration];
            let input = json!({"name": "input", "datatype": "FP32", "shape": [1, 2], "data": row});
            let answer = post(&format!("{url}/v2/models/pumps/infer"), &json!({"inputs": [input]}));
            let id = answer["parameters"]["prediction_id"].as_str().or(answer["id"].as_str()).unwrap();
            let label = if worn == 1 { "worn" } else { "good" };
            post(&format!("{url}/v1/feedback"), &json!({"id": id, "label": label}));
        }
    }
}

fn post(url: &str, body: &Value) -> Value {
    let answer = ureq::post(url).config().proxy(None).build().send_json(body);
    answer.unwrap().body_mut().read_json().unwrap()
}

/// Every page that there is something to show on.
fn pages(yard: &Yard) -> Vec<String> {
    let rollouts = yard.operate(&["rollout", "ls"]);
    let rollout = rollouts["rollouts"][0]["id"].as_str().unwrap().to_owned();
    let run = yard.operate(&["runs", "ls"])["runs"][0]["id"].as_str().unwrap().to_owned();
    let fixed = [
        "/",
        "/fleet",
        "/fleet?standing=fine&q=sim",
        "/devices/pump-1",
        "/devices/pump-1/pin",
        "/devices/pump-1/labels",
        "/devices/pump-1/revoke",
        "/fleet/make-group",
        "/groups/site",
        "/models",
        "/models/pumps",
        "/models/pumps/1",
        "/models/pumps/drift?stream=vibration",
        "/models/pumps/rollout",
        "/models/pumps/held",
        "/rollouts",
        "/runs",
        "/projects/pumps/run",
        "/shadows",
        "/alerts",
        "/alerts?acknowledged=true",
        "/alerts?all=true",
        "/audit",
        "/audit/0",
    ];
    let mut pages: Vec<String> = fixed.map(str::to_owned).to_vec();
    pages.extend(["", "/pause", "/abort"].map(|verb| format!("/rollouts/{rollout}{verb}")));
    pages.push(format!("/runs/{run}"));
    let alert = yard.operate(&["alert", "ls"])["alerts"][0]["id"].as_str().unwrap().to_owned();
    pages.push(format!("/alerts/acknowledge?alert={alert}"));
    pages
}

/// What is wrong with the page that is open, whatever it shows.
fn flaws(browser: &Browser, width: u32) -> Vec<String> {
    let mut flaws = browser.complaints();
    let wide = browser.ask("return document.documentElement.scrollWidth");
    if wide.as_u64().is_none_or(|wide| wide > u64::from(width)) {
        let widest = browser.ask(
            "return [...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll') && e.getBoundingClientRect().right > innerWidth + 1)
                .slice(0, 5).map((e) => e.nodeName + '.' + (e.className.baseVal ?? e.className)).join(' ')",
        );
        flaws.push(format!("{wide} px wide: {widest}"));
    }
    let nameless = browser.ask(
        "return [...document.querySelectorAll('a[href],button,input:not([type=hidden]),select,textarea,summary,[role=region]')]
            .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length || e.getAttribute('aria-labelledby')))
            .map((e) => e.outerHTML.slice(0, 80))",
    );
    flaws.extend(nameless.as_array().into_iter().flatten().map(|control| format!("has no name: {control}")));
    let shape = browser.ask(
        "return [document.querySelectorAll('h1').length, document.querySelectorAll('main').length, document.documentElement.lang, document.querySelectorAll('[style],style').length]",
    );
    if shape != json!([1, 1, "en", 0]) {
        flaws.push(format!("headings, mains, language, own styles: {shape}"));
    }
    flaws
}

/// Lines of text that are too long to read.
fn long_lines(browser: &Browser) -> Vec<String> {
    let found = browser.ask(&format!(
        "return [...document.querySelectorAll('main p, main li, main dd')].map((e) => {{
            const lines = Math.max(1, Math.round(e.clientHeight / parseFloat(getComputedStyle(e).lineHeight)));
            return [e.innerText.length / lines, e.outerHTML.slice(0, 120)];
        }}).filter(([chars]) => chars > {LINE_CHARS_MAX}).map(([chars, html]) => Math.round(chars) + ' characters in a line: ' + html)",
    ));
    found.as_array().into_iter().flatten().map(ToString::to_string).collect()
}

/// Animations and transitions that run.
fn moving(browser: &Browser) -> u64 {
    let running = "return document.getAnimations().filter((one) => one.playState === 'running').length";
    browser.ask(running).as_u64().unwrap()
}

/// What axe-core finds: WCAG 2.2 A and AA, contrast among it.
fn axe(browser: &Browser, source: &str) -> Vec<String> {
    browser.ask(source);
    let asked = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})
        .then((found) => found.violations.map((one) => one.id + ': ' + one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160) + ' ' + (node.any[0]?.message ?? '')).join(' | ')))";
    let found = browser.ask_later(asked);
    found
        .as_array()
        .map_or_else(|| vec![found.to_string()], |found| found.iter().map(ToString::to_string).collect())
}

fn axe_source() -> Option<String> {
    let environment = edgeward_testkit_python::environment("axe", AXE).ok()?;
    let find = "import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec('axe_playwright_python').origin).parent / 'axe.min.js')";
    Some(fs::read_to_string(environment.run(find, &[]).trim()).unwrap())
}

#[test]
fn every_page_is_sound_at_any_width_by_day_and_by_night() {
    let Some(browser) = Browser::open() else { return };
    let yard = Yard::new();
    yard.operate(&["group", "create", "site", "--where", "os=linux"]);
    let axe_source = axe_source();
    let (mut flawed, mut moved) = (Vec::new(), 0);
    for page in pages(&yard) {
        for (width, height, light) in [
            (320, 640, Light::Day),
            (1280, 900, Light::Day),
            (1280, 900, Light::Night),
            (3840, 2160, Light::Calm),
        ] {
            browser.look(width, height, light);
            browser.visit(&format!("{}{page}", yard.url));
            let mut found = flaws(&browser, width);
            if let Some(source) = axe_source.as_ref().filter(|_| width == 1280 || page == "/") {
                found.extend(axe(&browser, source));
            }
            match (light, moving(&browser)) {
                (Light::Calm, 0) => found.extend(long_lines(&browser)),
                (Light::Calm, some) => found.push(format!("{some} animations run")),
                (_, some) => moved += some,
            }
            flawed.extend(found.into_iter().map(|flaw| format!("{page} at {width} px, {light:?}: {flaw}")));
        }
    }
    assert!(flawed.is_empty(), "{}", flawed.join("\n"));
    assert!(moved > 0, "nothing moves for anybody, and so nothing is known about those who want that");
}

#[test]
fn pages_stand_still_weigh_little_and_ask_nobody_else() {
    let Some(browser) = Browser::open() else { return };
    let yard = Yard::new();
    let mut figures = Vec::new();
    for page in pages(&yard) {
        browser.look(1280, 900, Light::Day);
        browser.visit("about:blank");
        browser.weight();
        browser.visit(&format!("{}{page}", yard.url));
        let weight = browser.weight();
        let foreign: Vec<&String> =
            weight.addresses.iter().filter(|address| !address.starts_with(&yard.url)).collect();
        assert!(foreign.is_empty(), "{page} asks {foreign:?}");
        assert!(weight.bytes < PAGE_BYTES_MAX, "{page} weighs {} bytes", weight.bytes);
        let paint = browser
            .ask("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null");
        // It is looked at again every two seconds meanwhile, with traffic between.
        let looks = if ["/", "/fleet", "/alerts"].contains(&page.as_str()) { 3 } else { 1 };
        for _ in 0..looks {
            yard.ask("pump-1", 10, 1.0);
            browser.ask_later("new Promise((done) => setTimeout(done, 1500))");
        }
        let (shift, of) = browser.shifts();
        assert!(shift <= SHIFT_MAX, "{page} moves by {shift}: {of}");
        figures.push(format!(
            "{page}: {} kB, first paint after {paint} ms, moved {shift:.4}",
            weight.bytes / 1000
        ));
    }
    println!("{}", figures.join("\n"));
}

/// The path of the page that is open, once it is another one.
fn path(browser: &Browser) -> String {
    browser.ask("return location.pathname").as_str().unwrap().to_owned()
}

fn text(browser: &Browser) -> String {
    browser
        .ask("return document.querySelector('main')?.innerText ?? ''")
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Waits for the page of a path.
fn at(browser: &Browser, wanted: &str) {
    wait(&format!("the page {wanted}"), || (path(browser) == wanted).then_some(()));
}

/// Waits until the page says so.
fn says(browser: &Browser, words: &str) {
    wait(&format!("'{words}' on {}", path(browser)), || text(browser).contains(words).then_some(()));
}

/// Somebody has seen the alert, and says so.
fn acknowledge(browser: &Browser, yard: &Yard) {
    browser.look(1280, 900, Light::Day);
    browser.visit(&format!("{}/alerts", yard.url));
    // It is open from when the version that it is about serves everybody.
    wait("an open alert", || {
        let offered = browser.ask("return document.querySelectorAll('td a.button').length").as_u64()?;
        (offered > 0).then_some(())
    });
    browser.click("td a.button");
    at(browser, "/alerts/acknowledge");
    says(browser, "starts all the same");
    browser.type_into("#note", "a <b>loose</b> screw");
    browser.click("main form button");
    at(browser, "/alerts");
    says(browser, "Done: acknowledged");
    browser.click("nav.tabs a:nth-child(2)");
    says(browser, "“a <b>loose</b> screw”");
    let alerts = yard.operate(&["alert", "ls"]);
    let seen =
        alerts["alerts"].as_array().unwrap().iter().filter(|alert| alert["acknowledged"]["by"] == "local");
    assert_eq!(seen.count(), 1, "{alerts}");
}

#[test]
fn from_an_alert_to_why_to_a_rollout_that_is_approved_and_watched() {
    let Some(browser) = Browser::open() else { return };
    let yard = Yard::new();
    acknowledge(&browser, &yard);
    train(yard.path(), &yard.url, 900, "");
    yard.operate(&["deploy", "pumps"]);
    let second = bundle(yard.path(), &yard.url, 2);
    wait("the second version", || active(&yard.path().join("pump-1")).filter(|runs| *runs == second));
    wait("the end of its rollout", || {
        let rollouts = yard.operate(&["rollout", "ls"]);
        (rollouts["rollouts"][0]["outcome"] == "completed").then_some(())
    });
    browser.look(1280, 900, Light::Day);
    browser.visit(&format!("{}/alerts?all=true", yard.url));
    says(&browser, "pump-1");
    browser.click("tbody th p a");
    at(&browser, "/models/pumps/drift");
    says(&browser, "threshold");

    // Back to the first version, with a person's consent for each wave.
    browser.click("nav.crumbs li:nth-child(2) a");
    browser.click(".actions a[href$='/rollout']");
    browser.ask(
        "document.querySelector('#target').value = '1'; document.querySelector('#approval').value = 'each'",
    );
    browser.type_into("#cause", "the first one was better <b>by far</b>");
    browser.click("main form button");
    says(&browser, "waits for approval");
    let rollout = path(&browser);
    assert!(rollout.starts_with("/rollouts/"), "{rollout}");
    assert!(text(&browser).contains("<b>by far</b>"), "what a person types is only text");

    browser.click(".actions a[href$='/approve']");
    at(&browser, &format!("{rollout}/approve"));
    browser.type_into("#cause", "looks good");
    browser.click("main form button");
    at(&browser, &rollout);
    // Nothing is loaded again from here on: the page follows by itself.
    browser.ask("window.__same = true");
    // Each of the waves asks.
    wait("the end of the rollout", || {
        if text(&browser).contains("waits for approval") && text(&browser).contains("wave 2") {
            yard.operate(&["rollout", "approve", "--cause", "the second, too"]);
        }
        text(&browser).contains("completed").then_some(())
    });
    assert_eq!(browser.ask("return window.__same"), json!(true));
    assert_ne!(active(&yard.path().join("pump-1")).as_ref(), Some(&second));
    let (shift, of) = browser.shifts();
    assert!(shift <= 0.1, "moves by {shift}: {of}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let mut events = edgeward(yard.path());
    let history = events.env("EDGEWARD_SERVER", &yard.url).args(["events", "--json"]).output().unwrap();
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    assert!(history.contains("looks good"), "the cause is in the ledger: {history}");
}

/// Where the keyboard stands: what the control says, and whether somebody sees that it is this one.
fn focused(browser: &Browser) -> (String, bool) {
    let said = browser.ask(
        "const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
        const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && style.outlineColor !== 'transparent';
        return [(e.labels?.[0] ?? e).textContent.trim(), outlined && box.left >= 0 && box.right <= innerWidth && box.width > 0]",
    );
    (said[0].as_str().unwrap().to_owned(), said[1] == true)
}

/// Everything on the page of a form is reached by the keyboard, in the order in which it is read, and seen to be.
fn by_keyboard(browser: &Browser, form: &str) {
    browser.visit(form);
    browser.press(TAB);
    assert_eq!(focused(browser), ("Skip to content".to_owned(), true));
    let mut stops = vec![focused(browser).0];
    while stops.last().is_some_and(|stop| stop != "Save the group") && stops.len() < STOPS_MAX {
        browser.press(TAB);
        let (stop, seen) = focused(browser);
        assert!(seen, "nobody sees that the keyboard stands at '{stop}'");
        stops.push(stop);
    }
    let wanted =
        ["Skip to content", "Overview", "Fleet", "Alerts", "Audit", "Sign out", "Name", "Save the group"];
    let places = wanted.map(|name| stops.iter().position(|stop| stop == name));
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{wanted:?} in {stops:?}");
    // The first stop leads to the content, past all of these.
    browser.visit(form);
    browser.press(TAB);
    browser.press(ENTER);
    assert_eq!(browser.ask("return document.activeElement.id"), json!("main"));
}

#[test]
fn a_form_of_nobody_is_refused_and_a_lost_server_is_told() {
    let Some(browser) = Browser::open() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (server, said) = serve(dir.path(), &["--require-auth"]);
    let url = said["address"].as_str().unwrap().to_owned();
    let token = fs::read_to_string(dir.path().join("srv/operator.token")).unwrap();
    browser.look(1280, 900, Light::Day);
    browser.visit(&format!("{url}/fleet"));
    says(&browser, "Operator token");
    browser.type_into("#token", "ewo_guess");
    browser.click("form button");
    says(&browser, "not a token of this control plane");
    browser.type_into("#token", token.trim());
    browser.click("form button");
    at(&browser, "/fleet");
    says(&browser, "No device has joined");
    browser.complaints();

    // A form without what ties it to the session, sent by the very browser that is signed in.
    let make = format!("{url}/fleet/make-group");
    browser.visit(&make);
    browser.ask("document.querySelector('main input[name=form]').value = '1.00'");
    browser.type_into("#group", "site");
    browser.type_into("#expression", "os=linux");
    browser.click("main form button");
    says(&browser, "not one of this session");
    browser.visit(&make);
    browser.type_into("#group", "site");
    browser.type_into("#expression", "os=linux");
    browser.click("main form button");
    at(&browser, "/groups/site");

    by_keyboard(&browser, &make);
    browser.visit(&url);
    drop(server);
    wait("the word that the server is away", || {
        browser.ask("return !document.getElementById('away').hidden").as_bool().filter(|told| *told)
    });
    assert!(get(&url).is_none());
}

/// `cargo test --test dashboard -- --ignored screenshots` with `EDGEWARD_DASHBOARD` set to the address of a control plane:
/// writes the pictures of the guide to `docs/images`.
#[test]
#[ignore = "writes into the source tree"]
fn screenshots() {
    let Ok(url) = std::env::var("EDGEWARD_DASHBOARD") else { return };
    let Some(browser) = Browser::open() else { return };
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images");
    let images = std::env::var_os("EDGEWARD_IMAGES").map_or(images, Into::into);
    let list = std::env::var("EDGEWARD_PAGES").unwrap_or_else(|_| "dashboard=/".to_owned());
    for shot in list.split(' ') {
        let (name, rest) = shot.split_once('=').unwrap();
        let (page, size) = rest.split_once('@').unwrap_or((rest, "1280x900"));
        let (size, light) = size.strip_suffix('n').map_or((size, Light::Day), |size| (size, Light::Night));
        let (width, height) = size.split_once('x').unwrap();
        browser.look(width.parse().unwrap(), height.parse().unwrap(), light);
        browser.visit(&format!("{url}{page}"));
        browser.ask_later("new Promise((done) => setTimeout(done, 400))");
        let picture: Base64 = serde_json::from_value(json!(browser.picture())).unwrap();
        fs::write(images.join(format!("{name}.png")), picture.0).unwrap();
    }
}
