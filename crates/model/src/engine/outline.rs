//! What is kept of an ONNX file beside an engine's own form of it, and what every engine refuses before it looks.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use super::{EngineError, EngineErrorKind, node_name};
use crate::onnx::{self, ModelProto, ValueInfoProto};
use crate::signature::TensorSpec;
use crate::tensor::{DataType, Tensor};

/// The first bytes of `rten`'s own file format, which no engine takes: only ONNX is signed.
const RTEN_MAGIC: &[u8] = b"RTEN";

/// What stands at bytes 4 to 8 of ONNX Runtime's own file format: the file identifier of its flatbuffer schema.
const ORT_MAGIC: &[u8] = b"ORTM";

/// Whether the bytes are a file of ONNX Runtime's own format.
pub(super) fn is_ort(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(ORT_MAGIC)
}

/// What an engine can pass and bear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Name of the engine, for errors.
    pub(super) engine: &'static str,
    /// Most nodes that may wait for one another in a row.
    pub(super) depth_max: usize,
    /// Whether `BYTES` tensors can be passed.
    pub(super) bytes: bool,
    /// Whether constants may stand in another file.
    pub(super) external: bool,
}

/// Inputs, outputs and the operator of every node by its name.
pub(super) struct Outline {
    pub(super) inputs: Vec<TensorSpec>,
    pub(super) outputs: Vec<TensorSpec>,
    pub(super) operators: Arc<HashMap<String, String>>,
}

impl Outline {
    /// Reads and checks untrusted bytes.
    #[cfg(feature = "onnxruntime")]
    pub(super) fn read(bytes: &[u8], limits: Limits) -> Result<Self, EngineError> {
        Self::read_model(bytes, limits).map(|(_, outline)| outline)
    }

    /// Reads and checks untrusted bytes; the model is kept.
    pub(super) fn read_model(bytes: &[u8], limits: Limits) -> Result<(ModelProto, Self), EngineError> {
        let error = |kind, why: String| EngineError::new(limits.engine, kind, why);
        if bytes.starts_with(RTEN_MAGIC) {
            let why = "the bytes are an .rten file, not an ONNX model; load the ONNX model it was made from";
            return Err(error(EngineErrorKind::NotOnnx, why.to_owned()));
        }
        if is_ort(bytes) {
            let why = "the bytes are an .ort file, which only ONNX Runtime reads; load the ONNX model it was made from";
            return Err(error(EngineErrorKind::NotOnnx, why.to_owned()));
        }
        let not_onnx =
            |cause: onnx::OnnxError| error(EngineErrorKind::NotOnnx, cause.to_string()).caused_by(cause);
        let model = onnx::decode(bytes).map_err(not_onnx)?;
        let invalid = |why: String| error(EngineErrorKind::InvalidGraph, why);
        onnx::graph::check(&model).map_err(|cause| invalid(cause.to_string()))?;
        let outline = Self::of(&model, limits).map_err(|why| match why {
            Refusal::Graph(why) => invalid(why),
            Refusal::Type(why) => error(EngineErrorKind::UnsupportedType, why),
        })?;
        Ok((model, outline))
    }

    fn of(model: &ModelProto, limits: Limits) -> Result<Self, Refusal> {
        let graph =
            model.graph.as_ref().ok_or_else(|| Refusal::Graph("the model has no graph".to_owned()))?;
        let depth = onnx::graph::depth(graph);
        if depth > limits.depth_max {
            return Err(Refusal::Graph(format!("{depth} nodes in a row are more than {}", limits.depth_max)));
        }
        if let Some(tensor) = graph.initializer.iter().find(|tensor| !limits.external && tensor.is_external())
        {
            let name = &tensor.name;
            let why = format!(
                "constant '{name}' is stored in another file; save the model with its weights inside"
            );
            return Err(Refusal::Graph(why));
        }
        let operators = Arc::new(
            graph.node.iter().map(|node| (node_name(node).to_owned(), node.op_type.clone())).collect(),
        );
        let inputs = onnx::inputs(graph).map(|value| input_spec(value, limits)).collect::<Result<_, _>>()?;
        let outputs =
            graph.output.iter().map(|value| output_spec(value, limits)).collect::<Result<_, _>>()?;
        Ok(Self { inputs, outputs, operators })
    }
}

/// Refuses another number of inputs than the model's.
pub(super) fn count_inputs(
    engine: &'static str,
    takes: &[TensorSpec],
    given: &[Tensor],
) -> Result<(), EngineError> {
    if given.len() == takes.len() {
        return Ok(());
    }
    let why = format!("the model takes {} inputs but {} were given", takes.len(), given.len());
    Err(EngineError::new(engine, EngineErrorKind::InvalidInput, why))
}

enum Refusal {
    Graph(String),
    Type(String),
}

fn input_spec(value: &ValueInfoProto, limits: Limits) -> Result<TensorSpec, Refusal> {
    let (datatype, shape) = value.declared().map_err(|cause| Refusal::Type(cause.to_string()))?;
    let name = &value.name;
    let shape = shape.ok_or_else(|| {
        Refusal::Type(format!(
            "input '{name}' declares no shape; export the model with the rank of its inputs"
        ))
    })?;
    passable(TensorSpec::new(name, datatype, shape), limits)
}

fn output_spec(value: &ValueInfoProto, limits: Limits) -> Result<TensorSpec, Refusal> {
    passable(value.spec().map_err(|cause| Refusal::Type(cause.to_string()))?, limits)
}

fn passable(spec: TensorSpec, limits: Limits) -> Result<TensorSpec, Refusal> {
    if spec.datatype == DataType::Bytes && !limits.bytes {
        return Err(Refusal::Type(format!("'{}' is BYTES, which the engine cannot pass", spec.name)));
    }
    Ok(spec)
}

/// Refuses a tensor that an input does not admit.
pub(super) fn admit(engine: &'static str, spec: &TensorSpec, tensor: &Tensor) -> Result<(), EngineError> {
    if spec.admits(tensor) {
        return Ok(());
    }
    let (found, shape) = (tensor.datatype(), tensor.shape());
    let why = format!(
        "input '{}' takes {}{} but got {found}{shape:?}",
        spec.name,
        spec.datatype,
        spec.shape_text()
    );
    Err(EngineError::new(engine, EngineErrorKind::InvalidInput, why))
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread is about to become an error; then nobody needs its message on the terminal.
#[must_use]
pub fn is_contained() -> bool {
    CONTAINED.get()
}

/// Runs `work`; a panic inside becomes an error.
pub(super) fn contain<T>(
    engine: &'static str,
    what: &str,
    work: impl FnOnce() -> T,
) -> Result<T, EngineError> {
    let before = CONTAINED.replace(true);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    CONTAINED.set(before);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let why = format!("the engine panicked while {what}: {text}");
        EngineError::new(engine, EngineErrorKind::Panicked, why)
    })
}
