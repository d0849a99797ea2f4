"""The files of the image sets: names, layouts, readers and the protocol's splits."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hw2_keras.data.readers import read_npz
from hw2_keras.data.sources import missing, tfds_dir
from hw2_keras.errors import UsageError

CLASSES = {
    "fashion": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "intel": ("buildings", "forest", "glacier", "mountain", "sea", "street"),
}


SHAPES = {"fashion": (28, 28, 1), "kmnist": (28, 28, 1), "intel": (48, 48, 3)}


# The course's own files first: they are complete, kmnist_10k.npz is not.
FILES = {
    "fashion": ("Fashion-MNIST.npz", "fashion_mnist.npz"),
    "kmnist": ("Kuzushiji-MNIST.npz", "kmnist_10k.npz"),
    "intel": ("intel_landscapes.v2.npz",),
}


COURSE_KEYS = ("Xtrain", "ytrain", "Xdev", "ydev", "Xtest", "ytest")


OFFICIAL_KEYS = ("x_train", "y_train", "x_test", "y_test")


SPLIT_KEYS = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test")


INTEL_KEYS = (
    "train_images",
    "train_labels",
    "val_images",
    "val_labels",
    "test_images",
    "test_labels",
)


KEYS = {
    "Fashion-MNIST.npz": COURSE_KEYS,
    "Kuzushiji-MNIST.npz": COURSE_KEYS,
    "fashion_mnist.npz": OFFICIAL_KEYS,
    "kmnist_10k.npz": SPLIT_KEYS,
    "intel_landscapes.v2.npz": INTEL_KEYS,
}


TFDS_NAMES = {"fashion": "fashion_mnist", "kmnist": "kmnist"}


KAGGLE_FOLDERS = ("seg_train", "seg_test")


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


OFFICIAL_TRAIN, OFFICIAL_TEST, VALIDATION, SPLIT_SEED = 60_000, 10_000, 10_000, 42


HOW_TO_GET = {
    "fashion": "put the course's Fashion-MNIST.npz or fashion_mnist.npz under HW2_DATA_DIR; "
    "without either, the first use downloads it (30 MB) through TensorFlow Datasets",
    "kmnist": "put the course's Kuzushiji-MNIST.npz or kmnist_10k.npz under HW2_DATA_DIR; "
    "without either, the first use downloads it (20 MB) through TensorFlow Datasets",
    "intel": "put the course's intel_landscapes.v2.npz under HW2_DATA_DIR, or the folders "
    "seg_train and seg_test of kaggle.com/datasets/puneet6060/intel-image-classification",
}


class ImageSplit(NamedTuple):
    """Images uint8 (N, H, W, C), raw pixels, and labels int32 (N,)."""

    image: np.ndarray
    label: np.ndarray


def prepared(name: str) -> Path | None:
    """Return the folder in which TensorFlow Datasets has finished preparing the set, or None."""
    if name not in TFDS_NAMES:
        return None
    done = sorted(tfds_dir().glob(f"{TFDS_NAMES[name]}/*/dataset_info.json"))
    return done[-1].parent if done else None


def check_split(
    where: str,
    image: np.ndarray,
    label: np.ndarray,
    shape: tuple[int, ...],
    classes: int,
) -> ImageSplit:
    """Return the split as uint8 images and int32 labels.

    Raises:
        UsageError: wrong shape, dtype or label range, unequal lengths, or no image at all.
    """
    if image.shape[1:] != shape:
        expected = ", ".join(map(str, shape))
        raise UsageError(f"{where}: images of shape {image.shape}, expected (N, {expected})")
    if image.dtype != np.uint8:
        raise UsageError(f"{where}: images of dtype {image.dtype}, expected uint8 pixels")
    if label.shape != image.shape[:1]:
        raise UsageError(
            f"{where}: labels of shape {label.shape} for {len(image)} images, expected one each"
        )
    if not np.issubdtype(label.dtype, np.integer):
        raise UsageError(f"{where}: labels of dtype {label.dtype}, expected integers")
    if len(image) == 0:
        raise UsageError(f"{where}: the split is empty, expected at least one image")
    if label.min() < 0 or label.max() >= classes:
        raise UsageError(
            f"{where}: labels from {label.min()} to {label.max()}, expected 0 to {classes - 1}"
        )
    return ImageSplit(image, label.astype(np.int32))


def read_file(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read one of the known .npz layouts as (image, label) of train, val and test."""
    keys = KEYS[path.name]
    arrays = list(read_npz(path, keys).values())
    pairs = list(zip(arrays[0::2], arrays[1::2], strict=True))
    if keys == COURSE_KEYS:
        return [(course_pixels(image, path), label) for image, label in pairs]
    if keys == INTEL_KEYS:
        return pairs
    pairs = [(with_channel(image), label) for image, label in pairs]
    return official_split(*pairs, where=str(path)) if keys == OFFICIAL_KEYS else pairs


