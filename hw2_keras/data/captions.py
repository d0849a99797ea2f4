"""Sydney-Captions: aerial images with five captions each.

They are read straight from a folder, under HW2_DATA_DIR or TensorFlow Datasets' manual folder. A
TensorFlow Datasets builder would add nothing: it cannot download them, and its prepared copy
would only hold the images a second time.

The vocabulary is edition 2021-22's: ``<#>`` (padding), ``<start_seq>``, ``<end_seq>``, ``<unk>``,
then the words of the training captions in order of first appearance.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hw2_keras.data.readers import (
    MAX_ARRAY_BYTES,
    check_text,
    read_image,
    read_json,
    reading,
    require,
)
from hw2_keras.data.sources import data_dir, fingerprint, missing, not_found, one_line, tfds_dir
from hw2_keras.data.synthetic import scenes
from hw2_keras.data.vocabulary import Vocabulary
from hw2_keras.errors import UsageError

SPECIALS = ("<#>", "<start_seq>", "<end_seq>", "<unk>")
SPLITS = ("train", "val", "test")
SUFFIXES = (".jpg", ".tif")

HOW_TO_GET = {
    "sydney": "put the course's {train,val,test}.json and the 613 images of Sydney-Captions "
    "(github.com/201528014227051/RSICD_optimal) as images/N.jpg or N.tif in the folder sydney "
    "under HW2_DATA_DIR, or in downloads/manual/sydney of TensorFlow Datasets' folder"
}


class CaptionSplit(NamedTuple):
    """N images with their captions.

    ``image`` uint8 (N, H, W, 3); ``image_id`` the number in the image's file name; ``target``
    five captions for each image, words separated by spaces, without start and end.
    """

    image: np.ndarray
    image_id: tuple[int, ...]
    target: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class CaptionData:
    """A data set of captioned images.

    ``pairs`` int (P, 2) are the training examples in file order: index of the image in
    ``train``, index of the caption among the image's captions.
    """

    name: str
    source: str
    origin: str
    fingerprint: str
    train: CaptionSplit
    val: CaptionSplit
    test: CaptionSplit
    pairs: np.ndarray
    target_vocabulary: Vocabulary
    notes: tuple[str, ...] = ()


def find(name: str) -> Path | None:
    """Return the folder of the captions and images, or None."""
    manual = tfds_dir() / "downloads" / "manual"
    folders = [folder / name for folder in (data_dir(), manual) if folder is not None]
    return next((folder for folder in folders if folder.is_dir()), None)


def count(name: str, path: Path) -> tuple[int, int, int]:
    """Return the number of images in train, val and test at ``path`` (from `find`)."""
    train, val, test = (len(set(read_captions(path / f"{split}.json")[0])) for split in SPLITS)
    return train, val, test


def load_real(name: str, seed: int = 42) -> CaptionData:
    """Load the course's split, decoding every image; the seed changes nothing.

    Raises:
        UsageError: nothing found; a JSON file is missing or of another layout, has no captions or
            a blank one, or names an image that is missing or broken or of another size.
    """
    folder = find(name)
    if folder is None:
        raise not_found(name, HOW_TO_GET[name])
    files = [read_captions(folder / f"{split}.json") for split in SPLITS]
    splits = [make_split(folder, *f) for f in files]
    sizes = [split.image.shape[1] for split in splits]
    if len(set(sizes)) > 1:
        raise UsageError(
            f"{folder}: train, val and test images of {sizes} pixels, expected 500x500"
        )
    where = "HW2_DATA_DIR" if folder.parent == data_dir() else "TensorFlow Datasets' manual folder"
    return record(name, "real", f"{name} in {where}", splits, pairs_of(files[0][0]))


def load_synthetic(name: str, seed: int = 42) -> CaptionData:
    """Generate the synthetic stand-in: composed scenes, numbered through the splits."""
    splits, first = [], 0
    for image, captions in scenes.generate(seed):
        ids = tuple(range(first, first + len(image)))
        splits.append(CaptionSplit(image, ids, tuple(captions)))
        first += len(image)
    each = len(splits[0].target[0])
    pairs = pairs_of([i for i in splits[0].image_id for _ in range(each)])
    return record(name, "synthetic", f"hw2_keras.data.scenes, seed {seed}", splits, pairs)


def record(
    name: str, source: str, origin: str, splits: Sequence[CaptionSplit], pairs: np.ndarray
) -> CaptionData:
    """Make the record of the three splits; vocabulary and fingerprint are derived."""
    train, val, test = splits
    texts = json.dumps([(split.image_id, split.target) for split in splits])
    words = Vocabulary.from_texts((train.target[i][j] for i, j in pairs), " ", SPECIALS)
    return CaptionData(
        name,
        source,
        origin,
        fingerprint(texts, *(split.image for split in splits)),
        train,
        val,
        test,
        pairs,
        words,
    )


def pairs_of(images: Sequence[Any]) -> np.ndarray:
    """Number the image of each caption by first appearance, and the image's captions from 0.

    Args:
        images: for each of P captions, in file order, its image's name.

    Returns:
        int32 (P, 2).
    """
    seen: dict[Any, list[int]] = {}
    pairs = []
    for image in images:
        place = seen.setdefault(image, [len(seen), 0])
        pairs.append(tuple(place))
        place[1] += 1
    return np.array(pairs, np.int32)


def read_captions(path: Path) -> tuple[list[str], list[str]]:
    """Read a file of captions as image names and captions, one of each per caption.

    Both layouts of the course: ``images_names`` beside ``captions_tokens`` (train), and
    ``all_refs``, lists of captions by image name, in the order of ``images_names``.

    Raises:
        UsageError: the file is missing, has another layout, no captions, a blank one, or names an
            image twice beside ``all_refs``.
    """
    expected = "the course's JSON, images_names with captions_tokens or all_refs"
    require(path, expected)
    content = read_json(path, expected)
    with reading(path, expected):
        names = content["images_names"]
        if "all_refs" in content:
            if twice := [name for name, n in Counter(names).items() if n > 1]:
                raise UsageError(
                    f"{path}: image {one_line(str(twice[0]))!r} is named twice, expected each "
                    "image once beside all_refs; correct the file"
                )
            rows = [(name, tokens) for name in names for tokens in content["all_refs"][name]]
        else:
            rows = list(zip(names, content["captions_tokens"], strict=True))
        if not all(isinstance(part, list) for part in (names, *(row[1] for row in rows))):
            raise TypeError("expected a list of image names, and of the words of each caption")
        captions = [" ".join(w for w in tokens if w not in SPECIALS[:3]) for _, tokens in rows]
    if not rows:
        raise UsageError(f"{path}: the split is empty, expected at least one caption")
    for (name, _), caption in zip(rows, captions, strict=True):
        check_text(name, f"{path}, an image's name")
        if not check_text(caption, f"{path}, image {name!r}").strip():
            raise UsageError(f"{path}: image {name!r} has a blank caption, expected words")
    return [name for name, _ in rows], captions


def make_split(folder: Path, names: Sequence[str], captions: Sequence[str]) -> CaptionSplit:
    """Collect the captions by image, in order of first appearance, and decode the images."""
    of_image: dict[str, list[str]] = {}
    for name, caption in zip(names, captions, strict=True):
        of_image.setdefault(name, []).append(caption)
    return CaptionSplit(
        read_images([image_path(folder / "images", name) for name in of_image]),
        tuple(int(Path(name).stem) for name in of_image),
        tuple(map(tuple, of_image.values())),
    )


def image_path(folder: Path, name: str) -> Path:
    """Return the file of the image that a caption file calls "N.tif".

    Raises:
        UsageError: the name is not a number, or there is no such image.
    """
    stem = Path(name).stem
    if not (stem.isascii() and stem.isdecimal() and len(stem) < 10):
        raise UsageError(f"image name {name[:60]!r}: expected a number, such as '219.tif'")
    paths = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise missing(
            f"the captions name image {name!r}, but neither {paths[0]} nor {paths[1].name} exists; "
            "copy the missing image there"
        )
    return path


def read_images(paths: Sequence[Path]) -> np.ndarray:
    """Decode RGB images of one size, as wide as high, into uint8 (N, H, W, 3).

    Raises:
        UsageError: a file is no image, or is cut short, or has another size than the first; the
            images are not square, or take more than 512 MiB.
    """
    images: np.ndarray | None = None
    for i, path in enumerate(paths):
        image = np.asarray(read_image(path))
        if images is None:
            images = np.empty((len(paths), *_checked_size(image, len(paths), path)), np.uint8)
        if image.shape != images.shape[1:]:
            raise UsageError(
                f"{path}: {image.shape[1]}x{image.shape[0]} pixels, expected "
                f"{images.shape[2]}x{images.shape[1]} like the other images"
            )
        images[i] = image
    if images is None:
        raise UsageError("no images: expected at least one")
    return images


def _checked_size(image: np.ndarray, count: int, path: Path) -> tuple[int, ...]:
    height, width, _ = image.shape
    if height != width:  # the encoder's 16x16 positions are those of a square
        raise UsageError(f"{path}: {width}x{height} pixels, expected 500x500")
    if count * image.size > MAX_ARRAY_BYTES:
        raise UsageError(
            f"{path}: {count} images of {width}x{height} pixels, expected 500x500; the most that "
            f"would do is {math.isqrt(MAX_ARRAY_BYTES // (3 * count))} pixels a side"
        )
    return image.shape


LOADERS = {
    "sydney": {
        "real": partial(load_real, "sydney"),
        "synthetic": partial(load_synthetic, "sydney"),
    }
}
