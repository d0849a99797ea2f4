"""Cells and tables as plain data, and how numbers read in them; the templates make HTML of it."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from hw2_keras.report.results import rounded


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what is read first.
        key: what its column is sorted by; None sorts last.
        small: a second line.
        link: the id that the text leads to.
        mark: why it stands out: "best", "better", "matched", "worse" or "missing".
        note: what sets the data apart from the reports'.
        command: True where the text is a command, shown when asked for.
    """

    text: str
    key: float | str | None = None
    small: str = ""
    link: str = ""
    mark: str = ""
    note: str = ""
    command: bool = False


class Table(NamedTuple):
    """A sortable table; every row has as many cells as there are headings."""

    title: str
    headings: list[str]
    rows: list[list[Cell]]


MISSING = Cell("missing", mark="missing")
NONE = Cell("–")


def text(content: str) -> Cell:
    """A cell of plain text."""
    return Cell(content, content)


def number(value: float, mark: str = "") -> Cell:
    """A cell with four digits after the point, or the word for a figure that is none."""
    if not math.isfinite(value):
        return Cell("not finite")
    return Cell(rounded(value), value, mark=mark)


def time(seconds: float) -> Cell:
    """A cell with a duration."""
    return Cell(duration(seconds), seconds)


def listed(numbers: Iterable[int]) -> str:
    """Numbers in a row: "42, 43, 44"."""
    return ", ".join(map(str, numbers))


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes above.

    >>> duration(78.8), duration(1330)
    ('79 s', '22 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
