//! What one input or output looks like: name, datatype and shape.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tensor::{DataType, Tensor};

/// One dimension of a declared shape. In JSON a number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Exactly this size.
    Fixed(usize),
    /// Any size; the name says what it stands for (`batch`). `?` if the model gives none.
    Symbolic(String),
}

impl Dim {
    /// A dimension of any size.
    #[must_use]
    pub fn symbol(name: impl Into<String>) -> Self {
        Self::Symbolic(name.into())
    }

    /// Whether a tensor may have this size here.
    #[must_use]
    pub fn admits(&self, size: usize) -> bool {
        match self {
            Self::Fixed(fixed) => *fixed == size,
            Self::Symbolic(_) => true,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::Symbolic(name) => f.write_str(name),
        }
    }
}

/// The declared form of one tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// Name of the input or output.
    pub name: String,
    /// Type of the elements.
    pub datatype: DataType,
    /// The dimensions.
    pub shape: Vec<Dim>,
}

impl TensorSpec {
    /// A spec of these parts.
    #[must_use]
    pub fn new(name: impl Into<String>, datatype: DataType, shape: impl Into<Vec<Dim>>) -> Self {
        Self { name: name.into(), datatype, shape: shape.into() }
    }

    /// Whether a tensor of this shape fits.
    #[must_use]
    pub fn admits_shape(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(|(dim, &size)| dim.admits(size))
    }

    /// Whether `tensor` has the declared datatype and shape.
    #[must_use]
    pub fn admits(&self, tensor: &Tensor) -> bool {
        self.datatype == tensor.datatype() && self.admits_shape(tensor.shape())
    }

    /// Whether the first dimension is of any size, so that several rows fit in one call.
    #[must_use]
    pub fn is_batched(&self) -> bool {
        matches!(self.shape.first(), Some(Dim::Symbolic(_)))
    }

    /// The shape as people write it, such as `[batch, 64]`.
    #[must_use]
    pub fn shape_text(&self) -> String {
        let dims: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        format!("[{}]", dims.join(", "))
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.name, self.datatype, self.shape_text())
    }
}
