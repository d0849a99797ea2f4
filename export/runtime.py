"""Runs an exported file: ``load(path)`` -> a callable. Needs numpy and onnxruntime, nothing else.

This module can be copied into an application as it is.

    from export.runtime import load

    classify = load("fashion_cnn.onnx")
    classify(images)                 # uint8 (N, 28, 28, 1) -> N labels
    classify.probabilities(images)   # -> float32 (N, 10)

    spell = load("p2g_attention.onnx")
    spell("k æ t")                                # -> the best spelling
    spell("d ɪ s k ʌ v ə ɹ", num_beams=5, n_best=3)    # -> three (spelling, score), best first
    spell(["k æ t", "d ɔ ɡ"])                     # -> a list, one answer per source
    for letters in spell.stream("k æ t"): ...     # -> the best spelling as it is written
"""

import difflib
import functools
import hashlib
import itertools
import json
import math
import numbers
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

# What a file may cost to check, and what one call may cost.
MAX_FIELDS = 500_000  # of protocol buffer messages: half a second
MAX_DEPTH = 100  # of messages in messages, as protocol buffers have it
MAX_LOOPS = 50
MAX_RANK = 64  # axes of one value
MAX_SHAPE = 1024  # bytes of a list that could be a shape
MAX_STEPS = 4096  # tokens of one text; rounds of one loop
MAX_WORK = 10_000_000  # nodes that one call runs, those in a loop once a round
MAX_STRING = 4096  # bytes of a label or a token
MAX_TEXT = 2**22  # bytes of a text that a graph writes
MAX_BEAMS = 1000
MAX_ROW_STEPS = 2**18  # hypotheses times tokens
MAX_CALL_BYTES = 2**30  # about, for the hypotheses of one call
MAX_PIXELS = 2**26  # of one image
MAX_FOLDED = 2**27  # bytes that a file computes when it is opened, and keeps; again for stream
MAX_MEMORY = 3 * 2**29  # bytes for the values of all files that this process runs
UNITS = 512  # of a decoder, where memory is estimated
POSITIONS = 256  # of a picture, where memory is estimated
PIXEL_BYTES = 400  # of an image encoder for each pixel: ResNet-18's first maps of 500x500 pixels

Progress = Callable[[int, int], None]
Signature = dict[str, tuple[str, int]]  # name -> type and number of axes


class ModelError(ValueError):
    """A file or an input that cannot be used; the message is one line that says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """A text with escapes for line breaks and whatever else could steer a terminal."""
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text
    )


def load(
    path: str | os.PathLike,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    max_bytes: int = MAX_BYTES,
) -> "Classifier | Generator | Sampler":
    """Opens a file made by ``export.to_onnx``.

    The file is read and checked before any session is built (``inspect``): no external data, no
    operator outside ``ai.onnx`` and ``ai.onnx.ml``, no more than ``max_bytes``. All files that a
    process opens share ``MAX_MEMORY`` bytes for what they compute.

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
    model = _checked_model(content, path)
    info, folded = _metadata(model, path), _folded(model[7][0])
    del model  # it is as large as the file
    available = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise ModelError(
                f"execution provider {provider} is not available here, only "
                f"{', '.join(available)}: install the onnxruntime build that has it"
            )
    session = _session(content, folded, providers, path)
    kind = info.get("kind")
    if kind not in KINDS:
        raise ModelError(
            f"{path} was not made by this package (hw2.kind is {kind!r}): expected one of "
            f"{', '.join(KINDS)}"
        )
    try:
        model = KINDS[kind](session, info, path)
    except KeyError as error:
        raise ModelError(f"{path} lacks hw2.{error.args[0]}: export it again") from error
    model._max_bytes, model._digest = max_bytes, hashlib.sha256(content).digest()
    return model


def _session(
    content: bytes, folded: int, providers: Sequence[str], path: Path
) -> onnxruntime.InferenceSession:
    _bound_memory()
    options = _options(folded)
    try:
        return onnxruntime.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # onnxruntime raises many unrelated types
        raise ModelError(f"{path} cannot be run ({_reason(error)}): export it again") from error


def _options(folded: int) -> onnxruntime.SessionOptions:
    """How sessions are run, for a file of so many nodes that depend on no input."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.log_severity_level = 4  # what it would log comes as an error too
    # Bytes that are read as protocol buffers here must not be taken for another format there.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # What depends on no input is computed once, outside of the pool: the nodes share what is left.
    most_folded = "optimization.constant_folding_max_output_size_in_bytes"
    options.add_session_config_entry(most_folded, str(MAX_FOLDED // max(1, folded)))
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def _folded(graph: dict) -> int:
    """How many nodes onnxruntime runs when it opens a file, as they depend on no input.

    Those that make floats of stored int8 weights do not count: four times the file is the most.
    """
    stored = {"", *(_text(tensor, 8) for each in _graphs(graph) for tensor in each.get(5, []))}
    known, count = set(stored), 0
    for node in _in_order(graph):
        kind, read = _text(node, 4), node.get(1, [])
        if next(_subgraphs(node), None) is None and (kind == "Shape" or known.issuperset(read)):
            known.update(node.get(2, []))
            is_counted = kind != "DequantizeLinear" or not stored.issuperset(read)
            count += is_counted and kind != "Constant"
    return count


@functools.cache
def _bound_memory() -> None:
    """Gives the sessions of this process one pool of bounded size, whatever a graph asks for."""
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    limit = onnxruntime.OrtArenaCfg({"max_mem": MAX_MEMORY})
    onnxruntime.create_and_register_allocator(place, limit)


class Model:
    """What all loaded files share.

    Attributes:
        info: the file's metadata: kind, experiment, metrics, licence, ...
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: dict, path: Path) -> None:
        self._session = session
        self._path = path
        self._max_bytes, self._digest = MAX_BYTES, b""
        self.info = info
        info.setdefault("experiment", path.stem)  # messages name it

    def signature(self) -> list[tuple[str, str, list]]:
        """(name, type, shape) of the inputs and then the outputs; named axes are free."""
        values = (*self._session.get_inputs(), *self._session.get_outputs())
        return [(value.name, value.type, value.shape) for value in values]

    def _check_signature(self, inputs: Signature, outputs: Signature) -> None:
        """Refuses other inputs, and outputs that lack or differ."""
        taken, given = (
            {value.name: (value.type[7:-1], len(value.shape)) for value in values}
            for values in (self._session.get_inputs(), self._session.get_outputs())
        )
        given = {name: given.get(name) for name in outputs}
        for wanted, found, words in ((inputs, taken, "takes"), (outputs, given, "gives")):
            if found != wanted:
                raise ModelError(
                    f"{self._path} {words} {_words(found)}: a {self.info['kind']} {words} "
                    f"{_words(wanted)}; export it again"
                )

    def _spelled(self, names: Sequence[str], found: np.ndarray) -> np.ndarray:
        """The names of ids, as objects."""
        if found.size and not 0 <= found.min() <= found.max() < len(names):
            raise ModelError(f"{self._path} gives ids that have no name: export it again")
        return np.array(names, object)[found]

    def _answer(
        self, feeds: dict[str, np.ndarray], shapes: dict[str, tuple[int | None, ...]]
    ) -> list[np.ndarray]:
        """Runs the session for the outputs that ``shapes`` names; None is any length."""
        found = self._run_session(self._session, list(shapes), feeds)
        for value, (name, shape) in zip(found, shapes.items(), strict=True):
            axes = np.shape(value)
            if len(axes) != len(shape) or any(
                wanted not in (None, length) for wanted, length in zip(shape, axes, strict=True)
            ):
                raise ModelError(
                    f"{self._path} gives {name} of shape {axes}, not {shape}: export it again"
                )
        return found

    def _run_session(
        self,
        session: onnxruntime.InferenceSession,
        names: list[str],
        feeds: dict[str, np.ndarray],
    ) -> list[np.ndarray]:
        try:
            return session.run(names, feeds)
        except Exception as error:  # onnxruntime raises many unrelated types
            raise ModelError(f"{self._path} cannot answer this ({_reason(error)})") from error


