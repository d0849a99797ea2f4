"""What the tasks that write texts share (Q3): decoding a split, its figures, loss and callbacks.

Texts are token ids from `Vocabulary`: a target is read as SOS + ids and predicted as ids + EOS;
both are padded with 0 to the longest of the batch.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from hw2_keras import decoding
from hw2_keras.data.captions import CaptionData
from hw2_keras.data.pairs import PairData
from hw2_keras.data.vocabulary import EOS, PAD, SOS, Vocabulary
from hw2_keras.errors import UsageError
from hw2_keras.experiments import Experiment
from hw2_keras.metrics import METRICS, wer_at_k
from hw2_keras.models.encoder_decoder import EncoderDecoder

SEARCHES = ("greedy", "beam", "nucleus")
MAX_HYPOTHESES = 2_560  # decoded at once, so that a wide beam takes no more memory: 256 of width 10


class Prepared(NamedTuple):
    """A data set with the sources that its encoder takes, computed once.

    Attributes:
        data: the record of ``load_data``; the targets are there.
        train, val, test: sources of the splits: token ids (N, S), features (N, P, C) or pixels.
        image_encoder: what turned real images into features; None for other data.
    """

    data: PairData | CaptionData
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    image_encoder: keras.Model | None = None


def target_arrays(texts: Sequence[str], vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Return target_in = SOS + ids and target_out = ids + EOS, int32 (N, T), zero-padded."""
    ids = np.pad(vocabulary.encode_batch(texts), ((0, 0), (0, 1)), constant_values=PAD)
    target_in = np.roll(ids, 1, axis=1)
    target_in[:, 0] = SOS
    target_out = ids.copy()
    target_out[np.arange(len(ids)), np.count_nonzero(ids, 1)] = EOS
    return target_in, target_out


def trim(ids: tf.Tensor) -> tf.Tensor:
    """Cut (B, T) after the longest row; ids are padded at the end."""
    return ids[:, : tf.reduce_max(tf.math.count_nonzero(ids, 1))]


