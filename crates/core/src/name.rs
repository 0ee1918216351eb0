//! Typed names. Each is checked once, where it enters, so that it is safe as a file name, a URL segment and a label.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name accepted.
pub const NAME_LEN_MAX: usize = 64;

/// A text that is not a valid name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "'{text}' is not a valid {what}: use 1 to {NAME_LEN_MAX} of a-z, 0-9, '.', '_', '-', starting with a letter or digit"
)]
pub struct ParseNameError {
    what: &'static str,
    text: String,
}

fn check(what: &'static str, text: &str) -> Result<(), ParseNameError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if first && text.len() <= NAME_LEN_MAX && text.bytes().all(inner) {
        return Ok(());
    }
    Err(ParseNameError { what, text: text.chars().take(NAME_LEN_MAX + 1).collect() })
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps `text`.
            ///
            /// # Errors
            /// The text breaks the rule for names.
            pub fn new(text: impl Into<String>) -> Result<Self, ParseNameError> {
                let text = text.into();
                check($what, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// A device, as the control plane knows it.
    DeviceId = "device id";
    /// A model, across its versions.
    ModelName = "model name";
    /// A project: the pipeline that makes a model.
    ProjectName = "project name";
    /// One run of a pipeline.
    RunId = "run id";
    /// An operator token, by its id; the secret is never part of it.
    TokenId = "token id";
    /// A group of devices.
    GroupName = "group name";
    /// One rollout of one release.
    RolloutId = "rollout id";
}

/// One prediction request, unique over all devices (UUIDv7, so ids sort by time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PredictionId(pub uuid::Uuid);

impl fmt::Display for PredictionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_paths() {
        for good in ["digits", "a", "0", "robot-1.north_2"] {
            assert!(ModelName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../x", "A", "a/b", "-a", "a b", "é", &"a".repeat(65)] {
            assert!(ModelName::new(bad).is_err(), "{bad}");
        }
    }
}
