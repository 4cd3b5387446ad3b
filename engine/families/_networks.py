"""RapidOCR's three networks on a processor: where its wheel keeps them, and running them from many threads.

OpenVINO computes where it can be imported, onnxruntime elsewhere. Nothing is ever downloaded.
"""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.errors import LoadFailed

if TYPE_CHECKING:
    from numpy.typing import NDArray

DETECTOR = "PP-OCRv6_det_small.onnx"
RECOGNISER = "PP-OCRv6_rec_small.onnx"
TURNER = "ch_ppocr_mobile_v2.0_cls_mobile.onnx"


class Network(Protocol):
    """A network that any thread may call: `[batch, 3, height, width]` in, an array out."""

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]: ...


@dataclass(frozen=True, slots=True)
class Networks:
    """What finds lines, reads them and tells whether they stand on their heads.

    Args:
        letters: what the reader's classes stand for; the first is none.
        engine: who computes, "openvino" or "onnxruntime".
    """

    find: Network
    read: Network
    turn: Network
    letters: tuple[str, ...]
    engine: str


def open_networks(threads: int) -> Networks:
    """The networks, for so many threads at once; each call computes on one.

    Raises:
        LoadFailed: a model or a library that runs it is missing.
    """
    folder = _folder()
    files = [folder / name for name in (DETECTOR, RECOGNISER, TURNER)]
    try:
        from openvino import Core
    except ImportError:
        return _by_onnxruntime(files)
    core = Core()
    plan = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads}
    models = [core.read_model(file) for file in files]
    letters = models[1].get_rt_info(["framework", "character"]).value
    find, read, turn = (_OpenVino(core.compile_model(model, "CPU", plan)) for model in models)
    return Networks(find, read, turn, _letters(letters), "openvino")


def _by_onnxruntime(files: list[Path]) -> Networks:
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError as error:
        raise LoadFailed(
            "Neither OpenVINO nor onnxruntime is installed. Install the requirements again."
        ) from error
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    opened = [InferenceSession(str(file), options, ["CPUExecutionProvider"]) for file in files]
    letters = opened[1].get_modelmeta().custom_metadata_map["character"]
    find, read, turn = map(_OnnxRuntime, opened)
    return Networks(find, read, turn, _letters(letters), "onnxruntime")


class _OpenVino:
    """A compiled model; every thread has a request of its own, because one serves one call at a time."""

    def __init__(self, compiled: Any) -> None:
        self._compiled, self._own = compiled, threading.local()

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]:
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        request.infer([batch], share_inputs=True)
        found: NDArray[Any] = request.get_output_tensor().data.copy()
        return found


class _OnnxRuntime:
    def __init__(self, session: Any) -> None:
        self._session, self._name = session, session.get_inputs()[0].name

    def __call__(self, batch: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = self._session.run(None, {self._name: batch})[0]
        return found


def _letters(listed: str) -> tuple[str, ...]:
    return ("", *listed.splitlines(), " ")


def _folder() -> Path:
    """Where the wheel keeps its models, without importing it."""
    found = importlib.util.find_spec("rapidocr")
    folder = Path(found.origin).parent / "models" if found and found.origin else Path()
    if not (folder / RECOGNISER).is_file():
        raise LoadFailed("RapidOCR's models are not installed. Install the requirements again.")
    return folder
