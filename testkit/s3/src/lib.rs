//! A real S3 server on loopback, for tests: `s3s-fs`, which checks signatures and keeps objects as files of a folder.
//!
//! A crate of its own, so that only tests that speak S3 build it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const KEY: &str = "test-key";
const SECRET: &str = "test-secret";
/// How long ago objects that a test puts there were written.
const RESTED: Duration = Duration::from_secs(60);

/// An S3 server; it ends when this is dropped.
pub struct S3Server {
    dir: TempDir,
    endpoint: String,
    read: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl S3Server {
    /// A server with these buckets, empty.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(buckets: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for bucket in buckets {
            fs::create_dir(dir.path().join(bucket)).expect("a bucket's folder");
        }
        let runtime = Runtime::new().expect("a runtime");
        let read = Arc::new(Mutex::new(Vec::new()));
        let mut service =
            S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).expect("a server's folder"));
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        runtime.spawn(serve(listener, service.build(), Arc::clone(&read)));
        Self { dir, endpoint, read, _runtime: runtime }
    }

    /// The variables that lead to it.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// Where it keeps the objects of a bucket.
    #[must_use]
    pub fn folder(&self, bucket: &str) -> PathBuf {
        self.dir.path().join(bucket)
    }

    /// Puts an object there, as if it had lain there for a while.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn put(&self, bucket: &str, name: &str, text: &str) {
        let path = self.folder(bucket).join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder");
        fs::write(&path, text).expect("an object");
        let file = File::options().write(true).open(&path).expect("the object");
        file.set_modified(SystemTime::now() - RESTED).expect("its time");
    }

    /// The objects that were read since this was asked last, as `/bucket/name`, in order.
    #[must_use]
    pub fn read(&self) -> Vec<String> {
        let mut read = std::mem::take(&mut *self.read.lock().unwrap_or_else(PoisonError::into_inner));
        read.sort();
        read
    }
}

async fn serve(listener: TcpListener, service: S3Service, read: Arc<Mutex<Vec<String>>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (service, read) = (service.clone(), Arc::clone(&read));
        let answer = service_fn(move |request: Request<Incoming>| {
            if request.method() == Method::GET
                && request.uri().query().is_none_or(|query| !query.contains("list-type"))
            {
                let path = request.uri().path().to_owned();
                read.lock().unwrap_or_else(PoisonError::into_inner).push(path);
            }
            hyper::service::Service::call(&service, request)
        });
        // A client that goes away is nobody's concern.
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer),
        );
    }
}
