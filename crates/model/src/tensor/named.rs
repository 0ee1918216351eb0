//! A tensor with a name, in the JSON form of the Open Inference Protocol:
//! `{"name": ..., "shape": [...], "datatype": "FP32", "data": [...]}`.
//!
//! `data` may be flat or nested arrays in row-major order, and keys may come in any order; keys beyond these
//! (`parameters`) are ignored. JSON has no NaN or infinity: NaN is written as `null` and the infinities as
//! `"Infinity"` and `"-Infinity"`; `"NaN"` is read too. A number that its datatype cannot hold exactly (a fraction or
//! an out-of-range value for an integer type) is an error. `BYTES` elements are JSON strings, so byte strings that are
//! not UTF-8 cannot be written as JSON; use the binary form.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeSeq, SerializeStruct};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{DataType, ELEMENTS_MAX, Tensor, TensorData};

/// A tensor and the name of the model input or output it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Name of the input or output; may be empty where the model has only one.
    pub name: String,
    /// The values.
    pub tensor: Tensor,
}

impl NamedTensor {
    /// `tensor` under `name`.
    #[must_use]
    pub fn new(name: impl Into<String>, tensor: Tensor) -> Self {
        Self { name: name.into(), tensor }
    }
}

impl Serialize for NamedTensor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("NamedTensor", 4)?;
        if self.name.is_empty() {
            fields.skip_field("name")?;
        } else {
            fields.serialize_field("name", &self.name)?;
        }
        fields.serialize_field("shape", self.tensor.shape())?;
        fields.serialize_field("datatype", &self.tensor.datatype())?;
        fields.serialize_field("data", &Elements(self.tensor.data()))?;
        fields.end()
    }
}

struct Elements<'a>(&'a TensorData);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            TensorData::F32(values) => serialize_floats(values, serializer),
            TensorData::F64(values) => serialize_floats(values, serializer),
            TensorData::I64(values) => values.serialize(serializer),
            TensorData::I32(values) => values.serialize(serializer),
            TensorData::U8(values) => serializer.collect_seq(values),
            TensorData::I8(values) => values.serialize(serializer),
            TensorData::Bool(values) => values.serialize(serializer),
            TensorData::Bytes(values) => serialize_texts(values, serializer),
        }
    }
}

fn serialize_floats<S, F>(values: &[F], serializer: S) -> Result<S::Ok, S::Error>
where
    S: Serializer,
    F: Copy + Into<f64> + Serialize,
{
    let mut elements = serializer.serialize_seq(Some(values.len()))?;
    for value in values {
        let wide: f64 = (*value).into();
        if wide.is_finite() {
            elements.serialize_element(value)?;
        } else if wide.is_nan() {
            elements.serialize_element(&None::<f64>)?;
        } else {
            elements.serialize_element(if wide > 0.0 { "Infinity" } else { "-Infinity" })?;
        }
    }
    elements.end()
}

fn serialize_texts<S: Serializer>(values: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    let mut elements = serializer.serialize_seq(Some(values.len()))?;
    for (index, value) in values.iter().enumerate() {
        let text = std::str::from_utf8(value).map_err(|_| {
            S::Error::custom(format!("BYTES element {index} is not UTF-8; use the binary tensor form"))
        })?;
        elements.serialize_element(text)?;
    }
    elements.end()
}

impl<'de> Deserialize<'de> for NamedTensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Document {
            #[serde(default)]
            name: String,
            shape: Vec<usize>,
            datatype: DataType,
            data: Flat,
        }
        let Document { name, shape, datatype, data } = Document::deserialize(deserializer)?;
        let wrap = |error: String| de::Error::custom(format!("tensor '{name}': {error}"));
        let data = data.into_data(datatype).map_err(wrap)?;
        let tensor = Tensor::new(shape, data).map_err(|error| wrap(error.to_string()))?;
        Ok(Self { name, tensor })
    }
}

/// One JSON element, before its datatype is known.
enum Scalar {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Null,
}

impl Scalar {
    fn float(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Null => Some(f64::NAN),
            Self::Text(text) => match text.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                _ => None,
            },
            Self::Bool(_) => None,
        }
    }

    fn int<I: TryFrom<i64>>(&self) -> Option<I> {
        match self {
            Self::Int(value) => I::try_from(*value).ok(),
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
                I::try_from(*value as i64).ok()
            }
            _ => None,
        }
    }

    fn bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Int(value) if matches!(value, 0 | 1) => Some(*value == 1),
            _ => None,
        }
    }

    fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            _ => None,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Text(text) => write!(f, "\"{}\"", text.chars().take(40).collect::<String>()),
            Self::Null => f.write_str("null"),
        }
    }
}

/// Room for a row of this many elements at once; JSON does not say how many follow.
const ROW_ELEMENTS: usize = 32;

/// The elements of flat or nested JSON arrays, in order.
struct Flat(Vec<Scalar>);

impl Flat {
    fn into_data(self, datatype: DataType) -> Result<TensorData, String> {
        Ok(match datatype {
            DataType::Fp32 => self.collect(datatype, |s| s.float().map(|value| value as f32))?.into(),
            DataType::Fp64 => self.collect(datatype, Scalar::float)?.into(),
            DataType::Int64 => self.collect(datatype, Scalar::int::<i64>)?.into(),
            DataType::Int32 => self.collect(datatype, Scalar::int::<i32>)?.into(),
            DataType::Uint8 => self.collect(datatype, Scalar::int::<u8>)?.into(),
            DataType::Int8 => self.collect(datatype, Scalar::int::<i8>)?.into(),
            DataType::Bool => self.collect(datatype, Scalar::bool)?.into(),
            DataType::Bytes => TensorData::Bytes(self.into_byte_strings()?),
        })
    }

