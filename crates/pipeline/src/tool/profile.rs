//! Vendors' converters that are known by name: what `tool = "..."` stands for without a command of one's own.

use edgeward_core::variant::Format;

/// A known converter.
pub(super) struct Profile {
    /// What `tool` is set to.
    pub(super) name: &'static str,
    pub(super) engine: &'static str,
    pub(super) dtype: &'static str,
    pub(super) format: &'static str,
    pub(super) provider: Option<&'static str>,
    pub(super) output: &'static str,
    pub(super) command: &'static str,
    /// Prints the converter's version.
    pub(super) probe: &'static str,
    /// The program that the command runs as `tool.py`.
    pub(super) script: Option<&'static str>,
    /// Whether the result is bound to a chip and an SDK, which must then be named.
    pub(super) is_bound: bool,
}

/// The interpreter is the caller's: a virtual environment that is active, or the one named.
macro_rules! python {
    ($rest:literal) => {
        concat!("\"${EDGEWARD_PYTHON:-python3}\" ", $rest)
    };
}

const ORT_VERSION: &str = python!("-c 'import onnxruntime; print(\"onnxruntime\", onnxruntime.__version__)'");

pub(super) const PROFILES: [Profile; 5] = [
    Profile {
        name: "ort-offline",
        engine: "onnxruntime",
        dtype: "f32",
        format: Format::ORT,
        provider: None,
        output: "model.ort",
        command: python!("tool.py {model} {output}"),
        probe: ORT_VERSION,
        script: Some(include_str!("ort_offline.py")),
        is_bound: false,
    },
    Profile {
        name: "qnn-context",
        engine: "onnxruntime",
        dtype: "int8",
        format: Format::QNN_CONTEXT,
        provider: Some("qnn"),
        output: "context.onnx",
        command: python!("tool.py {model} {output} {soc}"),
        probe: ORT_VERSION,
        script: Some(include_str!("qnn_context.py")),
        is_bound: true,
    },
    Profile {
        name: "qairt",
        engine: "qairt",
        dtype: "int8",
        format: Format::DLC,
        provider: None,
        output: "model.dlc",
        command: "qairt-converter --input_network {model} --output_path float.dlc && \
                  qairt-quantizer --input_dlc float.dlc --input_list {samples} --output_dlc {output}",
        probe: "qairt-converter --version",
        script: None,
        is_bound: true,
    },
    Profile {
        name: "qnn-context-binary-generator",
        engine: "qairt",
        dtype: "int8",
        format: "qnn-binary",
        provider: None,
        output: "context.bin",
        command: "qairt-converter --input_network {model} --output_path float.dlc && \
                  qairt-quantizer --input_dlc float.dlc --input_list {samples} --output_dlc quantised.dlc && \
                  qnn-context-binary-generator --dlc_path quantised.dlc --backend libQnnHtp.so \
                  --binary_file context --output_dir .",
        probe: "qairt-converter --version",
        script: None,
        is_bound: true,
    },
    Profile {
        name: "snpe",
        engine: "snpe",
        dtype: "int8",
        format: Format::DLC,
        provider: None,
        output: "model.dlc",
        command: "snpe-onnx-to-dlc --input_network {model} --output_path float.dlc && \
                  snpe-dlc-quant --input_dlc float.dlc --input_list {samples} --output_dlc {output}",
        probe: "snpe-onnx-to-dlc --version",
        script: None,
        is_bound: true,
    },
];
