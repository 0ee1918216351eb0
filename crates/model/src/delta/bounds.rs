//! Reading numbers and lengths that nobody vouches for.

use super::DeltaError;

/// Longest varint: 64 bits in groups of seven.
const VARINT_BYTES_MAX: u32 = 10;

/// Appends `value` in groups of seven bits, the lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A varint from one byte after another.
pub(super) fn varint(mut next: impl FnMut() -> Result<u8, DeltaError>) -> Result<u64, DeltaError> {
    let mut value = 0_u64;
    for group in 0..VARINT_BYTES_MAX {
        let byte = next()?;
        let bits = u64::from(byte & 0x7f);
        if group == VARINT_BYTES_MAX - 1 && bits > 1 {
            break;
        }
        value |= bits << (7 * group);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(DeltaError::Malformed("a number is too long"))
}

/// What is left of bytes in memory.
pub(super) struct Bounded<'a> {
    rest: &'a [u8],
}

impl<'a> Bounded<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DeltaError> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or(DeltaError::Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DeltaError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn varint(&mut self) -> Result<u64, DeltaError> {
        varint(|| self.byte())
    }

    /// A length of at most `max`.
    pub(super) fn length(&mut self, max: u64, what: &'static str) -> Result<usize, DeltaError> {
        let value = self.varint()?;
        match value <= max {
            true => usize::try_from(value).map_err(|_| DeltaError::TooLong { what, value, max }),
            false => Err(DeltaError::TooLong { what, value, max }),
        }
    }

    /// Nothing may be left.
    pub(super) const fn end(&self) -> Result<(), DeltaError> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(DeltaError::Malformed("something stands behind its end")),
        }
    }
}