class Classifier(Model):
    """A loaded image classifier.

    Attributes:
        labels: the K class names, in the order of the probabilities.
        image_shape: (H, W, C) of the images it takes.
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: dict, path: Path) -> None:
        super().__init__(session, info, path)
        self.labels: list[str] = info["labels"]
        self._has_strings = any(o.name == "label" for o in session.get_outputs())
        answer = {"label": ("string", 1)} if self._has_strings else {"label_id": ("int64", 1)}
        self._check_signature(SOURCES["classifier"], answer | {"probabilities": ("float", 2)})
        self.image_shape: tuple[int, int, int] = tuple(session.get_inputs()[0].shape[1:])
        sizes = [size if isinstance(size, int) else 0 for size in self.image_shape]
        if min(sizes) < 1 or math.prod(sizes) > MAX_PIXELS:
            raise ModelError(f"{path} takes images of shape {self.image_shape}: export it again")

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
        if self._has_strings:
            return self._run("label", images, batch_size, progress)
        return self._spelled(self.labels, self._run("label_id", images, batch_size, progress))

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
            batch = images[rows]
            shape = (len(batch), len(self.labels))[: 1 + (output == "probabilities")]
            results += self._answer({"image": batch}, {output: shape})
        return np.concatenate(results)

    def _checked(self, images: np.ndarray) -> np.ndarray:
        height, width, channels = self.image_shape
        if not images.size:
            raise ModelError("no images: expected at least one")
        if images.dtype != np.uint8:
            raise ModelError(
                f"images are {images.dtype}: expected raw pixels as uint8, 0 to 255; "
                f"scaling is inside the file{_float_advice(images)}"
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
        source_kind: "speller" (symbols between spaces), "words", "translator" (characters),
            "captioner" (images) or "array" (numbers).
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: dict, path: Path) -> None:
        super().__init__(session, info, path)
        self.source_kind: str = info["source_kind"]
        symbols = info.get("symbols", [])
        self._known = frozenset(symbols)
        self._alike = _alike(symbols)
        self._target_size: int = info["vocabulary_sizes"]["target"]
        if info["max_length"] > MAX_STEPS:
            raise ModelError(f"{path} writes texts of over {MAX_STEPS:,} tokens: export it again")
        self._source = next(iter(session.get_inputs()), None)
        # An array has an axis of its sources; what has none could stand for a limit of the search.
        if not (self._source and self._source.shape):
            raise ModelError(f"{path} takes no list of sources: export it again")
        self._has_strings = any(o.name == "text_out" for o in session.get_outputs())
        self._ids = None
        if self._source.name == "ids":  # a file for runtimes without strings
            given = [*info["symbol_ids"], info["unknown"] or 0]
            if len(symbols) != len(given) - 1 or max(given) >= 2**31:
                raise ModelError(f"{path} has symbols without ids: export it again")
            self._ids = dict(zip(symbols, info["symbol_ids"], strict=True))
        if not self._has_strings:
            self._spelling = info["vocabulary"], info["end"], info["separator"]

    def _source_signature(self) -> Signature:
        if self._ids is not None:
            return {"ids": ("int32", 2), "lengths": ("int32", 1)}
        if self.source_kind != "array":
            return SOURCES[self.source_kind]
        value = self._source  # whatever its name, type and rank
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        return {value.name: (kind, len(value.shape))}

    def _max_length(self, max_length: int | None) -> int:
        if max_length is None:
            return self.info["max_length"]
        if _whole("max_length", max_length, "1 token") > MAX_STEPS:
            raise ModelError(f"max_length is {max_length:,}: the largest is {MAX_STEPS:,} tokens")
        return operator.index(max_length)

    def _most_rows(self, positions: int, max_length: int, is_beam: bool) -> int:
        """How many hypotheses one call may hold: their memory, and their time, are bounded."""
        # The beam keeps a path and weights of each step, greedy search and sampling all logits.
        in_step = 24 * self._target_size + 12 * UNITS * positions
        kept = 16 + 8 * positions if is_beam else 12 * self._target_size + 4 * positions
        row = in_step + kept * max_length
        return min(MAX_CALL_BYTES // row, MAX_ROW_STEPS // max_length)

    def _batch_size(self, batch_size: int, num_beams: int, max_length: int, read) -> int:
        """``batch_size``, or less where so many sources would need too much memory.

        Raises:
            ModelError: one source alone needs too much.
        """
        is_text = self.source_kind not in ("captioner", "array")
        positions = max(map(len, read)) if is_text else POSITIONS
        rows = self._most_rows(positions, max_length, num_beams > 1)
        where = f"with max_length {max_length}"
        where += f" and a source of {positions} symbols" if is_text else ""
        if num_beams > (most := min(rows, MAX_BEAMS)):
            advice = f"the largest {where} is {most}" if most > 1 else f"not possible {where}"
            raise ModelError(f"num_beams is {num_beams:,}: {advice}")
        if self.source_kind == "captioner":
            pixels = read.shape[1] * read.shape[2]
            rows = min(rows, num_beams * max(1, MAX_CALL_BYTES // (PIXEL_BYTES * pixels)))
        return min(_whole("batch_size", batch_size, "1"), rows // num_beams)

    def _is_single(self, sources) -> bool:
        if self.source_kind == "captioner":
            return isinstance(sources, np.ndarray) and sources.ndim == 3
        if self.source_kind == "array":
            return isinstance(sources, np.ndarray) and sources.ndim == len(self._source.shape) - 1
        return isinstance(sources, str)

    def _read(self, sources) -> "list[list[str]] | np.ndarray":
        """The sources as lists of symbols or characters, or as one array of images."""
        if self.source_kind == "captioner":
            return _images(sources)
        if self.source_kind == "array":
            return _array_as(sources, self._source)
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
            if any("\ud800" <= c <= "\udfff" for c in text):
                raise ModelError(f"source {number} holds half a character: expected Unicode text")
        split = _characters if self.source_kind == "translator" else str.split
        clean = clean_sentence if self.info.get("cleaned") else _composed
        read = [split(clean(text)) for text in texts]
        foreign = dict.fromkeys(s for symbols in read for s in symbols if s not in self._known)
        if not foreign:
            return read
        changed = {s: self._alike[_look(s)] for s in foreign if _look(s) in self._alike}
        if changed:
            pairs = (f"{_named(s)} as {_named(known)}" for s, known in changed.items())
            warnings.warn(f"{self.info['experiment']} reads {', '.join(pairs)}", stacklevel=4)
        unknown = [s for s in foreign if s not in changed]
        if unknown and self.info.get("unknown", UNKNOWN) is None:
            raise ModelError(f"{self._unknown(unknown)}, which this file cannot do")
        if unknown:
            warnings.warn(self._unknown(unknown), stacklevel=4)
        return [[changed.get(s, s) for s in symbols] for symbols in read]

    def _unknown(self, symbols: Sequence[str]) -> str:
        """The note on symbols that the model has never seen."""
        note = f"unknown to {self.info['experiment']}, read as <unk>: {' '.join(symbols)}"
        near: dict[str, str] = {}
        for known in sorted(self.info.get("symbols", []), key=lambda s: (len(s), s != _base(s))):
            near.setdefault(_base(known), known)
        for symbol in symbols:
            if (base := _base(symbol)) and base in near:
                note += f"; for {symbol} did you mean {_named(near[base])}?"
        return printable(note)

    def _feeds(self, batch: "list[list[str]] | np.ndarray") -> dict[str, np.ndarray]:
        if self.source_kind in ("captioner", "array"):
            return {self._source.name: batch}
        if self._ids is not None:
            unknown = self.info["unknown"] or 0
            ids = np.zeros((len(batch), max(map(len, batch))), np.int32)
            for row, symbols in zip(ids, batch, strict=True):
                row[: len(symbols)] = [self._ids.get(symbol, unknown) for symbol in symbols]
            return {"ids": ids, "lengths": np.array([len(s) for s in batch], np.int32)}
        if self.source_kind != "translator":
            return {"text": np.array([" ".join(symbols) for symbols in batch], object)}
        codepoints = np.zeros((len(batch), max(map(len, batch))), np.int32)
        for row, characters in zip(codepoints, batch, strict=True):
            # Zero is padding; a letter with a mark that does not compose is no single point.
            row[: len(characters)] = [
                ord(c) if len(c) == 1 and c != "\0" else UNKNOWN for c in characters
            ]
        return {"codepoints": codepoints}

    def _of_tokens(self, shapes: dict[str, tuple]) -> dict[str, tuple]:
        """The shapes of a search's outputs; ids, where a file has no strings, are a row a text."""
        if self._has_strings:
            return shapes
        return {"tokens": (*shapes["text_out"], None)} | {
            name: shape for name, shape in shapes.items() if name != "text_out"
        }

    def _texts(self, found: np.ndarray) -> np.ndarray:
        """The texts of a search, spelled here where the file gives ids (..., T_out)."""
        if self._has_strings:
            return found
        vocabulary, end, separator = self._spelling
        spelled = self._spelled(vocabulary, found)
        ended = np.cumsum(found == end, -1) > 0
        texts = np.empty(found.shape[:-1], object)
        for place in np.ndindex(texts.shape):
            tokens = (token for token in spelled[place][~ended[place]] if token)
            texts[place] = separator.join(tokens)
        return texts

    def _read_one(self, source, max_length: int) -> "list[list[str]] | np.ndarray":
        """One source as a batch.

        Raises:
            ModelError: see ``stream``.
        """
        if not self._is_single(source):
            raise ModelError("stream takes one source: call the model with many")
        read = self._read([source])
        self._batch_size(1, 1, max_length, read)
        return read

    @functools.cached_property
    def _stepwise(self) -> "_Stepwise":
        """The search as two sessions; the file itself keeps its loop."""
        content = _read(self._path, self._max_bytes)
        if hashlib.sha256(content).digest() != self._digest:
            raise ModelError(f"{self._path} has changed since it was loaded: load it again")
        try:
            return _Stepwise(content, self._session.get_providers(), self._path)
        except KeyError as error:
            raise ModelError(f"{self._path} has no search to step: export it again") from error

    def _pieces(self, feeds: dict[str, np.ndarray], max_length: int) -> Iterator[str]:
        """What each step adds to the text of a batch of one."""
        steps = self._stepwise
        found = self._run_session(steps.start, steps.first, feeds)
        values = dict(zip(steps.first, found, strict=True)) | feeds
        fixed = {name: values[name] for name in steps.fixed}
        carried = [values[name] for name in steps.states]
        before = ""
        for t in range(max_length):
            given = [np.array(t, np.int64), np.array(True), *carried]
            feeds = dict(zip(steps.before, given, strict=True)) | fixed
            goes_on, *carried = self._run_session(steps.step, steps.after, feeds)
            (text,) = self._texts(carried[-1])
            if text != before:
                yield text[len(before) :]
            before = text
            if not goes_on:
                break


