"""What the trainer needs for image classifiers: batches, loss and figures (Q2 of every edition)."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hw2_keras.data.image_files import ImageSplit
from hw2_keras.data.images import ImageData
from hw2_keras.experiments import Experiment
from hw2_keras.training.augmentation import augment

SEARCHES = ()  # nothing is decoded
SCALE = 256.0  # the course divides pixels by 256, not 255

# At batch 8 a step takes about 3 ms, so the cost of leaving the graph after each one shows.
STEPS_PER_EXECUTION = 25


def prepare(data: ImageData, cache: Path, encoder: None = None) -> ImageData:
    """Images need no preparation: batches are cut from the arrays."""
    return data


def sizes(data: ImageData) -> dict[str, int]:
    """Builder arguments that depend on the data: none, images and classes are fixed."""
    return {}


def batches(
    data: ImageData, experiment: Experiment, seed: int, epoch: tf.Variable
) -> tf.data.Dataset:
    """Shuffled training batches, augmented where the experiment says so.

    Order and augmentation are functions of ``seed`` and ``epoch`` alone.

    Returns:
        A dataset of (image float32 (B, H, W, C) in [0, 1), label int32 (B,)); every iteration
        over it is one epoch, the last batch may be smaller.
    """
    size, batch_size = len(data.train.label), experiment.batch_size
    image, label = tf.constant(data.train.image), tf.constant(data.train.label)

    def key() -> tf.Tensor:
        return tf.stack([tf.constant(seed, tf.int64), epoch])

    def shuffled(_) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(size), seed=key())
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    def gather(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return scale(tf.gather(image, rows)), tf.gather(label, rows)

    def augmented(number: tf.Tensor, batch: tuple) -> tuple[tf.Tensor, tf.Tensor]:
        of_batch = tf.random.experimental.stateless_fold_in(key(), number)
        return augment(batch[0], of_batch, experiment.crop_padding, experiment.cutout), batch[1]

    dataset = tf.data.Dataset.range(1).flat_map(shuffled).map(gather)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-size // batch_size)))
    if experiment.crop_padding or experiment.cutout:
        dataset = dataset.enumerate().map(augmented)
    return dataset.prefetch(STEPS_PER_EXECUTION)


def validation(data: ImageData, experiment: Experiment) -> tf.data.Dataset:
    """The validation split in order, in batches of 256."""
    dataset = tf.data.Dataset.from_tensor_slices((data.val.image, data.val.label)).batch(256)
    return dataset.map(lambda image, label: (scale(image), label)).cache()


def scale(image: tf.Tensor) -> tf.Tensor:
    """uint8 pixels -> float32 in [0, 1), divided by 256 as in the course."""
    return tf.cast(image, tf.float32) / SCALE


def compile_model(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, experiment: Experiment
) -> None:
    """Negative log-likelihood on log-softmax, that is cross-entropy on logits, and accuracy.

    With label smoothing the losses of the history, ``val_loss`` too, are to the smoothed labels;
    those that `measure` gives are not.
    """
    model.compile(
        optimizer=optimizer,
        loss=smoothed_cross_entropy(experiment.label_smoothing)
        if experiment.label_smoothing
        else keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=STEPS_PER_EXECUTION,
        jit_compile=False,  # XLA made these networks 4 to 10 times slower on a CPU
    )


def smoothed_cross_entropy(smoothing: float) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Loss (label (N,), logits (N, K)) -> (N,); Keras's sparse one knows no label smoothing."""

    def loss(label: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        number = tf.cast(tf.reshape(label, (-1,)), tf.int32)  # Keras hands labels over as floats
        truth = tf.one_hot(number, logits.shape[-1])
        return keras.losses.categorical_crossentropy(
            truth, logits, from_logits=True, label_smoothing=smoothing
        )

    return loss


def callbacks(
    model: keras.Model, data: ImageData, experiment: Experiment
) -> list[keras.callbacks.Callback]:
    """None: accuracy is an ordinary Keras metric."""
    return []


def vocabularies(data: ImageData) -> dict:
    """None: the labels are part of the data set."""
    return {}


def measure(model: keras.Model, data: ImageData, experiment: Experiment) -> dict:
    """Figures of the trained model on the validation and test splits.

    Returns:
        ``val_loss``, ``val_accuracy``, ``test_loss``, ``test_accuracy`` and, as nested lists,
        ``test_confusion`` (rows: true class, columns: predicted).
    """
    figures: dict = {}
    for name, split in (("val", data.val), ("test", data.test)):
        logits = predict_logits(model, split)
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        figures[f"{name}_loss"] = float(-log_p[np.arange(len(log_p)), split.label].mean())
        figures[f"{name}_accuracy"] = float((logits.argmax(1) == split.label).mean())
        figures[f"{name}_predicted_classes"] = len(np.unique(logits.argmax(1)))
    confusion = np.zeros((len(data.classes), len(data.classes)), int)
    np.add.at(confusion, (data.test.label, logits.argmax(1)), 1)
    figures["test_confusion"] = confusion.tolist()
    return figures


def predict_logits(model: keras.Model, split: ImageSplit) -> np.ndarray:
    """Logits (N, K) float64 of a split."""
    dataset = tf.data.Dataset.from_tensor_slices(split.image).batch(256).map(scale)
    return model.predict(dataset, verbose=0).astype(np.float64)


def divergence(figures: dict) -> str | None:
    """Says how a finished run failed, or None: NaN weights, or one class for every image."""
    if not np.isfinite(figures["val_loss"]):
        return "diverged: the loss is not a number"
    if figures["val_predicted_classes"] == 1:
        return "collapsed: the same class for every image"
    return None
