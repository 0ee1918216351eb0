//! Deltas between blobs, at `deltas/<hex of the result>/<hex of the source>`, and the compressed form at
//! `deltas/<hex of the result>/full`: plain files that any web server could hand out.
//!
//! Unlike a blob a delta is not named by its own bytes: whoever applies one checks what comes of it. An empty file says
//! that one was made and is not worth sending. Deliberately missing: deleting.

use std::ops::Range;

use bytes::Bytes;
use edgeward_core::Digest;
use object_store::{ObjectStoreExt as _, PutPayload};

use crate::blob::{BlobError, Blobs, failed};

impl Blobs {
    /// Keeps what leads from `source` to `result`, or from nothing; empty if it is not worth sending.
    ///
    /// # Errors
    /// The store fails.
    pub async fn put_delta(
        &self,
        result: Digest,
        source: Option<Digest>,
        delta: Bytes,
    ) -> Result<(), BlobError> {
        let outcome = self.store.put(&path(result, source), PutPayload::from_bytes(delta)).await;
        outcome.map(|_| ()).map_err(|error| failed("writing a delta that leads to", result, error))
    }

    /// The length in bytes of what leads from `source` to `result`; 0 if it is not worth sending, none if it was never
    /// made.
    ///
    /// # Errors
    /// The store fails.
    pub async fn delta_len(&self, result: Digest, source: Option<Digest>) -> Result<Option<u64>, BlobError> {
        match self.store.head(&path(result, source)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("looking for a delta that leads to", result, error)),
        }
    }

    /// A part of what leads from `source` to `result`, unchecked.
    ///
    /// # Errors
    /// It is missing, the range is not in it, or the store fails.
    pub async fn delta_range(
        &self,
        result: Digest,
        source: Option<Digest>,
        range: Range<u64>,
    ) -> Result<Bytes, BlobError> {
        let outcome = self.store.get_range(&path(result, source), range).await;
        outcome.map_err(|error| failed("reading a delta that leads to", result, error))
    }
}

fn path(result: Digest, source: Option<Digest>) -> object_store::path::Path {
    let source = source.map_or_else(|| "full".to_owned(), |source| source.hex());
    object_store::path::Path::from_iter(["deltas", &result.hex(), &source])
}