class Generator(SourceModel):
    """A loaded speller, translator or captioner.

    Attributes:
        has_attention: whether it can show where it looked.
    """

    def __init__(self, session: onnxruntime.InferenceSession, info: dict, path: Path) -> None:
        super().__init__(session, info, path)
        inputs = {"num_beams": ("int64", 0), "max_length": ("int64", 0)}
        texts = {"text_out": ("string", 2)} if self._has_strings else {"tokens": ("int64", 3)}
        outputs = texts | {"scores": ("float", 2)}
        self.has_attention = any(o.name == "attention" for o in session.get_outputs())
        if self.has_attention:
            outputs["attention"] = ("float", 3)
        self._check_signature(self._source_signature() | inputs, outputs)

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
        A symbol that looks like one of the model's is read as that one; others that the model has
        never seen are read as "unknown". A ``UserWarning`` names both.

        Args:
            sources: one source, or any iterable of them; images also as one array (N, H, W, 3).
            num_beams: width of the beam, at most 1,000; 1 is greedy search.
            n_best: how many texts to return, at most ``num_beams``.
            max_length: longest output in tokens, its end included, at most 4,096. Default: the
                experiment's.
            attention: whether to return the attention too.
            batch_size: sources per call of the session; fewer where they would need over 1 GiB.
            progress: called with (sources done, sources in all) after each batch.

        Returns:
            One answer for one source, a list of answers for an iterable. An answer is the best
            text, a string. With ``n_best`` > 1 it is a list of (text, score), best first; fewer
            where fewer texts exist. With ``attention`` the answer comes as a pair with the
            weights of the best text, float32 (T_out, T_in).

        Raises:
            ModelError: no source, a blank one, one of another type or shape, a number out of
                range, one that would need too much memory, or attention of a model that has none.
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
        max_length = self._max_length(max_length)
        read = self._read(sources)
        batch_size = self._batch_size(batch_size, num_beams, max_length, read)
        fixed = {
            "num_beams": np.array(num_beams, np.int64),
            "max_length": np.array(max_length, np.int64),
        }
        texts, scores, attention = [], [], []
        for rows in _batches(len(read), batch_size, progress):
            batch = read[rows]
            shapes = dict.fromkeys(("text_out", "scores"), (len(batch), num_beams))
            if self.has_attention:
                shapes["attention"] = (len(batch), None, None)
            found = self._answer(self._feeds(batch) | fixed, self._of_tokens(shapes))
            texts.append(self._texts(found[0]))
            scores.append(found[1])
            if self.has_attention:
                attention += [self._trimmed(*pair) for pair in zip(found[2], batch, strict=True)]
        return Found(
            np.concatenate(texts),
            np.concatenate(scores),
            attention if self.has_attention else None,
        )

    def stream(
        self, source: "str | np.ndarray", num_beams: int = 1, max_length: int | None = None
    ) -> Iterator[str]:
        """The text of greedy search piece by piece, as it is written.

        The pieces, joined, are the text that the call gives. The first call takes about as long as
        ``load``: it makes two sessions of the file's own search, which share no weights with the
        first.

        Args:
            source: one source, as for the call.
            num_beams: 1; which beam is best is not known before the end.
            max_length: as for the call.

        Raises:
            ModelError: as for the call; several sources or beams; the file has changed.
        """
        if _whole("num_beams", num_beams, "1 (greedy search)") > 1:
            raise ModelError(
                f"num_beams is {num_beams}: the best of several beams is known only at the end, "
                "stream with num_beams=1 or call the model"
            )
        max_length = self._max_length(max_length)
        limits = {"num_beams": num_beams, "max_length": max_length}
        feeds = self._feeds(self._read_one(source, max_length))
        feeds |= {name: np.array(limit, np.int64) for name, limit in limits.items()}
        return self._pieces(feeds, max_length)

    def _trimmed(self, look: np.ndarray, source) -> np.ndarray:
        # Weights sum to 1 at every token of the text and are 0 after its end.
        look = look[look.sum(1) > 0]
        is_text = self.source_kind not in ("captioner", "array")
        return look[:, : len(source)] if is_text else look


class Sampler(SourceModel):
    """A loaded nucleus sampler."""

    def __init__(self, session: onnxruntime.InferenceSession, info: dict, path: Path) -> None:
        super().__init__(session, info, path)
        inputs = {"top_p": ("float", 0), "uniforms": ("float", 2)}
        texts = {"text_out": ("string", 1)} if self._has_strings else {"tokens": ("int64", 2)}
        outputs = texts | {"scores": ("float", 1)}
        self._check_signature(self._source_signature() | inputs, outputs)

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
            top_p: mass of the nucleus, in (0, 1]; at least 1.2e-38, the smallest float32.
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
        top_p = _mass(top_p)
        max_length = self._max_length(max_length)
        read = self._read(sources)
        if uniforms is None:
            batch_size = self._batch_size(batch_size, 1, max_length, read)
            uniforms = _random(seed).random((len(read), max_length), np.float32)
        uniforms = _uniforms(uniforms, len(read))
        batch_size = self._batch_size(batch_size, 1, self._max_length(uniforms.shape[1]), read)
        texts, scores = [], []
        for rows in _batches(len(read), batch_size, progress):
            batch = read[rows]
            given = {"top_p": top_p, "uniforms": uniforms[rows]}
            shapes = dict.fromkeys(("text_out", "scores"), (len(batch),))
            found = self._answer(self._feeds(batch) | given, self._of_tokens(shapes))
            texts.append(self._texts(found[0]))
            scores.append(found[1])
        return Found(np.concatenate(texts), np.concatenate(scores), None)

    def stream(
        self,
        source: "str | np.ndarray",
        top_p: float = 0.8,
        seed: int = 42,
        max_length: int | None = None,
    ) -> Iterator[str]:
        """The sample of one source piece by piece, as it is drawn.

        The pieces, joined, are the text that the call gives with the same arguments; see
        ``Generator.stream`` for what the first call costs.

        Raises:
            ModelError: as for the call; several sources; the file has changed.
        """
        top_p, max_length = _mass(top_p), self._max_length(max_length)
        feeds = self._feeds(self._read_one(source, max_length))
        uniforms = _random(seed).random((1, max_length), np.float32)
        return self._pieces(feeds | {"top_p": top_p, "uniforms": uniforms}, max_length)


