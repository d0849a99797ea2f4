"""Encoder-decoders: training against PyTorch, and search over many words at once.

Training is one epoch of ``model.fit`` on the pipeline of ``hw2_keras.training.sequences``, with the
threads that ``python -m hw2_keras train`` sets, against one epoch of a plain PyTorch loop: same
network, optimizer and batches. The data are random, with the real sets' numbers, vocabularies and
lengths, so that none are needed. Ours also writes TensorBoard logs. Neither counts what happens
once per epoch after the last step (validation, checkpoint).

Search decodes 1,000 words with the committed model of p2g_attention: the validation words where
HW2_DATA_DIR has them, else random ones of such lengths, as the row says.

Functions named ``keras_...`` and ``torch_...`` run in worker processes; they import their
framework themselves so that no process holds two of them.
"""

import atexit
import functools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import Row, alternate, worker

from hw2_keras.experiments import experiments

NETWORKS = ("p2g_attention", "translate_attention", "caption_attention")
PAIRS = 5  # of alternating runs
RUNS = Path(__file__).parents[1] / "results"
WORDS = 1_000
ONE_BY_ONE = 200  # words that are decoded one at a time
REPEATS = 5  # of a search


class Texts(NamedTuple):
    """One side of a training split.

    Attributes:
        symbols: number of different ones.
        mean, deviation, longest: of the lengths in symbols.
    """

    symbols: int
    mean: float
    deviation: float
    longest: int


NUMBERS = {"p2g": 10_000, "spa_eng": 10_483, "sydney": 2_485}
SIDES = {
    "p2g": (Texts(103, 7.1, 2.7, 39), Texts(89, 7.6, 2.6, 49)),
    "spa_eng": (Texts(30, 15.3, 2.9, 19), Texts(30, 15.4, 2.7, 19)),
    "sydney": (Texts(186, 12.2, 2.6, 20),),
}
IMAGES, FEATURES = 497, (256, 256)  # training images; positions and channels of HW2_DATA_DIR's


def rows() -> Iterator[Row]:
    """Training of the three attention models, then search with p2g_attention."""
    yield from training_rows()
    yield from search_rows()


def training_rows() -> Iterator[Row]:
    """Training batches per second, Keras and PyTorch in two processes that take turns."""
    with worker() as ours, worker() as theirs:
        for name in NETWORKS:
            theirs(torch_prepare, name, ours(keras_arrays, name))
            measured = alternate(
                partial(ours, keras_epoch, name), partial(theirs, torch_epoch, name), PAIRS
            )
            yield Row("training", f"{name}, an epoch", "batches/s", *measured, at_least=1.0)


def search_rows() -> Iterator[Row]:
    """Search over 1,000 words, all at once, with metrics."""
    with worker() as ours:
        kind = ours(keras_words)[2]
        seconds = statistics.median(ours(keras_search, "greedy") for _ in range(REPEATS))
        what = f"p2g_attention, greedy, {WORDS:,} {kind} words with metrics"
        yield Row("search", what, "s", seconds, at_most=0.5)
        measured = alternate(
            partial(ours, keras_words_per_second, WORDS, 256),
            partial(ours, keras_words_per_second, ONE_BY_ONE, 1),
            3,
        )
        what = "p2g_attention, greedy, at once / one at a time"
        yield Row("search", what, "words/s", *measured, at_least=20.0)
        measured = alternate(
            partial(ours, keras_search, "beam"), partial(ours, keras_search, "greedy"), REPEATS
        )
        what = "p2g_attention, beam of 5, time / greedy"
        yield Row("search", what, "times", measured[2], at_most=5.0)


