//! Blobs: bytes named by their SHA-256, at `sha256/<first two hex digits>/<hex>` of any object store.
//!
//! A blob becomes visible only when all of it has arrived and its digest is right, and then it never changes; putting
//! it again does nothing. A whole blob is checked again when read; a range or a stream cannot be, and whoever
//! asked for the digest checks it. Deliberately missing: deleting, and finding blobs that nothing refers to.

use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use edgeward_core::Digest;
use edgeward_core::digest::Hasher;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload};

use crate::bucket::Bucket;

/// Largest blob, in bytes.
pub const BLOB_BYTES_MAX: u64 = 2 << 30;
/// A blob is written in parts of this size, in bytes; object stores ask for at least 5 MiB.
const PART_BYTES: usize = 8 << 20;

/// Content by digest.
#[derive(Clone, Debug)]
pub struct Blobs {
    pub(crate) store: Arc<dyn ObjectStore>,
    bytes_max: u64,
}

/// Why a blob was not kept or not given.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The folder cannot be used.
    #[error("opening the blob folder {path}: check that this user may create and write it")]
    Open {
        /// The folder.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// There is no such blob.
    #[error("there is no blob {0}; upload it first")]
    Missing(Digest),
    /// What arrived is something else.
    #[error("the bytes uploaded as {expected} are {found}; the upload was damaged, send it again")]
    WrongDigest {
        /// The name given.
        expected: Digest,
        /// What the bytes are.
        found: Digest,
    },
    /// What is kept is something else.
    #[error(
        "blob {0} is damaged on disk; upload it again from where it was made, or restore it from a backup"
    )]
    Damaged(Digest),
    /// Larger than the limit.
    #[error("the blob is larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// The range is not in the blob.
    #[error("bytes {} to {} are not in blob {digest}, which has {len}", range.start, range.end)]
    Range {
        /// The blob.
        digest: Digest,
        /// What was asked for.
        range: Range<u64>,
        /// Its length.
        len: u64,
    },
    /// Receiving the upload failed.
    #[error("receiving blob {digest}; send it again")]
    Receive {
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The object store failed.
    #[error("{operation} blob {digest}; check the blob store's free space, permissions and connection")]
    Store {
        /// What was being done.
        operation: &'static str,
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: object_store::Error,
    },
}

