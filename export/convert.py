"""Keras -> ONNX. The only module that imports tf2onnx.

A classifier's file is ``image`` uint8 (N, H, W, C) -> division by 256 -> the network -> softmax
-> ``probabilities``, and argmax -> ``LabelEncoder`` -> ``label`` string (N,).
"""

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, checker, helper, shape_inference

from export import passes, verify
from export.runtime import ModelError
from hw2_keras.data import licence

if TYPE_CHECKING:
    from hw2_keras.runs import Run

LICENCE = "code MIT; the weights follow the licence of the training data: "


def to_onnx(run: "Run", path: str | os.PathLike) -> "verify.Parity":
    """Converts a finished run into one file and verifies it against Keras.

    Args:
        run: from ``hw2_keras.train``, ``sweep`` or ``open_run``.
        path: the ``.onnx`` file to write; the parity report goes beside it, with the ending
            ``.parity.json``.

    Returns:
        The parity report. A file that fails it is not left behind.

    Raises:
        ModelError: the conversion failed, the file disagrees with Keras, or cannot be written.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ModelError(f"{path}: expected a file name that ends in .onnx")
    if not path.parent.is_dir():
        raise ModelError(f"{path.parent} is not a folder: make it first, or choose another")
    data, network = run.data(), run.model()
    model = classifier_graph(network, data.classes)
    add_metadata(model, describe(run, data, "classifier"))
    partial = path.with_name(f".new-{path.name}")
    try:
        partial.write_bytes(model.SerializeToString())
        parity = verify.verify_classifier(partial, network, data)
        parity.check()
        os.replace(partial, path)
        parity.save(path)
    except OSError as error:
        raise ModelError(f"cannot write {path} ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)
    return parity


def classifier_graph(network: keras.Model, classes: Sequence[str]) -> onnx.ModelProto:
    """The contract's classifier graph around a network from scaled images to logits.

    Args:
        network: float32 (N, H, W, C) in [0, 1) -> logits (N, K).
        classes: the K labels, in the order of the logits.
    """
    height, width, channels = network.input_shape[1:]

    def probabilities(image: tf.Tensor) -> tf.Tensor:
        scaled = tf.cast(image, tf.float32) / 256.0
        return tf.nn.softmax(network(scaled, training=False))

    signature = tf.TensorSpec((None, height, width, channels), tf.uint8, name="image")
    model = convert_function(probabilities, [signature], ["probabilities"])
    passes.clean_names(model.graph, network.name)
    passes.name_weights(model.graph, network.variables)
    graph = model.graph
    graph.name = network.name
    graph.node.extend(
        [
            helper.make_node(
                "ArgMax", ["probabilities"], ["label_id"], name="label_id", axis=1, keepdims=0
            ),
            helper.make_node(
                "LabelEncoder",
                ["label_id"],
                ["label"],
                name="label",
                domain="ai.onnx.ml",
                keys_int64s=range(len(classes)),
                values_strings=list(classes),
            ),
        ]
    )
    del graph.input[:], graph.output[:]
    graph.input.append(
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, channels])
    )
    graph.output.extend(
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)]),
        ]
    )
    return finish(model)


def convert_function(
    function: Callable, signature: Sequence[tf.TensorSpec], outputs: Sequence[str]
) -> onnx.ModelProto:
    """A TensorFlow function as an ONNX model of the contract's operator set.

    tf2onnx logs operators that it cannot convert and writes a broken graph all the same, so
    anything it logs as an error is raised here.

    Args:
        function: takes and returns tensors.
        signature: the named inputs.
        outputs: names for the outputs.

    Raises:
        ModelError: an operator has no ONNX counterpart.
    """
    import tf2onnx  # its import alone takes a second and reads the whole of TensorFlow

    problems: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            problems.append(record.getMessage())

    handler = Collect(level=logging.ERROR)
    logger = logging.getLogger("tf2onnx")
    logger.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        model, _ = tf2onnx.convert.from_function(
            tf.function(function), input_signature=list(signature), opset=18
        )
    finally:
        logger.removeHandler(handler)
    if problems:
        raise ModelError(f"cannot convert: {problems[0].splitlines()[0]}")
    rename_outputs(model.graph, outputs)
    return passes.to_contract_opset(model)


def rename_outputs(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """Gives the outputs of a graph their contract names, in place."""
    new = {value.name: name for value, name in zip(graph.output, names, strict=True)}
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in graph.output:
        value.name = new[value.name]


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    """Checks a finished graph with strict shape inference and signs it."""
    model.producer_name = "hw2_keras"
    model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    checker.check_model(model, full_check=True)
    return model


def add_metadata(model: onnx.ModelProto, facts: dict[str, object]) -> None:
    """Stores each fact as JSON under ``hw2.<name>`` in ``metadata_props``."""
    helper.set_model_props(
        model,
        {f"hw2.{key}": json.dumps(value, ensure_ascii=False) for key, value in facts.items()},
    )


def describe(run: "Run", data, kind: str) -> dict[str, object]:
    """The facts about a run that travel inside its file."""
    record = run.record
    figures = {k: v for k, v in record["metrics"].items() if np.isscalar(v)}
    return {
        "kind": kind,
        "experiment": record["experiment"],
        "edition": record["edition"],
        "title": run.experiment.title,
        "protocol": record["protocol"],
        "source": record["source"],
        "fingerprint": record["fingerprint"],
        "notes": record["notes"],
        "metrics": figures,
        "versions": record["versions"] | {"onnx": onnx.__version__},
        "licence": LICENCE + licence(data),
    } | ({"labels": list(data.classes)} if kind == "classifier" else {})
