"""What every section shares: one line of the table, worker processes, alternating runs."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        section: name of the section.
        what: what was measured.
        unit: of ``ours`` and ``theirs``.
        ours: our figure.
        theirs: the rival's figure; None where a limit takes the place of a rival.
        ratio: how many times better ours is, the median over pairs of runs; None without a rival.
        at_least, at_most: bounds that the target sets to the ratio or, without one, to ``ours``.
    """

    section: str
    what: str
    unit: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """True when the judged figure is within its bounds."""
        judged = self.ours if self.ratio is None else self.ratio
        return (self.at_least is None or judged >= self.at_least) and (
            self.at_most is None or judged <= self.at_most
        )

    @property
    def target(self) -> str:
        """The bounds as text, e.g. "≥ 1"."""
        bounds = (("≥", self.at_least), ("≤", self.at_most))
        return " ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


@contextmanager
def worker() -> Iterator[Callable]:
    """A fresh process with its default threads; call it with a function and its arguments.

    A framework in a process of its own shares no thread pool with its rival. The process lasts as
    long as the context and keeps what the functions cache; a call returns the function's result.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        yield lambda function, *args: pool.submit(function, *args).result()


def alternate(
    ours: Callable[[], float], theirs: Callable[[], float], pairs: int
) -> tuple[float, float, float]:
    """Runs A B A B ..., after one run of each to warm up.

    Args:
        ours, theirs: take one measurement each; more is better.
        pairs: number of pairs of runs that count.

    Returns:
        Median of ours, median of theirs, and the median of the ratios ours / theirs within a
        pair: load that comes and goes during the benchmark moves it less than either median.
    """
    ours(), theirs()
    measured = [(ours(), theirs()) for _ in range(pairs)]
    return (
        statistics.median(mine for mine, _ in measured),
        statistics.median(other for _, other in measured),
        statistics.median(mine / other for mine, other in measured),
    )


def calls_per_second(call: Callable[[], object], seconds: float) -> float:
    """Rate of back-to-back calls, repeated for about ``seconds`` after a first, uncounted one."""
    call()
    calls, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        call()
        calls += 1
    return calls / elapsed
