//! ONNX Runtime's own file format, a flatbuffer: what can be said of such a file before and after the library reads it.
//!
//! Nothing but the library reads the graph inside, so what the embedded checks refuse in an ONNX file (a cycle, a row of
//! nodes too deep) is left to the library's own verifier. Only signed bundles and the own converter bring such files here.

use std::collections::HashMap;
use std::sync::Arc;

use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};

use super::error;
use crate::engine::outline::Outline;
use crate::engine::{EngineError, EngineErrorKind};
use crate::onnx::MODEL_BYTES_MAX;
use crate::signature::{Dim, TensorSpec};
use crate::tensor::DataType;

/// Refuses what is no such file of a bearable size.
pub(super) fn admit(bytes: &[u8]) -> Result<(), EngineError> {
    if bytes.len() > MODEL_BYTES_MAX {
        let why = format!("the model has {} bytes, over the limit of {MODEL_BYTES_MAX}", bytes.len());
        return Err(error(EngineErrorKind::InvalidGraph, why));
    }
    Ok(())
}

/// What an error can say before the library has read the file.
pub(super) fn unread() -> Outline {
    Outline { inputs: Vec::new(), outputs: Vec::new(), operators: Arc::new(HashMap::new()) }
}

/// Inputs and outputs as the library declares them.
pub(super) fn outline(session: &Session) -> Result<Outline, EngineError> {
    let specs = |outlets: &[Outlet]| outlets.iter().map(spec).collect::<Result<Vec<_>, _>>();
    Ok(Outline { inputs: specs(session.inputs())?, outputs: specs(session.outputs())?, ..unread() })
}

fn spec(outlet: &Outlet) -> Result<TensorSpec, EngineError> {
    let name = outlet.name();
    let refuse = |what: String| error(EngineErrorKind::UnsupportedType, format!("'{name}' {what}"));
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return Err(refuse("is not a tensor; export the model without ZipMap".to_owned()));
    };
    let datatype = datatype(*ty).ok_or_else(|| refuse(format!("is of type {ty}, which is not supported")))?;
    let dims = shape.iter().enumerate().map(|(at, &size)| match usize::try_from(size) {
        Ok(size) => Dim::Fixed(size),
        Err(_) => {
            Dim::symbol(dimension_symbols.get(at).filter(|text| !text.is_empty()).map_or("?", |text| text))
        }
    });
    Ok(TensorSpec::new(name, datatype, dims.collect::<Vec<_>>()))
}

const fn datatype(of: TensorElementType) -> Option<DataType> {
    Some(match of {
        TensorElementType::Float32 => DataType::Fp32,
        TensorElementType::Float64 => DataType::Fp64,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}
