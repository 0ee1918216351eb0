//! float16 and bfloat16 weights: half the size, no calibration data. Computation stays in FP32, which the engine restores on load.

use edgeward_model::DataType;
use edgeward_model::onnx::proto::element_type;
use edgeward_model::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, element_type_of};

use super::{ELEMENTS_MIN, Fresh, QuantiseError, QuantiseReport};

/// Greatest finite magnitude of float16.
const HALF_MAX: f32 = 65504.0;

/// Greatest finite magnitude of bfloat16: 255/128 times 2 to the 127th.
const BFLOAT_MAX: f32 = f32::from_bits(0x7f7f_0000);

/// A float of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// IEEE 754 binary16: 11 bits of precision, up to 65504.
    Float16,
    /// The upper half of an FP32: 8 bits of precision, the range of FP32.
    Bfloat16,
}

impl Half {
    const fn element_type(self) -> i32 {
        match self {
            Self::Float16 => element_type::FLOAT16,
            Self::Bfloat16 => element_type::BFLOAT16,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
        }
    }

    const fn magnitude_max(self) -> f32 {
        match self {
            Self::Float16 => HALF_MAX,
            Self::Bfloat16 => BFLOAT_MAX,
        }
    }

    fn bits(self, value: f32) -> u16 {
        match self {
            Self::Float16 => half_bits(value),
            Self::Bfloat16 => bfloat_bits(value),
        }
    }
}

/// The model with its FP32 constants of at least [`ELEMENTS_MIN`] elements stored in 16 bits.
///
/// # Errors
/// No constant qualifies.
pub fn weights_half(model: &ModelProto, half: Half) -> Result<(ModelProto, QuantiseReport), QuantiseError> {
    let mut model = model.clone();
    let mut report = QuantiseReport::default();
    if let Some(graph) = &mut model.graph {
        let candidates: Vec<String> = graph
            .initializer
            .iter()
            .filter(|tensor| tensor.data_type == element_type_of(DataType::Fp32))
            .map(|tensor| tensor.name.clone())
            .collect();
        for name in candidates {
            match halve(graph, &name, half) {
                Ok(()) => report.quantised.push(name),
                Err(why) => drop(report.kept.insert(name, why)),
            }
        }
    }
    if report.quantised.is_empty() {
        return Err(QuantiseError::nothing(&report.kept));
    }
    Ok((model, report))
}

fn halve(graph: &mut GraphProto, name: &str, half: Half) -> Result<(), String> {
    let exposed = graph.output.iter().chain(&graph.input).any(|value| value.name == name);
    if exposed {
        return Err("is an input or output of the model".to_owned());
    }
    let constant = graph.constant(name).ok_or("not a constant")?;
    let tensor = constant.to_tensor().map_err(|error| error.to_string())?;
    let values = tensor.as_f32().ok_or("is not FP32")?;
    if values.len() < ELEMENTS_MIN {
        return Err(format!("has {} elements, fewer than {ELEMENTS_MIN}", values.len()));
    }
    let max = half.magnitude_max();
    if values.iter().any(|value| !value.is_finite() || value.abs() > max) {
        return Err(format!("holds a value outside {}, which ends at {max}", half.name()));
    }
    let stored = Fresh::new(graph).name(&format!("{name}.half"));
    let halved = TensorProto {
        dims: constant.dims.clone(),
        data_type: half.element_type(),
        name: stored.clone(),
        raw_data: Some(values.iter().flat_map(|&value| half.bits(value).to_le_bytes()).collect()),
        ..TensorProto::default()
    };
    graph.initializer.retain(|tensor| tensor.name != name);
    graph.initializer.push(halved);
    let to = AttributeProto::int("to", i64::from(element_type_of(DataType::Fp32)));
    graph.node.insert(0, NodeProto::new("Cast", &format!("{name}.float"), &[&stored], &[name]).with(to));
    Ok(())
}

/// The upper half of the nearest FP32 that has no lower one, ties to even. The value must be finite.
fn bfloat_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// The bits of the nearest float16, ties to even (IEEE 754-2019, section 4.3.1).
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = f32::from_bits(bits & 0x7fff_ffff);
    // Adding 2^(e - 10 + 23) of the value's exponent leaves exactly the bits float16 keeps, rounded to even by the sum.
    let exponent = (((bits >> 23) & 0xff) as i32 - 127).max(-14);
    let anchor = f32::from_bits(((exponent + 13 + 127) as u32) << 23);
    let rounded = (magnitude + anchor) - anchor;
    if rounded > HALF_MAX {
        return sign | 0x7c00;
    }
    if rounded < f32::from_bits(0x3880_0000) {
        // Below 2^-14 float16 counts in steps of 2^-24.
        return sign | (rounded * f32::from_bits(0x4b80_0000)) as u16;
    }
    let bits = rounded.to_bits();
    sign | (((bits >> 13) - (112 << 10)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_have_their_bits() {
        let check = |value: f32, bits: u16| assert_eq!(half_bits(value), bits, "{value}");
        check(0.0, 0);
        check(-0.0, 0x8000);
        check(1.0, 0x3c00);
        check(-2.0, 0xc000);
        check(0.1, 0x2e66);
        check(HALF_MAX, 0x7bff);
        check(65519.0, 0x7bff);
        check(5.960_464_5e-8, 1);
        check(2.9e-8, 0);
        check(6.097_555e-5, 0x03ff);
        check(6.103_515_6e-5, 0x0400);
        // Halfway between two: to the even one.
        check(1.0 + 1.0 / 2048.0, 0x3c00);
        check(1.0 + 3.0 / 2048.0, 0x3c02);
    }

    #[test]
    fn bfloat16_keeps_the_upper_half() {
        let check = |value: f32, bits: u16| assert_eq!(bfloat_bits(value), bits, "{value}");
        check(0.0, 0);
        check(-2.0, 0xc000);
        check(1.0 + 1.0 / 256.0, 0x3f80);
        check(1.0 + 3.0 / 256.0, 0x3f82);
        check(BFLOAT_MAX, 0x7f7f);
        check(1e-40, 1);
    }
}
