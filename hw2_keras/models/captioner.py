"""The captioner of 2021-22 Q3: an image as a grid of features, read by an LSTM decoder.

The features of real images come from a frozen, ImageNet-pretrained ResNet-18 and are computed
once (`resnet_features`); synthetic scenes have a small CNN that is trained with the captioner
(`scene_encoder`).
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from keras_nlp.models import ResNetBackbone
from tqdm import tqdm

from hw2_keras.errors import UsageError
from hw2_keras.models.attention import AdditiveAttention, linear_uniform
from hw2_keras.models.encoder_decoder import EncoderDecoder, lstm_arguments, seeds

GRID = 16  # positions per side of the course's feature map
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
    attention: bool,
    image_encoder: keras.Model | tuple[int, int],
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
        attention: whether to attend.
        image_encoder: shape (P, C) of precomputed features, which are then the source; or a model
            (images -> (B, P, C)) that is trained with the captioner, its input the source.
        hidden, word_size, attention_size: sizes of the LSTM, the embedding, the attention.
        dropout: rate on h.
        seed: of all initial weights and of dropout. Embedding and output weights start uniform in
            ±0.1, the output bias at 0, all else uniform in ±1/sqrt(fan_in).

    Returns:
        The three models; ``step`` takes ``memory`` only with attention, and never a ``mask``.
    """
    seed = seeds(seed)
    if isinstance(image_encoder, keras.Model):
        source = keras.Input(image_encoder.input_shape[1:], dtype="uint8", name="source")
        memory = image_encoder(source)
    else:
        source = memory = keras.Input(image_encoder, name="source")
    mean = layers.GlobalAveragePooling1D(name="mean_feature")(memory)
    h = _linear(hidden, mean.shape[-1], seed, "h")(mean)
    c = _linear(hidden, mean.shape[-1], seed, "c")(mean)
    encoder = keras.Model(source, [memory, h, c], name="encoder")

    embedding = layers.Embedding(
        vocabulary_size, word_size, embeddings_initializer=_small(seed), name="word_embedding"
    )
    output_dropout = layers.Dropout(dropout, seed=next(seed), name="output_dropout")
    logits = layers.Dense(vocabulary_size, kernel_initializer=_small(seed), name="logits")
    if attention:
        lstm = AttentionLSTM(hidden, attention_size, seed=next(seed), name="decoder_lstm")
    else:
        lstm = layers.LSTM(**lstm_arguments(hidden, seed), name="decoder_lstm")

    target_in = keras.Input((None,), dtype="int32", name="target_in")
    words = embedding(target_in)
    output = lstm(words, h, c, memory)[0] if attention else lstm(words, initial_state=[h, c])[0]
    training = keras.Model([source, target_in], logits(output_dropout(output)), name="training")

    token = keras.Input((), dtype="int32", name="token")
    h, c = keras.Input((hidden,), name="h"), keras.Input((hidden,), name="c")
    if not attention:
        output, (next_h, next_c) = lstm.cell(embedding(token), [h, c])
        outputs = [logits(output_dropout(output)), next_h, next_c]
        return EncoderDecoder(training, encoder, keras.Model([token, h, c], outputs, name="step"))
    memory = keras.Input(memory.shape[1:], name="memory")
    words = ops.expand_dims(embedding(token), 1)
    output, next_h, next_c, weights = lstm(words, h, c, memory)
    outputs = [logits(output_dropout(ops.squeeze(output, 1))), next_h, next_c]
    step = keras.Model([token, h, c, memory], [*outputs, ops.squeeze(weights, 1)], name="step")
    return EncoderDecoder(training, encoder, step)


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


