//! The sdk as Python's package `edgeward`: arrays in and out, and a model that is swapped between two requests.
//!
//! - [`model`]: a place that an app asks, opened or following an agent; a session pins the model that serves now.
//! - [`answer`]: what a model said; [`explain`]: why.
//! - [`array`](mod@array): numpy's arrays as tensors and back.
//! - [`error`](mod@error): every failure is an exception with the same words that the C interface gives.
//!
//! The interpreter is let go of while a model runs or loads, so that other threads go on. One library serves every Python
//! from 3.9 on (the stable ABI). Types and documentation for Python are in `python/edgeward/_native.pyi`.
//!
//! Deliberately missing: anything the sdk does not do.

mod answer;
mod array;
mod error;
mod explain;
mod model;

use pyo3::prelude::*;

/// The package's native part.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::answer::{Answer, Row, TensorSpec};
    #[pymodule_export]
    use super::error::{
        EdgewardError, FilesFailed, InvalidArgument, InvalidInput, LoadFailed, ModelFailed, NotServing,
        TimedOut,
    };
    #[pymodule_export]
    use super::explain::Explanation;
    #[pymodule_export]
    use super::model::{Model, Pause, Session};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