def index_batches(n: int, batch_size: int, seed: int, epoch: tf.Variable) -> tf.data.Dataset:
    """Return batches of row numbers, int32 (B,), each of 0..n-1 once per epoch.

    Their order is a function of (seed, epoch) alone.
    """

    def order(_) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
        rows = tf.random.experimental.stateless_shuffle(tf.range(n), key)
        return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)

    dataset = tf.data.Dataset.range(1).flat_map(order)
    return dataset.apply(tf.data.experimental.assert_cardinality(-(-n // batch_size)))


def sequence_loss() -> keras.losses.Loss:
    """Return the course's loss: cross-entropy, averaged over the batch's tokens but padding."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PAD)


def decode_split(
    models: EncoderDecoder,
    source,
    vocabulary: Vocabulary,
    max_length: int,
    search: str = "greedy",
    num_beams: int = 5,
    length_penalty: float = 1.0,
    top_p: float = 0.8,
    seed: int = 42,
    batch_size: int = 256,
) -> list[str]:
    """Return the best text for every source.

    Args:
        models: encoder and step model.
        source: all N sources as one array, see `decoding.greedy`.
        vocabulary: of the target.
        max_length: longest output in tokens.
        search: "greedy", "beam" (``num_beams``, ``length_penalty``) or "nucleus" (``top_p``, and
            ``seed`` for its uniform numbers).
        batch_size: sources decoded together, those of like length; fewer for a wide beam.

    Raises:
        UsageError: unknown search, or arguments that `decoding` refuses.
    """
    if search not in SEARCHES:
        raise UsageError(f"unknown search {search!r}: expected one of {', '.join(SEARCHES)}")
    if search == "beam":
        decoding.check_width(num_beams)
        batch_size = max(1, min(batch_size, MAX_HYPOTHESES // num_beams))
    source = np.asarray(source)
    uniforms = np.random.default_rng(seed).random((len(source), max_length), np.float32)
    is_text = source.ndim == 2
    lengths = np.count_nonzero(source, 1) if is_text else np.zeros(len(source))
    order = np.argsort(lengths, kind="stable")
    texts = [""] * len(source)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = source[rows, : int(lengths[rows[-1]])] if is_text else source[rows]
        if search == "greedy":
            found = decoding.greedy(models, batch, max_length)
        elif search == "beam":
            found = decoding.beam(models, batch, max_length, num_beams, length_penalty)
        else:
            found = decoding.nucleus(models, batch, top_p, uniforms[rows])
        for row, tokens in zip(rows, found.tokens[:, 0].numpy(), strict=True):
            texts[row] = vocabulary.decode(tokens)
    return texts


def figures(measures: Sequence[str], texts: Sequence[str], truth: Sequence) -> dict[str, float]:
    """Return an experiment's metrics of decoded texts.

    Args:
        measures: names in `METRICS`.
        texts: N decoded texts.
        truth: N targets; for captions N groups of references.
    """
    return {name: METRICS[name].measure(texts, truth) for name in measures}


def evaluate(
    models: EncoderDecoder,
    source,
    truth: Sequence,
    vocabulary: Vocabulary,
    experiment: Experiment,
    **search,
) -> dict[str, float]:
    """Decode a split and measure it: `decode_split`, then `figures`.

    With ``search="nucleus"``, where words are counted, also ``wer_at_3``, the share of words that
    none of three further passes gets right (2024-25 Q3); their uniform numbers have the next
    three seeds.
    """

    def decode(**options) -> list[str]:
        return decode_split(models, source, vocabulary, experiment.max_length, **options)

    found = figures(experiment.measures, decode(**search), truth)
    if search.get("search") == "nucleus" and "wer" in experiment.measures:
        seed = search.pop("seed", 42)
        passes = [decode(seed=seed + i, **search) for i in (1, 2, 3)]
        found["wer_at_3"] = wer_at_k(passes, truth)
    return found


def evaluate_split(
    models: EncoderDecoder, prepared: Prepared, experiment: Experiment, split: str, **search
) -> dict[str, float]:
    """`evaluate` on "val" or "test" of a prepared data set; ``search`` as for `decode_split`."""
    source, truth = getattr(prepared, split), getattr(prepared.data, split).target
    vocabulary = prepared.data.target_vocabulary
    return evaluate(models, source, truth, vocabulary, experiment, **search)


def validation(prepared: Prepared, experiment: Experiment) -> None:
    """None: the validation metric is that of decoded texts, see `SequenceMetrics`."""


def compile_model(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, experiment: Experiment
) -> None:
    """Teacher forcing with `sequence_loss`."""
    model.compile(
        optimizer=optimizer,
        loss=sequence_loss(),
        steps_per_execution=8,
        jit_compile=False,
    )


class SequenceMetrics(keras.callbacks.Callback):
    """Decodes the validation split greedily after each epoch and logs its metric.

    Args:
        models, prepared, experiment: as in `evaluate_split`.
    """

    def __init__(self, models: EncoderDecoder, prepared: Prepared, experiment: Experiment) -> None:
        super().__init__()
        self.arguments = models, prepared, experiment

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        found = evaluate_split(*self.arguments, "val")
        logs.update({f"val_{name}": value for name, value in found.items()})


def callbacks(
    models: EncoderDecoder, prepared: Prepared, experiment: Experiment
) -> list[keras.callbacks.Callback]:
    """What `model.fit` needs beyond the common callbacks."""
    return [SequenceMetrics(models, prepared, experiment)]


def measure(models: EncoderDecoder, prepared: Prepared, experiment: Experiment) -> dict:
    """Figures of the trained models on both splits, greedy.

    Where the homework asks for nucleus sampling, also the test figures of a sampled pass.
    """
    found = {
        f"{split}_{name}": value
        for split in ("val", "test")
        for name, value in evaluate_split(models, prepared, experiment, split).items()
    }
    if experiment.top_p:
        options = {"search": "nucleus", "top_p": experiment.top_p}
        sampled = evaluate_split(models, prepared, experiment, "test", **options)
        words = {"wer_at_3": "test_wer_at_3"}
        found |= {words.get(name, f"test_nucleus_{name}"): v for name, v in sampled.items()}
    return found


def divergence(figures: dict) -> str | None:
    """Says how a finished run failed, or None."""
    return None if math.isfinite(figures["loss"]) else "diverged: the loss is not a number"
