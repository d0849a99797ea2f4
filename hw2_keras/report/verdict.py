"""Is a reported figure reproduced? Means and intervals over seeds, and one word for each.

Reads records only: neither Keras nor TensorFlow is imported.
"""

import json
import math
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hw2_keras import files, metrics
from hw2_keras.report.results import Figure, figures
from hw2_keras.report.text import format_table
from hw2_keras.runs import Run

VERDICT = "verdict.json"
VERDICTS = ("better", "matched", "worse", "not judged")
NORMAL = 1.959964  # 97.5 % quantile of the normal distribution

# 97.5 % quantiles of Student's t by degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.2);
# SciPy is not among the pinned packages.
T_QUANTILES = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262,
    10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980,
}  # fmt: skip

METHOD = (
    "Ours is the mean over seeds. Its 95 % interval has two parts: what chance in training moves "
    "(Student's t over the seeds) and what another test set of the same size would move (a "
    "standard error, binomial for accuracies, bootstrapped over the examples for BLEU and error "
    "rates; the mean of the seeds whose record has one, and older records of encoder-decoders have "
    "none). Variances are added; the degrees of freedom are Welch-Satterthwaite's. The reported "
    "figure is matched where it lies inside, else ours is better or worse. Limits: a report is one "
    "run, whose own chance is not in the interval, so a figure just outside may still be the same "
    "protocol; with one seed only the test set counts, which is too narrow, and a loss, which has "
    "no such error, is not judged; the reports' splits into training and validation are not known; "
    "of twenty figures judged, one lies outside by chance alone. Figures of other data than the "
    "reports' are not judged, nor are losses outside the interval: a loss is no aim as such."
)


@dataclass(frozen=True)
class Verdict:
    """A reported figure beside ours.

    Attributes:
        experiment, rate, report, metric: whose figure.
        reported: as printed.
        seeds: of our runs; empty where nothing was reproduced.
        mean: ours; None where nothing was reproduced.
        low, high: the 95 % interval; None where neither seeds nor test set give one.
        basis: what the interval holds: "seeds and test set", "seeds", "test set" or "".
        verdict: "matched", "better", "worse" or "not judged".
        reason: why it was not judged.
    """

    experiment: str
    rate: float
    report: str
    metric: str
    reported: float
    seeds: tuple[int, ...] = ()
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    basis: str = ""
    verdict: str = "not judged"
    reason: str = ""

    @property
    def interval(self) -> str:
        """The interval as text; empty where there is none."""
        return "" if self.low is None else f"{self.low:.4f} to {self.high:.4f}"


def verdicts(runs: Iterable[Run], names: Collection[str] | None = None) -> list[Verdict]:
    """Every reported figure of the registry, judged; arguments as for `results.figures`."""
    return [judge(figure) for figure in figures(runs, names)]


def judge(figure: Figure) -> Verdict:
    """One reported figure, by the runs that reproduce it."""
    metric, reported, runs = figure.reported.metric, figure.reported.value, figure.runs
    seeds = tuple(run.record["protocol"]["seed"] for run in runs)
    row = Verdict(
        figure.experiment.name, figure.rate, figure.reported.report, metric, reported, seeds
    )
    if not runs:
        return replace(row, reason="no run")
    if not all(map(math.isfinite, figure.values)):
        return replace(row, reason="diverged")
    mean = statistics.fmean(figure.values)
    half, basis = half_width(figure.values, sampling_error(runs, metric))
    row = replace(row, mean=mean)
    if half is not None:
        row = replace(row, low=mean - half, high=mean + half, basis=basis)
    if reason := other_data(runs):
        return replace(row, reason=reason)
    if half is None:
        alone = "one seed" if len(seeds) == 1 else "seeds that do not differ"
        return replace(row, reason=f"{alone}, and no error of the test set")
    if abs(reported - mean) <= half:
        return replace(row, verdict="matched")
    if metrics.metric(metric).higher_is_better is None:
        return replace(row, reason="outside, but a loss is no aim as such")
    return replace(row, verdict="better" if figure.gain > 0 else "worse")


