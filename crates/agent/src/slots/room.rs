//! How much more may be written: what the disk has free, and what the device's share of it leaves.

use std::path::{Path, PathBuf};

use crate::disk::Disk;

/// Bytes of the disk that bundles leave free: for the device's state, its spool, and whatever else runs on it.
pub const FREE_BYTES_KEPT: u64 = 8 << 20;

/// Most bytes that the agent keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Everything below this folder counts.
    pub data_dir: PathBuf,
    /// How many.
    pub bytes: u64,
}

/// What sets the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The disk.
    Disk,
    /// The agent's share of it.
    Quota,
}

impl Limit {
    /// Its name in sentences.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Disk => "the disk",
            Self::Quota => "the disk quota",
        }
    }

    /// What a person may do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Disk => "free space on the device; it is tried again",
            Self::Quota => "raise --disk-quota-bytes or take a model off the device; it is tried again",
        }
    }
}

/// Whether `bytes` more fit below `root`.
pub(super) fn check(
    disk: &dyn Disk,
    root: &Path,
    quota: Option<&Quota>,
    bytes: u64,
) -> Result<(), (u64, Limit)> {
    let of_disk = disk.free_bytes(root).map(|free| (free.saturating_sub(FREE_BYTES_KEPT), Limit::Disk));
    let left = |quota: &Quota| quota.bytes.saturating_sub(bytes_below(disk, &quota.data_dir));
    let of_quota = quota.map(|quota| (left(quota), Limit::Quota));
    let least = of_disk.into_iter().chain(of_quota).min_by_key(|(left, _)| *left);
    match least {
        Some((left, limit)) if left < bytes => Err((left, limit)),
        _ => Ok(()),
    }
}

/// Bytes of all files below a folder; what cannot be read counts nothing.
fn bytes_below(disk: &dyn Disk, folder: &Path) -> u64 {
    let names = disk.names(folder).unwrap_or_default();
    let bytes = |name: &String| {
        let path = folder.join(name);
        match disk.is_folder(&path) {
            true => bytes_below(disk, &path),
            false => disk.len(&path).ok().flatten().unwrap_or(0),
        }
    };
    names.iter().map(bytes).sum()
}
