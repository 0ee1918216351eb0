"""Qualcomm's compiler through ONNX Runtime's QNN provider: reads a quantised ONNX file with fixed shapes, writes an ONNX
file around a context binary for one system on a chip.

Needs the Python package `onnxruntime` and Qualcomm's provider library, which you install yourself, under Qualcomm's
licence, and name in EDGEWARD_QNN_LIBRARY. Usage: tool.py MODEL OUT CHIP, a name below or the SDK's number of a chip.
"""
import os
import sys

import onnxruntime

NAME = "QNNExecutionProvider"
# Chips by name: the SDK's number and the generation of the accelerator.
CHIPS = {
    "SA8255": ("52", "73"),
    "SA8295": ("39", "68"),
    "SM8350": ("30", "68"),
    "SM8450": ("36", "69"),
    "SM8550": ("43", "73"),
    "SM8650": ("57", "75"),
    "SM8750": ("69", "79"),
}
model, out, chip = sys.argv[1:]
number, arch = CHIPS.get(chip.upper(), (chip, None))
if not number.isdigit():
    sys.exit(f"{chip} is none of {', '.join(CHIPS)}; give the SDK's number of the chip in a command of your own")
library = os.environ.get("EDGEWARD_QNN_LIBRARY")
if not library:
    sys.exit("set EDGEWARD_QNN_LIBRARY to Qualcomm's ONNX Runtime provider library")
onnxruntime.register_execution_provider_library(NAME, library)
devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == NAME]
if not devices:
    sys.exit(f"{library} offers no {NAME} device")
options = onnxruntime.SessionOptions()
# Without this, what the compiler cannot take would silently run on the CPU.
options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
options.add_session_config_entry("ep.context_enable", "1")
options.add_session_config_entry("ep.context_embed_mode", "1")
options.add_session_config_entry("ep.context_file_path", out)
settings = {"backend_type": "htp", "soc_model": number, "offload_graph_io_quantization": "0"}
if arch:
    settings["htp_arch"] = arch
options.add_provider_for_devices(devices[:1], settings)
onnxruntime.InferenceSession(model, options)
