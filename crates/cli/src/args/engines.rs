//! Which engines a command may use besides the embedded one.

use clap::Args;
use edgeward_core::variant::NamedVersion;

/// Flags of every command that loads models.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct EngineArgs {
    /// ONNX Runtime's shared library, or `off`; if not given, one inside an installed Python wheel or a system folder
    #[arg(long, value_name = "PATH|off", env = "EDGEWARD_ONNXRUNTIME")]
    pub(crate) onnxruntime: Option<String>,
    /// ONNX Runtime's execution providers to use, such as `cpu`, `xnnpack`, `cuda`; may be given several times
    #[arg(
        long = "provider",
        value_name = "NAME",
        env = "EDGEWARD_PROVIDERS",
        value_delimiter = ',',
        default_value = "cpu"
    )]
    pub(crate) providers: Vec<String>,
    /// This machine's system on a chip, such as `SM8550`, for forms compiled for one
    #[arg(long, value_name = "NAME", env = "EDGEWARD_SOC")]
    pub(crate) soc: Option<String>,
    /// A vendor's SDK that is installed here, with its version, such as `qairt=2.31.0`; may be given several times
    #[arg(long = "sdk", value_name = "NAME=VERSION", env = "EDGEWARD_SDKS", value_delimiter = ',', value_parser = parse_sdk)]
    pub(crate) sdks: Vec<NamedVersion>,
}

fn parse_sdk(text: &str) -> Result<NamedVersion, String> {
    let (name, version) = text.split_once('=').unwrap_or_default();
    match name.is_empty() || version.is_empty() {
        true => Err("an SDK looks like qairt=2.31.0".to_owned()),
        false => Ok(NamedVersion { name: name.to_owned(), version: version.to_owned() }),
    }
}
