//! Room that is kept for the state, so that a disk that others fill does not keep the agent from deciding.
//!
//! A file of bytes that mean nothing. It is removed when the state does not fit, and made again when the disk has room.

use std::io;
use std::path::{Path, PathBuf};

use edgeward_sdk::chain;

use crate::disk::Disk;
use crate::durable::{Access, DurableError};
use crate::slots::FREE_BYTES_KEPT;

/// Bytes that are kept free for the state: a few times what it takes.
pub const RESERVE_BYTES: usize = 1 << 20;

/// The room.
#[derive(Clone, Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: usize,
}

impl Reserve {
    /// The room below a data folder; it is not made yet.
    #[must_use]
    pub fn below(data_dir: &Path) -> Self {
        Self::of_bytes(data_dir, RESERVE_BYTES)
    }

    /// So much room below a data folder.
    #[must_use]
    pub fn of_bytes(data_dir: &Path, bytes: usize) -> Self {
        Self { path: data_dir.join("reserve"), bytes }
    }

    /// Gives the room to whoever writes next.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn release(&self, disk: &dyn Disk) -> Result<(), DurableError> {
        let wrap = |source| DurableError::Write { path: self.path.clone(), source };
        disk.remove_file(&self.path).map_err(wrap)
    }

    /// Takes the room again, if it was given away and the disk has enough besides.
    pub fn restore(&self, disk: &dyn Disk) {
        let is_there = || disk.len(&self.path).is_ok_and(|len| len == Some(self.bytes as u64));
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let is_scarce = disk.free_bytes(folder).is_some_and(|free| free < FREE_BYTES_KEPT);
        if is_there() || is_scarce {
            return;
        }
        // A file system that compresses would keep no room for zeros.
        let bytes: Vec<u8> =
            (0..self.bytes as u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        let write = || -> io::Result<()> {
            disk.write(&self.path, &bytes, Access::Default)?;
            disk.sync_file(&self.path)
        };
        if let Err(error) = write() {
            tracing::debug!("no room is kept for the state: {}", chain(&error));
            // A part of it is of no use to anybody.
            let _ = disk.remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;

    #[test]
    fn room_is_taken_given_and_taken_again() {
        let data = tempfile::tempdir().unwrap();
        let reserve = Reserve::below(data.path());
        let len = || OsDisk.len(&data.path().join("reserve")).unwrap();
        reserve.restore(&OsDisk);
        assert_eq!(len(), Some(RESERVE_BYTES as u64));
        reserve.release(&OsDisk).unwrap();
        reserve.release(&OsDisk).unwrap();
        assert_eq!(len(), None);
        std::fs::write(data.path().join("reserve"), b"torn").unwrap();
        reserve.restore(&OsDisk);
        assert_eq!(len(), Some(RESERVE_BYTES as u64));
    }
}
