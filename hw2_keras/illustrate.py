"""The pictures of finished runs: what to draw for which task, and where it is saved."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from hw2_keras import classification, plots
from hw2_keras.experiments import Reported
from hw2_keras.runs import Run


def illustrate(run: Run) -> list[Path]:
    """Draws every picture of one run into its folder ``plots``.

    Returns:
        The PNG files; a PDF of the same name is beside each.
    """
    return _save(classifier_figures(run), run.path / "plots")


def illustrate_sweep(sweep: Sequence[Run], folder: Path) -> list[Path]:
    """Draws the pictures that compare the runs of a sweep, and those of its best run.

    Args:
        sweep: runs of one experiment at several rates.
        folder: where the comparing pictures go.

    Returns:
        The PNG files, the best run's included.
    """
    best = next((run for run in sweep if run.best), sweep[0])
    histories = {run.learning_rate: run.history for run in sweep}
    reported = best.experiment.reported
    figures = {"curves_all_rates": plots.sweep_curves(histories, best.learning_rate, reported)}
    image = best.data().train.image[0]
    maps = {run.learning_rate: first_maps(run.model(), image) for run in sweep}
    figures["activation_maps"] = plots.activation_maps(image, maps)
    return _save(figures, folder) + illustrate(best)


def classifier_figures(run: Run) -> dict[str, Figure]:
    """Curves, filters, confusion matrix and misclassified test images of one run."""
    data, model = run.data(), run.model()
    title = f"{run.experiment.name}, {data.source} data, learning rate {run.learning_rate:g}"
    figures = {"curves": plots.curves(run.history, title, reported_at(run))}
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer in convolutions:
        figures[f"filters_{layer.name}"] = plots.filters(np.asarray(layer.kernel))
    confusion = np.array(run.metrics["test_confusion"])
    figures["confusion_matrix"] = plots.confusion_matrix(confusion, data.classes)
    logits = classification.predict_logits(model, data.test)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    figures["misclassified"] = plots.misclassified(
        data.test.image, data.test.label, logits.argmax(1), probabilities, data.classes
    )
    return figures


def first_maps(model: keras.Model, image: np.ndarray) -> np.ndarray:
    """Activation maps (H, W, F) of the first convolution, before its ReLU, for one uint8 image."""
    first = keras.Model(model.input, model.get_layer("conv1").output)
    return np.asarray(first(classification.scale(image[None])))[0]


def reported_at(run: Run) -> list[Reported]:
    """The reports' figures that belong to this run's learning rate."""
    return [r for r in run.experiment.reported if r.learning_rate in (None, run.learning_rate)]


def _save(figures: dict[str, Figure], folder: Path) -> list[Path]:
    return [plots.save(figure, folder / name)[0] for name, figure in figures.items()]
