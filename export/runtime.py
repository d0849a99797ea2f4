"""Runs an exported file: ``load(path)`` -> a callable. Needs numpy and onnxruntime, nothing else.

This module can be copied into an application as it is.

    from export.runtime import load

    classify = load("fashion_cnn.onnx")
    classify(images)                 # uint8 (N, 28, 28, 1) -> N labels
    classify.probabilities(images)   # -> float32 (N, 10)
"""

import difflib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

MAX_BYTES = 512 * 2**20
DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}


class ModelError(ValueError):
    """A file or an input that cannot be used; the message is one line that says what to do."""


def load(
    path: str | os.PathLike,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    max_bytes: int = MAX_BYTES,
) -> "Classifier":
    """Opens a file made by ``export.to_onnx``.

    The file is read and checked before any session is built: no external data, no operator
    outside ``ai.onnx`` and ``ai.onnx.ml``, no more than ``max_bytes``.

    Args:
        path: the ``.onnx`` file.
        providers: onnxruntime execution providers, tried in this order, e.g.
            ``("CUDAExecutionProvider",)``. Default: the CPU.
        max_bytes: largest accepted file, in bytes. Default: 512 MiB.

    Returns:
        A callable, safe to share between threads, whose ``info`` holds the file's metadata.

    Raises:
        ModelError: missing, truncated, foreign or too large a file, or a missing provider.
    """
    path = Path(path)
    content = _read(path, max_bytes)
    info = inspect(content, path)
    available = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise ModelError(
                f"execution provider {provider} is not available here, only "
                f"{', '.join(available)}: install the onnxruntime build that has it"
            )
    try:
        session = onnxruntime.InferenceSession(content, providers=list(providers))
    except Exception as error:  # onnxruntime raises many unrelated types
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} cannot be run ({reason}): export it again") from error
    kind = info.get("kind")
    if kind not in KINDS:
        raise ModelError(
            f"{path} was not made by this package (hw2.kind is {kind!r}): expected one of "
            f"{', '.join(KINDS)}"
        )
    return KINDS[kind](session, info)


