"""A reader's own Keras model as one file: any classifier, any encoder-decoder.

The contract of an encoder and a step, of N texts and S source positions:

1. ``encoder(source)`` returns a dict of tensors; the first axis of each is the batch.
2. ``step(token, ...)`` takes ``token`` int32 (N,) and by name what it needs of that dict, or all of
   it with ``token`` as one dict.
3. It returns a dict with ``logits`` float32 (N, V): scores of the next token, before the softmax.
4. An entry that it changes, a *state*, it returns too, under its own name, dtype and shape.
5. One axis of a state may grow, as that of a key/value cache does; it may start with size 0.
6. A cache of fixed length needs its position as a state too, int32 (N,).
7. It may return ``attention`` float32 (N, S): where it looked.
8. Either is a functional, sequential or subclassed model, or a function with a signature. A lone
   tensor counts as ``memory`` of an encoder and as ``logits`` of a step.
9. Text reaches the encoder as ``source`` int32 (N, S), padded with 0 at the end; images as uint8.
10. Layers run as in inference: no dropout, nothing stateful, only operators that tf2onnx knows.
"""

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import onnx
import tensorflow as tf

from export import convert, network, stepping, verify
from export.runtime import MAX_STEPS, Found, Generator, ModelError, Sampler, load
from export.sources import Array, Image, Target, Text, is_unicode, listed

RANDOM, GIVEN = "random", "given"  # examples that a file is compared on
MADE_FROM = {"keras": keras.__version__, "tensorflow": tf.__version__, "onnx": onnx.__version__}


def classifier(
    model: keras.Model,
    path: str | os.PathLike,
    labels: Sequence[str],
    images: np.ndarray | None = None,
    scale: float = 1 / 256,
    strings: bool = True,
) -> verify.Parity:
    """Writes any Keras image classifier as one file and verifies it against Keras.

    Args:
        model: float32 images (N, H, W, C) or (N, H, W) -> logits (N, K), or probabilities, which
            are recognised by their sums.
        path: the ``.onnx`` file; the parity report goes beside it as ``.parity.json``.
        labels: the K names of the classes, in the order of the outputs.
        images: uint8 (N, H, W, C), raw pixels to verify with; the first 448 are. Default: random
            ones, and the report says so.
        scale: what raw pixels are multiplied by. Default: 1/256; 1 for a model that scales.
        strings: False makes a file for runtimes without strings: ``label_id`` comes out, the
            labels are in the metadata.

    Returns:
        The parity report. A file that fails it is not left behind.

    Raises:
        ModelError: bad labels, images or path, a model that cannot be converted, or a file that
            disagrees with Keras.
    """
    path = Path(path)
    convert.check_options(path, "classification", "beam", 1.0)
    labels = names_of(labels)
    if not isinstance(model, keras.layers.Layer):
        raise ModelError(f"model is {model!r}: expected a Keras model from images to logits")
    if not isinstance(scale, Real) or not math.isfinite(scale):
        raise ModelError(f"scale is {scale!r}: expected a number, usually 1/256 or 1")
    shape = image_shape(model, images)
    given = GIVEN if images is not None else RANDOM
    if images is None:
        rng = np.random.default_rng(verify.SEED)
        images = rng.integers(0, 256, (max(verify.BATCH_SIZES), *shape), np.uint8)
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
        raise ModelError(
            f"images are {images.dtype} {images.shape}: expected raw pixels, uint8 "
            f"(N, {', '.join(map(str, shape))})"
        )
    images = images[: verify.COMPARED]
    predict = probabilities_of(model, shape, scale, images)
    expected = in_batches(predict, images)
    if len(labels) != expected.shape[1]:
        raise ModelError(
            f"{len(labels)} labels for {expected.shape[1]} outputs: expected one for each"
        )
    graph = convert.image_graph(predict, shape, labels, model, strings)
    facts = {"kind": "classifier", "labels": labels}

    def compare(file: Path) -> verify.Parity:
        return verify.compare_probabilities(file, path.stem, given, images, expected)

    return convert.write_verified(graph, facts | described(path, given), path, compare)


