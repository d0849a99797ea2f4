"""Image sets through TensorFlow Datasets: Fashion and Kuzushiji-MNIST, and Kaggle's Intel folders.

Apart from `images` because importing TensorFlow Datasets takes seconds.
"""

import hashlib
import urllib.request
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from hw2_keras.data.image_files import (
    CLASSES,
    HOW_TO_GET,
    KAGGLE_FOLDERS,
    SHAPES,
    TFDS_NAMES,
    kaggle_files,
    official_split,
    prepared,
)
from hw2_keras.data.sources import tfds_dir
from hw2_keras.errors import UsageError

Split = tuple[np.ndarray, np.ndarray]
FAILURES = (
    OSError,
    tf.errors.OpError,
    tfds.download.DownloadError,
    tfds.download.download_manager.NonMatchingChecksumError,
)


class IntelLandscapes(tfds.core.GeneratorBasedBuilder):
    """Intel landscapes at 48x48, from a ``manual_dir`` with Kaggle's seg_train and seg_test.

    Splits "train" (seg_train) and "test" (seg_test), in the order of class and file name.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = HOW_TO_GET["intel"]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Intel landscapes, six classes, resized to 48x48.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=SHAPES["intel"], encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(CLASSES["intel"])),
                }
            ),
            supervised_keys=("image", "label"),
            # The validation draw is a permutation of this order, so the order must be known.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        folder = Path(dl_manager.manual_dir)
        return {
            split: self._generate_examples(kaggle_files(folder, part))
            for split, part in zip(("train", "test"), KAGGLE_FOLDERS, strict=True)
        }

    def _generate_examples(self, files: list[Path]):
        height, width, _ = SHAPES["intel"]
        for index, file in enumerate(files):
            with Image.open(file) as image:
                small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
            yield index, {"image": np.asarray(small), "label": file.parent.name}


def read_mnist(name: str) -> list[Split]:
    """Load "fashion" or "kmnist", downloading it on first use, and split it by the protocol.

    Raises:
        UsageError: the download failed.
    """
    builder = tfds.builder(TFDS_NAMES[name], data_dir=tfds_dir())
    try:
        if prepared(name) is None:
            # TensorFlow Datasets repeats a failing request for minutes; one question tells.
            urllib.request.urlopen(builder.URL, timeout=20).close()
        builder.download_and_prepare()
        train, test = (_arrays(builder, split) for split in ("train", "test"))
    except FAILURES as error:
        raise UsageError(
            f"TensorFlow Datasets could not provide {TFDS_NAMES[name]} "
            f"({' '.join(str(error).split())[:200]}): {HOW_TO_GET[name]}"
        ) from error
    return official_split(
        official_order("train", *train),
        official_order("test", *test),
        where=TFDS_NAMES[name],
    )


def read_kaggle(folder: Path) -> list[Split]:
    """Prepare (once) and load Kaggle's folders; a tenth of seg_train becomes validation.

    Raises:
        UsageError: a file is no image, a class folder is missing or empty, or the prepared copy
            was made from another number of images.
    """
    builder = IntelLandscapes(data_dir=tfds_dir())
    config = tfds.download.DownloadConfig(manual_dir=folder)
    try:
        builder.download_and_prepare(download_config=config)
        (image, label), test = (_arrays(builder, split) for split in ("train", "test"))
    except FAILURES as error:
        raise UsageError(
            f"{folder}: seg_train and seg_test could not be read "
            f"({' '.join(str(error).split())[:200]}): {HOW_TO_GET['intel']}"
        ) from error
    found = tuple(len(kaggle_files(folder, part)) for part in KAGGLE_FOLDERS)
    if found != (len(label), len(test[1])):
        raise UsageError(
            f"{builder.data_dir} was prepared from {len(label)} and {len(test[1])} images, but "
            f"{folder} now holds {found[0]} and {found[1]}: delete the former and try again"
        )
    order = np.random.RandomState(42).permutation(len(label))
    chosen, rest = order[: len(order) // 10], order[len(order) // 10 :]
    return [(image[rest], label[rest]), (image[chosen], label[chosen]), test]


def official_order(split: str, image: np.ndarray, label: np.ndarray) -> Split:
    """Undo the shuffling with which TensorFlow Datasets wrote a split whose keys are 0..N-1.

    It writes examples in the order of md5(split name + key); the protocol's permutation is one of
    the official order.
    """
    keys = [hashlib.md5(f"{split}{key}".encode()).digest() for key in range(len(label))]
    written = sorted(range(len(label)), key=keys.__getitem__)
    place = np.argsort(written)
    return image[place], label[place]


def _arrays(builder: tfds.core.DatasetBuilder, split: str) -> Split:
    data = builder.as_dataset(split=split, batch_size=-1, as_supervised=True)
    image, label = tfds.as_numpy(data)
    return image, label
