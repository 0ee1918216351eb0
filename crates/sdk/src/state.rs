//! What a recorder keeps over a restart: the monitor's state and the performance, one after the other.
//!
//! Bytes: `EWRS`, version 1, the length of the monitor's state as u32 (little-endian), that state, the performance.
//! Bytes that begin otherwise are a monitor's state alone, as earlier builds wrote it.

const HEAD: &[u8; 5] = b"EWRS\x01";

pub(crate) fn join(monitor: &[u8], performance: &[u8]) -> Vec<u8> {
    let len = u32::try_from(monitor.len()).unwrap_or(u32::MAX).to_le_bytes();
    [HEAD.as_slice(), &len, monitor, performance].concat()
}

/// The monitor's state, and the performance if there is one.
pub(crate) fn split(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    let parts = bytes.strip_prefix(HEAD.as_slice()).and_then(|rest| {
        let (len, rest) = rest.split_first_chunk::<4>()?;
        rest.split_at_checked(u32::from_le_bytes(*len) as usize)
    });
    match parts {
        Some((monitor, performance)) => (monitor, Some(performance)),
        None => (bytes, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_older_bytes_are_the_monitors() {
        assert_eq!(split(&join(b"monitor", b"performance")), (&b"monitor"[..], Some(&b"performance"[..])));
        assert_eq!(split(&join(b"", b"")), (&b""[..], Some(&b""[..])));
        assert_eq!(split(b"EWMS..."), (&b"EWMS..."[..], None));
        assert_eq!(split(b"EWRS\x01\xff\0\0\0x"), (&b"EWRS\x01\xff\0\0\0x"[..], None));
    }
}
