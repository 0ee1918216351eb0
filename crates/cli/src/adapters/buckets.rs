//! Buckets as the pipeline asks for them: `edgeward_store`'s, spoken to as this process's `AWS_*` variables say.

use std::ffi::OsString;
use std::future::Future;
use std::path::Path;

use edgeward_pipeline::train::ToolError;
use edgeward_pipeline::{BucketObject, Buckets};
use edgeward_store::{Bucket, BucketConfig, BucketError, Object};

use crate::command::remote::now;

/// Object stores of the S3 kind behind [`Buckets`].
pub(crate) struct S3Buckets;

/// How long an object must have rested for the time it was written at to tell it from another of the same size.
const REST_MS: i64 = 2_000;

/// How to speak to the bucket at `url`.
pub(crate) fn bucket_config(url: &str) -> BucketConfig {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let settings =
        std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with("AWS_")).collect();
    BucketConfig { url: url.to_owned(), settings }
}

impl Buckets for S3Buckets {
    fn list(&self, url: &str) -> Result<Vec<BucketObject>, ToolError> {
        let listed = ask(url, |bucket| async move { bucket.list().await })?;
        let now = now();
        let object = |object: Object| {
            let rested = object.modified_ms.saturating_add(REST_MS) < now.0;
            let by_time = rested.then(|| format!("written at {} ms", object.modified_ms));
            let version = object.etag.or(by_time);
            BucketObject { name: object.name, size_bytes: object.size_bytes, version }
        };
        Ok(listed.into_iter().map(object).collect())
    }

    fn fetch(&self, url: &str, names: &[String], folder: &Path) -> Result<(), ToolError> {
        ask(url, |bucket| async move { bucket.fetch(names, folder).await })
    }
}

fn ask<T, F: Future<Output = Result<T, BucketError>>>(
    url: &str,
    what: impl FnOnce(Bucket) -> F,
) -> Result<T, ToolError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async { what(Bucket::open(&bucket_config(url))?).await })?)
}
