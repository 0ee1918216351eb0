//! The bytes of a delta: what they say first, and the table of tensors. The page docs/formats/delta.md describes them.

use std::io::Read;
use std::ops::Range;

use edgeward_core::Digest;
use edgeward_core::manifest::FileEntry;

use super::bounds::{Bounded, put_varint, varint};
use super::element::Element;
use super::{DELTA_FILE_BYTES_MAX, DeltaError, pack};

/// First bytes of every delta; the last is the version.
pub(super) const MAGIC: [u8; 8] = *b"EWDELTA1";
/// Longest table, packed or not.
const TABLE_BYTES_MAX: usize = 2 << 20;
/// zstd level of the table.
const TABLE_LEVEL: i32 = 19;

/// From what to what a delta leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file it is applied to; none for one that stands for itself.
    pub source: Option<FileEntry>,
    /// The file that comes of it.
    pub result: FileEntry,
}

/// A tensor's numbers in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// Bytes between it and the tensor before it.
    pub gap: u64,
    pub element: Element,
    /// Bytes.
    pub len: u64,
    /// Where the old numbers stand in the source.
    pub source: Option<u64>,
    /// Numbers in a row; 0 for none.
    pub row: u64,
}

impl Header {
    /// Reads what a delta says it is. Nothing of it is believed: the result is checked against what was asked for.
    ///
    /// # Errors
    /// It is no delta, of another version, or of a file over [`DELTA_FILE_BYTES_MAX`].
    pub fn read(patch: &mut dyn Read) -> Result<Self, DeltaError> {
        if bytes::<8>(patch)? != MAGIC {
            return Err(DeltaError::Malformed("it is no delta of version 1"));
        }
        let source = match byte(patch)? {
            0 => None,
            1 => Some(entry(patch)?),
            _ => return Err(DeltaError::Malformed("it does not say whether it has a source")),
        };
        Ok(Self { source, result: entry(patch)? })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.push(u8::from(self.source.is_some()));
        for entry in self.source.iter().chain([&self.result]) {
            out.extend_from_slice(entry.digest.as_bytes());
            out.extend_from_slice(&entry.size_bytes.to_le_bytes());
        }
    }
}

pub(super) fn bytes<const N: usize>(patch: &mut dyn Read) -> Result<[u8; N], DeltaError> {
    let mut bytes = [0; N];
    patch.read_exact(&mut bytes).map_err(DeltaError::reading)?;
    Ok(bytes)
}

pub(super) fn byte(patch: &mut dyn Read) -> Result<u8, DeltaError> {
    bytes::<1>(patch).map(|[byte]| byte)
}

/// A length of at most `max`.
pub(super) fn length(patch: &mut dyn Read, max: usize, what: &'static str) -> Result<usize, DeltaError> {
    let value = varint(|| byte(patch))?;
    usize::try_from(value).ok().filter(|value| *value <= max).ok_or(DeltaError::TooLong {
        what,
        value,
        max: max as u64,
    })
}

/// Exactly `len` bytes, of which the caller has checked that they are not too many.
pub(super) fn payload(patch: &mut dyn Read, len: usize) -> Result<Vec<u8>, DeltaError> {
    let mut payload = vec![0; len];
    patch.read_exact(&mut payload).map_err(DeltaError::reading)?;
    Ok(payload)
}

fn entry(patch: &mut dyn Read) -> Result<FileEntry, DeltaError> {
    let digest = Digest::from_bytes(bytes(patch)?);
    let size_bytes = u64::from_le_bytes(bytes(patch)?);
    match size_bytes <= DELTA_FILE_BYTES_MAX {
        true => Ok(FileEntry { size_bytes, digest }),
        false => Err(DeltaError::TooLong { what: "a file", value: size_bytes, max: DELTA_FILE_BYTES_MAX }),
    }
}

pub(super) fn write_table(regions: &[Region], out: &mut Vec<u8>) {
    let table = plain_table(regions);
    let packed = pack::compress(&table, &[], TABLE_LEVEL);
    put_varint(out, table.len() as u64);
    let shorter = if packed.len() < table.len() { &packed } else { &table };
    put_varint(out, shorter.len() as u64);
    out.extend_from_slice(shorter);
}

/// Whether `regions` fit into a table.
pub(super) fn fits(regions: &[Region]) -> bool {
    plain_table(regions).len() <= TABLE_BYTES_MAX
}

