//! Numbers as byte planes: all first bytes, then all second ones, and so on, each plane compressed for itself.
//!
//! The high bytes of weights are alike and shrink, the low ones are as good as random and stay; mixed together neither
//! is seen. A change is stored as its zigzag integer, so that small ones of either sign have zeros in their high bytes.

use super::bounds::{Bounded, put_varint};
use super::element::Element;
use super::{DeltaError, pack};

/// Each number's bytes apart; changes as zigzag integers.
pub(super) fn of_changes(element: Element, old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut changes = vec![0; new.len()];
    for index in 0..new.len() / element.width() {
        let (negative, size) = element.difference(element.load(old, index), element.load(new, index));
        element.store(&mut changes, index, element.zigzag(negative, size));
    }
    changes
}

/// The way back from [`of_changes`], in place.
pub(super) fn apply_changes(element: Element, old: &[u8], changes: &mut [u8]) {
    for index in 0..changes.len() / element.width() {
        let (negative, size) = element.unzigzag(element.load(changes, index));
        let new = element.moved(element.load(old, index), negative, size);
        element.store(changes, index, new);
    }
}

/// Every plane of numbers of `width` bytes: its length as a varint, its bytes; a plane that does not shrink stays.
pub(super) fn write(numbers: &[u8], width: usize, level: i32) -> Vec<u8> {
    let mut out = Vec::new();
    for plane in 0..width {
        let bytes: Vec<u8> = numbers.iter().skip(plane).step_by(width).copied().collect();
        let packed = pack::compress(&bytes, &[], level);
        let shorter = if packed.len() < bytes.len() { &packed } else { &bytes };
        put_varint(&mut out, shorter.len() as u64);
        out.extend_from_slice(shorter);
    }
    out
}

/// The way back from [`write`].
pub(super) fn read(payload: &[u8], width: usize, numbers: &mut [u8]) -> Result<(), DeltaError> {
    let count = numbers.len() / width;
    let mut rest = Bounded::new(payload);
    let mut plane_bytes = vec![0; count];
    for plane in 0..width {
        let len = rest.length(count as u64, "a plane")?;
        let stored = rest.take(len)?;
        if len == count {
            plane_bytes.copy_from_slice(stored);
        } else {
            pack::decompress(stored, &[], &mut plane_bytes)?;
        }
        numbers.iter_mut().skip(plane).step_by(width).zip(&plane_bytes).for_each(|(to, from)| *to = *from);
    }
    rest.end()
}
