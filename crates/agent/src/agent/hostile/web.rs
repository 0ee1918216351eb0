//! A web server that answers as badly as a test wants: over real sockets, one request per connection.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeward_api::device::Report;
use edgeward_core::Digest;
use serde_json::json;

/// How the files of a repository are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// As they are.
    Plain,
    /// This one never ends.
    Endless(&'static str),
    /// This one comes byte by byte, without an end in sight.
    Drip(&'static str),
    /// Nothing comes.
    Silent,
    /// Each file comes after so many milliseconds.
    Late(u64),
    /// The connection ends in the middle of this one.
    HangUp(&'static str),
    /// This status instead of any file.
    Status(u16),
    /// A sign-in page instead of any file.
    Portal,
    /// Once a device has a timestamp, it is told that nothing is new.
    Frozen,
}

/// What is below one address.
pub(super) struct Site {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) manner: Manner,
    pub(super) reports: Vec<Report>,
}

/// A web server.
pub(super) struct Web {
    pub(super) url: String,
    sites: Arc<Mutex<BTreeMap<String, Site>>>,
}

struct Request {
    path: String,
    tagged: bool,
    body: Vec<u8>,
}

impl Web {
    pub(super) fn start(blobs: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sites: Arc<Mutex<BTreeMap<String, Site>>> = Arc::default();
        let (shared, blobs) = (Arc::clone(&sites), Arc::new(blobs));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, blobs) = (Arc::clone(&shared), Arc::clone(&blobs));
                // A client that goes away is what some of these answers are for.
                std::thread::spawn(move || drop(answer(stream, &shared, &blobs)));
            }
        });
        Self { url, sites }
    }

    pub(super) fn put(&self, site: &str, files: &BTreeMap<String, Vec<u8>>, manner: Manner) {
        let new = Site { files: files.clone(), manner, reports: Vec::new() };
        self.sites.lock().unwrap().insert(site.to_owned(), new);
    }

    /// Looks at the reports that came.
    pub(super) fn reports<T>(&self, site: &str, look: impl FnOnce(&[Report]) -> T) -> T {
        look(&self.sites.lock().unwrap()[site].reports)
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut tagged) = (0, false);
    loop {
        line.clear();
        lines.read_line(&mut line)?;
        match line.trim_end().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap_or(0),
            Some(("if-none-match", _)) => tagged = true,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body)?;
    Ok(Request { path, tagged, body })
}

fn answer(
    stream: TcpStream,
    sites: &Mutex<BTreeMap<String, Site>>,
    blobs: &BTreeMap<String, Vec<u8>>,
) -> std::io::Result<()> {
    let request = read(&stream)?;
    let (site, path) = request.path.trim_start_matches('/').split_once("/v1/").unwrap_or_default();
    if let Some(path) = path.strip_prefix("repository/") {
        let (file, manner) = {
            let sites = sites.lock().unwrap();
            let Some(site) = sites.get(site) else { return send(&stream, 404, b"") };
            (site.files.get(path).cloned(), site.manner)
        };
        return in_manner(stream, manner, path, file, request.tagged);
    }
    if let Some(blob) = path.strip_prefix("blobs/").and_then(|hex| blobs.get(hex)) {
        return send(&stream, 200, blob);
    }
    let mut sites = sites.lock().unwrap();
    match (path, sites.get_mut(site)) {
        ("devices/enrol", Some(site)) => {
            let root: serde_json::Value = serde_json::from_slice(&site.files["metadata/1.root.json"])?;
            let answer = json!({ "device": "robot-1", "credential": "credential", "root": root });
            send(&stream, 200, answer.to_string().as_bytes())
        }
        ("device/report", Some(site)) => {
            site.reports.extend(serde_json::from_slice::<Report>(&request.body));
            send(&stream, 200, b"")
        }
        _ => send(&stream, 404, b""),
    }
}

fn in_manner(
    mut stream: TcpStream,
    manner: Manner,
    path: &str,
    file: Option<Vec<u8>>,
    tagged: bool,
) -> std::io::Result<()> {
    let is = |wanted: &str| path.ends_with(wanted);
    match manner {
        Manner::Silent => {
            std::thread::sleep(Duration::from_secs(5));
            Ok(())
        }
        Manner::Late(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            whole(&stream, file)
        }
        Manner::Endless(wanted) if is(wanted) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b' '; 4096])?;
            }
        }
        Manner::Drip(wanted) if is(wanted) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Manner::HangUp(wanted) if is(wanted) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"signed\":")
        }
        Manner::Status(status) => send(&stream, status, b""),
        Manner::Portal => send(&stream, 200, b"<html>Sign in to go on</html>"),
        Manner::Frozen if tagged => send(&stream, 304, b""),
        _ => whole(&stream, file),
    }
}

fn whole(stream: &TcpStream, file: Option<Vec<u8>>) -> std::io::Result<()> {
    file.map_or_else(|| send(stream, 404, b""), |bytes| send(stream, 200, &bytes))
}

fn send(mut stream: &TcpStream, status: u16, body: &[u8]) -> std::io::Result<()> {
    let (length, etag) = (body.len(), Digest::of(body).short());
    let head = format!(
        "HTTP/1.1 {status} x\r\netag: \"{etag}\"\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
