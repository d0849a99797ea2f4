"""Keras -> ONNX: a finished run as one file.

A classifier's file is ``image`` uint8 (N, H, W, C) -> division by 256 -> the network -> softmax
-> ``probabilities``, and argmax -> ``LabelEncoder`` -> ``label`` string (N,).

An encoder-decoder's file is a reader (``export.text``), a converted encoder, and a search
(``export.search``) around the step of a network (``export.network``).
"""

import json
import logging
import math
import os
import string
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, checker, helper, shape_inference

from export import card, network, passes, text, verify
from export.functions import convert_function
from export.network import check_weights, reason
from export.runtime import ModelError, inspect
from export.search import search_model
from export.sources import Array, Characters, Image, Symbols, Target, Text
from hw2_keras.data import licence
from hw2_keras.data.vocabulary import SPECIALS, Vocabulary
from hw2_keras.files import new_file

if TYPE_CHECKING:
    from hw2_keras.models.encoder_decoder import EncoderDecoder
    from hw2_keras.runs import Run

log = logging.getLogger(__name__)

Source = Text | Image | Array

SEARCHES = ("beam", "nucleus")
LICENCE = "code MIT; the weights follow the licence of the training data: "


def to_onnx(
    run: "Run",
    path: str | os.PathLike,
    search: str = "beam",
    length_penalty: float = 1.0,
    strings: bool = True,
) -> "verify.Parity":
    """Converts a finished run into one file and verifies it against Keras.

    Args:
        run: from ``hw2_keras.train``, ``sweep`` or ``open_run``.
        path: the ``.onnx`` file to write; the parity report goes beside it, with the ending
            ``.parity.json``, and the model card as ``.md``.
        search: for an encoder-decoder, "beam" (greedy search is its case of one beam) or
            "nucleus" (a sampler); a classifier takes the default.
        length_penalty: exponent of the length by which a text's log-probability is divided to
            give its score, fixed in the file.
        strings: False makes a file for runtimes that have no strings: ids in and out, labels and
            vocabulary in the metadata.

    Returns:
        The parity report. A file that fails it is not left behind.

    Raises:
        ModelError: an option that does not apply, the conversion failed, the file disagrees with
            Keras, or cannot be written.
    """
    path = Path(path)
    task = run.experiment.task
    check_options(path, task, search, length_penalty)
    log.info("%s: data and weights, conversion, comparison with Keras", run.experiment.name)
    data = run.data()
    if task == "classification":
        network = run.model()
        log.info("converting the network")
        model = classifier_graph(network, data.classes, strings)
        facts = {"kind": "classifier"} | describe(run, data) | {"labels": list(data.classes)}
        return write_verified(
            model, facts, path, lambda file: verify.verify_classifier(file, network, data)
        )
    return generator_to_onnx(run, data, path, search, length_penalty, strings)


def generator_to_onnx(
    run: "Run", data, path: Path, search: str, length_penalty: float, strings: bool
) -> "verify.Parity":
    """``to_onnx`` for an encoder-decoder, its options checked and its data loaded."""
    models, prepared = run.models(), run.prepared()
    vocabulary = data.target_vocabulary
    source_vocabulary = getattr(data, "source_vocabulary", None)
    log.info("converting encoder and decoder, and building the search around them")
    model = generator_graph(
        models,
        vocabulary,
        source_vocabulary,
        prepared.image_encoder,
        search,
        length_penalty,
        strings,
    )
    facts = generator_facts(
        vocabulary, source_vocabulary, search, length_penalty, run.experiment.max_length
    )
    if not strings:
        source = source_for(models, source_vocabulary, prepared.image_encoder)
        facts |= facts_of_ids(source, Target(vocabulary.tokens, vocabulary.separator))
    return write_verified(
        model,
        facts | describe(run, data),
        path,
        lambda file: verify.verify_generator(file, models, prepared),
    )


def check_options(path: Path, task: str, search: str, length_penalty: float) -> None:
    """Raises ``ModelError`` for arguments of ``to_onnx`` that cannot be meant."""
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: expected a file name that ends in .onnx")
    if not path.parent.is_dir():
        raise ModelError(f"{path.parent} is not a folder: make it first, or choose another")
    card.check_place(path)
    if search not in SEARCHES:
        raise ModelError(f"unknown search {search!r}: expected one of {', '.join(SEARCHES)}")
    if task == "classification" and search != "beam":
        raise ModelError(f"search={search!r}: a classifier has no search, leave it out")
    if not isinstance(length_penalty, Real) or not math.isfinite(length_penalty):
        raise ModelError(f"length_penalty is {length_penalty!r}: expected a number, usually 0 to 1")


def write_verified(
    model: onnx.ModelProto,
    facts: dict[str, object],
    path: Path,
    compare: Callable[[Path], "verify.Parity"],
) -> "verify.Parity":
    """Writes a model with its metadata, its parity report and its card, or nothing if it fails."""
    add_metadata(model, facts)
    content = model.SerializeToString()
    inspect(content, path)  # what could not be loaded is refused before it is compared
    with new_file(path, ModelError) as partial:
        partial.write_bytes(content)
        log.info("comparing the file with Keras")
        parity = compare(partial)
        parity.check()
    parity.save(path)
    card.write(path)
    return parity


