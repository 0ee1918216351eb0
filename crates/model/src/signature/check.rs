//! Checking a caller's input before an engine sees it. Every error says what was expected, what was found and what to do.

use super::{Signature, TensorSpec};
use crate::tensor::{DataType, NamedTensor, Tensor};

/// An input that does not fit the signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// An input of the model was not given.
    #[error("input '{name}' is missing; send {expected} (given: {given})")]
    Missing {
        /// Name of the input.
        name: String,
        /// Its declared form.
        expected: String,
        /// Names that were given.
        given: String,
    },
    /// A tensor that the model has no input for.
    #[error("the model has no input '{name}'; its inputs are {expected}")]
    Unknown {
        /// Name that was given.
        name: String,
        /// Names of the inputs.
        expected: String,
    },
    /// Two tensors for one input.
    #[error("input '{name}' was given twice; send it once")]
    Twice {
        /// Name of the input.
        name: String,
    },
    /// Elements of another type.
    #[error("input '{name}' has datatype {found} but the model takes {expected}; send {expected}")]
    Datatype {
        /// Name of the input.
        name: String,
        /// Declared datatype.
        expected: DataType,
        /// Given datatype.
        found: DataType,
    },
    /// Another shape.
    #[error("input '{name}' has shape {found:?} but the model takes {expected}; {hint}")]
    Shape {
        /// Name of the input.
        name: String,
        /// Declared shape.
        expected: String,
        /// Given shape.
        found: Vec<usize>,
        /// What to do.
        hint: String,
    },
}

impl Signature {
    /// The caller's tensors in the order of the model's inputs, each checked for name, datatype and shape.
    /// A single tensor without a name stands for the single input.
    ///
    /// # Errors
    /// The first tensor that does not fit.
    pub fn check_inputs(&self, given: Vec<NamedTensor>) -> Result<Vec<Tensor>, InputError> {
        let mut slots: Vec<Option<Tensor>> = vec![None; self.inputs.len()];
        let names = names(given.iter().map(|tensor| tensor.name.as_str()));
        for NamedTensor { name, tensor } in given {
            let index = self.input_index(&name)?;
            check_tensor(&self.inputs[index], &tensor)?;
            if slots[index].replace(tensor).is_some() {
                return Err(InputError::Twice { name });
            }
        }
        let fill = |(spec, slot): (&TensorSpec, Option<Tensor>)| {
            slot.ok_or_else(|| InputError::Missing {
                name: spec.name.clone(),
                expected: format!("{}{}", spec.datatype, spec.shape_text()),
                given: names.clone(),
            })
        };
        self.inputs.iter().zip(slots).map(fill).collect()
    }

    /// Checks tensors that already stand in the order of the inputs.
    ///
    /// # Errors
    /// The first tensor that does not fit, or a wrong number of tensors.
    pub fn check_ordered(&self, tensors: &[Tensor]) -> Result<(), InputError> {
        if let Some(spec) = self.inputs.get(tensors.len()) {
            let (name, expected) = (spec.name.clone(), format!("{}{}", spec.datatype, spec.shape_text()));
            return Err(InputError::Missing { name, expected, given: format!("{} tensors", tensors.len()) });
        }
        if tensors.len() > self.inputs.len() {
            let name = format!("#{}", self.inputs.len());
            return Err(InputError::Unknown { name, expected: self.input_names() });
        }
        self.inputs.iter().zip(tensors).try_for_each(|(spec, tensor)| check_tensor(spec, tensor))
    }

    fn input_index(&self, name: &str) -> Result<usize, InputError> {
        if name.is_empty() && self.inputs.len() == 1 {
            return Ok(0);
        }
        let position = self.inputs.iter().position(|spec| spec.name == name);
        position.ok_or_else(|| InputError::Unknown { name: name.to_owned(), expected: self.input_names() })
    }

