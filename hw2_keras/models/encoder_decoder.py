"""The text encoder-decoder of 2022-23 Q3 and 2024-25 Q3: one definition, three models.

Encoder: embedding -> bidirectional LSTM; its final states, concatenated, start the decoder.
Decoder: embedding -> LSTM -> (attention over the encoder's outputs) -> logits through the
transposed embedding and a bias. Dropout on the embeddings and on the final outputs only.

Initial weights are those of the course's framework (PyTorch): normal embeddings, everything else
uniform in ±1/sqrt(fan_in), for LSTMs ±1/sqrt(units), no extra forget bias.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

from hw2_keras.errors import UsageError
from hw2_keras.models.attention import AdditiveAttention, BilinearAttention, linear_uniform

PAD = 0


class EncoderDecoder(NamedTuple):
    """Three functional models that share their layers, B examples, S and T symbols.

    Attributes:
        training: teacher forcing, inputs ``source`` (B, S) and ``target_in`` (B, T) int32 ->
            logits (B, T, V). (The captioner's source is float features or uint8 images.)
        encoder: ``source`` -> (memory (B, S, M), h (B, H), c (B, H)).
        step: one step of the decoder, inputs by name ``token`` (B,) int32, ``h``, ``c`` and, with
            attention, ``memory`` and (text models) ``mask`` (B, S) bool ->
            (logits (B, V), h, c) and, with attention, the weights (B, S).
    """

    training: keras.Model
    encoder: keras.Model
    step: keras.Model


@keras.saving.register_keras_serializable("hw2_keras")
class Bias(keras.layers.Layer):
    """Add a trainable vector (n,) to the last axis: the bias that tied output weights lack.

    Args:
        initializer: of the vector.
    """

    def __init__(self, initializer="zeros", **kwargs) -> None:
        super().__init__(**kwargs)
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape) -> None:
        self.bias = self.add_weight(
            name="bias", shape=(input_shape[-1],), initializer=self.initializer
        )

    def call(self, inputs):
        return inputs + self.bias

    def get_config(self) -> dict:
        return super().get_config() | {
            "initializer": keras.initializers.serialize(self.initializer)
        }


def seeds(seed: int) -> Iterator[int]:
    """Return independent seeds for initialisers and dropout, derived from one."""
    return iter(np.random.SeedSequence(seed).generate_state(64).tolist())


def lstm_arguments(units: int, seed: Iterator[int]) -> dict:
    """Return the arguments of every LSTM here: sequences and states out, PyTorch's start.

    cuDNN is refused because its kernel has no ONNX form.
    """

    def uniform(limit: float) -> keras.initializers.Initializer:
        return keras.initializers.RandomUniform(-limit, limit, seed=next(seed))

    limit = units**-0.5
    return {
        "units": units,
        "return_sequences": True,
        "return_state": True,
        "kernel_initializer": uniform(limit),
        "recurrent_initializer": uniform(limit),
        # PyTorch adds two uniform biases; this one vector has the variance of their sum.
        "bias_initializer": uniform(2**0.5 * limit),
        "unit_forget_bias": False,
        "use_cudnn": False,
    }


def build_encoder_decoder(
    source_size: int,
    target_size: int,
    attention: str | None,
    hidden: int = 128,
    dropout: float = 0.3,
    embedding_std: float = 1.0,
    seed: int = 42,
) -> EncoderDecoder:
    """Build the encoder-decoder of 2022-23 Q3 (``"bilinear"``) and 2024-25 Q3 (``"bahdanau"``).

    Padding (id 0) is treated as if it were not there: the backward LSTM starts at the last real
    symbol, the final states are those of the last real symbol, attention gives padding weight 0.

    Args:
        source_size, target_size: vocabulary sizes, specials included.
        attention: None, "bilinear" or "bahdanau".
        hidden: size of embeddings and decoder state; the encoder has half per direction.
        dropout: rate on embeddings and final outputs, in encoder and decoder.
        embedding_std: of the normal distribution that both embeddings start from. It matters
            because the target's is also the output layer: 1 learns slowly but generalises well
            over many epochs (translation: 50), and is too large for few epochs and many rare
            symbols (p2g: 20), where 0.1 is better.
        seed: of all initial weights and of dropout.

    Raises:
        UsageError: another attention, or an odd ``hidden``.
    """
    if attention not in (None, "bilinear", "bahdanau") or hidden % 2:
        raise UsageError(
            f"attention={attention!r}, hidden={hidden}: expected None, 'bilinear' or 'bahdanau' "
            "and an even size"
        )
    seed = seeds(seed)
    encoder = _encoder(source_size, hidden, dropout, embedding_std, seed)
    before_lstm, lstm, after_lstm = _decoder(
        target_size, attention, hidden, dropout, embedding_std, seed
    )
    source, (memory, h, c) = encoder.input, encoder.outputs
    target_in = keras.Input((None,), dtype="int32", name="target_in")
    output, _, _ = lstm(before_lstm(target_in), initial_state=[h, c])
    logits, _ = after_lstm(output, memory, ops.not_equal(source, PAD))
    training = keras.Model([source, target_in], logits, name="training")

    token = keras.Input((), dtype="int32", name="token")
    h, c = keras.Input((hidden,), name="h"), keras.Input((hidden,), name="c")
    memory = keras.Input((None, hidden), name="memory")
    mask = keras.Input((None,), dtype="bool", name="mask")
    # One step needs the cell alone, not the loop around it.
    output, (next_h, next_c) = lstm.cell(before_lstm(token), [h, c])
    logits, weights = after_lstm(ops.expand_dims(output, 1), memory, mask)
    inputs, outputs = [token, h, c], [ops.squeeze(logits, 1), next_h, next_c]
    if attention:
        inputs, outputs = [*inputs, memory, mask], [*outputs, ops.squeeze(weights, 1)]
    return EncoderDecoder(training, encoder, keras.Model(inputs, outputs, name="step"))


def _encoder(
    size: int, hidden: int, dropout: float, embedding_std: float, seed: Iterator[int]
) -> keras.Model:
    source = keras.Input((None,), dtype="int32", name="source")
    normal = _normal(embedding_std, seed)
    embedding = layers.Embedding(
        size, hidden, embeddings_initializer=normal, name="source_embedding"
    )
    memory, h, c = _encode(embedding(source), source, hidden, dropout, seed)
    return keras.Model(source, [memory, h, c], name="encoder")


def _decoder(
    size: int,
    attention: str | None,
    hidden: int,
    dropout: float,
    embedding_std: float,
    seed: Iterator[int],
) -> tuple[Callable, keras.layers.LSTM, Callable]:
    """Return the decoder's layers in three parts: before the LSTM, the LSTM, after it."""
    normal = _normal(embedding_std, seed)
    embedding = layers.ReversibleEmbedding(
        size, hidden, embeddings_initializer=normal, name="target_embedding"
    )
    embedding_dropout = layers.Dropout(dropout, seed=next(seed), name="target_dropout")
    lstm = layers.LSTM(**lstm_arguments(hidden, seed), name="decoder_lstm")
    look = _attention_output(attention, hidden, seed)
    output_dropout = layers.Dropout(dropout, seed=next(seed), name="output_dropout")
    uniform = keras.initializers.RandomUniform(-(hidden**-0.5), hidden**-0.5, seed=next(seed))
    bias = Bias(uniform, name="logits")

    def before_lstm(token):  # (B, T) -> (B, T, hidden)
        return embedding_dropout(embedding(token))

    def after_lstm(output, memory, mask):  # (B, T, hidden) -> logits (B, T, V), (B, T, S)
        output, weights = look(output, memory, mask)
        return bias(embedding(output_dropout(output), reverse=True)), weights

    return before_lstm, lstm, after_lstm


def _normal(std: float, seed: Iterator[int]) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=std, seed=next(seed))


