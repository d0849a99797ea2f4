"""What a results folder holds, and which runs belong to which reported figure.

Reads JSON and CSV only: neither Keras nor TensorFlow is imported.
"""

import math
import os
import stat
import statistics
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hw2_keras import metrics
from hw2_keras.errors import UsageError, printable
from hw2_keras.experiments import Experiment, Reported, experiments
from hw2_keras.records import (
    LARGEST_FILE,
    read_beam_rows,
    read_parity_record,
    read_quantization_record,
)
from hw2_keras.runs import RECORD, Run, open_run

BEAMS = "beam_search.json"
PARITY = ".parity.json"
QUANTIZATION = ".quantization.json"
PNG = b"\x89PNG\r\n\x1a\n"
# The five reports by edition; whatever else is in the registry is somebody's own.
REPORTS = {"2021-22": ("000", "001"), "2022-23": ("002", "003"), "2024-25": ("004",)}


@dataclass(frozen=True)
class Results:
    """The finished runs and measurements under one folder.

    Attributes:
        folder: where they were found.
        runs: runs of the homework's full protocol on real data, by experiment, rate and seed.
        others: the rest, which no report can be compared with: synthetic data, fewer epochs.
        beams: rows of every ``beam_search.json``, see ``beams.study``.
        parity: parity report by name of the ONNX file, see ``export.verify.Parity``.
        rounded: what rounding changed by name of the file, see ``export.quantize.Quantization``.
        plots: PNG files.
        problems: one line for every file or folder that could not be read.
    """

    folder: Path
    runs: tuple[Run, ...]
    others: tuple[Run, ...]
    beams: tuple[dict[str, Any], ...]
    parity: dict[str, dict[str, Any]]
    rounded: dict[str, dict[str, Any]]
    plots: tuple[Path, ...]
    problems: tuple[str, ...]


class Figure(NamedTuple):
    """One reported figure and the runs that reproduce it.

    Attributes:
        experiment: whose figure.
        reported: what the report prints.
        rate: the learning rate it belongs to.
        runs: runs that differ in their seed alone; empty where nothing was reproduced.
    """

    experiment: Experiment
    reported: Reported
    rate: float
    runs: tuple[Run, ...]

    @property
    def values(self) -> list[float]:
        """The reproduced figure of each seed."""
        return [run.metrics[self.reported.metric] for run in self.runs]

    @property
    def notes(self) -> list[str]:
        """What sets the data apart from the reports', e.g. fewer images."""
        return self.runs[0].record["notes"] if self.runs else []

    @property
    def difference(self) -> float:
        """Mean over the seeds minus reported."""
        return statistics.fmean(self.values) - self.reported.value

    @property
    def gain(self) -> float:
        """The difference as a share of the reported value, positive where the mean is better."""
        return direction(self.reported.metric) * self.difference / abs(self.reported.value)


def direction(metric: str) -> int:
    """1 where a larger figure is the better one, -1 for error rates and losses."""
    return 1 if metrics.metric(metric).higher_is_better else -1


def in_reports(experiment: Experiment) -> bool:
    """True for the homework's experiments; False for those of somebody's own."""
    return experiment.edition in REPORTS and (
        experiment.task == "counting" or bool(reported_in_reports(experiment))
    )


def reported_in_reports(experiment: Experiment) -> list[Reported]:
    """What the five reports print for an experiment."""
    return [r for r in experiment.reported if r.report in REPORTS.get(experiment.edition, ())]


