"""Machine-learning models inside an app on a device.

``Model.open`` takes a bundle's folder or an ONNX file; ``Model.follow`` takes up every model that the agent on this device
activates, between two requests. Arrays go in and come out as numpy's. Every error is an ``EdgewardError`` that says what
failed, why, and what to do next. Any thread may call anything; others run while a model does.
"""

from ._native import (
    Answer,
    EdgewardError,
    Explanation,
    FilesFailed,
    InvalidArgument,
    InvalidInput,
    LoadFailed,
    Model,
    ModelFailed,
    NotServing,
    Pause,
    Row,
    Session,
    TensorSpec,
    TimedOut,
    __version__,
)

__all__ = [
    "Answer",
    "EdgewardError",
    "Explanation",
    "FilesFailed",
    "InvalidArgument",
    "InvalidInput",
    "LoadFailed",
    "Model",
    "ModelFailed",
    "NotServing",
    "Pause",
    "Row",
    "Session",
    "TensorSpec",
    "TimedOut",
    "__version__",
]
