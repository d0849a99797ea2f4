"""The public originals of the text pairs, as builders of TensorFlow Datasets.

Apart from `pairs` because importing TensorFlow Datasets takes seconds.
"""

import hashlib
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from hw2_keras.data.images_tfds import alone, preparing
from hw2_keras.data.pair_files import (
    HOW_TO_GET,
    LAYOUTS,
    Layout,
    PairSplit,
    find,
    read_anki,
    read_wikipron,
    seeded_split,
)
from hw2_keras.data.sources import tfds_dir
from hw2_keras.errors import UsageError
from hw2_keras.files import write_atomically

SPLITS = ("train", "val", "test")


class PublicPairs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Pairs "source" and "target", in the order of a seeded draw."""

    VERSION = tfds.core.Version("1.0.0")
    DATA_SET: str
    READ: Callable[[Path], list[tuple[str, str]]]

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            homepage=LAYOUTS[self.DATA_SET].url,
            features=tfds.features.FeaturesDict({"source": text, "target": text}),
            disable_shuffling=True,  # the draw is already one
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        layout = LAYOUTS[self.DATA_SET]
        path = Path(dl_manager.download(layout.url))
        found = check(path, layout)
        splits = seeded_split(self.READ(path), layout.sizes, str(path))
        keep(found, layout)
        return {
            name: self._generate_examples(split) for name, split in zip(SPLITS, splits, strict=True)
        }

    def _generate_examples(self, split: PairSplit) -> Iterator[tuple[int, dict[str, str]]]:
        for key, (source, target) in enumerate(zip(*split, strict=True)):
            yield key, {"source": source, "target": target}


class SpaEng(PublicPairs):
    """Spanish and English sentences from Anki (Tatoeba), cleaned as in the course."""

    DATA_SET = "spa_eng"
    READ = staticmethod(read_anki)


class WikiPron(PublicPairs):
    """English words and their pronunciation from WikiPron (Wiktionary)."""

    DATA_SET = "p2g"
    READ = staticmethod(read_wikipron)


BUILDERS = {"spa_eng": SpaEng, "p2g": WikiPron}


def read_public(name: str) -> list[PairSplit]:
    """Load "spa_eng" or "p2g", downloading and preparing it on first use.

    Raises:
        UsageError: the download failed, or is damaged, or not what was downloaded the first time.
    """
    layout, copy = LAYOUTS[name], find(name)
    advice = f"check the connection, or {HOW_TO_GET[name]}"
    if copy is not None:
        advice = f"delete {copy} to prepare it again"
    what = f"{layout.url} could not be read through TensorFlow Datasets"
    with preparing(what, advice), alone(layout.tfds_name):
        builder = BUILDERS[name](data_dir=tfds_dir())
        if copy is None:
            # TensorFlow Datasets repeats a failing request for minutes; one question tells.
            urllib.request.urlopen(layout.url, timeout=20).close()
        builder.download_and_prepare()
        splits = [_split(builder, name) for name in SPLITS]
    sizes = tuple(len(split.source) for split in splits)
    if sizes != layout.sizes:
        raise UsageError(
            f"{builder.data_dir} holds {sizes} pairs, expected {layout.sizes}: delete it to "
            "prepare it again"
        )
    return splits


def check(path: Path, layout: Layout) -> str:
    """Return the sha256 of a download, compared with the known or first one before it is parsed.

    Raises:
        UsageError: the content is another one.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    note = first_seen(layout)
    known = layout.sha256 or (
        note.read_bytes().decode(errors="replace").strip() if note.is_file() else found
    )
    if found != known:
        where, accept = (
            ("the package", "") if layout.sha256 else (note, ", or the note to accept it")
        )
        raise UsageError(
            f"{layout.url} has sha256 {found}, {where} says {known[:64]}: the file changed or the "
            f"download was cut short; delete {path} to download it again{accept}"
        )
    return found


def keep(found: str, layout: Layout) -> None:
    """Note the checksum of a first download that could be parsed, and say so."""
    note = first_seen(layout)
    if layout.sha256 or note.is_file():
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, lambda file: file.write(f"{found}\n".encode()))
    print(
        f"{layout.url} has no published checksum: the sha256 of this first download, {found}, is "
        f"kept in {note}, and every later one is compared with it",
        file=sys.stderr,
    )


def first_seen(layout: Layout) -> Path:
    """The file that keeps the sha256 of the first download."""
    return tfds_dir() / layout.tfds_name / "download.sha256"


def _split(builder: tfds.core.DatasetBuilder, split: str) -> PairSplit:
    columns = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
    return PairSplit(
        *(tuple(text.decode() for text in columns[side]) for side in ("source", "target"))
    )
