"""The task of the captions: image features as sources, and their batches (2021-22 Q3)."""

from pathlib import Path

import tensorflow as tf

from hw2_keras.data.captions import CaptionData
from hw2_keras.data.sources import data_dir
from hw2_keras.data.vocabulary import Vocabulary
from hw2_keras.experiments import Experiment
from hw2_keras.models.encoder_decoder import EncoderDecoder
from hw2_keras.models.image_encoder import resnet_encoder, resnet_features
from hw2_keras.training import sequences
from hw2_keras.training.sequences import (
    SEARCHES,
    Prepared,
    callbacks,
    compile_model,
    decode_split,
    divergence,
    evaluate_split,
    index_batches,
    target_arrays,
    trim,
    validation,
)

__all__ = [
    "SEARCHES",
    "batches",
    "callbacks",
    "compile_model",
    "divergence",
    "evaluate_split",
    "measure",
    "prepare",
    "sizes",
    "validation",
    "vocabularies",
]

# The homework asks for the captions of these images of Sydney-Captions.
HOMEWORK_IMAGES = (219, 357, 540)


def prepare(data: CaptionData, cache: Path, encoder: str | Path | None = None) -> Prepared:
    """Encode the images of all splits: real ones pass once through the frozen ResNet.

    Args:
        data: the record of ``load_data``.
        cache: folder for image features.
        encoder: for real images, see `image_encoder_preset`.
    """
    images = [split.image for split in (data.train, data.val, data.test)]
    if data.source == "synthetic":  # their small CNN is part of the network
        return Prepared(data, *images)
    resnet = resnet_encoder(image_encoder_preset(encoder), data.train.image.shape[1])
    features = (resnet_features(image, resnet, cache) for image in images)
    return Prepared(data, *features, image_encoder=resnet)


def image_encoder_preset(encoder: str | Path | None = None) -> str | Path:
    """The KerasHub preset that encodes real images.

    Args:
        encoder: name or folder of a preset; a folder under HW2_DATA_DIR by its name there.
            Default: resnet_18_imagenet, and the folder under HW2_DATA_DIR whose name starts so
            where there is one.
    """
    folder = data_dir()
    if encoder is not None:
        found = folder is not None and (folder / encoder / "config.json").is_file()
        return folder / encoder if found else encoder
    presets = sorted(folder.glob("resnet_18_imagenet*/config.json")) if folder else []
    return presets[0].parent if presets else "resnet_18_imagenet"


def encoder_name(encoder: str | Path | None) -> str:
    """What a run's record calls its image encoder: `image_encoder_preset` finds it by this name."""
    preset, folder = image_encoder_preset(encoder), data_dir()
    inside = folder is not None and Path(preset).parent == folder
    return Path(preset).name if inside else str(preset)


def sizes(prepared: Prepared) -> dict:
    """Builder arguments that depend on the data."""
    # Features are (N, P, C); pixels, whose small CNN is part of the network, (N, H, W, 3).
    features = list(prepared.train.shape[1:]) if prepared.train.ndim == 3 else None
    return {"vocabulary_size": len(prepared.data.target_vocabulary), "features": features}


def batches(
    prepared: Prepared, experiment: Experiment, seed: int, epoch: tf.Variable
) -> tf.data.Dataset:
    """Return the shuffled training batches of one epoch, every caption with its image.

    Args:
        prepared: see `prepare`; ``train`` holds features float32 (N, P, C) or pixels uint8
            (N, H, W, 3), in the order of ``data.train``.
        experiment, seed, epoch: as for the text pairs, see `transduction.batches`.

    Returns:
        ((images (B, ...), target_in (B, T)), target_out (B, T)).
    """
    data = prepared.data
    captions = [data.train.target[i][j] for i, j in data.pairs]
    images, image_of = tf.constant(prepared.train), tf.constant(data.pairs[:, 0], tf.int32)
    target_in, target_out = map(tf.constant, target_arrays(captions, data.target_vocabulary))

    def batch(rows):
        inputs = tf.gather(images, tf.gather(image_of, rows)), trim(tf.gather(target_in, rows))
        return inputs, trim(tf.gather(target_out, rows))

    rows = index_batches(len(captions), experiment.batch_size, seed, epoch)
    return rows.map(batch).prefetch(2)


def vocabularies(data: CaptionData) -> dict[str, Vocabulary]:
    """The vocabulary that a run keeps, by name."""
    return {"target": data.target_vocabulary}


def measure(models: EncoderDecoder, prepared: Prepared, experiment: Experiment) -> dict:
    """Figures on both splits, and the captions of `shown_images` by image number."""
    data, rows = prepared.data, shown_images(prepared.data)
    texts = decode_split(models, prepared.test[rows], data.target_vocabulary, experiment.max_length)
    captions = {str(data.test.image_id[i]): text for i, text in zip(rows, texts, strict=True)}
    return sequences.measure(models, prepared, experiment) | {"captions": captions}


def shown_images(data: CaptionData) -> list[int]:
    """Rows of the test images whose captions are shown: those of the homework, else the first."""
    wanted = [i for i, number in enumerate(data.test.image_id) if number in HOMEWORK_IMAGES]
    return wanted if data.source == "real" else [0, 1, 2]
