"""Recurrent layers, normalizations and selections as one node each, equal to Keras."""

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers

from export import convert

LENGTHS = np.array([6, 3, 1])
MASK = np.arange(6) < LENGTHS[:, None]
INPUT = np.random.default_rng(0).normal(size=(3, 6, 5)).astype(np.float32)
SIGNATURE = [
    tf.TensorSpec((None, None, 5), tf.float32, "x"),
    tf.TensorSpec((None, None), tf.bool, "mask"),
]

RECURRENT = {
    "lstm": lambda: layers.LSTM(4, return_sequences=True, return_state=True),
    "last": lambda: layers.LSTM(4),
    "zeros": lambda: layers.LSTM(4, return_sequences=True, zero_output_for_mask=True),
    "relu": lambda: layers.LSTM(4, activation="relu", return_state=True),
    "backwards": lambda: layers.GRU(4, return_sequences=True, go_backwards=True, return_state=True),
    "reset before": lambda: layers.GRU(4, reset_after=False, return_sequences=True),
    "no bias": lambda: layers.GRU(4, use_bias=False),
    "both": lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=True, return_state=True)),
    "sum": lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="sum"),
    "ave": lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode="ave"),
    "pair": lambda: layers.Bidirectional(layers.LSTM(4), merge_mode=None),
}


def converted(function, signature: list[tf.TensorSpec], count: int):
    """The session and the operators of a function with so many outputs."""
    names = [f"output_{i}" for i in range(count)]
    model = convert.convert_function(function, signature, names)
    kinds = [node.op_type for node in model.graph.node]
    return onnxruntime.InferenceSession(model.SerializeToString()), kinds


def run(session, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    return session.run(None, {each.name: values[each.name] for each in session.get_inputs()})


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", RECURRENT)
def test_one_node(name: str, masked: bool) -> None:
    keras.utils.set_random_seed(0)
    layer = RECURRENT[name]()

    def outputs(x, mask):
        return [tf.identity(each) for each in tf.nest.flatten(layer(x, mask=mask))]

    def unmasked(x, mask):
        return outputs(x, None)

    function = outputs if masked else unmasked
    function(tf.constant(INPUT), tf.constant(MASK))
    rng = np.random.default_rng(1)
    for weight in layer.weights:  # biases start at 0, which would hide a mistake
        weight.assign(rng.normal(size=weight.shape) / 2)
    expected = function(tf.constant(INPUT), tf.constant(MASK))
    session, kinds = converted(function, SIGNATURE, len(expected))
    assert kinds.count("LSTM") + kinds.count("GRU") == 1 and "Loop" not in kinds
    for found, value in zip(run(session, {"x": INPUT, "mask": MASK}), expected, strict=True):
        np.testing.assert_allclose(found, value, atol=1e-6)


def test_initial_states() -> None:
    layer = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    layer(INPUT)

    def outputs(x, mask):
        states = [tf.fill((tf.shape(x)[0], 4), 0.1 * i) for i in range(4)]
        return [tf.identity(layer(x, initial_state=states, mask=mask))]

    (expected,) = outputs(tf.constant(INPUT), tf.constant(MASK))
    session, kinds = converted(outputs, SIGNATURE, 1)
    assert kinds.count("LSTM") == 1
    np.testing.assert_allclose(run(session, {"x": INPUT, "mask": MASK})[0], expected, atol=1e-6)


def test_a_lone_initial_state() -> None:
    layer = layers.GRU(5, return_state=True)
    layer(INPUT)

    def outputs(x, mask):
        return [tf.identity(each) for each in layer(x, initial_state=x[:, 0], mask=mask)]

    expected = outputs(tf.constant(INPUT), tf.constant(MASK))
    session, kinds = converted(outputs, SIGNATURE, 2)
    assert kinds.count("GRU") == 1
    for found, value in zip(run(session, {"x": INPUT, "mask": MASK}), expected, strict=True):
        np.testing.assert_allclose(found, value, atol=1e-6)


def test_an_activation_that_onnx_lacks_keeps_the_loop() -> None:
    layer = layers.LSTM(4, activation="elu")
    expected = layer(INPUT)
    session, kinds = converted(lambda x: [tf.identity(layer(x))], SIGNATURE[:1], 1)
    assert "LSTM" not in kinds and "Loop" in kinds
    np.testing.assert_allclose(run(session, {"x": INPUT})[0], expected, atol=1e-6)


def test_the_layers_are_as_before_afterwards() -> None:
    before = layers.LSTM.call, layers.Bidirectional.call, layers.LayerNormalization.call
    converted(lambda x: [tf.identity(x)], SIGNATURE[:1], 1)
    assert (layers.LSTM.call, layers.Bidirectional.call, layers.LayerNormalization.call) == before


def test_normalization_gelu_and_infinities() -> None:
    layer = layers.LayerNormalization(epsilon=1e-3)
    layer.build((None, None, 5))
    layer.gamma.assign([1.0, 2.0, 3.0, 0.5, -1.0])
    layer.beta.assign([0.0, 1.0, 0.0, 2.0, 0.5])

    def outputs(x, mask):
        hidden = keras.ops.gelu(layer(x), approximate=False)
        return [tf.nn.softmax(tf.where(mask[..., None], hidden, -np.inf), 1)]

    (expected,) = outputs(tf.constant(INPUT), tf.constant(MASK))
    session, kinds = converted(outputs, SIGNATURE, 1)
    assert kinds.count("LayerNormalization") == kinds.count("Where") == 1
    np.testing.assert_allclose(run(session, {"x": INPUT, "mask": MASK})[0], expected, atol=1e-6)
