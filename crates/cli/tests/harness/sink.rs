//! A web server that takes whatever is posted to it, and keeps it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for a post.
const PATIENCE: Duration = Duration::from_secs(60);

/// One post.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// The server.
pub(crate) struct Sink {
    pub(crate) url: String,
    taken: Arc<Mutex<Vec<Post>>>,
    refusing: Arc<Mutex<u32>>,
}

impl Sink {
    /// On a port of its own. The first `refusing` posts are answered with 503.
    pub(crate) fn start(refusing: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (taken, refusing) = (Arc::default(), Arc::new(Mutex::new(refusing)));
        let (kept, refuses) = (Arc::clone(&taken), Arc::clone(&refusing));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, refuses) = (Arc::clone(&kept), Arc::clone(&refuses));
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Some(post) = read(&mut reader) {
                        answer(reader.get_mut(), post, &kept, &refuses);
                    }
                });
            }
        });
        Self { url, taken, refusing }
    }

    /// What was taken so far.
    pub(crate) fn taken(&self) -> Vec<Post> {
        self.taken.lock().unwrap().clone()
    }

    /// Whether every refusal was given.
    pub(crate) fn has_refused(&self) -> bool {
        *self.refusing.lock().unwrap() == 0
    }

    /// The first post for which `is` holds.
    pub(crate) fn wait_for(&self, what: &str, is: impl Fn(&Post) -> bool) -> Post {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(post) = self.taken().into_iter().find(&is) {
                return post;
            }
            assert!(Instant::now() < until, "no {what} came; {} posts did", self.taken().len());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn answer(stream: &mut TcpStream, post: Post, kept: &Mutex<Vec<Post>>, refusing: &Mutex<u32>) {
    let mut left = refusing.lock().unwrap();
    let status = match *left {
        0 => {
            kept.lock().unwrap().push(post);
            "200 OK"
        }
        _ => {
            *left -= 1;
            "503 Service Unavailable"
        }
    };
    let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Post> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Post { path, headers, body })
}
