//! Development only: the simulated fleet ([`sim`]), and, under `tests/`, the guards over the workspace.
//!
//! Nothing ships from here; no other crate depends on it.

pub mod sim;
