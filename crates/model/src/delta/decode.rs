//! Applying a delta: block by block, with the old file at hand and the new one written as it comes.

use std::io::{self, Read, Seek, SeekFrom, Write};

use edgeward_core::digest::Hasher;
use edgeward_core::manifest::FileEntry;

use super::adaptive::{Learnt, Surroundings, What};
use super::container::{Header, Region, Remainder, byte, length, payload, read_table};
use super::element::Element;
use super::{BLOCK_BYTES, CHUNK_BYTES, DeltaError, KNOWN_BYTES_MAX, Method, pack, planes};

/// Longest payload of a block: what it stands for, and some for lengths.
const PAYLOAD_BYTES_MAX: usize = BLOCK_BYTES + 256;

/// A file that can be read from any place.
pub trait Seekable: Read + Seek {}

impl<T: Read + Seek> Seekable for T {}

/// Writes the file that `patch` makes of `source`, which must be `result`.
///
/// Holds a few blocks at a time, at most 20 MiB, whatever the files' sizes. What was written when an error is returned
/// must not be used.
///
/// # Errors
/// Reading or writing fails, the delta is malformed or for other files, or what came of it is not `result`.
pub fn apply<'a>(
    patch: &'a mut dyn Read,
    source: Option<&'a mut dyn Seekable>,
    result: &FileEntry,
    out: &'a mut dyn Write,
) -> Result<(), DeltaError> {
    let header = Header::read(patch)?;
    if header.result != *result {
        return Err(DeltaError::OtherResult { expected: result.digest, found: header.result.digest });
    }
    let regions = read_table(patch, &header)?;
    let source = match (header.source, source) {
        (None, _) => None,
        (Some(_), Some(source)) => Some(source),
        (Some(entry), None) => return Err(DeltaError::NoSource(entry.digest)),
    };
    let remainder = Remainder::new(&header, &regions);
    let learnt = std::array::from_fn(|_| [None, None]);
    let out = Output { out, hasher: Hasher::new() };
    let mut work =
        Work { patch, source, remainder, out, learnt, chunk: Vec::new(), chunk_at: 0, rest_left: 0 };
    let in_tensors: u64 = regions.iter().map(|region| region.len).sum();
    work.rest_left = result.size_bytes - in_tensors;
    for region in &regions {
        work.rest(region.gap)?;
        work.tensor(region)?;
    }
    work.rest(work.left())?;
    work.end(result)
}

struct Output<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
}

impl Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DeltaError> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(DeltaError::Write)
    }
}

struct Work<'a> {
    patch: &'a mut dyn Read,
    source: Option<&'a mut dyn Seekable>,
    remainder: Remainder,
    out: Output<'a>,
    learnt: [[Option<Box<Learnt>>; 2]; Element::ALL.len()],
    /// Bytes outside tensors that were read but not written yet.
    chunk: Vec<u8>,
    chunk_at: usize,
    /// Bytes outside tensors that were not read yet.
    rest_left: u64,
}