    fn input_names(&self) -> String {
        names(self.inputs.iter().map(|spec| spec.name.as_str()))
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

fn check_tensor(spec: &TensorSpec, tensor: &Tensor) -> Result<(), InputError> {
    let name = spec.name.clone();
    if spec.datatype != tensor.datatype() {
        return Err(InputError::Datatype { name, expected: spec.datatype, found: tensor.datatype() });
    }
    if !spec.admits_shape(tensor.shape()) {
        let (expected, found) = (spec.shape_text(), tensor.shape().to_vec());
        return Err(InputError::Shape { name, expected, hint: shape_hint(spec, &found), found });
    }
    Ok(())
}

fn shape_hint(spec: &TensorSpec, found: &[usize]) -> String {
    if spec.shape.len() == found.len() + 1
        && spec.shape[1..].iter().zip(found).all(|(dim, &size)| dim.admits(size))
    {
        return format!("add a leading dimension of 1 for a single row: [1, {}]", join(found));
    }
    if spec.shape.len() != found.len() {
        return format!("send {} dimensions, not {}", spec.shape.len(), found.len());
    }
    let wrong = spec.shape.iter().zip(found).position(|(dim, &size)| !dim.admits(size)).unwrap_or(0);
    format!("dimension {wrong} must be {}, not {}", spec.shape[wrong], found[wrong])
}

fn join(sizes: &[usize]) -> String {
    sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{Dim, Task};

    fn signature() -> Signature {
        Signature::new(
            Task::Other,
            vec![
                TensorSpec::new("image", DataType::Fp32, [Dim::symbol("batch"), Dim::Fixed(4)]),
                TensorSpec::new("id", DataType::Int64, [Dim::Fixed(1)]),
            ],
            vec![TensorSpec::new("y", DataType::Fp32, [Dim::symbol("batch")])],
        )
    }

    fn image(shape: &[usize]) -> NamedTensor {
        Tensor::new(shape, vec![0.0_f32; shape.iter().product()]).unwrap().named("image")
    }

    fn id() -> NamedTensor {
        Tensor::new([1], vec![7_i64]).unwrap().named("id")
    }

    #[test]
    fn inputs_come_back_in_the_models_order() {
        let ordered = signature().check_inputs(vec![id(), image(&[2, 4])]).unwrap();
        assert_eq!(ordered[0].shape(), [2, 4]);
        assert_eq!(ordered[1].as_i64(), Some(&[7_i64][..]));
        signature().check_ordered(&ordered).unwrap();
        assert!(matches!(signature().check_ordered(&ordered[..1]), Err(InputError::Missing { .. })));
    }

    #[test]
    fn errors_say_expected_found_and_what_to_do() {
        let check = |given: Vec<NamedTensor>, expected: &str| {
            assert_eq!(signature().check_inputs(given).unwrap_err().to_string(), expected);
        };
        check(vec![id()], "input 'image' is missing; send FP32[batch, 4] (given: 'id')");
        check(vec![image(&[1, 4]), id(), id()], "input 'id' was given twice; send it once");
        check(
            vec![Tensor::new([1], vec![1_i64]).unwrap().named("x")],
            "the model has no input 'x'; its inputs are 'image', 'id'",
        );
        check(
            vec![Tensor::new([1, 4], vec![0.0_f64; 4]).unwrap().named("image")],
            "input 'image' has datatype FP64 but the model takes FP32; send FP32",
        );
        let shape = "but the model takes [batch, 4];";
        check(
            vec![image(&[4])],
            &format!(
                "input 'image' has shape [4] {shape} add a leading dimension of 1 for a single row: [1, 4]"
            ),
        );
        check(
            vec![image(&[2, 3])],
            &format!("input 'image' has shape [2, 3] {shape} dimension 1 must be 4, not 3"),
        );
        check(vec![image(&[3])], &format!("input 'image' has shape [3] {shape} send 2 dimensions, not 1"));
    }

    #[test]
    fn a_nameless_tensor_stands_for_the_only_input() {
        let mut single = signature();
        single.inputs.pop();
        let nameless = NamedTensor::new("", image(&[1, 4]).tensor);
        assert!(single.check_inputs(vec![nameless.clone()]).is_ok());
        assert!(matches!(signature().check_inputs(vec![nameless]), Err(InputError::Unknown { .. })));
    }
}
