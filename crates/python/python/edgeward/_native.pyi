from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

__version__: str

Path = Union[str, PathLike[str]]
Inputs = Union[ArrayLike, Mapping[str, ArrayLike]]

class EdgewardError(Exception):
    """What went wrong, why, and what to do next. Each of the others is one."""

class InvalidArgument(EdgewardError):
    """An argument is out of range or of no use."""

class LoadFailed(EdgewardError):
    """A model cannot be loaded: missing, damaged, or nothing here runs it."""

class NotServing(EdgewardError):
    """No model serves yet, or the model was closed."""

class InvalidInput(EdgewardError):
    """The tensors are not what the model takes."""

class ModelFailed(EdgewardError):
    """The model failed."""

class FilesFailed(EdgewardError):
    """The agent's files or the app's own cannot be read or written."""

class TimedOut(EdgewardError):
    """The time was over before it happened."""

class TensorSpec:
    """What an input or output looks like."""

    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str:
        """As the Open Inference Protocol calls it, such as ``FP32``."""
    @property
    def shape(self) -> tuple[Optional[int], ...]:
        """The size of each dimension; ``None`` where any will do."""

class Row:
    """What a model said about one row."""

    @property
    def predicted(self) -> Optional[int]:
        """Index of the predicted class."""
    @property
    def label(self) -> Optional[str]:
        """Its name."""
    @property
    def confidence(self) -> Optional[float]:
        """Its probability."""
    @property
    def value(self) -> Optional[float]:
        """The result of a regression."""
    @property
    def scores(self) -> list[float]:
        """The probability of each class; empty where the model does not say them."""

class Answer:
    """What a model said to one request. ``answer["name"]`` is an output."""

    @property
    def id(self) -> str:
        """Names the prediction, for ``edgeward why``."""
    @property
    def digest(self) -> str:
        """The bundle that answered."""
    @property
    def outputs(self) -> dict[str, NDArray[Any]]: ...
    @property
    def rows(self) -> list[Row]:
        """What the outputs mean, one per row; empty if the model's signature does not say."""
    @property
    def alarms(self) -> list[str]:
        """What the model's monitor said about it; empty while all is well."""
    @property
    def latency(self) -> float:
        """Seconds from the pinned model to the answer."""
    def __getitem__(self, name: str) -> NDArray[Any]: ...

class Explanation:
    """How far each input moved an answer away from what is usual: ``values.sum() == answer - base``."""

    @property
    def method(self) -> str:
        """``exact``, or ``kernel`` where the inputs are too many for that."""
    @property
    def output(self) -> str:
        """The class or value that is explained."""
    @property
    def base(self) -> float:
        """The mean answer over what is usual."""
    @property
    def answer(self) -> float: ...
    @property
    def features(self) -> list[str]: ...
    @property
    def values(self) -> NDArray[np.float64]: ...
    @property
    def errors(self) -> NDArray[np.float64]:
        """Standard errors of the values; zeros where they are exact."""
    @property
    def evaluations(self) -> int:
        """Rows that the model was asked about."""

class Session:
    """One model, pinned: it stays the same, whatever is activated meanwhile."""

    @property
    def digest(self) -> str: ...
    @property
    def inputs(self) -> list[TensorSpec]: ...
    @property
    def outputs(self) -> list[TensorSpec]: ...
    @property
    def classes(self) -> list[str]: ...
    def infer(self, inputs: Inputs) -> Answer: ...

class Pause:
    """While it lasts the agent activates nothing. A context manager."""

    def end(self) -> None: ...
    def __enter__(self) -> Pause: ...
    def __exit__(self, *exc: object) -> None: ...

class Model:
    """A place that an app asks. A context manager; any number of threads may use one at once."""

    @staticmethod
    def open(
        path: Path,
        *,
        threads: int = 1,
        onnxruntime: Optional[Path] = None,
        providers: Sequence[str] = ("cpu",),
    ) -> Model:
        """Opens a bundle's folder, checked byte by byte and by its golden test, or a bare ONNX file.

        ``threads`` for one request, 0 lets the engine choose. ``onnxruntime`` is the path of its shared library, which then
        runs what the embedded engine does not."""

    @staticmethod
    def follow(
        agent_data: Path,
        name: str,
        *,
        threads: int = 1,
        onnxruntime: Optional[Path] = None,
        providers: Sequence[str] = ("cpu",),
        on_swap: Optional[Callable[[str], object]] = None,
    ) -> Model:
        """Follows the model ``name`` of the agent whose data folder is ``agent_data``.

        Each bundle that the agent activates is loaded beside the one that serves, verified, tested, and takes over between
        two requests; ``on_swap`` is then called with its digest, on a thread of the library's. What is active now serves
        when this returns; if nothing is, ``wait``. What the app's monitor counts goes to the agent by itself."""

    @property
    def digest(self) -> Optional[str]:
        """The bundle that serves; ``None`` if none does."""
    @property
    def generation(self) -> int:
        """How often a model took over, the first included."""
    @property
    def inputs(self) -> list[TensorSpec]: ...
    @property
    def outputs(self) -> list[TensorSpec]: ...
    @property
    def classes(self) -> list[str]: ...
    def wait(self, timeout: float = 60.0) -> None:
        """Waits until a model serves, for so many seconds at most."""
    def pin(self) -> Session:
        """The model that serves now."""
    def infer(self, inputs: Inputs) -> Answer:
        """Asks the model that serves now. One array is taken for the only input; lists become the type that it takes."""
    def label(self, answer: Answer, truth: Union[str, int, float], row: int = 0) -> bool:
        """Tells the monitor what was true; whether that raised an alarm."""
    def explain(
        self,
        inputs: Inputs,
        row: int = 0,
        *,
        background: Optional[Inputs] = None,
        output: Optional[Union[str, int]] = None,
        seed: int = 0,
    ) -> Explanation:
        """Why the model answers so to a row: Shapley values against the rows of ``background``; the bundle's golden inputs
        if that is ``None``. ``output`` is a class or its index; the likeliest if ``None``."""
    def pause(self, timeout: float) -> Pause:
        """Asks the agent to activate nothing until the pause ends, or so many seconds have passed, an hour at most."""
    def close(self) -> None:
        """Ends the model and the following. Sessions and answers stay."""
    def __enter__(self) -> Model: ...
    def __exit__(self, *exc: object) -> None: ...
