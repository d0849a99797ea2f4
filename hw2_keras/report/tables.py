"""Reported beside reproduced, as text."""

import statistics
from collections.abc import Sequence

from hw2_keras.runs import Run

HEADINGS = {
    "running_loss": "running loss",
    "loss": "epoch loss",
    "val_loss": "val loss",
    "val_accuracy": "val acc",
    "test_accuracy": "test acc",
}


def sweep_table(sweep: Sequence[Run]) -> str:
    """The table of the reports: one row per rate, reproduced first, then each report's row.

    ``running loss`` is the course's training loss (mean over all batches since epoch 1),
    ``epoch loss`` the mean of the last epoch alone. A star marks the best rate.
    """
    columns = ("running_loss", "loss", "val_loss", "val_accuracy", "test_accuracy")
    rows = [["rate", "by", *(HEADINGS[c] for c in columns), ""]]
    for run in sweep:
        figures = [f"{run.metrics[c]:.4f}" for c in columns]
        star = "*" if run.best else " "
        remark = run.record["divergence"] or ""
        rows.append([f"{run.learning_rate:g}{star}", "this run", *figures, remark])
        reported = [r for r in run.experiment.reported if r.learning_rate == run.learning_rate]
        for report in dict.fromkeys(r.report for r in reported):
            found = {r.metric: f"{r.value:.4f}" for r in reported if r.report == report}
            rows.append(["", f"report {report}", *(found.get(c, "-") for c in columns), ""])
    return format_table(rows)


def run_table(run: Run) -> str:
    """Every figure of one run, with the reported ones beside it."""
    rows = [["figure", "this run", "reported"]]
    for name, value in run.metrics.items():
        if isinstance(value, (int, float)):
            reported = ", ".join(
                f"{r.value:.4f} ({r.report})"
                for r in run.experiment.reported
                if r.metric == name and r.learning_rate in (None, run.learning_rate)
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
    rows = [["experiment", "seeds", "figure", "this", "reported"]]
    groups: dict[str, list[Run]] = {}
    for run in found:
        groups.setdefault(run.experiment.name, []).append(run)
    for name, group in groups.items():
        for metric in (group[0].experiment.metric, *test_metrics(group[0])):
            values = [run.metrics[metric] for run in group]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            reported = ", ".join(
                f"{r.value:.4f} ({r.report})"
                for r in group[0].experiment.reported
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


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of strings as aligned text, the first one underlined."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in lines)