KINDS: dict[str, type[Model]] = {
    "classifier": Classifier,
    "speller": Generator,
    "translator": Generator,
    "captioner": Generator,
    "words": Generator,
    "array": Generator,
    "sampler": Sampler,
}


# The inputs that hold the source: type and number of axes.
SOURCES: dict[str, Signature] = {
    "classifier": {"image": ("uint8", 4)},
    "speller": {"text": ("string", 1)},
    "translator": {"codepoints": ("int32", 2)},
    "captioner": {"image": ("uint8", 4)},
    "words": {"text": ("string", 1)},
}


class Fact(NamedTuple):
    """What a fact of the metadata must be, in words and as a test."""

    words: str
    holds: Callable[[object], bool]


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


TEXT = Fact("a text", lambda value: isinstance(value, str))
TEXTS = Fact(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
)
NUMBERS = Fact(
    "a table of numbers",
    lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
)
FACTS = dict.fromkeys(("kind", "experiment", "edition", "title", "source", "licence"), TEXT)
FACTS |= dict.fromkeys(("labels", "symbols", "notes", "vocabulary"), TEXTS)
FACTS |= {
    "source_kind": Fact(
        "speller, translator, captioner, words or array",
        lambda value: value in ("speller", "translator", "captioner", "words", "array"),
    ),
    "unknown": Fact("a whole number or null", lambda value: value is None or _is_count(value)),
    "symbol_ids": Fact(
        "a list of whole numbers",
        lambda value: isinstance(value, list) and all(map(_is_count, value)),
    ),
    "separator": TEXT,
    "end": Fact("a whole number", lambda value: value == 0 or _is_count(value)),
    "metrics": NUMBERS,
    "length_penalty": Fact("a number", _is_number),
    "cleaned": Fact("true or false", lambda value: isinstance(value, bool)),
    "max_length": Fact("a whole number, at least 1", _is_count),
    "vocabulary_sizes": Fact(
        "a table of whole numbers",
        lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),
    ),
}


def _reason(error: Exception) -> str:
    """The first line of a message of onnxruntime."""
    if "bfc_arena" in str(error):
        return f"it needs over {MAX_MEMORY / 2**30} GiB, give a smaller batch_size"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _words(signature: dict[str, tuple[str, int] | None]) -> str:
    words = (
        f"{name} ({each[0]}, {each[1]} axes)" if each else f"no {name}"
        for name, each in signature.items()
    )
    return ", ".join(words) or "nothing"


def _float_advice(images: np.ndarray) -> str:
    if not np.issubdtype(images.dtype, np.floating):
        return ""
    scaled = '(x * 255).astype("uint8")' if images.max() <= 1 else 'x.astype("uint8")'
    return f", give {scaled}"


# Characters that look like another one, and what stands for both.
_LOOKALIKES = str.maketrans(
    {"g": "ɡ", ":": "ː", "'": "ˈ", "’": "ˈ", "ʼ": "ˈ", "ǝ": "ə", "ε": "ɛ", "α": "ɑ"}
    | {"\u035c": "\u0361", "ʤ": "d͡ʒ", "ʧ": "t͡ʃ"}
)
# Phonetic letters and the letter of the keyboard that people write for them.
_BASES = str.maketrans("ɡɹɾɻɛəɜɝɚæɑɒɐʌʊɪɨɔɵŋɲʃʒθðɫʍɓ", "grrreeeeeaaaauuiioonnsztdlwb")


def _look(symbol: str) -> str:
    """The same for symbols that look alike, composed or not."""
    return unicodedata.normalize("NFD", symbol).translate(_LOOKALIKES)


def _alike(symbols: Sequence[str]) -> dict[str, str]:
    """What a look stands for, where one symbol alone has it."""
    looks = [_look(symbol) for symbol in symbols]
    return {look: s for look, s in zip(looks, symbols, strict=True) if looks.count(look) == 1}


def _base(symbol: str) -> str:
    """A symbol without marks, length and case, in letters of the keyboard."""
    letters = (c for c in _look(symbol) if unicodedata.category(c) not in ("Mn", "Lm", "Sk"))
    return "".join(letters).lower().translate(_BASES)


def _named(symbol: str) -> str:
    return f"{symbol} ({' '.join(f'U+{ord(c):04X}' for c in symbol)})"


def _random(seed: int) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ModelError(f"seed is {seed!r}: expected a whole number, 0 or more") from error


def _mass(top_p: float) -> np.ndarray:
    if not isinstance(top_p, numbers.Real) or not np.finfo(np.float32).tiny <= top_p <= 1:
        raise ModelError(f"top_p is {top_p!r}: expected a mass in (0, 1], for example 0.8")
    return np.array(top_p, np.float32)


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
            f"scaling and normalisation are inside the file{_float_advice(images)}"
        )
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ModelError(f"images have shape {images.shape}: expected (N, H, W, 3)")
    return images


def _array_as(arrays, value) -> np.ndarray:
    """Arrays in the dtype and rank of a file's input."""
    arrays = _array(arrays)
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(value.type)
    dtype = dtype or value.type.removeprefix("tensor(").removesuffix(")")
    sizes = zip(arrays.shape, value.shape, strict=False)
    fits = arrays.ndim == len(value.shape) and all(isinstance(b, str) or a == b for a, b in sizes)
    if not fits or not len(arrays) or not np.can_cast(arrays.dtype, dtype, "same_kind"):
        raise ModelError(
            f"sources are {arrays.dtype} {arrays.shape}: expected {dtype} "
            f"({', '.join(map(str, value.shape))})"
        )
    return arrays.astype(dtype)


