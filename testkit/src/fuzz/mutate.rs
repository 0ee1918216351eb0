//! Changes to a file that a parser should survive: blind ones to bytes, and ones that keep the file's form.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde_json::Value as Json;

use super::wire::{self, Field, Value};

/// Longest input made; longer ones are cut.
pub const INPUT_BYTES_MAX: usize = 256 << 10;

/// Numbers at which programs err.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    1 << 16,
    1 << 28,
    (1 << 31) - 1,
    1 << 31,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// How inputs of a target are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Protobuf messages.
    Protobuf,
    /// JSON documents.
    Json,
    /// Anything else.
    Bytes,
}

/// A changed copy of `input`; pieces of `other` may get into it.
#[must_use]
pub fn mutated(input: &[u8], other: &[u8], form: Form, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=rng.random_range(0..4_u32).saturating_sub(1) {
        let kept_form = rng.random_ratio(3, 4);
        let changed = match form {
            Form::Protobuf if kept_form => in_message(&bytes, other, rng),
            Form::Json if kept_form => in_document(&bytes, rng),
            _ => None,
        };
        bytes = changed.unwrap_or_else(|| blindly(bytes, other, rng));
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

fn blindly(mut bytes: Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    if bytes.is_empty() {
        return other.to_vec();
    }
    let at = rng.random_range(0..bytes.len());
    let length = rng.random_range(1..=16_usize.min(bytes.len() - at));
    match rng.random_range(0..9_u32) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8_u32),
        1 => bytes[at] = rng.random(),
        2 => bytes[at] = *[0, 1, 0x7f, 0x80, 0xff].get(rng.random_range(0..5_usize)).unwrap_or(&0),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..at + length)),
        5 => {
            let copy = bytes[at..at + length].to_vec();
            bytes.splice(at..at, copy.repeat(rng.random_range(1..9_usize)));
        }
        6 => bytes.splice(at..at, (0..length).map(|_| rng.random())).for_each(drop),
        7 => {
            let edge = EDGES[rng.random_range(0..EDGES.len())].to_le_bytes();
            let end = (at + 8).min(bytes.len());
            bytes[at..end].copy_from_slice(&edge[..end - at]);
        }
        _ => {
            let from = rng.random_range(0..=other.len());
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
    }
    bytes
}

fn any_list<'a>(fields: &'a mut Vec<Field>, rng: &mut ChaCha8Rng) -> Option<&'a mut Vec<Field>> {
    let count = wire::lists(fields);
    wire::list_at(fields, rng.random_range(0..count)).filter(|list| !list.is_empty())
}

/// Changes one field; lengths around it are mended.
fn in_message(bytes: &[u8], other: &[u8], rng: &mut ChaCha8Rng) -> Option<Vec<u8>> {
    let mut fields = wire::parse(bytes)?;
    let list = any_list(&mut fields, rng)?;
    let at = rng.random_range(0..list.len());
    match rng.random_range(0..8_u32) {
        0 => drop(list.remove(at)),
        1 => {
            let copy = list[at].clone();
            list.splice(at..at, std::iter::repeat_n(copy, rng.random_range(1..4_usize))).for_each(drop);
        }
        2 => {
            let to = rng.random_range(0..list.len());
            list.swap(at, to);
        }
        3 => list[at].number = rng.random_range(1..26_u32),
        4 => {
            let mut theirs = wire::parse(other)?;
            let list_of_theirs = any_list(&mut theirs, rng)?;
            let from = rng.random_range(0..list_of_theirs.len());
            list[at].value = list_of_theirs.swap_remove(from).value;
        }
        _ => tamper(&mut list[at].value, rng),
    }
    Some(wire::encode(&fields))
}

fn tamper(value: &mut Value, rng: &mut ChaCha8Rng) {
    match value {
        Value::Varint(number) => {
            *number = match rng.random_range(0..3_u32) {
                0 => EDGES[rng.random_range(0..EDGES.len())],
                1 => number.wrapping_add(rng.random_range(0..3_u64).wrapping_sub(1)),
                _ => rng.random_range(0..64),
            };
        }
        Value::Eight(bytes) => *bytes = EDGES[rng.random_range(0..EDGES.len())].to_le_bytes(),
        Value::Four(bytes) => *bytes = (EDGES[rng.random_range(0..EDGES.len())] as u32).to_le_bytes(),
        Value::Bytes(bytes) => *bytes = blindly(std::mem::take(bytes), b"Gemm", rng),
        Value::Message(fields) => {
            let inner = std::mem::take(fields);
            *value = match rng.random_range(0..3_u32) {
                0 => Value::Bytes(blindly(wire::encode(&inner), &[], rng)),
                1 => Value::Message(vec![Field { number: 6, value: Value::Message(inner) }]),
                _ => Value::Varint(0),
            };
        }
    }
}

fn in_document(bytes: &[u8], rng: &mut ChaCha8Rng) -> Option<Vec<u8>> {
    let mut document: Json = serde_json::from_slice(bytes).ok()?;
    let count = places(&document);
    let place = place_at(&mut document, rng.random_range(0..count))?;
    *place = match rng.random_range(0..8_u32) {
        0 => Json::Null,
        1 => Json::from(EDGES[rng.random_range(0..EDGES.len())]),
        2 => Json::from(-(rng.random_range(0..1_000_i64))),
        3 => Json::from(f64::MAX),
        4 => Json::Array(vec![place.take(); rng.random_range(0..4_usize)]),
        5 => Json::String(format!("{place}")),
        6 => serde_json::json!({ "schema": place.take() }),
        _ => Json::Bool(true),
    };
    serde_json::to_vec(&document).ok()
}

fn places(document: &Json) -> usize {
    1 + match document {
        Json::Array(list) => list.iter().map(places).sum(),
        Json::Object(map) => map.values().map(places).sum(),
        _ => 0,
    }
}

fn place_at(document: &mut Json, at: usize) -> Option<&mut Json> {
    if at == 0 {
        return Some(document);
    }
    let mut left = at - 1;
    let inner: Vec<&mut Json> = match document {
        Json::Array(list) => list.iter_mut().collect(),
        Json::Object(map) => map.values_mut().collect(),
        _ => return None,
    };
    for value in inner {
        let count = places(value);
        if left < count {
            return place_at(value, left);
        }
        left -= count;
    }
    None
}
