"""Hostile words, numbers, paths and run folders: seeded cases for ``python -m hw2_keras``.

Each check takes a seed and a folder to write to, runs one command in this process and asserts
what is promised: it ends with 0, or with 2 and one printable line. Nothing is trained or drawn:
where that would begin, `WORK` stops. ``CHECKS`` names them all.
"""

import atexit
import contextlib
import functools
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from data_cases import data_folder, flip
from record_cases import BEAMS, PARITY, RUN, mutated, replaced

from hw2_keras.cli import main
from hw2_keras.data import load_data
from hw2_keras.errors import UsageError
from hw2_keras.experiments import Experiment, experiments
from hw2_keras.models import build_models
from hw2_keras.runs import Run
from hw2_keras.training import TASKS, fit

CONTROLS = "\r\x1b\x07\x9b\x85\u202e\u2028"
STOPPED = "stopped where the work begins"
WORK = (
    "hw2_keras.training.fit._finish",
    "hw2_keras.training.fit.load_data",
    "hw2_keras.demo.make",
    "hw2_keras.plots.of_runs.illustrate_paper",
    "hw2_keras.plots.of_runs.illustrate",
    "hw2_keras.report.beams.study",
    "hw2_keras.report.page.read_results",
    "hw2_keras.reproduction.reproduce.train_missing",
)

NAMES = [*experiments, "fashon_cnn", "", "x" * 5_000, "\x1b[31m", "a\nb", "\udcff", "../p2g", "-1"]
NUMBERS = ["-1", "0", "1", str(2**32 - 1), str(2**32), "9" * 400, "9" * 5_000, "nan", "inf", "-inf"]
NUMBERS += ["1e-300", "1e300", "--", "", " 7 ", "٣", "1_0", "0x10", "1.5", "\x1b", "1000", "100000"]
PATHS = ["", ".", "/", "x" * 300, "x/" * 3_000, "~nosuchuser", "~nosuchuser/x", "/proc/self/mem"]
PATHS += ["/proc/x", "/dev/null", "loop", "loop/x", "file", "file/x", "none", "a\nb", "\x1b[31m"]
PATHS += ["\udcff", "\u202e", "link/none", "pipe", "run.json", "x" * 250, "\0", "--", "-"]
UNUSABLE = ["x" * 300, "x/" * 3_000, "/proc/self/mem", "/proc/x", "/dev/null", "loop", "loop/x"]
UNUSABLE += ["file", "file/x", "pipe", "pipe/x", "dangling", "dangling/x", "\0", "/sys/x"]
ADDRESSES = [
    "",
    "tcp://",
    "foo://x",
    "tcp://127.0.0.1:1",
    "tcp://127.0.0.1:99999",
    "\x1b",
    "x" * 5_000,
]

# Options that a command takes, and what they may be given.
OPTIONS = {
    "list": {},
    "data": {},
    "summary": {"--derive": None},
    "train": {"--learning-rate": NUMBERS, "--epochs": NUMBERS, "--seed": NUMBERS, "--out": PATHS},
    "sweep": {"--epochs": NUMBERS, "--seed": NUMBERS, "--source": ["real", "x"], "--out": PATHS},
    "reproduce": {"--seeds": NUMBERS, "--epochs": NUMBERS, "--edition": NAMES, "--out": PATHS},
    "evaluate": {"--search": ["greedy", "beam", "nucleus", "x"], "--num-beams": NUMBERS},
    "plot": {},
    "beams": {"--out": PATHS},
    "ladder": {"--results": PATHS, "--out": PATHS},
    "report": {"--results": PATHS, "--out": PATHS},
    "theory": {"--out": PATHS},
    "demo": {"--out": PATHS},
    "worker": {},
}
OPTIONS["trian"] = {}
OPTIONS["exercise"] = {"--answer": [*NUMBERS, *PATHS], "--hint": None, "--solution": None}
OPTIONS["train"] |= {"--encoder": PATHS, "--source": ["real", "synthetic", "x"]}
OPTIONS["reproduce"] |= {"--workers": NUMBERS, "--dry-run": None, "--source": ["real", "x"]}
OPTIONS["evaluate"] |= {"--top-p": NUMBERS}
GIVEN = {"summary": NAMES, "train": NAMES, "sweep": NAMES, "reproduce": NAMES, "worker": ADDRESSES}
GIVEN["ladder"] = ["kmnist", *NAMES]
GIVEN["exercise"] = ["2021-22", "2022-23", "2024-25", *NAMES]
GIVEN |= dict.fromkeys(("evaluate", "plot", "beams"), PATHS)


