//! Making a delta: for every block the shortest of all methods. The same files make the same bytes.

use edgeward_core::Digest;
use edgeward_core::manifest::FileEntry;

use super::adaptive::{Learnt, Surroundings, What};
use super::bounds::put_varint;
use super::container::{Header, Region, Remainder, fits, write_table};
use super::element::Element;
use super::split::{Found, matched, tensors};
use super::{BLOCK_BYTES, CHUNK_BYTES, KNOWN_BYTES_MAX, Method, pack, planes};

/// zstd level of bytes outside tensors.
const REST_LEVEL: i32 = 19;
/// zstd level of planes: higher ones find nothing more in them.
const PLANE_LEVEL: i32 = 9;
/// A file of this many bytes or more that has no tensors may itself be one.
const GUESS_BYTES_MIN: usize = 4 << 10;
/// What a file without tensors may be.
const GUESSES: [Element; 3] = [Element::F32, Element::F16, Element::I8];

/// What stands for `result` where `source` is at hand, or where nothing is.
pub(super) fn make(source: Option<&[u8]>, result: &[u8]) -> Vec<u8> {
    let split = split(source, result);
    let mut best = if fits(&split) { encode(source, result, &split) } else { encode(source, result, &[]) };
    // A text that packs well is no tensor.
    let others = if best.len() * 2 > result.len() || !split.is_empty() {
        alternatives(source, result, &split)
    } else {
        Vec::new()
    };
    for other in others {
        let other = encode(source, result, &other);
        if other.len() < best.len() {
            best = other;
        }
    }
    best
}

/// The tensors of an ONNX file.
fn split(source: Option<&[u8]>, result: &[u8]) -> Vec<Region> {
    let new = tensors(result);
    let places = match source {
        Some(source) => matched(source, &tensors(source), result, &new),
        None => vec![None; new.len()],
    };
    let mut end = 0;
    let region = |(found, source): (&Found, Option<usize>)| {
        let gap = (found.place.start - end) as u64;
        end = found.place.end;
        Region {
            gap,
            element: found.element,
            len: found.place.len() as u64,
            source: source.map(|at| at as u64),
            row: found.row as u64,
        }
    };
    new.iter().zip(places).map(region).collect()
}

/// Other ways to see a file: as one tensor, or as bytes only.
fn alternatives(source: Option<&[u8]>, result: &[u8], split: &[Region]) -> Vec<Vec<Region>> {
    let in_tensors: u64 = split.iter().map(|region| region.len).sum();
    let mostly_tensors = in_tensors * 2 > result.len() as u64;
    if result.len() < GUESS_BYTES_MIN || (mostly_tensors && result.len() > CHUNK_BYTES) {
        return Vec::new();
    }
    let mut ways = if split.is_empty() { Vec::new() } else { vec![Vec::new()] };
    if split.is_empty() {
        let source = source.filter(|source| source.len() == result.len()).map(|_| 0);
        let whole = |element: Element| {
            let len = (result.len() / element.width() * element.width()) as u64;
            vec![Region { gap: 0, element, len, source, row: 0 }]
        };
        ways.extend(GUESSES.map(whole));
    }
    ways
}

fn encode(source: Option<&[u8]>, result: &[u8], regions: &[Region]) -> Vec<u8> {
    let entry = |bytes: &[u8]| FileEntry { size_bytes: bytes.len() as u64, digest: Digest::of(bytes) };
    let header = Header { source: source.map(entry), result: entry(result) };
    let mut out = Vec::new();
    header.write(&mut out);
    write_table(regions, &mut out);
    let source = source.unwrap_or_default();
    let (rest, known) = (rest(result, regions), known(source, &Remainder::new(&header, regions)));
    let mut encoder = Encoder {
        source,
        result,
        rest,
        known,
        rest_at: 0,
        rest_written: 0,
        learnt: std::array::from_fn(|_| [None, None]),
        out,
    };
    encoder.run(regions);
    encoder.out
}

/// The bytes of the result outside tensors.
fn rest(result: &[u8], regions: &[Region]) -> Vec<u8> {
    let (mut rest, mut at) = (Vec::new(), 0);
    for region in regions {
        rest.extend_from_slice(&result[at..at + region.gap as usize]);
        at += (region.gap + region.len) as usize;
    }
    rest.extend_from_slice(&result[at..]);
    rest
}

/// The bytes of the source outside tensors.
fn known(source: &[u8], remainder: &Remainder) -> Vec<u8> {
    let places = remainder.places(0, remainder.len());
    places.iter().flat_map(|place| &source[place.start as usize..place.end as usize]).copied().collect()
}

struct Encoder<'a> {
    source: &'a [u8],
    result: &'a [u8],
    rest: Vec<u8>,
    known: Vec<u8>,
    /// How much of the rest the reader has needed so far, and how much it was given.
    rest_at: usize,
    rest_written: usize,
    learnt: [[Option<Box<Learnt>>; 2]; Element::ALL.len()],
    out: Vec<u8>,
}

/// A block as one method writes it.
struct Attempt {
    method: Method,
    payload: Vec<u8>,
    state: Option<(What, Box<Learnt>, Surroundings)>,
}

