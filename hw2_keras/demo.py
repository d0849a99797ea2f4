"""The demo: small models on synthetic data, exported, used without TensorFlow, told as a story.

A sweep of one classifier over three learning rates, and a speller without and with attention; the
best classifier and the speller with attention leave as ONNX files. What the page tells is gathered
here; ``demo.html.jinja`` tells it.

The exporter is reached by its command in a fresh process, not by an import: ``export`` stands above
this package, and the last chapter's point is a process in which neither TensorFlow nor Keras is.
"""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from hw2_keras.errors import UsageError
from hw2_keras.files import write_atomically
from hw2_keras.plots import of_runs
from hw2_keras.report import tables, templates
from hw2_keras.report.cells import Cell, Table, number
from hw2_keras.report.charts import Chart, Line, chart
from hw2_keras.report.page import Plot, curve_title
from hw2_keras.report.text import format_table
from hw2_keras.reproduction.artefacts import command
from hw2_keras.runs import Run
from hw2_keras.training.fit import sweep, train

EPOCHS = 8  # enough for the three rates to show their characters on 2,000 images
SPELLER_EPOCHS = 12  # enough for attention to find the phoneme of each letter
TITLE = "hw2_keras demo"
STYLE = Path(__file__).parent / "report" / "page.css"

CAPTIONS = {
    "activation_maps": "One training image and its maps in the first layer, before ReLU.",
    "filters_conv1": "Filters of the first layer.",
    "filters_conv2": "Filters of the second layer, as they look at the first map.",
    "confusion_matrix": "Test images by true and predicted class.",
    "misclassified": "The surest mistakes on the test images.",
    "attention_1": "The first test word: where the speller looked for each letter.",
    "attention_2": "The second test word.",
    "attention_3": "The third test word.",
    "examples": "Test words: the best, the median and the worst spelling.",
}


class File(NamedTuple):
    """An exported file and what it answered.

    Attributes:
        name, megabytes: of the file.
        task: what it does, in one sentence.
        command, answer, truth: what it was asked, what it said and what is right.
        picture: what it was asked as a ``data:`` address where it is an image, else empty.
        parity: how it was compared with Keras.
        description: what the file says of itself.
    """

    name: str
    megabytes: str
    task: str
    command: str
    answer: str
    truth: list[str]
    picture: str
    parity: str
    description: str


def make(folder: Path) -> Path:
    """Runs the demo and writes its page; everything it makes stays under ``folder``.

    Args:
        folder: for ``index.html``, ``runs`` and the exported files. Finished runs in it are used
            again, not repeated.

    Returns:
        The page.

    Raises:
        UsageError: the folder cannot be written or holds another page, or an exported file failed
            its verification.
    """
    started = time.perf_counter()
    page, runs = templates.place(folder, TITLE), folder / "runs"
    print("1 of 4: a classifier at three learning rates", flush=True)
    found = sweep("kmnist_cnn", epochs=EPOCHS, out=runs)
    best = next((run for run in found if run.best), None)
    if best is None:
        raise UsageError(f"every run in {runs} diverged: delete the folder and try again")
    rates = _rates_table(found)
    rows = [[*(cell.text for cell in row), row[0].small] for row in rates.rows]
    print(format_table([[*rates.headings, ""], *rows]))
    print("2 of 4: a speller without and with attention", flush=True)
    spellers = [train(name, epochs=SPELLER_EPOCHS, out=runs) for name in ("p2g", "p2g_attention")]
    print("3 of 4: their plots", flush=True)
    drawn = of_runs.illustrate_sweep(found, runs / "sweep") + of_runs.illustrate(spellers[1])
    print("4 of 4: two files, compared with Keras and used without it", flush=True)
    files = [_classifier_file(best, folder), _speller_file(spellers[1], folder)]
    content = templates.render(
        "demo.html.jinja",
        STYLE,
        title=TITLE,
        rates=rates,
        files=files,
        **_trained(best, spellers),
        **_rate_curves(found),
        **_speller_curves(spellers),
        **_plots(drawn),
        **_next_steps(folder, spellers[1].data().test.source[1]),
        seconds=f"{time.perf_counter() - started:.0f}",
    )
    write_atomically(page, lambda file: file.write(content.encode()))
    print(f"demo finished in {time.perf_counter() - started:.0f} s")
    return page


# -------------------------------------------------------------------------- the chapters


def _trained(classifier: Run, spellers: Sequence[Run]) -> dict[str, object]:
    images, words = classifier.data(), spellers[0].data()
    return {
        "classifier_epochs": classifier.record["protocol"]["epochs"],
        "speller_epochs": spellers[0].record["protocol"]["epochs"],
        "images": {
            "side": images.train.image.shape[1],
            "classes": len(images.classes),
            **{
                split: f"{len(getattr(images, split).label):,}"
                for split in ("train", "val", "test")
            },
        },
        "words": {
            "source": words.train.source[0],
            "target": words.train.target[0],
            "train": f"{len(words.train.source):,}",
        },
        "chance": f"{1 / len(images.classes):.2f}",
        "headings": [tables.heading(run) for run in (classifier, *spellers)],
    }