@contextlib.contextmanager
def stopped_before_work() -> Iterator[list[str]]:
    """Stops every command where its work begins; the list says where."""
    import hw2_keras.demo
    import hw2_keras.report.beams
    import hw2_keras.reproduction.reproduce  # noqa: F401

    begun: list[str] = []

    def stop(name: str) -> Callable:
        def stopped(*_, **__):
            begun.append(name)
            raise UsageError(STOPPED)

        return stopped

    with contextlib.ExitStack() as stack:
        for name in WORK:
            stack.enter_context(mock.patch(name, stop(name)))
        yield begun


def check_command(words: list[str]) -> int:
    """A command ends with 0, or with 2 and one line; its status. A wrong answer is a 1."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
    shown, told = out.getvalue(), err.getvalue()
    assert status in ((0, 1, 2) if "exercise" in words else (0, 2)), (words, status)
    assert not set(CONTROLS) & set(shown + told), words
    (shown + told).encode()
    if status == 2:
        lines = [line for line in told.splitlines() if not line.startswith(NOTES)]
        assert len(lines) == 1 and len(lines[0]) < 1_100, (words, told[:2_000])
        assert lines[0].isprintable(), told
    return status


NOTES = ("hw2: left out: ", "run 1 of ", "opened the finished run ", "checking against the layer")


def strange_paths(folder: Path) -> None:
    """What ``PATHS`` and ``UNUSABLE`` name."""
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere/at/all")
    (folder / "link").symlink_to(".")
    (folder / "file").touch()
    (folder / "run.json").mkdir()
    os.mkfifo(folder / "pipe")


@contextlib.contextmanager
def strange_folder(folder: Path) -> Iterator[None]:
    strange_paths(folder)
    with contextlib.chdir(folder), data_folder(folder):
        yield


def words_of(command: str, rng: random.Random) -> list[str]:
    """A command with what it needs and some of its options, all of any value."""
    words = [command]
    if command in GIVEN:
        words.append(rng.choice(GIVEN[command]))
        if command in ("train", "sweep", "summary") and rng.random() < 0.7:
            words[-1] = rng.choice(list(experiments))
    if command == "exercise" and rng.random() < 0.8:
        words.append(rng.choice(("1", "2", "3", "4", "5", *NUMBERS)))
    for name in rng.sample(sorted(OPTIONS[command]), rng.randrange(len(OPTIONS[command]) + 1)):
        values = OPTIONS[command][name]
        if values is None:
            words.append(name)
        elif rng.random() < 0.5:
            words.append(f"{name}={rng.choice(values)}")
        else:
            words += [name, rng.choice(values)]
    if rng.random() < 0.05:
        words.insert(rng.randrange(len(words) + 1), rng.choice((*NUMBERS, *PATHS, *NAMES)))
    return words


def check_words(seed: int, folder: Path) -> None:
    """Any words on the command line."""
    rng = random.Random(seed)
    words = words_of(rng.choice(list(OPTIONS)), rng)
    short = mock.patch("hw2_keras.reproduction.workers.CONNECT_SECONDS", 1)
    with strange_folder(folder), stopped_before_work(), short:
        check_command(words)


def check_out(seed: int, folder: Path) -> None:
    """A folder that nothing can be written to is told before any work, and nothing is made."""
    rng = random.Random(seed)
    before = [
        ["train", rng.choice(["kmnist_cnn", "p2g"])],
        ["sweep", "kmnist_cnn"],
        ["reproduce"],
        ["reproduce", "--dry-run"],
        ["beams", str(small_run("p2g"))],
        ["report", "--results", str(RUN.parent)],
        ["theory"],
        ["demo"],
    ]
    words = [*rng.choice(before), f"--out={rng.choice(UNUSABLE)}"]
    with strange_folder(folder), stopped_before_work() as begun:
        made = set(folder.iterdir())
        assert check_command(words) == 2, words
        assert not begun and set(folder.iterdir()) == made, (words, begun)


@functools.cache
def small_run(name: str) -> Path:
    """A finished run whose weights are those of a network that was never trained."""
    experiment = experiments[name]
    task, data = TASKS[experiment.task], load_data(experiment.data, source="synthetic")
    kept = tempfile.TemporaryDirectory(prefix="hw2-fuzz-")
    atexit.register(kept.cleanup)
    folder = Path(kept.name) / "run"
    folder.mkdir()
    sizes = task.sizes(task.prepare(data, folder))
    models = build_models(experiment, **sizes)
    model = getattr(models, "training", models)
    (folder / "model.weights.h5").write_bytes(fit._weights_file(model))
    vocabularies = task.vocabularies(data)
    for side, vocabulary in vocabularies.items():
        vocabulary.save(folder / f"vocabulary.{side}.json")
    record = json.loads((RUN / "run.json").read_text())
    record["protocol"] = fit.protocol_of(experiment, None, 1, 42)
    record["metrics"] |= {experiment.metric: 0.5}
    record |= {"experiment": name, "source": "synthetic", "fingerprint": data.fingerprint}
    record |= {"sizes": sizes, "vocabularies": {n: v.fingerprint for n, v in vocabularies.items()}}
    (folder / "run.json").write_text(json.dumps(record))
    history = f"epoch,loss,running_loss,{experiment.metric}\n1,1,1,0.5\n"
    (folder / "history.csv").write_text(history)
    return folder


@functools.cache
def loaded(name: str, source: str) -> Any:
    """A data set; to generate it anew is most of what a case would cost."""
    return load_data(name, source)


@functools.cache
def network(name: str) -> Any:
    """The network of a `small_run`; whoever loads weights into it replaces all of them."""
    return build_models(experiments[name], **sound_sizes(name))


def sound_sizes(name: str) -> dict[str, Any]:
    return json.loads((small_run(name) / "run.json").read_text())["sizes"]


def built(experiment: Experiment, **sizes: Any) -> Any:
    """What ``build_models`` gives, from the cache where nobody has changed the sizes."""
    if sizes == sound_sizes(experiment.name):
        return network(experiment.name)
    return build_models(experiment, **sizes)


def check_run(seed: int, folder: Path) -> None:
    """A run's folder with a file that is damaged, replaced or gone."""
    rng = random.Random(seed)
    run = shutil.copytree(small_run(rng.choice(("kmnist_cnn", "p2g"))), folder / "run")
    file = rng.choice(sorted(run.iterdir()))
    kind = rng.randrange(8)
    if kind == 0:
        replaced(file, rng)
    elif kind == 1:
        file.unlink()
    elif file.suffix == ".json":
        content = json.loads(file.read_text())
        if "sizes" in content and rng.random() < 0.4:
            key = rng.choice(("source_size", "target_size", "units", "features", "seed", "\x1b"))
            value = rng.choice((1, 7, 10**5, 10**7, 10**30, None, [10**5, 10**5], []))
            file.write_text(json.dumps(content | {"sizes": content["sizes"] | {key: value}}))
        else:
            file.write_text(mutated(content, rng))
    else:
        file.write_bytes(flip(file.read_bytes(), rng))
    if rng.random() < 0.1:
        (run / "plots").touch()
    command = rng.choice((["evaluate"], ["plot"], ["beams", "--out", str(folder / "out")]))
    stopped = ("plots.of_runs.illustrate", "report.beams.study")
    stopped += ("training.classification.measure", "training.transduction.measure")
    import hw2_keras.plots.of_runs
    import hw2_keras.report.beams  # noqa: F401

    def opened(first, *_) -> None:
        if isinstance(first, Run):
            _ = first.history, first.models()
        raise UsageError(STOPPED)

    patches = dict.fromkeys(stopped, opened)
    patches |= {"data.load_data": loaded, "models.build_models": built}
    with data_folder(folder), contextlib.ExitStack() as stack:
        for name, function in patches.items():
            stack.enter_context(mock.patch(f"hw2_keras.{name}", function))
        check_command([command[0], str(run), *command[1:]])


def check_report(seed: int, folder: Path) -> None:
    """Results that are damaged, and places for the page that are none."""
    rng, results = random.Random(seed), folder / "results"
    for number in range(2):
        place = results / rng.choice(("run", "a\nb", "\x1b[31m", "<b id=x>")) / str(number)
        place.mkdir(parents=True)
        (place / "run.json").write_text(mutated(json.loads((RUN / "run.json").read_text()), rng))
        (place / "history.csv").write_bytes((RUN / "history.csv").read_bytes())
    for name, original in (("x.parity.json", PARITY), ("beam_search.json", BEAMS)):
        (results / name).write_text(mutated(json.loads(original.read_text()), rng))
    out = folder / rng.choice(("site", "a\nb", "\x1b[31m", "\u202e"))
    if rng.random() < 0.4:
        out.mkdir()
        (out / "index.html").write_text("another page")
        if rng.random() < 0.7:
            replaced(out / "index.html", rng)
    check_command(["report", "--results", str(results), "--out", str(out)])


CHECKS: dict[str, Callable[[int, Path], None]] = {
    "words": check_words,
    "out": check_out,
    "run": check_run,
    "report": check_report,
}
