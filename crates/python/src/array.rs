//! Arrays as tensors, and back.
//!
//! An array must be of the type that the model takes: a silent conversion would hide that training and serving differ.
//! Anything else that numpy makes an array of, such as a list, becomes that type. Texts are arrays of `str` or `bytes`.

use edgeward_model::{DataType, NamedTensor, Signature, Tensor, TensorData, TensorSpec};
use numpy::{
    Element, PyArray1, PyArrayDescrMethods as _, PyArrayDyn, PyArrayMethods as _, PyUntypedArray,
    PyUntypedArrayMethods as _,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyMapping};

use crate::error::{InvalidInput, input};

/// A request's tensors: a mapping from names to arrays, or one array for the only input.
pub(crate) fn tensors(signature: &Signature, given: &Bound<'_, PyAny>) -> PyResult<Vec<NamedTensor>> {
    let Ok(mapping) = given.cast::<PyMapping>() else {
        let [only] = signature.inputs.as_slice() else {
            let names: Vec<&str> = signature.inputs.iter().map(|spec| spec.name.as_str()).collect();
            let words = format!("the model has the inputs {}; give a dict of arrays", names.join(", "));
            return Err(input(words));
        };
        return Ok(vec![tensor(&only.name, Some(only), given)?]);
    };
    let items = mapping.items()?;
    let named = items.iter().map(|item| {
        let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
        let spec = signature.inputs.iter().find(|spec| spec.name == name);
        tensor(&name, spec, &value)
    });
    named.collect()
}

fn tensor(name: &str, spec: Option<&TensorSpec>, value: &Bound<'_, PyAny>) -> PyResult<NamedTensor> {
    let wrong = |why: String| input(format!("input '{name}': {why}"));
    let array = match value.cast::<PyUntypedArray>() {
        Ok(array) => array.clone(),
        Err(_) => made(value, spec).map_err(|error| wrong(format!("no array can be made of it: {error}")))?,
    };
    let shape = array.shape().to_vec();
    let data = elements(&array)?.ok_or_else(|| {
        let takes = spec.map_or_else(|| "FP32".to_owned(), |spec| spec.datatype.to_string());
        wrong(format!("arrays of {} are not taken; the model takes {takes}", array.dtype()))
    })?;
    let tensor = Tensor::new(shape, data).map_err(|error| wrong(error.to_string()))?;
    Ok(tensor.named(name))
}

/// An array of the type that the model takes, from a list or the like.
fn made<'py>(value: &Bound<'py, PyAny>, spec: Option<&TensorSpec>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = value.py();
    let options = PyDict::new(py);
    if let Some(spec) = spec {
        options.set_item("dtype", dtype(spec.datatype))?;
    }
    let array = py.import("numpy")?.call_method("asarray", (value,), Some(&options))?;
    Ok(array.cast_into::<PyUntypedArray>()?)
}

/// What numpy calls a type.
const fn dtype(datatype: DataType) -> &'static str {
    match datatype {
        DataType::Fp32 => "float32",
        DataType::Fp64 => "float64",
        DataType::Int64 => "int64",
        DataType::Int32 => "int32",
        DataType::Uint8 => "uint8",
        DataType::Int8 => "int8",
        DataType::Bool => "bool",
        DataType::Bytes => "object",
    }
}

/// The elements, row by row; none if tensors have no such type.
fn elements(array: &Bound<'_, PyUntypedArray>) -> PyResult<Option<TensorData>> {
    macro_rules! first_of {
        ($($element:ty),*) => {
            $(if let Ok(array) = array.cast::<PyArrayDyn<$element>>() {
                return copied(array).map(|values| Some(values.into()));
            })*
        };
    }
    first_of!(f32, f64, i64, i32, u8, i8, bool);
    // The letters of numpy's kinds: object, bytes, text.
    if matches!(array.dtype().kind(), b'O' | b'S' | b'U') {
        return texts(array).map(|values| Some(TensorData::Bytes(values)));
    }
    Ok(None)
}

fn copied<T: Element + Copy>(array: &Bound<'_, PyArrayDyn<T>>) -> PyResult<Vec<T>> {
    let readable = array.try_readonly().map_err(|_| {
        InvalidInput::new_err("an array is being written to; copy it before it is given to a model")
    })?;
    // In rows, whatever order they lie in.
    let view = readable.as_array();
    Ok(view.as_slice().map_or_else(|| view.iter().copied().collect(), <[T]>::to_vec))
}

fn texts(array: &Bound<'_, PyUntypedArray>) -> PyResult<Vec<Vec<u8>>> {
    let values = array.call_method0("ravel")?.call_method0("tolist")?.cast_into::<PyList>()?;
    let text = |value: Bound<'_, PyAny>| match value.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        Err(_) => value.extract::<String>().map(String::into_bytes).map_err(|_| {
            input("an array of objects must hold texts or bytes; give numbers as an array of numbers")
        }),
    };
    values.iter().map(text).collect()
}

/// A tensor as an array of its own.
pub(crate) fn array(py: Python<'_>, tensor: Tensor) -> PyResult<Bound<'_, PyAny>> {
    let (shape, data) = tensor.into_parts();
    match data {
        TensorData::F32(values) => shaped(py, values, shape),
        TensorData::F64(values) => shaped(py, values, shape),
        TensorData::I64(values) => shaped(py, values, shape),
        TensorData::I32(values) => shaped(py, values, shape),
        TensorData::U8(values) => shaped(py, values, shape),
        TensorData::I8(values) => shaped(py, values, shape),
        TensorData::Bool(values) => shaped(py, values, shape),
        TensorData::Bytes(values) => {
            let values: Vec<_> = values.iter().map(|value| PyBytes::new(py, value)).collect();
            let options = PyDict::new(py);
            options.set_item("dtype", "object")?;
            let array = py.import("numpy")?.call_method("array", (values,), Some(&options))?;
            array.call_method1("reshape", (shape,))
        }
    }
}

fn shaped<T: Element>(py: Python<'_>, values: Vec<T>, shape: Vec<usize>) -> PyResult<Bound<'_, PyAny>> {
    Ok(PyArray1::from_vec(py, values).reshape(shape)?.into_any())
}
