"""What the tutorials share: arguments, figures, and small experiments for Question 2.

The experiments answer the paper questions of Question 2. A CNN against an MLP of the same input and
output, the same pair after one fixed permutation of the pixels (2022-23 Q2), networks with and
without pooling, and small kernels against one large kernel of the same receptive field (2024-25
Q2). Every comparison takes a record of ``load_data`` and trains each network the same way; on 2,000
images of 28x28 one takes a few seconds on two cores.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import hw2_keras as hw2  # before Keras, whose backend it sets

# isort: split
import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers
from matplotlib.figure import Figure

from hw2_keras.data import SOURCES
from hw2_keras.data.images import ImageData
from hw2_keras.plots import style
from hw2_keras.runs import WEIGHTS, Run

Builder = Callable[[tuple[int, ...], int], keras.Model]


class Score(NamedTuple):
    """One trained network: its parameters and the share of test images it gets right."""

    name: str
    parameters: int
    accuracy: float


def format_scores(scores: Sequence[Score]) -> str:
    """An aligned table, one line per network."""
    width = max(len(score.name) for score in scores)
    lines = [f"{'network':<{width}}  parameters  test accuracy"]
    lines += [f"{s.name:<{width}}  {s.parameters:>10,}  {s.accuracy:>13.1%}" for s in scores]
    return "\n".join(lines)


# ------------------------------------------------------------- what a tutorial is started with


def arguments(epochs: int) -> argparse.Namespace:
    """Reads ``--source``, ``--epochs`` and ``--out``; a notebook and the gallery have none.

    From here on a ``UsageError`` (missing data, say) ends the script with one line and status 2.

    Args:
        epochs: default on synthetic data.

    Returns:
        ``source``; ``epochs``, None where real data are trained as long as the homework says; and
        ``out``, the folder of the training runs. Its default is ``runs``; for real data and the
        homework's epochs it is ``results``, whose finished runs are opened, not repeated.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", choices=SOURCES, default="synthetic", help="of the data")
    parser.add_argument(
        "--epochs", type=_epochs, help=f"{epochs} on synthetic data, the homework's on real data"
    )
    parser.add_argument("--out", type=Path, help="folder of the runs: runs, or results (real data)")
    given = parser.parse_args([] if "ipykernel" in sys.modules else None)
    if given.out is None:
        full = given.source == "real" and given.epochs is None
        results = Path(__file__).resolve().parents[1] / "results"
        given.out = Path(os.path.relpath(results)) if full else Path("runs")
    if given.epochs is None and given.source == "synthetic":
        given.epochs = epochs
    sys.excepthook = _one_line
    # Tutorials decode single examples, and TensorFlow remarks on every new shape.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    return given


def train(name: str, options: argparse.Namespace) -> Run:
    """``hw2.train`` as the arguments say, for a tutorial that needs the run's weights.

    ``results`` keeps the record of every run but the weights of few; a run whose weights are not
    there is trained again, in ``runs``.
    """
    run = hw2.train(name, epochs=options.epochs, source=options.source, out=options.out)
    if (run.path / WEIGHTS).exists():
        return run
    return hw2.train(name, epochs=options.epochs, source=options.source, out="runs")