def scene_encoder(image_shape: tuple[int, int, int] = (64, 64, 3), seed: int = 42) -> keras.Model:
    """Build the small CNN for synthetic scenes, uint8 (N, H, W, 3) -> features (N, H·W/16, 64).

    Args:
        image_shape: (H, W, 3), sides divisible by 4; 64x64 gives the course's 16x16 positions.
        seed: of the initial weights.
    """
    seed = seeds(seed)
    image = keras.Input(image_shape, dtype="uint8", name="image")
    x = ops.cast(image, "float32") / 127.5 - 1
    for i, (filters, strides) in enumerate(((32, 2), (64, 2), (64, 1)), 1):
        x = layers.Conv2D(
            filters,
            3,
            strides,
            padding="same",
            activation="relu",
            kernel_initializer=keras.initializers.HeUniform(seed=next(seed)),
            name=f"conv{i}",
        )(x)
    features = layers.Reshape((-1, 64), name="positions")(x)
    return keras.Model(image, features, name="scene_encoder")


def resnet_encoder(preset: str | Path = "resnet_18_imagenet", image_size: int = 500) -> keras.Model:
    """Build the frozen image encoder of 2021-22 Q3: uint8 (N, H, W, 3) -> (N, 256, C).

    Pixels / 255, normalised with ImageNet's mean and standard deviation; a ResNet without its
    classifier; its map, average-pooled to 16x16 positions where it is finer, flattened row by row.

    Args:
        preset: name or folder of a KerasHub preset for ``ResNetBackbone``.
        image_size: side of the square images in pixels.

    Raises:
        UsageError: the preset cannot be read, holds another network, or its map for such images
            is not a multiple of 16x16.
    """
    try:
        backbone = ResNetBackbone.from_preset(str(preset))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UsageError(
            f"image encoder {str(preset)!r} cannot be read "
            f"({type(error).__name__}: {_first_line(error)}): expected the name or the complete "
            "folder of a KerasHub preset for ResNetBackbone"
        ) from error
    backbone.trainable = False
    image = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    x = (ops.cast(image, "float32") / 255 - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    x = backbone(x, training=False)
    side, channels = x.shape[1], x.shape[-1]
    if side % GRID or not side:
        raise UsageError(
            f"image encoder {str(preset)!r} gives {side}x{side} positions for images of "
            f"{image_size}x{image_size} pixels: expected a multiple of {GRID}x{GRID}; use "
            "resnet_18_imagenet and 500x500 pixels"
        )
    x = layers.AveragePooling2D(side // GRID, name="pool")(x)
    features = layers.Reshape((GRID * GRID, channels), name="positions")(x)
    return keras.Model(image, features, name="resnet_encoder")


def resnet_features(images: np.ndarray, encoder: keras.Model, cache: Path | str) -> np.ndarray:
    """Encode images once: later calls with the same pixels and weights read the file.

    Args:
        images: uint8 (N, H, W, 3).
        encoder: from `resnet_encoder`.
        cache: folder for ``features-<sha256 of pixels and weights>.npy``; made if missing.

    Returns:
        float32 (N, P, C).

    Raises:
        UsageError: the cached file is damaged.
    """
    digest = hashlib.sha256(str(images.shape).encode())
    for array in (images, *encoder.get_weights()):
        digest.update(np.ascontiguousarray(array))
    path = Path(cache) / f"features-{digest.hexdigest()[:32]}.npy"
    shape = (len(images), *encoder.output_shape[1:])
    if path.exists():
        return _read_features(path, shape)
    encode = tf.function(lambda batch: encoder(batch, training=False), reduce_retracing=True)
    features = np.empty(shape, np.float32)
    for start in tqdm(range(0, len(images), 8), desc="image features", unit="batch"):
        features[start : start + 8] = encode(images[start : start + 8])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.part{os.getpid()}.npy")
    np.save(partial, features)
    partial.replace(path)
    return features


def _read_features(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        features = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(
            f"{path} is damaged ({_first_line(error)}): delete it to compute it again"
        ) from error
    if features.shape != shape:
        raise UsageError(
            f"{path} holds {features.shape}, expected {shape}: delete it to compute it again"
        )
    return features


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
