"""What beam search adds: the reports of 2022-23 name it as the next step and none measured it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from hw2_keras import generation, plots, runs
from hw2_keras.errors import UsageError
from hw2_keras.plots import BeamRow
from hw2_keras.report import format_table
from hw2_keras.runs import Run

WIDTHS = (1, 2, 5, 10)


def study(run: Run) -> list[dict]:
    """Measures a run's test split at every width, with and without length normalisation.

    With it, hypotheses are compared by their mean log-probability per token; without, by the
    sum, which favours short ones. At width 1 both are greedy search.

    Returns:
        One row per setting: ``experiment``, ``seed``, ``source``, ``num_beams``,
        ``length_normalisation``, ``seconds`` and the data set's metrics on the test split.

    Raises:
        UsageError: the run is a classifier.
    """
    if run.experiment.task == "classification":
        raise UsageError(f"{run.path} is a classifier: beam search needs an encoder-decoder")
    prepared = generation.prepare(run.data(), run.path.parent)
    models, rows = run.models(), []
    for num_beams in WIDTHS:
        for normalised in (True, False):
            started = time.perf_counter()
            found = generation.evaluate_split(
                models,
                prepared,
                run.experiment,
                "test",
                search="beam",
                num_beams=num_beams,
                length_penalty=float(normalised),
            )
            rows.append(
                {
                    "experiment": run.experiment.name,
                    "seed": run.record["protocol"]["seed"],
                    "source": run.record["source"],
                    "num_beams": num_beams,
                    "length_normalisation": normalised,
                    "seconds": round(time.perf_counter() - started, 2),
                }
                | {f"test_{name}": value for name, value in found.items()}
            )
    return rows


def write(rows: Sequence[dict], folder: Path) -> list[Path]:
    """Writes ``beam_search.json`` and its figure into a folder and returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / "beam_search.json", list(rows))
    drawn = [
        BeamRow(row["experiment"], name, row["num_beams"], row["length_normalisation"], value)
        for row in rows
        for name, value in row.items()
        if name.startswith("test_") and name != "test_wer"
    ]
    return [
        folder / "beam_search.json",
        plots.save(plots.beam_figure(drawn), folder / "beam_search")[0],
    ]


def read(folder: Path) -> list[dict]:
    """Reads the rows that ``write`` wrote."""
    return json.loads((folder / "beam_search.json").read_text(encoding="utf-8"))


def table(rows: Sequence[dict]) -> str:
    """The rows as text: a line per model and setting, mean over the seeds."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        key = (row["experiment"], row["num_beams"], row["length_normalisation"])
        groups.setdefault(key, []).append(row)
    lines = [["model", "beams", "length norm", "seeds", "metrics (test)"]]
    for (name, width, normalised), group in groups.items():
        metrics = [key for key in group[0] if key.startswith("test_")]
        means = (f"{m[5:]} {sum(row[m] for row in group) / len(group):.4f}" for m in metrics)
        lines.append(
            [name, str(width), "on" if normalised else "off", str(len(group)), "  ".join(means)]
        )
    return format_table(lines)
