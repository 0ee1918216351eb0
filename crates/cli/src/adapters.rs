//! The pipeline's tools, made of crates that the pipeline itself may not know.

pub(crate) mod calibration;
mod converter;
mod numpy;
mod samples;
mod trainer;

pub(crate) use converter::EmbeddedConverter;
pub(crate) use samples::sample_calls;
pub(crate) use trainer::EmbeddedTrainer;