def classifier_graph(
    network: keras.Model, classes: Sequence[str], strings: bool = True
) -> onnx.ModelProto:
    """The contract's classifier graph around a network from scaled images to logits.

    Args:
        network: float32 (N, H, W, C) in [0, 1) -> logits (N, K).
        classes: the K labels, in the order of the logits.
    """

    for variable in network.variables:
        check_weights(variable.path, variable.numpy(), "classifier")

    def probabilities(image: tf.Tensor) -> tf.Tensor:
        scaled = tf.cast(image, tf.float32) / 256.0
        return tf.nn.softmax(network(scaled, training=False))

    return image_graph(probabilities, network.input_shape[1:], classes, network, strings)


def image_graph(
    probabilities: Callable,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    network: keras.Model,
    strings: bool = True,
) -> onnx.ModelProto:
    """The contract's classifier graph.

    Args:
        probabilities: of raw pixels uint8 (N, H, W, C) -> (N, K).
        shape: (H, W, C).
        classes: the K labels.
        network: the model inside, for the names.
        strings: whether labels come out; else their numbers, ``label_id`` int64 (N,).
    """
    height, width, channels = shape
    signature = tf.TensorSpec((None, *shape), tf.uint8, name="image")
    model = convert_function(probabilities, [signature], ["probabilities"])
    passes.clean_names(model.graph, network.name)
    passes.name_weights(model.graph, {v.path: v.numpy() for v in network.variables})
    graph = model.graph
    graph.name = network.name
    number = "label_id"
    graph.node.append(
        helper.make_node("ArgMax", ["probabilities"], [number], name=number, axis=1, keepdims=0)
    )
    answer = helper.make_tensor_value_info(number, TensorProto.INT64, ["N"])
    if strings:
        graph.node.append(
            helper.make_node(
                "LabelEncoder",
                [number],
                ["label"],
                name="label",
                domain="ai.onnx.ml",
                keys_int64s=range(len(classes)),
                values_strings=list(classes),
            )
        )
        answer = helper.make_tensor_value_info("label", TensorProto.STRING, ["N"])
    del graph.input[:], graph.output[:]
    graph.input.append(
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, channels])
    )
    probability = helper.make_tensor_value_info(
        "probabilities", TensorProto.FLOAT, ["N", len(classes)]
    )
    graph.output.extend([answer, probability])
    return finish(model)


def generator_graph(
    models: "EncoderDecoder",
    vocabulary: Vocabulary,
    source_vocabulary: Vocabulary | None = None,
    image_encoder: keras.Model | None = None,
    search: str = "beam",
    length_penalty: float = 1.0,
    strings: bool = True,
) -> onnx.ModelProto:
    """The contract's graph of a speller, translator, captioner or sampler.

    Args:
        models: encoder and step model.
        vocabulary: of the output.
        source_vocabulary: of the input; its separator tells a speller (" ") from a translator.
            None for a captioner.
        image_encoder: uint8 images -> what the captioner's encoder takes, where that is not the
            images themselves.
        search, length_penalty, strings: as for ``to_onnx``.
    """
    traced = trace_models(models, vocabulary, source_vocabulary, image_encoder)
    source = source_for(models, source_vocabulary, image_encoder)
    target = Target(vocabulary.tokens, vocabulary.separator)
    return search_graph(traced, source, target, search, length_penalty, strings)


def trace_models(
    models: "EncoderDecoder",
    vocabulary: Vocabulary,
    source_vocabulary: Vocabulary | None = None,
    image_encoder: keras.Model | None = None,
) -> network.Traced:
    """The models of this package, traced; arguments as for ``generator_graph``."""
    source = source_for(models, source_vocabulary, image_encoder)
    encoder, step = encoder_and_step(models, image_encoder)
    return network.trace(encoder, step, source_spec(source), len(vocabulary))


def source_for(
    models: "EncoderDecoder",
    source_vocabulary: Vocabulary | None,
    image_encoder: keras.Model | None,
) -> Source:
    """What the models of this package read; arguments as for ``generator_graph``."""
    if source_vocabulary is None:
        return Image(*(image_encoder or models.encoder).input_shape[1:3])
    kind = Symbols if source_vocabulary.separator else Characters
    return kind(source_vocabulary.tokens)


