"""The demo: small models on synthetic data, exported, and used without TensorFlow.

A sweep of one classifier over three learning rates, and a speller without and with attention; the
best classifier and the speller with attention leave as ONNX files.
"""

import base64
import html
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from hw2_keras.errors import UsageError
from hw2_keras.files import write_atomically
from hw2_keras.plots import of_runs
from hw2_keras.report import tables
from hw2_keras.runs import Run
from hw2_keras.training.fit import sweep, train

EPOCHS = 8  # enough for the three rates to show their characters on 2,000 images
SPELLER_EPOCHS = 12  # enough for attention to find the phoneme of each letter

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
img { max-width: 100%; height: auto; }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto; font-size: .85rem; }
figure { margin: 1.5rem 0; } figcaption { color: #555; }
"""

CAPTIONS = {
    "curves_all_rates": "Training loss and validation accuracy of every rate.",
    "activation_maps": "The first convolution's maps, before ReLU, of one training image.",
    "curves": "The best rate's curves.",
    "filters_conv1": "Filters of the first convolution.",
    "filters_conv2": "Filters of the second convolution, first input channel.",
    "confusion_matrix": "Test images by true and predicted class.",
    "misclassified": "The surest mistakes on the test images.",
    "p2g_and_p2g_attention_val_cer": "Character error rate of the validation words per epoch.",
    "attention_1": "Where the speller looked: each letter's weights over the phonemes.",
    "examples": "Test words: the best, median and worst.",
}


def make(folder: Path) -> Path:
    """Runs the demo and writes its page; everything it makes stays under ``folder``.

    Args:
        folder: for ``index.html``, ``runs`` and the exported file. Finished runs in it are used
            again, not repeated.

    Returns:
        The page.

    Raises:
        UsageError: the folder cannot be written, or an exported file failed its verification.
    """
    started = time.perf_counter()
    found = sweep("kmnist_cnn", epochs=EPOCHS, out=folder / "runs")
    print(tables.sweep_table(found))
    pictures = of_runs.illustrate_sweep(found, folder / "runs" / "sweep")
    best = next((run for run in found if run.best), None)
    if best is None:
        raise UsageError(
            f"every run in {folder / 'runs'} diverged: delete the folder and try again"
        )
    sections = [
        (
            "A classifier at three rates",
            _text(tables.heading(best)) + _pre(tables.sweep_table(found)),
        ),
        ("Its pictures", "".join(_figure(picture) for picture in pictures)),
        *_exported(best, folder, _example_image(best, folder)),
    ]
    spellers = [
        train(name, epochs=SPELLER_EPOCHS, out=folder / "runs") for name in ("p2g", "p2g_attention")
    ]
    sections += [
        ("A speller without and with attention", _compared(spellers, folder / "runs")),
        *_exported(spellers[1], folder, _example_word(spellers[1])),
    ]
    page = folder / "index.html"
    write_atomically(page, lambda file: file.write(_page(sections).encode()))
    print(f"demo finished in {time.perf_counter() - started:.0f} s")
    return page


def _compared(spellers: Sequence[Run], out: Path) -> str:
    """Tables and pictures of both spellers."""
    tables = "".join(_text(tables.heading(r)) + _pre(tables.run_table(r)) for r in spellers)
    pictures = of_runs.compare(spellers, out)
    drawn = of_runs.illustrate(spellers[1])
    pictures += [picture for picture in drawn if picture.stem in ("attention_1", "examples")]
    return tables + "".join(_figure(picture) for picture in pictures)


def _exported(run: Run, folder: Path, example: tuple[str, str]) -> list[tuple[str, str]]:
    """Exports and verifies a run, then asks its file for one example in a process of its own.

    Args:
        example: what ``python -m export run`` is given, and the right answer.
    """
    onnx = folder / f"{run.experiment.name}.onnx"
    converted = _command("export", "convert", run.path, "--output", onnx)
    described = _command("export", "info", onnx)
    question, truth = example
    script = (
        "import sys; from export.cli import main; "
        f"status = main(['run', {str(onnx)!r}, {question!r}]); "
        "loaded = {'tensorflow', 'keras'} & set(sys.modules); "
        "print('TensorFlow and Keras loaded:', sorted(loaded) or 'neither'); "
        "sys.exit(status or bool(loaded))"
    )
    answered = _run([sys.executable, "-c", script]) + f"the right answer: {truth}"
    return [
        (f"The exported file {onnx.name}", _pre(converted) + _pre(described)),
        (f"{onnx.name} in a process that has no TensorFlow", _pre(answered)),
    ]


def _example_image(run: Run, folder: Path) -> tuple[str, str]:
    data = run.data()
    picture = folder / "example.png"
    Image.fromarray(data.test.image[0, :, :, 0]).save(picture)
    return str(picture), data.classes[data.test.label[0]]


def _example_word(run: Run) -> tuple[str, str]:
    data = run.data()
    return data.test.source[0], data.test.target[0]


def _command(*arguments: str | Path) -> str:
    return _run([sys.executable, "-m", *map(str, arguments)])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    print(done.stdout, end="")
    return done.stdout


def _page(sections: Sequence[tuple[str, str]]) -> str:
    body = "".join(
        f"<section><h2>{html.escape(h)}</h2>{content}</section>" for h, content in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>hw2_keras demo</title><style>{STYLE}</style></head><body>"
        "<h1>hw2_keras demo</h1><p>Made from synthetic data: glyphs drawn from fonts, words "
        "spelled by rules. The reported figures come from the real data and differ for it.</p>"
        f"{body}</body></html>\n"
    )


def _figure(picture: Path) -> str:
    data = base64.b64encode(picture.read_bytes()).decode()
    caption = html.escape(CAPTIONS.get(picture.stem, picture.stem))
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _pre(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def _text(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
