"""A ladder: the homework's experiment on a data set, and above it one idea a rung.

Reads records only: neither Keras nor TensorFlow is imported.
"""

import math
import os
import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hw2_keras import metrics
from hw2_keras.errors import UsageError, printable
from hw2_keras.experiments import Experiment, experiments
from hw2_keras.report.results import Results, direction, read_results, spread
from hw2_keras.report.text import format_table
from hw2_keras.report.verdict import half_width
from hw2_keras.runs import Run

SEEDS = (42, 43, 44)
PLOT = "ladder_{}"
METHOD = (
    "A gain is over the rung below, mean over the seeds that both have. Its 95 % interval is "
    "Student's t over those pairs: what chance in training moves, not what other validation "
    "examples would. A gain whose interval holds 0 is not sure. Seconds are those of the fastest "
    "run. One answer: the exported file's time for one example alone, as its verification "
    "measured it; image classifiers of one network share it, for it does not depend on weights."
)


class Rung(NamedTuple):
    """One idea and what it gave.

    Attributes:
        experiment: its record.
        runs: finished ones, by seed; empty where none was trained.
        gains: in the validation metric over the rung below, one for each seed that both have;
            positive where this rung is better.
        milliseconds: of one answer by its exported file; None where no file tells.
    """

    experiment: Experiment
    runs: tuple[Run, ...]
    gains: tuple[float, ...] = ()
    milliseconds: float | None = None

    @property
    def idea(self) -> str:
        """What it changes."""
        return self.experiment.idea or "as in the homework"

    @property
    def values(self) -> list[float]:
        """The validation metric of each seed."""
        return [run.metrics[self.experiment.metric] for run in self.runs]

    @property
    def mean(self) -> float:
        """Of the validation metric over the seeds; NaN where one of them diverged."""
        return statistics.fmean(self.values) if all(map(math.isfinite, self.values)) else math.nan

    @property
    def gain(self) -> float | None:
        """The mean gain; None where there is nothing to compare with."""
        sound = self.gains and all(map(math.isfinite, self.gains))
        return statistics.fmean(self.gains) if sound else None

    @property
    def seconds(self) -> float:
        """Of training, on a machine that may have been busy: the fastest run's."""
        return min(run.record["training_seconds"] for run in self.runs)

    @property
    def answer(self) -> str:
        """The time of one answer; empty where no file tells."""
        if self.milliseconds is None:
            return ""
        return f"{self.milliseconds:.{0 if self.milliseconds >= 10 else 2}f} ms"

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of 95 % around the mean gain; None for one seed, and where all gains are equal."""
        if self.gain is None:
            return None
        half, _ = half_width(self.gains, None)
        return None if half is None else (self.gain - half, self.gain + half)

    @property
    def judgement(self) -> str:
        """What can be said of its gain in a few words; empty for the rung at the bottom."""
        if not self.runs:
            return "missing"
        if math.isnan(self.mean):
            return "diverged"
        if not self.experiment.based_on:
            return ""
        if self.gain is None:
            return "nothing to compare with"
        if self.interval is None:
            alone = "one seed" if len(self.gains) == 1 else "equal gains"
            return f"{alone}: no interval"
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "no sure gain"


@dataclass(frozen=True)
class Ladder:
    """The rungs of a data set, the homework's experiment first; its text is their table.

    Attributes:
        name: of the data set.
        results: folder that was read.
        rungs: one for each record, trained or not.
    """

    name: str
    results: Path
    rungs: tuple[Rung, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the rungs that no run stands on."""
        return tuple(rung.experiment.name for rung in self.rungs if not rung.runs)

    @property
    def top(self) -> Rung | None:
        """The rung that is best on validation; None while a rung is missing."""
        if self.missing:
            return None
        means = [rung.mean for rung in self.rungs]
        return self.rungs[metrics.best(means, self.rungs[0].experiment.metric)]

    def __str__(self) -> str:
        return f"{table(self)}\n{conclusion(self)}\n{METHOD}"


def ladder(name: str, results: str | os.PathLike = "results") -> Ladder:
    """Opens the rungs of a data set, among them those that are not trained yet.

    Args:
        name: of the data set, e.g. "kmnist".
        results: folder of runs; full ones on real data count, at the best rate of their record.

    Raises:
        UsageError: no such ladder, no folder, no run of it, or runs on different data.
    """
    records_of(name)  # before the folder is read
    return opened(name, read_results(Path(results)))


def opened(name: str, results: Results) -> Ladder:
    """`ladder`, of results that are read already."""
    records, folder = records_of(name), results.folder
    runs = {record.name: _runs_of(record, results) for record in records}
    data = {run.record["fingerprint"] for group in runs.values() for run in group.values()}
    if not data:
        command = command_for([record.name for record in records], folder)
        raise UsageError(f"no run of ladder {name} under {folder}: train it with '{command}'")
    if len(data) > 1:
        raise UsageError(
            f"the runs of ladder {name} under {folder} are of different data: keep those of one "
            "in the folder"
        )
    times = {record.name: _milliseconds(record, records, results) for record in records}
    return Ladder(name, folder, tuple(_rung(record, runs, times) for record in records))


