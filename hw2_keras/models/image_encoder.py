"""What turns a captioner's images into features.

Real images pass once through a frozen, ImageNet-pretrained ResNet-18 (`resnet_features`);
synthetic scenes have a small CNN that is trained with the captioner (`scene_encoder`).
"""

import hashlib
import json
import math
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from tqdm import tqdm

from hw2_keras.errors import UsageError, printable
from hw2_keras.files import first_line, write_atomically
from hw2_keras.models.encoder_decoder import seeds

SAID_EVERY = 10.0  # seconds between lines of progress where there is no terminal
GRID = 16  # positions per side of the course's feature map
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MOST_WEIGHTS = 2e8  # ResNet-152 has 6e7
BLOCK_WEIGHTS = 1e6  # counted for a block besides its weights: it takes as long to build


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
    from keras_nlp.models import ResNetBackbone  # takes seconds, and only real images need it

    try:
        weights = _most_weights(Path(preset) / "config.json")
        backbone = ResNetBackbone.from_preset(str(preset)) if weights <= MOST_WEIGHTS else None
    except Exception as error:  # damage shows as many unrelated types
        raise UsageError(
            f"image encoder {str(preset)!r} cannot be read "
            f"({type(error).__name__}: {first_line(error)}): expected the name or the complete "
            "folder of a KerasHub preset for ResNetBackbone"
        ) from error
    if backbone is None:
        raise UsageError(
            f"image encoder {str(preset)!r} has up to {weights:.1e} weights: expected at most "
            f"{MOST_WEIGHTS:.1e}; use resnet_18_imagenet"
        )
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


def _most_weights(config: Path) -> float:
    """An upper bound of the weights of the network in a preset's folder; 0 for other names."""
    if not os.path.isfile(config):
        return 0.0
    with config.open("rb") as file:
        fields = json.loads(file.read(100_000))["config"]
    stages = zip(fields["stackwise_num_blocks"], fields["stackwise_num_filters"], strict=True)
    stem = zip(fields["input_conv_filters"], fields["input_conv_kernel_sizes"], strict=True)
    blocks = sum((float(n) * (18 * float(f) ** 2 + BLOCK_WEIGHTS)) for n, f in stages)
    return blocks + sum((float(f) * float(k)) ** 2 for f, k in stem)


def resnet_features(images: np.ndarray, encoder: keras.Model, cache: Path | str) -> np.ndarray:
    """Encode images once: later calls with the same pixels and weights read the file.

    Args:
        images: uint8 (N, H, W, 3).
        encoder: from `resnet_encoder`.
        cache: folder for ``features-<sha256 of pixels and weights>.npy``, which ends with the
            sha256 of the features; made if missing.

    Returns:
        float32 (N, P, C).

    Raises:
        UsageError: the cached file is damaged or was altered.
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
    bar = tqdm(range(0, len(images), 8), desc="image features", unit="batch", disable=None)
    said = -math.inf
    for start in bar:
        if bar.disable and time.monotonic() - said > SAID_EVERY:  # no terminal: lines
            said = time.monotonic()
            print(f"image features: {start} of {len(images)} images", file=sys.stderr, flush=True)
        features[start : start + 8] = encode(images[start : start + 8])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: [np.save(file, features), file.write(_digest(features))])
    return features


def _digest(features: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(features)).digest()


def _read_features(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        if not path.is_file():
            raise ValueError("it is no file")  # a pipe would be waited for
        features = np.load(path, mmap_mode="r")  # its header may promise more than there is
        found, kind = features.shape, features.dtype
        with path.open("rb") as file:
            file.seek(-hashlib.sha256().digest_size, os.SEEK_END)
            written = file.read()
    except Exception as error:  # damage shows as many unrelated types
        raise UsageError(
            f"{path} is damaged ({printable(first_line(error))}): delete it to compute it again"
        ) from error
    for held, expected in ((found, shape), (kind, np.dtype(np.float32))):
        if held != expected:
            raise UsageError(
                f"{path} holds {held}, expected {expected}: delete it to compute it again"
            )
    if _digest(features) != written:
        raise UsageError(f"{path} was altered: delete it to compute it again")
    return np.array(features)