def _uniforms(uniforms: np.ndarray, rows: int) -> np.ndarray:
    try:
        uniforms = np.asarray(uniforms, np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError("uniforms are no numbers: draw them with rng.random()") from error
    if uniforms.ndim != 2 or len(uniforms) != rows or uniforms.shape[1] < 1:
        raise ModelError(
            f"uniforms have shape {uniforms.shape}: expected ({rows}, max_length), a row per "
            "source and a number per step"
        )
    if not (uniforms.min() >= 0 and uniforms.max() < 1):
        raise ModelError("uniforms hold numbers outside [0, 1): draw them with rng.random()")
    below_one = np.nextafter(np.float32(1), np.float32(0))  # what is closer to 1 would become 1
    return np.minimum(uniforms.astype(np.float32), below_one)


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

    Only files that every reader of protocol buffers reads alike are accepted: known fields, in
    their own wire type, singular ones once, numbers in their shortest form.

    Raises:
        ModelError: truncated or no ONNX at all, external data, a foreign operator domain, local
            functions, loops or texts without a bound that can be seen, or metadata of another form.
    """
    return _metadata(_checked_model(content, path), path)


def _checked_model(content: bytes, path: Path) -> dict:
    """The message that a file holds; errors: see ``inspect``."""
    try:
        model = _Parser(content).message("Model", 0, len(content))
        if 7 not in model:
            raise _Refused("there is no graph")
        problem = _problem(model)
    except (_Refused, ValueError) as error:
        raise ModelError(
            f"{path} is truncated or no ONNX file ({error}): copy or export it again"
        ) from error
    if problem:
        raise ModelError(f"{path} {problem}")
    return model


def _problem(model: dict) -> str:
    """What a model does that no file of this package does, or ""."""
    nodes, tensors = _contents(model)
    if any(13 in tensor or tensor.get(14, [0]) != [0] for tensor in tensors):
        return "keeps weights in other files: expected one whole file"
    domains = {_text(each, 1) for each in model.get(8, [])} | {_text(node, 7) for node in nodes}
    domains |= {_text(each, 10) or "a local function" for each in model.get(25, [])}
    if foreign := domains - DOMAINS:
        return (
            f"uses operators of {', '.join(sorted(foreign))}: only ai.onnx and ai.onnx.ml "
            "are standard; export it again"
        )
    if 20 in model or 25 in model:
        return "holds training information or functions: export it again"
    graphs = list(_graphs(model[7][0]))
    if any(map(_defines_twice, graphs)):
        return "defines a name twice in one graph: export it again"
    try:
        bounds = _bounds(model[7][0])
        rounds = _rounds(model[7][0], bounds)
    except _Endless as problem:
        return f"could run without end ({problem}): export it again"
    if problem := _problem_of_texts(model[7][0], rounds):
        return f"could fill the memory with texts ({problem}): export it again"
    if any(bound.rank > MAX_RANK for bound in bounds.values()):
        return f"has a list that could be a shape of over {MAX_RANK} axes: export it again"
    return ""


def _defines_twice(graph: dict) -> bool:
    """Whether a graph defines a name twice; a stored tensor may be the default of an input."""
    made = [name for node in graph.get(1, []) for name in node.get(2, []) if name]
    taken = [_text(value, 1) for value in graph.get(11, [])]
    stored = [_text(tensor, 8) for tensor in graph.get(5, [])]
    return any(len({*names, *made}) < len(names) + len(made) for names in (taken, stored))


def _metadata(model: dict, path: Path) -> dict[str, object]:
    """The facts under ``hw2.*``, each of the type that ``FACTS`` asks for."""
    info: dict[str, object] = {}
    for entry in model.get(14, []):
        key = _text(entry, 1)
        if not key.startswith("hw2."):
            continue
        name = key.removeprefix("hw2.")
        try:
            value = json.loads(_text(entry, 2))
            # Python reads and writes NaN, infinity and lone surrogates, which no JSON holds.
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{path} has a {key} that is no JSON: export it again") from error
        if name in info:
            raise ModelError(f"{path} has {key} twice: export it again")
        if name in FACTS and not FACTS[name].holds(value):
            raise ModelError(f"{path} has a {key} that is not {FACTS[name].words}: export it again")
        info[name] = value
    return info


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        if not path.is_file():
            names = [p.name for p in path.parent.glob("*.onnx")]
            near = difflib.get_close_matches(path.name, names, 1)
            hint = (
                f"did you mean {near[0]}?" if near else "expected a file made by 'export convert'"
            )
            raise ModelError(f"{path} does not exist: {hint}")
        size = path.stat().st_size
        with path.open("rb") as file:
            content = b"" if size > max_bytes else file.read(max_bytes + 1)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error})") from error
    if max(size, len(content)) > max_bytes:
        raise ModelError(
            f"{path} has {size:,} bytes, the limit is {max_bytes:,}: "
            "raise max_bytes if you trust the file"
        )
    return content


class _Refused(Exception):
    pass


class _Endless(Exception):
    pass


# The messages of onnx.proto that a file may hold: the number of each field and what it holds, with
# a star where it may come more than once. What is not here is refused: ref_attr_name and bodies of
# functions, segments of tensors, sparse tensors, which onnxruntime makes dense outside of the pool,
# opaque types, placement on devices.
_SCHEMA = {
    "Model": "1 int, 2 text, 3 text, 4 text, 5 int, 6 text, 7 Graph, 8 Opset*, 14 Entry*, "
    "20 bytes*, 25 Function*",
    "Opset": "1 text, 2 int",
    "Entry": "1 text, 2 text",
    "Function": "1 text, 4 text*, 5 text*, 6 text*, 7 bytes*, 8 text, 9 Opset*, 10 text, "
    "11 bytes*, 12 bytes*, 13 text, 14 Entry*",
    "Graph": "1 Node*, 2 text, 5 Tensor*, 10 text, 11 Value*, 12 Value*, 13 Value*, "
    "14 Annotation*, 16 Entry*",
    "Node": "1 text*, 2 text*, 3 text, 4 text, 5 Attribute*, 6 text, 7 text, 8 text, 9 Entry*",
    "Attribute": "1 text, 2 float, 3 int, 4 bytes, 5 Tensor, 6 Graph, 7 float*, 8 int*, 9 bytes*, "
    "10 Tensor*, 11 Graph*, 13 text, 14 Type, 15 Type*, 20 int32",
    "Tensor": "1 int*, 2 int32, 4 fixed, 5 varints, 6 bytes*, 7 varints, 8 text, 9 bytes, "
    "10 fixed, 11 varints, 12 text, 13 Entry*, 14 int32, 16 Entry*",
    "Annotation": "1 text, 2 Entry*",
    "Value": "1 text, 2 Type, 3 text, 4 Entry*",
    "Type": "1 TensorType, 4 ElementType, 5 MapType, 6 text, 9 ElementType",
    "TensorType": "1 int32, 2 Shape",
    "ElementType": "1 Type",
    "MapType": "1 int32, 2 Type",
    "Shape": "1 Dimension*",
    "Dimension": "1 int, 2 text, 3 text",
}
_ONE_OF = {"Dimension": {1, 2}, "Type": {1, 4, 5, 9}}
_WIRE_TYPES = {"int": 0, "int32": 0, "float": 5}  # all else has its length before it: 2


def _table(fields: str) -> dict[int, tuple[str, int, bool]]:
    """{field number: (what it holds, its wire type, whether it may come more than once)}"""
    table = {}
    for field in fields.split(", "):
        number, kind = field.split()
        name = kind.rstrip("*")
        table[int(number)] = name, _WIRE_TYPES.get(name, 2), kind.endswith("*")
    return table


_FIELDS = {name: _table(fields) for name, fields in _SCHEMA.items()}


class _Parser:
    """Reads messages of onnx.proto as {field number: [values]}, nested ones too."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._left = MAX_FIELDS

    def message(self, name: str, position: int, end: int, depth: int = 0) -> dict[int, list]:
        if depth > MAX_DEPTH:
            raise _Refused(f"messages are nested over {MAX_DEPTH} deep")
        content, fields, found = self._content, _FIELDS[name], {}
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise _Refused(f"it has over {MAX_FIELDS:,} fields")
            tag, position = _varint(content, position, end)
            number, wire_type = tag >> 3, tag & 7
            if number not in fields:
                raise _Refused(f"{name} has an unknown field {number}")
            kind, own_type, is_repeated = fields[number]
            if wire_type != own_type:
                raise _Refused(f"field {number} of {name} has wire type {wire_type}")
            if wire_type == 0:
                value, position = _varint(content, position, end)
                if kind == "int32" and 2**31 <= value < 2**64 - 2**31:
                    raise _Refused(f"field {number} of {name} is over 32 bits")
            else:
                size, position = _varint(content, position, end) if own_type == 2 else (4, position)
                if size > end - position:
                    raise _Refused(f"{name} ends too early")
                if kind in _FIELDS:
                    value = self.message(kind, position, position + size, depth + 1)
                else:
                    value = _checked(content[position : position + size], kind)
                position += size
            if number not in found:
                found[number] = [value]
            elif is_repeated:
                found[number].append(value)
            else:
                raise _Refused(f"field {number} of {name} comes twice")
        if len(_ONE_OF.get(name, set()) & found.keys()) > 1:
            raise _Refused(f"{name} is two things at once")
        return found


def _checked(value: bytes, kind: str) -> bytes | str:
    """A text decoded; a list of packed numbers must hold whole ones in their shortest form."""
    if kind == "text":
        return str(value, "utf-8")
    if kind == "fixed" and len(value) % 4:
        raise _Refused("a list of numbers ends too early")
    if kind == "varints":
        codes = np.frombuffer(value, np.uint8)
        ends = np.flatnonzero(codes < 0x80)
        sizes = np.diff(ends, prepend=-1)
        if (codes[-1:] >= 0x80).any() or (sizes > 10).any() or (codes[ends[sizes > 1]] == 0).any():
            raise _Refused("a list of numbers is not in its shortest form")
    return value


def _varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    if position < end and content[position] < 0x80:
        return content[position], position + 1
    value = shift = 0
    for byte in content[position : min(position + 10, end)]:
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            if value >= 2**64 or not byte:
                raise _Refused("a number is not in its shortest form")
            return value, position
        shift += 7
    raise _Refused("a number has no end")


def _text(message: dict, field: int) -> str:
    return message.get(field, [""])[0]


def _subgraphs(node: dict) -> Iterator[dict]:
    for attribute in node.get(5, []):
        yield from (*attribute.get(6, []), *attribute.get(11, []))


def _graphs(graph: dict) -> Iterator[dict]:
    """A graph and all graphs inside it."""
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += (inner for node in graph.get(1, []) for inner in _subgraphs(node))


def _contents(model: dict) -> tuple[list[dict], list[dict]]:
    """All nodes and all tensors of a model."""
    nodes, tensors = [], []
    for graph in _graphs(model[7][0]):
        nodes += graph.get(1, [])
        tensors += graph.get(5, [])
    for attribute in (each for node in nodes for each in node.get(5, [])):
        tensors += (*attribute.get(5, []), *attribute.get(10, []))
    return nodes, tensors


class Bound(NamedTuple):
    """What is known of a value before it is there; infinity where nothing is."""

    rank: float  # how many axes it has at most
    axis: float  # the longest that one of them can be
    number: float  # the largest that it can hold


Bounds = dict[str, Bound]  # of each name, in whatever graph
Stored = dict[str, list[float]]  # the numbers of names that stand for a short list alone

_NOTHING = Bound(0, 1, 0)
_DTYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}

