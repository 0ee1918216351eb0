//! Development only: the simulated fleet ([`sim`]), the fuzzer over every parser ([`fuzz`]), and, under `tests/`, the guards over the workspace.
//!
//! Nothing ships from here; no other crate depends on it.

pub mod fuzz;
pub mod power;
pub mod sim;
