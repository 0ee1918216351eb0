//! Blobs are what their name says, or not there.

#![expect(clippy::unwrap_used, reason = "a failed step of a test should panic where it happens")]

use std::sync::Arc;

use bytes::Bytes;
use edgeward_core::Digest;
use edgeward_store::{BlobError, Blobs, Bucket, BucketConfig};
use edgeward_testkit_s3::S3Server;
use futures_util::{TryStreamExt as _, stream};
use object_store::memory::InMemory;
use tokio::runtime::Runtime;

type Chunk = Result<Bytes, std::io::Error>;

fn chunks(bytes: &[u8], size: usize) -> Vec<Chunk> {
    bytes.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect()
}

async fn conforms(blobs: &Blobs) {
    let small = Digest::of(b"hello");
    assert!(!blobs.exists(small).await.unwrap());
    assert!(matches!(blobs.get(small).await, Err(BlobError::Missing(digest)) if digest == small));
    assert_eq!(blobs.put(small, Bytes::from_static(b"hello")).await.unwrap(), small);
    blobs.put(small, Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(blobs.get(small).await.unwrap(), "hello");
    assert_eq!(blobs.get_range(small, 1..3).await.unwrap(), "el");
    assert_eq!(blobs.get_range(small, 5..5).await.unwrap(), "");
    assert!(matches!(blobs.get_range(small, 3..6).await, Err(BlobError::Range { len: 5, .. })));
    assert_eq!(blobs.len(small).await.unwrap(), 5);

    let large: Vec<u8> = (0..20_000_000u32).map(|n| (n % 251) as u8).collect();
    let name = Digest::of(&large);
    blobs.put_stream(name, stream::iter(chunks(&large, 1_000_003))).await.unwrap();
    let (len, parts) = blobs.stream(name).await.unwrap();
    let read: Vec<Bytes> = parts.try_collect().await.unwrap();
    assert_eq!(len, large.len() as u64);
    assert!(read.concat() == large);

    let empty = Digest::of(b"");
    blobs.put_stream(empty, stream::iter(Vec::<Chunk>::new())).await.unwrap();
    assert_eq!(blobs.get(empty).await.unwrap(), "");
}

async fn refuses(blobs: &Blobs) {
    let name = Digest::of(b"the right bytes");
    let wrong = blobs.put(name, Bytes::from_static(b"others")).await;
    assert!(matches!(wrong, Err(BlobError::WrongDigest { .. })));
    let wrong = blobs.put_stream(name, stream::iter(chunks(b"others", 2))).await;
    assert!(matches!(wrong, Err(BlobError::WrongDigest { .. })));
    let broken = chunks(b"the right", 3).into_iter().chain([Err(std::io::Error::other("connection lost"))]);
    let broken = blobs.put_stream(name, stream::iter(broken)).await;
    assert!(matches!(broken, Err(BlobError::Receive { .. })));
    assert!(!blobs.exists(name).await.unwrap());
}

#[tokio::test]
async fn blobs_in_a_folder_conform() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::in_folder(&directory.path().join("blobs")).unwrap();
    conforms(&blobs).await;
    refuses(&blobs).await;
    let folders = std::fs::read_dir(directory.path().join("blobs/sha256")).unwrap();
    let files = folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count());
    assert_eq!(files.sum::<usize>(), 3, "nothing of the refused uploads is left");
}

#[tokio::test]
async fn blobs_in_memory_conform() {
    let blobs = Blobs::new(Arc::new(InMemory::new()));
    conforms(&blobs).await;
    refuses(&blobs).await;
}

#[test]
fn blobs_in_a_bucket_conform() {
    let server = S3Server::start(&["models"]);
    let settings = server.settings().map(|(name, value)| (name.to_owned(), value)).into();
    let config = BucketConfig { url: "s3://models/edgeward".to_owned(), settings };
    Runtime::new().unwrap().block_on(async {
        let blobs = Blobs::in_bucket(Bucket::open(&config).unwrap());
        conforms(&blobs).await;
        refuses(&blobs).await;
    });
    let hex = Digest::of(b"hello").hex();
    let small = server.folder("models").join("edgeward/sha256").join(&hex[..2]).join(&hex);
    assert_eq!(std::fs::read(small).unwrap(), b"hello", "it lies under its prefix");
}

#[tokio::test]
async fn a_blob_damaged_on_disk_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::in_folder(directory.path()).unwrap();
    let name = Digest::of(b"hello");
    blobs.put(name, Bytes::from_static(b"hello")).await.unwrap();
    let hex = name.hex();
    std::fs::write(directory.path().join("sha256").join(&hex[..2]).join(&hex), "hellx").unwrap();
    assert!(matches!(blobs.get(name).await, Err(BlobError::Damaged(digest)) if digest == name));
    blobs.put(name, Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(blobs.get(name).await.unwrap(), "hello");
}

#[tokio::test]
async fn the_limit_holds() {
    let blobs = Blobs::new(Arc::new(InMemory::new())).with_bytes_max(8);
    for (bytes, fits) in [(b"12345678".as_slice(), true), (b"123456789", false)] {
        let name = Digest::of(bytes);
        let whole = blobs.put(name, Bytes::from_static(bytes)).await;
        let streamed = blobs.put_stream(name, stream::iter(chunks(bytes, 2))).await;
        for outcome in [whole, streamed] {
            assert_eq!(matches!(outcome, Err(BlobError::TooLarge(8))), !fits, "{outcome:?}");
        }
        assert_eq!(blobs.exists(name).await.unwrap(), fits);
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let text = Blobs::in_folder(&file.join("blobs")).unwrap_err().to_string();
    assert!(text.contains("file/blobs") && text.contains("check that this user"), "{text}");
}
