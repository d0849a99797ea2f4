"""Six encoder-decoders that this package does not have, each an encoder and a step.

They are written as an app writer would write them: functional and subclassed models, plain
functions, layers and operations. Ids: 0 padding, 1 start, 2 end, 3 unknown, then letters.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import export

LETTERS = "abcdefghij"
VOCABULARY = ["<pad>", "<start>", "<end>", "<unk>", *LETTERS]
SIZE = len(VOCABULARY)
UNITS, HEADS, LENGTH = 16, 2, 6


class Network(NamedTuple):
    """An encoder and a step, what they read, and the layers to train."""

    encoder: Callable
    step: Callable
    source: object
    trained: list


def gru_with_luong_attention() -> Network:
    """Functional; Luong attention with input feeding: the last attended vector is a state."""
    source = keras.Input((None,), dtype="int32", name="source")
    mask = ops.not_equal(source, 0)
    embedded = layers.Embedding(SIZE, UNITS)(source)
    memory, h = layers.GRU(UNITS, return_sequences=True, return_state=True)(embedded, mask=mask)
    fed = ops.zeros_like(h)
    encoder = keras.Model(source, {"memory": memory, "h": h, "fed": fed, "mask": mask})

    token = keras.Input((), dtype="int32", name="token")
    h, fed = keras.Input((UNITS,), name="h"), keras.Input((UNITS,), name="fed")
    memory = keras.Input((None, UNITS), name="memory")
    mask = keras.Input((None,), dtype="bool", name="mask")
    read = ops.concatenate([layers.Embedding(SIZE, UNITS)(token), fed], -1)
    new_h, _ = layers.GRUCell(UNITS)(read, [h])
    scores = ops.squeeze(ops.matmul(memory, ops.expand_dims(new_h, -1)), -1)
    look = ops.softmax(ops.where(mask, scores, -np.inf))
    context = ops.squeeze(ops.matmul(ops.expand_dims(look, 1), memory), 1)
    joined = ops.concatenate([new_h, context], -1)
    new_fed = layers.Dense(UNITS, activation="tanh")(joined)
    logits = layers.Dense(SIZE)(new_fed)
    step = keras.Model(
        [token, h, fed, memory, mask],
        {"logits": logits, "h": new_h, "fed": new_fed, "attention": look},
    )
    return Network(encoder, step, export.Symbols(VOCABULARY), [encoder, step])


class TwoLayerStep(keras.Model):
    """Subclassed; both layers are LSTMs that read a sequence of one token."""

    def __init__(self) -> None:
        super().__init__(name="two_layers")
        self.embedding = layers.Embedding(SIZE, UNITS)
        self.first = layers.LSTM(UNITS, return_sequences=True, return_state=True)
        self.second = layers.LSTM(UNITS, return_state=True)
        self.logits = layers.Dense(SIZE)

    def call(self, inputs: dict) -> dict:
        x = self.embedding(ops.expand_dims(inputs["token"], 1))
        x, h1, c1 = self.first(x, initial_state=[inputs["h1"], inputs["c1"]])
        x, h2, c2 = self.second(x, initial_state=[inputs["h2"], inputs["c2"]])
        return {"logits": self.logits(x), "h1": h1, "c1": c1, "h2": h2, "c2": c2}


class TwoLayerEncoder(keras.Model):
    """Subclassed; Keras's own masks, a bidirectional layer below."""

    def __init__(self) -> None:
        super().__init__(name="two_layer_encoder")
        self.embedding = layers.Embedding(SIZE, UNITS, mask_zero=True)
        half = layers.LSTM(UNITS // 2, return_sequences=True, return_state=True)
        self.first = layers.Bidirectional(half)
        self.second = layers.LSTM(UNITS, return_state=True)

    def call(self, source) -> dict:
        embedded = self.embedding(source)
        mask = ops.not_equal(source, 0)
        x, h, c, back_h, back_c = self.first(embedded, mask=mask)
        _, h2, c2 = self.second(x, mask=mask)
        h1, c1 = ops.concatenate([h, back_h], -1), ops.concatenate([c, back_c], -1)
        return {"h1": h1, "c1": c1, "h2": h2, "c2": c2}


def two_layer_lstm() -> Network:
    encoder, step = TwoLayerEncoder(), TwoLayerStep()
    return Network(encoder, step, export.Characters(VOCABULARY), [encoder, step])


def convolutional_encoder() -> Network:
    """Plain functions around a sequential model."""
    embedding = layers.Embedding(SIZE, UNITS)
    read = keras.Sequential(
        [
            # A second convolution would see what the first one makes of padding.
            layers.Conv1D(UNITS, 3, padding="same", activation="relu"),
            layers.Dense(UNITS, activation="relu"),
        ]
    )
    of_token, cell, logits = (
        layers.Embedding(SIZE, UNITS),
        layers.GRUCell(UNITS),
        layers.Dense(SIZE),
    )

    def encoder(source):
        is_symbol = ops.cast(ops.not_equal(source, 0), "float32")[..., None]
        memory = read(embedding(source) * is_symbol) * is_symbol
        return {"h": ops.sum(memory, 1) / ops.sum(is_symbol, 1), "mean": ops.max(memory, 1)}

    def step(token, h, mean):
        h, _ = cell(ops.concatenate([of_token(token), mean], -1), [h])
        return {"logits": logits(h), "h": h}

    return Network(
        encoder, step, export.Words(VOCABULARY), [embedding, read, of_token, cell, logits]
    )


def split_heads(x):
    return ops.transpose(ops.reshape(x, (-1, ops.shape(x)[1], HEADS, UNITS // HEADS)), (0, 2, 1, 3))


def attend(query, keys, values, mask=None):
    """(N, 1, units) with keys and values (N, heads, S, units / heads)."""
    scores = ops.matmul(split_heads(query), ops.transpose(keys, (0, 1, 3, 2)))
    scores = scores / (UNITS // HEADS) ** 0.5
    if mask is not None:
        scores = ops.where(mask, scores, -1e9)
    weights = ops.softmax(scores)
    found = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))
    return ops.reshape(found, (-1, 1, UNITS)), weights


def transformer_with_cache() -> Network:
    """Pre-norm; the decoder's keys and values grow by one position a step."""
    source = keras.Input((None,), dtype="int32", name="source")
    mask = ops.not_equal(source, 0)
    x = layers.Embedding(SIZE, UNITS)(source)
    x = x + layers.Embedding(40, UNITS)(ops.cumsum(ops.ones_like(source), 1) - 1)
    normal = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(HEADS, UNITS // HEADS)(
        normal, normal, attention_mask=mask[:, None, :]
    )
    hidden = layers.Dense(2 * UNITS, activation="gelu")(layers.LayerNormalization()(x))
    memory = layers.LayerNormalization()(x + layers.Dense(UNITS)(hidden))
    body = keras.Model(source, [memory, mask])

    def dense(units=UNITS, **options):
        return layers.Dense(units, **options)

    of_token, of_position = layers.Embedding(SIZE, UNITS), layers.Embedding(40, UNITS)
    query, key, value, out = (dense() for _ in range(4))
    to_memory, memory_key, memory_value, back = (dense() for _ in range(4))
    wide, narrow, logits = dense(2 * UNITS, activation="relu"), dense(), dense(SIZE)
    norms = [layers.LayerNormalization() for _ in range(4)]

    def encoder(source):
        memory, mask = body(source)
        empty = ops.zeros((ops.shape(source)[0], HEADS, 0, UNITS // HEADS))
        position = ops.zeros_like(source[:, 0])
        return {"memory": memory, "mask": mask, "k": empty, "v": empty, "position": position}

    def step(token, memory, mask, k, v, position):
        x = (of_token(token) + of_position(position))[:, None]
        normal = norms[0](x)
        k = ops.concatenate([k, split_heads(key(normal))], 2)
        v = ops.concatenate([v, split_heads(value(normal))], 2)
        x = x + out(attend(query(normal), k, v)[0])
        keys, values = split_heads(memory_key(memory)), split_heads(memory_value(memory))
        found, weights = attend(to_memory(norms[1](x)), keys, values, mask[:, None, None, :])
        x = x + back(found)
        x = x + narrow(wide(norms[2](x)))
        return {
            "logits": logits(norms[3](x))[:, 0],
            "k": k,
            "v": v,
            "position": position + 1,
            "attention": ops.mean(weights, 1)[:, 0],
        }

    parts = [of_token, of_position, query, key, value, out, to_memory, memory_key, memory_value]
    parts += [back, wide, narrow, logits, *norms]
    return Network(encoder, step, export.Symbols(VOCABULARY), [body, *parts])


def decoder_only() -> Network:
    """A character model that goes on with a prompt of ids."""
    embedding, gru, logits = layers.Embedding(SIZE, UNITS), layers.GRU(UNITS), layers.Dense(SIZE)

    def encoder(source):
        return {"h": gru(embedding(source))}

    def step(token, h):
        h, _ = gru.cell(embedding(token), [h])
        return {"logits": logits(h), "h": h}

    return Network(encoder, step, export.Array((None,), "int32"), [embedding, gru, logits])


def image_captioner() -> Network:
    """A Transformer decoder with a cache of fixed length and a position."""
    picture = keras.Input((16, 16, 3), dtype="uint8")
    x = ops.cast(picture, "float32") / 255
    for _ in range(2):
        x = layers.Conv2D(UNITS, 3, strides=2, padding="same", activation="relu")(x)
    grid = keras.Model(picture, layers.Reshape((16, UNITS))(x))

    class Step(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="caption_step")
            self.of_token = layers.Embedding(SIZE, UNITS)
            self.of_position = layers.Embedding(LENGTH, UNITS)
            self.query, self.key, self.value, self.to_image = (
                layers.Dense(UNITS) for _ in range(4)
            )
            self.norm = layers.LayerNormalization()
            self.logits = layers.Dense(SIZE)

        def call(self, token, memory, k, v, position):
            x = self.of_token(token) + self.of_position(position)
            here = ops.one_hot(position, LENGTH)  # (N, LENGTH)
            k = k + here[..., None] * self.key(x)[:, None]
            v = v + here[..., None] * self.value(x)[:, None]
            is_past = ops.arange(LENGTH)[None] <= position[:, None]
            scores = ops.squeeze(ops.matmul(k, self.query(x)[..., None]), -1)
            weights = ops.softmax(ops.where(is_past, scores, -1e9))
            x = self.norm(x + ops.squeeze(ops.matmul(weights[:, None], v), 1))
            look = ops.softmax(ops.squeeze(ops.matmul(memory, self.to_image(x)[..., None]), -1))
            x = x + ops.squeeze(ops.matmul(look[:, None], memory), 1)
            return {
                "logits": self.logits(x),
                "k": k,
                "v": v,
                "position": position + 1,
                "attention": look,
            }

    def encoder(source):
        memory = grid(source)
        empty = ops.zeros((ops.shape(memory)[0], LENGTH, UNITS))
        position = ops.zeros((ops.shape(memory)[0],), "int32")
        return {"memory": memory, "k": empty, "v": empty, "position": position}

    step = Step()
    return Network(encoder, step, export.Image(16, 16), [grid, step])


def called(step: Callable, values: dict) -> dict:
    """A step with named values, as the contract says it is called."""
    if isinstance(step, keras.Model):
        if getattr(step, "inputs", None):
            return step([values[tensor.name] for tensor in step.inputs])
        return step(values) if isinstance(step, TwoLayerStep) else step(**values)
    return step(**values)


def compiled(step: Callable) -> Callable:
    """A step of one argument, its named values, as one operation instead of hundreds."""
    return tf.function(lambda values: called(step, values), reduce_retracing=True)


def train(network: Network, source: np.ndarray, target: np.ndarray, steps: int = 25) -> None:
    """Teacher forcing for a moment; ``target`` int32 (N, T) ends with 2."""
    optimizer = keras.optimizers.Adam(0.01)
    source, target, step = tf.constant(source), tf.constant(target), compiled(network.step)
    for _ in range(steps):  # eager: compiling all steps of a target takes longer than they do
        with tf.GradientTape() as tape:
            total = loss(network, step, source, target)
        variables = [v for part in network.trained for v in part.trainable_variables]
        gradients = tape.gradient(total, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))


def loss(network: Network, step: Callable, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Negative log-likelihood of the targets."""
    values, total = dict(network.encoder(source)), 0.0
    token = tf.ones_like(target[:, 0])
    for t in range(target.shape[1]):
        found = dict(step(values | {"token": token}))
        gained = tf.nn.log_softmax(found.pop("logits"))
        found.pop("attention", None)
        values |= found
        wanted = target[:, t]
        right = tf.gather(gained, wanted, batch_dims=1)
        total -= tf.reduce_mean(tf.where(wanted > 0, right, 0.0))
        token = wanted
    return total


ALL = {
    build.__name__: build
    for build in (
        gru_with_luong_attention,
        two_layer_lstm,
        convolutional_encoder,
        transformer_with_cache,
        decoder_only,
        image_captioner,
    )
}
