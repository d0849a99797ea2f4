"""LSTM, GRU, Bidirectional and LayerNormalization as one ONNX node each, whoever built the model.

tf2onnx makes two loops of 180 nodes of a masked LSTM, and 12 nodes of a normalization. While
``one_node_each`` is active, the layers trace to a placeholder whose inputs are those of the ONNX
node, and ``HANDLERS`` turn it into that node. A mask must be that of padding at the end, which is
what ONNX's ``sequence_lens`` can say.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras.layers import GRU, LSTM, Bidirectional, LayerNormalization

PLACEHOLDER = "PyFunc"  # the one operator of TensorFlow that takes and gives anything
EMPTY = "no sequence_lens"
ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu"}


class Read(NamedTuple):
    """What a node found in N sequences of S steps, in D directions.

    Attributes:
        outputs: D tensors (N, S, H), in the order of the sequence, 0 in the padding.
        states: D lists of the last states (N, H): h, for an LSTM c too.
    """

    outputs: list[tf.Tensor]
    states: list[list[tf.Tensor]]


@contextmanager
def one_node_each() -> Iterator[None]:
    """Lets these layers of Keras trace to placeholders meanwhile."""
    replacements = {
        LSTM: call_one,
        GRU: call_one,
        Bidirectional: call_both,
        LayerNormalization: call_normalization,
    }
    originals = {layer: layer.call for layer in replacements}
    for layer, original in originals.items():
        layer.call = replacements[layer](original)
    try:
        yield
    finally:
        for layer, original in originals.items():
            layer.call = original


def call_one(original: Callable) -> Callable:
    """``LSTM.call`` and ``GRU.call`` with a placeholder, where ONNX has the layer."""

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if training or not is_convertible(self):
            return original(self, sequences, initial_state, mask, training)
        first = None if initial_state is None else [tf.nest.flatten(initial_state)]
        (output,), (states,) = read([self], sequences, first, mask)
        if mask is not None and not self.zero_output_for_mask and not self.go_backwards:
            output = tf.where(mask[..., None], output, states[0][:, None])  # Keras repeats the last
        if self.go_backwards:
            output = tf.reverse(output, [1])
        if not self.return_sequences:
            output = states[0]
        return (output, *states) if self.return_state else output

    return call


def call_both(original: Callable) -> Callable:
    """``Bidirectional.call`` with one placeholder for both directions."""

    def call(self, sequences, initial_state=None, mask=None, training=None):
        layers = [self.forward_layer, self.backward_layer]
        if training or not all(map(is_convertible, layers)) or len(set(map(shape_of, layers))) > 1:
            return original(self, sequences, initial_state, mask, training)
        first = None
        if initial_state is not None:
            half = len(initial_state) // 2
            first = [list(initial_state[:half]), list(initial_state[half:])]
        outputs, states = read(layers, sequences, first, mask)
        if not self.return_sequences:
            outputs = [each[0] for each in states]
        merged = merge(outputs, self.merge_mode)
        if not self.return_state:
            return merged
        return (*(merged if self.merge_mode is None else (merged,)), *states[0], *states[1])

    return call


def call_normalization(original: Callable) -> Callable:
    """``LayerNormalization.call`` with a placeholder, where it is of the last axis alone."""

    def call(self, inputs):
        rank = len(inputs.shape)
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        is_plain = self.scale and self.center and not getattr(self, "rms_scaling", False)
        is_last = axes in ([-1], [rank - 1])
        if not (is_plain and is_last and self.compute_dtype == "float32"):
            return original(self, inputs)
        (found,) = tf.raw_ops.PyFunc(
            input=[inputs, self.gamma.value, self.beta.value],
            token=f"LayerNormalization {self.epsilon}",
            Tout=[tf.float32],
            name=self.name,
        )
        return tf.ensure_shape(found, inputs.shape)

    return call


def merge(outputs: Sequence[tf.Tensor], mode: str | None):
    """The outputs of both directions as ``Bidirectional`` gives them."""
    forward, backward = outputs
    match mode:
        case "concat":
            return tf.concat([forward, backward], -1)
        case "sum":
            return forward + backward
        case "ave":
            return (forward + backward) / 2
        case "mul":
            return forward * backward
    return forward, backward


def is_convertible(layer: keras.layers.Layer) -> bool:
    """Whether ONNX's operator computes what the layer does."""
    return (
        type(layer) in (LSTM, GRU)
        and not layer.stateful
        and layer.compute_dtype == "float32"
        and {name_of(layer.activation), name_of(layer.recurrent_activation)} <= set(ACTIVATIONS)
    )


def name_of(activation: Callable) -> str:
    return getattr(activation, "__name__", "")


def shape_of(layer: LSTM | GRU) -> tuple:
    """What the two directions of one node must have in common."""
    names = name_of(layer.activation), name_of(layer.recurrent_activation)
    return type(layer), layer.units, getattr(layer, "reset_after", None), *names


