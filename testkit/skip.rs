//! What a test says that cannot run here; where nothing may be skipped, it fails. Part of each crate that finds things for tests.

use std::fmt;

/// Set where a test that cannot find what it needs must fail.
const NO_SKIP: &str = "EDGEWARD_TEST_NO_SKIP";

/// Why a test cannot run here. It has already been said on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip(String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Says that the test of this thread is skipped, and why.
///
/// # Panics
/// Instead, where `EDGEWARD_TEST_NO_SKIP` is set.
pub fn skip(why: &str) -> Skip {
    assert!(!no_skip(), "{why}; nothing may be skipped where {NO_SKIP} is set");
    let thread = std::thread::current();
    eprintln!("skipped: {}: {why}", thread.name().unwrap_or("a test"));
    Skip(why.to_owned())
}

/// Whether nothing may be skipped.
pub(crate) fn no_skip() -> bool {
    std::env::var_os(NO_SKIP).is_some_and(|value| !value.is_empty() && value != "0")
}
