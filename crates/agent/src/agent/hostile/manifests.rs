//! The manifests of three real bundles, for the cases that `trust` has.

use std::sync::LazyLock;

use edgeward_model::Bundle;
use edgeward_model::bundle::path;
use tempfile::TempDir;

static MADE: LazyLock<(TempDir, [Bundle; 3])> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let bundles = ["1", "2", "3"].map(|version| crate::fixtures::bundle(folder.path(), version));
    (folder, bundles)
});

pub(crate) fn bundles() -> &'static [Bundle; 3] {
    &MADE.1
}

/// The manifest of a bundle; the third is never released.
pub(crate) fn manifest(n: usize) -> Vec<u8> {
    std::fs::read(bundles()[n].dir().join(path::MANIFEST)).unwrap()
}
