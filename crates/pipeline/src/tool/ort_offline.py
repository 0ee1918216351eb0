"""ONNX Runtime's offline optimiser: reads an ONNX file, writes one in ONNX Runtime's own format (.ort).

The level is 'extended': it leaves out what is tied to this processor's instructions. Needs the Python package
`onnxruntime`. Usage: tool.py MODEL OUT
"""
import sys

import onnxruntime

model, out = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
options.optimized_model_filepath = out
options.add_session_config_entry("session.save_model_format", "ORT")
options.log_severity_level = 3
onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
