//! Asking the repository: plain files over HTTP, believed by the rules of `trust`.
//!
//! A poll asks for `timestamp.json` with the tag of the one that was believed last; only if it is another one, the rest of a
//! refresh follows, file by file, each bounded in bytes and all together in time. An answer that breaks off leaves what was
//! believed until then; the tag is kept only when everything was. Deliberately missing: deciding anything.

use std::time::{Duration, Instant};

use edgeward_api::ClientError;
use edgeward_api::client::{FileAnswer, Files};
use edgeward_core::Timestamp;
use edgeward_trust::fleet::{FleetError, refresh};
use edgeward_trust::tuf::{Answer, Place, Trusted, Want};

use crate::brain::Heard;

/// Longest time that all files of one refresh may take together.
pub const REFRESH_TIMEOUT: Duration = Duration::from_secs(60);
/// The file that says whether there is news.
const TIMESTAMP: &str = "timestamp.json";
/// Largest timestamp that is read, in bytes.
const TIMESTAMP_BYTES_MAX: u64 = edgeward_trust::tuf::TIMESTAMP_BYTES_MAX;

/// A repository on some web server.
pub struct Repository {
    metadata: Files,
    targets: Files,
    timeout: Duration,
    /// Tag of the timestamp that was believed, with all it leads to.
    etag: Option<String>,
}

/// What came of asking.
pub enum Polled {
    /// It says what it said before.
    Unchanged,
    /// It says something else.
    Refreshed {
        /// What is trusted now.
        trusted: Box<Trusted>,
        /// What it said.
        heard: Heard,
        /// Why the rest did not come, if it did not.
        broke_off: Option<PollError>,
    },
}

/// An answer that did not come, or not in time.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// No answer, or one that does not help.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file came, but so slowly that the refresh took too long.
    #[error(
        "{file} was not there after {} s, the time that a whole refresh may take; the repository is too slow",
        timeout.as_secs()
    )]
    TooSlow {
        /// Which file.
        file: String,
        /// The limit.
        timeout: Duration,
    },
}

impl PollError {
    /// The name under which reports know it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Client(ClientError::Unreachable { .. }) => "unreachable",
            Self::Client(_) => "refused_to_answer",
            Self::TooSlow { .. } => "too_slow",
        }
    }
}

/// Why a refresh ended.
enum Trouble {
    Refused(FleetError),
    BrokeOff(PollError),
}

impl From<FleetError> for Trouble {
    fn from(error: FleetError) -> Self {
        Self::Refused(error)
    }
}

impl Repository {
    /// The repository whose documents and targets are these files.
    #[must_use]
    pub fn new((metadata, targets): (Files, Files), timeout: Duration) -> Self {
        Self { metadata, targets, timeout, etag: None }
    }

    /// Where its documents are.
    #[must_use]
    pub fn base(&self) -> &str {
        self.metadata.base()
    }

    /// Asks what is new for whoever trusts `trusted`, at the time `now` by the device's clock.
    ///
    /// # Errors
    /// There is no answer at all.
    pub fn poll(&mut self, trusted: &Trusted, now: Timestamp) -> Result<Polled, PollError> {
        let until = Instant::now() + self.timeout;
        let mut first = match &self.etag {
            None => None,
            Some(etag) => {
                match self.ask(&self.metadata, TIMESTAMP, TIMESTAMP_BYTES_MAX, Some(etag), until)? {
                    FileAnswer::Unchanged => return Ok(Polled::Unchanged),
                    answer => Some(answer),
                }
            }
        };
        let mut tag = None;
        let refreshed = refresh(trusted.clone(), now, |want: &Want| {
            let is_timestamp = want.place == Place::Metadata && want.path == TIMESTAMP;
            let answer = match first.take_if(|_| is_timestamp) {
                Some(answer) => answer,
                None => self.fetch(want, until).map_err(Trouble::BrokeOff)?,
            };
            Ok(match answer {
                FileAnswer::Bytes { bytes, etag } => {
                    tag = etag.filter(|_| is_timestamp).or_else(|| tag.take());
                    Answer::Bytes(bytes)
                }
                FileAnswer::Absent | FileAnswer::Unchanged => Answer::Absent,
            })
        });
        let (heard, broke_off) = match refreshed.outcome {
            Ok(Some(wishes)) => (Heard::Wishes(Box::new(wishes)), None),
            Ok(None) => (Heard::Nothing, None),
            Err(Trouble::Refused(error)) => (Heard::Refused(error), None),
            Err(Trouble::BrokeOff(error)) => (Heard::Interrupted, Some(error)),
        };
        self.etag = tag.filter(|_| matches!(heard, Heard::Wishes(_) | Heard::Nothing));
        Ok(Polled::Refreshed { trusted: Box::new(refreshed.trusted), heard, broke_off })
    }

    fn fetch(&self, want: &Want, until: Instant) -> Result<FileAnswer, PollError> {
        let files = match want.place {
            Place::Metadata => &self.metadata,
            Place::Targets => &self.targets,
        };
        self.ask(files, &want.path, want.bytes_max, None, until)
    }

    /// One file; what is left of the time is its limit.
    fn ask(
        &self,
        files: &Files,
        path: &str,
        bytes_max: u64,
        etag: Option<&str>,
        until: Instant,
    ) -> Result<FileAnswer, PollError> {
        let slow = || PollError::TooSlow { file: path.to_owned(), timeout: self.timeout };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(slow());
        }
        match files.get_within(path, bytes_max, etag, left) {
            Err(ClientError::Unreachable { .. }) if Instant::now() >= until => Err(slow()),
            answer => Ok(answer?),
        }
    }
}
