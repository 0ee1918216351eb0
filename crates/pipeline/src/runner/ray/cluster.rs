//! The few calls of Ray's Jobs REST API that are needed.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::time::Duration;

use edgeward_core::Digest;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::RayError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Ray answers a first submission after some seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest package that Ray takes.
const PACKAGE_BYTES_MAX: usize = 100 << 20;
/// Largest log read.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// Longest list of jobs read; some thousand bytes each.
const LIST_BYTES_MAX: u64 = 256 << 20;
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Characters of a refusal that are shown.
const SAID_CHARS_MAX: usize = 600;

/// A Ray head.
#[derive(Debug)]
pub(super) struct Cluster {
    address: String,
    agent: Agent,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    Pending,
    Running,
    Stopped,
    Succeeded,
    Failed,
}

impl Status {
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Succeeded | Self::Failed)
    }
}

/// What Ray tells of a job; there is more in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct JobInfo {
    pub(super) status: Status,
    message: Option<String>,
    error_type: Option<String>,
    pub(super) driver_exit_code: Option<i64>,
    submission_id: Option<String>,
    /// In milliseconds since 1970, by Ray's clock.
    pub(super) start_time: Option<i64>,
}

impl JobInfo {
    /// Its id.
    pub(super) fn id(&self) -> &str {
        self.submission_id.as_deref().unwrap_or_default()
    }

    /// Whether the job ended since the place where it ran did.
    pub(super) fn is_lost(&self) -> bool {
        let kind = self.error_type.as_deref().unwrap_or_default();
        matches!(
            kind,
            "JOB_SUPERVISOR_ACTOR_DIED"
                | "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE"
                | "JOB_SUPERVISOR_ACTOR_START_FAILURE"
        )
    }

    /// Why it is as it is, in Ray's words.
    pub(super) fn reason(&self) -> String {
        let message = self.message.as_deref().unwrap_or("Ray does not say why");
        message.chars().take(SAID_CHARS_MAX).collect()
    }
}