def _epochs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _one_line(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    if issubclass(kind, hw2.UsageError):
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.__excepthook__(kind, error, traceback)


# ------------------------------------------------------------------ what a tutorial leaves behind


def file(name: str) -> Path:
    """``runs/tutorials/SCRIPT/name`` below the current folder; makes the folders."""
    path = Path("runs", "tutorials", Path(sys.argv[0]).stem, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def show(figure: Figure, name: str) -> None:
    """Shows a figure in the gallery or a notebook; a script saves it as PNG and PDF instead.

    Args:
        figure: made without pyplot.
        name: of the saved files, see :func:`file`.
    """
    if "sphinx_gallery" in sys.modules or "ipykernel" in sys.modules:
        plt.figure(figure)  # both collect the figures that pyplot knows
        return
    png, _ = style.save(figure, file(name))
    print(f"figure: {png}")


# ---------------------------------------------------------------------------- the networks


def cnn(shape: tuple[int, ...], classes: int) -> keras.Model:
    """Two blocks [conv 3x3 -> ReLU -> max-pool 2] of 16 and 32 filters, and a linear layer."""
    image = x = keras.Input(shape)
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    return keras.Model(image, layers.Dense(classes)(layers.Flatten()(x)), name="cnn")


def cnn_without_pooling(shape: tuple[int, ...], classes: int) -> keras.Model:
    """:func:`cnn` with its two pools left out, so that the linear layer sees every position."""
    image = x = keras.Input(shape)
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return keras.Model(image, layers.Dense(classes)(layers.Flatten()(x)), name="without_pooling")


def mlp(shape: tuple[int, ...], classes: int) -> keras.Model:
    """One hidden layer of 128 units between the pixels and the classes."""
    image = keras.Input(shape)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(image))
    return keras.Model(image, layers.Dense(classes)(x), name="mlp")


def small_kernels(shape: tuple[int, ...], classes: int) -> keras.Model:
    """Conv 3x3 and pool, then three 3x3 convolutions: after the pool they see 7x7."""
    return _kernel_network(shape, classes, (3, 3, 3), "small_kernels")


def large_kernel(shape: tuple[int, ...], classes: int) -> keras.Model:
    """The same with one 7x7 convolution in place of the three 3x3."""
    return _kernel_network(shape, classes, (7,), "large_kernel")


def _kernel_network(
    shape: tuple[int, ...], classes: int, kernels: tuple[int, ...], name: str
) -> keras.Model:
    image = keras.Input(shape)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D(2)(x)
    for kernel in kernels:
        x = layers.Conv2D(16, kernel, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    return keras.Model(image, layers.Dense(classes)(layers.Flatten()(x)), name=name)


# ------------------------------------------------------------------------- the experiments


def cnn_against_mlp(data: ImageData, epochs: int = 8, seed: int = 42) -> list[Score]:
    """CNN and MLP on the images, and on the same images with their pixels permuted (2022-23 Q2).

    The claim: the CNN has fewer parameters and generalises better, and with no spatial structure
    left its advantage is gone, while the MLP, which has no notion of neighbours, does as before.

    Args:
        data: images, e.g. ``load_data("kmnist")``.
        epochs: rounds over the training images.
        seed: of the weights, the order of the images and the permutation.
    """
    scores = []
    for order, images in (("", data), (", permuted", permute_pixels(data, seed))):
        for build in (cnn, mlp):
            model = fit(build, images, epochs, seed)
            scores.append(score(model, images, model.name + order))
    return scores


def with_and_without_pooling(
    data: ImageData, epochs: int = 8, shift: int = 2, seed: int = 42
) -> list[Score]:
    """The CNN with and without its pools, also on test images moved by a few pixels (2024-25 Q2).

    Args:
        data, epochs, seed: as in :func:`cnn_against_mlp`.
        shift: pixels to the right and down by which test images are moved, black moving in.
    """
    scores = []
    for build in (cnn, cnn_without_pooling):
        model = fit(build, data, epochs, seed)
        scores.append(score(model, data, model.name))
        scores.append(score(model, shift_test(data, shift), f"{model.name}, shifted by {shift}"))
    return scores


def small_against_large_kernels(data: ImageData, epochs: int = 8, seed: int = 42) -> list[Score]:
    """Three 3x3 convolutions against one 7x7: the same receptive field (2024-25 Q2)."""
    models = [fit(build, data, epochs, seed) for build in (small_kernels, large_kernel)]
    return [score(model, data, model.name) for model in models]


def permute_pixels(data: ImageData, seed: int = 42) -> ImageData:
    """Every image of every split with its pixels in one and the same random order."""
    height, width = data.train.image.shape[1:3]
    order = np.random.default_rng(seed).permutation(height * width)

    def permute(split):
        flat = split.image.reshape(len(split.image), height * width, -1)
        return split._replace(image=flat[:, order].reshape(split.image.shape))

    splits = {name: permute(getattr(data, name)) for name in ("train", "val", "test")}
    return replace(data, **splits, notes=(*data.notes, "pixels permuted"))


def shift_test(data: ImageData, shift: int) -> ImageData:
    """The test images moved ``shift`` pixels to the right and down, black moving in."""
    moved = np.zeros_like(data.test.image)
    moved[:, shift:, shift:] = data.test.image[:, : -shift or None, : -shift or None]
    notes = (*data.notes, f"test images shifted by {shift}")
    return replace(data, test=data.test._replace(image=moved), notes=notes)


def fit(build: Builder, data: ImageData, epochs: int, seed: int) -> keras.Model:
    """Build and train with Adam 1e-3 and batches of 32; the seed decides weights and order."""
    keras.utils.set_random_seed(seed)
    model = build(data.train.image.shape[1:], len(data.classes))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    image = data.train.image.astype("float32") / 256
    model.fit(image, data.train.label, batch_size=32, epochs=epochs, verbose=0)
    return model


def score(model: keras.Model, data: ImageData, name: str) -> Score:
    """Parameters and test accuracy of a trained network."""
    image = data.test.image.astype("float32") / 256
    batches = np.array_split(image, -(-len(image) // 256))
    logits = np.concatenate([model(batch, training=False) for batch in batches])
    accuracy = np.mean(logits.argmax(axis=1) == data.test.label)
    return Score(name, model.count_params(), float(accuracy))
