"""Runs an exported file: ``load(path)`` -> a callable. Needs numpy and onnxruntime, nothing else.

This module can be copied into an application as it is.

    from export.runtime import load

    classify = load("fashion_cnn.onnx")
    classify(images)                 # uint8 (N, 28, 28, 1) -> N labels
    classify.probabilities(images)   # -> float32 (N, 10)

    spell = load("p2g_attention.onnx")
    spell("h ə l o ʊ")                            # -> the best spelling
    spell("h ə l o ʊ", num_beams=5, n_best=3)     # -> three (spelling, score), best first
    spell(["h ə l o ʊ", "k æ t"])                 # -> a list, one answer per source
"""

import difflib
import json
import operator
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

MAX_BYTES = 512 * 2**20
DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
UNKNOWN = 0xFFFD  # stands for a character that no vocabulary holds

Progress = Callable[[int, int], None]


class ModelError(ValueError):
    """A file or an input that cannot be used; the message is one line that says what to do."""


def load(
    path: str | os.PathLike,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    max_bytes: int = MAX_BYTES,
) -> "Classifier | Generator | Sampler":
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
    options = onnxruntime.SessionOptions()
    # int8 weights become floats once, here, and not again in every call.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # onnxruntime raises many unrelated types
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} cannot be run ({reason}): export it again") from error
    kind = info.get("kind")
    if kind not in KINDS:
        raise ModelError(
            f"{path} was not made by this package (hw2.kind is {kind!r}): expected one of "
            f"{', '.join(KINDS)}"
        )
    try:
        return KINDS[kind](session, info)
    except KeyError as error:
        raise ModelError(f"{path} lacks hw2.{error.args[0]}: export it again") from error


class Model:
    """What all loaded files share.

    Attributes:
        info: the file's metadata: kind, experiment, metrics, licence, ...
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: dict) -> None:
        self._session = session
        self.info = info

    def signature(self) -> list[tuple[str, str, list]]:
        """(name, type, shape) of the inputs and then the outputs; named axes are free."""
        values = (*self._session.get_inputs(), *self._session.get_outputs())
        return [(value.name, value.type, value.shape) for value in values]


class Classifier(Model):
    """A loaded image classifier.

    Attributes:
        labels: the K class names, in the order of the probabilities.
        image_shape: (H, W, C) of the images it takes.
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: dict) -> None:
        super().__init__(session, info)
        self.labels: list[str] = info["labels"]
        self.image_shape: tuple[int, int, int] = tuple(session.get_inputs()[0].shape[1:])

    def __call__(
        self,
        images: "np.ndarray | Iterable[np.ndarray]",
        batch_size: int = 256,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Labels of images.

        Args:
            images: raw pixels, uint8 (N, H, W, C), or (H, W, C) for one image, or any iterable
                of images; the channel axis may be left out when C is 1.
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
        images: "np.ndarray | Iterable[np.ndarray]",
        batch_size: int = 256,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Probabilities float32 (N, K) of images; arguments and errors as for the call."""
        return self._run("probabilities", images, batch_size, progress)

    def _run(
        self,
        output: str,
        images: "np.ndarray | Iterable[np.ndarray]",
        batch_size: int,
        progress: Progress | None,
    ) -> np.ndarray:
        images = self._checked(_array(images))
        results = []
        for rows in _batches(len(images), batch_size, progress):
            results.append(self._session.run([output], {"image": images[rows]})[0])
        return np.concatenate(results)

    def _checked(self, images: np.ndarray) -> np.ndarray:
        height, width, channels = self.image_shape
        if not images.size:
            raise ModelError("no images: expected at least one")
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
        return images


class Found(NamedTuple):
    """What a search found for N sources.

    Attributes:
        texts: strings (N, num_beams), best first.
        scores: float32 (N, num_beams): log-probability / number of tokens ** length_penalty;
            -inf where fewer than ``num_beams`` texts exist.
        attention: N arrays float32 (T_out, T_in), the weights of the best text's tokens, its end
            included, over the source's symbols or positions; None for a model without attention.
    """

    texts: np.ndarray
    scores: np.ndarray
    attention: list[np.ndarray] | None


class SourceModel(Model):
    """What a search and a sampler share: how they take their sources.

    Attributes:
        source_kind: "speller" (symbols between spaces), "translator" (sentences) or "captioner"
            (images).
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: dict) -> None:
        super().__init__(session, info)
        self.source_kind: str = info["source_kind"]
        self._known = frozenset(info.get("symbols", ()))
        self._outputs = [value.name for value in session.get_outputs()]

    def _max_length(self, max_length: int | None) -> int:
        if max_length is None:
            return self.info["max_length"]
        return _whole("max_length", max_length, "1 token")

    def _is_single(self, sources) -> bool:
        if self.source_kind == "captioner":
            return isinstance(sources, np.ndarray) and sources.ndim == 3
        return isinstance(sources, str)

    def _read(self, sources) -> "list[list[str]] | np.ndarray":
        """The sources as lists of symbols or characters, or as one array of images."""
        if self.source_kind == "captioner":
            return _images(sources)
        try:
            texts = list(sources)
        except TypeError:
            texts = [sources]
        if not texts:
            raise ModelError("no texts: expected at least one")
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise ModelError(
                    f"source {number} is {type(text).__name__}: a {self.source_kind} takes strings"
                )
            if not text.strip():
                raise ModelError(f"source {number} is blank: expected at least one character")
        split = str.split if self.source_kind == "speller" else _characters
        clean = clean_sentence if self.info.get("cleaned") else _composed
        read = [split(clean(text)) for text in texts]
        unknown = dict.fromkeys(s for symbols in read for s in symbols if s not in self._known)
        if unknown:
            warnings.warn(
                f"unknown to {self.info['experiment']}, read as <unk>: {' '.join(unknown)}",
                stacklevel=4,
            )
        return read

    def _feeds(self, batch: "list[list[str]] | np.ndarray") -> dict[str, np.ndarray]:
        if self.source_kind == "captioner":
            return {"image": batch}
        if self.source_kind == "speller":
            return {"text": np.array([" ".join(symbols) for symbols in batch], object)}
        codepoints = np.zeros((len(batch), max(map(len, batch))), np.int32)
        for row, characters in zip(codepoints, batch, strict=True):
            # Zero is padding; a letter with a mark that does not compose is no single point.
            row[: len(characters)] = [
                ord(c) if len(c) == 1 and c != "\0" else UNKNOWN for c in characters
            ]
        return {"codepoints": codepoints}