impl Cluster {
    /// The head at `address`, which must be a private one unless it may be public.
    pub(super) fn at(address: &str, public: bool) -> Result<Self, RayError> {
        let address = address.trim_end_matches('/');
        if !public {
            check_private(address)?;
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .proxy(None)
            .build();
        Ok(Self { address: address.to_owned(), agent: config.into() })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The job of this id, if there is one.
    pub(super) fn job(&self, id: &str) -> Result<Option<JobInfo>, RayError> {
        let answer = self.get(&format!("/api/jobs/{id}"))?;
        match answer.status().as_u16() {
            404 => Ok(None),
            _ => self.json("asking for a job", answer, ANSWER_BYTES_MAX).map(Some),
        }
    }

    /// The jobs whose ids begin so.
    pub(super) fn jobs(&self, prefix: &str) -> Result<Vec<JobInfo>, RayError> {
        let listed: Vec<JobInfo> = self.json("listing jobs", self.get("/api/jobs/")?, LIST_BYTES_MAX)?;
        Ok(listed.into_iter().filter(|info| info.id().starts_with(prefix)).collect())
    }

    /// All that the job said so far.
    pub(super) fn log(&self, id: &str) -> Result<String, RayError> {
        #[derive(Deserialize)]
        struct Logs {
            logs: Option<String>,
        }
        let answer = self.get(&format!("/api/jobs/{id}/logs"))?;
        let logs: Logs = self.json("reading a job's log", answer, LOG_BYTES_MAX)?;
        Ok(logs.logs.unwrap_or_default())
    }

    pub(super) fn submit(&self, request: &Value) -> Result<(), RayError> {
        let answer = self.agent.post(self.url("/api/jobs/")).send_json(request);
        self.accepted("submitting a job", self.answered(answer)?)
    }

    pub(super) fn stop(&self, id: &str) -> Result<(), RayError> {
        let answer = self.agent.post(self.url(&format!("/api/jobs/{id}/stop"))).send_empty();
        self.accepted("stopping a job", self.answered(answer)?)
    }

    pub(super) fn delete(&self, id: &str) -> Result<(), RayError> {
        let answer = self.agent.delete(self.url(&format!("/api/jobs/{id}"))).call();
        self.accepted("deleting a job", self.answered(answer)?)
    }

    /// Uploads a package unless it is there; what Ray calls it.
    pub(super) fn keep(&self, package: &[u8]) -> Result<String, RayError> {
        if package.len() >= PACKAGE_BYTES_MAX {
            return Err(RayError::TooLarge { bytes: package.len(), limit: PACKAGE_BYTES_MAX });
        }
        let name = format!("_ray_pkg_{}.zip", &Digest::of(package).hex()[..40]);
        let route = format!("/api/packages/gcs/{name}");
        let found = self.get(&route)?;
        if found.status().as_u16() == 404 {
            let answer = self.agent.put(self.url(&route)).send(package);
            self.accepted("uploading a package", self.answered(answer)?)?;
        } else {
            self.accepted("looking for a package", found)?;
        }
        Ok(format!("gcs://{name}"))
    }

    fn url(&self, route: &str) -> String {
        format!("{}{route}", self.address)
    }

    fn get(&self, route: &str) -> Result<Response<Body>, RayError> {
        self.answered(self.agent.get(self.url(route)).call())
    }

    fn answered(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, RayError> {
        answer.map_err(|source| RayError::Unreachable {
            address: self.address.clone(),
            source: Box::new(source),
        })
    }

    fn accepted(&self, what: &'static str, mut answer: Response<Body>) -> Result<(), RayError> {
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status().as_u16();
        let said =
            answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().unwrap_or_default();
        // The reason stands at the end of Python's account of the error.
        let shown = said.trim().chars().rev().take(SAID_CHARS_MAX).collect::<Vec<_>>();
        let said = shown.into_iter().rev().collect();
        Err(RayError::Refused { address: self.address.clone(), what, status, said })
    }

    fn json<T: DeserializeOwned>(
        &self,
        what: &'static str,
        mut answer: Response<Body>,
        limit: u64,
    ) -> Result<T, RayError> {
        if !answer.status().is_success() {
            self.accepted(what, answer)?;
            return Err(self.misunderstood("an answer without a document"));
        }
        let bytes = answer.body_mut().with_config().limit(limit).read_to_vec();
        let bytes = self.answered_body(bytes)?;
        serde_json::from_slice(&bytes).map_err(|error| self.misunderstood(&error.to_string()))
    }

    fn answered_body(&self, bytes: Result<Vec<u8>, ureq::Error>) -> Result<Vec<u8>, RayError> {
        bytes.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(limit) => {
                self.misunderstood(&format!("it is longer than {limit} bytes"))
            }
            source => RayError::Unreachable { address: self.address.clone(), source: Box::new(source) },
        })
    }

    fn misunderstood(&self, reason: &str) -> RayError {
        RayError::Answer { address: self.address.clone(), reason: reason.to_owned() }
    }
}

/// Refuses an address that somebody outside could reach as well.
fn check_private(address: &str) -> Result<(), RayError> {
    let refuse = |reason: String| Err(RayError::Address { address: address.to_owned(), reason });
    let Some(host) = address.strip_prefix("http://") else {
        return refuse("is no address of Ray's dashboard, such as \"http://127.0.0.1:8265\"".to_owned());
    };
    let host = host.split('/').next().unwrap_or_default();
    let named = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let found = match named.to_socket_addrs() {
        Ok(found) => found,
        Err(error) => return refuse(format!("is not found: {error}")),
    };
    match found.map(|address| address.ip()).find(|address| !is_private(*address)) {
        Some(open) => refuse(format!(
            "is {open}, which is not a private address: Ray asks for no login, so whoever reaches it runs commands there. Use a \
             tunnel, or set public = true if something else guards it"
        )),
        None => Ok(()),
    }
}

/// Whether only this machine or its own network can reach an address.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_private(IpAddr::V4(mapped)),
            None => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_addresses_are_used_unaskedly() {
        for address in
            ["http://127.0.0.1:8265", "http://[::1]:8265/", "http://10.1.2.3", "http://localhost:1"]
        {
            Cluster::at(address, false).expect(address);
        }
        for (address, why) in [
            ("http://8.8.8.8:8265", "not a private address"),
            ("http://[2001:db8::1]:8265", "not a private address"),
            ("https://127.0.0.1:8265", "no address of Ray's dashboard"),
            ("127.0.0.1:8265", "no address of Ray's dashboard"),
        ] {
            let said = Cluster::at(address, false).expect_err(address).to_string();
            assert!(said.contains(why), "{said}");
        }
        Cluster::at("http://8.8.8.8:8265", true).expect("it was said to be meant so");
    }
}