impl Blobs {
    /// Blobs in any object store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, bytes_max: BLOB_BYTES_MAX }
    }

    /// The same blobs with a lower limit than [`BLOB_BYTES_MAX`].
    #[must_use]
    pub fn with_bytes_max(self, bytes_max: u64) -> Self {
        Self { bytes_max: bytes_max.min(BLOB_BYTES_MAX), ..self }
    }

    /// Blobs in a folder, which is created; what was put survives a power cut.
    ///
    /// # Errors
    /// The folder cannot be created or read.
    pub fn in_folder(path: &Path) -> Result<Self, BlobError> {
        let failed = |source: Box<dyn Error + Send + Sync>| BlobError::Open {
            path: path.display().to_string(),
            source,
        };
        std::fs::create_dir_all(path).map_err(|error| failed(error.into()))?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(|error| failed(error.into()))?;
        Ok(Self::new(Arc::new(store.with_fsync(true))))
    }

    /// Blobs in a bucket, under its prefix.
    #[must_use]
    pub fn in_bucket(bucket: Bucket) -> Self {
        Self::new(bucket.into_store())
    }

    /// Keeps `bytes`, which must be what `expected` says.
    ///
    /// # Errors
    /// They are something else or too large, or the store fails.
    pub async fn put(&self, expected: Digest, bytes: Bytes) -> Result<Digest, BlobError> {
        if bytes.len() as u64 > self.bytes_max {
            return Err(BlobError::TooLarge(self.bytes_max));
        }
        check(expected, Digest::of(&bytes))?;
        let outcome = self.store.put(&path(expected), PutPayload::from_bytes(bytes)).await;
        outcome.map(|_| expected).map_err(|error| failed("writing", expected, error))
    }

    /// Keeps what `stream` yields, which must be what `expected` says; holds two parts in memory at most.
    ///
    /// # Errors
    /// It is something else or too large, the stream or the store fails; nothing is visible then.
    pub async fn put_stream<S, E>(&self, expected: Digest, stream: S) -> Result<Digest, BlobError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let stream = std::pin::pin!(stream);
        let mut arriving = Arriving::new(expected, stream, self.bytes_max);
        if arriving.part_is_all().await? {
            // One request, in place of three.
            return self.put(expected, arriving.part.freeze()).await;
        }
        let upload = self.store.put_multipart(&path(expected)).await;
        let mut upload = upload.map_err(|error| failed("beginning to write", expected, error))?;
        match arriving.write_to(upload.as_mut()).await {
            Ok(()) => {
                let done = upload.complete().await;
                done.map(|_| expected).map_err(|error| failed("completing", expected, error))
            }
            Err(error) => {
                // The first failure is the one to report; leftovers of an upload are never visible.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }

    /// The whole blob, checked.
    ///
    /// # Errors
    /// It is missing or damaged, or the store fails.
    pub async fn get(&self, digest: Digest) -> Result<Bytes, BlobError> {
        let read = async { self.store.get(&path(digest)).await?.bytes().await };
        let bytes = read.await.map_err(|error| failed("reading", digest, error))?;
        match Digest::of(&bytes) == digest {
            true => Ok(bytes),
            false => Err(BlobError::Damaged(digest)),
        }
    }

    /// A part of a blob, unchecked.
    ///
    /// # Errors
    /// It is missing, the range is not in it, or the store fails.
    pub async fn get_range(&self, digest: Digest, range: Range<u64>) -> Result<Bytes, BlobError> {
        let len = self.len(digest).await?;
        if range.start > range.end || range.end > len {
            return Err(BlobError::Range { digest, range, len });
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let outcome = self.store.get_range(&path(digest), range).await;
        outcome.map_err(|error| failed("reading a part of", digest, error))
    }

    /// A blob's length and its bytes as they are read, unchecked.
    ///
    /// # Errors
    /// It is missing, or the store fails, now or in the stream.
    pub async fn stream(
        &self,
        digest: Digest,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, BlobError>>), BlobError> {
        let read = self.store.get(&path(digest)).await.map_err(|error| failed("reading", digest, error))?;
        let len = read.meta.size;
        let parts = read.into_stream().map_err(move |error| failed("reading", digest, error));
        Ok((len, parts.boxed()))
    }

    /// A blob's length in bytes.
    ///
    /// # Errors
    /// It is missing, or the store fails.
    pub async fn len(&self, digest: Digest) -> Result<u64, BlobError> {
        let outcome = self.store.head(&path(digest)).await;
        outcome.map(|meta| meta.size).map_err(|error| failed("looking for", digest, error))
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// The store fails.
    pub async fn exists(&self, digest: Digest) -> Result<bool, BlobError> {
        match self.len(digest).await {
            Ok(_) => Ok(true),
            Err(BlobError::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A blob on its way.
struct Arriving<S> {
    expected: Digest,
    stream: S,
    bytes_max: u64,
    hasher: Hasher,
    received: u64,
    /// What is not written yet.
    part: BytesMut,
}

impl<S, E> Arriving<S>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn new(expected: Digest, stream: S, bytes_max: u64) -> Self {
        Self { expected, stream, bytes_max, hasher: Hasher::new(), received: 0, part: BytesMut::new() }
    }

    /// Receives until there is a whole part; whether the blob ended before.
    async fn part_is_all(&mut self) -> Result<bool, BlobError> {
        while self.part.len() < PART_BYTES {
            let Some(chunk) = self.stream.next().await else { return Ok(true) };
            let failed = |error: E| BlobError::Receive { digest: self.expected, source: error.into() };
            let chunk = chunk.map_err(failed)?;
            self.received += chunk.len() as u64;
            if self.received > self.bytes_max {
                return Err(BlobError::TooLarge(self.bytes_max));
            }
            self.hasher.update(&chunk);
            self.part.extend_from_slice(&chunk);
        }
        Ok(false)
    }

    /// Writes it part by part and checks its digest.
    async fn write_to(mut self, upload: &mut dyn MultipartUpload) -> Result<(), BlobError> {
        loop {
            let is_all = self.part_is_all().await?;
            while self.part.len() >= PART_BYTES {
                write_part(self.expected, upload, self.part.split_to(PART_BYTES).freeze()).await?;
            }
            if is_all {
                break;
            }
        }
        if !self.part.is_empty() {
            write_part(self.expected, upload, self.part.freeze()).await?;
        }
        check(self.expected, self.hasher.finish())
    }
}

async fn write_part(digest: Digest, upload: &mut dyn MultipartUpload, part: Bytes) -> Result<(), BlobError> {
    let outcome = upload.put_part(PutPayload::from_bytes(part)).await;
    outcome.map_err(|error| failed("writing", digest, error))
}

fn check(expected: Digest, found: Digest) -> Result<(), BlobError> {
    match expected == found {
        true => Ok(()),
        false => Err(BlobError::WrongDigest { expected, found }),
    }
}

fn path(digest: Digest) -> object_store::path::Path {
    let hex = digest.hex();
    object_store::path::Path::from_iter(["sha256", &hex[..2], &hex])
}

pub(crate) fn failed(operation: &'static str, digest: Digest, source: object_store::Error) -> BlobError {
    match source {
        object_store::Error::NotFound { .. } => BlobError::Missing(digest),
        source => BlobError::Store { operation, digest, source },
    }
}