class Generator(SourceModel):
    """A loaded speller, translator or captioner.

    Attributes:
        has_attention: whether it can show where it looked.
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: dict) -> None:
        super().__init__(session, info)
        self.has_attention = "attention" in self._outputs

    def __call__(
        self,
        sources: "str | np.ndarray | Iterable",
        num_beams: int = 1,
        n_best: int = 1,
        max_length: int | None = None,
        attention: bool = False,
        batch_size: int = 64,
        progress: Progress | None = None,
    ):
        """The best texts for one source or for many.

        A source is a string: for a speller symbols with white space between them, for a
        translator a sentence, which is cleaned here as the training data were where they were
        (``clean_sentence``). For a captioner it is an image, uint8 (H, W, 3), of any size.
        Symbols and characters that the model has never seen are read as "unknown"; a
        ``UserWarning`` names them.

        Args:
            sources: one source, or any iterable of them; images also as one array (N, H, W, 3).
            num_beams: width of the beam; 1 is greedy search.
            n_best: how many texts to return, at most ``num_beams``.
            max_length: longest output in tokens, its end included. Default: the experiment's.
            attention: whether to return the attention too.
            batch_size: sources per call of the session.
            progress: called with (sources done, sources in all) after each batch.

        Returns:
            One answer for one source, a list of answers for an iterable. An answer is the best
            text, a string. With ``n_best`` > 1 it is a list of (text, score), best first; fewer
            where fewer texts exist. With ``attention`` the answer comes as a pair with the
            weights of the best text, float32 (T_out, T_in).

        Raises:
            ModelError: no source, a blank one, one of another type or shape, a number out of
                range, or attention of a model that has none.
        """
        n_best = _whole("n_best", n_best, "the best alone, 1")
        if n_best > _whole("num_beams", num_beams, "1 (greedy search)"):
            raise ModelError(
                f"n_best is {n_best} with num_beams {num_beams}: expected at most as many; "
                "raise num_beams"
            )
        if attention and not self.has_attention:
            raise ModelError(f"{self.info['experiment']} has no attention: leave attention=False")
        single = self._is_single(sources)
        sources = [sources] if single else sources
        found = self.search(sources, num_beams, max_length, batch_size, progress)
        answers: list = [texts[0] for texts in found.texts]
        if n_best > 1:
            answers = [
                [(t, float(s)) for t, s in zip(*row, strict=True) if s > -np.inf][:n_best]
                for row in zip(found.texts, found.scores, strict=True)
            ]
        if attention:
            answers = list(zip(answers, found.attention, strict=True))
        return answers[0] if single else answers

    def search(
        self,
        sources: Iterable,
        num_beams: int = 1,
        max_length: int | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> Found:
        """All texts, scores and weights as arrays; arguments and errors as for the call."""
        num_beams = _whole("num_beams", num_beams, "1 (greedy search)")
        read = self._read(sources)
        fixed = {
            "num_beams": np.array(num_beams, np.int64),
            "max_length": np.array(self._max_length(max_length), np.int64),
        }
        texts, scores, attention = [], [], []
        for rows in _batches(len(read), batch_size, progress):
            batch = read[rows]
            found = self._session.run(self._outputs, self._feeds(batch) | fixed)
            texts.append(found[0])
            scores.append(found[1])
            if self.has_attention:
                attention += [self._trimmed(*pair) for pair in zip(found[2], batch, strict=True)]
        return Found(
            np.concatenate(texts),
            np.concatenate(scores),
            attention if self.has_attention else None,
        )

    def _trimmed(self, look: np.ndarray, source) -> np.ndarray:
        # Weights sum to 1 at every token of the text and are 0 after its end.
        look = look[look.sum(1) > 0]
        return look if self.source_kind == "captioner" else look[:, : len(source)]


class Sampler(SourceModel):
    """A loaded nucleus sampler."""

    def __call__(
        self,
        sources: "str | np.ndarray | Iterable",
        top_p: float = 0.8,
        seed: int = 42,
        uniforms: np.ndarray | None = None,
        max_length: int | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
    ):
        """A sampled text for one source or for many.

        Args:
            sources, batch_size, progress: as for ``Generator``.
            top_p: mass of the nucleus, in (0, 1].
            seed: of the random numbers; the same seed gives the same texts.
            uniforms: the random numbers themselves, (N, max_length) in [0, 1); then ``seed`` and
                ``max_length`` are not used.
            max_length: longest output in tokens. Default: the experiment's.

        Returns:
            A string for one source, a list of strings for an iterable.

        Raises:
            ModelError: as for ``Generator``; ``top_p`` or ``uniforms`` out of range or shape.
        """
        single = self._is_single(sources)
        sources = [sources] if single else sources
        found = self.sample(sources, top_p, seed, uniforms, max_length, batch_size, progress)
        texts = found.texts.tolist()
        return texts[0] if single else texts

    def sample(
        self,
        sources: Iterable,
        top_p: float = 0.8,
        seed: int = 42,
        uniforms: np.ndarray | None = None,
        max_length: int | None = None,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> Found:
        """Texts and scores, (N,) both; arguments and errors as for the call."""
        if not 0 < top_p <= 1:
            raise ModelError(f"top_p is {top_p}: expected a mass in (0, 1], for example 0.8")
        read = self._read(sources)
        if uniforms is None:
            shape = (len(read), self._max_length(max_length))
            uniforms = np.random.default_rng(seed).random(shape, np.float32)
        uniforms = _uniforms(uniforms, len(read))
        texts, scores = [], []
        for rows in _batches(len(read), batch_size, progress):
            numbers = {"top_p": np.array(top_p, np.float32), "uniforms": uniforms[rows]}
            found = self._session.run(self._outputs, self._feeds(read[rows]) | numbers)
            texts.append(found[0])
            scores.append(found[1])
        return Found(np.concatenate(texts), np.concatenate(scores), None)


KINDS: dict[str, type[Model]] = {
    "classifier": Classifier,
    "speller": Generator,
    "translator": Generator,
    "captioner": Generator,
    "sampler": Sampler,
}


def _batches(total: int, batch_size: int, progress: Progress | None) -> Iterator[slice]:
    batch_size = _whole("batch_size", batch_size, "1")
    for start in range(0, total, batch_size):
        yield slice(start, start + batch_size)
        if progress is not None:
            progress(min(start + batch_size, total), total)


def _whole(name: str, value: int, least: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ModelError(f"{name} is {value!r}: expected a whole number, at least {least}")
    return number


def _array(images) -> np.ndarray:
    try:
        return np.asarray(images if isinstance(images, np.ndarray) else list(images))
    except (TypeError, ValueError) as error:
        raise ModelError("images of different sizes, or no images: give them one by one") from error


def _images(images) -> np.ndarray:
    images = _array(images)
    if images.size == 0:
        raise ModelError("no images: expected at least one")
    if images.dtype != np.uint8:
        raise ModelError(
            f"images are {images.dtype}: expected raw pixels as uint8, 0 to 255; "
            "scaling and normalisation are inside the file"
        )
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ModelError(f"images have shape {images.shape}: expected (N, H, W, 3)")
    return images


def _uniforms(uniforms: np.ndarray, rows: int) -> np.ndarray:
    uniforms = np.asarray(uniforms, np.float32)
    if uniforms.ndim != 2 or len(uniforms) != rows or uniforms.shape[1] < 1:
        raise ModelError(
            f"uniforms have shape {uniforms.shape}: expected ({rows}, max_length), a row per "
            "source and a number per step"
        )
    if not (uniforms.min() >= 0 and uniforms.max() < 1):
        raise ModelError("uniforms hold numbers outside [0, 1): draw them with rng.random()")
    return uniforms


def clean_sentence(text: str) -> str:
    """A sentence in lower case, without accents, with a space before each of ``.!?``.

    Other punctuation becomes a space; letters and digits stay. So the course cleaned its pairs.
    """
    plain = "".join(
        c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn"
    )
    return re.sub(r"[^\w.!?]+", " ", re.sub(r"([.!?])", r" \1", plain))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _characters(text: str) -> list[str]:
    """Characters, each with the combining marks that follow it, as in training."""
    characters: list[str] = []
    for point in text:
        if characters and unicodedata.category(point).startswith("M"):
            characters[-1] += point
        else:
            characters.append(point)
    return characters


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
            elif field == 25:  # ModelProto.functions: nodes of a domain of their own
                domains.add(_text(value, 10) or "a local function")
            elif field == 14:  # ModelProto.metadata_props
                key = _text(value, 1)
                if key.startswith("hw2."):
                    info[key.removeprefix("hw2.")] = json.loads(_text(value, 2))
    except _ExternalData:
        raise ModelError(f"{path} keeps weights in other files: expected one whole file") from None
    except (IndexError, TypeError, ValueError, RecursionError) as error:
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
        elif field == 15:  # GraphProto.sparse_initializer
            _inspect_sparse_tensor(value)


def _inspect_node(node: memoryview, domains: set[str]) -> None:
    for field, value in _fields(node):
        if field == 7:  # NodeProto.domain
            domains.add(str(value, "utf-8"))
        elif field == 5:  # NodeProto.attribute
            for inner, content in _fields(value):
                if inner in (5, 10):  # AttributeProto.t, tensors
                    _inspect_tensor(content)
                elif inner in (22, 23):  # AttributeProto.sparse_tensor, sparse_tensors
                    _inspect_sparse_tensor(content)
                elif inner in (6, 11):  # AttributeProto.g, graphs
                    _inspect_graph(content, domains)


def _inspect_tensor(tensor: memoryview) -> None:
    # TensorProto.external_data, and data_location unless it says DEFAULT
    if any(field == 13 or (field == 14 and value) for field, value in _fields(tensor)):
        raise _ExternalData


def _inspect_sparse_tensor(tensor: memoryview) -> None:
    for field, value in _fields(tensor):
        if field in (1, 2):  # SparseTensorProto.values, indices
            _inspect_tensor(value)


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