def other_data(runs: Sequence[Run]) -> str:
    """Why runs cannot be compared with a report, or ""."""
    if any(run.record["source"] != "real" for run in runs):
        return "synthetic data"
    if any(run.record["notes"] for run in runs):
        return "other data"
    if any(run.record["protocol"]["epochs"] != run.experiment.epochs for run in runs):
        return "other epochs"
    if any(run.departures for run in runs):
        return "another protocol"
    return ""


def half_width(values: Sequence[float], sampling: float | None) -> tuple[float | None, str]:
    """Half the 95 % interval of a mean, and what it rests on.

    Args:
        values: the figure of each seed.
        sampling: standard error from the finite test set; None: not known.

    Returns:
        None where nothing varies: one seed or equal figures, and no error of the test set.

    >>> half_width([0.5, 0.6], None)[0]  # 12.706 * 0.0707 / sqrt(2)
    0.6353...
    """
    n = len(values)
    between = statistics.variance(values) / n if n > 1 else 0.0
    if between == 0:
        basis = "seeds and test set" if n > 1 else "test set"
        return (None, "") if sampling is None else (NORMAL * sampling, basis)
    variance = between + (sampling or 0.0) ** 2
    ratio = variance / between
    freedom = (n - 1) * ratio * ratio  # a power would overflow, a product is infinite
    return t_quantile(freedom) * math.sqrt(variance), "seeds and test set" if sampling else "seeds"


def t_quantile(freedom: float) -> float:
    """97.5 % quantile of Student's t; between the tabled degrees of freedom the larger one."""
    lower = [n for n in T_QUANTILES if n <= freedom]
    return T_QUANTILES[max(lower)] if lower else T_QUANTILES[1]


def sampling_error(runs: Sequence[Run], metric: str) -> float | None:
    """Standard error of a figure from the finite number of test examples, mean over the seeds.

    A record has it by name in ``standard_errors``. For older records the binomial error of the
    test accuracy follows from the confusion matrix.
    """
    found = [_sampling_error(run, metric) for run in runs]
    known = [error for error in found if error is not None]
    return statistics.fmean(known) if known else None


def _sampling_error(run: Run, metric: str) -> float | None:
    if metric in (stored := run.record.get("standard_errors", {})):
        return stored[metric]
    if metric == "test_accuracy" and "test_confusion" in run.metrics:
        p, n = run.metrics[metric], sum(map(sum, run.metrics["test_confusion"]))
        return math.sqrt(p * (1 - p) / n)
    return None


def table(rows: Sequence[Verdict]) -> str:
    """The verdicts as text, and how many there are of each."""
    lines = [["experiment", "rate", "report", "figure", "reported", "ours", "95 %", "verdict"]]
    for row in rows:
        seeds = f" ({len(row.seeds)} seeds)" if len(row.seeds) > 1 else ""
        verdict = row.verdict + (f" ({row.reason})" if row.reason else "")
        ours = "" if row.mean is None else f"{row.mean:.4f}{seeds}"
        place = [row.experiment, f"{row.rate:g}", row.report, row.metric, f"{row.reported:.4f}"]
        lines.append([*place, ours, row.interval, verdict])
    return f"{format_table(lines)}\n{', '.join(f'{n} {word}' for word, n in counts(rows))}"


def counts(rows: Sequence[Verdict]) -> list[tuple[str, int]]:
    """How many there are of each of `VERDICTS`."""
    return [(word, sum(row.verdict == word for row in rows)) for word in VERDICTS]


def write(rows: Sequence[Verdict], folder: Path) -> Path:
    """Writes ``verdict.json``: the method and every row."""
    path = folder / VERDICT
    files.write_json(path, {"method": METHOD, "figures": [asdict(row) for row in rows]})
    return path


def read(folder: Path) -> list[Verdict]:
    """Reads what ``write`` wrote."""
    content = json.loads((folder / VERDICT).read_text(encoding="utf-8"))
    return [Verdict(**row | {"seeds": tuple(row["seeds"])}) for row in content["figures"]]
