//! Plain files of a repository on any web server or bucket.

use std::io::Read;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ureq::http::{StatusCode, header};
use ureq::typestate::WithoutBody;
use ureq::{Agent, RequestBuilder};

use super::{ANSWER_TIMEOUT, ClientError, Line, Tls, checked, failed, is_absent, open_at};

/// Fetches files below one address.
#[derive(Clone)]
pub struct Files {
    line: Arc<RwLock<Line>>,
    base: String,
    credential: Option<String>,
}

/// What a server says about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAnswer {
    /// Its bytes, one more than were asked for at most, and its entity tag.
    Bytes {
        /// The bytes; nothing vouches for them.
        bytes: Vec<u8>,
        /// What to ask with next time.
        etag: Option<String>,
    },
    /// It is still the one with the tag that was asked with.
    Unchanged,
    /// There is none.
    Absent,
}

impl Files {
    /// Files below `base`, such as `https://plant.example/repository`.
    #[must_use]
    pub fn new(base: &str, credential: Option<String>) -> Self {
        Self::with_timeout(base, credential, ANSWER_TIMEOUT)
    }

    /// The same, with its own idea of whom to believe and what to show under `https`.
    #[must_use]
    pub fn of(base: &str, credential: Option<String>, tls: Tls) -> Self {
        Self::build(base, credential, ANSWER_TIMEOUT, tls)
    }

    /// The same, with another limit than [`ANSWER_TIMEOUT_S`](crate::limits::ANSWER_TIMEOUT_S) on the time a whole file may take.
    #[must_use]
    pub fn with_timeout(base: &str, credential: Option<String>, timeout: Duration) -> Self {
        Self::build(base, credential, timeout, Tls::default())
    }

    fn build(base: &str, credential: Option<String>, timeout: Duration, tls: Tls) -> Self {
        let line = Arc::new(RwLock::new(Line::within(timeout, tls)));
        Self { line, base: base.trim_end_matches('/').to_owned(), credential }
    }

    /// Files below `base`, reached as a client is.
    pub(super) const fn by(line: Arc<RwLock<Line>>, base: String, credential: Option<String>) -> Self {
        Self { line, base, credential }
    }

    fn agent(&self) -> Agent {
        self.line.read().unwrap_or_else(PoisonError::into_inner).agent.clone()
    }

    /// The address the files are below.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The file at `path`, read up to one byte over `bytes_max`; with `etag`, only if it is another one.
    ///
    /// # Errors
    /// No answer in time, or a refusal other than "there is none".
    pub fn get(&self, path: &str, bytes_max: u64, etag: Option<&str>) -> Result<FileAnswer, ClientError> {
        let address = format!("{}/{path}", self.base);
        self.fetch(self.agent().get(&address), address, bytes_max, etag)
    }

    /// The same, within `timeout` for the whole file.
    ///
    /// # Errors
    /// As [`Files::get`].
    pub fn get_within(
        &self,
        path: &str,
        bytes_max: u64,
        etag: Option<&str>,
        timeout: Duration,
    ) -> Result<FileAnswer, ClientError> {
        let address = format!("{}/{path}", self.base);
        let request = self.agent().get(&address).config().timeout_global(Some(timeout)).build();
        self.fetch(request, address, bytes_max, etag)
    }

    /// A reader over the bytes of the file at `path` from `offset` on. The flag is true when the bytes start there and false
    /// when they start at zero all the same. Nothing vouches for them.
    ///
    /// # Errors
    /// No answer, or there is no such file.
    pub fn open(&self, path: &str, offset: u64) -> Result<(bool, impl Read + use<>), ClientError> {
        let address = format!("{}/{path}", self.base);
        open_at(&self.agent(), &address, self.credential.as_deref(), offset)
    }

    fn fetch(
        &self,
        mut request: RequestBuilder<WithoutBody>,
        address: String,
        bytes_max: u64,
        etag: Option<&str>,
    ) -> Result<FileAnswer, ClientError> {
        if let Some(credential) = &self.credential {
            request = request.header(header::AUTHORIZATION, format!("Bearer {credential}"));
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let response = match checked(&address, request.call()) {
            Err(error) if is_absent(&error) => return Ok(FileAnswer::Absent),
            other => other?,
        };
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(FileAnswer::Unchanged);
        }
        let etag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let mut bytes = Vec::new();
        let mut body = response.into_body().into_reader().take(bytes_max.saturating_add(1));
        body.read_to_end(&mut bytes).map_err(|source| failed(address, ureq::Error::Io(source)))?;
        Ok(FileAnswer::Bytes { bytes, etag })
    }
}