class Classifier:
    """A loaded image classifier.

    Attributes:
        info: the file's metadata: experiment, labels, metrics, licence, ...
        labels: the K class names, in the order of the probabilities.
        image_shape: (H, W, C) of the images it takes.
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: dict) -> None:
        self._session = session
        self.info = info
        self.labels: list[str] = info["labels"]
        self.image_shape: tuple[int, int, int] = tuple(session.get_inputs()[0].shape[1:])

    def signature(self) -> list[tuple[str, str, list]]:
        """(name, type, shape) of the inputs and then the outputs; named axes are free."""
        values = (*self._session.get_inputs(), *self._session.get_outputs())
        return [(value.name, value.type, value.shape) for value in values]

    def __call__(
        self,
        images: np.ndarray,
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Labels of images.

        Args:
            images: raw pixels, uint8 (N, H, W, C), or (H, W, C) for one image; the channel axis
                may be left out when C is 1.
            batch_size: images per call of the session.
            progress: called with (images done, images in all) after each batch.

        Returns:
            N strings (an array of objects).

        Raises:
            ModelError: wrong dtype, shape or channels, or no image at all.
        """
        return self._run("label", images, batch_size, progress)

    def probabilities(
        self,
        images: np.ndarray,
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Probabilities float32 (N, K) of images; arguments and errors as for the call."""
        return self._run("probabilities", images, batch_size, progress)

    def _run(
        self,
        output: str,
        images: np.ndarray,
        batch_size: int,
        progress: Callable[[int, int], None] | None,
    ) -> np.ndarray:
        images = self._checked(images)
        if batch_size < 1:
            raise ModelError(f"batch_size is {batch_size}: expected at least 1")
        results = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            results.append(self._session.run([output], {"image": batch})[0])
            if progress is not None:
                progress(start + len(batch), len(images))
        return np.concatenate(results)

    def _checked(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        height, width, channels = self.image_shape
        if images.dtype != np.uint8:
            raise ModelError(
                f"images are {images.dtype}: expected raw pixels as uint8, 0 to 255; "
                "the division by 256 is inside the file"
            )
        if channels == 1 and images.shape[-2:] == (height, width):
            images = images[..., np.newaxis]
        if images.ndim == 3:
            images = images[np.newaxis]
        if images.ndim != 4 or images.shape[1:] != self.image_shape:
            raise ModelError(
                f"images have shape {images.shape}: expected (N, {height}, {width}, {channels})"
            )
        if not len(images):
            raise ModelError("no images: expected at least one")
        return images


KINDS: dict[str, type] = {"classifier": Classifier}


def inspect(content: bytes, path: Path) -> dict[str, object]:
    """Checks the bytes of a file without running it and returns its ``hw2.*`` metadata.

    Raises:
        ModelError: truncated or no ONNX at all, external data, or a foreign operator domain.
    """
    info: dict[str, object] = {}
    domains: set[str] = set()
    graphs = 0
    try:
        for field, value in _fields(memoryview(content)):
            if field == 7:  # ModelProto.graph
                graphs += 1
                _inspect_graph(value, domains)
            elif field == 8:  # ModelProto.opset_import
                domains.add(_text(value, 1))
            elif field == 14:  # ModelProto.metadata_props
                key = _text(value, 1)
                if key.startswith("hw2."):
                    info[key.removeprefix("hw2.")] = json.loads(_text(value, 2))
    except _ExternalData:
        raise ModelError(f"{path} keeps weights in other files: expected one whole file") from None
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path} is truncated or no ONNX file: copy or export it again") from error
    if not graphs:
        raise ModelError(f"{path} is truncated or no ONNX file: copy or export it again")
    if foreign := domains - DOMAINS:
        raise ModelError(
            f"{path} uses operators of {', '.join(sorted(foreign))}: only ai.onnx and ai.onnx.ml "
            "are standard; export it again"
        )
    return info


def _read(path: Path, max_bytes: int) -> bytes:
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.onnx")], 1)
        hint = f"did you mean {near[0]}?" if near else "expected a file made by 'export convert'"
        raise ModelError(f"{path} does not exist: {hint}")
    size = path.stat().st_size
    if size > max_bytes:
        raise ModelError(
            f"{path} has {size:,} bytes, the limit is {max_bytes:,}: "
            "raise max_bytes if you trust the file"
        )
    return path.read_bytes()


class _ExternalData(Exception):
    pass


def _inspect_graph(graph: memoryview, domains: set[str]) -> None:
    for field, value in _fields(graph):
        if field == 1:  # GraphProto.node
            _inspect_node(value, domains)
        elif field == 5:  # GraphProto.initializer
            _inspect_tensor(value)


def _inspect_node(node: memoryview, domains: set[str]) -> None:
    for field, value in _fields(node):
        if field == 7:  # NodeProto.domain
            domains.add(str(value, "utf-8"))
        elif field == 5:  # NodeProto.attribute
            for inner, content in _fields(value):
                if inner == 5:  # AttributeProto.t
                    _inspect_tensor(content)
                elif inner in (6, 11):  # AttributeProto.g, graphs
                    _inspect_graph(content, domains)


def _inspect_tensor(tensor: memoryview) -> None:
    # TensorProto.external_data, and data_location unless it says DEFAULT
    if any(field == 13 or (field == 14 and value) for field, value in _fields(tensor)):
        raise _ExternalData


def _text(message: memoryview, wanted: int) -> str:
    return next((str(value, "utf-8") for field, value in _fields(message) if field == wanted), "")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """The (field number, value) pairs of a protocol buffer message, nested ones unread."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        field, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(message, position)
            yield field, value
            continue
        if wire_type == 2:
            size, position = _varint(message, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if field == 0 or position + size > len(message):
            raise ValueError("truncated")
        yield field, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("number too long")