# Operators that give no larger rank and axis than their inputs have; below, no larger rank.
_BROADCASTING = {"Add", "Sub", "Mul", "Div", "Mod", "Pow", "Neg", "Abs", "Sign", "Floor", "Ceil"}
_BROADCASTING |= {"Round", "Clip", "Not", "And", "Or", "Where", "Equal", "Less", "LessOrEqual"}
_BROADCASTING |= {"Greater", "GreaterOrEqual"}
_RANKED = {"Softmax", "LogSoftmax", "Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Reciprocal"}
_RANKED |= {"Erf", "Elu", "Selu", "Gelu", "LeakyRelu", "HardSigmoid", "Softplus", "Sin", "Cos"}
_RANKED |= {"TopK", "CumSum", "Split", "Pad", "Trilu", "GatherElements", "ScatterElements"}
_RANKED |= {"ScatterND", "LayerNormalization", "BatchNormalization", "StringConcat"}
_RANKED |= {"LabelEncoder", "DequantizeLinear", "Gemm"}
_OTHER_RANK = 4  # what all others may give, as LSTM and Conv do
_PASSES = 8


def _bounds(graph: dict) -> Bounds:
    """The bounds of all values: they grow from nothing until all nodes agree with them.

    onnxruntime follows shapes before a file is open. A shape of a thousand million numbers, or a
    Gather from what a Gather gave, is a tensor of as many axes to it, and takes minutes.

    Raises:
        _Endless: a loop adds axes in each round.
    """
    bounds, stored = _stated_bounds(graph), _stored_lists(graph)
    for _ in range(_PASSES):
        before = dict(bounds)
        for node in _in_order(graph):
            for name, bound in _bounds_after(node, bounds, stored):
                bounds[name] = _wider(bounds.get(name, _NOTHING), bound)
        if bounds == before:
            return bounds
    raise _Endless("the axes of a value grow from round to round")


def _in_order(graph: dict) -> Iterator[dict]:
    """The nodes of a graph and those inside them; what holds a graph comes before and after it."""
    for node in graph.get(1, []):
        yield node
        for inner in _subgraphs(node):
            yield from _in_order(inner)
            yield node


def _wider(one: Bound, other: Bound) -> Bound:
    return Bound(
        max(one.rank, other.rank), max(one.axis, other.axis), max(one.number, other.number)
    )


def _stated_bounds(graph: dict) -> Bounds:
    """The bounds of what a file stores and declares."""
    stated = [(_text(value, 1), _given(value)) for value in graph.get(11, [])]
    for each in _graphs(graph):
        values = (value for field in (11, 12, 13) for value in each.get(field, []))
        stated += ((_text(value, 1), _declared(value)) for value in values)
        stated += ((_text(tensor, 8), _stored(tensor)) for tensor in each.get(5, []))
    bounds: Bounds = {}
    for name, bound in stated:
        bounds[name] = _wider(bounds.get(name, _NOTHING), bound)
    return bounds


def _given(value: dict) -> Bound:
    """The bound of what a caller gives; the runtime bounds its axes."""
    kinds = [kind for each in value.get(2, []) for kind in each.get(1, [])]
    shapes = [shape.get(1, []) for kind in kinds for shape in kind.get(2, [])]
    axes = [axis.get(1, [MAX_STEPS])[0] for shape in shapes for axis in shape]
    rank, longest = (0, max([1, *axes])) if shapes else (_OTHER_RANK, MAX_STEPS)
    return Bound(rank, min(longest, MAX_STEPS), MAX_STEPS if _is_limit(value) else np.inf)


def _declared(value: dict) -> Bound:
    """What a declaration says; the axes of whole numbers count, as these could be a shape."""
    kinds = [kind for each in value.get(2, []) for kind in each.get(1, [])]
    shapes = [(kind, shape.get(1, [])) for kind in kinds for shape in kind.get(2, [])]
    whole = (axis.get(1, [1])[0] for kind, axes in shapes if kind.get(1) == [7] for axis in axes)
    rank = max((len(axes) for _, axes in shapes), default=0)
    return Bound(rank, max([1, *whole]), 0)


def _stored(tensor: dict) -> Bound:
    axes, numbers = tensor.get(1, []), _numbers_of(tensor)
    number = np.inf if numbers is None else max([*numbers, *axes, 0])
    return Bound(len(axes), max([1, *axes]), number)


def _stored_lists(graph: dict) -> Stored:
    """The numbers of short stored tensors, where nothing else has their name."""
    found, others = {}, [_text(value, 1) for each in _graphs(graph) for value in each.get(11, [])]
    for each in _graphs(graph):
        tensors = [(_text(tensor, 8), tensor) for tensor in each.get(5, [])]
        for node in each.get(1, []):
            if constant := _constant(node):
                tensors.append((node[2][0], constant))
            else:
                others += node.get(2, [])
        for name, tensor in tensors:
            numbers = _numbers_of(tensor)
            others += [name] if numbers != found.setdefault(name, numbers) else []
    return {name: found[name] for name in found.keys() - set(others) if found[name] is not None}


def _bounds_after(node: dict, bounds: Bounds, stored: Stored) -> Iterator[tuple[str, Bound]]:
    """The bounds of what a node gives, and of what the graphs inside it are given."""
    kind, outputs, bodies = _text(node, 4), node.get(2, []), list(_subgraphs(node))
    read = [bounds.get(name, _NOTHING) for name in node.get(1, [])]
    if not bodies:
        bound = _bound_of(node, read, [stored.get(name, []) for name in node.get(1, [])])
        yield from ((name, bound) for name in outputs)
    for body in bodies:
        taken, given = ([_text(value, 1) for value in body.get(n, [])] for n in (11, 12))
        made = [bounds.get(name, _NOTHING) for name in given]
        if kind == "If":
            yield from zip(outputs, made, strict=False)
            continue
        carried = len(read) - _integer(node, "num_scan_inputs")
        if kind == "Loop":  # the round and the condition come first
            yield from ((name, Bound(0, 1, np.inf)) for name in taken[:2])
            taken, read, made, carried = taken[2:], read[2:], made[1:], len(read[2:])
        ranks = [each.rank for each in read]
        for place, each in enumerate(made[:carried]):
            ranks[place] = max(ranks[place], each.rank)
        inside = [Bound(rank, np.inf, np.inf) for rank in ranks]
        collected = [Bound(each.rank + 1, np.inf, np.inf) for each in made[carried:]]
        yield from zip(taken, inside, strict=False)
        yield from zip(outputs, inside[:carried] + collected, strict=False)


def _bound_of(node: dict, read: list[Bound], lists: list[list[float]]) -> Bound:
    """The bound of what an operator gives that reads these, of which some are stored lists."""
    kind, (first, second) = _text(node, 4), (*read, _NOTHING, _NOTHING)[:2]
    rank, axis, number = functools.reduce(_wider, read, _NOTHING)
    listed = [n for each in node.get(5, []) for n in each.get(8, [])]
    axes = _different(lists[1] if len(lists) > 1 else listed)
    match kind:
        case "Constant":
            tensor = _constant(node)
            return _stored(tensor) if tensor else Bound(_OTHER_RANK, np.inf, np.inf)
        case "Shape":
            return Bound(1, first.rank, first.axis)
        case "Cast" if _integer(node, "to") not in (1, 6, 7):
            return Bound(first.rank, first.axis, np.inf)  # a negative number may become a large one
        case "Cast" | "Identity" | "Transpose":
            return first
        case "Slice":
            return first._replace(axis=min(first.axis, _part(first, lists)))
        case "Squeeze":
            return first._replace(rank=first.rank - axes)
        case "Unsqueeze":
            added = len(listed) if len(read) < 2 else second.axis
            return first._replace(rank=first.rank + added)
        case "Reshape":
            made = first.axis if min(first.rank, first.axis) <= 1 else np.inf
            return Bound(max(second.axis, len(listed)), made, first.number)
        case "Concat":
            return Bound(rank, sum(each.axis for each in read), number)
        case "Min" | "Max":
            return Bound(rank, axis, number)
        case "Gather":
            longest = second.axis if first.rank <= 1 else axis
            return Bound(first.rank + second.rank - 1, longest, number)
        case "ConstantOfShape":
            values = (_stored(tensor) for each in node.get(5, []) for tensor in each.get(5, []))
            return Bound(first.axis, first.number, max((v.number for v in values), default=0))
        case "Expand":
            longest = max(first.axis, second.number)
            return Bound(max(first.rank, second.axis), longest, first.number)
    if kind.startswith("Reduce"):
        return Bound(first.rank - axes * _is_dropping(node), first.axis, np.inf)
    if kind in _BROADCASTING:
        return Bound(rank, axis, np.inf)
    return Bound(_rank_of(node, read), np.inf, np.inf)


