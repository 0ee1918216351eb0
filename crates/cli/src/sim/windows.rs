//! The profiles that simulated devices upload: real bytes, made from each bundle's own reference.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use edgeward_api::Client;
use edgeward_core::{Digest, Manifest};
use edgeward_monitor::{Profile, Reference, Sample, Stream, StreamKind};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The file of a bundle that holds its reference.
const REFERENCE: &str = "reference.profile";
/// Different profiles per bundle. Devices send one of them each time.
const PROFILES: usize = 16;
/// Observations in one profile.
const OBSERVATIONS: usize = 200;
/// Files of a bundle that are read at all.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Profiles by bundle; empty for a bundle without a reference.
pub(super) struct Windows {
    client: Client,
    seed: u64,
    made: Mutex<BTreeMap<Digest, Arc<Vec<Vec<u8>>>>>,
}

impl Windows {
    /// Reads bundles with `client`, which may be an operator's.
    pub(super) fn new(client: Client, seed: u64) -> Self {
        Self { client, seed, made: Mutex::default() }
    }

    /// The profiles of a bundle. The first call for one asks the control plane, and blocks.
    pub(super) fn of(&self, bundle: Digest) -> Arc<Vec<Vec<u8>>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            Arc::new(self.reference(bundle).map(|reference| self.profiles(&reference)).unwrap_or_default())
        };
        Arc::clone(made.entry(bundle).or_insert_with(make))
    }

    fn reference(&self, bundle: Digest) -> Option<Reference> {
        let manifest = Manifest::parse(&self.blob(bundle)?).ok()?;
        let (_, file) = manifest.files.iter().find(|(path, _)| path.as_str() == REFERENCE)?;
        Reference::from_bytes(&self.blob(file.digest)?).ok()
    }

    fn blob(&self, digest: Digest) -> Option<Vec<u8>> {
        let (_, reader) = self.client.blob(&digest, 0).ok()?;
        let mut bytes = Vec::new();
        reader.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn profiles(&self, reference: &Reference) -> Vec<Vec<u8>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        (0..PROFILES).map(|_| profile(reference, &mut random).to_bytes()).collect()
    }
}

/// A profile of what the reference saw: each stream's cells as often as there.
fn profile(reference: &Reference, random: &mut ChaCha8Rng) -> Profile {
    let (features, outputs) = reference.streams().split_at(reference.features());
    let mut profile = Profile::new(reference);
    for _ in 0..OBSERVATIONS {
        let values: Vec<f32> = features.iter().map(|stream| value(stream, random)).collect();
        let class = outputs.iter().find(|stream| matches!(stream.kind(), StreamKind::Categorical { .. }));
        let confidence = outputs.iter().find(|stream| stream.numeric().is_some());
        let sample = Sample {
            features: &values,
            predicted: class.and_then(|stream| predicted(stream, random)),
            confidence: confidence.map(|stream| value(stream, random)),
        };
        // A sample of the reference's own width fits.
        let _ = profile.observe(reference, &sample);
    }
    profile
}

/// A class: cells for what has none stand before those of the classes.
fn predicted(stream: &Stream, random: &mut ChaCha8Rng) -> Option<u32> {
    let StreamKind::Categorical { classes } = stream.kind() else { return None };
    let others = stream.counts().len().checked_sub(classes.len())?;
    u32::try_from(cell(stream, random).checked_sub(others)?).ok()
}

fn value(stream: &Stream, random: &mut ChaCha8Rng) -> f32 {
    let cell = cell(stream, random);
    stream.positions().get(cell).map_or(0.0, |position| *position as f32)
}

/// A cell, drawn as often as the reference has it.
fn cell(stream: &Stream, random: &mut ChaCha8Rng) -> usize {
    let counts = stream.counts();
    let total: u64 = counts.iter().sum();
    let mut place = random.next_u64() % total.max(1);
    for (cell, count) in counts.iter().enumerate() {
        if place < *count {
            return cell;
        }
        place -= count;
    }
    0
}
