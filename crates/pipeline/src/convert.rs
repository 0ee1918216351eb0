//! The convert stage's tool: from a trained model to the forms that devices run.

use edgeward_api::operator::GateVerdict;
use edgeward_core::Variant;
use edgeward_model::{Runnable, Signature, Tensor};
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
        let own = table.variant.iter().filter(|variant| variant.tool.is_none());
        Self { variants: own.cloned().collect(), parity: table.parity.clone() }
    }
}

/// How a form is compared.
#[derive(Clone, Copy, Debug)]
pub struct ComparisonPlan<'a> {
    /// The numeric type of the form's weights.
    pub dtype: &'a str,
    /// How near it must stay.
    pub parity: &'a ParityTable,
    /// What the tensors mean.
    pub signature: &'a Signature,
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

/// A form of the model with what a manifest says of it, but for its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// What it is and needs.
    pub variant: Variant,
    /// Its file.
    pub bytes: Vec<u8>,
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
pub trait Converter: Sync {
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

    /// Compares a form that another tool made with the `original`, both loaded: in words, how near it is, or (as the
    /// inner error) which bound it breaks. A form with full weights must give the same answers.
    ///
    /// # Errors
    /// One of the two does not run.
    fn compare(
        &self,
        original: &dyn Runnable,
        form: &dyn Runnable,
        plan: &ComparisonPlan<'_>,
        samples: &[Vec<Tensor>],
    ) -> Result<Result<String, String>, ToolError>;
}
