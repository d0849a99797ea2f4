"""The plots of finished runs: what to draw for which task, and where it is saved."""

import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from hw2_keras import decoding, metrics
from hw2_keras.data import load_data
from hw2_keras.errors import UsageError, printable
from hw2_keras.experiments import Reported
from hw2_keras.plots import curves, of_images, of_texts, of_theory, style
from hw2_keras.plots.of_texts import ExampleRow
from hw2_keras.runs import Run, by_seeds
from hw2_keras.training import captioning, classification, sequences

ATTENTION_MAPS = 3  # test examples whose attention is drawn
EXAMPLES = 4  # best, median and worst examples each
CONVOLUTIONS = 3  # the first, whose filters are drawn; the homework's networks have no more


def illustrate(run: Run) -> list[Path]:
    """Draws every plot of one run into its folder ``plots``.

    Returns:
        The PNG files; a PDF of the same name is beside each.
    """
    print(printable(f"plots of {title(run)} ..."), file=sys.stderr, flush=True)
    drawn = {"curves": curves.curves(run.history, title(run), reported_at(run))}
    return _save(drawn | PLOTS_OF[run.experiment.task](run), run.path / "plots")


def title(run: Run) -> str:
    """A heading for the plots of one run."""
    return f"{run.experiment.name}, {run.record['source']} data, rate {run.learning_rate:g}"


def illustrate_sweep(sweep: Sequence[Run], folder: Path) -> list[Path]:
    """Draws the plots that compare the runs of a sweep, and those of its best run.

    Args:
        sweep: runs of one experiment at several rates.
        folder: where the comparing plots go.

    Returns:
        The PNG files, the best run's included.
    """
    best = next((run for run in sweep if run.best), sweep[0])
    histories = {run.learning_rate: run.history for run in sweep}
    comparable = [run for run in sweep if not run.departures]
    reported = [entry for run in comparable for entry in reported_at(run)]
    drawn = {"curves_all_rates": curves.sweep_curves(histories, best.learning_rate, reported)}
    image = best.data().train.image[0]
    maps = {run.learning_rate: first_maps(run.model(), image) for run in sweep}
    drawn["activation_maps"] = of_images.activation_maps(image, maps)
    return _save(drawn, folder) + illustrate(best)


def classifier_plots(run: Run) -> dict[str, Figure]:
    """Filters, confusion matrix and misclassified test images of one run.

    Raises:
        UsageError: its record has no confusion matrix, as an older one may; see also `Run.data`
            and `Run.models`.
    """
    if "test_confusion" not in run.metrics:
        raise UsageError(
            f"{run.path} has no test_confusion in its record: train again into another folder"
        )
    data, model = run.data(), run.model()
    drawn = {}
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer in convolutions[:CONVOLUTIONS]:
        drawn[f"filters_{layer.name}"] = of_images.filters(np.asarray(layer.kernel))
    confusion = np.array(run.metrics["test_confusion"])
    drawn["confusion_matrix"] = of_images.confusion_matrix(confusion, data.classes)
    logits = classification.predict_logits(model, data.test)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    drawn["misclassified"] = of_images.misclassified(
        data.test.image, data.test.label, logits.argmax(1), probabilities, data.classes
    )
    return drawn


def pair_plots(run: Run) -> dict[str, Figure]:
    """Best, median and worst test examples; with attention, where the decoder looked."""
    prepared, models = run.prepared(), run.models()
    data = prepared.data
    found = sequences.decode_split(
        models, prepared.test, data.target_vocabulary, run.experiment.max_length
    )
    errors = [metrics.error_rate([f], [t]) for f, t in zip(found, data.test.target, strict=True)]
    order = np.argsort(errors, kind="stable")
    middle = len(order) // 2 - EXAMPLES // 2
    groups = {
        "best": order[:EXAMPLES],
        "median": order[middle : middle + EXAMPLES],
        "worst": order[::-1][:EXAMPLES],
    }
    rows = [
        ExampleRow(group, data.test.source[i], data.test.target[i], found[i], errors[i])
        for group, chosen in groups.items()
        for i in chosen
    ]
    drawn = {"examples": of_texts.examples_table(rows, "error rate")}
    if decoding.has_attention(models):
        for number, source in enumerate(data.test.source[:ATTENTION_MAPS], 1):
            ids = data.source_vocabulary.encode_batch([source])
            decoded = decoding.greedy(models, ids, run.experiment.max_length)
            tokens = [data.target_vocabulary.tokens[i] for i in decoded.tokens[0, 0].numpy()]
            drawn[f"attention_{number}"] = of_texts.attention_map(
                decoded.attention[0].numpy(), data.source_vocabulary.split(source), tokens
            )
    return drawn


