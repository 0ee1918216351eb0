//! Labelled samples that devices captured, as one run found them.
//!
//! A run is pinned to what it found first, so that the same run started again after a crash sees the same rows and makes
//! the same bundle. Samples of another width than the table's are left out and counted.

use std::fs;
use std::path::PathBuf;

use edgeward_api::limits::PAGE_MAX;
use edgeward_api::{Client, ClientError};
use edgeward_core::{DeviceId, Digest, ModelName, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cache::write_json;
use crate::origin::{Origin, Rows};
use crate::patience::patiently;
use crate::source::canonical;
use crate::workdir::{WorkDir, WorkError};

/// Most captured samples that one run reads.
pub const CAPTURED_MAX: usize = 1_000_000;

/// What was captured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Captured {
    /// The samples, oldest first.
    pub samples: Vec<CapturedRow>,
    /// The server's position after the last page that was followed by another.
    pub position: u64,
}

/// One labelled input. Values are kept as bits, since JSON has no NaN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedRow {
    /// The values' bits.
    pub bits: Vec<u32>,
    /// The label.
    pub label: String,
    /// When it was answered, by the device's clock.
    #[serde(default)]
    pub at_ms: Timestamp,
    /// The device.
    #[serde(default)]
    pub device: Option<DeviceId>,
}

/// What a run is pinned to.
#[derive(Serialize, Deserialize)]
struct Pin {
    captured: Digest,
}

/// Captured samples that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CapturedError {
    /// The server does not give them.
    #[error("fetching captured samples")]
    Fetch(#[source] ClientError),
    /// There are more than [`CAPTURED_MAX`].
    #[error(
        "there are more than {CAPTURED_MAX} captured samples; sample them into a file of [data] files instead"
    )]
    TooMany,
    /// They cannot be kept.
    #[error(transparent)]
    Work(#[from] WorkError),
}

impl Captured {
    /// The samples of `model`: those `run` found when it was first started, or else those on the server now.
    ///
    /// # Errors
    /// The server does not answer, there are too many, or they cannot be kept.
    pub fn pinned(
        client: &Client,
        model: &ModelName,
        work: &WorkDir,
        run: &RunId,
    ) -> Result<Self, CapturedError> {
        if let Some(kept) = Self::load(work, run) {
            return Ok(kept);
        }
        let captured = Self::fetch(client, model)?;
        captured.keep(work, run)?;
        Ok(captured)
    }

    fn file(work: &WorkDir, digest: &Digest) -> PathBuf {
        work.root().join("captured").join(format!("{}.json", digest.hex()))
    }

    fn load(work: &WorkDir, run: &RunId) -> Option<Self> {
        let pin: Pin = serde_json::from_slice(&fs::read(work.run_pin(run)).ok()?).ok()?;
        let bytes = fs::read(Self::file(work, &pin.captured)).ok()?;
        let whole = Digest::of(&bytes) == pin.captured;
        whole.then(|| serde_json::from_slice(&bytes).ok()).flatten()
    }

    fn keep(&self, work: &WorkDir, run: &RunId) -> Result<(), WorkError> {
        let digest = self.digest();
        write_json(&Self::file(work, &digest), self)?;
        write_json(&work.run_pin(run), &Pin { captured: digest })
    }

    fn fetch(client: &Client, model: &ModelName) -> Result<Self, CapturedError> {
        let mut captured = Self::default();
        loop {
            let page = patiently(|| client.labelled_samples(model, captured.position, PAGE_MAX))
                .map_err(CapturedError::Fetch)?;
            // A control plane that is older does not tell the devices.
            let devices = page.devices.into_iter().map(Some).chain(std::iter::repeat(None));
            for (sample, device) in page.samples.into_iter().zip(devices) {
                let bits = sample.values().into_iter().map(|value| canonical(value).to_bits()).collect();
                let at_ms = sample.at_ms;
                if let Some(label) = sample.label {
                    let label = label.trim().to_owned();
                    captured.samples.push(CapturedRow { bits, label, at_ms, device });
                }
            }
            if captured.samples.len() > CAPTURED_MAX {
                return Err(CapturedError::TooMany);
            }
            match page.next {
                Some(next) if next > captured.position => captured.position = next,
                _ => return Ok(captured),
            }
        }
    }

    /// The digest of the samples.
    #[must_use]
    pub fn digest(&self) -> Digest {
        edgeward_core::canonical::digest(self).expect("whole numbers and texts have a canonical form")
    }

    /// Adds the samples that fit to `rows`; the number of those that do not. A sample's group is its device.
    pub fn add_to(&self, rows: &mut Rows) -> u64 {
        let mut unfit = 0;
        for sample in &self.samples {
            let row: Vec<f32> = sample.bits.iter().map(|bits| f32::from_bits(*bits)).collect();
            let added = !sample.label.is_empty() && rows.table.push(&row, sample.label.clone()).is_ok();
            unfit += u64::from(!added);
            if added {
                let group = sample.device.as_ref().map(DeviceId::as_str);
                rows.origins.push(Origin { time: Some(sample.at_ms), group });
            }
        }
        unfit
    }
}
