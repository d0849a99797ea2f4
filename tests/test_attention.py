"""The attention layers against the formulas of the homework, written again in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hw2_keras.models.attention import AdditiveAttention, BilinearAttention

B, T, S, Q, M, UNITS = 3, 2, 5, 4, 6, 7
LENGTHS = np.array([5, 3, 1])
MASK = np.arange(S) < LENGTHS[:, None]


def layers():
    return {
        "bahdanau": AdditiveAttention(UNITS, dtype="float64"),
        "relu": AdditiveAttention(UNITS, "relu", use_bias=True, dtype="float64"),
        "bilinear": BilinearAttention(dtype="float64"),
    }


def formula(kind, weights, query, memory, lengths):
    """Context and weights, position by position, over the real symbols only."""
    contexts, attention = np.zeros((B, T, M)), np.zeros((B, T, S))
    for b in range(B):
        for t in range(T):
            scores = []
            for i in range(lengths[b]):
                q, h = query[b, t], memory[b, i]
                if kind == "bilinear":
                    scores.append((weights[0].T @ q) @ h)
                elif kind == "bahdanau":
                    scores.append(weights[2][:, 0] @ np.tanh(weights[0].T @ q + weights[1].T @ h))
                else:
                    inner = weights[0].T @ q + weights[1].T @ h + weights[3]
                    scores.append(weights[2][:, 0] @ np.maximum(inner, 0))
            p = np.exp(scores) / np.exp(scores).sum()
            attention[b, t, : len(p)] = p
            contexts[b, t] = p @ memory[b, : len(p)]
    return contexts, attention


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, T, Q)), rng.normal(size=(B, S, M))


def built(kind, inputs):
    layer = layers()[kind]
    layer(*inputs, mask=MASK)
    rng = np.random.default_rng(1)  # also the bias, which starts at 0
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return layer


@pytest.mark.parametrize("kind", ["bahdanau", "relu", "bilinear"])
def test_values_equal_the_formula_with_padding(kind, inputs):
    layer = built(kind, inputs)
    context, weights = layer(*inputs, mask=MASK)
    expected_context, expected_weights = formula(kind, layer.get_weights(), *inputs, LENGTHS)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-12)
    np.testing.assert_allclose(context, expected_context, atol=1e-12)
    assert np.all(weights.numpy()[~np.repeat(MASK[:, None], T, 1)] == 0)


@pytest.mark.parametrize("kind", ["bahdanau", "relu", "bilinear"])
def test_gradients_equal_differences_of_the_formula(kind, inputs):
    layer = built(kind, inputs)
    rng = np.random.default_rng(2)
    to_context, to_weights = rng.normal(size=(B, T, M)), rng.normal(size=(B, T, S))
    tensors = [tf.constant(x) for x in inputs]
    variables = [v.value for v in layer.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        context, weights = layer(*tensors, mask=MASK)
        loss = tf.reduce_sum(context * to_context) + tf.reduce_sum(weights * to_weights)
    gradients = tape.gradient(loss, [*tensors, *variables])

    arrays = [*inputs, *layer.get_weights()]

    def numpy_loss():
        context, weights = formula(kind, arrays[2:], arrays[0], arrays[1], LENGTHS)
        return (context * to_context).sum() + (weights * to_weights).sum()

    for array, gradient in zip(arrays, gradients, strict=True):
        expected = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + 1e-6
            above = numpy_loss()
            array[index] = kept - 1e-6
            expected[index] = (above - numpy_loss()) / 2e-6
            array[index] = kept
        np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["bahdanau", "relu", "bilinear"])
def test_without_a_mask_every_position_counts(kind, inputs):
    layer = built(kind, inputs)
    _, weights = layer(*inputs)
    full = formula(kind, layer.get_weights(), *inputs, np.full(B, S))[1]
    np.testing.assert_allclose(weights, full, atol=1e-12)


@pytest.mark.parametrize("kind", ["bahdanau", "relu", "bilinear"])
def test_padding_cannot_be_seen(kind, inputs):
    layer = built(kind, inputs)
    query, memory = inputs
    other = np.where(MASK[..., None], memory, 1e3)
    np.testing.assert_allclose(
        layer(query, memory, mask=MASK)[0], layer(query, other, mask=MASK)[0], atol=1e-12
    )


@pytest.mark.parametrize("kind", ["bahdanau", "relu", "bilinear"])
def test_a_saved_layer_computes_the_same(kind, inputs, tmp_path):
    layer = built(kind, inputs)
    query = keras.Input((None, Q), dtype="float64")
    memory = keras.Input((None, M), dtype="float64")
    mask = keras.Input((None,), dtype="bool")
    model = keras.Model([query, memory, mask], layer(query, memory, mask=mask))
    model.save(tmp_path / "attention.keras")
    opened = keras.saving.load_model(tmp_path / "attention.keras")
    for one, other in zip(model([*inputs, MASK]), opened([*inputs, MASK]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_seed_decides_the_weights(inputs):
    first, again, other = (AdditiveAttention(UNITS, seed=seed) for seed in (1, 1, 2))
    for layer in (first, again, other):
        layer(*inputs)
    for one, two, three in zip(*(x.get_weights() for x in (first, again, other)), strict=True):
        np.testing.assert_array_equal(one, two)
        assert np.abs(one - three).max() > 0.01
    assert np.abs(first.get_weights()[0]).max() <= Q**-0.5
    assert not np.allclose(first.get_weights()[0][0], first.get_weights()[1][0])
