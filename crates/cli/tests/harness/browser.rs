//! A real Chromium, driven over WebDriver as its users drive it: it opens pages, clicks, types, and tells what went wrong.
//!
//! Debian's packages `chromium` and `chromium-driver`. Where they are not, a test says that it is skipped.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Running;

const DRIVER: &str = "chromedriver";
/// How long the driver may take for one command.
const PATIENCE: Duration = Duration::from_secs(120);
/// Notes every layout shift that no input explains, from the first paint on.
const WATCH: &str = "window.__shifts = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (entry.hadRecentInput) continue;
            const name = (node) => node ? (node.nodeName + '#' + (node.id || '') + '.' + (node.className?.baseVal ?? node.className ?? '')) : 'gone';
            window.__shifts.push([entry.value, entry.sources.map((source) => name(source.node)).join(' ')]);
        }
    }).observe({type: 'layout-shift', buffered: true});";

/// A browser with one window.
pub(crate) struct Browser {
    base: String,
    _driver: Running,
}

/// Whether it looks as it does by day, by night, or by day to somebody who wants nothing to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Light {
    Day,
    Night,
    Calm,
}

pub(crate) const TAB: char = '\u{e004}';
pub(crate) const ENTER: char = '\u{e007}';

/// What a page took.
#[derive(Debug, Default)]
pub(crate) struct Weight {
    pub(crate) bytes: u64,
    /// Addresses that were asked for.
    pub(crate) addresses: Vec<String>,
}

impl Browser {
    /// Starts it; none where it is not installed, which has been said.
    pub(crate) fn open() -> Option<Self> {
        let Ok(driver) =
            Command::new(DRIVER).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
        else {
            edgeward_testkit_python::skip("no chromedriver: install Debian's chromium and chromium-driver");
            return None;
        };
        let mut driver = Running(driver);
        let port = port(&mut driver.0);
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-proxy-server",
        ];
        let asked = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let root = format!("http://127.0.0.1:{port}/session");
        let said = post(&root, &asked);
        let session = said["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {said}")).to_owned();
        let browser = Self { base: format!("{root}/{session}"), _driver: driver };
        let patience = PATIENCE.as_millis() as u64;
        post(&format!("{}/timeouts", browser.base), &json!({"script": patience, "pageLoad": patience}));
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", &json!({"source": WATCH}));
        Some(browser)
    }

    fn cdp(&self, command: &str, params: &Value) -> Value {
        post(&format!("{}/goog/cdp/execute", self.base), &json!({"cmd": command, "params": params}))
    }

    /// How large the window is, in CSS pixels, and when it is.
    pub(crate) fn look(&self, width: u32, height: u32, light: Light) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.cdp("Emulation.setDeviceMetricsOverride", &metrics);
        let (scheme, motion) = match light {
            Light::Day => ("light", "no-preference"),
            Light::Night => ("dark", "no-preference"),
            Light::Calm => ("light", "reduce"),
        };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion}]);
        self.cdp("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Presses a key, as WebDriver numbers those that are no letters.
    pub(crate) fn press(&self, key: char) {
        let strokes = ["keyDown", "keyUp"].map(|stroke| json!({"type": stroke, "value": key}));
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes});
        post(&format!("{}/actions", self.base), &json!({"actions": [keyboard]}));
    }

    pub(crate) fn visit(&self, url: &str) {
        post(&format!("{}/url", self.base), &json!({"url": url}));
    }

    /// What a function's body returns in the page.
    pub(crate) fn ask(&self, body: &str) -> Value {
        post(&format!("{}/execute/sync", self.base), &json!({"script": body, "args": []}))
    }

    /// What a promise in the page comes to.
    pub(crate) fn ask_later(&self, promise: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; ({promise}).then(done, (error) => done('failed: ' + error));"
        );
        post(&format!("{}/execute/async", self.base), &json!({"script": script, "args": []}))
    }

    /// Clicks what a selector finds first, in one step: a live part of the page may be replaced between two.
    pub(crate) fn click(&self, selector: &str) {
        self.element(selector);
        self.ask(&format!("document.querySelector({}).click()", json!(selector)));
    }

    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        post(&format!("{}/element/{element}/value", self.base), &json!({"text": text}));
    }

    fn element(&self, selector: &str) -> String {
        let asked = json!({"using": "css selector", "value": selector});
        let found = post(&format!("{}/element", self.base), &asked);
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.unwrap_or_else(|| panic!("nothing is {selector} at {}: {found}", self.ask("return location.href")))
            .to_owned()
    }

    /// What the console said since the last time: errors, refusals of the content security policy, files that are not there.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let said = post(&format!("{}/se/log", self.base), &json!({"type": "browser"}));
        let lines = said.as_array().cloned().unwrap_or_default();
        let bad = lines.iter().filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING");
        bad.map(|line| line["message"].to_string()).collect()
    }

    /// What was asked for over the network since the last time.
    pub(crate) fn weight(&self) -> Weight {
        let said = post(&format!("{}/se/log", self.base), &json!({"type": "performance"}));
        let mut weight = Weight::default();
        for line in said.as_array().into_iter().flatten() {
            let event: Value =
                serde_json::from_str(line["message"].as_str().unwrap_or_default()).unwrap_or_default();
            let (method, params) = (&event["message"]["method"], &event["message"]["params"]);
            if method == "Network.requestWillBeSent" {
                weight.addresses.extend(params["request"]["url"].as_str().map(str::to_owned));
            }
            if method == "Network.loadingFinished" {
                weight.bytes += params["encodedDataLength"].as_f64().unwrap_or(0.0) as u64;
            }
        }
        weight
    }

    /// Layout shifts that no input explains: the sum, and of what.
    pub(crate) fn shifts(&self) -> (f64, String) {
        let said = self.ask("return window.__shifts");
        let list = said.as_array().cloned().unwrap_or_default();
        let sum = list.iter().filter_map(|one| one[0].as_f64()).sum();
        (sum, said.to_string())
    }

    /// The window as a PNG, in base64.
    pub(crate) fn picture(&self) -> String {
        let said = self.cdp("Page.captureScreenshot", &json!({"format": "png"}));
        said["data"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver is ended after it.
        let _ = ureq::delete(&self.base).config().proxy(None).build().call();
    }
}

fn port(driver: &mut Child) -> u16 {
    let said = BufReader::new(driver.stdout.take().expect("its output is piped"));
    let told = said.lines().map_while(Result::ok).find_map(|line| {
        line.split("started successfully on port ").nth(1)?.trim_end_matches('.').parse().ok()
    });
    told.expect("the driver says on which port it listens")
}

fn post(url: &str, body: &Value) -> Value {
    let request = ureq::post(url)
        .config()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build();
    let mut answer = request.send_json(body).expect("the driver answers");
    let said: Value =
        answer.body_mut().with_config().limit(64 << 20).read_json().expect("the driver speaks JSON");
    let refused = said["value"]["error"].as_str();
    assert!(
        refused.is_none(),
        "{url} {}: {}",
        body.to_string().chars().take(200).collect::<String>(),
        said["value"]["message"]
    );
    said["value"].clone()
}