def course_pixels(image: np.ndarray, path: Path) -> np.ndarray:
    """Turn the course's floats, pixels/256 of shape (N, 1, 28, 28) or (N, 784), into uint8.

    Exact: 256 is a power of two, so the division lost nothing.
    """
    if image.shape[1:] not in ((1, 28, 28), (784,)) or image.dtype.kind != "f":
        raise UsageError(
            f"{path}: images of dtype {image.dtype} and shape {image.shape}, "
            "expected floats of shape (N, 1, 28, 28) or (N, 784)"
        )
    # NaN, infinity and what is beyond the type: the comparison below finds them.
    with np.errstate(invalid="ignore", over="ignore"):
        pixels = image.reshape(-1, 28, 28, 1) * 256
        whole = pixels.astype(np.uint8)
    if not np.array_equal(whole, pixels):
        raise UsageError(f"{path}: values that are not pixels/256, expected k/256 with k in 0..255")
    return whole


def with_channel(image: np.ndarray) -> np.ndarray:
    """(N, 28, 28) -> (N, 28, 28, 1); other shapes pass on to the check of the split."""
    return image[..., np.newaxis] if image.ndim == 3 else image


def official_split(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    where: str,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split the complete official set by the common protocol: 50,000 / 10,000 / 10,000.

    Source: the homework's common protocol, ``RandomState(42).permutation(60000)``.
    """
    for part, (image, label) in (("training", train), ("test", test)):
        check_split(f"{where}, official {part} images", image, label, (28, 28, 1), 10)
    image, label = train
    require_official(len(image), len(test[0]), where)
    order = np.random.RandomState(SPLIT_SEED).permutation(OFFICIAL_TRAIN)
    chosen, rest = order[:VALIDATION], order[VALIDATION:]
    return [(image[rest], label[rest]), (image[chosen], label[chosen]), test]


def kaggle_files(folder: Path, part: str) -> list[Path]:
    """Return the image files of "seg_train" or "seg_test", sorted by class and name.

    Kaggle's archive nests each folder in another of the same name; both layouts are accepted.

    Raises:
        UsageError: a class folder is missing or holds no .jpg or .png.
    """
    root = folder / part / part if (folder / part / part).is_dir() else folder / part
    files: list[Path] = []
    for name in CLASSES["intel"]:
        found = sorted(p for p in root.glob(f"{name}/*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise missing(
                f"{root / name} holds no images, expected .jpg files: {HOW_TO_GET['intel']}"
            )
        files += found
    return files


def require_official(train: int, test: int, where: str) -> None:
    """Refuse anything but the complete set: the protocol permutes exactly 60,000 images."""
    if (train, test) != (OFFICIAL_TRAIN, OFFICIAL_TEST):
        raise UsageError(
            f"{where}: {train:,} training and {test:,} test images, expected the complete 60,000 "
            "and 10,000; copy or download the file again"
        )