impl Encoder<'_> {
    fn run(&mut self, regions: &[Region]) {
        let mut at = 0;
        for region in regions {
            self.supply_rest(region.gap as usize);
            at += region.gap as usize;
            self.tensor(region, at);
            at += region.len as usize;
        }
        self.supply_rest(self.rest.len() - self.rest_at);
    }

    /// Chunks are written when the reader runs out of them.
    fn supply_rest(&mut self, count: usize) {
        self.rest_at += count;
        while self.rest_written < self.rest_at {
            let end = self.rest.len().min(self.rest_written + CHUNK_BYTES);
            self.chunk(self.rest_written, end);
            self.rest_written = end;
        }
    }

    fn chunk(&mut self, from: usize, to: usize) {
        let bytes = &self.rest[from..to];
        let (known_from, known_to) = around(from, to, self.rest.len(), self.known.len());
        let known = &self.known[known_from..known_to];
        let packed = pack::compress(bytes, known, REST_LEVEL);
        put_varint(&mut self.out, known_from as u64);
        put_varint(&mut self.out, known.len() as u64);
        let shorter = if packed.len() < bytes.len() { &packed[..] } else { bytes };
        put_varint(&mut self.out, shorter.len() as u64);
        self.out.extend_from_slice(shorter);
    }

    fn tensor(&mut self, region: &Region, at: usize) {
        let row = usize::try_from(region.row).unwrap_or(0);
        let mut surroundings = [Surroundings::new(row), Surroundings::new(row)];
        let (len, result) = (region.len as usize, self.result);
        let source = region.source.map(|from| &self.source[from as usize..from as usize + len]);
        let new_blocks = result[at..at + len].chunks(BLOCK_BYTES);
        for (index, new) in new_blocks.enumerate() {
            let old = source.map(|source| &source[index * BLOCK_BYTES..][..new.len()]);
            let best = self.best(region.element, old, new, &surroundings);
            self.take(best, region.element, new.len(), &mut surroundings);
        }
    }

    fn best(
        &self,
        element: Element,
        old: Option<&[u8]>,
        new: &[u8],
        surroundings: &[Surroundings; 2],
    ) -> Attempt {
        if old == Some(new) {
            return Attempt { method: Method::Same, payload: Vec::new(), state: None };
        }
        let mut best = Attempt { method: Method::Stored, payload: new.to_vec(), state: None };
        if let Some(old) = old {
            self.adaptive(element, What::Change, old, new, surroundings, &mut best);
            let changes = planes::of_changes(element, old, new);
            let payload = planes::write(&changes, element.width(), PLANE_LEVEL);
            best.improve(Attempt { method: Method::ChangePlanes, payload, state: None });
        }
        self.adaptive(element, What::Value, &[], new, surroundings, &mut best);
        let payload = planes::write(new, element.width(), PLANE_LEVEL);
        best.improve(Attempt { method: Method::Planes, payload, state: None });
        best
    }

    fn adaptive(
        &self,
        element: Element,
        what: What,
        old: &[u8],
        new: &[u8],
        surroundings: &[Surroundings; 2],
        best: &mut Attempt,
    ) {
        let learnt = self.learnt[element.index()][what as usize].clone();
        let mut learnt = learnt.unwrap_or_else(|| Box::new(Learnt::new(element, what)));
        let mut around = surroundings[what as usize].clone();
        if let Some(payload) = learnt.write(old, new, &mut around, best.payload.len()) {
            let method = if what == What::Change { Method::ChangeAdaptive } else { Method::ValueAdaptive };
            best.improve(Attempt { method, payload, state: Some((what, learnt, around)) });
        }
    }

    fn take(&mut self, best: Attempt, element: Element, len: usize, surroundings: &mut [Surroundings; 2]) {
        let chosen = best.state.as_ref().map(|(what, ..)| *what as usize);
        for (index, around) in surroundings.iter_mut().enumerate() {
            if chosen != Some(index) {
                around.skip(len / element.width());
            }
        }
        if let Some((what, learnt, around)) = best.state {
            self.learnt[element.index()][what as usize] = Some(learnt);
            surroundings[what as usize] = around;
        }
        self.out.push(best.method.code());
        if best.method != Method::Same {
            put_varint(&mut self.out, best.payload.len() as u64);
            self.out.extend_from_slice(&best.payload);
        }
    }
}

impl Attempt {
    fn improve(&mut self, other: Self) {
        if other.payload.len() < self.payload.len() {
            *self = other;
        }
    }
}

/// The part of `known_len` bytes that probably holds what `from..to` of `len` bytes grew from.
pub(super) fn around(from: usize, to: usize, len: usize, known_len: usize) -> (usize, usize) {
    if known_len <= KNOWN_BYTES_MAX {
        return (0, known_len);
    }
    let middle = (from as u128 + to as u128) * known_len as u128 / (2 * len.max(1) as u128);
    let first = (middle as usize).saturating_sub(KNOWN_BYTES_MAX / 2).min(known_len - KNOWN_BYTES_MAX);
    (first, first + KNOWN_BYTES_MAX)
}
