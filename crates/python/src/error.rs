//! Failures as exceptions.

use edgeward_sdk::{InferError, chain};
use pyo3::exceptions::PyException;
use pyo3::{PyErr, create_exception};

create_exception!(edgeward, EdgewardError, PyException);
create_exception!(edgeward, InvalidArgument, EdgewardError);
create_exception!(edgeward, LoadFailed, EdgewardError);
create_exception!(edgeward, NotServing, EdgewardError);
create_exception!(edgeward, InvalidInput, EdgewardError);
create_exception!(edgeward, ModelFailed, EdgewardError);
create_exception!(edgeward, FilesFailed, EdgewardError);
create_exception!(edgeward, TimedOut, EdgewardError);

pub(crate) fn argument(words: impl Into<String>) -> PyErr {
    InvalidArgument::new_err(words.into())
}

pub(crate) fn input(words: impl Into<String>) -> PyErr {
    InvalidInput::new_err(words.into())
}

pub(crate) fn load(error: &dyn std::error::Error) -> PyErr {
    LoadFailed::new_err(chain(error))
}

pub(crate) fn files(error: &dyn std::error::Error) -> PyErr {
    FilesFailed::new_err(chain(error))
}

pub(crate) fn infer(error: &InferError) -> PyErr {
    let words = chain(error);
    match error {
        InferError::NotServing => NotServing::new_err(words),
        error if error.is_input() => InvalidInput::new_err(words),
        InferError::Session(_) => ModelFailed::new_err(words),
    }
}
