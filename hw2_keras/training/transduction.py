"""The task of the text pairs: their sources as ids, and their batches (2022-23 and 2024-25 Q3)."""

from pathlib import Path

import tensorflow as tf

from hw2_keras.data.pairs import PairData
from hw2_keras.data.vocabulary import Vocabulary
from hw2_keras.experiments import Experiment
from hw2_keras.training.sequences import (
    SEARCHES,
    Prepared,
    callbacks,
    compile_model,
    divergence,
    evaluate_split,
    index_batches,
    measure,
    target_arrays,
    trim,
    validation,
)

__all__ = [
    "SEARCHES",
    "batches",
    "callbacks",
    "compile_model",
    "divergence",
    "evaluate_split",
    "measure",
    "prepare",
    "sizes",
    "validation",
    "vocabularies",
]


def prepare(data: PairData, cache: Path, encoder: None = None) -> Prepared:
    """Encode the sources of all splits as ids, int32 (N, S), zero-padded."""
    encode = data.source_vocabulary.encode_batch
    return Prepared(data, *(encode(split.source) for split in (data.train, data.val, data.test)))


def sizes(prepared: Prepared) -> dict[str, int]:
    """Builder arguments that depend on the data."""
    data = prepared.data
    return {
        "source_size": len(data.source_vocabulary),
        "target_size": len(data.target_vocabulary),
    }


def batches(
    prepared: Prepared, experiment: Experiment, seed: int, epoch: tf.Variable
) -> tf.data.Dataset:
    """Return the shuffled training batches of one epoch, as ``model.fit`` takes them.

    They are not bucketed by length: a third less time per epoch of p2g_attention, but a CER about
    0.005 higher throughout.

    Args:
        prepared: see `prepare`.
        experiment: its ``batch_size`` is B; the last batch holds what is left.
        seed: with the epoch it fixes the order, so that a resumed run repeats exactly.
        epoch: integer variable, read whenever an iteration starts.

    Returns:
        ((source (B, S), target_in (B, T)), target_out (B, T)), all int32.
    """
    targets = target_arrays(prepared.data.train.target, prepared.data.target_vocabulary)
    source, target_in, target_out = map(tf.constant, (prepared.train, *targets))

    def batch(rows):
        inputs = trim(tf.gather(source, rows)), trim(tf.gather(target_in, rows))
        return inputs, trim(tf.gather(target_out, rows))

    rows = index_batches(len(prepared.train), experiment.batch_size, seed, epoch)
    return rows.map(batch).prefetch(8)


def vocabularies(data: PairData) -> dict[str, Vocabulary]:
    """The vocabularies that a run keeps, by name."""
    return {"source": data.source_vocabulary, "target": data.target_vocabulary}
