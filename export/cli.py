"""``python -m export``: convert, verify, info, run, quantize, web."""

import argparse
import logging
import math
import os
import shlex
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from export.runtime import (
    MAX_PIXELS,
    Classifier,
    Generator,
    ModelError,
    Sampler,
    load,
    printable,
)

if TYPE_CHECKING:
    from PIL import Image

DESCRIPTION = "Trained run -> .onnx -> any application."
# Formats that are decoded here, without a program of their own.
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF"}
FORMATS |= {".bmp": "BMP"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 2 for bad input, 130 when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without the phonetic letters shows codes
            stream.reconfigure(errors="backslashreplace")
    os.environ.pop("MPLBACKEND", None)  # pictures are files; one that is unknown stops Keras
    options = parser().parse_args(arguments)
    try:
        options.command(options)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        complain("interrupted; no file is left half-written")
        return 130
    except ValueError as error:
        # ModelError here, UsageError from hw2_keras: both say in one line what to do. Any other
        # ValueError is a mistake of ours and keeps its traceback.
        if type(error).__name__ not in ("ModelError", "UsageError", "UnknownExperiment"):
            raise
        complain(str(error))
    except ModuleNotFoundError as error:
        from hw2_keras.cli import missing_library

        complain(missing_library(error))
    except OSError as error:
        from hw2_keras.cli import reader_is_gone

        if reader_is_gone(error):
            return 0
        complain(f"{error.filename or 'a file'} cannot be used ({error.strerror or error})")
    return 2


def complain(message: str) -> None:
    print(printable(f"hw2-export: {message}"), file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of printing the whole usage.

    ``hw2_keras`` has one too, but is not imported for ``run``.
    """

    def parse_known_args(self, args=None, namespace=None):
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:  # said by the command that they were given to
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, printable(f"{self.prog}: {message} (see {self.prog} --help)") + "\n")


def parser() -> argparse.ArgumentParser:
    """The command line, built without importing Keras."""
    top = Parser(prog="python -m export", description=DESCRIPTION)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(function, name: str, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=function)
        return sub

    sub = command(convert, "convert", "convert a run into one verified .onnx file")
    sub.add_argument(
        "run", type=Path, metavar="RUN", help="a folder made by 'python -m hw2_keras train'"
    )
    sub.add_argument("-o", "--output", required=True, metavar="FILE.onnx")
    sub.add_argument(
        "--search",
        choices=("beam", "nucleus"),
        help="of a generator: beam search (greedy with one beam; the default), or sampling",
    )
    sub.add_argument(
        "--length-penalty",
        type=float,
        metavar="P",
        help="scores are log-probability / length ** P (default 1)",
    )
    sub.add_argument(
        "--ids",
        action="store_true",
        help="for runtimes without strings: ids in and out, the vocabulary in the metadata",
    )
    sub = command(verify, "verify", "compare a file with the Keras run that it was made from")
    sub.add_argument("file", type=Path, metavar="FILE.onnx")
    sub.add_argument(
        "--run", type=Path, required=True, help="a folder made by 'python -m hw2_keras train'"
    )
    sub = command(info, "info", "print a file's model card")
    sub.add_argument("file", type=Path, metavar="FILE.onnx")
    sub = command(run, "run", "answer with a file; needs neither Keras nor TensorFlow")
    sub.add_argument("file", type=Path, metavar="FILE.onnx")
    sub.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="images (PNG, JPEG), words as phonetic symbols ('d ɪ s k ʌ v ə ɹ'), sentences, or "
        "arrays (.npy)",
    )
    sub.add_argument("--num-beams", type=int, metavar="K", help="width of the beam (default 1)")
    sub.add_argument("--n-best", type=int, metavar="N", help="texts to print (default K)")
    sub.add_argument("--top-p", type=float, metavar="P", help="mass of the nucleus (default 0.8)")
    sub.add_argument("--seed", type=int, metavar="S", help="of the samples (default 42)")
    sub = command(quantize, "quantize", "store weights as int8 and measure what that changes")
    sub.add_argument("file", type=Path, metavar="FILE.onnx")
    sub.add_argument("-o", "--output", metavar="FILE.onnx", help="default: *.int8.onnx")
    sub = command(web, "web", "make a browser page for files, to be served by any web server")
    sub.add_argument("files", type=Path, nargs="+", metavar="FILE.onnx")
    sub.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    return top


def convert(options: argparse.Namespace) -> None:
    from hw2_keras.cli import quiet_start
    from hw2_keras.runs import open_run

    output = output_file(options.output)
    found = open_run(options.run)
    names = ("search", "length_penalty")
    given = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    if given and found.experiment.task == "classification":
        refuse_option(next(iter(given)), f"{options.run} is a classifier, which has no search")
    tell_steps()
    with quiet_start():
        from export.convert import to_onnx
    say(str(to_onnx(found, output, strings=not options.ids, **given)))
    print(printable(f"written to {output}"))


def refuse_option(name: str, reason: str) -> NoReturn:
    raise ModelError(f"--{name.replace('_', '-')} does not apply: {reason}")


def output_file(name: str | Path) -> Path:
    """The path of a file to be written, checked before any work.

    Raises:
        ModelError: no name for an ONNX file, or it could not be written.
    """
    path = Path(name)
    if str(name).endswith(os.sep) or path.suffix != ".onnx":
        raise ModelError(f"{name}: expected a file name that ends in .onnx")
    if not path.parent.is_dir():
        raise ModelError(
            f"{path.parent} is not a folder: make it first, or name a file in a folder that exists"
        )
    if path.is_dir():
        raise ModelError(f"{path} is a folder: expected the name of a file")
    for written in (path, path.with_suffix(".parity.json")):
        written.exists()  # raises for a name that is too long
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise ModelError(f"cannot write {path} ({error.strerror or error})") from error


def tell_steps() -> None:
    """Prints what the package logs of its steps, which take minutes for a large run."""
    logger = logging.getLogger("export")
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]


def say(text: str) -> None:
    """Prints lines, with escapes for whatever else could steer a terminal."""
    print("\n".join(printable(line) for line in text.split("\n")))


def verify(options: argparse.Namespace) -> None:
    from hw2_keras.cli import quiet_start
    from hw2_keras.runs import open_run

    load(options.file)  # a bad file is named before the slow part
    output_file(options.file)  # the report goes beside it
    found = open_run(options.run)
    tell_steps()
    with quiet_start():
        from export.verify import verify_run
    parity = verify_run(options.file, found)
    say(str(parity))
    print(printable(f"report saved as {parity.save(options.file)}"))
    if not parity.passed:
        raise ModelError(f"{options.file} failed: convert the run again")


def info(options: argparse.Namespace) -> None:
    from export.card import card_of

    say(card_of(options.file).rstrip())


def run(options: argparse.Namespace) -> None:
    model = load(options.file)
    names = ("num_beams", "n_best", "top_p", "seed")
    given = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    answer, takes = {
        Classifier: (classify, ()),
        Generator: (generate, ("num_beams", "n_best")),
        Sampler: (sample, ("top_p", "seed")),
    }[type(model)]
    if foreign := [name for name in given if name not in takes]:
        refuse_option(foreign[0], f"{options.file} is a {model.info['kind']}")
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: note(str(message))
        answer(model, options.inputs, **given)


def note(message: str) -> None:
    print(printable(f"note: {message}"), file=sys.stderr)


def quantize(options: argparse.Namespace) -> None:
    from hw2_keras.cli import quiet_start

    load(options.file)  # a bad file is named before the slow part
    output = output_file(options.output or options.file.with_suffix(".int8.onnx"))
    tell_steps()
    with quiet_start():
        from export.quantize import quantize

    from tqdm import tqdm

    with tqdm(desc="test split", unit="example", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            if done <= bar.n:  # the other file, or the next search
                bar.reset(total)
            bar.update(done - bar.n)

        report = quantize(options.file, output, progress=progress)
    say(str(report))
    print(printable(f"written to {output}"))


def web(options: argparse.Namespace) -> None:
    from export.web.site import build_site

    tell_steps()
    out = build_site(options.files, options.out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(printable(f"{options.out}: {size / 1e6:.1f} MB for any web server, for example"))
    print(printable(f"  python -m http.server --bind 127.0.0.1 -d {shlex.quote(str(options.out))}"))


def classify(model: Classifier, paths: Sequence[str]) -> None:
    images = np.stack([read_image(path, model.image_shape) for path in paths])
    probabilities = model.probabilities(images)
    for path, row in zip(paths, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:3]
        answers = "  ".join(f"{model.labels[i]} {row[i]:.3f}" for i in best)
        print(printable(f"{path}: {answers}"))


def generate(
    model: Generator, inputs: Sequence[str], num_beams: int = 1, n_best: int | None = None
) -> None:
    if n_best is not None and not 1 <= n_best <= max(1, num_beams):
        raise ModelError(f"--n-best is {n_best}: expected 1 to {num_beams}, see --num-beams")
    for name in inputs:
        found = model.search([source_of(model, name)], num_beams)
        rows = zip(found.scores[0], found.texts[0], strict=True)
        print_texts(name, list(rows)[:n_best])


def sample(model: Sampler, inputs: Sequence[str], **options: float) -> None:
    for name in inputs:
        found = model.sample([source_of(model, name)], **options)
        print_texts(name, [(found.scores[0], found.texts[0])])


SOURCES = {
    "speller": "phonetic symbols with spaces between them",
    "translator": "a sentence",
    "words": "words with spaces between them",
}


def source_of(model: Generator | Sampler, given: str) -> str | np.ndarray:
    """What an argument stands for: a picture or an array to read, or the text itself.

    Raises:
        ModelError: the name of a picture for a model that reads text, no array, or see
            ``picture``.
    """
    if model.source_kind == "captioner":
        return picture(given)
    if model.source_kind == "array":
        return array(given)
    if Path(given).suffix.lower() in FORMATS:
        raise ModelError(
            f"{given} is the name of a picture: a {model.source_kind} takes "
            f"{SOURCES[model.source_kind]}"
        )
    return given


def array(path: str) -> np.ndarray:
    """Reads a file of ``numpy.save``.

    Raises:
        ModelError: there is none, or it holds something else.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path} is no array: expected a file of numpy.save, .npy") from error


def print_texts(source: str, found: Sequence[tuple[float, str]]) -> None:
    print(printable(source))
    for score, text in found:
        if score > -np.inf:
            print(printable(f"  {score:8.4f}  {text}"))


def read_image(path: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Reads a picture as the uint8 (H, W, C) that a classifier takes; says so when it resizes.

    Raises:
        ModelError: see ``picture``.
    """
    height, width, channels = shape
    image = picture(path, "L" if channels == 1 else "RGB")
    if image.shape[:2] != (height, width):
        from PIL import Image

        note(f"{path} is {image.shape[1]}x{image.shape[0]}, resized to {width}x{height}")
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        image = np.asarray(resized)
    return image.reshape(shape)


def picture(path: str, mode: str = "RGB") -> np.ndarray:
    """Reads a picture at its own size: uint8 (H, W, 3), or (H, W) with mode "L".

    It is turned as its EXIF data say, as a browser does; of 16 bits the upper 8 are kept, rounded.

    Raises:
        ModelError: no such file, not a picture, too large a one, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ModelError("reading pictures needs Pillow: pip install pillow") from error
    if not os.path.isfile(path):
        raise ModelError(f"{path} does not exist: expected a PNG or JPEG file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that nobody reads
            with Image.open(path, formats=tuple(FORMATS.values())) as file:
                if math.prod(file.size) > MAX_PIXELS:
                    raise Image.DecompressionBombError
                file.load()
                image = upright(file)
                if image.mode.startswith("I"):  # converting cuts off at 255
                    upper = (np.asarray(image, np.uint32) + 128) // 257
                    image = Image.fromarray(upper.astype(np.uint8))
                return np.asarray(image.convert(mode), np.uint8)
    except Image.DecompressionBombError as error:
        raise ModelError(f"{path} has over {MAX_PIXELS:,} pixels: make it smaller") from error
    except Exception as error:  # decoders raise many unrelated types
        raise ModelError(f"{path} is not a readable picture: expected PNG or JPEG") from error


def upright(image: "Image.Image") -> "Image.Image":
    """An image turned as its EXIF data say; to browsers too, damaged ones say nothing."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of many unrelated types; the pixels are read already
        return image