def names() -> list[str]:
    """Of the data sets that have a ladder."""
    return list(dict.fromkeys(e.data for e in experiments.values() if e.based_on))


def records_of(name: str) -> list[Experiment]:
    """The experiments of a ladder from the bottom up.

    Raises:
        UsageError: there is no ladder of this name.
    """
    if name not in names():
        raise UsageError(f"no ladder {name!r}: expected {' or '.join(names())}")
    rungs = [e for e in experiments.values() if e.based_on and e.data == name]
    return [experiments[rungs[0].based_on], *rungs]


def _runs_of(record: Experiment, results: Results) -> dict[int, Run]:
    """By seed; of one that is there twice the first counts."""
    found: dict[int, Run] = {}
    for run in results.runs:
        if run.experiment == record and run.learning_rate == record.best_rate:
            found.setdefault(_seed(run), run)
    return found


def _milliseconds(record: Experiment, records: list[Experiment], results: Results) -> float | None:
    """Of one answer by the rung's own file, or else by that of a rung that is as fast."""
    alike = [record, *(other for other in records if _is_as_fast(record, other))]
    reports = (results.parity.get(f"{each.name}.onnx", {}) for each in alike)
    return next((r["milliseconds"] for r in reports if r.get("milliseconds") is not None), None)


def _is_as_fast(one: Experiment, other: Experiment) -> bool:
    """True for two classifiers of one network; how long a text gets depends on the weights."""
    networks = [(e.network, e.filters, e.first_kernel, e.parameters) for e in (one, other)]
    return one.task == "classification" and networks[0] == networks[1]


def _rung(
    record: Experiment, runs: dict[str, dict[int, Run]], times: dict[str, float | None]
) -> Rung:
    here, below = runs[record.name], runs.get(record.based_on or "", {})
    metric = record.metric
    gains = [
        # rounded, so that equal gains are equal
        round(direction(metric) * (run.metrics[metric] - below[seed].metrics[metric]), 9)
        for seed, run in here.items()
        if seed in below
    ]
    return Rung(record, tuple(here.values()), tuple(gains), times[record.name])


def table(of: Ladder) -> str:
    """One line for each rung: what it changes, what that gave and what it costs."""
    metric = of.rungs[0].experiment.metric
    heading = ["rung", "idea", metrics.label(metric), "seeds", "gain", "95 %", ""]
    return format_table([[*heading, "seconds", "parameters", "one answer"], *map(_row, of.rungs)])


def _row(rung: Rung) -> list[str]:
    costs = [f"{rung.experiment.parameters:,}", rung.answer]
    place = [rung.experiment.name, rung.idea]
    if not rung.runs:
        return [*place, "", "", "", "", rung.judgement, "", *costs]
    measured = "not finite" if math.isnan(rung.mean) else spread(rung.values)
    gain = "" if rung.gain is None else f"{rung.gain:+.4f}"
    interval = "{:+.4f} to {:+.4f}".format(*rung.interval) if rung.interval else ""
    seeds = ", ".join(str(_seed(run)) for run in rung.runs)
    shown = [measured, seeds, gain, interval, rung.judgement]
    return [*place, *shown, f"{rung.seconds:.0f}", *costs]


def conclusion(of: Ladder) -> str:
    """The top rung's figure on the test split, or which command trains what is missing."""
    if of.top is None:
        command = command_for(of.missing, of.results)
        return f"missing: {', '.join(of.missing)}; train with\n  {command}"
    tested_by = of.top.experiment.metric.replace("val_", "test_")
    tested = [run.metrics.get(tested_by, math.nan) for run in of.top.runs]
    measured = spread(tested) if all(map(math.isfinite, tested)) else "not finite or missing"
    return (
        f"Top rung: {of.top.experiment.name}, chosen on validation. "
        f"Its {metrics.label(tested_by)}: {measured}. No other rung's is looked at."
    )


def command_for(names: list[str] | tuple[str, ...], results: Path) -> str:
    """What trains experiments with every seed of a ladder."""
    seeds = " ".join(map(str, SEEDS))
    out = shlex.quote(printable(str(results)))
    return (
        f"python -m hw2_keras reproduce {' '.join(names)} --seeds {seeds} --source real --out {out}"
    )


def draw(of: Ladder, folder: Path) -> list[Path]:
    """Draws the ladder into a folder as PNG and PDF; returns the PNG."""
    from hw2_keras.plots import of_ladders, style

    steps = [
        of_ladders.Step(rung.idea, rung.values, rung.judgement, rung.seconds)
        for rung in of.rungs
        if rung.runs and math.isfinite(rung.mean)
    ]
    figure = of_ladders.ladder_plot(steps, of.rungs[0].experiment.metric, of.name)
    return [style.save(figure, folder / PLOT.format(of.name))[0]]


def _seed(run: Run) -> int:
    return run.record["protocol"]["seed"]
