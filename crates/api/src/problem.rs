//! How an error looks at an edge: `{kind, error, hints}`.

use serde::{Deserialize, Serialize};

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A word for programs, such as `not_found`.
    pub kind: String,
    /// What failed and why, for people.
    pub error: String,
    /// What to do next.
    #[serde(default)]
    pub hints: Vec<String>,
    /// Seconds after which it is worth another try; the header `Retry-After` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem without hints.
    #[must_use]
    pub fn new(kind: &str, error: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), error: error.into(), hints: Vec::new(), retry_after_s: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
