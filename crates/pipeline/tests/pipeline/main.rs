//! Whole runs, with the real trainer, converter and engine on real digits.

mod control_plane;
mod harness;
mod runs;