impl Work<'_> {
    fn left(&self) -> u64 {
        self.rest_left + (self.chunk.len() - self.chunk_at) as u64
    }

    /// Writes the next `count` bytes outside tensors.
    fn rest(&mut self, mut count: u64) -> Result<(), DeltaError> {
        while count > 0 {
            if self.chunk_at == self.chunk.len() {
                self.next_chunk()?;
            }
            let ready = &self.chunk[self.chunk_at..];
            let taken = usize::try_from(count).unwrap_or(usize::MAX).min(ready.len());
            self.out.write(&ready[..taken])?;
            self.chunk_at += taken;
            count -= taken as u64;
        }
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<(), DeltaError> {
        let len = self.rest_left.min(CHUNK_BYTES as u64);
        if len == 0 {
            return Err(DeltaError::Malformed("its tensors take more than the file"));
        }
        self.rest_left -= len;
        let len = len as usize;
        let known_from = super::bounds::varint(|| byte(self.patch))?;
        let known_len = length(self.patch, KNOWN_BYTES_MAX, "what a chunk refers to")?;
        let known = self.known(known_from, known_len)?;
        let packed_len = length(self.patch, len, "a chunk")?;
        let packed = payload(self.patch, packed_len)?;
        self.chunk_at = 0;
        if packed_len == len {
            self.chunk = packed;
            return Ok(());
        }
        self.chunk.resize(len, 0);
        pack::decompress(&packed, &known, &mut self.chunk)
    }

    /// Bytes of the source that belong to no tensor.
    fn known(&mut self, from: u64, len: usize) -> Result<Vec<u8>, DeltaError> {
        let to = from.checked_add(len as u64).filter(|to| *to <= self.remainder.len());
        let to = to.ok_or(DeltaError::Malformed("a chunk refers to what is not in the source"))?;
        let (mut known, mut at) = (vec![0; len], 0);
        for place in self.remainder.places(from, to) {
            let len = (place.end - place.start) as usize;
            read_at(&mut self.source, place.start, &mut known[at..at + len])?;
            at += len;
        }
        Ok(known)
    }

    fn tensor(&mut self, region: &Region) -> Result<(), DeltaError> {
        let row = usize::try_from(region.row).unwrap_or(0);
        let mut around = [Surroundings::new(row), Surroundings::new(row)];
        let mut at = 0;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        while at < region.len {
            let len = (region.len - at).min(BLOCK_BYTES as u64) as usize;
            new.resize(len, 0);
            if let Some(from) = region.source {
                old.resize(len, 0);
                read_at(&mut self.source, from + at, &mut old)?;
            }
            self.block(region.element, &old, &mut new, &mut around)?;
            self.out.write(&new)?;
            at += len as u64;
        }
        Ok(())
    }

    fn block(
        &mut self,
        element: Element,
        old: &[u8],
        new: &mut [u8],
        around: &mut [Surroundings; 2],
    ) -> Result<(), DeltaError> {
        let method =
            Method::from_code(byte(self.patch)?).ok_or(DeltaError::Malformed("a method is unknown"))?;
        if method.needs_old() && old.len() != new.len() {
            return Err(DeltaError::Malformed("a block refers to numbers that are not in the source"));
        }
        let count = new.len() / element.width();
        let mut skipped = [true; 2];
        if method == Method::Same {
            new.copy_from_slice(old);
        } else {
            let len = length(self.patch, PAYLOAD_BYTES_MAX, "a block")?;
            let payload = payload(self.patch, len)?;
            match method {
                Method::Same => {}
                Method::Stored if payload.len() == new.len() => new.copy_from_slice(&payload),
                Method::Stored => return Err(DeltaError::Malformed("a block has not its length")),
                Method::Planes => planes::read(&payload, element.width(), new)?,
                Method::ChangePlanes => {
                    planes::read(&payload, element.width(), new)?;
                    planes::apply_changes(element, old, new);
                }
                Method::ChangeAdaptive | Method::ValueAdaptive => {
                    let what = if method == Method::ChangeAdaptive { What::Change } else { What::Value };
                    let learnt = &mut self.learnt[element.index()][what as usize];
                    let learnt = learnt.get_or_insert_with(|| Box::new(Learnt::new(element, what)));
                    learnt.read(&payload, old, new, &mut around[what as usize]);
                    skipped[what as usize] = false;
                }
            }
        }
        for (around, skipped) in around.iter_mut().zip(skipped) {
            if skipped {
                around.skip(count);
            }
        }
        Ok(())
    }

    fn end(self, result: &FileEntry) -> Result<(), DeltaError> {
        match self.patch.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(DeltaError::Malformed("something stands behind its end")),
            Err(error) => return Err(DeltaError::reading(error)),
        }
        let found = self.out.hasher.finish();
        match found == result.digest {
            true => Ok(()),
            false => Err(DeltaError::WrongResult { expected: result.digest, found }),
        }
    }
}

fn read_at(source: &mut Option<&mut dyn Seekable>, at: u64, bytes: &mut [u8]) -> Result<(), DeltaError> {
    let mut read = || {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no source");
        let source = source.as_deref_mut().ok_or_else(missing)?;
        source.seek(SeekFrom::Start(at))?;
        source.read_exact(bytes)
    };
    read().map_err(DeltaError::Source)
}