def _rank_of(node: dict, read: list[Bound]) -> float:
    """How many axes an operator gives at most that gives no list."""
    kind, (first, second, third) = _text(node, 4), (*read, _NOTHING, _NOTHING, _NOTHING)[:3]
    rank = max((each.rank for each in read), default=0)
    match kind:
        case "MatMul":
            return rank - any(each.rank <= 1 for each in read)
        case "ArgMax" | "ArgMin":
            return rank - _is_dropping(node)
        case "GatherND":
            return first.rank + second.rank - 2 - _integer(node, "batch_dims")
        case "OneHot" | "OneHotEncoder" | "StringSplit" | "ConcatFromSequence":
            return rank + 1
        case "Tile" | "AffineGrid" | "CenterCropPad":
            return max(first.rank, second.axis)
        case "Col2Im":
            return 2 + second.axis
        case "MaxUnpool":
            return max(first.rank, third.axis)
        case "Einsum":
            equation = b"".join(each.get(4, [b""])[0] for each in node.get(5, []))
            made = equation.rpartition(b"->")[2]
            return len(made) + (b"." in made) * rank
        case "RandomNormal" | "RandomUniform":
            return max(len(each.get(8, [])) for each in node.get(5, [{}]))
    return rank if kind in _RANKED else max(rank, _OTHER_RANK)


def _part(whole: Bound, lists: list[list[float]]) -> float:
    """How long the part of a list is that a Slice takes, where the file stores what it takes."""
    takes = [numbers[0] for numbers in lists[1:3] if len(numbers) == 1]
    if whole.rank > 1 or len(takes) < 2 or (len(lists) > 4 and lists[4] != [1]):
        return np.inf
    start, end = takes
    if start < 0 <= end:
        return -start
    return np.inf if end < 0 <= start else max(0, end - start)


def _is_dropping(node: dict) -> bool:
    """Whether an operator drops the axes that it reduces."""
    return any(_text(each, 1) == "keepdims" and each.get(3) == [0] for each in node.get(5, []))


def _different(axes: Iterable[float]) -> int:
    """How many different axes these name at least: 1 and -1 may be the same."""
    behind, before = ({n for n in axes if (n < 0) == side} for side in (True, False))
    return max(len(behind), len(before))


def _rounds(graph: dict, bounds: Bounds) -> list[tuple[dict, float]]:
    """A graph and all graphs inside it, each with how often it can run.

    The rounds of every Loop and Scan must come from constants, from the axes of inputs, or from
    the numbers that the runtime bounds: never from what a source holds, which is the caller's
    data.

    Raises:
        _Endless: why it could run without end.
    """
    waiting, found = [(graph, 1.0)], []
    times_of: dict[int, float] = {}  # by the id of a Loop or Scan
    while waiting:
        each, rounds = waiting.pop()
        found.append((each, rounds))
        for node in each.get(1, []):
            inner, kind, times = list(_subgraphs(node)), _text(node, 4), 1.0
            if kind in ("Loop", "Scan"):
                if len(times_of) == MAX_LOOPS:
                    raise _Endless(f"it has over {MAX_LOOPS} loops")
                times = times_of[id(node)] = _times(node, bounds)
                if len(inner) != 1 or times > MAX_STEPS:
                    raise _Endless(f"{kind} {_text(node, 3)!r} has no bound that can be seen")
            elif inner and kind != "If":
                raise _Endless(f"{kind} holds a graph")
            waiting += [(part, rounds * times) for part in inner]
    if (work := _work(graph, times_of)) > MAX_WORK:
        raise _Endless(
            f"one text could take {work:,.0f} nodes, {MAX_WORK:,} are the most: a step of fewer "
            "layers has fewer"
        )
    return found


def _work(graph: dict, times_of: dict[int, float]) -> float:
    """The most nodes that run: those in a loop once a round, of an If those of one branch."""
    work = 0.0
    for node in graph.get(1, []):
        inner = max((_work(each, times_of) for each in _subgraphs(node)), default=0.0)
        work += 1 + times_of.get(id(node), 1.0) * inner
    return work


def _times(node: dict, bounds: Bounds) -> float:
    """How often a Loop goes round at most, or by the axes of what it reads a Scan."""
    inputs = node.get(1, [])
    if _text(node, 4) == "Loop":
        return bounds[inputs[0]].number if inputs and inputs[0] in bounds else np.inf
    scanned = _integer(node, "num_scan_inputs")
    read = inputs[-scanned:] if 0 < scanned <= len(inputs) else []
    return max((bounds[name].axis for name in read if name in bounds), default=np.inf)


def _integer(node: dict, name: str) -> int:
    return next((a[3][0] for a in node.get(5, []) if _text(a, 1) == name and 3 in a), 0)


def _constant(node: dict) -> dict | None:
    """The tensor of a ``Constant`` that holds nothing else."""
    attributes = node.get(5, [])
    tensors = [tensor for each in attributes for tensor in each.get(5, [])]
    is_one = _text(node, 4) == "Constant" and len(attributes) == len(tensors) == 1
    return tensors[0] if is_one and len(node.get(2, [])) == 1 else None


def _is_limit(value: dict) -> bool:
    """Whether an input is a number that the runtime bounds, never the caller's source."""
    kinds = [kind for each in value.get(2, []) for kind in each.get(1, [])]
    is_whole = [kind.get(1) for kind in kinds] == [[7]]
    axes = [
        axis for kind in kinds for shape in kind.get(2, [{1: [0]}]) for axis in shape.get(1, [])
    ]
    return _text(value, 1) in ("num_beams", "max_length") and is_whole and not axes


def _numbers_of(tensor: dict) -> list[float] | None:
    """The numbers of a short stored tensor; None where they cannot be seen."""
    dtype = _DTYPES.get(tensor.get(2, [0])[0])
    raw = tensor.get(9, [b""])[0]
    size = len(tensor.get(1, [])) + sum(len(v) for n in (5, 7, 9) for v in tensor.get(n, []))
    if size > MAX_SHAPE or 4 in tensor or 10 in tensor:
        return None
    if dtype is None or len(raw) % np.dtype(dtype).itemsize:
        return None
    stored = np.frombuffer(raw, dtype)
    if not np.isfinite(stored).all():
        return None
    listed = (_numbers(packed) for n in (5, 7) for packed in tensor.get(n, []))
    return [float(number) for numbers in (stored, *listed) for number in numbers]