def caption_plots(run: Run) -> dict[str, Figure]:
    """The homework's three test images with their captions, and the attention of each word."""
    prepared, models = run.prepared(), run.models()
    data = prepared.data
    chosen = captioning.shown_images(data)
    images = [data.test.image[i] for i in chosen]
    decoded = decoding.greedy(models, prepared.test[chosen], run.experiment.max_length)
    captions = [data.target_vocabulary.decode(ids) for ids in decoded.tokens[:, 0].numpy()]
    references = [data.test.target[i] for i in chosen]
    drawn = {"captions": of_images.captioned_images(images, captions, references)}
    if decoding.has_attention(models):
        for row, (image, caption) in enumerate(zip(images, captions, strict=True)):
            words = caption.split()
            weights = decoded.attention[row, : len(words)].numpy()
            name = f"attention_{data.test.image_id[chosen[row]]}"
            drawn[name] = of_images.caption_attention(image, words, weights)
    return drawn


def compare(compared: Sequence[Run], folder: Path) -> list[Path]:
    """Draws the validation metric of several runs in one plot, seeds as a band.

    Args:
        compared: runs of experiments with the same validation metric; those that differ in their
            seed alone share a curve, see `runs.by_seeds`.
        folder: where ``NAMES_val_METRIC.png`` goes.
    """
    histories = {n: [run.history for run in group] for n, group in by_seeds(compared).items()}
    metric = compared[0].experiment.metric
    names = dict.fromkeys(run.experiment.name for run in compared)
    name = f"{'_and_'.join(names)}_{metric}"
    return _save({name: curves.metric_curves(histories, metric)}, folder)


def illustrate_paper(folder: Path) -> list[Path]:
    """Draws the plots of Question 1, and of Question 2's paper questions, into a folder.

    The images are synthetic: landscapes for equivariance, glyphs for pooling and memories.
    """
    landscapes = load_data("intel").train
    mountain = landscapes.image[np.argmax(landscapes.label == 3)] / 255
    glyphs = load_data("kmnist").train
    edge = np.repeat(np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], float)[..., None, None], 3, 2)
    edge = edge * np.array([1.0, 0.2, -0.8])[:, None]  # unequal weights: hue is seen
    first_of_class = [int(np.argmax(glyphs.label == k)) for k in range(6)]
    patterns = np.where(glyphs.image[first_of_class, ..., 0] > 100, 1, -1)
    triangle = np.array([[1.0, 0.0], [-0.5, 0.87], [-0.5, -0.87]])
    starts = np.random.default_rng(0).uniform(-1.2, 1.2, (8, 2))
    blocks = [(3, 1), (2, 2)]  # one block of intel_cnn: convolution 3x3, pool 2
    stacks = {"two 3x3": [(3, 1)] * 2, "three 3x3": [(3, 1)] * 3, "three blocks": blocks * 3}
    drawn = {
        "convolution_matrix": of_theory.plot_matrix((3, 3), (5, 6)),
        "equivariance": of_theory.plot_equivariance(mountain, edge),
        "pooling": of_theory.plot_pooling(glyphs.image[:20] / 255, edge[:, :, :1]),
        "receptive_fields": of_theory.plot_receptive_fields(stacks),
        "equivalent_heads": of_theory.plot_head_difference(np.geomspace(1, 1e14, 15)),
        "hopfield_energy": of_theory.plot_energy(4.0, triangle, starts),
        "hopfield_storage": of_theory.plot_storage(patterns),
        "hopfield_retrieval": of_theory.plot_retrieval(patterns),
    }
    return _save(drawn, folder)


def first_maps(model: keras.Model, image: np.ndarray) -> np.ndarray:
    """Activation maps (H, W, F) of the first convolution, before its ReLU, for one uint8 image."""
    first = keras.Model(model.input, model.get_layer("conv1").output)
    return np.asarray(first(classification.scale(image[None])))[0]


def reported_at(run: Run) -> Sequence[Reported]:
    """The reports' figures that this run can be compared with: none unless it is their protocol."""
    return () if run.departures else run.experiment.reported_at(run.learning_rate)


def _save(drawn: dict[str, Figure], folder: Path) -> list[Path]:
    saved = []
    for number, (name, figure) in enumerate(drawn.items(), 1):
        told = printable(f"plot {number} of {len(drawn)}: {name}")
        print(told, file=sys.stderr, flush=True)
        saved.append(style.save(figure, folder / name)[0])
    return saved


PLOTS_OF = {
    "classification": classifier_plots,
    "transduction": pair_plots,
    "captioning": caption_plots,
}
