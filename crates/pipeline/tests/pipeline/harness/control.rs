//! A control plane of the few routes a run needs, in memory, on a free loopback port.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use edgeward_api::Client;
use edgeward_core::Timestamp;
use edgeward_trust::tuf::repository;
use serde_json::{Value, json};

/// What was told to the control plane.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) uploads: u32,
    pub(crate) announced: Vec<Value>,
    pub(crate) gates: Vec<Value>,
    pub(crate) ends: Vec<Value>,
    pub(crate) versions: Vec<Value>,
    pub(crate) champion: Option<u64>,
    pub(crate) samples: Vec<Value>,
    /// Answer this many requests with 503 first.
    pub(crate) away: u32,
}

pub(crate) struct Control {
    pub(crate) told: Arc<Mutex<Told>>,
    pub(crate) client: Client,
}

impl Control {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), None);
        let told = Arc::new(Mutex::new(Told::default()));
        let shared = Arc::clone(&told);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &shared);
            }
        });
        Self { told, client }
    }
}

fn answer(stream: TcpStream, told: &Mutex<Told>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
    let mut body = vec![0; content_length(&mut reader)];
    reader.read_exact(&mut body).unwrap();
    let (status, answer) = told.lock().unwrap().handle(&method, &path, body);
    let head =
        format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
    let mut stream = stream;
    // A client that only asks whether a blob is there hangs up early.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer));
}

fn content_length(reader: &mut BufReader<TcpStream>) -> usize {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            return length;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
}

/// A fleet that has released nothing yet, as the key of the runs has signed it.
fn releases() -> Vec<u8> {
    let signer = edgeward_trust::SigningKey::from_seed(&[7; 32]);
    repository::sign(&repository::empty_targets(Timestamp(4_000_000_000_000)), &[&signer]).unwrap()
}

impl Told {
    fn handle(&mut self, method: &str, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        if self.away > 0 {
            self.away -= 1;
            return (503, Vec::new());
        }
        let parts: Vec<&str> = path.split(['/', '?']).skip(1).collect();
        let document = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let ok = |value: Value| (200, value.to_string().into_bytes());
        match (method, &parts[..]) {
            ("PUT", ["v1", "blobs", digest]) => {
                self.uploads += 1;
                self.blobs.insert((*digest).to_owned(), body);
                ok(json!({}))
            }
            ("GET", ["v1", "blobs", digest]) => match self.blobs.get(*digest) {
                Some(bytes) => (200, bytes.clone()),
                None => (404, Vec::new()),
            },
            ("POST", ["v1", "runs"]) => {
                let run = json!({
                    "id": document["run"], "project": document["project"], "cause": document["cause"],
                    "requested_at_ms": 0, "finished_at_ms": null, "outcome": null, "gates": [],
                });
                self.announced.push(document);
                ok(run)
            }
            ("POST", ["v1", "runs", _, "gates"]) => {
                self.gates.push(document);
                ok(json!({}))
            }
            ("POST", ["v1", "runs", _, "finish"]) => {
                self.ends.push(document);
                ok(json!({}))
            }
            ("POST", ["v1", "models", _, "versions"]) => ok(self.register(&document)),
            ("GET", ["v1", "releases"]) => (200, releases()),
            ("GET", ["v1", "models"]) => ok(self.models()),
            ("GET", ["v1", "models", _, "samples", query]) => ok(self.page(query)),
            _ => (404, Vec::new()),
        }
    }

    fn register(&mut self, document: &Value) -> Value {
        let known = self.versions.iter().find(|version| version["bundle"] == document["bundle"]).cloned();
        known.unwrap_or_else(|| {
            let version = json!({
                "version": self.versions.len() + 1, "bundle": document["bundle"], "run": document["run"],
                "registered_at_ms": 0, "metrics": document["metrics"],
            });
            self.versions.push(version.clone());
            version
        })
    }

    fn models(&self) -> Value {
        let aliases = self.champion.map_or(json!({}), |version| json!({ "champion": version }));
        json!({ "models": [{ "name": "digits", "aliases": aliases, "versions": self.versions }] })
    }

    /// Pages of at most two, so that paging is tried.
    fn page(&self, query: &str) -> Value {
        let after: usize = query.trim_start_matches("after=").split('&').next().unwrap().parse().unwrap();
        let rest = &self.samples[after.min(self.samples.len())..];
        let next = (rest.len() > 2).then_some(after + 2);
        json!({ "samples": rest.iter().take(2).collect::<Vec<_>>(), "next": next })
    }
}
