//! The convert stage's tool: from a trained model to the forms that devices run.

use edgeward_api::operator::GateVerdict;
use edgeward_model::{Signature, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::project::{ConvertTable, ParityTable, VariantTable};
use crate::train::ToolError;

/// What a converter is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConversionPlan {
    /// The forms wanted, the preferred one first.
    pub variants: Vec<VariantTable>,
    /// How near each must stay to the trained model.
    pub parity: ParityTable,
}

impl From<&ConvertTable> for ConversionPlan {
    fn from(table: &ConvertTable) -> Self {
        Self { variants: table.variant.clone(), parity: table.parity.clone() }
    }
}

/// One form of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertedVariant {
    /// The engine it is for.
    pub engine: String,
    /// The numeric type of its weights.
    pub dtype: String,
    /// The form's ONNX file.
    pub onnx: Vec<u8>,
}

/// What a converter made.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// The forms, in the order of the plan.
    pub variants: Vec<ConvertedVariant>,
    /// The parity gate's verdict on each form, named `parity.<engine>-<dtype>`.
    pub verdicts: Vec<GateVerdict>,
    /// What was done, for people and lineage.
    pub report: Value,
}

/// Makes the forms of a model.
pub trait Converter {
    /// What its results depend on besides its arguments; another text converts again.
    fn version(&self) -> String;

    /// Makes the forms of `plan` from a model whose tensors mean what `signature` says. Each sample is one call's inputs
    /// in order, of rows the model learned from, for calibration and parity.
    ///
    /// # Errors
    /// The model cannot be read, or a form cannot be made. A form that is made but strays is a verdict, not an error.
    fn convert(
        &self,
        onnx: &[u8],
        plan: &ConversionPlan,
        signature: &Signature,
        samples: &[Vec<Tensor>],
    ) -> Result<Conversion, ToolError>;
}
