//! The device's half of the client.

use std::io::Read;

use edgeward_core::Digest;
use serde_json::Value;

use super::{Client, ClientError, Files};
use crate::device::{
    AlertsUpload, CheckpointSince, EnrolAnswer, EnrolRequest, ProfileUpload, RecordsUpload, Report,
    SamplesUpload,
};
use crate::routes;

impl Client {
    /// Joins with a token.
    ///
    /// # Errors
    /// No answer, or the token is unknown, used up or expired.
    pub fn enrol(&self, request: &EnrolRequest) -> Result<EnrolAnswer, ClientError> {
        self.post_json(routes::ENROL, request)
    }

    /// The files of the control plane's repository: its documents, and its targets.
    #[must_use]
    pub fn repository(&self) -> (Files, Files) {
        let below = |place: &str| self.files(&format!("{}/{place}", routes::REPOSITORY));
        (below("metadata"), below("targets"))
    }

    /// What a device says of itself, where the client's base is the device's own endpoint.
    ///
    /// # Errors
    /// No answer.
    pub fn endpoint_status(&self) -> Result<Value, ClientError> {
        self.get_json(routes::ENDPOINT_STATUS)
    }

    /// A stream of server-sent events, one whenever the repository has news. The server ends it from time to time.
    ///
    /// # Errors
    /// No answer, or the credential is not accepted.
    pub fn nudges(&self) -> Result<impl Read + use<>, ClientError> {
        self.stream(routes::NUDGES)
    }

    /// A reader over the bytes of a blob from `offset` on. The flag is true when the bytes start there and false when
    /// they start at zero all the same. The bytes are not verified.
    ///
    /// # Errors
    /// No answer, or there is no such blob.
    pub fn blob(&self, digest: &Digest, offset: u64) -> Result<(bool, impl Read + use<>), ClientError> {
        self.get_bytes(&routes::blob(digest), offset)
    }

    /// As [`Client::blob`], a reader over what makes the blob `result` of the blob `source`, or of nothing.
    ///
    /// # Errors
    /// No answer, or there is no such delta: another way to the blob is shorter, or it is not made yet.
    pub fn delta(
        &self,
        result: &Digest,
        source: Option<&Digest>,
        offset: u64,
    ) -> Result<(bool, impl Read + use<>), ClientError> {
        self.get_bytes(&routes::delta(result, source), offset)
    }

    /// The latest signed checkpoint of the ledger, with a proof that it continues the one over `size` entries. Nothing in it
    /// is verified.
    ///
    /// # Errors
    /// No answer, or the credential is not accepted.
    pub fn checkpoint_since(&self, size: u64) -> Result<CheckpointSince, ClientError> {
        self.get_json(&format!("{}?since={size}", routes::CHECKPOINT_SINCE))
    }

    /// Says what the device runs.
    ///
    /// # Errors
    /// No answer, or the report is refused.
    pub fn report(&self, report: &Report) -> Result<(), ClientError> {
        self.post(routes::REPORT, report).map(|_| ())
    }

    /// Hands over a window's profile.
    ///
    /// # Errors
    /// No answer, or the profile is refused.
    pub fn upload_profile(&self, upload: &ProfileUpload) -> Result<(), ClientError> {
        self.post(routes::PROFILES, upload).map(|_| ())
    }

    /// Hands over captured samples.
    ///
    /// # Errors
    /// No answer, or the samples are refused.
    pub fn upload_samples(&self, upload: &SamplesUpload) -> Result<(), ClientError> {
        self.post(routes::SAMPLES_UPLOAD, upload).map(|_| ())
    }

    /// Hands over records of predictions.
    ///
    /// # Errors
    /// No answer, or the records are refused.
    pub fn upload_records(&self, upload: &RecordsUpload) -> Result<(), ClientError> {
        self.post(routes::RECORDS_UPLOAD, upload).map(|_| ())
    }

    /// Raises alerts.
    ///
    /// # Errors
    /// No answer, or the alerts are refused.
    pub fn upload_alerts(&self, upload: &AlertsUpload) -> Result<(), ClientError> {
        self.post(routes::ALERTS_UPLOAD, upload).map(|_| ())
    }
}
