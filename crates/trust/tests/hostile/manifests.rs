//! The manifests of three bundles: what a device is told to run first, and what comes after it.

/// The manifest of a bundle; the third is never released.
pub(crate) fn manifest(n: usize) -> Vec<u8> {
    format!("manifest {n}").into_bytes()
}
