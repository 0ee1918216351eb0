//! Reading a model made elsewhere: is it sound, and which engines take it?
//!
//! Constants in other files are read only by [`import_file`], only from inside the model's own folder, and moved into
//! the model, since a signed model is one file. [`import`] refuses them.

mod external;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use edgeward_model::onnx::{self, GraphError, MODEL_BYTES_MAX, ModelProto, OnnxError};
use edgeward_model::session::derive_signature;
use edgeward_model::{Engine, LoadOptions, SessionError, Signature};
use serde::Serialize;

use crate::lower::{LowerError, lower, unzip};
use crate::optimise::optimise;

/// Oldest operator set accepted: the first with today's broadcasting and type rules.
pub const OPSET_MIN: i64 = 7;

/// Newest operator set accepted.
pub const OPSET_MAX: i64 = 25;

/// A model that was read and found sound.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model, all constants inside, with plain operators in place of those of `ai.onnx.ml` ([`lower`](crate::lower())).
    pub model: ModelProto,
    /// The encoding of the model as it came, constants inside and lists of maps made matrices: what answers are held to.
    pub onnx: Vec<u8>,
    /// The best guess of what its tensors mean.
    pub signature: Signature,
    /// What each engine says of it.
    pub engines: Vec<EngineVerdict>,
}

/// Whether an engine loads a model, as it is or after [`optimise`](crate::optimise()): exporters leave operators behind
/// that an engine lacks and that do nothing, such as `Dropout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineVerdict {
    /// Name of the engine.
    pub engine: String,
    /// Why it does not load the model in either form; none if it does.
    pub refusal: Option<String>,
}

