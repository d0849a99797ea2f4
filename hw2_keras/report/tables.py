"""Reported beside reproduced, as text."""

import statistics
from collections.abc import Sequence

from hw2_keras import metrics
from hw2_keras.report.text import format_table
from hw2_keras.runs import Run


def sweep_table(sweep: Sequence[Run]) -> str:
    """The table of the reports: one row per rate, reproduced first, then each report's row.

    ``running loss`` is the course's training loss (mean over all batches since epoch 1),
    ``epoch loss`` the mean of the last epoch alone. A star marks the best rate.
    """
    columns = ("running_loss", "loss", "val_loss", "val_accuracy", "test_accuracy")
    rows = [["rate", "by", *map(metrics.label, columns), ""]]
    for run in sweep:
        figures = [f"{run.metrics[c]:.4f}" for c in columns]
        star = "*" if run.best else " "
        remark = run.record["divergence"] or ""
        rows.append([f"{run.learning_rate:g}{star}", "this run", *figures, remark])
        reported = run.experiment.reported_at(run.learning_rate)
        for report in dict.fromkeys(r.report for r in reported):
            found = {r.metric: f"{r.value:.4f}" for r in reported if r.report == report}
            by = ", ".join([f"report {report}", *run.departures])
            rows.append(["", by, *(found.get(c, "-") for c in columns), ""])
    return format_table(rows)


def run_table(run: Run, by: str = "this run") -> str:
    """Every figure of one run, with the reported ones of its rate beside it.

    Args:
        run: where it departs from the reports' protocol, the heading says what theirs was.
        by: heading of its figures, e.g. "5 beams"; the reports' are greedy.
    """
    differences = ["greedy"] * (by != "this run") + run.departures
    rows = [["figure", by, ", ".join(["reported", *differences])]]
    for name, value in run.metrics.items():
        if isinstance(value, (int, float)):
            reported = ", ".join(
                f"{r.value:.4f} ({r.report})"
                for r in run.experiment.reported_at(run.learning_rate)
                if r.metric == name
            )
            rows.append(
                [name, f"{value:.4f}" if isinstance(value, float) else str(value), reported]
            )
    return format_table(rows)


def seeds_table(found: Sequence[Run]) -> str:
    """One row per experiment and figure: mean ± standard deviation over its seeds, and reported.

    Args:
        found: finished runs; those of one experiment are its seeds.
    """
    groups: dict[str, list[Run]] = {}
    for run in found:
        groups.setdefault(run.experiment.name, []).append(run)
    differences = dict.fromkeys(each for run in found for each in run.departures)
    rows = [["experiment", "seeds", "figure", "this", ", ".join(["reported", *differences])]]
    for name, group in groups.items():
        for metric in (group[0].experiment.metric, *test_metrics(group[0])):
            values = [run.metrics[metric] for run in group]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            reported = ", ".join(
                f"{r.value:.4f} ({r.report})"
                for r in group[0].experiment.reported_at(group[0].learning_rate)
                if r.metric == metric
            )
            seeds = ", ".join(str(run.record["protocol"]["seed"]) for run in group)
            rows.append([name, seeds, metric, f"{statistics.mean(values):.4f}{spread}", reported])
    return format_table(rows)


def test_metrics(run: Run) -> list[str]:
    """The figures of a run on the test split, in the order they were measured."""
    return [m for m, v in run.metrics.items() if m.startswith("test_") and isinstance(v, float)]


def heading(run: Run) -> str:
    """What a run is, in one line: experiment, data and where they came from, seed, time."""
    record = run.record
    notes = "".join(f"; {note}" for note in record["notes"])
    return (
        f"{record['experiment']}: {record['source']} data ({record['origin']}{notes}), "
        f"{record['protocol']['epochs']} epochs, seed {record['protocol']['seed']}, "
        f"{record['training_seconds']:.0f} s"
    )
