//! zstd, with or without known bytes before it; reading fills a buffer of known length and never more.

use zstd_safe::{CCtx, CParameter, DCtx, SafeResult};

use super::DeltaError;

/// Compresses `bytes`, which may refer to `known`.
pub(super) fn compress(bytes: &[u8], known: &[u8], level: i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    match try_compress(bytes, known, level, &mut out) {
        Ok(_) => out,
        // Out of memory: what is not compressed is longer than what is, so the caller keeps the plain bytes.
        Err(_) => vec![0; bytes.len() + 1],
    }
}

fn try_compress(bytes: &[u8], known: &[u8], level: i32, out: &mut Vec<u8>) -> SafeResult {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(level))?;
    context.set_parameter(CParameter::ContentSizeFlag(false))?;
    context.set_parameter(CParameter::ChecksumFlag(false))?;
    if !known.is_empty() {
        let reach = (bytes.len() + known.len()).next_power_of_two().ilog2();
        context.set_parameter(CParameter::WindowLog(reach.clamp(10, 27)))?;
        context.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
        context.ref_prefix(known)?;
    }
    context.compress2(out, bytes)
}

/// Fills `out` with what `packed` stands for.
pub(super) fn decompress(packed: &[u8], known: &[u8], out: &mut [u8]) -> Result<(), DeltaError> {
    let wrong = |_| DeltaError::Malformed("a part does not decompress");
    let mut context = DCtx::try_create().ok_or(DeltaError::Malformed("no memory to decompress"))?;
    if !known.is_empty() {
        context.ref_prefix(known).map_err(wrong)?;
    }
    let written = context.decompress(out, packed).map_err(wrong)?;
    match written == out.len() {
        true => Ok(()),
        false => Err(DeltaError::Malformed("a part is shorter than it says")),
    }
}
