//! The bundle that serves now, fetched so that the candidate can be compared with it.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use edgeward_api::{Client, ClientError};
use edgeward_core::manifest::{BundlePath, MANIFEST_BYTES_MAX, ManifestError};
use edgeward_core::{Capabilities, Dataset, Digest, Manifest, ModelName};
use edgeward_model::bundle::{self, BUNDLE_FILE_BYTES_MAX};
use edgeward_model::engine::capabilities;
use edgeward_model::{Bundle, BundleError, Engine, LoadOptions, Session, SessionError};

use crate::cache::write_output;
use crate::examine::{self, ExamineError};
use crate::lineage;
use crate::measure::Prediction;
use crate::patience::patiently;
use crate::split::{NoOrigin, SplitRule};
use crate::workdir::{WorkDir, WorkError};

/// The alias of the version that serves.
pub const CHAMPION: &str = "champion";

/// What is fetched of its bundle besides its forms.
const NAMED: [&str; 4] =
    [bundle::path::SIGNATURE, bundle::path::LINEAGE, bundle::path::REFERENCE_PROFILE, bundle::path::MONITOR];

/// An incumbent that cannot be compared with.
#[derive(Debug, thiserror::Error)]
pub enum IncumbentError {
    /// The server does not give it.
    #[error("fetching it: {0}")]
    Fetch(#[from] ClientError),
    /// A blob ends early or is too large.
    #[error("blob {digest} is not what it should be")]
    Blob {
        /// The blob.
        digest: Digest,
        /// Why, if reading failed.
        #[source]
        source: Option<std::io::Error>,
    },
    /// Its manifest is refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// It cannot be kept.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// It does not load.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It does not run on the rows.
    #[error(transparent)]
    Examine(#[from] ExamineError),
    /// This program has no engine.
    #[error("there is no engine to run it on")]
    NoEngine,
    /// Its rows were divided by what the rows here do not have.
    #[error(transparent)]
    Divided(#[from] NoOrigin),
    /// Nothing says which rows it learned from.
    #[error("its lineage does not say how its data was divided, so the rows it learned from are not known")]
    NoRule,
}

/// The bundle of the version that serves; none before the first.
///
/// # Errors
/// The server does not answer.
pub fn champion(client: &Client, model: &ModelName) -> Result<Option<Digest>, ClientError> {
    let models = patiently(|| client.models())?.models;
    let found = models.into_iter().find(|found| found.name == *model);
    Ok(found.and_then(|found| {
        let version = *found.aliases.get(CHAMPION)?;
        found.versions.iter().find(|found| found.version == version).map(|found| found.bundle)
    }))
}

/// The bundle `digest`: made here, fetched before, or fetched now without the files that judging does not need.
///
/// # Errors
/// It cannot be fetched, or is not what it should be.
pub fn obtain(
    client: &Client,
    work: &WorkDir,
    digest: &Digest,
    engines: &[&dyn Engine],
) -> Result<Bundle, IncumbentError> {
    let device = &capabilities(engines);
    let made = work.bundles().join(digest.hex());
    if let Ok(bundle) = Bundle::verify(made, digest) {
        return Ok(bundle);
    }
    let dir = work.incumbents().join(digest.hex());
    if let Ok(bundle) = verify(dir.clone(), digest, device) {
        return Ok(bundle);
    }
    let partial = work.partial().join(format!("incumbent-{}", digest.hex()));
    fetch(client, digest, device, &partial)?;
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(WorkError::at("removing", &dir))?;
    }
    fs::rename(&partial, &dir).map_err(WorkError::at("keeping the incumbent in", &dir))?;
    Ok(verify(dir, digest, device)?)
}

fn verify(dir: PathBuf, digest: &Digest, device: &Capabilities) -> Result<Bundle, BundleError> {
    let manifest = Bundle::open(&dir)?.manifest().clone();
    Bundle::verify_subset(dir, digest, |path| wanted(&manifest, path, device))
}

fn wanted(manifest: &Manifest, path: &BundlePath, device: &Capabilities) -> bool {
    let named = NAMED.contains(&path.as_str());
    named || device.select(&manifest.variants).usable.iter().any(|variant| variant.path == *path)
}

fn fetch(client: &Client, digest: &Digest, device: &Capabilities, dir: &Path) -> Result<(), IncumbentError> {
    let bytes = blob(client, digest, MANIFEST_BYTES_MAX as u64)?;
    let manifest = Manifest::parse(&bytes)?;
    write_output(&dir.join(bundle::path::MANIFEST), &bytes)?;
    for (path, entry) in manifest.files.iter().filter(|(path, _)| wanted(&manifest, path, device)) {
        let bytes = blob(client, &entry.digest, entry.size_bytes.min(BUNDLE_FILE_BYTES_MAX))?;
        write_output(&dir.join(path.as_str()), &bytes)?;
    }
    Ok(())
}

fn blob(client: &Client, digest: &Digest, size_max: u64) -> Result<Vec<u8>, IncumbentError> {
    let (_, reader) = patiently(|| client.blob(digest, 0))?;
    let mut bytes = Vec::new();
    let read = reader.take(size_max + 1).read_to_end(&mut bytes);
    read.map_err(|source| IncumbentError::Blob { digest: *digest, source: Some(source) })?;
    match Digest::of(&bytes) == *digest {
        true => Ok(bytes),
        false => Err(IncumbentError::Blob { digest: *digest, source: None }),
    }
}

/// How the data of the incumbent was divided.
///
/// # Errors
/// Its lineage is missing, damaged, or does not say.
pub fn split_rule(bundle: &Bundle) -> Result<SplitRule, IncumbentError> {
    bundle.lineage()?.as_ref().and_then(lineage::split_rule).ok_or(IncumbentError::NoRule)
}

/// What the incumbent says about each row.
///
/// # Errors
/// It does not load, or the rows do not fit it.
pub fn predict(
    bundle: &Bundle,
    engines: &[&dyn Engine],
    rows: &Dataset,
) -> Result<Vec<Prediction>, IncumbentError> {
    let fits = |engine: &&&dyn Engine| bundle.variant_for(&capabilities(&[**engine])).is_some();
    let engine = engines.iter().find(fits).or(engines.first()).ok_or(IncumbentError::NoEngine)?;
    let session = Session::load(bundle, *engine, &LoadOptions::default())?;
    Ok(examine::predict(&session, rows)?)
}
