"""What follows from finished runs: plots, beam tables, exported files with their parity.

The export is called as a command: ``hw2_keras`` imports nothing of ``export``, and a fresh process
shares neither threads nor memory with what ran before.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from hw2_keras.errors import UsageError
from hw2_keras.files import first_line
from hw2_keras.records import read_beam_rows
from hw2_keras.report.results import BEAMS, PARITY
from hw2_keras.runs import WEIGHTS, Run


class Step(NamedTuple):
    """Something that is made once from finished runs.

    Attributes:
        name: what it makes.
        runs: from these; their weights are needed.
        done: whether all that it makes is there.
        make: does it.
    """

    name: str
    runs: Sequence[Run]
    done: bool
    make: Callable[[], object]


def folder(out: Path, source: str, epochs: int | None) -> Path:
    """Where plots of several runs, exported files and the page go; makes the folder.

    Runs of other data or fewer epochs must not overwrite what belongs to the reports' protocol.
    """
    name = source if epochs is None else f"{source}-epochs{epochs}"
    made = out if (source, epochs) == ("real", None) else out / name
    made.mkdir(exist_ok=True)
    return made


def make(runs: Sequence[Run], seed: int, made: Path, device: str) -> dict[str, str]:
    """Makes what is missing; returns the steps that failed and why.

    A step is not made again, unless the file that marks its beginning is left: then it was
    interrupted. One whose weights are not kept is left out, and said so.

    Args:
        runs: the finished runs.
        seed: the one that every rate was trained with.
        made: see `folder`.
        device: "auto" or "cpu".
    """
    failed: dict[str, str] = {}
    for step in steps(runs, seed, made):
        marker = made / f".making-{step.name.replace(' ', '-')}"
        if step.done and not marker.exists():
            continue
        if bare := [run.path for run in step.runs if not (run.path / WEIGHTS).exists()]:
            print(f"{step.name}: left out, {bare[0]} has no {WEIGHTS}", file=sys.stderr)
            continue
        print(f"{step.name} ...", file=sys.stderr, flush=True)
        try:
            from hw2_keras.training import devices

            marker.touch()
            devices.use(device)
            step.make()
        except Exception as error:  # the other steps are still worth making
            failed[step.name] = first_line(error)
        else:
            marker.unlink()
    return failed


def steps(runs: Sequence[Run], seed: int, made: Path) -> Iterator[Step]:
    """Every step in its order."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        experiment = run.experiment
        alone = experiment.name if experiment.task == "classification" else ""
        groups.setdefault((experiment.edition, experiment.question, alone), []).append(run)
    for group in groups.values():
        if group[0].experiment.task == "classification":
            yield from _sweep(group, seed, made)
        else:
            yield _comparison(group, made)
    if generating := [run for run in runs if run.experiment.task != "classification"]:
        yield _beams(generating, made)
    for run in runs:
        chosen = run.learning_rate == run.experiment.best_rate and _seed(run) == seed
        if chosen and not run.record["divergence"]:
            yield _export(run, made / "onnx")


def _sweep(runs: Sequence[Run], seed: int, made: Path) -> Iterator[Step]:
    """The best rate, and the plots of all rates of one classifier."""
    experiment = runs[0].experiment
    rates = {run.learning_rate: run for run in runs if _seed(run) == seed}
    if set(rates) != set(experiment.learning_rates):
        return  # a run failed: nothing can be said about the best
    ordered = [rates[rate] for rate in experiment.learning_rates]
    place = made / ordered[0].sweep_folder

    def draw() -> None:
        from hw2_keras.plots import of_runs
        from hw2_keras.training.fit import mark_best

        of_runs.illustrate_sweep(mark_best(ordered), place)

    done = (place / "curves_all_rates.png").exists()
    yield Step(f"plots of {experiment.name}", ordered, done, draw)


def _comparison(runs: Sequence[Run], made: Path) -> Step:
    """The plots of encoder-decoders with and without attention, and their curves together."""
    names = list(dict.fromkeys(run.experiment.name for run in runs))
    outputs = [run.path / "plots" / "curves.png" for run in runs]
    if len(names) > 1:
        outputs.append(made / f"{'_and_'.join(names)}_{runs[0].experiment.metric}.png")

    def draw() -> None:
        from hw2_keras.plots import of_runs

        for run in runs:
            of_runs.illustrate(run)
        if len(names) > 1:
            of_runs.compare(runs, made)

    done = all(path.exists() for path in outputs)
    return Step(f"plots of {' and '.join(names)}", runs, done, draw)


def _beams(runs: Sequence[Run], made: Path) -> Step:
    """Beam search of every run at every width; runs that were studied already are kept."""
    try:
        known = read_beam_rows(made / BEAMS) if (made / BEAMS).exists() else []
    except UsageError as error:
        return Step("beam search", [], False, partial(_fail, error))
    done = {(row["experiment"], row["seed"]) for row in known}
    missing = [run for run in runs if (run.experiment.name, _seed(run)) not in done]

    def study() -> None:
        from hw2_keras.report import beams

        for run in missing:
            beams.write(beams.study(run), made)

    return Step("beam search", missing, not missing, study)


def _export(run: Run, place: Path) -> Step:
    """The ONNX file of one run, and its parity with Keras."""
    file = place / f"{run.experiment.name}.onnx"

    def export() -> None:
        place.mkdir(exist_ok=True)
        command("-m", "export", "convert", run.path, "--output", file)
        command("-m", "export", "verify", file, "--run", run.path)

    done = file.exists() and file.with_suffix(PARITY).exists()
    return Step(file.name, [run], done, export)


def command(*arguments: str | Path) -> str:
    """Runs ``python ARGUMENTS`` and returns what it printed; its steps are told meanwhile.

    Raises:
        UsageError: it failed; the message is its last line.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as shown,
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=os.environ | {"PYTHONIOENCODING": "utf-8"},
            stdout=shown,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        ) as process,
    ):
        told = [_tell(line) for line in process.stderr or ()]
        status = process.wait()
        shown.seek(0)
        printed = shown.read()
    if status:
        raise UsageError(("".join(told).strip() or printed.strip() or "killed").splitlines()[-1])
    return printed


def _tell(line: str) -> str:
    print(line, end="", file=sys.stderr, flush=True)
    return line


def _fail(error: UsageError) -> NoReturn:
    raise error


def _seed(run: Run) -> int:
    return run.record["protocol"]["seed"]
