"""Reported beside reproduced, as text.

A reported figure belongs to real data and to the homework's rate, epochs and settings. It never
stands beside a run at another rate; beside one of other data or epochs the heading says so.
"""

from collections.abc import Sequence

from hw2_keras.errors import printable
from hw2_keras.metrics import label
from hw2_keras.report.results import spread
from hw2_keras.report.text import format_table
from hw2_keras.runs import Run, by_seeds


def sweep_table(sweep: Sequence[Run]) -> str:
    """The table of the reports: one row per rate, reproduced first, then each report's row.

    ``running loss`` is the course's training loss (mean over all batches since epoch 1),
    ``epoch loss`` the mean of the last epoch alone. A star marks the best rate. Beside runs on
    other data or of other epochs, a report's row says what it was measured on.
    """
    columns = ("running_loss", "loss", "val_loss", "val_accuracy", "test_accuracy")
    rows = [["rate", "by", *map(label, columns), ""]]
    for run in sweep:
        figures = [_figure(run, column) for column in columns]
        star = "*" if run.best else " "
        remark = run.record["divergence"] or ""
        rows.append([f"{run.learning_rate:g}{star}", "this run", *figures, remark])
        reported = run.experiment.reported_at(run.learning_rate)
        for report in dict.fromkeys(r.report for r in reported):
            found = {r.metric: f"{r.value:.4f}" for r in reported if r.report == report}
            by = f"report {report}{_of([run])}"
            rows.append(["", by, *(found.get(column, "-") for column in columns), ""])
    return format_table(rows)


def run_table(run: Run, by: str = "this run") -> str:
    """Every figure of one run, with the reported ones of its rate beside it, where there are any.

    Args:
        run: where it departs from the reports' protocol, the heading says what theirs was.
        by: heading of its figures where they are another search's, e.g. "beam search of width 5".
    """
    greedy = ["greedy"] if by != "this run" else []
    rows = [["figure", by, f"reported{_of([run], greedy)}"]]
    for name, value in run.metrics.items():
        if isinstance(value, (int, float)):
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            rows.append([name, shown, _reported(run, name)])
    return format_table(_less_empty(rows))


def seeds_table(found: Sequence[Run]) -> str:
    """One row per experiment and figure: mean ± standard deviation over its seeds, and reported.

    Args:
        found: finished runs; those that differ in their seed alone share a row, see
            `runs.by_seeds`.
    """
    rows = [["experiment", "seeds", "figure", "this", f"reported{_of(found)}"]]
    for name, group in by_seeds(found).items():
        seeds = ", ".join(str(run.record["protocol"]["seed"]) for run in group)
        for metric in (group[0].experiment.metric, *test_metrics(group[0])):
            values = [run.metrics[metric] for run in group if metric in run.metrics]
            rows.append([name, seeds, metric, spread(values), _reported(group[0], metric)])
    return format_table(_less_empty(rows))


def test_metrics(run: Run) -> list[str]:
    """The figures of a run on the test split, in the order they were measured."""
    return [m for m, v in run.metrics.items() if m.startswith("test_") and isinstance(v, float)]


def heading(run: Run) -> str:
    """What a run is, in one line: experiment, data and where they came from, seed, time."""
    record = run.record
    notes = "".join(f"; {note}" for note in record["notes"])
    return printable(
        f"{record['experiment']}: {record['source']} data ({record['origin']}{notes}), "
        f"{record['protocol']['epochs']} epochs, seed {record['protocol']['seed']}, "
        f"{record['training_seconds']:.0f} s"
    )


def _of(found: Sequence[Run], conditions: Sequence[str] = ()) -> str:
    """What a report's figures were measured on, where the runs were not."""
    words = dict.fromkeys([*conditions, *(each for run in found for each in run.departures)])
    return f" ({', '.join(words)})" if words else ""


def _figure(run: Run, metric: str) -> str:
    return f"{run.metrics[metric]:.4f}" if metric in run.metrics else "-"


def _less_empty(rows: list[list[str]]) -> list[list[str]]:
    """Rows without their last column, what is reported, where no report has any of the figures."""
    return rows if any(row[-1] for row in rows[1:]) else [row[:-1] for row in rows]


def _reported(run: Run, metric: str) -> str:
    return ", ".join(
        f"{r.value:.4f} ({r.report})"
        for r in run.experiment.reported_at(run.learning_rate)
        if r.metric == metric
    )