def encoder_and_step(
    models: "EncoderDecoder", image_encoder: keras.Model | None = None
) -> tuple[Callable, Callable]:
    """The models of this package as ``export.generator`` takes them."""
    names = [tensor.name for tensor in models.step.inputs]
    has_mask = "mask" in names

    def encoder(source: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = source if image_encoder is None else image_encoder(source, training=False)
        memory, h, c = models.encoder(seen, training=False)
        given = {"memory": memory, "h": h, "c": c}
        return given | ({"mask": tf.not_equal(source, 0)} if has_mask else {})

    def step(token: tf.Tensor, **values: tf.Tensor) -> dict[str, tf.Tensor]:
        values["token"] = token
        found = models.step([values[name] for name in names], training=False)
        return dict(zip(("logits", "h", "c", "attention"), found, strict=False))

    return encoder, step


def search_graph(
    traced: network.Traced,
    source: Source,
    target: Target,
    search: str = "beam",
    length_penalty: float = 1.0,
    strings: bool = True,
) -> onnx.ModelProto:
    """A reader, an encoder and a search around its step as one checked model."""
    encoder, steps = network.network_of(traced)
    model = passes.splice(encoder, search_model(steps, target, search, length_penalty, strings))
    if isinstance(source, Text):
        reader = text.reader(source) if strings else text.ids_reader()
        model = passes.splice(reader, model)
    elif isinstance(source, Image):
        model = passes.splice(text.image_reader(source.height, source.width), model)
    model.graph.name = f"{source.kind}_{search}"
    passes.merge_equal_constants(model.graph)
    passes.name_scopes(model.graph)
    passes.name_nodes(model.graph)
    return finish(model)


def source_spec(source: Source) -> tf.TensorSpec:
    """What an encoder takes from a source."""
    if isinstance(source, Text):
        return tf.TensorSpec((None, None), tf.int32, "source")
    if isinstance(source, Image):
        return tf.TensorSpec((None, source.height, source.width, 3), tf.uint8, "source")
    return tf.TensorSpec((None, *source.shape), source.dtype, "source")


CLEANED = set(string.ascii_lowercase) | set(" .!?")  # all that the course's cleaning leaves


def source_kind(source_vocabulary: Vocabulary | None) -> str:
    """What a file is called by what it takes."""
    if source_vocabulary is None:
        return "captioner"
    return "speller" if source_vocabulary.separator == " " else "translator"


def generator_facts(
    vocabulary: Vocabulary,
    source_vocabulary: Vocabulary | None,
    search: str,
    length_penalty: float,
    max_length: int,
) -> dict[str, object]:
    """The facts about an encoder-decoder that its runtime needs."""
    kind = source_kind(source_vocabulary)
    sizes = {"target": len(vocabulary)}
    facts = {
        "kind": "sampler" if search == "nucleus" else kind,
        "source_kind": kind,
        "search": search,
        "length_penalty": float(length_penalty),
        "max_length": max_length,
        "vocabulary_sizes": sizes,
    }
    if source_vocabulary is not None:
        sizes["source"] = len(source_vocabulary)
        facts["symbols"] = list(source_vocabulary.tokens[len(SPECIALS) :])
    if kind == "translator":
        facts["cleaned"] = set(facts["symbols"]) <= CLEANED
    return facts


def facts_of_ids(source: Source, target: Target) -> dict[str, object]:
    """What a runtime needs to turn texts into ids, and ids into texts."""
    facts: dict[str, object] = {
        "vocabulary": ["" if i in target.silent else t for i, t in enumerate(target.tokens)],
        "separator": target.separator,
        "end": int(target.end),
    }
    if isinstance(source, Text):
        facts |= {"symbol_ids": list(source.spelled.values()), "unknown": source.unknown}
    return facts


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    """Checks a finished graph with strict shape inference and signs it."""
    model.producer_name = "hw2_keras"
    try:
        model = shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
        checker.check_model(model, full_check=True)
    except (shape_inference.InferenceError, checker.ValidationError) as error:
        raise ModelError(f"cannot convert: {reason(error)}") from error
    return model


def add_metadata(model: onnx.ModelProto, facts: dict[str, object]) -> None:
    """Stores each fact as JSON under ``hw2.<name>`` in ``metadata_props``.

    Raises:
        ModelError: a number that is not finite: JSON has none.
    """
    helper.set_model_props(model, {f"hw2.{key}": json_of(key, facts[key]) for key in facts})


def json_of(name: str, fact: object) -> str:
    """A fact as JSON; errors: see ``add_metadata``."""
    try:
        return json.dumps(fact, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ModelError(
            f"the {name} of this model hold NaN or infinity: a file holds finite numbers alone, "
            "train it again"
        ) from error


def encoder_licence(name: str | None) -> str:
    """What a captioner's file says of the pretrained weights of its image encoder."""
    return f"; those of the image encoder {name} keep their own" if name else ""


def describe(run: "Run", data) -> dict[str, object]:
    """The facts about a run that travel inside its file."""
    record = run.record
    figures = {k: v for k, v in record["metrics"].items() if np.isscalar(v)}
    return {
        "experiment": record["experiment"],
        "edition": record["edition"],
        "title": run.experiment.title,
        "protocol": record["protocol"],
        "source": record["source"],
        "fingerprint": record["fingerprint"],
        "notes": record["notes"],
        "metrics": figures,
        "versions": record["versions"] | {"onnx": onnx.__version__},
        "licence": LICENCE + licence(data) + encoder_licence(record.get("encoder")),
    }
