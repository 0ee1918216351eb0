//! Finding the tensors inside an ONNX file, by name and place, without copying them.
//!
//! Walks the protobuf itself: constants of the graph and of the graphs below it, and tensors in attributes. A file that
//! is something else has none. What is found decides only how well a delta packs: whoever applies one never looks.

use std::ops::Range;

use super::element::Element;
use crate::onnx::proto::element_type;

/// Shorter tensors are left among the other bytes.
const TENSOR_BYTES_MIN: usize = 64;
/// Graphs inside graphs.
const DEPTH_MAX: usize = 16;

/// A tensor and where its numbers stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Names of the graphs around it, and its own.
    pub name: String,
    pub element: Element,
    /// Its bytes in the file.
    pub place: Range<usize>,
    /// Numbers in a row; 0 for a tensor without rows.
    pub row: usize,
}

/// The tensors of an ONNX file in the order of their places.
pub(super) fn tensors(file: &[u8]) -> Vec<Found> {
    let mut walk = Walk { file, found: Vec::new() };
    if walk.model().is_none() {
        return Vec::new();
    }
    let mut found = walk.found;
    found.sort_by_key(|tensor| tensor.place.start);
    // A file may not be what it looks like; pieces that overlap would be coded twice.
    let mut end = 0;
    found.retain(|tensor| {
        let apart = tensor.place.start >= end;
        end = end.max(tensor.place.end);
        apart
    });
    found
}

struct Walk<'a> {
    file: &'a [u8],
    found: Vec<Found>,
}

/// One field of a message.
enum Value {
    Number(u64),
    Bytes(Range<usize>),
}

/// The fields of the message at a place in the file; ends early at anything that is no field.
struct Fields<'a> {
    file: &'a [u8],
    place: Range<usize>,
    broken: bool,
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.file.get(self.place.clone())?.first()?;
            self.place.start += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: u64) -> Option<Range<usize>> {
        let end = self.place.start.checked_add(usize::try_from(len).ok()?)?;
        if end > self.place.end {
            return None;
        }
        let taken = self.place.start..end;
        self.place.start = end;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl Iterator for Fields<'_> {
    type Item = (u64, Value);

    fn next(&mut self) -> Option<Self::Item> {
        if self.place.is_empty() || self.broken {
            return None;
        }
        let field = self.field();
        self.broken = field.is_none();
        field
    }
}

impl<'a> Walk<'a> {
    fn fields(&self, place: Range<usize>) -> Fields<'a> {
        Fields { file: self.file, place, broken: false }
    }

    fn text(&self, place: Range<usize>) -> String {
        String::from_utf8_lossy(&self.file[place]).into_owned()
    }

    fn model(&mut self) -> Option<()> {
        let mut fields = self.fields(0..self.file.len());
        let mut graphs = Vec::new();
        for (number, value) in fields.by_ref() {
            if let (7, Value::Bytes(place)) = (number, value) {
                graphs.push(place);
            }
        }
        if fields.broken {
            return None;
        }
        graphs.into_iter().for_each(|graph| self.graph(graph, "", 0));
        Some(())
    }

    fn graph(&mut self, place: Range<usize>, inside: &str, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        for (number, value) in self.fields(place) {
            match (number, value) {
                (1, Value::Bytes(node)) => self.node(node, inside, depth),
                (5, Value::Bytes(tensor)) => self.tensor(tensor, inside),
                _ => {}
            }
        }
    }

    fn node(&mut self, place: Range<usize>, inside: &str, depth: usize) {
        let outputs = self.fields(place.clone()).filter_map(|(number, value)| match (number, value) {
            (2, Value::Bytes(place)) => Some(self.text(place)),
            _ => None,
        });
        let inside = format!("{inside}{}/", outputs.into_iter().next().unwrap_or_default());
        for (number, value) in self.fields(place) {
            if let (5, Value::Bytes(attribute)) = (number, value) {
                self.attribute(attribute, &inside, depth);
            }
        }
    }

    fn attribute(&mut self, place: Range<usize>, inside: &str, depth: usize) {
        for (number, value) in self.fields(place) {
            match (number, value) {
                (5 | 10, Value::Bytes(tensor)) => self.tensor(tensor, inside),
                (6 | 11, Value::Bytes(graph)) => self.graph(graph, inside, depth + 1),
                _ => {}
            }
        }
    }

    fn tensor(&mut self, place: Range<usize>, inside: &str) {
        let (mut dims, mut kind, mut name, mut numbers) = (Vec::new(), 0, String::new(), None);
        for (number, value) in self.fields(place) {
            match (number, value) {
                (1, Value::Number(dim)) => dims.push(dim),
                (1, Value::Bytes(packed)) => {
                    let mut packed = self.fields(packed);
                    dims.extend(std::iter::from_fn(|| packed.varint()));
                }
                (2, Value::Number(found)) => kind = found,
                (8, Value::Bytes(place)) => name = self.text(place),
                // Raw bytes, or packed numbers of a type whose packed form is the same.
                (4 | 9 | 10, Value::Bytes(place)) => numbers = Some(place),
                _ => {}
            }
        }
        let element = i32::try_from(kind).ok().and_then(element);
        if let (Some(element), Some(place)) = (element, numbers)
            && place.len() >= TENSOR_BYTES_MIN
            && place.len().is_multiple_of(element.width())
        {
            let name = format!("{inside}{name}");
            self.found.push(Found { name, element, row: row(&dims, place.len() / element.width()), place });
        }
    }
}

