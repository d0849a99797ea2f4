"""Hostile records: seeded cases for ``hw2_keras.records`` and the page that is made of them.

Each check takes a seed and a folder to write to, makes one case and asserts what is promised: the
record, or one line, a `UsageError`; a page with whatever else is sound, and no element of a
record's making. ``CHECKS`` names them all.
"""

import functools
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hw2_keras import records
from hw2_keras.errors import UsageError
from hw2_keras.report import page
from hw2_keras.report.results import read_results

ROOT = Path(__file__).parents[2]
RUN = ROOT / "results" / "kmnist_cnn-real-rate0.0005-epochs20-seed42"
CAPTIONS = ROOT / "results" / "caption-real-rate0.0004-epochs6-seed42"
PARITY = ROOT / "results" / "onnx" / "kmnist_cnn.parity.json"
BEAMS = ROOT / "results" / "beam_search.json"

VALUES = [
    None, True, -1, 0, 1.5, 10**30, 10**400, float("nan"), float("inf"), -1e308, "", "<b id=x>",
    "\x1b[31m\n", "\ud800", "x" * 10_000, [], [[[]]], {}, {"a": {"b": []}}, ["<b id=x>"],
]  # fmt: skip
INJECTIONS = [
    "<b id=x>", '"><img id=x onerror=alert(1)>', "</script><script>alert(1)</script>",
    "' onclick='alert(1)", "javascript:alert(1)", "{{ 7 * 7 }}", "<!--", "</title><b id=x>",
    "&lt;b id=x&gt;", "</style><b id=x>", "\u202e<b id=x>",
]  # fmt: skip
NUMBERS = ["nan", "inf", "-1e99", "1e300", "0", "1", "5e-324", "", "<b id=x>", "1_0", "\x00", '"']


def places(content: Any, place: tuple = ()) -> list[tuple]:
    """The path of every value in a JSON document."""
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    found = []
    for key, value in inner:
        found.append((*place, key))
        if isinstance(value, dict | list):
            found += places(value, (*place, key))
    return found


def mutated(content: Any, draw: random.Random, values: Sequence = VALUES) -> str:
    """The document as text with one value replaced, removed or added, or with damaged text."""
    copy = json.loads(json.dumps(content))
    *outer, last = draw.choice(places(copy))
    part = copy
    for key in outer:
        part = part[key]
    kind = draw.randrange(10)
    if kind < 7:
        part[last] = draw.choice(values)
    elif kind == 7:
        del part[last]
    elif isinstance(part, dict):
        part[draw.choice(["<b id=x>", "test_<b>", "\n", "test_loss"])] = draw.choice(values)
    text = json.dumps(copy)
    return text[: draw.randrange(len(text))] if kind == 9 else text


def assert_one_line(error: UsageError, file: Path) -> None:
    message = str(error)
    assert file.name in message and len(message) < 1000
    assert message.isprintable(), message


def write_results(folder: Path) -> Path:
    """A results folder with one record of each kind, all sound."""
    for run in (RUN, CAPTIONS):
        (folder / run.name).mkdir(parents=True)
        for name in ("run.json", "history.csv"):
            shutil.copy(run / name, folder / run.name)
    shutil.copy(PARITY, folder)
    (folder / BEAMS.name).write_text(json.dumps(json.loads(BEAMS.read_text())[:8]))
    return folder


# Records alone


def read_or_one_line(read: Callable[[Path], Any], file: Path) -> None:
    try:
        json.dumps(read(file), ensure_ascii=False).encode()
    except UsageError as error:
        assert_one_line(error, file)


def check_record(original: Path, read: Callable[[Path], Any], seed: int, folder: Path) -> None:
    """A record with other values, keys and types, cut short, or in other bytes."""
    rng, content = random.Random(seed), json.loads(original.read_text())
    text = mutated(content[:3] if isinstance(content, list) else content, rng)
    encoded = text.encode(rng.choice(("utf-8",) * 6 + ("utf-8-sig", "utf-16")))
    if rng.random() < 0.1:
        encoded = rng.choice(
            (b"", b"[" * 10**5, b"9" * 10**5, b"\xff" * 100, b'"\\ud800"', b"null")
        )
    file = folder / original.name
    file.write_bytes(encoded)
    read_or_one_line(read, file)


