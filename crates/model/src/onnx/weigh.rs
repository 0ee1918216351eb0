//! How much memory a file's messages take once decoded, told from the bytes alone.
//!
//! Two bytes can announce an empty attribute, which takes over a kilobyte in memory; a packed zero takes one byte in the
//! file and eight in memory. So a file of a few megabytes could ask for gigabytes, and an allocation that fails ends
//! the process. The walk below allocates nothing and never fails: what is no protobuf message is left to the decoder.

use std::mem::size_of;

use prost::encoding::{WireType, decode_key, decode_varint};

use super::proto;

/// Memory that the messages of any file may take, in bytes, beside a multiple of the file's size.
pub const DECODED_BYTES_FREE: u64 = 256 << 20;
/// Bytes of memory that each byte of a file may take beyond that.
pub const DECODED_BYTES_PER_BYTE: u64 = 4;

/// Deepest nesting that is walked; the decoder refuses deeper ones.
const DEPTH_MAX: usize = 100;
/// What a text or byte string takes beside its bytes.
const STRING_BYTES: u64 = 32;

/// A kind of message.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Entry,
    Opset,
    Graph,
    Annotation,
    Node,
    Attribute,
    Tensor,
    Segment,
    Sparse,
    Value,
    Type,
    TensorType,
    Element,
    MapType,
    Opaque,
    Shape,
    Dimension,
    Training,
    Function,
}

/// What a length-delimited field of a message holds.
#[derive(Clone, Copy)]
enum Content {
    Message(Kind),
    /// Packed numbers of this size each, at least one byte in the file.
    Numbers(u64),
    Text,
}

/// The memory that decoding `bytes` as a model takes, in bytes: an upper bound but for what growing lists hold in reserve.
pub(super) fn weigh(bytes: &[u8]) -> u64 {
    size_of::<proto::ModelProto>() as u64 + message(bytes, Kind::Model, 0)
}

/// The most that a file of this length may take.
pub(super) const fn allowance(length: usize) -> u64 {
    DECODED_BYTES_FREE + DECODED_BYTES_PER_BYTE * length as u64
}

/// What the fields of one message take.
fn message(mut bytes: &[u8], kind: Kind, depth: usize) -> u64 {
    let (mut total, mut groups) = (0_u64, 0_u64);
    while let Ok((field, wire)) = decode_key(&mut bytes) {
        let skipped = match wire {
            WireType::Varint => decode_varint(&mut bytes).is_ok(),
            WireType::SixtyFourBit => take(&mut bytes, 8).is_some(),
            WireType::ThirtyTwoBit => take(&mut bytes, 4).is_some(),
            WireType::StartGroup => {
                groups += 1;
                continue;
            }
            WireType::EndGroup => {
                groups = groups.saturating_sub(1);
                continue;
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
                let Some(inner) = length.and_then(|length| take(&mut bytes, length)) else { return total };
                // The decoder skips groups with all that is in them.
                if groups == 0 {
                    total = total.saturating_add(delimited(inner, content(kind, field), depth));
                }
                continue;
            }
        };
        if !skipped {
            return total;
        }
        // A number that stands alone may still be one of a list.
        total = total.saturating_add(size_of::<u64>() as u64);
    }
    total
}

