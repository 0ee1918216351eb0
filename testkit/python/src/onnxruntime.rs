//! ONNX Runtime for tests: the shared library inside its Python wheel.

use std::path::PathBuf;

use crate::{Environment, Skip, environment, skip};

/// The version that tests compare with, as a requirement.
pub const ONNXRUNTIME: &str = "onnxruntime==1.32.0";

/// Where the environment's wheel has its library, asked without loading it.
const FIND: &str = "import importlib.util, pathlib
spec = importlib.util.find_spec('onnxruntime')
found = sorted(pathlib.Path(spec.origin).parent.glob('capi/libonnxruntime.so*')) if spec else []
print(found[0] if found else '')";

impl Environment {
    /// The ONNX Runtime library of its `onnxruntime` wheel, if that is among its requirements.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn onnxruntime_library(&self) -> Option<PathBuf> {
        Some(PathBuf::from(self.run(FIND, &[]).trim())).filter(|path| path.is_file())
    }
}

/// An ONNX Runtime library: the one that `EDGEWARD_TEST_ONNXRUNTIME` names, or else that of an installed wheel.
///
/// # Errors
/// As [`environment`].
///
/// # Panics
/// As [`environment`].
pub fn onnxruntime_library() -> Result<PathBuf, Skip> {
    if let Some(named) = std::env::var_os("EDGEWARD_TEST_ONNXRUNTIME") {
        return Ok(PathBuf::from(named));
    }
    let wheel = environment("onnxruntime", &[ONNXRUNTIME])?;
    wheel.onnxruntime_library().ok_or_else(|| skip("the onnxruntime wheel has no library for this platform"))
}
