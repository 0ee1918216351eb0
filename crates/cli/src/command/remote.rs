//! Reaching a control plane: the client a command uses, and what to do when it does not answer.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeward_api::client::Tls;
use edgeward_api::{Client, ClientError};
use edgeward_core::Timestamp;

use super::agent::roots;
use crate::args::Remote;
use crate::output::{Explain, Failure, with_causes};

impl Remote {
    /// A client with the token that was given, if one was.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let token = credential(self.token.as_deref(), self.token_file.as_deref())?;
        client(&self.server, token, self.ca.as_deref())
    }
}

/// A client that believes in `ca`, or in what this computer believes.
pub(crate) fn client(server: &str, token: Option<String>, ca: Option<&str>) -> Result<Client, Failure> {
    let roots = ca.map(roots).transpose()?.unwrap_or_default();
    Ok(Client::with_tls(server, token, Tls::with_roots(roots)))
}

/// The token in the file, or else the token itself, which may come from an environment set up for something else.
pub(crate) fn credential(token: Option<&str>, file: Option<&Path>) -> Result<Option<String>, Failure> {
    match (token, file) {
        (_, Some(file)) => {
            let text =
                fs::read_to_string(file).explain("file", format_args!("reading {}", file.display()))?;
            Ok(Some(text.trim().to_owned()))
        }
        (Some(token), None) => Ok(Some(token.trim().to_owned())),
        (None, None) => Ok(None),
    }
}

/// A failed call as a failure with hints.
pub(crate) fn refused(what: &str, error: &ClientError) -> Failure {
    let text = format!("{what}: {}", with_causes(error));
    match error {
        ClientError::Unreachable { .. } => Failure::new("unreachable", text)
            .hint("is the control plane running? start it with `edgeward server`, or name it with --server or EDGEWARD_SERVER"),
        ClientError::Untrusted { .. } => Failure::new("untrusted", text)
            .hint("give the fleet's certificate authority with --ca DATA/ca.pem or EDGEWARD_CA; DATA is the server's --data folder"),
        ClientError::Refused { status: 401 | 403, .. } => Failure::new("unauthorized", text)
            .hint("pass --token-file DATA/operator.token, or set EDGEWARD_TOKEN; DATA is the server's --data folder"),
        ClientError::Refused { problem, .. } => {
            let failure = Failure::new(&problem.kind, text);
            problem.hints.iter().fold(failure, Failure::hint)
        }
        ClientError::Malformed { .. } => Failure::new("malformed", text)
            .hint("does the address belong to a control plane of the same version?"),
    }
}

/// The system's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// `3 s ago`, for listings.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded_down_to_a_unit() {
        let check = |seconds: i64, expect| {
            assert_eq!(ago(Timestamp(0), Timestamp(seconds * 1000)), expect);
        };
        check(0, "0 s ago");
        check(119, "119 s ago");
        check(120, "2 min ago");
        check(7200, "2 h ago");
        check(200_000, "2 days ago");
        assert_eq!(ago(Timestamp(5), Timestamp(0)), "0 s ago");
    }

    #[test]
    fn a_token_file_is_trimmed_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "secret\n").unwrap();
        assert_eq!(credential(None, Some(&file)).unwrap().as_deref(), Some("secret"));
        assert_eq!(credential(Some("stale"), Some(&file)).unwrap().as_deref(), Some("secret"));
        assert_eq!(credential(Some(" good\n"), None).unwrap().as_deref(), Some("good"));
        let failure = credential(None, Some(&dir.path().join("none"))).unwrap_err();
        assert!(failure.error.contains("none"), "{}", failure.error);
    }

    #[test]
    fn a_server_that_is_away_gets_a_hint() {
        let client = Client::new("http://127.0.0.1:1", None);
        let error = client.devices().unwrap_err();
        let failure = refused("listing devices", &error);
        assert_eq!(failure.kind, "unreachable");
        assert!(failure.hints[0].contains("edgeward server"));
    }
}
