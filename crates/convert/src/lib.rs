//! From a trained model to the forms devices run. Used where models are made, never linked on a device.
//!
//! - [`import`](mod@import): is this file a model that can run, and where?
//! - [`lower`](mod@lower): scikit-learn's operators as plain ones.
//! - [`optimise`](mod@optimise): the same answers from a smaller graph.
//! - [`quantise`]: fewer bits: smaller files, and faster ones where the engine computes in int8.
//! - [`parity`]: does a form answer as the original does, on the engine it is for?
//! - [`flops`](mod@flops): how much arithmetic one call is.
//! - [`samples`]: inputs made up where none are at hand.
//! - [`convert`](fn@convert): all of these by a plan; what fails its bounds is refused with the reason.
//!
//! The same input always gives the same bytes.
//!
//! Deliberately missing: training formats other than ONNX (export to it) and vendors' own converters.

mod convert;
pub mod flops;
pub mod import;
pub mod lower;
pub mod optimise;
pub mod parity;
pub mod quantise;
pub mod samples;

pub use convert::{
    BuiltVariant, ConvertError, ConvertPlan, ConvertReport, Dtype, Reference, RefusedVariant, VariantSpec,
    convert,
};
pub use import::{ImportError, Imported, import, import_file};
pub use lower::{LowerError, lower};
pub use optimise::{OptimiseReport, optimise};
pub use parity::{Bounds, Parity, ParityError, Verdict};
pub use quantise::{Calibration, Int8Options};
