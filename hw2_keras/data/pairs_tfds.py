"""The public originals of the text pairs, as builders of TensorFlow Datasets.

Apart from `pairs` because importing TensorFlow Datasets takes seconds.
"""

import hashlib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from hw2_keras.data.images_tfds import FAILURES
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
        splits = seeded_split(self.READ(path), layout.sizes, str(path))
        check(path, layout)
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
    url = LAYOUTS[name].url
    builder = BUILDERS[name](data_dir=tfds_dir())
    try:
        if find(name) is None:
            # TensorFlow Datasets repeats a failing request for minutes; one question tells.
            urllib.request.urlopen(url, timeout=20).close()
        builder.download_and_prepare()
        return [_split(builder, name) for name in SPLITS]
    except FAILURES as error:
        raise UsageError(
            f"{url} could not be read through TensorFlow Datasets "
            f"({' '.join(str(error).split())[:200]}): check the connection, or {HOW_TO_GET[name]}"
        ) from error


def check(path: Path, layout: Layout) -> None:
    """Note the checksum of the first download, and compare every later one with it.

    The publishers give no checksum that could be written here.

    Raises:
        UsageError: the content has changed.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    note = tfds_dir() / layout.tfds_name / "download.sha256"
    if not note.is_file():
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{found}\n")
    elif found != note.read_text().strip():
        raise UsageError(
            f"{layout.url} has sha256 {found}, {note} says {note.read_text().strip()}: the file "
            f"changed or the download was cut short; delete {path} to download it again, or the "
            "note to accept it"
        )


def _split(builder: tfds.core.DatasetBuilder, split: str) -> PairSplit:
    columns = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
    return PairSplit(
        *(tuple(text.decode() for text in columns[side]) for side in ("source", "target"))
    )
