"""A TensorFlow function as an ONNX graph. The only module that imports tf2onnx."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import onnx
import tensorflow as tf

from export import passes
from export.layers import HANDLERS, one_node_each
from export.runtime import ModelError


def convert_function(
    function: Callable,
    signature: Sequence[tf.TensorSpec],
    outputs: Sequence[str],
    handlers: Mapping[str, tuple] = HANDLERS,
) -> onnx.ModelProto:
    """A TensorFlow function as an ONNX model of the contract's operator set.

    tf2onnx logs operators that it cannot convert and writes a broken graph all the same, so
    anything it logs as an error is raised here.

    Args:
        function: takes and returns tensors.
        signature: the named inputs.
        outputs: names for the outputs.
        handlers: what converts an operator in tf2onnx's place; without any, recurrent layers
            become tf2onnx's loops.

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
    level = logger.level
    logger.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        with one_node_each() if handlers else nullcontext():
            model, _ = tf2onnx.convert.from_function(
                tf.function(function),
                input_signature=list(signature),
                opset=18,
                custom_op_handlers=dict(handlers),
            )
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    if problems:
        raise ModelError(f"cannot convert: {problems[0].splitlines()[0]}")
    rename_outputs(model.graph, outputs)
    return passes.settle_reshapes(passes.to_contract_opset(model))


def rename_outputs(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """Gives the outputs of a graph their contract names, in place."""
    new = {value.name: name for value, name in zip(graph.output, names, strict=True)}
    for node in graph.node:
        passes.rename(node, new)
    for value in graph.output:
        value.name = new[value.name]
