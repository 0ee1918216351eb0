//! Posting documents to somebody else's address: a collector, a webhook.

use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::header;

use super::{ClientError, Tls, agent, checked};
use crate::limits::{CONNECT_TIMEOUT_S, POST_TIMEOUT_S};

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
        let config: Config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(CONNECT_TIMEOUT_S)))
            .timeout_global(Some(Duration::from_secs(POST_TIMEOUT_S)))
            .user_agent(concat!("edgeward/", env!("CARGO_PKG_VERSION")))
            .proxy(None)
            .build();
        Self { agent: agent(config, tls), address: address.to_owned(), headers }
    }

    /// Where it posts to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
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
