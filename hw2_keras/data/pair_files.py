"""The files of the text pairs: names, layouts, readers, cleaning and the seeded split."""

import re
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hw2_keras.data.readers import MAX_TEXT_BYTES, check_text, read_bytes, reading, require
from hw2_keras.data.sources import data_dir, tfds_dir
from hw2_keras.errors import UsageError

MAX_CHARACTERS = 19  # "both sides under 20 characters"


SPLIT_SEED = 42


class PairSplit(NamedTuple):
    """N sources and their N targets."""

    source: tuple[str, ...]
    target: tuple[str, ...]


class Layout(NamedTuple):
    """Where one data set's pairs are, and in which columns."""

    files: tuple[str, str, str]  # of train, val and test
    columns: str
    source_column: int
    target_column: int
    source_separator: str
    url: str
    download_columns: str
    tfds_name: str
    sizes: tuple[int, int, int]  # drawn from the download
    sha256: str  # of the download; "" where its publisher replaces it now and then


LAYOUTS = {
    "spa_eng": Layout(
        files=("train-eng-spa.txt", "val-eng-spa.txt", "test-eng-spa.txt"),
        columns="english<TAB>spanish<TAB>42",
        source_column=1,
        target_column=0,
        source_separator="",
        url="https://storage.googleapis.com/download.tensorflow.org/data/spa-eng.zip",
        download_columns="english<TAB>spanish",
        tfds_name="spa_eng",
        sizes=(10_483, 1_000, 1_000),
        sha256="",
    ),
    "p2g": Layout(
        files=("train.tsv", "valid.tsv", "test.tsv"),
        columns="IPA symbols separated by spaces<TAB>spelling",
        source_column=0,
        target_column=1,
        source_separator=" ",
        # One commit, so that the file cannot change.
        url="https://raw.githubusercontent.com/CUNY-CL/wikipron/"
        "22fd8d839084f1b5f2f5018eed06d016d49c3825/data/scrape/tsv/eng_latn_us_broad.tsv",
        download_columns="spelling<TAB>IPA symbols separated by spaces",
        tfds_name="wiki_pron",
        sizes=(10_000, 1_000, 1_000),
        sha256="d5871445b9fa810aeaa53a309d9a7baee46338d673f00e270e90bf033f676f3f",
    ),
}


HOW_TO_GET = {
    "spa_eng": "put the course's {train,val,test}-eng-spa.txt in the folder spa_eng under "
    "HW2_DATA_DIR; without it, the first use downloads the Anki pairs (3 MB)",
    "p2g": "put the course's {train,valid,test}.tsv in the folder p2g under HW2_DATA_DIR; "
    "without it, the first use downloads WikiPron's English words (2 MB) through TensorFlow "
    "Datasets",
}


def find(name: str) -> Path | None:
    """Return the folder under HW2_DATA_DIR, else what TensorFlow Datasets prepared, else None."""
    folder = data_dir()
    if folder is not None and (folder / name).is_dir():
        return folder / name
    done = sorted(tfds_dir().glob(f"{LAYOUTS[name].tfds_name}/*/dataset_info.json"))
    return done[-1].parent if done else None


def is_prepared(path: Path) -> bool:
    """Tell whether a path from `find` was prepared by TensorFlow Datasets."""
    return (path / "dataset_info.json").is_file()


def read_rows(path: Path, columns: str) -> list[list[str]]:
    """Read a UTF-8 file of tab-separated columns, composed to NFC; further columns pass.

    A byte order mark is no text, and lines end in LF, CR LF or CR.

    Args:
        path: the file.
        columns: what is expected, for messages; the first two must be there and not blank.

    Raises:
        UsageError: the file is missing, is not UTF-8, has no line, or a line lacks a column or
            has more than 1,000 characters in one.
    """
    require(path, columns)
    return parse_rows(read_bytes(path, columns), columns, str(path))


def parse_rows(content: bytes, columns: str, where: str) -> list[list[str]]:
    """Do what `read_rows` does, with the bytes of the file."""
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{where}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; "
            "save the file in UTF-8"
        ) from error
    # Not splitlines, which also breaks at characters that a text may hold.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    if lines == [""]:
        raise UsageError(f"{where}: the split is empty, expected lines of {columns}")
    return [_row(line, columns, f"{where}, line {i}") for i, line in enumerate(lines, 1)]


def _row(line: str, columns: str, where: str) -> list[str]:
    row = line.split("\t")
    if len(row) < 2 or not (row[0].strip() and row[1].strip()):
        problem = "one column" if len(row) < 2 else "a blank column"
        raise UsageError(f"{where}: {problem}, expected {columns}")
    # Composing takes the square of a run of combining marks: only after the check of its length.
    return [unicodedata.normalize("NFC", check_text(text, where)) for text in row[:2]]


def read_anki(path: Path) -> list[tuple[str, str]]:
    """Read spa.txt out of the zip file: cleaned pairs (spanish, english), both short enough.

    Raises:
        UsageError: the archive is damaged, or holds no spa.txt.
    """
    with reading(path, "a zip file with spa.txt"), zipfile.ZipFile(path) as archive:
        member = next(name for name in archive.namelist() if Path(name).name == "spa.txt")
        with archive.open(member) as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise UsageError(f"{path}: spa.txt is too large, expected at most {MAX_TEXT_BYTES:,} bytes")
    rows = parse_rows(content, LAYOUTS["spa_eng"].download_columns, f"{path}/spa.txt")
    pairs = ((clean_sentence(row[1]), clean_sentence(row[0])) for row in rows)
    return [
        pair for pair in pairs if all(side.strip() and len(side) <= MAX_CHARACTERS for side in pair)
    ]


def read_wikipron(path: Path) -> list[tuple[str, str]]:
    """Read WikiPron's file as pairs (symbols, spelling), case and diacritics kept."""
    rows = read_rows(path, LAYOUTS["p2g"].download_columns)
    return [(row[1], row[0]) for row in rows]


def clean_sentence(text: str) -> str:
    """Clean a sentence as the course did: lowercase, no accents, a space before .!?

    Any other run of characters becomes one space, also at the start ("¿que" -> " que").
    """
    decomposed = unicodedata.normalize("NFD", text.lower().strip())
    plain = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return re.sub(r"[^a-z.!?]+", " ", re.sub(r"([.!?])", r" \1", plain))


def seeded_split(
    pairs: Sequence[tuple[str, str]], sizes: tuple[int, int, int], where: str
) -> list[PairSplit]:
    """Draw disjoint splits of the given sizes, with ``numpy.random.RandomState(42)``.

    Raises:
        UsageError: fewer pairs than wanted.
    """
    if len(pairs) < sum(sizes):
        raise UsageError(
            f"{where}: {len(pairs)} usable pairs, expected at least {sum(sizes)}; "
            "delete it to download it again"
        )
    order = np.random.RandomState(SPLIT_SEED).permutation(len(pairs))
    starts = np.cumsum((0, *sizes))
    splits = []
    for start, size in zip(starts, sizes, strict=False):
        chosen = [pairs[i] for i in order[start : start + size]]
        splits.append(PairSplit(*map(tuple, zip(*chosen, strict=True))))
    return splits
