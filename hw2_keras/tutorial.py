"""What the tutorials share: arguments, section titles, saved plots, and a run opened or trained.

A tutorial reads its arguments before it imports Keras, which takes seconds to start: ``--help`` and
a wrong argument are answered at once.
"""

import argparse
import builtins
import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import hw2_keras as hw2
from hw2_keras.cli import Parser, quiet_start
from hw2_keras.data import SOURCES
from hw2_keras.runs import RECORD, WEIGHTS, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED = 42
RUNS = Path("runs")
# The committed records: beside the package in a clone, nowhere in an installed package.
RESULTS = Path(__file__).resolve().parents[1] / "results"


def arguments(epochs: int) -> argparse.Namespace:
    """Reads ``--source``, ``--epochs`` and ``--out``, then starts Keras without its log lines.

    A notebook and the gallery have no arguments. From here on a ``UsageError`` (missing data, say)
    ends the script with one line and status 2.

    Args:
        epochs: default on synthetic data.

    Returns:
        ``source``; ``epochs``, None where real data are trained as long as the homework says; and
        ``out``, the folder of the runs, None where it is not given, see :func:`train`.
    """
    parser = Parser()
    parser.add_argument("--source", choices=SOURCES, default="synthetic", help="of the data")
    parser.add_argument(
        "--epochs", type=_epochs, help=f"{epochs} on synthetic data, the homework's on real data"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the runs: runs, and results where a run is there"
    )
    given = parser.parse_args([] if _is_notebook() else None)
    if given.epochs is None and given.source == "synthetic":
        given.epochs = epochs
    if not _shows_plots():
        sys.excepthook = _one_line
    with quiet_start():
        # tqdm's remark on a notebook without widgets
        warnings.filterwarnings("ignore", message="IProgress not found")
        import keras  # noqa: F401
    # Tutorials decode single examples, and TensorFlow remarks on every new shape.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return given


def section(title: str) -> None:
    """Prints the title of a section between the numbers of a script; a notebook shows it anyway."""
    if not _shows_plots():
        print(f"\n{title}\n{'-' * len(title)}")


def train(name: str, options: argparse.Namespace, weights: bool = False) -> Run:
    """Opens the run that the arguments ask for where it is finished, or trains it, see ``train``.

    Args:
        name: of an experiment, trained at its best rate.
        options: from :func:`arguments`. Without ``out``, runs are looked for in ``runs`` and among
            the committed records in ``results``, and trained in ``runs``.
        weights: whether the tutorial needs them; ``results`` keeps those of few runs.
    """
    run = _finished(name, hw2.experiments[name].best_rate, options, weights)
    if run:
        _say_opened([run])
        return run
    return hw2.train(
        name, epochs=options.epochs, seed=SEED, source=options.source, out=options.out or RUNS
    )


def sweep(name: str, options: argparse.Namespace) -> list[Run]:
    """Opens or trains a run at each learning rate of an experiment, as :func:`train` does one."""
    found = [_finished(name, rate, options) for rate in hw2.experiments[name].learning_rates]
    if all(found) and any(run.best for run in found):
        _say_opened(found)
        return found
    return hw2.sweep(name, options.epochs, SEED, options.source, options.out or RUNS)


def file(name: str) -> Path:
    """``runs/tutorials/SCRIPT/name`` below the current folder; makes the folders."""
    path = Path(RUNS, "tutorials", Path(sys.argv[0]).stem, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def show(figure: "Figure", name: str) -> None:
    """Shows a plot in the gallery or a notebook; a script saves it as PNG and PDF instead.

    Args:
        figure: made without pyplot.
        name: of the saved files, see :func:`file`.
    """
    if _shows_plots():
        import matplotlib.pyplot as plt

        plt.figure(figure)  # both collect the figures that pyplot knows
        return
    from hw2_keras.plots import style

    png, _ = style.save(figure, file(name))
    print(f"plot: {png}")


def _is_notebook() -> bool:
    return hasattr(builtins, "__IPYTHON__")


def _shows_plots() -> bool:
    return _is_notebook() or "sphinx_gallery" in sys.modules


def _finished(
    name: str, rate: float, options: argparse.Namespace, weights: bool = False
) -> Run | None:
    """The finished run of this protocol on these data, if there is one."""
    epochs = options.epochs or hw2.experiments[name].epochs
    wanted = {"learning_rate": rate, "epochs": epochs, "seed": SEED}
    folders = [options.out] if options.out else [RUNS, RESULTS]
    records = [path for out in folders for path in out.glob(f"{name}-{options.source}-*/{RECORD}")]
    for run in (hw2.open_run(path.parent) for path in records):
        if wanted.items() <= run.record["protocol"].items() and (
            not weights or (run.path / WEIGHTS).exists()
        ):
            data = hw2.load_data(name, source=options.source)
            if run.record["fingerprint"] == data.fingerprint:
                return run
    return None


def _say_opened(found: list[Run]) -> None:
    for run in found:
        seconds = run.record["training_seconds"]
        print(f"opened {run.path}, trained before in {seconds / 60:.1f} minutes")
    print("(add --out and the name of a new folder to train your own)")


def _epochs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _one_line(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    if issubclass(kind, hw2.UsageError):
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.__excepthook__(kind, error, traceback)