def image_shape(model: keras.Model, images: np.ndarray | None) -> tuple[int, int, int]:
    """(H, W, C) of a classifier's images.

    Raises:
        ModelError: the model does not say it and no images are given.
    """
    inputs = getattr(model, "inputs", None)
    shape = inputs[0].shape[1:] if inputs else None
    if images is not None and (shape is None or None in shape):
        shape = np.shape(images)[1:]
    if shape is not None and len(shape) == 2:
        shape = (*shape, 1)
    if shape is None or len(shape) != 3 or None in shape:
        raise ModelError(
            f"{model.name!r} takes {shape}: expected one input (N, H, W, C) of known size; build "
            "the model with keras.Input, or give images"
        )
    return tuple(shape)


def probabilities_of(
    model: keras.Model, shape: tuple[int, int, int], scale: float, images: np.ndarray
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from raw pixels to probabilities.

    Raises:
        ModelError: the model fails on the images or does not give (N, K).
    """
    inputs = getattr(model, "inputs", None)
    without_channel = bool(inputs) and len(inputs[0].shape) == 3

    def outputs(image: tf.Tensor) -> tf.Tensor:
        scaled = tf.cast(image, tf.float32) * scale
        found = model(scaled[..., 0] if without_channel else scaled, training=False)
        if not tf.is_tensor(found):
            kind = type(found).__name__
            raise ModelError(f"{model.name!r} gives a {kind}: expected logits (N, K)")
        return found

    network.specifications(
        lambda image: {"outputs": outputs(image)},
        tf.TensorSpec((None, *shape), tf.uint8, "image"),
        "classifier",
    )
    found = in_batches(outputs, images)
    if found.ndim != 2 or len(found) != len(images):
        raise ModelError(f"{model.name!r} gives {found.shape}: expected logits (N, K)")
    if np.isnan(found).any():
        raise ModelError(
            f"{model.name!r} gives NaN for {len(images)} images: look for infinite weights, or "
            "a scale that is too large"
        )
    if found.min() >= 0 and np.abs(found.sum(1) - 1).max() < 1e-4:
        return outputs
    if ends_in_sigmoid(model):
        raise ModelError(
            f"{model.name!r} ends in a sigmoid, a probability for each label by itself: expected "
            "logits or a softmax"
        )
    return lambda image: tf.nn.softmax(outputs(image))


def ends_in_sigmoid(model: keras.Model) -> bool:
    """Whether the last layer of a functional or sequential model says so."""
    last = next(iter(reversed(getattr(model, "layers", []))), None)
    return getattr(last, "activation", None) is keras.activations.sigmoid


def in_batches(function: Callable[[tf.Tensor], tf.Tensor], images: np.ndarray) -> np.ndarray:
    """What a function gives for images, 64 at a time."""
    size = max(verify.BATCH_SIZES)
    starts = range(0, len(images), size)
    return np.concatenate([function(tf.constant(images[i : i + size])).numpy() for i in starts])


def names_of(labels: Sequence[str]) -> list[str]:
    """The labels as a list.

    Raises:
        ModelError: labels that do not name the outputs.
    """
    if isinstance(labels, str) or not isinstance(labels, Sequence | np.ndarray):
        raise ModelError(f"labels are {labels!r}: expected a list of names")
    for label in labels:
        if not isinstance(label, str) or not label.strip() or not is_unicode(label):
            raise ModelError(f"label {label!r}: expected a name that is not blank")
    labels = [str(label) for label in labels]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ModelError(f"label {twice!r} is there twice: expected a name for each output")
    return labels


def generator(
    encoder: Callable,
    step: Callable,
    path: str | os.PathLike,
    vocabulary: Sequence[str],
    source: Text | Image | Array,
    sources: Sequence | None = None,
    search: str = "beam",
    max_length: int = 50,
    length_penalty: float = 1.0,
    start: int = 1,
    end: int = 2,
    pad: int | None = 0,
    unknown: int | None = 3,
    separator: str | None = None,
    strings: bool = True,
) -> verify.Parity:
    """Writes any Keras encoder-decoder with its search as one file and verifies it against Keras.

    Args:
        encoder, step: models or functions, see the contract above.
        path: the ``.onnx`` file; the parity report goes beside it as ``.parity.json``.
        vocabulary: a string for every id of the logits, specials included.
        source: ``Symbols``, ``Characters``, ``Words``, ``Image`` or ``Array``: what is read.
        sources: examples to verify with, as the file takes them; the first 64 are. Default:
            random ones, and the report says so.
        search: "beam" (greedy search is its case of one beam) or "nucleus" (a sampler).
        max_length: longest text in tokens, its end included, unless an application asks for
            another.
        length_penalty: exponent of the length by which a text's log-probability is divided.
        start, end: ids of the token before the first and of the one after the last.
        pad: the id that ended texts go on with; None for a model without one.
        unknown: the id of what the vocabulary does not hold, for the separator's default alone.
        separator: between the tokens of a text, "" or " ". Default: " " where a token that is no
            special has several characters.
        strings: False: ids in and out for runtimes without strings, vocabularies in the metadata.

    Returns:
        The parity report. A file that fails it is not left behind.

    Raises:
        ModelError: a bad argument, a model that breaks the contract or cannot be converted, or a
            file that disagrees with Keras.
    """
    path = Path(path)
    convert.check_options(path, "generation", search, length_penalty)
    check_length(max_length)
    if separator is None:
        separator = usual_separator(vocabulary, {start, end, pad, unknown})
    target = Target(vocabulary, separator, start, end, pad)
    source = described_array(source, encoder)
    traced = network.trace(encoder, step, convert.source_spec(source), len(target.tokens))
    examples, distinct = examples_of(source, sources)
    graph = convert.search_graph(traced, source, target, search, length_penalty, strings)
    given = RANDOM if sources is None else GIVEN
    facts = facts_of_search(source, target, search, length_penalty, max_length)
    facts |= described(path, given) | ({} if strings else convert.facts_of_ids(source, target))
    case = Case(traced, source, target, examples, distinct, max_length, length_penalty)
    compare = partial(compare_texts, name=path.stem, given=given, case=case)
    return convert.write_verified(graph, facts, path, compare)


def check_length(max_length: int) -> None:
    """Raises ``ModelError`` for what is no number of tokens."""
    whole = isinstance(max_length, int) and not isinstance(max_length, bool)
    if not (whole and 1 <= max_length <= MAX_STEPS):
        raise ModelError(f"max_length is {max_length!r}: expected 1 to {MAX_STEPS:,} tokens")


def usual_separator(vocabulary: Sequence[str], specials: set[int | None]) -> str:
    """ " " where a token that is no special has several characters, else ""."""
    ordinary = [t for i, t in enumerate(listed("vocabulary", vocabulary)) if i not in specials]
    return " " * any(len(token) > 1 for token in ordinary if isinstance(token, str))


def facts_of_search(
    source: Text | Image | Array,
    target: Target,
    search: str,
    length_penalty: float,
    max_length: int,
) -> dict[str, object]:
    """The facts about a generator that its runtime needs."""
    facts = {
        "kind": "sampler" if search == "nucleus" else source.kind,
        "source_kind": source.kind,
        "search": search,
        "length_penalty": float(length_penalty),
        "max_length": max_length,
        "vocabulary_sizes": {"target": len(target.tokens)},
        "separator": target.separator,
    }
    if isinstance(source, Text):
        facts["vocabulary_sizes"]["source"] = len(source.tokens)
        facts |= {"symbols": list(source.spelled), "unknown": source.unknown}
    return facts


def described_array(source: Text | Image | Array, encoder: Callable) -> Text | Image | Array:
    """The source; of an ``Array`` with shape and dtype.

    Raises:
        ModelError: no source of this package, or an array that nobody describes.
    """
    if not isinstance(source, Text | Image | Array):
        raise ModelError(
            f"source is {source!r}: expected Symbols, Characters, Words, Image or Array of export"
        )
    if not isinstance(source, Array):
        return source
    inputs = getattr(encoder, "inputs", None)
    shape = source.shape if source.shape is not None or not inputs else inputs[0].shape[1:]
    dtype = source.dtype or (inputs[0].dtype if inputs else None)
    if shape is None or dtype is None:
        raise ModelError(
            "the encoder does not say what its source is: expected Array(shape, dtype), for "
            'example Array((None,), "int32")'
        )
    try:
        dtype = np.dtype(dtype).name
    except TypeError as error:
        raise ModelError(f"Array: {error}") from error
    if dtype not in network.KINDS:
        raise ModelError(f"Array of {dtype}: expected one of {', '.join(network.KINDS)}")
    return Array(tuple(shape), dtype)


def examples_of(source: Text | Image | Array, sources: Sequence | None) -> tuple[Sequence, int]:
    """What to verify with, as many as the largest batch, and how many of them are distinct.

    Raises:
        ModelError: examples that the reader refuses.
    """
    count = max(verify.BATCH_SIZES)
    if sources is None:
        return source.random(count, np.random.default_rng(verify.SEED)), count
    examples = source.checked(sources)
    rows = np.arange(count) % len(examples)
    repeated = examples[rows] if isinstance(examples, np.ndarray) else [examples[i] for i in rows]
    return repeated, min(count, len(examples))


def described(path: Path, given: str) -> dict[str, object]:
    """The facts about a model of which nothing is known; it is called as its file."""
    return {"experiment": path.stem, "source": given, "versions": MADE_FROM}


class Case(NamedTuple):
    """What a file is compared with."""

    traced: network.Traced
    source: Text | Image | Array
    target: Target
    examples: Sequence
    distinct: int
    max_length: int
    length_penalty: float


def compare_texts(path: Path, name: str, given: str, case: Case) -> verify.Parity:
    """Compares a file with stepping its encoder and step in Keras.

    Each batch size takes the batch that Keras takes: a model that does not mask its padding may
    answer otherwise in another.
    """
    model, keras_model = load(path), stepping.model_of(case.traced)
    different, largest, looks = 0, 0.0, []
    for search in verify.searches(model).values():
        for size in verify.BATCH_SIZES:
            for rows in batches(size, len(case.examples)):
                expected = stepped(keras_model, case, search, rows)
                if np.isnan(expected.scores).any():
                    raise ModelError(
                        "the step gives logits that are NaN: look for infinite weights, or for a "
                        "division by nothing where all is padding"
                    )
                if any(np.isnan(look).any() for look in expected.attention or ()):
                    raise ModelError(
                        "the step gives attention that is NaN: look for a division by nothing "
                        "where all is padding"
                    )
                found = answered(model, case, search, rows)
                different += int((found.texts != expected.texts).sum())
                difference = verify.largest_difference(found.scores, expected.scores)
                largest = max(largest, difference)
                if found.attention is not None:
                    looks.append(verify.attention_difference(found, expected))
    return verify.Parity(
        experiment=name,
        source=given,
        examples=case.distinct,
        batch_sizes=verify.BATCH_SIZES,
        different_answers=different,
        max_difference=largest,
        metric=None,
        keras=None,
        onnx=None,
        bytes=path.stat().st_size,
        tolerance=verify.SCORE_TOLERANCE,
        attention_difference=max(looks) if looks else None,
    )


def batches(size: int, total: int) -> list[slice]:
    """Two batches of a size, one of all examples."""
    return [slice(start, start + size) for start in range(0, total, size)][: 1 + (size < total)]


def uniforms_of(case: Case) -> np.ndarray:
    shape = (len(case.examples), case.max_length)
    return np.random.default_rng(verify.SEED).random(shape, np.float32)


def stepped(model: stepping.Model, case: Case, search: int | None, rows: slice) -> Found:
    """What Keras answers; ``search`` is the width of the beam, None for a sample."""
    source, target = case.source.encode(case.examples[rows]), case.target
    if search is None:
        uniforms = uniforms_of(case)[rows]
        return stepping.nucleus(model, source, target, case.length_penalty, verify.TOP_P, uniforms)
    limits = case.max_length, case.length_penalty
    if search == 1:
        return stepping.greedy(model, source, target, *limits)
    return stepping.beam(model, source, target, *limits, search)


def answered(model: Generator | Sampler, case: Case, search: int | None, rows: slice) -> Found:
    """What the file answers."""
    sources, size = case.examples[rows], rows.stop - rows.start
    if search is not None:
        return model.search(sources, search, batch_size=size)
    found = model.sample(sources, verify.TOP_P, uniforms=uniforms_of(case)[rows], batch_size=size)
    return Found(found.texts[:, None], found.scores[:, None], None)
