//! Bundles out of the air, and a network that breaks off.
//!
//! Real manifests and digests; contents are small, so that a life of updates is cut off quickly. One file is large enough to
//! come as a delta, and one is the same in every bundle, so that it is copied from the other slot.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use edgeward_agent::Hardware;
use edgeward_agent::disk::Disk as _;
use edgeward_agent::fetch::BlobSource;
use edgeward_agent::platform::Platform;
use edgeward_api::{ClientError, Problem};
use edgeward_core::manifest::{BundlePath, FileEntry, MANIFEST_SCHEMA};
use edgeward_core::{Digest, Manifest, ModelName, Release, Variant};
use edgeward_model::{Engines, delta};

use super::disk::SimDisk;

const FILE_BYTES_MAX: u64 = 1 << 20;
const MANIFEST: &str = "manifest.json";
const MODEL: &str = "variants/rten-f32/model.onnx";
/// Bundles there are.
const BUNDLES: u8 = 16;
/// Of so many answers, one breaks off half-way.
const BREAKS_EVERY: u32 = 5;

/// The bundles, by their digest, and every file of theirs.
struct Shelf {
    digests: Vec<Digest>,
    sizes: Vec<u64>,
    blobs: BTreeMap<Digest, Vec<u8>>,
    deltas: BTreeMap<(Digest, Option<Digest>), Vec<u8>>,
}

static SHELF: LazyLock<Shelf> = LazyLock::new(Shelf::make);
static PLATFORM: LazyLock<Platform> =
    LazyLock::new(|| Platform::new(Arc::new(Engines::embedded()), Hardware::default()));

/// What would run the bundles.
pub(super) fn platform() -> &'static Platform {
    &PLATFORM
}

/// The model they are of.
pub(super) fn model() -> ModelName {
    ModelName::new("digits").expect("a model's name")
}

fn contents(bundle: u8) -> [(&'static str, Vec<u8>); 3] {
    let weights: Vec<u8> =
        (0..1_200_u32).map(|n| (n * n / 7 % 251) as u8 ^ if n % 50 == 0 { bundle } else { 0 }).collect();
    [
        (MODEL, weights),
        ("golden/golden.json", format!("golden {bundle}").into_bytes()),
        ("signature.json", b"the same in every bundle".to_vec()),
    ]
}

fn manifest(bundle: u8) -> Vec<u8> {
    let entry = |(path, bytes): (&str, Vec<u8>)| {
        let entry = FileEntry { size_bytes: bytes.len() as u64, digest: Digest::of(&bytes) };
        (BundlePath::new(path).expect("a path"), entry)
    };
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        model: model(),
        files: contents(bundle).into_iter().map(entry).collect(),
        variants: vec![Variant::new("rten", "f32", BundlePath::new(MODEL).expect("a path"))],
    };
    manifest.to_bytes().expect("a manifest is JSON")
}

impl Shelf {
    fn make() -> Self {
        let mut shelf =
            Self { digests: Vec::new(), sizes: Vec::new(), blobs: BTreeMap::new(), deltas: BTreeMap::new() };
        for bundle in 0..BUNDLES {
            let bytes = manifest(bundle);
            shelf.digests.push(Digest::of(&bytes));
            shelf.sizes.push(bytes.len() as u64);
            let files = contents(bundle).into_iter().map(|(_, bytes)| bytes).chain([bytes]);
            shelf.blobs.extend(files.map(|bytes| (Digest::of(&bytes), bytes)));
            let [(_, new), ..] = contents(bundle);
            shelf.deltas.insert((Digest::of(&new), None), delta::full(&new));
            // From some bundles there is a delta, from others there is none.
            let [(_, old), ..] = contents(bundle.wrapping_sub(1));
            let made = delta::delta(&old, &new, new.len()).filter(|_| bundle % 2 == 0);
            shelf.deltas.extend(made.map(|made| ((Digest::of(&new), Some(Digest::of(&old))), made)));
        }
        shelf
    }
}

/// A bundle's digest.
pub(super) fn digest(bundle: u8) -> Digest {
    SHELF.digests[usize::from(bundle)]
}

/// Which bundle it is.
pub(super) fn number(bundle: Digest) -> u8 {
    let at = SHELF.digests.iter().position(|digest| *digest == bundle).expect("one of these bundles");
    u8::try_from(at).expect("few bundles")
}

/// What the signed release says.
pub(super) fn release(bundle: u8) -> Release {
    Release { bundle: digest(bundle), manifest_size_bytes: SHELF.sizes[usize::from(bundle)] }
}

/// Every file of a bundle.
pub(super) fn files(bundle: u8) -> Vec<(&'static str, Vec<u8>)> {
    [(MANIFEST, manifest(bundle))].into_iter().chain(contents(bundle)).collect()
}

/// Whether a folder holds a bundle, byte for byte.
pub(super) fn is_whole(disk: &SimDisk, folder: &Path, bundle: u8) -> bool {
    let right = |(name, bytes): &(&str, Vec<u8>)| {
        disk.read(&folder.join(name), FILE_BYTES_MAX).ok().flatten().as_ref() == Some(bytes)
    };
    files(bundle).iter().all(right)
}

/// Where files come from.
#[derive(Default)]
pub(super) struct Source {
    answers: Cell<u32>,
}

impl Source {
    fn answer(
        &self,
        found: Option<&'static Vec<u8>>,
        offset: u64,
    ) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        let refused = |status| ClientError::Refused {
            address: "nowhere".to_owned(),
            status,
            retry_after_s: None,
            problem: Problem::new("refused", "no such bytes"),
        };
        let blob = found.ok_or_else(|| refused(404))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        if offset > 0 && from >= blob.len() {
            return Err(refused(416));
        }
        let rest = &blob[from.min(blob.len())..];
        self.answers.set(self.answers.get() + 1);
        let breaks = self.answers.get().is_multiple_of(BREAKS_EVERY);
        let end = if breaks { rest.len() / 2 } else { rest.len() };
        Ok((true, Box::new(Cursor::new(&rest[..end]).chain(End(breaks)))))
    }
}

/// The end of an answer, or of the connection.
struct End(bool);

impl Read for End {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        if self.0 { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(0) }
    }
}

impl BlobSource for Source {
    fn open(&self, digest: &Digest, offset: u64) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        self.answer(SHELF.blobs.get(digest), offset)
    }

    fn open_delta(
        &self,
        result: &Digest,
        source: Option<&Digest>,
        offset: u64,
    ) -> Result<(bool, Box<dyn Read + '_>), ClientError> {
        self.answer(SHELF.deltas.get(&(*result, source.copied())), offset)
    }
}
