"""Pairs of texts: Spanish-English sentences, and English words with their pronunciation.

Real pairs come from the course's files under HW2_DATA_DIR, else from the public originals through
TensorFlow Datasets (`pairs_tfds`), cleaned and split here. Then the sizes are the course's, the
sentences and words another draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from hw2_keras.data.pair_files import HOW_TO_GET as HOW_TO_GET
from hw2_keras.data.pair_files import LAYOUTS, SPLIT_SEED, PairSplit, find, is_prepared, read_rows
from hw2_keras.data.sources import fingerprint
from hw2_keras.data.synthetic import number_words, spelling
from hw2_keras.data.vocabulary import Vocabulary

PUBLIC_NOTE = f"split by RandomState({SPLIT_SEED}): another draw than the course's"


@dataclass(frozen=True)
class PairData:
    """A data set of pairs; the vocabularies are those of the training split.

    ``notes`` say where it departs from the homework's protocol.
    """

    name: str
    source: str
    origin: str
    fingerprint: str
    train: PairSplit
    val: PairSplit
    test: PairSplit
    source_vocabulary: Vocabulary
    target_vocabulary: Vocabulary
    notes: tuple[str, ...] = ()


def count(name: str, path: Path) -> tuple[int, int, int]:
    """Return the sizes of train, val and test at ``path`` (from `find`)."""
    layout = LAYOUTS[name]
    if is_prepared(path):
        return layout.sizes
    train, val, test = (len(read_rows(path / file, layout.columns)) for file in layout.files)
    return train, val, test


def load_real(name: str, seed: int = 42) -> PairData:
    """Load the course's pairs, or draw as many from the public original.

    The splits are the protocol's, whatever the seed.

    Raises:
        UsageError: a file is missing, or damaged: not UTF-8, a line with missing columns or blank
            text (the message names the line), an empty split; or the download failed.
    """
    path = find(name)
    layout = LAYOUTS[name]
    if path is not None and not is_prepared(path):
        tables = [read_rows(path / file, layout.columns) for file in layout.files]
        splits = [
            PairSplit(
                tuple(row[layout.source_column] for row in rows),
                tuple(row[layout.target_column] for row in rows),
            )
            for rows in tables
        ]
        return record(name, "real", f"{path.name} in HW2_DATA_DIR", splits)
    from hw2_keras.data.pairs_tfds import read_public

    return record(name, "real", layout.url, read_public(name), (PUBLIC_NOTE,))


@lru_cache(maxsize=8)
def load_synthetic(name: str, seed: int = 42) -> PairData:
    """Generate the synthetic stand-in, once in a process: number words, or pseudo-words."""
    maker = number_words if name == "spa_eng" else spelling
    splits = [PairSplit(*map(tuple, zip(*pairs, strict=True))) for pairs in maker.generate(seed)]
    origin = f"hw2_keras.data.{maker.__name__.rpartition('.')[2]}, seed {seed}"
    return record(name, "synthetic", origin, splits)


def record(
    name: str,
    source: str,
    origin: str,
    splits: Sequence[PairSplit],
    notes: tuple[str, ...] = (),
) -> PairData:
    """Make the record of the three splits; vocabularies and fingerprint are derived."""
    train, val, test = splits
    texts = ("\n".join(side) for split in splits for side in split)
    return PairData(
        name,
        source,
        origin,
        fingerprint(*texts),
        train,
        val,
        test,
        Vocabulary.from_texts(train.source, LAYOUTS[name].source_separator),
        Vocabulary.from_texts(train.target, ""),
        notes,
    )


LOADERS = {
    name: {"real": partial(load_real, name), "synthetic": partial(load_synthetic, name)}
    for name in LAYOUTS
}
