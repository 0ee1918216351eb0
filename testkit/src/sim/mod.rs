//! A fleet in one thread: simulated time, a network that delays and loses, devices that crash, one control plane.
//!
//! What decides is the real code: `agent::Brain` on each device with `trust` verifying real signatures, and
//! `core::rollout::plan` in the control plane. Only what acts is simulated: a fetch is a delay, a disk is a value that
//! survives a crash, and a crash may fall between any two outputs of a brain. Everything follows from the seed, which
//! [`World::run`] puts into every violation, so that a failure can be repeated exactly.
//!
//! Deliberately missing: engines, files and sockets. The real ones have tests of their own.

mod agenda;
mod control;
mod device;
mod world;

pub use control::{Control, Finished};
pub use world::{Weather, World};
