"""Image classifiers: training against PyTorch, exported files against Keras.

Training is one epoch of ``model.fit`` as ``hw2_keras.training.fit`` calls it, against one epoch of
a plain PyTorch loop over a shuffling DataLoader: same network, optimizer, batch size and images.
Ours also divides the pixels in the pipeline, tracks the accuracy and writes TensorBoard logs;
theirs starts from floats. Neither counts what happens once per epoch after the last step
(validation, checkpoint).

Functions named ``keras_...``, ``torch_...`` and ``onnx_...`` run in worker processes; they import
their framework themselves so that no process holds two of them.
"""

import atexit
import functools
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from measure import Row, alternate, calls_per_second, worker

from hw2_keras.experiments import experiments

SHAPES = {"fashion": (28, 28, 1, 10), "kmnist": (28, 28, 1, 10), "intel": (48, 48, 3, 6)}
NETWORKS = ("fashion_cnn", "kmnist_cnn", "intel_cnn", "intel_cnn_bn")
BATCH_SIZES = (8, 64)

# Images per epoch and batch size: two to three seconds on two cores, so that what ``fit`` does once
# per epoch (about 0.1 s) weighs little, as in an epoch of the real data, and whole executions of
# 25 steps.
EPOCH = {
    "fashion_cnn": {8: 8_000, 64: 16_000},
    "kmnist_cnn": {8: 6_000, 64: 16_000},
    "intel_cnn": {8: 1_000, 64: 1_600},
    "intel_cnn_bn": {8: 1_000, 64: 1_600},
}
PAIRS = 5  # of alternating runs
INFERENCE_SECONDS = 0.3  # of one run


def rows() -> Iterator[Row]:
    """Training of every network at batch 8 and 64, then inference at batch 1 and 256."""
    yield from training_rows()
    yield from inference_rows()


def training_rows() -> Iterator[Row]:
    """Training images per second, Keras and PyTorch in two processes that take turns."""
    with worker() as ours, worker() as theirs:
        for name in NETWORKS:
            for batch_size in BATCH_SIZES:
                measured = alternate(
                    partial(ours, keras_epoch, name, batch_size),
                    partial(theirs, torch_epoch, name, batch_size),
                    PAIRS,
                )
                yield Row("training", f"{name} batch {batch_size}", "images/s", *measured, 1.0)


def inference_rows() -> Iterator[Row]:
    """Classified images per second: the exported file, ``predict`` and ``predict_on_batch``."""
    targets = ((1, "predict", 10.0), (1, "predict_on_batch", 1.0), (256, "predict", 1.0))
    with tempfile.TemporaryDirectory() as folder, worker() as ours, worker() as theirs:
        for name in NETWORKS:
            path = str(Path(folder, f"{name}.onnx"))
            theirs(keras_export, name, path)
            for batch_size, method, target in targets:
                measured = alternate(
                    partial(ours, onnx_inference, name, path, batch_size),
                    partial(theirs, keras_inference, name, method, batch_size),
                    PAIRS,
                )
                what = f"{name} batch {batch_size}, ONNX / {method}"
                yield Row("inference", what, "images/s", *measured, target)


def images(name: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels, uint8 (number, H, W, C), and labels, int32 (number,), for a network."""
    *shape, classes = SHAPES[experiments[name].data]
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (number, *shape), np.uint8)
    return image, rng.integers(0, classes, number, np.int32)


def keras_epoch(name: str, batch_size: int) -> float:
    """Trains an epoch as ``hw2_keras.training.fit`` does and returns images per second."""
    fit = keras_trainer(name, batch_size)
    started = time.perf_counter()
    fit()
    return EPOCH[name][batch_size] / (time.perf_counter() - started)


@functools.cache
def keras_trainer(name: str, batch_size: int) -> partial:
    """``model.fit`` for one epoch, with everything but the call itself done."""
    import keras
    import tensorflow as tf

    from hw2_keras import build
    from hw2_keras.data.image_files import ImageSplit
    from hw2_keras.data.images import ImageData
    from hw2_keras.training import classification
    from hw2_keras.training.callbacks import EpochNumber
    from hw2_keras.training.optimizers import optimizer_for

    experiment = replace(experiments[name], batch_size=batch_size)
    split = ImageSplit(*images(name, EPOCH[name][batch_size]))
    data = ImageData(experiment.data, "random", "random", "", split, split, split, ())
    model = build(name, dropout=experiment.dropout)
    optimizer = optimizer_for(experiment, experiment.best_rate, batch_size)
    classification.compile_model(model, optimizer, experiment)
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
    logs = tempfile.mkdtemp(prefix="hw2-bench-")
    atexit.register(shutil.rmtree, logs)
    return partial(
        model.fit,
        classification.batches(data, experiment, 42, epoch),
        shuffle=False,
        verbose=0,
        callbacks=[EpochNumber(epoch), keras.callbacks.TensorBoard(logs, write_graph=False)],
    )


def torch_epoch(name: str, batch_size: int) -> float:
    """Trains an epoch with PyTorch and returns images per second."""
    trainer = torch_trainer(name, batch_size)
    started = time.perf_counter()
    trainer.epoch()
    return EPOCH[name][batch_size] / (time.perf_counter() - started)


@functools.cache
def torch_trainer(name: str, batch_size: int):
    """The PyTorch twin on the same images."""
    from torch_models import Trainer

    experiment = experiments[name]
    image, label = images(name, EPOCH[name][batch_size])
    return Trainer(
        name,
        experiment.dropout,
        experiment.optimizer,
        experiment.best_rate,
        image,
        label,
        batch_size,
    )


@functools.cache
def keras_network(name: str):
    """The Keras model, not compiled, as ``open_run(path).model()`` gives it."""
    from hw2_keras import build

    return build(name)


def keras_export(name: str, path: str) -> None:
    """Writes the model's ``.onnx`` file."""
    from export import convert

    labels = [str(k) for k in range(SHAPES[experiments[name].data][-1])]
    model = convert.classifier_graph(keras_network(name), labels)
    facts = {"kind": "classifier", "experiment": name, "labels": labels}
    convert.add_metadata(model, facts)
    Path(path).write_bytes(model.SerializeToString())


def keras_inference(name: str, method: str, batch_size: int) -> float:
    """Images per second of one Keras method on pixels that are already divided by 256."""
    image = images(name, batch_size)[0].astype(np.float32) / 256
    options = {"verbose": 0, "batch_size": batch_size} if method == "predict" else {}
    call = partial(getattr(keras_network(name), method), image, **options)
    return batch_size * calls_per_second(call, INFERENCE_SECONDS)


def onnx_inference(name: str, path: str, batch_size: int) -> float:
    """Images per second of the exported file, from raw pixels to labels."""
    call = partial(onnx_model(path), images(name, batch_size)[0])
    return batch_size * calls_per_second(call, INFERENCE_SECONDS)


@functools.cache
def onnx_model(path: str):
    """The loaded file."""
    from export.runtime import load

    return load(path)