def _numbers(packed: bytes) -> np.ndarray:
    """Signed whole numbers of a list that ``_checked`` has let through."""
    codes = np.frombuffer(packed, np.uint8)
    is_last = codes < 0x80
    starts = np.flatnonzero(np.concatenate(([True], is_last[:-1]))[: len(codes)])
    places = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    parts = (codes & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.bitwise_or.reduceat(parts, starts).view(np.int64) if len(codes) else parts


class _Stepwise:
    """The search of a file outside of its loop: what comes before, and one round.

    Attributes:
        start: a session from the file's inputs to the values ``first``.
        step: one round, from ``before`` and the values ``fixed`` to ``after``.
        states: of ``first``, what a round changes; the text is the last.
    """

    def __init__(self, content: bytes, providers: Sequence[str], path: Path) -> None:
        model = _Parser(content).message("Model", 0, len(content))
        graph = model[7][0]
        folded = 2 * _folded(graph)  # two sessions share what one file may take
        outer, states, body = _search_of(graph)
        known = {_text(value, 1): value for value in graph[11]}
        given = set(known)
        known |= {_text(value, 1): value for each in _graphs(graph) for value in each.get(13, [])}
        constants, alike = {_text(tensor, 8) for tensor in graph[5]}, []
        for node in outer:
            if _read_by(node) <= constants:
                alike.append(node)
                constants |= set(node[2])
        read = set().union(*map(_read_by, body[1]))
        outside = {name for node in outer for name in node[2]} | given
        self.states, self.fixed = states, sorted(read & outside - constants)
        self.first = [*dict.fromkeys(name for name in states + self.fixed if name not in given)]
        self.before = [_text(value, 1) for value in body[11]]
        after = body[12][: 1 + len(states)]
        self.after = [_text(value, 1) for value in after]
        taken = [*body[11], *(known[name] for name in self.fixed)]
        first = [known[name] for name in self.first]
        self.start, self.step = (
            _session(
                _written("Model", {1: model[1], 8: model[8], 7: [each]}), folded, providers, path
            )
            for each in (
                _graph_of(outer, graph[5], graph[11], first),
                _graph_of([*alike, *body[1]], graph[5], taken, after),
            )
        )


def _search_of(graph: dict) -> tuple[list[dict], list[str], dict]:
    """The nodes before the loop of a search, the first values of that, and its body.

    The branch of one beam stands for the choice between the searches.
    """
    nodes = []
    for node in graph[1]:
        greedy = (each for each in _subgraphs(node) if _text(each, 2) == "greedy_search")
        nodes += next(greedy, {1: [node]})[1]
    for place, node in enumerate(nodes):
        for body in _subgraphs(node):
            if _text(body, 2) == "step":
                return nodes[:place], node[1][2:], body
    raise KeyError("search")


def _graph_of(
    nodes: list[dict], stored: list[dict], inputs: list[dict], outputs: list[dict]
) -> dict[int, list]:
    """A graph of those of the nodes and tensors that the outputs need."""
    read, needed = {_text(value, 1) for value in outputs}, []
    for node in reversed(nodes):
        if not read.isdisjoint(node[2]):
            read |= _read_by(node)
            needed.insert(0, node)
    stored = [tensor for tensor in stored if _text(tensor, 8) in read]
    return {1: needed, 2: ["part"], 5: stored, 11: inputs, 12: outputs}


def _read_by(node: dict) -> set[str]:
    """Names that a node and the graphs inside it read, their own among them."""
    read = set(node.get(1, ())) - {""}
    for graph in _subgraphs(node):
        read |= {_text(value, 1) for value in graph.get(12, [])}
        read = read.union(*map(_read_by, graph.get(1, [])))
    return read


def _written(name: str, message: dict) -> bytes:
    """The bytes of a message that ``_Parser`` would read so."""
    parts = []
    for number, values in message.items():
        kind, wire_type, _ = _FIELDS[name][number]
        for value in values:
            parts.append(_varint_of(number << 3 | wire_type))
            if wire_type == 0:
                parts.append(_varint_of(value))
                continue
            if kind in _FIELDS:
                value = _written(kind, value)
            elif kind == "text":
                value = value.encode()
            parts += [_varint_of(len(value)), value] if wire_type == 2 else [value]
    return b"".join(parts)


def _varint_of(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


# Operators that texts may pass through; others could multiply them.
_PASSING = {"Identity", "Gather", "Expand", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Where"}
_PASSING |= {"StringConcat", "StringSplit"}
# Operators that read texts and give numbers; a LabelEncoder may give other texts.
_READING = {"Equal", "Shape", "Size", "LabelEncoder"}
_LONGEST_NUMBER = 32  # bytes of a number that becomes a text

Flows = dict[str | int, list[str | int]]  # of a name or the id of a node: what comes next


def _problem_of_texts(graph: dict, rounds: list[tuple[dict, float]]) -> str:
    """Why the texts that a graph writes could fill the memory, or "".

    ``MAX_MEMORY`` does not count their characters. One side of every StringConcat must be a text
    that the file holds: then the longest of these, times the rounds, is a bound.
    """
    nodes = [(node, often) for each, often in rounds for node in each.get(1, [])]
    joins = [(node, often) for node, often in nodes if _text(node, 4) == "StringConcat"]
    given = {_text(value, 1) for value in graph.get(11, []) if _holds_texts(value)}
    flows = _flows(graph)
    written = _reached({*given, *(name for node, _ in joins for name in node.get(2, []))}, flows)
    texts = written | _reached(_text_sources(graph), flows)
    if strange := {_text(node, 4) for node, _ in nodes if id(node) in texts} - _PASSING:
        return f"{min(strange)} could multiply them"
    if any(written.issuperset(node.get(1, [])) for node, _ in joins):
        return "StringConcat joins two that both grow"
    longest = max(map(len, _stored_texts(graph)), default=0)
    if longest > MAX_STRING:
        return f"it holds one of {longest:,} bytes, over {MAX_STRING:,}"
    length = max(longest, _LONGEST_NUMBER) * (1 + sum(often for _, often in joins))
    return f"one could have over {MAX_TEXT:,} bytes" if length > MAX_TEXT else ""


def _flows(graph: dict) -> Flows:
    """Where each value goes: into nodes, from these to their outputs, in and out of loops."""
    flows: Flows = {}

    def link(sources: Iterable[str | int], targets: Iterable[str | int]) -> None:
        for source, target in zip(sources, targets, strict=False):
            flows.setdefault(source, []).append(target)

    for node in (node for each in _graphs(graph) for node in each.get(1, [])):
        kind, inputs, outputs = _text(node, 4), node.get(1, []), node.get(2, [])
        itself = itertools.repeat(id(node))
        for body in _subgraphs(node):
            taken, given = ([_text(value, 1) for value in body.get(n, [])] for n in (11, 12))
            if kind == "Loop":  # the round and the condition come first
                carried = len(inputs[2:])
                link(inputs[2:], taken[2:])
                link(given[1 : 1 + carried], taken[2:])
                link(given[1 : 1 + carried], outputs)
                link(given[1 + carried :], itself)  # gives one of each round
            elif kind == "If":
                link(given, outputs)
            else:
                link([*inputs, *given], itself)
                link(itself, taken)
        if kind not in ("Loop", "If", *_READING):
            link(inputs, itself)
        if kind not in ("If", *_READING):
            carried = len(inputs[2:]) if kind == "Loop" else 0
            link(itself, outputs[:1] if kind == "StringSplit" else outputs[carried:])
    return flows


def _reached(names: Iterable[str], flows: Flows) -> set[str | int]:
    """All that some values go into and become."""
    found, waiting = {""}, list(names)
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += flows.get(name, [])
    return found - {""}


def _text_sources(graph: dict) -> Iterator[str]:
    """The names of the texts that a graph declares, holds, or makes of numbers."""
    for each in _graphs(graph):
        values = (value for field in (11, 12, 13) for value in each.get(field, []))
        yield from (_text(value, 1) for value in values if _holds_texts(value))
        yield from (_text(tensor, 8) for tensor in each.get(5, []) if tensor.get(2) == [8])
        for node in each.get(1, []):
            if _makes_texts(node):
                yield from node.get(2, [])


def _makes_texts(node: dict) -> bool:
    """Whether a node gives texts of its own: its attributes hold them, or numbers become them."""
    if _text(node, 4) == "Cast":
        return _integer(node, "to") == 8
    if _text(node, 4) != "Constant" and _text(node, 7) != "ai.onnx.ml":
        return False
    own = [each for each in node.get(5, []) if not _text(each, 1).startswith("keys_")]
    tensors = [t for a in own for t in (*a.get(5, []), *a.get(10, []))]
    named = any(9 in each or _text(each, 1) == "value_string" for each in own)
    return named or any(tensor.get(2) == [8] for tensor in tensors)


def _holds_texts(value: dict) -> bool:
    return any(kind.get(1) == [8] for each in value.get(2, []) for kind in each.get(1, []))


def _stored_texts(graph: dict) -> Iterator[bytes]:
    """All texts in tensors and attributes."""
    nodes, tensors = _contents({7: [graph]})
    yield from (text for tensor in tensors for text in tensor.get(6, []))
    attributes = (each for node in nodes for each in node.get(5, []))
    yield from (text for each in attributes for text in (*each.get(4, []), *each.get(9, [])))
