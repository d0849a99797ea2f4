"""The captioner of 2021-22 Q3: an image as a grid of features, read by an LSTM decoder.

Where the features come from is said in `image_encoder`.
"""

from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf
from keras import layers, ops

from hw2_keras.errors import UsageError
from hw2_keras.models.attention import AdditiveAttention, linear_uniform
from hw2_keras.models.encoder_decoder import EncoderDecoder, lstm_arguments, seeds
from hw2_keras.models.image_encoder import scene_encoder


@keras.saving.register_keras_serializable("hw2_keras")
class AttentionLSTM(keras.layers.Layer):
    """An LSTM that looks at the memory before every step: its input is [word; context].

    The weights are softmax_i(v · ReLU(W₁ memory_i + W₂ h_previous + b)) (2021-22 Q3).

    Args:
        units: size H of the LSTM's state.
        attention_size: length of v.
        seed: of all initial weights.

    Call: (words (B, T, E), h (B, H), c (B, H), memory (B, P, C)) ->
    (outputs (B, T, H), h, c, attention (B, T, P)).
    """

    def __init__(self, units: int, attention_size: int, seed: int = 42, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.attention_size = attention_size
        self.seed = seed
        seed = seeds(seed)
        arguments = lstm_arguments(units, seed)
        self.cell = layers.LSTMCell(
            units,
            **{key: arguments[key] for key in arguments if key.endswith("initializer")},
            unit_forget_bias=False,
            name="cell",
        )
        self.attention = AdditiveAttention(
            attention_size, activation="relu", use_bias=True, seed=next(seed), name="attention"
        )

    def build(self, words_shape, h_shape, c_shape, memory_shape) -> None:
        self.attention.build((None, 1, self.units), memory_shape)
        self.cell.build((None, words_shape[-1] + memory_shape[-1]))

    def call(self, words, h, c, memory):
        keys = self.attention.keys(memory)

        def advance(word, h, c):
            context, weights = self.attention.attend(ops.expand_dims(h, 1), keys, memory)
            _, (h, c) = self.cell(ops.concatenate([word, context[:, 0]], axis=-1), [h, c])
            return h, c, weights[:, 0]

        if words.shape[1] == 1:  # one step needs no loop around it
            h, c, weights = advance(words[:, 0], h, c)
            return ops.expand_dims(h, 1), h, c, ops.expand_dims(weights, 1)

        def body(t, h, c, outputs, looks):
            h, c, weights = advance(words[:, t], h, c)
            return t + 1, h, c, outputs.write(t, h), looks.write(t, weights)

        length = tf.shape(words)[1]
        outputs, looks = (tf.TensorArray(words.dtype, length) for _ in range(2))
        _, h, c, outputs, looks = tf.while_loop(
            lambda t, *_: t < length, body, (0, h, c, outputs, looks), maximum_iterations=length
        )
        return (
            tf.transpose(outputs.stack(), (1, 0, 2)),
            h,
            c,
            tf.transpose(looks.stack(), (1, 0, 2)),
        )

    def compute_output_shape(self, words_shape, h_shape, c_shape, memory_shape):
        batch, length = words_shape[:2]
        return (
            (batch, length, self.units),
            h_shape,
            c_shape,
            (batch, length, memory_shape[1]),
        )

    def get_config(self) -> dict:
        return super().get_config() | {
            "units": self.units,
            "attention_size": self.attention_size,
            "seed": self.seed,
        }


def build_captioner(
    vocabulary_size: int,
    attention: str | None,
    features: Sequence[int] | keras.Model | None,
    hidden: int = 256,
    word_size: int = 100,
    attention_size: int = 100,
    dropout: float = 0.5,
    seed: int = 42,
) -> EncoderDecoder:
    """Build the captioner of 2021-22 Q3.

    h₀ and c₀ are two linear maps of the mean feature. Without attention the LSTM reads only the
    words; with it, [word; attended feature]. Dropout acts on h before the output layer.

    Args:
        vocabulary_size: V, specials included.
        attention: None or "additive".
        features: shape (P, C) of precomputed features, which are then the source; or a model
            (images -> (B, P, C)) that is trained with the captioner, its input the source; None
            for that of synthetic scenes, see `scene_encoder`.
        hidden, word_size, attention_size: sizes of the LSTM, the embedding, the attention.
        dropout: rate on h.
        seed: of all initial weights and of dropout. Embedding and output weights start uniform in
            ±0.1, the output bias at 0, all else uniform in ±1/sqrt(fan_in).

    Returns:
        The three models; ``step`` takes ``memory`` only with attention, and never a ``mask``.

    Raises:
        UsageError: another attention.
    """
    if attention not in (None, "additive"):
        raise UsageError(f"attention={attention!r}: expected None or 'additive'")
    image_encoder = scene_encoder(seed=seed) if features is None else features
    seed = seeds(seed)
    encoder = _encoder(image_encoder, hidden, seed)
    source, (memory, h, c) = encoder.input, encoder.outputs
    embedding = layers.Embedding(
        vocabulary_size, word_size, embeddings_initializer=_small(seed), name="word_embedding"
    )
    output_dropout = layers.Dropout(dropout, seed=next(seed), name="output_dropout")
    logits = layers.Dense(vocabulary_size, kernel_initializer=_small(seed), name="logits")
    if attention:
        lstm = AttentionLSTM(hidden, attention_size, seed=next(seed), name="decoder_lstm")
    else:
        lstm = layers.LSTM(**lstm_arguments(hidden, seed), name="decoder_lstm")

    def after_lstm(output):  # (..., hidden) -> logits (..., V)
        return logits(output_dropout(output))

    target_in = keras.Input((None,), dtype="int32", name="target_in")
    words = embedding(target_in)
    output = lstm(words, h, c, memory)[0] if attention else lstm(words, initial_state=[h, c])[0]
    training = keras.Model([source, target_in], after_lstm(output), name="training")
    step = _step(embedding, lstm, after_lstm, memory.shape[1:])
    return EncoderDecoder(training, encoder, step)


def _step(
    embedding: keras.layers.Embedding,
    lstm: keras.layers.LSTM | AttentionLSTM,
    after_lstm: Callable,
    memory_shape: tuple[int, int],
) -> keras.Model:
    token = keras.Input((), dtype="int32", name="token")
    h, c = keras.Input((lstm.units,), name="h"), keras.Input((lstm.units,), name="c")
    if not isinstance(lstm, AttentionLSTM):
        output, states = lstm.cell(embedding(token), [h, c])
        return keras.Model([token, h, c], [after_lstm(output), *states], name="step")
    memory = keras.Input(memory_shape, name="memory")
    words = ops.expand_dims(embedding(token), 1)
    output, *states, weights = lstm(words, h, c, memory)
    outputs = [after_lstm(ops.squeeze(output, 1)), *states, ops.squeeze(weights, 1)]
    return keras.Model([token, h, c, memory], outputs, name="step")


def _encoder(
    features: Sequence[int] | keras.Model, hidden: int, seed: Iterator[int]
) -> keras.Model:
    if isinstance(features, keras.Model):
        source = keras.Input(features.input_shape[1:], dtype="uint8", name="source")
        memory = features(source)
    else:
        source = memory = keras.Input(tuple(features), name="source")
    mean = layers.GlobalAveragePooling1D(name="mean_feature")(memory)
    h = _linear(hidden, mean.shape[-1], seed, "h")(mean)
    c = _linear(hidden, mean.shape[-1], seed, "c")(mean)
    return keras.Model(source, [memory, h, c], name="encoder")


def _small(seed: Iterator[int]) -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-0.1, 0.1, seed=next(seed))


def _linear(units: int, fan_in: int, seed: Iterator[int], name: str) -> keras.layers.Dense:
    limit = fan_in**-0.5
    return layers.Dense(
        units,
        kernel_initializer=linear_uniform(next(seed)),
        bias_initializer=keras.initializers.RandomUniform(-limit, limit, seed=next(seed)),
        name=name,
    )
