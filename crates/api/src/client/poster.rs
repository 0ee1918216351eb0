//! Posting documents to somebody else's address: a collector, a webhook.

use std::time::Duration;

use ureq::Agent;
use ureq::http::header;

use super::{ClientError, Tls, agent, checked};
use crate::limits::POST_TIMEOUT_S;

/// Posts to one address.
pub struct Poster {
    agent: Agent,
    address: String,
    headers: Vec<(String, String)>,
}

impl Poster {
    /// To `address`, with these headers on every call.
    #[must_use]
    pub fn new(address: &str, headers: Vec<(String, String)>, tls: Tls) -> Self {
        Self { agent: agent(Duration::from_secs(POST_TIMEOUT_S), tls), address: address.to_owned(), headers }
    }

    /// Posts `body`; any success will do, and what the answer says is not read.
    ///
    /// # Errors
    /// There is no answer, or it is no success.
    pub fn post(
        &self,
        content_type: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<(), ClientError> {
        let mut request = self.agent.post(&self.address).header(header::CONTENT_TYPE, content_type);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        checked(&self.address, request.send(body)).map(|_| ())
    }
}
