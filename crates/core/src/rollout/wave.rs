//! How many devices a wave reaches, and when it may open.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many devices a wave reaches in all; written `3` or `"10%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaveSize {
    /// This many devices.
    Devices(u32),
    /// This share of the fleet, rounded up.
    Percent(u8),
}

impl WaveSize {
    pub(super) fn count(self, fleet: usize) -> usize {
        match self {
            Self::Devices(count) => (count as usize).min(fleet),
            Self::Percent(percent) => (fleet * usize::from(percent)).div_ceil(100).min(fleet),
        }
    }
}

impl Serialize for WaveSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Devices(count) => serializer.serialize_u32(*count),
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

/// A text that is no [`WaveSize`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a wave is a number of devices from 1 up, or a percentage from \"1%\" to \"100%\"")]
pub struct ParseWaveError;

impl FromStr for WaveSize {
    type Err = ParseWaveError;

    fn from_str(text: &str) -> Result<Self, ParseWaveError> {
        let size = match text.strip_suffix('%') {
            Some(share) => {
                let percent = share.trim().parse().ok().filter(|percent| (1..=100).contains(percent));
                percent.map(Self::Percent)
            }
            None => text.trim().parse().ok().filter(|count| *count > 0).map(Self::Devices),
        };
        size.ok_or(ParseWaveError)
    }
}

impl<'de> Deserialize<'de> for WaveSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Count(u32),
            Text(String),
        }
        let bad = || serde::de::Error::custom(ParseWaveError);
        match Raw::deserialize(deserializer).map_err(|_| bad())? {
            Raw::Count(count) if count > 0 => Ok(Self::Devices(count)),
            Raw::Count(_) => Err(bad()),
            Raw::Text(text) if text.ends_with('%') => text.parse().map_err(|_| bad()),
            Raw::Text(_) => Err(bad()),
        }
    }
}
