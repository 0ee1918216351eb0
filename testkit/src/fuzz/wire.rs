//! Protobuf files taken apart and put together again, knowing nothing but the wire format.

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// Deepest nesting that is taken apart.
const DEPTH_MAX: usize = 12;

/// One field of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// What it holds.
    pub value: Value,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Varint(u64),
    /// Eight bytes.
    Eight([u8; 8]),
    /// Four bytes.
    Four([u8; 4]),
    /// Text, bytes or packed numbers.
    Bytes(Vec<u8>),
    /// What could be read as a message.
    Message(Vec<Field>),
}

/// The fields of a message, if `bytes` are one as a whole.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Vec<Field>> {
    parse_at(bytes, 0)
}

fn parse_at(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (number, wire) = decode_key(&mut bytes).ok()?;
        let value = match wire {
            WireType::Varint => Value::Varint(decode_varint(&mut bytes).ok()?),
            WireType::SixtyFourBit => Value::Eight(*split(&mut bytes, 8)?.first_chunk()?),
            WireType::ThirtyTwoBit => Value::Four(*split(&mut bytes, 4)?.first_chunk()?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let inner = split(&mut bytes, length)?;
                let nested = (depth < DEPTH_MAX && !inner.is_empty()).then(|| parse_at(inner, depth + 1));
                nested.flatten().map_or_else(|| Value::Bytes(inner.to_vec()), Value::Message)
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn split<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

/// The bytes of a message with these fields.
#[must_use]
pub fn encode(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        let number = field.number;
        match &field.value {
            Value::Varint(value) => {
                encode_key(number, WireType::Varint, &mut bytes);
                encode_varint(*value, &mut bytes);
            }
            Value::Eight(value) => {
                encode_key(number, WireType::SixtyFourBit, &mut bytes);
                bytes.extend(value);
            }
            Value::Four(value) => {
                encode_key(number, WireType::ThirtyTwoBit, &mut bytes);
                bytes.extend(value);
            }
            Value::Bytes(inner) => delimited(number, inner, &mut bytes),
            Value::Message(inner) => delimited(number, &encode(inner), &mut bytes),
        }
    }
    bytes
}

fn delimited(number: u32, inner: &[u8], bytes: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, bytes);
    encode_varint(inner.len() as u64, bytes);
    bytes.extend(inner);
}

/// How many lists of fields there are in the tree, the outermost first.
#[must_use]
pub fn lists(fields: &[Field]) -> usize {
    1 + fields
        .iter()
        .map(|field| match &field.value {
            Value::Message(inner) => lists(inner),
            _ => 0,
        })
        .sum::<usize>()
}

/// The list of fields number `at` of [`lists`].
pub fn list_at(fields: &mut Vec<Field>, at: usize) -> Option<&mut Vec<Field>> {
    if at == 0 {
        return Some(fields);
    }
    let mut left = at - 1;
    for field in fields {
        if let Value::Message(inner) = &mut field.value {
            let count = lists(inner);
            if left < count {
                return list_at(inner, left);
            }
            left -= count;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_is_put_together() {
        let fields = vec![
            Field { number: 1, value: Value::Varint(300) },
            Field {
                number: 7,
                value: Value::Message(vec![
                    Field { number: 2, value: Value::Four([1, 2, 3, 4]) },
                    Field { number: 3, value: Value::Bytes(vec![0xff; 3]) },
                ]),
            },
        ];
        let bytes = encode(&fields);
        let mut parsed = parse(&bytes).unwrap();
        assert_eq!(parsed, fields);
        assert_eq!(lists(&parsed), 2);
        assert_eq!(list_at(&mut parsed, 1).unwrap().len(), 2);
        assert!(list_at(&mut parsed, 2).is_none());
        assert!(parse(&bytes[..bytes.len() - 1]).is_none());
    }
}