def strange_history(rng: random.Random) -> bytes:
    """A history with other numbers, columns, line ends and encodings."""
    rows = [line.split(",") for line in (CAPTIONS / "history.csv").read_text().splitlines()]
    for _ in range(rng.choice((1, 1, 3))):
        row = rng.choice(rows)
        change = rng.randrange(4)
        if change < 2:
            row[rng.randrange(len(row))] = rng.choice(NUMBERS)
        elif change == 2:
            del row[rng.randrange(len(row))]
        else:
            row.append(rng.choice(NUMBERS))
        if not row:
            row.append("")
    if rng.random() < 0.2:
        rows.insert(rng.randrange(len(rows)), rng.choice(rows))
    end = rng.choice(("\n", "\n", "\r\n", "\r", "\n\n"))
    text = end.join(",".join(row) for row in rows) + end
    encoded = text.encode(rng.choice(("utf-8",) * 6 + ("utf-8-sig", "utf-16")))
    return encoded[: rng.randrange(len(encoded))] if rng.random() < 0.1 else encoded


def check_history(seed: int, folder: Path) -> None:
    """A history with other numbers, columns, line ends and encodings."""
    file = folder / "history.csv"
    file.write_bytes(strange_history(random.Random(seed)))
    read_or_one_line(lambda path: records.read_history(path, "val_bleu4"), file)


# The page


class Elements(HTMLParser):
    """Counts scripts, and lists what only a record can have brought in."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.injected = 0, []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attributes:
            script = name in ("href", "src") and (value or "").startswith("javascript:")
            if name.startswith("on") or (name, value) == ("id", "x") or script:
                self.injected.append((tag, name, value))


def elements(content: str) -> Elements:
    found = Elements()
    found.feed(content)
    found.close()
    return found


@functools.cache
def scripts_of_a_sound_page() -> int:
    return elements(page.render(read_results(ROOT / "results"))).scripts


def replaced(path: Path, rng: random.Random) -> None:
    """Something that is no file where one was."""
    path.unlink()
    make = (path.mkdir, lambda: path.symlink_to(path), lambda: os.mkfifo(path))
    rng.choice((*make, lambda: path.symlink_to("/dev/zero"), lambda: path.symlink_to("none")))()


def check_page(seed: int, folder: Path) -> None:
    """One or two hostile records among sound ones; a page all the same, without their elements."""
    rng, results = random.Random(seed), write_results(folder / "results")
    png = results / RUN.name / "plots" / rng.choice(("<b id=x>.png", "filters_<b id=x>.png"))
    png.parent.mkdir()
    png.write_bytes(rng.choice((b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n<svg onload=alert(1)>")))
    names = (f"{CAPTIONS.name}/run.json", f"{CAPTIONS.name}/history.csv", PARITY.name, BEAMS.name)
    for name in rng.sample(names, rng.choice((1, 1, 2))):
        file = results / name
        if rng.random() < 0.15:
            replaced(file, rng)
        elif file.suffix == ".csv":
            file.write_bytes(strange_history(rng))
        else:
            file.write_text(mutated(json.loads(file.read_text()), rng, VALUES + INJECTIONS * 2))
    if rng.random() < 0.15:
        replaced(png, rng)
    found = read_results(results)
    assert all(line.isprintable() for line in found.problems), found.problems
    content = page.render(found)
    content.encode()
    assert RUN.name in [run.path.name for run in found.runs]
    shown = elements(content)
    assert not shown.injected and "<b id=x>" not in content, shown.injected
    assert shown.scripts == scripts_of_a_sound_page()


CHECKS: dict[str, Callable[[int, Path], None]] = {
    "run": functools.partial(check_record, RUN / "run.json", records.read_run_record),
    "captions": functools.partial(check_record, CAPTIONS / "run.json", records.read_run_record),
    "parity": functools.partial(check_record, PARITY, records.read_parity_record),
    "beams": functools.partial(check_record, BEAMS, records.read_beam_rows),
    "history": check_history,
    "page": check_page,
}
