"""The text encoder-decoder: padding, teacher forcing against stepping, tied weights, seeds."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hw2_keras.errors import UsageError
from hw2_keras.models.encoder_decoder import build_encoder_decoder

SOURCE = np.array([[4, 5, 6, 7, 8], [9, 8, 0, 0, 0], [4, 0, 0, 0, 0]], np.int32)
TARGET_IN = np.array([[1, 5, 6, 4], [1, 7, 0, 0], [1, 4, 6, 0]], np.int32)
MASK = SOURCE != 0


def build(attention, **sizes):
    return build_encoder_decoder(11, 9, attention, hidden=8, **sizes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm(cell, x):
    """Outputs and final (h, c) of an LSTM over x (T, D), gates in Keras's order i f c o."""
    kernel, recurrent, bias = (np.float64(w) for w in cell.get_weights())
    h = c = np.zeros(len(recurrent))
    outputs = []
    for row in x:
        i, f, g, o = np.split(row @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs), h, c


def test_the_encoder_treats_padding_as_if_it_were_not_there():
    models = build("bahdanau")
    memory, h, c = (np.array(x) for x in models.encoder(SOURCE))
    embeddings = models.encoder.get_layer("source_embedding").get_weights()[0]
    lstm = models.encoder.get_layer("encoder_lstm")
    for b, row in enumerate(SOURCE):
        x = np.float64(embeddings[row[row > 0]])
        forward, h_forward, c_forward = numpy_lstm(lstm.forward_layer.cell, x)
        backward, h_backward, c_backward = numpy_lstm(lstm.backward_layer.cell, x[::-1])
        expected = np.concatenate([forward, backward[::-1]], 1)
        np.testing.assert_allclose(memory[b, : len(x)], expected, atol=1e-6)
        assert np.all(memory[b, len(x) :] == 0)
        np.testing.assert_allclose(h[b], np.concatenate([h_forward, h_backward]), atol=1e-6)
        np.testing.assert_allclose(c[b], np.concatenate([c_forward, c_backward]), atol=1e-6)


def step_through(models, source, target_in):
    memory, h, c = models.encoder(source)
    logits, attention = [], []
    for token in target_in.T:
        values = {"token": token, "h": h, "c": c, "memory": memory, "mask": source != 0}
        output = models.step([tf.constant(values[x.name]) for x in models.step.inputs])
        h, c = output[1:3]
        logits.append(output[0])
        attention += output[3:]
    return np.stack(logits, 1), attention


@pytest.mark.parametrize("attention", [None, "bilinear", "bahdanau"])
def test_teacher_forcing_and_stepping_give_the_same_logits(attention):
    models = build(attention)
    logits = models.training([SOURCE, TARGET_IN])
    stepped, looks = step_through(models, SOURCE, TARGET_IN)
    assert logits.shape == (3, 4, 9)
    np.testing.assert_allclose(logits, stepped, atol=1e-6)
    assert len(looks) == (0 if attention is None else 4)
    for look in looks:
        np.testing.assert_allclose(np.sum(look, 1), 1, atol=1e-6)
        assert np.all(np.array(look)[~MASK] == 0)


@pytest.mark.parametrize("attention", [None, "bilinear", "bahdanau"])
def test_more_padding_changes_nothing(attention):
    models = build(attention)
    short = models.training([SOURCE[1:2, :2], TARGET_IN[1:2, :2]])
    long = models.training([SOURCE, TARGET_IN])[1:2, :2]
    np.testing.assert_allclose(short, long, atol=1e-6)


@pytest.mark.parametrize("attention", ["bilinear", "bahdanau"])
def test_the_decoder_after_the_lstm_is_the_homework_s(attention):
    """Tied logits of tanh(W [q; c] + b), computed from the layers' own weights."""
    models = build(attention)
    memory, h, c = models.encoder(SOURCE)
    inputs = [tf.constant([1, 1, 1]), h, c, memory, tf.constant(MASK)]
    logits, q, _, look = models.step(inputs)
    context = np.einsum("bs,bsm->bm", look, memory)
    kernel, bias = models.step.get_layer("attention_output").get_weights()
    output = np.tanh(np.concatenate([q, context], 1) @ kernel + bias)
    embeddings = models.step.get_layer("target_embedding").get_weights()[0]
    tied = output @ embeddings.T + models.step.get_layer("logits").get_weights()[0]
    np.testing.assert_allclose(logits, tied, atol=1e-6)


@pytest.mark.parametrize(
    ("attention", "extra"), [(None, 0), ("bilinear", 128**2), ("bahdanau", 2 * 128**2 + 128)]
)
def test_parameters_at_the_homework_s_size(attention, extra):
    models = build_encoder_decoder(107, 93, attention)
    embeddings = 107 * 128 + 93 * 128
    encoder = 2 * 4 * 64 * (128 + 64 + 1)
    decoder = 4 * 128 * (128 + 128 + 1)
    combine = 0 if attention is None else 256 * 128 + 128
    assert models.training.count_params() == embeddings + encoder + decoder + 93 + combine + extra
    shared = {id(v) for m in (models.encoder, models.step) for v in m.trainable_variables}
    assert shared == {id(v) for v in models.training.trainable_variables}


def test_initial_weights_are_those_of_the_document():
    models = build_encoder_decoder(400, 300, "bahdanau")
    for name in ("source_embedding", "target_embedding"):
        weights = models.training.get_layer(name).get_weights()[0]
        assert abs(weights.std() - 1) < 0.02 and abs(weights.mean()) < 0.02
    cells = models.training.get_layer("encoder_lstm")
    forward, backward = (x.get_weights() for x in (cells.forward_layer, cells.backward_layer))
    for one, other in zip(forward, backward, strict=True):
        assert np.abs(one - other).max() > 0.1  # no direction copies the other
    assert 0.12 < np.abs(forward[0]).max() <= 64**-0.5
    recurrent = models.training.get_layer("decoder_lstm").get_weights()[1]
    assert 0.08 < np.abs(recurrent).max() <= 128**-0.5


def test_the_seed_decides_weights_and_dropout():
    def first_loss(seed):
        models = build("bilinear", seed=seed)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        models.training.compile("sgd", loss, jit_compile=False)
        return models.training.train_on_batch((SOURCE, TARGET_IN), TARGET_IN)

    assert first_loss(1) == first_loss(1)
    assert first_loss(1) != first_loss(2)


def test_dropout_acts_only_while_training():
    models = build("bahdanau", dropout=0.5)
    quiet = models.training([SOURCE, TARGET_IN], training=False)
    np.testing.assert_array_equal(quiet, models.training([SOURCE, TARGET_IN], training=False))
    noisy = models.training([SOURCE, TARGET_IN], training=True)
    assert np.abs(quiet - noisy).max() > 0.1
    still = build("bahdanau", dropout=0.0)
    np.testing.assert_allclose(still.training([SOURCE, TARGET_IN], training=True), quiet, atol=1e-6)


def test_a_saved_training_model_computes_the_same(tmp_path):
    models = build("bahdanau")
    models.training.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras")
    inputs = [SOURCE, TARGET_IN]
    np.testing.assert_array_equal(models.training(inputs), opened(inputs))


@pytest.mark.parametrize(
    "arguments", [{"attention": "dot"}, {"attention": None, "hidden": 7}], ids=str
)
def test_bad_sizes_are_refused(arguments):
    with pytest.raises(UsageError, match="expected None, 'bilinear' or 'bahdanau'"):
        build_encoder_decoder(11, 9, **arguments)
