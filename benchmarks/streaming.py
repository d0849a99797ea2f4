"""Letters as they come: what ``stream`` costs against a call that gives the whole text.

The files are the committed ones. The rival streams too, by calls with 1, 2, 4, ... as the longest
text: it needs no second session, and half of the letters come with the last call.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from measure import Row, alternate, calls_per_second

from export.runtime import Generator, load

FILES = Path(__file__).parents[1] / "results" / "onnx"
TEXTS = {
    "p2g_attention": "d ɪ s k ʌ v ə ɹ",
    "translate_attention": "¿Dónde está mi libro? Quiero un café.",
}
PAIRS, SECONDS = 7, 0.3


def rows() -> Iterator[Row]:
    """Whole texts, the first letter, and what a first stream adds to loading."""
    for name, text in TEXTS.items():
        path = FILES / f"{name}.onnx"
        model = load(path)
        rates = {
            "call": rate(partial(model, text)),
            "stream": rate(lambda model=model, text=text: list(model.stream(text))),
            "first letter": rate(lambda model=model, text=text: next(model.stream(text))),
            "longer and longer calls": rate(partial(by_doubling, model, text)),
        }
        for ours, theirs in (
            ("stream", "call"),
            ("first letter", "call"),
            ("stream", "longer and longer calls"),
        ):
            measured = alternate(rates[ours], rates[theirs], PAIRS)
            yield Row("streaming", f"{name}, {ours} / {theirs}", "texts/s", *measured)
        what = f"{name}, first letter of a first stream"
        yield Row("streaming", what, "s", first_stream(path, text), at_most=0.5)


def rate(call: Callable[[], object]) -> Callable[[], float]:
    return partial(calls_per_second, call, SECONDS)


def by_doubling(model: Generator, text: str) -> str:
    """The text by calls with 1, 2, 4, ... tokens, until a call adds nothing."""
    length, before, found = 1, "", model(text, max_length=1)
    while len(found) > len(before):
        length, before = 2 * length, found
        found = model(text, max_length=length)
    return found


def first_stream(path: Path, text: str) -> float:
    """Seconds from a model that is loaded to its first letter, two sessions in between."""
    model = load(path)
    started = time.perf_counter()
    next(model.stream(text))
    return time.perf_counter() - started