fn delimited(inner: &[u8], content: Content, depth: usize) -> u64 {
    let length = inner.len() as u64;
    match content {
        Content::Message(kind) if depth < DEPTH_MAX => {
            size_of_kind(kind) as u64 + message(inner, kind, depth + 1)
        }
        Content::Message(_) => 0,
        Content::Numbers(size) => length.saturating_mul(size),
        Content::Text => length + STRING_BYTES,
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

/// What stands in field `field` of a message, by the numbers in [`proto`].
fn content(kind: Kind, field: u32) -> Content {
    use Kind::{
        Annotation, Attribute, Dimension, Element, Entry, Function, Graph, MapType, Model, Node, Opaque,
        Opset, Segment, Shape, Sparse, Tensor, TensorType, Training, Type, Value,
    };
    Content::Message(match (kind, field) {
        (Model, 7) | (Attribute, 6 | 11) | (Training, 1 | 2) => Graph,
        (Model, 8) | (Function, 9) => Opset,
        (Model, 20) => Training,
        (Model, 25) => Function,
        (Model, 14) | (Graph, 16) | (Annotation, 2) | (Node, 9) => Entry,
        (Tensor, 13 | 16) | (Value, 4) | (Training, 3 | 4) | (Function, 14) => Entry,
        (Graph, 1) | (Function, 7) => Node,
        (Graph, 5) | (Attribute, 5 | 10) | (Sparse, 1 | 2) => Tensor,
        (Graph, 11..=13) | (Function, 12) => Value,
        (Graph, 14) => Annotation,
        (Graph, 15) | (Attribute, 22 | 23) => Sparse,
        (Node, 5) | (Function, 11) => Attribute,
        (Attribute, 14 | 15) | (Value, 2) | (Element, 1) | (MapType, 2) => Type,
        (Tensor, 3) => Segment,
        (Type, 1 | 8) => TensorType,
        (Type, 4 | 9) => Element,
        (Type, 5) => MapType,
        (Type, 7) => Opaque,
        (TensorType, 2) => Shape,
        (Shape, 1) => Dimension,
        (Attribute, 8) | (Tensor | Sparse, 1 | 3 | 7 | 11) => return Content::Numbers(8),
        (Tensor, 5) => return Content::Numbers(4),
        (Attribute, 7) | (Tensor, 4 | 10) => return Content::Numbers(1),
        _ => return Content::Text,
    })
}

const fn size_of_kind(kind: Kind) -> usize {
    match kind {
        Kind::Model => size_of::<proto::ModelProto>(),
        Kind::Entry => size_of::<proto::StringStringEntryProto>(),
        Kind::Opset => size_of::<proto::OperatorSetIdProto>(),
        Kind::Graph => size_of::<proto::GraphProto>(),
        Kind::Annotation => size_of::<proto::TensorAnnotation>(),
        Kind::Node => size_of::<proto::NodeProto>(),
        Kind::Attribute => size_of::<proto::AttributeProto>(),
        Kind::Tensor => size_of::<proto::TensorProto>(),
        Kind::Segment => size_of::<proto::SegmentProto>(),
        Kind::Sparse => size_of::<proto::SparseTensorProto>(),
        Kind::Value => size_of::<proto::ValueInfoProto>(),
        Kind::Type => size_of::<proto::TypeProto>(),
        Kind::TensorType => size_of::<proto::TensorTypeProto>(),
        Kind::Element => size_of::<proto::ElementTypeProto>(),
        Kind::MapType => size_of::<proto::MapTypeProto>(),
        Kind::Opaque => size_of::<proto::OpaqueTypeProto>(),
        Kind::Shape => size_of::<proto::TensorShapeProto>(),
        Kind::Dimension => size_of::<proto::DimensionProto>(),
        Kind::Training => size_of::<proto::TrainingInfoProto>(),
        Kind::Function => size_of::<proto::FunctionProto>(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::engine::conformance::fixture;
    use crate::onnx::{self, OnnxError};

    /// `inner` as field `field`.
    fn field(field: u8, inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![(field << 3) | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend(inner);
        bytes
    }

    /// A model whose only node has `count` empty attributes.
    fn attributes(count: usize) -> Vec<u8> {
        field(7, &field(1, &field(5, &[]).repeat(count)))
    }

    #[test]
    fn a_few_megabytes_that_ask_for_gigabytes_are_refused() {
        let each = size_of::<proto::AttributeProto>() as u64;
        // An attribute allows itself 8 bytes, for the two it takes in the file.
        let fits = DECODED_BYTES_FREE / (each - 8) - 10;
        let limit = usize::try_from(fits).unwrap();
        assert!(weigh(&attributes(limit)) <= allowance(attributes(limit).len()));
        let bytes = attributes(limit + 20);
        assert!(bytes.len() < 1 << 20);
        assert!(matches!(onnx::decode(&bytes), Err(OnnxError::Memory { .. })));
    }

    #[test]
    fn packed_zeros_are_refused() {
        // As `int64_data`: one byte in the file, eight in memory.
        let zeros = vec![0; 80 << 20];
        let bytes = field(7, &field(5, &field(7, &zeros)));
        let error = onnx::decode(&bytes).unwrap_err();
        assert!(error.to_string().contains("more than 4 bytes per byte"), "{error}");
        // As raw data they are what they seem.
        onnx::decode(&field(7, &field(5, &field(9, &zeros)))).unwrap();
    }

    #[test]
    fn what_is_skipped_does_not_count_and_ends_no_count() {
        // A group of an unknown number around an attribute, then an attribute that stands for itself.
        let node = [&[0x7b_u8][..], &field(5, &[]), &[0x7c], &field(5, &[])].concat();
        let one = weigh(&field(7, &field(1, &field(5, &[]))));
        assert_eq!(weigh(&field(7, &field(1, &node))), one);
        assert!(onnx::decode(&field(7, &field(1, &node))).is_ok());
    }

    #[test]
    fn fixtures_weigh_what_they_take() {
        for model in [fixture::classifier(), fixture::convolution(), fixture::int8_matmul()] {
            let bytes = model.encode_to_vec();
            let weight = weigh(&bytes);
            assert!(weight > bytes.len() as u64 && weight < 1 << 20, "{weight}");
        }
    }
}
