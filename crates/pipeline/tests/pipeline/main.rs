//! Whole runs, with the real trainer, converter and engine on real digits.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod control_plane;
mod divided;
mod harness;
mod looks;
mod runs;
mod tools;
mod watched;