def read(
    layers: Sequence[LSTM | GRU],
    sequences: tf.Tensor,
    first: list[list[tf.Tensor]] | None,
    mask: tf.Tensor | None,
) -> Read:
    """Sequences (N, S, I) through one placeholder for all layers, one a direction."""
    layer, directions = layers[0], len(layers)
    is_lstm = isinstance(layer, LSTM)
    batch = tf.shape(sequences)[0]
    by_time = tf.transpose(tf.cast(sequences, tf.float32), (1, 0, 2))
    lengths = EMPTY if mask is None else tf.reduce_sum(tf.cast(mask, tf.int32), 1)
    if first is None:
        zeros = tf.zeros((directions, batch, layer.units))
        initial = [zeros] * (1 + is_lstm)
    else:
        initial = [tf.stack(states) for states in zip(*first, strict=True)]
    weights = [tf.constant(np.stack(each)) for each in zip(*map(weights_of, layers), strict=True)]
    direction = "bidirectional" if directions == 2 else ("forward", "reverse")[layer.go_backwards]
    activations = [layer.recurrent_activation] + [layer.activation] * (1 + is_lstm)
    reset_after = int(getattr(layer, "reset_after", False))
    names = [ACTIVATIONS[name_of(each)] for each in activations] * directions
    token = ("LSTM" if is_lstm else "GRU", layer.units, direction, reset_after, *names)
    outputs, *states = tf.raw_ops.PyFunc(
        input=[by_time, *weights, lengths, *initial],
        token=" ".join(map(str, token)),
        Tout=[tf.float32] * (2 + is_lstm),
        name=layer.name,
    )
    outputs = tf.ensure_shape(outputs, (None, directions, None, layer.units))
    # Unlike set_shape, which a saved graph forgets, ensure_shape is an operation.
    states = [tf.ensure_shape(state, (directions, None, layer.units)) for state in states]
    found = [tf.transpose(outputs[:, number], (1, 0, 2)) for number in range(directions)]
    return Read(found, [[state[number] for state in states] for number in range(directions)])


def weights_of(layer: LSTM | GRU) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (G·H, I), R (G·H, H) and B (2·G·H,) of a direction, in the order of ONNX's gates."""
    with tf.init_scope():  # values, although a graph is being traced
        cell = layer.cell
        kernel, recurrent = np.asarray(cell.kernel), np.asarray(cell.recurrent_kernel)
        bias = np.asarray(cell.bias) if cell.use_bias else np.zeros(kernel.shape[1], np.float32)
    if isinstance(layer, GRU):  # z r h, as ONNX; with reset_after a second bias
        both = bias if bias.ndim == 2 else np.stack([bias, 0 * bias])
        return kernel.T.copy(), recurrent.T.copy(), both.reshape(-1)
    kernel, recurrent, bias = map(output_gate_second, (kernel, recurrent, bias))
    return kernel.T.copy(), recurrent.T.copy(), np.append(bias, 0 * bias)


def output_gate_second(values: np.ndarray) -> np.ndarray:
    """The last axis of an LSTM's weights from Keras's order i f c o to ONNX's i o f c."""
    i, f, c, o = np.split(values, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)


def named_node(context, node, name: str, _) -> None:
    """Turns a placeholder in tf2onnx's graph into the node that its token names."""
    operator, *details = node.get_attr_value("token").decode().split(" ")
    inputs = list(node.input)
    if operator == "LayerNormalization":
        attributes = {"axis": -1, "epsilon": float(details[0])}
    else:
        units, direction, reset_after, *activations = details
        attributes = {
            "hidden_size": int(units),
            "direction": direction,
            "activations": activations,
        }
        if operator == "GRU":
            attributes["linear_before_reset"] = int(reset_after)
        if context.get_dtype(inputs[4]) == 8:  # a string stands for "all of the same length"
            inputs[4] = ""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    context.remove_node(name)
    context.make_node(
        operator,
        inputs,
        outputs=list(node.output),
        name=name,
        attr=attributes,
        shapes=shapes,
        dtypes=dtypes,
    )


def where_node(context, node, name: str, _) -> None:
    """``SelectV2`` is ``Where``; tf2onnx multiplies with 0 and 1, which infinities do not bear."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    context.remove_node(name)
    context.make_node(
        "Where",
        list(node.input),
        outputs=list(node.output),
        name=name,
        shapes=shapes,
        dtypes=dtypes,
    )


def erfc_node(context, node, name: str, _) -> None:
    """``Erfc``, of Keras's gelu, is 1 - ``Erf``; tf2onnx does not know it."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    context.remove_node(name)
    found = context.make_node("Erf", list(node.input), dtypes=dtypes, shapes=shapes)
    one = context.make_const(f"{name}/one", np.float32(1))
    context.make_node(
        "Sub",
        [one.output[0], found.output[0]],
        outputs=list(node.output),
        name=name,
        shapes=shapes,
        dtypes=dtypes,
    )


HANDLERS = {
    PLACEHOLDER: (named_node, []),
    "SelectV2": (where_node, []),
    "Erfc": (erfc_node, []),
}
