//! The pipeline's tools, made of crates that the pipeline itself may not know.

mod buckets;
pub(crate) mod calibration;
mod converter;
mod numpy;
mod trainer;

pub(crate) use buckets::{S3Buckets, bucket_config};
pub(crate) use converter::EmbeddedConverter;
pub(crate) use trainer::EmbeddedTrainer;
