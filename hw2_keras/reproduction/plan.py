"""Which runs the registry implies, which of them a folder holds, and how long the rest takes.

Neither Keras nor TensorFlow is imported.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hw2_keras import runs
from hw2_keras.data import SOURCES
from hw2_keras.errors import UsageError
from hw2_keras.experiments import Experiment, experiments
from hw2_keras.records import MOST_EPOCHS, read_history

# CPU seconds that TensorFlow takes to start.
START_SECONDS = 5.5


@dataclass(frozen=True)
class PlannedRun:
    """What decides a run, apart from the data: the arguments of ``train``."""

    name: str
    learning_rate: float
    epochs: int
    seed: int
    source: str

    @property
    def folder(self) -> str:
        """The name of the run's folder."""
        return runs.folder_name(self.name, self.source, self.learning_rate, self.epochs, self.seed)

    @property
    def experiment(self) -> Experiment:
        """Its record in the registry."""
        return experiments[self.name]

    def __str__(self) -> str:
        return f"{self.name} rate {self.learning_rate:g} seed {self.seed}"


class Status(NamedTuple):
    """What a folder holds of a run.

    Attributes:
        state: "finished", "interrupted", "missing" or "damaged".
        epochs: how many are done.
        problem: what is wrong with a damaged record.
    """

    state: str
    epochs: int = 0
    problem: str = ""


def plan(
    names: Sequence[str] = (),
    edition: str | None = None,
    seeds: Sequence[int] = (42,),
    source: str = "synthetic",
    epochs: int | None = None,
) -> list[PlannedRun]:
    """Every run that the registry implies, the longest first, after those of unknown time.

    The first seed is trained at every rate of an experiment, further seeds at the best one alone:
    they say how far chance moves the figures that the reports are compared by.

    Args:
        names: experiments; none: all that are trained, but the rungs of ladders.
        edition: only those of one homework, e.g. "2024-25", or "beyond" for the rungs.
        seeds: whole numbers from 0 to 2**32 - 1.
        source: "synthetic" or "real".
        epochs: default: those of the homework.

    Raises:
        UsageError: bad arguments, or names and edition that leave nothing.
    """
    check(seeds, source, epochs)
    first, *further = dict.fromkeys(seeds)
    planned = [
        PlannedRun(experiment.name, rate, epochs or experiment.epochs, seed, source)
        for experiment in chosen(names, edition)
        for rate in experiment.learning_rates
        for seed in (first, *(further if rate == experiment.best_rate else ()))
    ]
    return sorted(planned, key=seconds, reverse=True)


def check(seeds: Sequence[int], source: str, epochs: int | None) -> None:
    """Refuses what no run can be trained with.

    Raises:
        UsageError: see ``plan``.
    """
    if source not in SOURCES:
        raise UsageError(f"source {source!r}: expected one of {', '.join(SOURCES)}")
    if not seeds or any(not 0 <= seed < 2**32 for seed in seeds):
        raise UsageError(f"seeds {list(seeds)}: expected whole numbers from 0 to {2**32 - 1}")
    if epochs is not None and not 1 <= epochs <= MOST_EPOCHS:
        raise UsageError(f"epochs is {epochs}: expected a whole number from 1 to {MOST_EPOCHS:,}")


def chosen(names: Sequence[str], edition: str | None) -> list[Experiment]:
    """The trained experiments of these names and this edition, in the registry's order.

    Neither given means the homework's, not the rungs beyond it: no report has a figure of those.

    Raises:
        UsageError: unknown or counted names, an unknown edition, or nothing left.
    """
    editions = list(dict.fromkeys(e.edition for e in experiments.values()))
    if edition is not None and edition not in editions:
        raise UsageError(f"unknown edition {edition!r}: expected one of {', '.join(editions)}")
    for name in names:
        if experiments[name].task == "counting":
            raise UsageError(f"{name} is counted, not trained: leave it out (try 'summary {name}')")
    found = [
        experiment
        for experiment in experiments.values()
        if experiment.task != "counting"
        and (experiment.name in names if names else edition or not experiment.based_on)
        and edition in (None, experiment.edition)
    ]
    if not found:
        raise UsageError(f"edition {edition} has none of {', '.join(names)}: leave one of them out")
    return found


def place(run: PlannedRun) -> tuple[int, int, int]:
    """Sorts runs as the registry lists them."""
    names, rates = list(experiments), run.experiment.learning_rates
    return names.index(run.name), rates.index(run.learning_rate), run.seed


def status(run: PlannedRun, out: Path) -> Status:
    """What ``out`` holds of a run."""
    folder = out / run.folder
    if (folder / runs.RECORD).exists():
        try:
            runs.open_run(folder)
        except UsageError as error:
            return Status("damaged", problem=str(error))
        return Status("finished", run.epochs)
    if (folder / runs.CHECKPOINT).exists():
        row = last_row(run, out)
        return Status("interrupted", int(row["epoch"]) if row else 0)
    return Status("missing")


def last_row(run: PlannedRun, out: Path) -> dict[str, float] | None:
    """The last epoch of a run's history, or None where there is none yet or it is damaged."""
    try:
        columns = read_history(out / run.folder / runs.HISTORY, run.experiment.metric)
    except UsageError:
        return None  # it says how far a run is; what it goes on from is its checkpoint
    return {name: values[-1] for name, values in columns.items()}


def seconds(run: PlannedRun, done: int = 0) -> float:
    """How long a run takes on two cores, from the registry's measured times; infinite if unknown.

    Args:
        done: epochs that need not be trained again.
    """
    experiment = run.experiment
    real = 60 * experiment.minutes / experiment.epochs
    epoch = experiment.synthetic_seconds if run.source == "synthetic" else real
    return START_SECONDS + epoch * (run.epochs - done) if epoch else math.inf


def time_left(left: Iterable[float], workers: int) -> float:
    """Seconds until the last of several runs has finished on ``workers``, at best.

    Args:
        left: seconds that each run still takes.
    """
    left = list(left)
    return max(sum(left) / max(1, workers), max(left, default=0.0))


def duration(seconds: float) -> str:
    """Seconds as text, e.g. "2:05:30" or "4:05"."""
    if seconds == math.inf:
        return "unknown time"
    total = int(seconds + 0.5)
    hours, minutes, seconds = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
