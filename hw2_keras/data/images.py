"""Fashion-MNIST, Kuzushiji-MNIST and Intel landscapes: images with one label each.

The splits are those of the common protocol in the course's homework: of the 60,000 official
training images, permuted with ``numpy.random.RandomState(42)``, the first 10,000 are validation
and the other 50,000 training, in the order of the permutation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType

import numpy as np

from hw2_keras.data.image_files import (
    CLASSES,
    FILES,
    HOW_TO_GET,
    KAGGLE_FOLDERS,
    KEYS,
    OFFICIAL_KEYS,
    OFFICIAL_TEST,
    OFFICIAL_TRAIN,
    SHAPES,
    TFDS_NAMES,
    VALIDATION,
    ImageSplit,
    check_split,
    kaggle_files,
    prepared,
    read_file,
    require_official,
)
from hw2_keras.data.readers import read_npz
from hw2_keras.data.sources import data_dir, fingerprint, not_found
from hw2_keras.data.synthetic import glyphs, landscapes

SUBSET_NOTE = (
    "subset: the 10,000 official test images only, split 8,000/1,000/1,000; "
    "accuracies are those of 8,000 training images"
)


KAGGLE_NOTE = "validation is a tenth of seg_train by RandomState(42): not the course's draw"


@dataclass(frozen=True)
class ImageData:
    """An image data set; ``notes`` say where it departs from the homework's protocol."""

    name: str
    source: str
    origin: str
    fingerprint: str
    train: ImageSplit
    val: ImageSplit
    test: ImageSplit
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def find(name: str) -> Path | None:
    """Return the file or folder that the real data would be read from, or None.

    Order: the .npz files under HW2_DATA_DIR, Kaggle's folders there (Intel), then what
    TensorFlow Datasets has already prepared.
    """
    folder = data_dir()
    if folder is not None:
        for file in FILES[name]:
            if (folder / file).is_file():
                return folder / file
        if name == "intel" and any((folder / part).is_dir() for part in KAGGLE_FOLDERS):
            return folder
    return prepared(name)


def count(name: str, path: Path) -> tuple[int, int, int]:
    """Return the sizes of train, val and test at ``path`` (from `find`), reading labels only."""
    if path.is_file():
        sizes = [label.size for label in read_npz(path, KEYS[path.name][1::2]).values()]
        if KEYS[path.name] != OFFICIAL_KEYS:
            return sizes[0], sizes[1], sizes[2]
        require_official(sizes[0], sizes[1], str(path))
    if path.is_file() or name in TFDS_NAMES:
        return OFFICIAL_TRAIN - VALIDATION, VALIDATION, OFFICIAL_TEST
    train, test = (len(kaggle_files(path, part)) for part in KAGGLE_FOLDERS)
    return train - train // 10, train // 10, test


def load_real(name: str, seed: int = 42) -> ImageData:
    """Load the real images; the splits are the protocol's, whatever the seed.

    Raises:
        UsageError: nothing found and no download possible, or the file is damaged or has arrays
            of wrong shape, dtype or label range, or an empty split.
    """
    path = find(name)
    notes: tuple[str, ...] = ()
    if path is not None and path.is_file():
        splits, origin = read_file(path), f"{path.name} in HW2_DATA_DIR"
        if path.name == "kmnist_10k.npz":
            notes, origin = (SUBSET_NOTE,), f"{origin} (a subset of 10,000 images)"
    elif name in TFDS_NAMES:
        from hw2_keras.data.images_tfds import read_mnist

        splits, origin = read_mnist(name), f"TensorFlow Datasets, {TFDS_NAMES[name]}"
    elif path is None:
        raise not_found(name, HOW_TO_GET[name])
    else:
        from hw2_keras.data.images_tfds import read_kaggle

        splits, origin = (
            read_kaggle(path),
            "Kaggle's seg_train and seg_test in HW2_DATA_DIR",
        )
        notes = (KAGGLE_NOTE,)
    return record(name, "real", origin, splits, CLASSES[name], notes)


def load_synthetic(name: str, seed: int = 42) -> ImageData:
    """Generate the synthetic stand-in: glyphs at 28x28, painted landscapes for "intel".

    What was painted once in a process is copied when it is asked for again.
    """
    maker = landscapes if name == "intel" else glyphs
    painted, classes = made(maker, name, seed)
    splits = [(image.copy(), label.copy()) for image, label in painted]
    origin = f"hw2_keras.data.{maker.__name__.rpartition('.')[2]}, seed {seed}"
    return record(name, "synthetic", origin, splits, classes)


@lru_cache(maxsize=8)
def made(maker: ModuleType, name: str, seed: int) -> tuple[list, tuple[str, ...]]:
    """The splits of a synthetic set and its classes; landscapes take seconds to paint."""
    return maker.generate(name, seed)


def record(
    name: str,
    source: str,
    origin: str,
    splits: Iterable[tuple[np.ndarray, np.ndarray]],
    classes: tuple[str, ...],
    notes: tuple[str, ...] = (),
) -> ImageData:
    """Check three (image, label) splits and make them the record."""
    checked = [
        check_split(
            f"{name}, {split} split of {origin}",
            image,
            label,
            SHAPES[name],
            len(classes),
        )
        for split, (image, label) in zip(("train", "val", "test"), splits, strict=True)
    ]
    return ImageData(
        name,
        source,
        origin,
        fingerprint(*(array for split in checked for array in split)),
        *checked,
        classes=classes,
        notes=notes,
    )


LOADERS = {
    name: {"real": partial(load_real, name), "synthetic": partial(load_synthetic, name)}
    for name in CLASSES
}