const fn element(kind: i32) -> Option<Element> {
    Some(match kind {
        element_type::FLOAT => Element::F32,
        element_type::FLOAT16 => Element::F16,
        element_type::BFLOAT16 => Element::Bf16,
        element_type::DOUBLE => Element::F64,
        element_type::INT8 => Element::I8,
        element_type::UINT8 | element_type::BOOL => Element::U8,
        element_type::INT32 => Element::I32,
        element_type::INT64 => Element::I64,
        _ => return None,
    })
}

/// Numbers for each entry of the first dimension, which is what one output of a layer, or one input, has.
fn row(dims: &[u64], count: usize) -> usize {
    let first = dims.first().and_then(|first| usize::try_from(*first).ok()).filter(|first| *first > 0);
    match (dims.len(), first) {
        (0 | 1, _) | (_, None) => 0,
        (_, Some(first)) => count / first,
    }
}

/// Whether a tensor probably grew from another.
type Likeness<'a> = dyn Fn(&Found, &Found) -> bool + 'a;

/// For each tensor of `result` the place in the old file of the one it probably grew from: of the same name, else with
/// the same content, else the next unclaimed one of its type and size.
pub(super) fn matched(source: &[u8], old: &[Found], result: &[u8], new: &[Found]) -> Vec<Option<usize>> {
    let mut taken = vec![false; old.len()];
    let mut matches = vec![None; new.len()];
    let alike = |old: &Found, new: &Found| old.element == new.element && old.place.len() == new.place.len();
    let same_content = |old: &Found, new: &Found| source[old.place.clone()] == result[new.place.clone()];
    let rounds: [&Likeness<'_>; 3] = [&|old, new| old.name == new.name, &same_content, &|_, _| true];
    for round in rounds {
        for (new, found) in new.iter().zip(&mut matches).filter(|(_, found)| found.is_none()) {
            let candidate =
                old.iter().zip(&taken).position(|(old, taken)| !taken && alike(old, new) && round(old, new));
            if let Some(index) = candidate {
                taken[index] = true;
                *found = Some(old[index].place.start);
            }
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::conformance::fixture;
    use crate::onnx;

    #[test]
    fn constants_are_found_where_they_stand() {
        let model = fixture::classifier();
        let file = onnx::encode(&model);
        let found = tensors(&file);
        let large = |raw: &&Vec<u8>| raw.len() >= TENSOR_BYTES_MIN;
        let constants = model.graph.iter().flat_map(|graph| &graph.initializer);
        let expected: Vec<&Vec<u8>> =
            constants.filter_map(|constant| constant.raw_data.as_ref()).filter(large).collect();
        assert!(!expected.is_empty());
        let contents: Vec<&[u8]> = found.iter().map(|tensor| &file[tensor.place.clone()]).collect();
        assert_eq!(contents, expected);
        assert!(found.iter().all(|tensor| tensor.element == Element::F32));
    }

    #[test]
    fn other_files_have_no_tensors() {
        for file in [&b""[..], b"{\"a\": 1}", b"\x3a\xff\xff\xff\xff\x7f", &[0xff; 40]] {
            assert!(tensors(file).is_empty());
        }
    }
}
