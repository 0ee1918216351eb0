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
}

impl Problem {
    /// A problem without hints.
    #[must_use]
    pub fn new(kind: &str, error: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), error: error.into(), hints: Vec::new() }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
