//! Little-endian bytes with checked lengths: the only way state leaves and enters this crate.
//!
//! A reader never allocates more than the bytes it was given can describe, and never panics.
//! Deliberately missing: compression, self-description and schema evolution beyond one version byte.

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first bytes are not those of the expected document.
    #[error("not a {expected}: wrong first bytes")]
    Magic {
        /// Name of the expected document.
        expected: &'static str,
    },
    /// A later version than this build knows.
    #[error("{document} of version {found}; this build reads version {known}")]
    Version {
        /// Name of the document.
        document: &'static str,
        /// Version in the bytes.
        found: u8,
        /// Newest version this build reads.
        known: u8,
    },
    /// The bytes end early.
    #[error("bytes end before {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// A value that no writer produces.
    #[error("{what} is out of range")]
    Invalid {
        /// What was being read.
        what: &'static str,
    },
    /// Bytes follow the end of the document.
    #[error("{count} bytes follow the end")]
    Trailing {
        /// Number of surplus bytes.
        count: usize,
    },
    /// The bytes describe a state of another reference.
    #[error("made for reference {found:016x}, expected {expected:016x}")]
    OtherReference {
        /// Fingerprint of the reference in use.
        expected: u64,
        /// Fingerprint in the bytes.
        found: u64,
    },
}

/// Appends values to a byte vector.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(magic: [u8; 4], version: u8) -> Self {
        let mut bytes = magic.to_vec();
        bytes.push(version);
        Self(bytes)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i128(&mut self, value: i128) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, value: f32) {
        self.u32(value.to_bits());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// A length; lengths in this crate are bounded far below `u32::MAX` by named limits.
    pub(crate) fn len(&mut self, value: usize) {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX));
    }

    /// Unsigned LEB128: counts are mostly small.
    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.len(value.len());
        self.0.extend_from_slice(value);
    }

    pub(crate) fn str(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }
}

/// Takes values from the front of a byte slice.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(
        bytes: &'a [u8],
        document: &'static str,
        magic: [u8; 4],
        version: u8,
    ) -> Result<Self, DecodeError> {
        let mut reader = Self(bytes);
        if reader.array::<4>(document)? != magic {
            return Err(DecodeError::Magic { expected: document });
        }
        let found = reader.u8(document)?;
        if found != version {
            return Err(DecodeError::Version { document, found, known: version });
        }
        Ok(reader)
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Truncated { what })?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn i128(&mut self, what: &'static str) -> Result<i128, DecodeError> {
        Ok(i128::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn f32(&mut self, what: &'static str) -> Result<f32, DecodeError> {
        Ok(f32::from_bits(self.u32(what)?))
    }

    pub(crate) fn f64(&mut self, what: &'static str) -> Result<f64, DecodeError> {
        Ok(f64::from_bits(self.u64(what)?))
    }

    /// A length of at most `max`, of items that each take at least one byte.
    pub(crate) fn len(&mut self, what: &'static str, max: usize) -> Result<usize, DecodeError> {
        let len = self.u32(what)? as usize;
        if len > max {
            return Err(DecodeError::Invalid { what });
        }
        if len > self.0.len() {
            return Err(DecodeError::Truncated { what });
        }
        Ok(len)
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let part = u64::from(byte & 0x7f);
            let canonical = (byte != 0 || shift == 0) && (part << shift) >> shift == part;
            value |= part << shift;
            if byte & 0x80 == 0 {
                return if canonical { Ok(value) } else { Err(DecodeError::Invalid { what }) };
            }
        }
        Err(DecodeError::Invalid { what })
    }

    pub(crate) fn bytes(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.len(what, max)?;
        let (head, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Truncated { what })?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn str(&mut self, what: &'static str, max: usize) -> Result<String, DecodeError> {
        let bytes = self.bytes(what, max)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Invalid { what })
    }
}

/// `Err(Invalid)` unless `condition` holds.
pub(crate) fn ensure(condition: bool, what: &'static str) -> Result<(), DecodeError> {
    if condition { Ok(()) } else { Err(DecodeError::Invalid { what }) }
}

/// 64-bit FNV-1a: tells references apart by accident, not against an adversary; bundles are named by SHA-256.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
