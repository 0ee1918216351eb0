//! The pipeline's tools, made of crates that the pipeline itself may not know.

mod converter;
mod samples;
mod trainer;

pub(crate) use converter::EmbeddedConverter;
pub(crate) use samples::sample_calls;
pub(crate) use trainer::EmbeddedTrainer;