def read_results(folder: Path) -> Results:
    """Reads every run, beam study and parity report under a folder, at any depth.

    A file that cannot be read becomes a line of ``problems`` and hides nothing else.

    Raises:
        UsageError: no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: expected one with runs made by 'train'")
    problems: list[str] = []
    paths = _files(folder, problems)

    def read(pattern: str, function: Callable[[Path], Any]) -> list[Any]:
        found = []
        for path in (path for path in paths if path.match(pattern)):
            try:
                found.append(function(path))
            except UsageError as error:
                problems.append(str(error))
        return found

    runs = sorted(read(RECORD, _read_run), key=_order)
    beams = {setting(row): row for rows in read(BEAMS, read_beam_rows) for row in rows}
    return Results(
        folder,
        tuple(run for run in runs if not run.departures),
        tuple(run for run in runs if run.departures),
        tuple(beams.values()),
        dict(read(f"*{PARITY}", _read_parity)),
        dict(read(f"*{QUANTIZATION}", _read_quantization)),
        tuple(read("*.png", _check_png)),
        tuple(problems),
    )


def _files(folder: Path, problems: list[str]) -> list[Path]:
    """Whatever lies under the folder; a folder that cannot be listed becomes a problem."""

    def unreadable(error: OSError) -> None:
        reason = error.strerror or error
        problems.append(printable(f"cannot list {error.filename} ({reason}): make it readable"))

    return sorted(
        Path(place, name)
        for place, folders, files in os.walk(folder, onerror=unreadable)
        for name in (*folders, *files)
    )


def figures(runs: Iterable[Run], names: Collection[str] | None = None) -> list[Figure]:
    """Every reported figure of the registry, in its order, once for each data tried.

    Args:
        runs: finished ones, see `Results.runs`; of a seed that is there twice, the first counts.
        names: experiments; None: all.
    """
    runs, found = list(runs), []
    for experiment in experiments.values():
        if names is not None and experiment.name not in names:
            continue
        for reported in experiment.reported:
            rate = rate_of(experiment, reported)
            groups: dict[str, dict[int, Run]] = {}
            for run in runs:
                same = (run.experiment, run.learning_rate) == (experiment, rate)
                if same and reported.metric in run.metrics:
                    by_seed = groups.setdefault(run.record["fingerprint"], {})
                    by_seed.setdefault(run.record["protocol"]["seed"], run)
            for group in list(groups.values()) or [{}]:
                found.append(Figure(experiment, reported, rate, tuple(group.values())))
    return found


def rate_of(experiment: Experiment, reported: Reported) -> float:
    """The learning rate that a reported figure belongs to."""
    return reported.learning_rate or experiment.best_rate


def spread(values: list[float], digits: int = 4) -> str:
    """The mean, and the sample standard deviation where there are several values."""
    if not all(map(math.isfinite, values)):  # of runs that diverged
        return "not finite"
    mean = rounded(statistics.fmean(values), digits)
    return mean + (f" ± {rounded(statistics.stdev(values), digits)}" if len(values) > 1 else "")


def rounded(value: float, digits: int = 4) -> str:
    """Digits after the point; numbers of more than six digits before it as powers of ten."""
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.{digits}g}"


def setting(row: dict[str, Any]) -> tuple:
    """What a row of a beam study measured; a later row of the same replaces an earlier one."""
    keys = ("experiment", "source", "seed", "num_beams", "length_normalisation")
    return tuple(row[key] for key in keys)


def _read_run(path: Path) -> Run:
    run = open_run(path.parent)
    _ = run.history  # read now, so that a damaged one is reported and not met halfway
    return run


def _read_parity(path: Path) -> tuple[str, dict[str, Any]]:
    return path.name.removesuffix(PARITY) + ".onnx", read_parity_record(path)


def _read_quantization(path: Path) -> tuple[str, dict[str, Any]]:
    return path.name.removesuffix(QUANTIZATION) + ".onnx", read_quantization_record(path)


def _check_png(path: Path) -> Path:
    try:
        usable = stat.S_ISREG(path.stat().st_mode) or path.is_dir()  # a pipe would be waited for
        if usable and path.stat().st_size <= LARGEST_FILE:
            with path.open("rb") as file:
                if file.read(len(PNG)) == PNG:
                    return path
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(printable(f"cannot read {path} ({reason}): draw it again")) from error
    raise UsageError(printable(f"{path} is no PNG file: draw it again"))


def _order(run: Run) -> tuple:
    place = list(experiments).index(run.experiment.name)
    rates = run.experiment.learning_rates
    rate = rates.index(run.learning_rate) if run.learning_rate in rates else len(rates)
    return place, rate, run.record["protocol"]["seed"], str(run.path)
