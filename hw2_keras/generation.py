"""What the trainer needs for text generators: batches, loss, decoded splits and figures (Q3).

Texts are token ids from `Vocabulary`: a source is its ids, a target is read as SOS + ids and
predicted as ids + EOS; both are padded with 0 to the longest of the batch.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from hw2_keras import decoding, metrics
from hw2_keras.data.captions import CaptionData
from hw2_keras.data.pairs import PairSplit
from hw2_keras.data.vocabulary import EOS, PAD, SOS, Vocabulary
from hw2_keras.errors import UsageError
from hw2_keras.models.encoder_decoder import EncoderDecoder

SEARCHES = ("greedy", "beam", "nucleus")

# Batches of equal lengths are drawn from pools of this many batches. See `pair_batches`.
POOL = 8


def pair_batches(
    split: PairSplit,
    vocabularies: tuple[Vocabulary, Vocabulary],
    batch_size: int,
    seed: int,
    epoch: tf.Variable,
    training: bool = True,
) -> tf.data.Dataset:
    """Return the batches of one epoch of text pairs, as ``model.fit`` takes them.

    Args:
        split: N pairs.
        vocabularies: of source and target.
        batch_size: B; the last batch holds what is left.
        seed: with the epoch it fixes the order, so that a resumed run repeats exactly.
        epoch: integer variable, read whenever an iteration starts.
        training: shuffled, and bucketed by length; False keeps the split's order.

    Returns:
        ((source (B, S), target_in (B, T)), target_out (B, T)), all int32.

    Raises:
        UsageError: an empty split or a blank text.
    """
    source = vocabularies[0].encode_batch(split.source)
    target_in, target_out = target_arrays(split.target, vocabularies[1])
    lengths = np.count_nonzero(source, 1) + np.count_nonzero(target_out, 1)
    source, target_in, target_out = map(tf.constant, (source, target_in, target_out))

    def batch(rows):
        inputs = trim(tf.gather(source, rows)), trim(tf.gather(target_in, rows))
        return inputs, trim(tf.gather(target_out, rows))

    return index_batches(lengths, batch_size, seed, epoch, training).map(batch).prefetch(8)


def caption_batches(
    images, data: CaptionData, batch_size: int, seed: int, epoch: tf.Variable
) -> tf.data.Dataset:
    """Return the shuffled training batches of one epoch of captions.

    Args:
        images: the captioner's sources of the training images: features float32 (N, P, C) or
            pixels uint8 (N, H, W, 3), in the order of ``data.train``.
        data, batch_size, seed, epoch: as for `pair_batches`.

    Returns:
        ((images (B, ...), target_in (B, T)), target_out (B, T)).
    """
    captions = [data.train.captions[i][j] for i, j in data.pairs]
    arrays = target_arrays(captions, data.vocabulary)
    lengths = np.count_nonzero(arrays[1], 1)
    images, image_of = tf.constant(images), tf.constant(data.pairs[:, 0], tf.int32)
    target_in, target_out = map(tf.constant, arrays)

    def batch(rows):
        inputs = tf.gather(images, tf.gather(image_of, rows)), trim(tf.gather(target_in, rows))
        return inputs, trim(tf.gather(target_out, rows))

    return index_batches(lengths, batch_size, seed, epoch, True).map(batch).prefetch(2)


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


def index_batches(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: tf.Variable, training: bool
) -> tf.data.Dataset:
    """Return batches of row numbers, int32 (B,), each row once per epoch.

    For training the rows are shuffled, sorted by length within pools of ``POOL`` batches, and the
    batches shuffled: all as a function of (seed, epoch) alone.
    """
    n = len(lengths)
    steps = -(-n // batch_size)
    lengths = tf.constant(lengths, tf.int64)
    pool = tf.range(n, dtype=tf.int64) // (POOL * batch_size)

    def shuffled(_) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
        order = tf.random.experimental.stateless_shuffle(tf.range(n), key)
        by_length = pool * tf.reduce_max(lengths + 1) + tf.gather(lengths, order)
        order = tf.gather(order, tf.argsort(by_length, stable=True))
        batches = tf.random.experimental.stateless_shuffle(tf.range(steps), key + 1)
        batches = tf.data.Dataset.from_tensor_slices(batches * batch_size)
        return batches.map(lambda start: order[start : start + batch_size])

    if training:
        dataset = tf.data.Dataset.range(1).flat_map(shuffled)
    else:
        dataset = tf.data.Dataset.range(n, output_type=tf.int32).batch(batch_size)
    return dataset.apply(tf.data.experimental.assert_cardinality(steps))


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
        batch_size: sources decoded together, those of like length.

    Raises:
        UsageError: unknown search, or arguments that `decoding` refuses.
    """
    if search not in SEARCHES:
        raise UsageError(f"unknown search {search!r}: expected one of {', '.join(SEARCHES)}")
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


def figures(data_name: str, texts: Sequence[str], truth: Sequence) -> dict[str, float]:
    """Return the data set's metrics: error_rate (spa_eng), cer and wer (p2g), bleu4 (sydney).

    Args:
        data_name: name of the data set.
        texts: N decoded texts.
        truth: N targets; for captions N groups of references.
    """
    if data_name == "spa_eng":
        return {"error_rate": metrics.error_rate(texts, truth)}
    if data_name == "p2g":
        return {"cer": metrics.cer(texts, truth), "wer": metrics.wer(texts, truth)}
    return {"bleu4": metrics.mean_bleu4(texts, truth)}


def evaluate(
    models: EncoderDecoder,
    source,
    truth: Sequence,
    data_name: str,
    vocabulary: Vocabulary,
    max_length: int,
    **search,
) -> dict[str, float]:
    """Decode a split and measure it: `decode_split`, then `figures`.

    With ``search="nucleus"`` on p2g also ``wer_at_3``, the share of words that none of three
    further passes gets right (2024-25 Q3); their uniform numbers have the next three seeds.
    """
    texts = decode_split(models, source, vocabulary, max_length, **search)
    found = figures(data_name, texts, truth)
    if search.get("search") == "nucleus" and data_name == "p2g":
        seed = search.pop("seed", 42)
        passes = [
            decode_split(models, source, vocabulary, max_length, seed=seed + i, **search)
            for i in (1, 2, 3)
        ]
        found["wer_at_3"] = metrics.wer_at_k(passes, truth)
    return found