def _encode(embedded, source, hidden: int, dropout: float, seed: Iterator[int]):
    x = layers.Dropout(dropout, seed=next(seed), name="source_dropout")(embedded)
    lstm = layers.Bidirectional(
        layers.LSTM(**lstm_arguments(hidden // 2, seed), name="lstm"),
        backward_layer=layers.LSTM(
            **lstm_arguments(hidden // 2, seed), go_backwards=True, name="backward_lstm"
        ),
        merge_mode=None,
        name="encoder_lstm",
    )
    forward, backward, *states = lstm(x, mask=ops.not_equal(source, PAD))  # both 0 at padding
    # An operation, unlike a layer, drops Keras's implicit mask; ours is an input of the attention.
    memory = ops.concatenate([forward, backward], axis=-1)
    h = layers.Concatenate(name="h")([states[0], states[2]])
    c = layers.Concatenate(name="c")([states[1], states[3]])
    memory = layers.Dropout(dropout, seed=next(seed), name="memory_dropout")(memory)
    return memory, h, c


def _attention_output(attention: str | None, hidden: int, seed: Iterator[int]):
    """Return (output, memory, mask) -> (output, weights or None), the part after the LSTM."""
    if attention is None:
        return lambda output, memory, mask: (output, None)
    if attention == "bilinear":
        attend = BilinearAttention(seed=next(seed), name="attention")
    else:
        attend = AdditiveAttention(hidden, seed=next(seed), name="attention")
    limit = (2 * hidden) ** -0.5
    combine = layers.Dense(
        hidden,
        activation="tanh",
        kernel_initializer=linear_uniform(next(seed)),
        bias_initializer=keras.initializers.RandomUniform(-limit, limit, seed=next(seed)),
        name="attention_output",
    )

    def look(output, memory, mask):
        context, weights = attend(output, memory, mask=mask)
        return combine(ops.concatenate([output, context], axis=-1)), weights

    return look