    fn collect<T>(&self, datatype: DataType, read: impl Fn(&Scalar) -> Option<T>) -> Result<Vec<T>, String> {
        let refuse =
            |index: usize, scalar: &Scalar| format!("element {index}, {scalar}, is not a valid {datatype}");
        let mut values = Vec::with_capacity(self.0.len());
        for (index, scalar) in self.0.iter().enumerate() {
            values.push(read(scalar).ok_or_else(|| refuse(index, scalar))?);
        }
        Ok(values)
    }

    fn into_byte_strings(self) -> Result<Vec<Vec<u8>>, String> {
        let refuse = |index| format!("element {index} is not a string, which BYTES needs");
        self.0.into_iter().enumerate().map(|(index, s)| s.bytes().ok_or_else(|| refuse(index))).collect()
    }
}

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut elements = Vec::with_capacity(ROW_ELEMENTS);
        deserializer.deserialize_seq(Rows(&mut elements))?;
        Ok(Self(elements))
    }
}

/// Appends the elements of an array, however deeply nested, to the list.
struct Rows<'a>(&'a mut Vec<Scalar>);

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of numbers, booleans or strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while rows.next_element_seed(Item(self.0))?.is_some() {}
        Ok(())
    }
}

/// Appends one element, or the elements of one nested array, to the list.
struct Item<'a>(&'a mut Vec<Scalar>);

impl Item<'_> {
    fn push<E: de::Error>(self, scalar: Scalar) -> Result<(), E> {
        if self.0.len() >= ELEMENTS_MAX {
            return Err(E::custom(format!("more than {ELEMENTS_MAX} elements")));
        }
        self.0.push(scalar);
        Ok(())
    }
}

impl<'de> de::DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, boolean, string, null, or an array of these")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.push(Scalar::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.push(i64::try_from(value).map_or(Scalar::Float(value as f64), Scalar::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.push(Scalar::Float(value))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.push(Scalar::Bool(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.push(Scalar::Text(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.push(Scalar::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, rows: A) -> Result<(), A::Error> {
        Rows(self.0).visit_seq(rows)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn parse(json: &str) -> Result<NamedTensor, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn nested_and_flat_data_are_the_same_tensor() {
        let flat = parse(r#"{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2.5,3,4]}"#).unwrap();
        let nested =
            parse(r#"{"data":[[1,2.5],[3,4]],"datatype":"FP32","shape":[2,2],"name":"x","parameters":{}}"#);
        assert_eq!(nested.as_ref(), Ok(&flat));
        let json = serde_json::to_string(&flat).unwrap();
        assert_eq!(json, r#"{"name":"x","shape":[2,2],"datatype":"FP32","data":[1.0,2.5,3.0,4.0]}"#);
    }

    #[test]
    fn values_json_cannot_write_survive() {
        let values = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let json = serde_json::to_string(&Tensor::new([3], values).unwrap().named("y")).unwrap();
        assert!(json.contains(r#"[null,"Infinity","-Infinity"]"#), "{json}");
        let back = parse(&json).unwrap();
        let values = back.tensor.as_f32().unwrap();
        assert!(values[0].is_nan() && values[1] == f32::INFINITY && values[2] == f32::NEG_INFINITY);
    }

    #[test]
    fn errors_name_the_tensor_the_element_and_the_type() {
        for (datatype, data, expected) in [
            ("INT32", "[1, 2.5]", "tensor 'x': element 1, 2.5, is not a valid INT32"),
            ("UINT8", "[1, 256]", "tensor 'x': element 1, 256, is not a valid UINT8"),
            ("FP32", "[1, \"a\"]", "tensor 'x': element 1, \"a\", is not a valid FP32"),
            ("BYTES", "[\"a\", 1]", "tensor 'x': element 1 is not a string, which BYTES needs"),
            ("FP32", "[1]", "tensor 'x': shape [2] needs 2 values but 1 were given"),
            ("FP16", "[1, 2]", "unknown variant `FP16`"),
            ("FP32", "{}", "expected an array of numbers"),
        ] {
            let json = format!(r#"{{"name":"x","shape":[2],"datatype":"{datatype}","data":{data}}}"#);
            let error = parse(&json).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn byte_strings_that_are_not_text_are_refused() {
        let tensor = Tensor::new([1], vec![vec![0xff_u8]]).unwrap().named("x");
        assert!(serde_json::to_string(&tensor).unwrap_err().to_string().contains("element 0 is not UTF-8"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(11), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn floats_round_trip_bit_for_bit(bits in proptest::collection::vec(any::<u32>(), 0..64)) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).filter(|v| !v.is_nan()).collect();
            let tensor = Tensor::new([values.len()], values).unwrap().named("x");
            let json = serde_json::to_string(&tensor).unwrap();
            prop_assert_eq!(parse(&json).unwrap(), tensor);
        }

        #[test]
        fn any_json_text_is_read_or_refused(text in ".{0,80}") {
            let _ = parse(&format!(r#"{{"shape":[1],"datatype":"FP32","data":{text}}}"#));
        }
    }
}
