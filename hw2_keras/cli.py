"""``python -m hw2_keras COMMAND``; see ``--help``."""

import argparse
import contextlib
import logging
import math
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from hw2_keras._version import __version__
from hw2_keras.errors import UsageError, printable
from hw2_keras.experiments import experiments
from hw2_keras.files import check_folder

if TYPE_CHECKING:
    from hw2_keras.runs import Run

LONGEST_LINE = 1_000  # characters of a message


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the whole usage."""

    def parse_known_args(self, args=None, namespace=None):
        given = sys.argv[1:] if args is None else list(args)
        for word in given:
            if "\0" in word or word.endswith("=--"):  # argparse takes "--" out, then misses it
                self.error(f"{word!r}: expected another value")
        found, unknown = super().parse_known_args(given, namespace)
        if unknown:  # said by the command that they were given to
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, one_line(f"{self.prog}: {message} (see {self.prog} --help)") + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 for failed runs, 2 for bad input, 130 when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without the phonetic letters shows codes
            stream.reconfigure(errors="backslashreplace")
    os.environ.pop("MPLBACKEND", None)  # pictures are files; one that is unknown stops Keras
    options = parser().parse_args(arguments)
    try:
        if "out" in options:
            check_folder(options.out)
        with interrupts_kept():
            status = options.command(options) or 0
        sys.stdout.flush()
        return status
    except UsageError as error:
        complain(str(error))
    except ModuleNotFoundError as error:
        complain(missing_library(error))
    except OSError as error:
        if reader_is_gone(error):
            return 0
        complain(f"{error.filename or 'a file'} cannot be used ({error.strerror or error})")
    except KeyboardInterrupt:
        kept = "what was written before is kept; repeat the command to finish"
        print(f"\nhw2: interrupted; {kept}", file=sys.stderr)
        return 130
    return 2


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Lets Ctrl-C end a command also where a library in C++ makes an error of its own of it."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # somebody else listens
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception as error:
        if seen:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def complain(message: str) -> None:
    print(one_line(f"hw2: {message}"), file=sys.stderr)


def reader_is_gone(error: OSError) -> bool:
    """Whether an error is that the reader, such as head, has seen enough; nothing more is printed.

    There are other pipes that may break, to a training process for one.
    """
    if not isinstance(error, BrokenPipeError):
        return False
    stdout = select.poll()
    stdout.register(1, 0)  # only whether it is broken
    if not stdout.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return True


def one_line(text: str) -> str:
    """Printable, and without the middle where an argument in it has no end."""
    text = printable(text)
    return text if len(text) <= LONGEST_LINE else f"{text[:600]} ... {text[-300:]}"


def missing_library(error: ModuleNotFoundError) -> str:
    """What to do where a library of the training install is not there.

    Raises:
        ModuleNotFoundError: what is missing is a part of this package, which is a mistake of ours.
    """
    library = (error.name or "").partition(".")[0]
    if library in ("", "hw2_keras", "export"):
        raise error
    return (
        f"{sys.executable} has no {library}: use .venv/bin/python after 'make demo' or 'make test' "
        "in a clone, or 'pip install .[train]'; a base install only runs exported files"
    )


def parser() -> argparse.ArgumentParser:
    """The command line, built without importing Keras."""
    top = Parser(
        prog="python -m hw2_keras",
        description="Homework experiments in Keras, beside their reports.",
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(function: Callable, name: str, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=function)
        return sub

    command(list_experiments, "list", "list the experiments")
    sub = command(summary, "summary", "print a model's summary")
    sub.add_argument("name", metavar="NAME", help="an experiment, see 'list'")
    sub.add_argument("--derive", action="store_true", help="show the arithmetic of each layer")
    command(show_data, "data", "list the data sets: found where, or how to get them")
    sub = command(train, "train", "train one run of an experiment")
    sub.add_argument("--learning-rate", type=float, help="default: the reports' best")
    sub.add_argument(
        "--encoder",
        metavar="PRESET_OR_FOLDER",
        help="of a captioner's real images; default: resnet_18_imagenet, from HW2_DATA_DIR where "
        "it is there",
    )
    add_training(sub)
    add_training(command(sweep, "sweep", "train an experiment at each of its learning rates"))
    add_reproduction(command(reproduce, "reproduce", "train, draw, export and judge everything"))
    sub = command(worker, "worker", "join a cluster and train runs for it")
    sub.add_argument("address", metavar="ADDRESS", help="of its scheduler, tcp://HOST:8786")
    add_measuring(command)
    add_exercise(command(exercise, "exercise", "exercises that check themselves"))
    for function, name, help in (
        (theory, "theory", "draw the pictures of the paper questions"),
        (demo, "demo", "train, export, verify and use small models; writes a page"),
    ):
        sub = command(function, name, help)
        sub.add_argument("--out", type=Path, default=Path(name), help="default: %(default)s")
    return top


def add_training(sub: argparse.ArgumentParser) -> None:
    """What ``train`` and ``sweep`` take."""
    sub.add_argument("name", metavar="NAME", help="an experiment, see 'list'")
    sub.add_argument("--epochs", type=int, help="default: as in the homework")
    sub.add_argument("--seed", type=int, default=42, help="default: %(default)s")
    sub.add_argument(
        "--source", choices=("synthetic", "real"), default="synthetic", help="data to train on"
    )
    sub.add_argument("--out", type=Path, default=Path("runs"), help="default: %(default)s")
    add_device(sub)


def add_reproduction(sub: argparse.ArgumentParser) -> None:
    """What ``reproduce`` takes."""
    sub.add_argument("names", metavar="NAME", nargs="*", help="default: all of the homework")
    sub.add_argument("--edition", help="only one homework's, e.g. 2024-25, or beyond")
    sub.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[42],
        metavar="SEED",
        help="the first trains every rate, the others the best one; default: 42",
    )
    sub.add_argument("--source", choices=("synthetic", "real"), default="synthetic")
    sub.add_argument("--out", type=Path, default=Path("results"), help="default: %(default)s")
    sub.add_argument("--epochs", type=int, help="default: as in the homework")
    group = sub.add_mutually_exclusive_group()
    group.add_argument("--workers", type=int, metavar="N", help="train N runs at once here")
    group.add_argument("--cluster", metavar="ADDRESS", help="train on a running Dask cluster")
    sub.add_argument("--dry-run", action="store_true", help="print the plan and the time")
    add_device(sub)


def add_measuring(command: Callable[[Callable, str, str], argparse.ArgumentParser]) -> None:
    """The commands that read finished runs."""
    sub = command(evaluate, "evaluate", "print every figure of a run beside the reported one")
    sub.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    sub.add_argument("--search", choices=("greedy", "beam", "nucleus"), default="greedy")
    sub.add_argument("--num-beams", type=int, metavar="K", help="for beam; default: 5")
    sub.add_argument("--top-p", type=float, metavar="P", help="for nucleus; default: 0.8")
    sub = command(plot, "plot", "draw the pictures of runs again, and compare several")
    sub.add_argument("runs", type=Path, metavar="RUN", nargs="+", help="a run's folder")
    sub = command(beams, "beams", "measure beam search at several widths, for several runs")
    sub.add_argument("runs", type=Path, metavar="RUN", nargs="+", help="a run's folder")
    sub.add_argument("--out", type=Path, default=Path("runs"), help="default: %(default)s")
    sub = command(ladder, "ladder", "show what ideas beyond the homework gave, one a rung")
    sub.add_argument("name", metavar="NAME", help="of a data set, e.g. kmnist")
    sub.add_argument(
        "--results", type=Path, default=Path("results"), help="runs; default: %(default)s"
    )
    sub.add_argument("--out", type=Path, default=Path("ladder"), help="default: %(default)s")
    sub = command(report, "report", "write the page 'reported / reproduced'")
    sub.add_argument(
        "--results", type=Path, default=Path("results"), help="runs; default: %(default)s"
    )
    sub.add_argument("--out", type=Path, default=Path("site"), help="default: %(default)s")


def add_exercise(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("edition", metavar="EDITION", nargs="?", help="e.g. 2024-25; default: all")
    sub.add_argument("number", metavar="NUMBER", nargs="?", type=int, help="of one exercise")
    group = sub.add_mutually_exclusive_group()
    group.add_argument(
        "--answer", metavar="ANSWER", help="check it: what is asked for, or FILE.py with a function"
    )
    group.add_argument("--hint", action="store_true", help="show the hints")
    group.add_argument("--solution", action="store_true", help="show an answer that is right")


def add_device(sub: argparse.ArgumentParser) -> None:
    help = "cpu: leave the GPU alone; default: take one where there is one"
    sub.add_argument("--device", choices=("auto", "cpu"), default="auto", help=help)


def list_experiments(options: argparse.Namespace) -> None:
    from hw2_keras.report.text import format_table

    rows = [["name", "edition", "question", "parameters", "data", "what"]]
    for record in experiments.values():
        place = (record.edition, record.question)
        rows.append(
            [record.name, *place, f"{record.parameters or 0:,}", record.data or "-", record.title]
        )
    print(format_table(rows))


def summary(options: argparse.Namespace) -> None:
    record = experiments[options.name]  # before Keras is imported
    with quiet_start():
        from hw2_keras.models import build
    model = build(options.name)
    model.summary()
    if options.derive:
        from hw2_keras.theory.derivation import derive, format_derivation

        print(format_derivation(derive(model)))
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    if trainable != record.parameters:
        said = f"{record.parameters or 0:,}"
        print(f"The record says {said} parameters: correct it in hw2_keras/experiments.py.")


def show_data(options: argparse.Namespace) -> None:
    from hw2_keras.data import describe

    folder = os.environ.get("HW2_DATA_DIR")
    print(printable(f"HW2_DATA_DIR: {folder or 'not set'}"))
    for row in describe():
        if row.problem:
            print(printable(f"{row.name:10} damaged: {row.problem}"))
        elif row.path is None:
            print(f"{row.name:10} not found: {row.how_to_get}")
        else:
            sizes = " / ".join(f"{size:,}" for size in row.sizes or ())
            print(printable(f"{row.name:10} {sizes} (train / val / test) in {row.path}"))


def train(options: argparse.Namespace) -> None:
    experiments[options.name]
    with quiet_start():
        from hw2_keras.plots import of_runs
        from hw2_keras.report import tables
        from hw2_keras.training import devices, fit
    devices.use(options.device)
    fit.set_threads(options.name)
    run = fit.train(
        options.name,
        options.learning_rate,
        options.epochs,
        options.seed,
        options.source,
        options.out,
        options.encoder,
    )
    print(tables.heading(run))
    print(tables.run_table(run))
    if has_weights([run]):
        print_files(run.path, of_runs.illustrate(run))


def sweep(options: argparse.Namespace) -> None:
    experiments[options.name]
    with quiet_start():
        from hw2_keras.plots import of_runs
        from hw2_keras.report import tables
        from hw2_keras.training import devices, fit
    devices.use(options.device)
    found = fit.sweep(options.name, options.epochs, options.seed, options.source, options.out)
    print(tables.heading(found[0]))
    print(tables.sweep_table(found))
    if has_weights(found):
        folder = options.out / found[0].sweep_folder
        print_files(folder, of_runs.illustrate_sweep(found, folder))


def has_weights(found: "Sequence[Run]") -> bool:
    """Whether finished runs can be drawn; where one cannot, a line says so."""
    from hw2_keras.runs import WEIGHTS

    bare = [run.path for run in found if not os.path.lexists(run.path / WEIGHTS)]
    if bare:
        print(printable(f"plots: left out, {bare[0]} has no {WEIGHTS}"), file=sys.stderr)
    return not bare


def reproduce(options: argparse.Namespace) -> int:
    from hw2_keras.report import verdict
    from hw2_keras.reproduction.reproduce import reproduce

    arguments = {name: value for name, value in vars(options).items() if name != "command"}
    with contextlib.nullcontext() if options.dry_run else quiet_start():
        done = reproduce(**arguments)
    if options.dry_run:
        return 0
    if done.verdicts:
        print(verdict.table(done.verdicts))
        print(verdict.METHOD)
    else:
        print("no report has figures of these experiments, so there is nothing to judge")
    print(printable(f"open {done.page}"))
    for name, reason in done.failed.items():
        print(one_line(f"hw2: failed: {name}: {reason}"), file=sys.stderr)
    return 1 if done.failed else 0


def worker(options: argparse.Namespace) -> None:
    try:
        from hw2_keras.reproduction import workers
    except ImportError as error:
        raise UsageError(f"{error}: install the extra [cluster] first") from error
    workers.serve(options.address)


def evaluate(options: argparse.Namespace) -> None:
    from hw2_keras.runs import open_run

    given = search_options(options)
    run = open_run(options.run)
    with quiet_start():
        from hw2_keras.report import tables
        from hw2_keras.training import fit
    measured = fit.evaluate(run, options.search, **given)
    by = {
        "greedy": "this run",
        "beam": f"beam search of width {given.get('num_beams')}",
        "nucleus": f"nucleus sampling of {given.get('top_p')}",
    }
    print(tables.heading(run))
    print(tables.run_table(measured, by[options.search]))


def search_options(options: argparse.Namespace) -> dict[str, float]:
    """What the chosen search takes, by name.

    Raises:
        UsageError: an option of another search is given.
    """
    taken = {"greedy": {}, "beam": {"num_beams": 5}, "nucleus": {"top_p": 0.8}}
    for search, defaults in taken.items():
        for name in defaults:
            if search != options.search and getattr(options, name) is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')} is for --search {search}, not {options.search}: "
                    "leave it out"
                )
    defaults = taken[options.search]
    given = {name: getattr(options, name) for name in defaults}
    return {n: defaults[n] if value is None else value for n, value in given.items()}


def plot(options: argparse.Namespace) -> None:
    from hw2_keras.runs import open_run

    found = [open_run(path) for path in options.runs]
    for run in found:
        check_folder(run.path / "plots")
    with quiet_start():
        from hw2_keras.plots import of_runs
        from hw2_keras.report import tables
    for run in found:
        print_files(run.path, of_runs.illustrate(run))
    if len(found) > 1 and len({run.experiment.metric for run in found}) == 1:
        folder = found[0].path.parent
        print(tables.seeds_table(found))
        print_files(folder, of_runs.compare(found, folder))


def beams(options: argparse.Namespace) -> None:
    from hw2_keras.runs import open_run

    found = [open_run(path) for path in options.runs]
    with quiet_start():
        from hw2_keras.report import beams
    beams.check(found)
    beams.read(options.out)  # a damaged file, before the long work
    # Every width is a graph of its own, which TensorFlow would warn about.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    rows = []
    for number, run in enumerate(found, 1):
        print(printable(f"run {number} of {len(found)}: {run.path}"), file=sys.stderr)
        rows += beams.study(run)
    print(beams.table(rows))
    print_files(options.out, beams.write(rows, options.out))


def ladder(options: argparse.Namespace) -> None:
    from hw2_keras.report import ladder

    found = ladder.ladder(options.name, options.results)
    print(found)
    print_files(options.out, ladder.draw(found, options.out))


def report(options: argparse.Namespace) -> None:
    from hw2_keras.report import page

    written, found = page.make(options.results, options.out)
    for problem in found.problems:
        print(one_line(f"hw2: left out: {problem}"), file=sys.stderr)
    count = len(found.runs) + len(found.others)
    print(printable(f"{count} runs in {options.results}; open {written}"))
    if not (found.runs or found.others):
        raise UsageError(
            f"no readable run under {options.results}: expected folders made by 'train' or "
            "'sweep'; the page shows what is missing"
        )


def theory(options: argparse.Namespace) -> None:
    with quiet_start():
        from hw2_keras.plots import of_runs
    print_files(options.out, of_runs.illustrate_paper(options.out))


def demo(options: argparse.Namespace) -> None:
    with quiet_start():
        from hw2_keras import demo
    page = demo.make(options.out)
    print(printable(f"open {page}"))


def exercise(options: argparse.Namespace) -> int:
    from hw2_keras import exercises
    from hw2_keras.exercises import show
    from hw2_keras.exercises.exercise import WrongAnswer, judge

    if options.number is None:
        if options.answer is not None or options.hint or options.solution:
            raise UsageError("which exercise? Name it by edition and number, such as 2024-25 3")
        print(show.listing([options.edition] if options.edition else list(exercises.EXERCISES)))
        return 0
    found = exercises.find(options.edition, options.number)
    command = f"python -m hw2_keras exercise {options.edition} {options.number}"
    if options.answer is None:
        part = "hints" if options.hint else "solution" if options.solution else "task"
        print(show.PARTS[part](found, command))
        return 0
    if found.needs_keras:
        print("checking against the layer", file=sys.stderr)
        with quiet_start():
            pass
    try:
        judge(found, options.answer)
    except WrongAnswer as wrong:
        print(printable(f"not yet: {wrong} ({command} --hint)"))
        return 1
    print(f"right: {found.because}")
    return 0


def print_files(folder: Path, pictures: Sequence[Path]) -> None:
    print(printable(f"written to {folder}"))
    for picture in pictures:
        print(printable(f"  {picture}"))


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Says that TensorFlow starts, and hides what its C++ side prints, which no log level stops.

    The line goes to the terminal, so that no page of the gallery has it.
    """
    if "tensorflow" not in sys.modules:
        print("starting TensorFlow, which takes some seconds", file=sys.__stderr__, flush=True)
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    yield
