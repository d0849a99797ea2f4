"""The six data sets of the homework: one call gives train, validation and test.

Each data set lives in one module (`images`, `pairs`, `captions`), and every such module exposes

- ``LOADERS[name][source]``: a function of the seed that returns the frozen record;
- ``HOW_TO_GET[name]``: one line, how to obtain the real data;
- ``find(name)``: the file or folder that ``source="real"`` would read, or None;
- ``count(name, path)``: the sizes of train, val and test found there, without loading it all.
"""

import difflib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from hw2_keras.data.sources import data_dir
from hw2_keras.errors import UsageError
from hw2_keras.experiments import experiments

MODULE_OF = {
    "fashion": "images",
    "kmnist": "images",
    "intel": "images",
    "spa_eng": "pairs",
    "p2g": "pairs",
    "sydney": "captions",
}
SOURCES = ("synthetic", "real")

LICENCES = {
    "fashion": "MIT",
    "kmnist": 'CC BY-SA 4.0, "KMNIST Dataset" (created by CODH), adapted from "Kuzushiji Dataset" '
    "(created by NIJL and others), doi:10.20676/00000341",
    "intel": "not stated",
    "spa_eng": "CC BY 2.0 FR (Tatoeba)",
    "p2g": "CC BY-SA (Wiktionary, through WikiPron)",
    "sydney": "not stated",
}


class DataRow(NamedTuple):
    """One line of `describe`: a data set and where it is, or how to get it."""

    name: str
    path: Path | None
    sizes: tuple[int, int, int] | None
    how_to_get: str
    problem: str = ""


def load_data(name: str, source: str = "synthetic", seed: int = 42) -> Any:
    """Load a data set, split into train, validation and test.

    Args:
        name: "fashion", "kmnist", "intel", "spa_eng", "p2g" or "sydney"; or an experiment's
            name, which means the data set that it uses.
        source: "synthetic" (generated from the seed, no files needed) or "real". One never
            stands in for the other.
        seed: of the generator. Real data ignore it: their splits are fixed by the protocol.

    Returns:
        A frozen record `ImageData`, `PairData` or `CaptionData` with ``name``, ``source``,
        ``origin``, ``fingerprint``, ``train``, ``val`` and ``test``.

    Raises:
        UsageError: unknown name or source, or real data that are missing or damaged.
    """
    data_set = _data_set(name)
    if source not in SOURCES:
        raise UsageError(f"unknown source {source!r}: expected one of {', '.join(SOURCES)}")
    with _reachable(data_set):
        return _module(data_set).LOADERS[data_set][source](seed)


def licence(data: Any) -> str:
    """The licence of a loaded data set; synthetic data are part of this package."""
    return "MIT" if data.source == "synthetic" else LICENCES[data.name]


def describe() -> list[DataRow]:
    """List every data set: where its real data are and how many examples, or how to get them.

    A damaged file becomes the row's ``problem``; it does not hide the other rows.

    Raises:
        UsageError: HW2_DATA_DIR is not a folder; said once, instead of in every row.
    """
    data_dir()
    return [_describe_one(name) for name in MODULE_OF]


def _describe_one(name: str) -> DataRow:
    module = _module(name)
    how_to_get = module.HOW_TO_GET[name]
    path = None
    try:
        with _reachable(name):
            path = module.find(name)
            sizes = None if path is None else module.count(name, path)
    except UsageError as error:
        return DataRow(name, path, None, how_to_get, str(error))
    return DataRow(name, path, sizes, how_to_get)


@contextmanager
def _reachable(data_set: str) -> Iterator[None]:
    """Turn what the file system says while files are looked for into one line."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"data set {data_set!r}: {error.filename} cannot be reached ({error.strerror}); "
            "check the folder's permissions"
        ) from error


def _module(data_set: str) -> ModuleType:
    # One module at a time: the caption loader's libraries are not needed to read digits.
    return importlib.import_module(f"hw2_keras.data.{MODULE_OF[data_set]}")


def _data_set(name: str) -> str:
    if name in MODULE_OF:
        return name
    used = {key: experiment.data for key, experiment in experiments.items() if experiment.data}
    if name in used:
        return used[name]
    known = [*MODULE_OF, *used]
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
    raise UsageError(
        f"unknown data set {name!r}: did you mean {nearest!r}? Known: {', '.join(MODULE_OF)}"
    )
