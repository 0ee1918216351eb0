//! Moments as programs read them.

use edgeward_core::Timestamp;

/// RFC 3339, in UTC, as precise as it is; empty for one beyond the years that has.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map(|at| at.to_string()).unwrap_or_default()
}
