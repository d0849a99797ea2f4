"""What beam search adds: the reports of 2022-23 name it as the next step and none measured it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hw2_keras import files
from hw2_keras.data.vocabulary import Vocabulary
from hw2_keras.errors import UsageError
from hw2_keras.plots import curves, style
from hw2_keras.plots.curves import BeamRow
from hw2_keras.records import read_beam_rows
from hw2_keras.report.results import BEAMS, setting
from hw2_keras.report.tables import format_table
from hw2_keras.runs import Run
from hw2_keras.training import TASKS, sequences

WIDTHS = (1, 2, 5, 10)


def study(run: Run) -> list[dict]:
    """Measures a run's test split at every width, with and without length normalisation.

    With it, hypotheses are compared by their mean log-probability per token; without, by the
    sum, which favours short ones. At width 1 both are greedy search.

    Returns:
        One row per setting: ``experiment``, ``seed``, ``source``, ``num_beams``,
        ``length_normalisation``, ``seconds`` (search and metrics), ``length`` (see
        `length_ratio`) and the data set's metrics on the test split.

    Raises:
        UsageError: the run is a classifier.
    """
    experiment = run.experiment
    if "beam" not in TASKS[experiment.task].SEARCHES:
        raise UsageError(f"{run.path} is a classifier: beam search needs an encoder-decoder")
    prepared, models, rows = run.prepared(), run.models(), []
    vocabulary, truth = prepared.data.target_vocabulary, prepared.data.test.target
    for num_beams in WIDTHS:
        for normalised in (True, False):
            started = time.perf_counter()
            texts = sequences.decode_split(
                models,
                prepared.test,
                vocabulary,
                experiment.max_length,
                search="beam",
                num_beams=num_beams,
                length_penalty=float(normalised),
            )
            found = sequences.figures(experiment.measures, texts, truth)
            rows.append(
                {
                    "experiment": experiment.name,
                    "seed": run.record["protocol"]["seed"],
                    "source": run.record["source"],
                    "num_beams": num_beams,
                    "length_normalisation": normalised,
                    "seconds": round(time.perf_counter() - started, 2),
                    "length": round(length_ratio(texts, truth, vocabulary), 4),
                }
                | {f"test_{name}": value for name, value in found.items()}
            )
    return rows


def length_ratio(texts: Sequence[str], truth: Sequence, vocabulary: Vocabulary) -> float:
    """Tokens written for each token of the truth; of several references their mean counts."""

    def count(text: str) -> int:
        return len(vocabulary.split(text)) if text.strip() else 0

    references = [[group] if isinstance(group, str) else group for group in truth]
    return sum(map(count, texts)) / sum(sum(map(count, g)) / len(g) for g in references)


def read(folder: Path) -> list[dict]:
    """The rows that a folder has already; errors as in ``records.read_beam_rows``."""
    return read_beam_rows(folder / BEAMS) if (folder / BEAMS).exists() else []


def write(rows: Sequence[dict], folder: Path) -> list[Path]:
    """Adds rows to a folder's ``beam_search.json``, draws all that it holds, returns the paths.

    A row takes the place of an older one of its setting. Errors: see `read`.
    """
    every = {setting(row): row for row in [*read(folder), *rows]}
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / BEAMS, list(every.values()))
    title = _titles(list(every.values()))
    drawn = [
        BeamRow(title(row), name, row["num_beams"], row["length_normalisation"], value)
        for row in every.values()
        for name, value in row.items()
        if name.startswith("test_") and name != "test_wer"
    ]
    return [folder / BEAMS, style.save(curves.beam_plot(drawn), folder / "beam_search")[0]]


def check(found: Sequence[Run]) -> None:
    """Checks that no two runs have rows of the same setting: the later would replace the earlier.

    Raises:
        UsageError: two runs of one experiment, one source and one seed.
    """
    seen: dict[tuple, Run] = {}
    for run in found:
        key = (run.experiment.name, run.record["source"], run.record["protocol"]["seed"])
        if key in seen:
            raise UsageError(
                f"{seen[key].path} and {run.path} are the same experiment, data and seed: measure "
                "one of them into another --out"
            )
        seen[key] = run


def _titles(rows: Sequence[dict]) -> Callable[[dict], str]:
    """What a row's model is called; which data it is of where there are both kinds."""
    both = len({row["source"] for row in rows}) > 1
    return lambda row: row["experiment"] + f", {row['source']} data" * both


def table(rows: Sequence[dict]) -> str:
    """The rows as text: a line per model and setting, mean over the seeds."""
    groups: dict[tuple, list[dict]] = {}
    title = _titles(rows)
    for row in rows:
        key = (title(row), row["num_beams"], row["length_normalisation"])
        groups.setdefault(key, []).append(row)
    lines = [["model", "beams", "length norm", "seeds", "length", "metrics (test)"]]
    for (name, width, normalised), group in groups.items():
        metrics = [key for key in group[0] if key.startswith("test_")]
        means = {m: sum(row[m] for row in group) / len(group) for m in ("length", *metrics)}
        shown = "  ".join(f"{m[5:]} {means[m]:.4f}" for m in metrics)
        norm = "on" if normalised else "off"
        lines.append([name, str(width), norm, str(len(group)), f"{means['length']:.3f}", shown])
    return format_table(lines)