def _rates_table(sweep: Sequence[Run]) -> Table:
    headings = ["learning rate", "training loss", "validation accuracy", "test accuracy"]
    rows = [
        [
            Cell(rate := f"{run.learning_rate:g}", rate, _outcome(run), mark="best" * run.best),
            *(number(run.metrics[m]) for m in ("loss", "val_accuracy", "test_accuracy")),
        ]
        for run in sweep
    ]
    return Table("What each rate came to", headings, rows)


def _outcome(run: Run) -> str:
    """What became of a rate, as far as its figures say."""
    losses = run.history["loss"]
    if run.best:
        return "the best on the validation images"
    if run.record["divergence"]:
        return run.record["divergence"]
    still_falling = len(losses) > 1 and losses[-1] < 0.99 * losses[-2]
    return "its loss was still falling at the end" if still_falling else ""


def _rate_curves(sweep: Sequence[Run]) -> dict[str, object]:
    names = [f"rate {run.learning_rate:g}" for run in sweep]
    histories = dict(zip(names, (run.history for run in sweep), strict=True))
    return {
        "rate_curves": [_chart(histories, metric) for metric in ("loss", "val_accuracy")],
        "rate_names": names,
    }


def _speller_curves(spellers: Sequence[Run]) -> dict[str, object]:
    names = ["plain", "with attention"]
    histories = dict(zip(names, (run.history for run in spellers), strict=True))
    plain, attentive = (
        f"{100 * run.metrics['test_cer']:.1f}\N{NO-BREAK SPACE}%" for run in spellers
    )
    return {
        "speller_curves": [_chart(histories, metric) for metric in ("loss", "val_cer")],
        "speller_names": names,
        "spelled": f"{plain} on the test words without attention, {attentive} with it.",
    }


def _chart(histories: Mapping[str, Mapping[str, list[float]]], metric: str) -> Chart:
    lines = [
        Line(name, history["epoch"], history[metric], colour)
        for colour, (name, history) in enumerate(histories.items())
    ]
    return chart(lines, [], curve_title(metric))


def _plots(drawn: Sequence[Path]) -> dict[str, object]:
    by_name = {
        path.stem: Plot(CAPTIONS[path.stem], templates.png_address(path))
        for path in drawn
        if path.stem in CAPTIONS
    }
    return {
        "maps": by_name["activation_maps"],
        "filters": [by_name["filters_conv1"], by_name["filters_conv2"]],
        "mistakes": [by_name["confusion_matrix"], by_name["misclassified"]],
        "looks": [plot for name, plot in by_name.items() if name.startswith("attention_")],
        "examples": by_name["examples"],
    }


def _next_steps(folder: Path, word: str) -> dict[str, str]:
    python = _python()
    speller = shlex.quote(str(folder / "p2g_attention.onnx"))
    return {
        "python": python,
        "ask": f"{python} -m export run {speller} {shlex.quote(word)} --num-beams 5 --n-best 3",
        "report": f"{python} -m hw2_keras report",
        "tutorial": f"{python} tutorials/2024_25/q3_phonemes_to_spelling.py",
    }


def _python() -> str:
    """The interpreter as the reader calls it: by its place in this folder, else by its name."""
    place = Path(sys.executable)
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else "python"


# ----------------------------------------------------------------------------- the files


def _classifier_file(run: Run, folder: Path) -> File:
    data = run.data()
    picture = folder / "example.png"
    image = Image.fromarray(data.test.image[0, :, :, 0])
    write_atomically(picture, lambda file: image.save(file, "PNG"))
    task = "Names an image; it answers with the likeliest classes and their probabilities."
    truth = data.classes[data.test.label[0]]
    return _exported(run, folder, task, [str(picture)], [truth], templates.png_address(picture))


def _speller_file(run: Run, folder: Path) -> File:
    data = run.data()
    task = "Spells a word from its sounds; the whole search for the letters is inside the file."
    return _exported(run, folder, task, data.test.source[:3], data.test.target[:3])


def _exported(
    run: Run,
    folder: Path,
    task: str,
    questions: Sequence[str],
    truth: Sequence[str],
    picture: str = "",
) -> File:
    """Exports and verifies a run, then asks its file in a process of its own."""
    onnx = folder / f"{run.experiment.name}.onnx"
    print(f"{onnx.name}: exported, then compared with Keras ...", flush=True)
    parity = command("-m", "export", "convert", run.path, "--output", onnx)
    print(parity, end="", flush=True)
    description = command("-m", "export", "info", onnx)
    script = (
        "import sys; from export.cli import main; "
        f"status = main({['run', str(onnx), *questions]!r}); "
        "loaded = {'tensorflow', 'keras'} & set(sys.modules); "
        "print('TensorFlow and Keras loaded:', sorted(loaded) or 'neither'); "
        "sys.exit(status or bool(loaded))"
    )
    answer = command("-c", script)
    print(answer, end="", flush=True)
    asked = f"$ {_python()} -m export run {shlex.join([str(onnx), *questions])}"
    megabytes = f"{onnx.stat().st_size / 1e6:.1f}"
    return File(
        onnx.name, megabytes, task, asked, answer, list(truth), picture, parity, description
    )