fn plain_table(regions: &[Region]) -> Vec<u8> {
    let (mut table, mut expected) = (Vec::new(), 0_u64);
    for region in regions {
        put_varint(&mut table, region.gap);
        table.push(region.element.code());
        put_varint(&mut table, region.len);
        put_varint(&mut table, region.row);
        expected = expected.wrapping_add(region.gap);
        let ahead = region.source.map(|at| at.wrapping_sub(expected) as i64);
        put_varint(&mut table, u64::from(ahead.is_some()));
        if let Some(ahead) = ahead {
            put_varint(&mut table, ((ahead << 1) ^ (ahead >> 63)) as u64);
        }
        expected = region.source.unwrap_or(expected).wrapping_add(region.len);
    }
    table
}

/// Reads the table; every region lies inside the result, and its old numbers inside the source.
pub(super) fn read_table(patch: &mut dyn Read, header: &Header) -> Result<Vec<Region>, DeltaError> {
    let len = length(patch, TABLE_BYTES_MAX, "the table")?;
    let packed_len = length(patch, len, "the packed table")?;
    let packed = payload(patch, packed_len)?;
    let table = if packed_len == len {
        packed
    } else {
        let mut table = vec![0; len];
        pack::decompress(&packed, &[], &mut table)?;
        table
    };
    let (mut rest, mut regions) = (Bounded::new(&table), Vec::new());
    let (mut expected, mut end) = (0_u64, 0_u64);
    while !rest.is_empty() {
        let region = read_region(&mut rest, &mut expected)?;
        let bytes = region.gap.checked_add(region.len).and_then(|bytes| end.checked_add(bytes));
        end = bytes.filter(|end| *end <= header.result.size_bytes).ok_or(OUTSIDE)?;
        check_region(&region, header)?;
        regions.push(region);
    }
    Ok(regions)
}

const OUTSIDE: DeltaError = DeltaError::Malformed("a tensor lies outside its file");

fn read_region(rest: &mut Bounded<'_>, expected: &mut u64) -> Result<Region, DeltaError> {
    let gap = rest.varint()?;
    let element =
        Element::from_code(rest.byte()?).ok_or(DeltaError::Malformed("a tensor's type is unknown"))?;
    let (len, row) = (rest.varint()?, rest.varint()?);
    *expected = expected.wrapping_add(gap);
    let source = match rest.varint()? {
        0 => None,
        _ => {
            let ahead = rest.varint()?;
            let ahead = (ahead >> 1) as i64 ^ -((ahead & 1) as i64);
            Some(expected.wrapping_add(ahead as u64))
        }
    };
    *expected = source.unwrap_or(*expected).wrapping_add(len);
    Ok(Region { gap, element, len, source, row })
}

fn check_region(region: &Region, header: &Header) -> Result<(), DeltaError> {
    if !region.len.is_multiple_of(region.element.width() as u64) {
        return Err(DeltaError::Malformed("a tensor ends in the middle of a number"));
    }
    let Some(at) = region.source else { return Ok(()) };
    let inside = header
        .source
        .is_some_and(|source| at.checked_add(region.len).is_some_and(|end| end <= source.size_bytes));
    if inside { Ok(()) } else { Err(OUTSIDE) }
}

/// The source without the old numbers of any tensor: what other bytes may refer to.
#[derive(Debug)]
pub(super) struct Remainder {
    places: Vec<Range<u64>>,
}

impl Remainder {
    pub(super) fn new(header: &Header, regions: &[Region]) -> Self {
        let size = header.source.map_or(0, |source| source.size_bytes);
        let mut used: Vec<Range<u64>> = regions
            .iter()
            .filter_map(|region| region.source.map(|at| at..at.saturating_add(region.len)))
            .collect();
        used.sort_by_key(|place| place.start);
        let (mut places, mut at) = (Vec::new(), 0);
        for place in used {
            if place.start > at {
                places.push(at..place.start.min(size));
            }
            at = at.max(place.end);
        }
        if at < size {
            places.push(at..size);
        }
        Self { places }
    }

    pub(super) fn len(&self) -> u64 {
        self.places.iter().map(|place| place.end - place.start).sum()
    }

    /// Where in the source the remainder's bytes `from..to` stand.
    pub(super) fn places(&self, from: u64, to: u64) -> Vec<Range<u64>> {
        let (mut found, mut before) = (Vec::new(), 0);
        for place in &self.places {
            let len = place.end - place.start;
            let (first, last) = (from.max(before), to.min(before + len));
            if first < last {
                found.push(place.start + (first - before)..place.start + (last - before));
            }
            before += len;
        }
        found
    }
}
