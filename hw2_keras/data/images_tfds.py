"""Image sets through TensorFlow Datasets: Fashion and Kuzushiji-MNIST, and Kaggle's Intel folders.

Apart from `images` because importing TensorFlow Datasets takes seconds.
"""

import hashlib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from hw2_keras import lock
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
from hw2_keras.data.readers import read_image, reason
from hw2_keras.data.sources import missing, tfds_dir
from hw2_keras.errors import UsageError

Split = tuple[np.ndarray, np.ndarray]
NOTE = "files.sha256"  # beside the copy of Kaggle's images: which ones it was prepared from
LONGEST_WAIT = 3600.0  # seconds for another process that prepares the same data set


@contextmanager
def preparing(what: str, how_to_get: str) -> Iterator[None]:
    """Turn whatever TensorFlow Datasets raises into one line.

    It does not say what that may be: besides its own exceptions and TensorFlow's, a damaged
    dataset_info.json alone gives six kinds.

    Raises:
        UsageError: the body raised.
    """
    try:
        yield
    except UsageError as error:  # from one of our readers: it says what to do
        raise UsageError(f"{what}: {error}") from error
    except Exception as error:
        raise missing(f"{what} ({reason(error)}): {how_to_get}") from error


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Lets one process at a time prepare a data set; the others wait, then find it prepared.

    Args:
        name: of the data set, as TensorFlow Datasets calls it.
    """
    folder = tfds_dir() / name
    if any(folder.glob("*/dataset_info.json")):  # it may lie where nothing can be written
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with lock.hold(folder, "preparing", LONGEST_WAIT):
        yield


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
        files = [kaggle_files(folder, part) for part in KAGGLE_FOLDERS]
        # While it is prepared, its folder has another name: note and images appear together.
        (Path(self.data_dir) / NOTE).write_text(listing(folder, files))
        return {
            split: self._generate_examples(part)
            for split, part in zip(("train", "test"), files, strict=True)
        }

    def _generate_examples(self, files: list[Path]):
        height, width, _ = SHAPES["intel"]
        for index, file in enumerate(files):
            small = read_image(file).resize((width, height), Image.Resampling.BILINEAR)
            yield index, {"image": np.asarray(small), "label": file.parent.name}


def read_mnist(name: str) -> list[Split]:
    """Load "fashion" or "kmnist", downloading it on first use, and split it by the protocol.

    Raises:
        UsageError: the download failed.
    """
    copy = prepared(name)
    what = f"TensorFlow Datasets could not provide {TFDS_NAMES[name]}"
    advice = HOW_TO_GET[name] if copy is None else f"delete {copy} to prepare it again"
    with preparing(what, advice), alone(TFDS_NAMES[name]):
        builder = tfds.builder(TFDS_NAMES[name], data_dir=tfds_dir())
        if copy is None:
            # TensorFlow Datasets repeats a failing request for minutes; one question tells.
            urllib.request.urlopen(builder.URL, timeout=20).close()
        builder.download_and_prepare()
        train, test = (_arrays(builder, split) for split in ("train", "test"))
    return official_split(
        official_order("train", *train),
        official_order("test", *test),
        where=TFDS_NAMES[name],
    )


def read_kaggle(folder: Path) -> list[Split]:
    """Prepare (once) and load Kaggle's folders; a tenth of seg_train becomes validation.

    Raises:
        UsageError: a file is no image, a class folder is missing or empty, or the prepared copy
            was made from other images.
    """
    files = [kaggle_files(folder, part) for part in KAGGLE_FOLDERS]
    what = f"{folder}: seg_train and seg_test could not be read"
    with preparing(what, HOW_TO_GET["intel"]), alone(IntelLandscapes.name):
        builder = IntelLandscapes(data_dir=tfds_dir())
        config = tfds.download.DownloadConfig(manual_dir=folder)
        builder.download_and_prepare(download_config=config)
        (image, label), test = (_arrays(builder, split) for split in ("train", "test"))
    if [len(part) for part in files] != [len(label), len(test[1])]:
        raise UsageError(
            f"{builder.data_dir} was prepared from {len(label)} and {len(test[1])} images, but "
            f"{folder} now holds {len(files[0])} and {len(files[1])}: delete the former and try "
            "again"
        )
    note = Path(builder.data_dir) / NOTE
    if not note.is_file() or note.read_bytes() != listing(folder, files).encode():
        raise UsageError(
            f"{builder.data_dir} was not prepared from the images that are in {folder} now: delete "
            "the former and try again"
        )
    order = np.random.RandomState(42).permutation(len(label))
    chosen, rest = order[: len(order) // 10], order[len(order) // 10 :]
    return [(image[rest], label[rest]), (image[chosen], label[chosen]), test]


def listing(folder: Path, files: list[list[Path]]) -> str:
    """The sha256 (hex) of the files' names and sizes: it tells one set of images from another."""
    sizes = [
        (str(file.relative_to(folder)), file.stat().st_size) for part in files for file in part
    ]
    return hashlib.sha256(repr(sizes).encode()).hexdigest()


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