def random_texts(side: Texts, number: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Random symbols, separated by spaces, in gamma-distributed lengths."""
    shape = (side.mean / side.deviation) ** 2
    lengths = rng.gamma(shape, side.mean / shape, number).round().clip(1, side.longest)
    return tuple(" ".join(map(str, rng.integers(0, side.symbols, int(n)))) for n in lengths)


@functools.cache
def keras_data(name: str):
    """Random data of an experiment's sizes, as a task's ``prepare`` returns them."""
    from hw2_keras.data.captions import CaptionData, CaptionSplit, pairs_of
    from hw2_keras.data.pair_files import PairSplit
    from hw2_keras.data.pairs import PairData
    from hw2_keras.data.vocabulary import Vocabulary
    from hw2_keras.training import transduction
    from hw2_keras.training.sequences import Prepared

    data, rng = experiments[name].data, np.random.default_rng(0)
    texts = [random_texts(side, NUMBERS[data], rng) for side in SIDES[data]]
    vocabularies = [Vocabulary.from_texts(side, " ") for side in texts]
    if data != "sydney":
        split = PairSplit(*texts)
        record = PairData(data, "random", "", "", *[split] * 3, *vocabularies)
        return transduction.prepare(record, Path())
    captions = tuple(texts[0][i::IMAGES] for i in range(IMAGES))
    split = CaptionSplit(np.empty(IMAGES), tuple(range(IMAGES)), captions)
    pairs = pairs_of([i % IMAGES for i in range(NUMBERS[data])])
    record = CaptionData(data, "random", "", "", *[split] * 3, pairs, *vocabularies)
    features = np.maximum(rng.standard_normal((IMAGES, *FEATURES), np.float32), 0)
    return Prepared(record, features, features, features)


def keras_arrays(name: str) -> dict:
    """What PyTorch needs to repeat our batches: token ids, order, and features for captions.

    ``source`` are the token ids (N, S) or, of each caption, the row of its image in ``features``.
    """
    import tensorflow as tf

    from hw2_keras.training import TASKS, sequences
    from hw2_keras.training.fit import set_threads

    set_threads(name)
    prepared, experiment = keras_data(name), experiments[name]
    data, features = prepared.data, None
    if experiment.task == "transduction":
        source, texts = prepared.train, data.train.target
    else:
        features = prepared.train
        source, texts = data.pairs[:, 0], [data.train.target[i][j] for i, j in data.pairs]
    target_in, target_out = sequences.target_arrays(texts, data.target_vocabulary)
    epoch = tf.Variable(0, dtype=tf.int64)
    size = experiment.batch_size
    order = [b.numpy() for b in sequences.index_batches(len(texts), size, 42, epoch)]
    return {
        "sizes": TASKS[experiment.task].sizes(prepared),
        "source": source,
        "target_in": target_in,
        "target_out": target_out,
        "order": order,
        "features": features,
    }


def keras_epoch(name: str) -> float:
    """Trains an epoch as ``hw2_keras.training.fit`` does and returns batches per second."""
    fit, batches = keras_trainer(name)
    started = time.perf_counter()
    fit()
    return batches / (time.perf_counter() - started)


@functools.cache
def keras_trainer(name: str) -> tuple[partial, int]:
    """``model.fit`` for one epoch, with everything but the call itself done; number of batches."""
    import keras
    import tensorflow as tf

    from hw2_keras.models import build_models
    from hw2_keras.training import TASKS
    from hw2_keras.training.callbacks import EpochNumber
    from hw2_keras.training.optimizers import optimizer_for

    experiment, prepared = experiments[name], keras_data(name)
    task = TASKS[experiment.task]
    models = build_models(experiment, 42, **task.sizes(prepared))
    epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
    batches = task.batches(prepared, experiment, 42, epoch)
    optimizer = optimizer_for(experiment, experiment.best_rate, int(batches.cardinality()))
    task.compile_model(models.training, optimizer, experiment)
    logs = tempfile.mkdtemp(prefix="hw2-bench-")
    atexit.register(shutil.rmtree, logs)
    callbacks = [EpochNumber(epoch), keras.callbacks.TensorBoard(logs, write_graph=False)]
    fit = partial(models.training.fit, batches, shuffle=False, verbose=0, callbacks=callbacks)
    return fit, int(batches.cardinality())


TRAINERS: dict[str, tuple] = {}  # of the PyTorch process: trainer and arrays by name


def torch_prepare(name: str, arrays: dict) -> None:
    """Builds the PyTorch twin and keeps it with the data."""
    import torch
    from torch_encoder_decoders import Captioner, TextModel, Trainer

    experiment, sizes = experiments[name], arrays["sizes"]
    if name == "caption_attention":
        channels = sizes["features"][1]
        network = Captioner(sizes["vocabulary_size"], channels, experiment.dropout)
    else:
        attention = {"translate_attention": "bilinear", "p2g_attention": "bahdanau"}[name]
        network = TextModel(**sizes, attention=attention, dropout=experiment.dropout)
    tensors = {
        key: torch.from_numpy(arrays[key]).long() for key in ("source", "target_in", "target_out")
    }
    if arrays["features"] is not None:
        tensors["features"] = torch.from_numpy(arrays["features"])
    order = [torch.from_numpy(rows).long() for rows in arrays["order"]]
    trainer = Trainer(network, experiment.best_rate, experiment.clip_value)
    TRAINERS[name] = trainer, tensors, order


def torch_batches(source, target_in, target_out, order, features=None) -> Iterator[tuple]:
    """The batches of an epoch, padded to the batch."""
    for rows in order:
        ids, length = source[rows], (target_in[rows] > 0).sum(1).max()
        inputs = ids[:, : (ids > 0).sum(1).max()] if features is None else features[ids]
        yield (inputs, target_in[rows, :length]), target_out[rows, :length]


def torch_epoch(name: str) -> float:
    """Trains an epoch with PyTorch and returns batches per second."""
    trainer, tensors, order = TRAINERS[name]
    started = time.perf_counter()
    trainer.epoch(torch_batches(**tensors, order=order))
    return len(order) / (time.perf_counter() - started)


@functools.cache
def keras_words() -> tuple[list[str], list[str], str]:
    """1,000 words in symbols, their spellings, and which they are."""
    from hw2_keras.data import load_data

    if os.environ.get("HW2_DATA_DIR"):
        split = load_data("p2g", source="real").val
        return list(split.source[:WORDS]), list(split.target[:WORDS]), "validation"
    vocabularies = keras_run()[1]
    rng = np.random.default_rng(0)
    texts = []
    for side, vocabulary in zip(SIDES["p2g"], vocabularies, strict=True):
        tokens = vocabulary.tokens[4:]
        words = (text.split() for text in random_texts(side, WORDS, rng))
        texts.append([vocabulary.separator.join(tokens[int(i)] for i in word) for word in words])
    return *texts, "random"


@functools.cache
def keras_run() -> tuple:
    """The committed model and its vocabularies, source and target."""
    from hw2_keras.data.vocabulary import Vocabulary
    from hw2_keras.runs import VOCABULARY, open_run

    run = open_run(sorted(RUNS.glob("p2g_attention-real-*-seed*"))[0])
    files = (run.path / VOCABULARY.format(side) for side in ("source", "target"))
    return run.models(), [Vocabulary.load(file) for file in files]


def keras_search(search: str) -> float:
    """Seconds to decode and measure all words, beams of width 5."""
    from hw2_keras.training import sequences

    texts, truth, _ = keras_words()
    models, (source, target) = keras_run()
    ids = source.encode_batch(texts)
    started = time.perf_counter()
    experiment = experiments["p2g_attention"]
    sequences.evaluate(models, ids, truth, target, experiment, search=search, num_beams=5)
    return time.perf_counter() - started


def keras_words_per_second(number: int, batch_size: int) -> float:
    """Words per second of greedy search over the first words, in batches of this size."""
    from hw2_keras.training import sequences

    models, (source, target) = keras_run()
    ids = source.encode_batch(keras_words()[0][:number])
    started = time.perf_counter()
    sequences.decode_split(models, ids, target, 50, batch_size=batch_size)
    return number / (time.perf_counter() - started)