/// Why a model is refused.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not an ONNX model.
    #[error("reading the ONNX model")]
    Onnx(#[from] OnnxError),
    /// An operator set outside [`OPSET_MIN`] to [`OPSET_MAX`].
    #[error(
        "the model uses opset {found}; versions {OPSET_MIN} to {OPSET_MAX} are accepted: export it with one of these"
    )]
    Opset {
        /// Version of the model.
        found: i64,
    },
    /// A graph that cannot run.
    #[error("the model's graph cannot run: {0}")]
    Graph(#[from] GraphError),
    /// A constant in another file, where that is not allowed.
    #[error("constant '{constant}' is stored outside the model: {reason}")]
    External {
        /// Name of the constant.
        constant: String,
        /// Why it cannot be had.
        reason: String,
    },
    /// An operator of `ai.onnx.ml` without a plain form.
    #[error("the model's operators cannot be made plain: {0}")]
    Lower(#[from] LowerError),
    /// Inputs or outputs that cannot be passed.
    #[error("the model's inputs or outputs cannot be used")]
    Signature(#[source] Box<SessionError>),
    /// No engine takes it.
    #[error("no engine loads the model: {0}")]
    NoEngine(String),
}

/// Checks a model that is all in `bytes` and asks each of `engines` to load it.
///
/// # Errors
/// The first rule broken, or (if any engine is given) that none loads it.
pub fn import(bytes: &[u8], engines: &[&dyn Engine]) -> Result<Imported, ImportError> {
    check(&onnx::decode(bytes)?, engines)
}

/// As [`import`], for a file whose constants may stand in other files of its folder.
///
/// # Errors
/// As [`import`]; also a file that cannot be read or a constant outside the folder.
pub fn import_file(path: &Path, engines: &[&dyn Engine]) -> Result<Imported, ImportError> {
    let mut model = onnx::decode(&read_bounded(path)?)?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if let Some(graph) = &mut model.graph {
        external::inline(graph, folder)?;
    }
    check(&model, engines)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, ImportError> {
    let mut bytes = Vec::new();
    let limit = MODEL_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|source| ImportError::Read { path: path.to_owned(), source })
}

fn check(model: &ModelProto, engines: &[&dyn Engine]) -> Result<Imported, ImportError> {
    let opset = model.opset_version();
    if !(OPSET_MIN..=OPSET_MAX).contains(&opset) {
        return Err(ImportError::Opset { found: opset });
    }
    onnx::graph::check(model)?;
    external::refuse(model)?;
    let given = unzip(model);
    let model = lower(&given)?;
    let signature = derive_signature(&model).map_err(|source| ImportError::Signature(Box::new(source)))?;
    let onnx = onnx::encode(&given);
    let engines: Vec<EngineVerdict> = engines.iter().map(|engine| ask(*engine, &model, &onnx)).collect();
    if !engines.is_empty() && engines.iter().all(|verdict| verdict.refusal.is_some()) {
        let reasons: Vec<&str> = engines.iter().filter_map(|verdict| verdict.refusal.as_deref()).collect();
        return Err(ImportError::NoEngine(reasons.join("; ")));
    }
    Ok(Imported { model, onnx, signature, engines })
}

fn ask(engine: &dyn Engine, model: &ModelProto, onnx: &[u8]) -> EngineVerdict {
    let loads = |onnx: &[u8]| engine.load(onnx, &LoadOptions::with_threads(1)).map(drop);
    let optimised = || optimise(model, engine).is_ok_and(|(model, _)| loads(&onnx::encode(&model)).is_ok());
    let refusal = loads(onnx).err().filter(|_| !optimised()).map(|error| error.to_string());
    EngineVerdict { engine: engine.name().to_owned(), refusal }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use edgeward_model::engine::conformance::fixture;
    use edgeward_model::onnx::NodeProto;
    use edgeward_model::onnx::proto::StringStringEntryProto;
    use edgeward_model::{RtenEngine, Task};

    use super::*;

    fn refused(model: &ModelProto) -> String {
        let engine = RtenEngine::new();
        import(&onnx::encode(model), &[&engine]).unwrap_err().to_string()
    }

    #[test]
    fn a_sound_model_is_taken() {
        let engine = RtenEngine::new();
        let imported = import(&onnx::encode(&fixture::classifier()), &[&engine]).unwrap();
        assert_eq!(imported.engines, [EngineVerdict { engine: "rten".into(), refusal: None }]);
        assert!(matches!(imported.signature.task, Task::Classification { .. }));
        assert_eq!(imported.model, fixture::classifier());
    }

    #[test]
    fn refusals_say_why() {
        let mut old = fixture::classifier();
        old.opset_import[0].version = 6;
        assert!(refused(&old).contains("uses opset 6; versions 7 to 25"));
        let mut odd = fixture::classifier();
        odd.graph.as_mut().unwrap().node[1] = NodeProto::new("Frobnicate", "odd", &["hidden"], &["active"]);
        let error = refused(&odd);
        assert!(error.contains("'odd'") && error.contains("Frobnicate"), "{error}");
        let mut cyclic = fixture::classifier();
        cyclic.graph.as_mut().unwrap().node[0].input[0] = "active".into();
        assert!(refused(&cyclic).contains("node 'dense1' (Gemm) is part of a cycle"));
        assert!(matches!(import(b"not a model", &[]), Err(ImportError::Onnx(_))));
    }

    fn entry(key: &str, value: &str) -> StringStringEntryProto {
        StringStringEntryProto { key: key.into(), value: value.into() }
    }

    /// The classifier with its first constant moved to the file at `location`.
    fn split(location: &str) -> (ModelProto, Vec<u8>) {
        let mut model = fixture::classifier();
        let constant = &mut model.graph.as_mut().unwrap().initializer[0];
        let data = constant.raw_data.take().unwrap();
        constant.data_location = 1;
        let length = data.len().to_string();
        constant.external_data =
            vec![entry("location", location), entry("offset", "4"), entry("length", &length)];
        (model, [&[0; 4], &data[..]].concat())
    }

    #[test]
    fn constants_in_the_same_folder_are_moved_inside() {
        let folder = tempfile::tempdir().unwrap();
        let (model, data) = split("weights.bin");
        let file = folder.path().join("model.onnx");
        fs::write(&file, onnx::encode(&model)).unwrap();
        assert!(import_file(&file, &[]).unwrap_err().to_string().contains("reading"));
        fs::write(folder.path().join("weights.bin"), &data[..data.len() - 1]).unwrap();
        assert!(import_file(&file, &[]).unwrap_err().to_string().contains("has only"));
        fs::write(folder.path().join("weights.bin"), data).unwrap();
        assert_eq!(import_file(&file, &[]).unwrap().model, fixture::classifier());
        assert!(refused(&model).contains("constant 'w1' is stored outside the model"));
    }

    #[test]
    fn constants_elsewhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(folder.path().join("secret.bin"), [0; 4096]).unwrap();
        for location in ["../secret.bin", "/etc/passwd", "", "a/../../secret.bin"] {
            let (model, _) = split(location);
            fs::write(inner.join("model.onnx"), onnx::encode(&model)).unwrap();
            let error = import_file(&inner.join("model.onnx"), &[]).unwrap_err();
            assert!(matches!(error, ImportError::External { .. }), "{location}: {error}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("secret.bin"), inner.join("link.bin")).unwrap();
            fs::write(inner.join("model.onnx"), onnx::encode(&split("link.bin").0)).unwrap();
            let error = import_file(&inner.join("model.onnx"), &[]).unwrap_err().to_string();
            assert!(error.contains("leaves the model's folder"), "{error}");
        }
    }
}
