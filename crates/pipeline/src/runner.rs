//! Runners: where a training command runs. Only [`local`] for now.

pub mod local;
