"""Batches that repeat by seed and epoch, the loss that ignores padding, decoded splits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hw2_keras import decoding, generation, metrics
from hw2_keras.data import load_data
from hw2_keras.data.pairs import PairSplit
from hw2_keras.data.vocabulary import Vocabulary
from hw2_keras.errors import UsageError
from hw2_keras.generation import caption_batches, decode_split, evaluate, pair_batches
from hw2_keras.models.encoder_decoder import build_encoder_decoder

LETTERS = "abcdefghij"


@pytest.fixture(scope="module")
def split():
    """300 different words of 1 to 9 letters, to be reversed."""
    rng = np.random.default_rng(0)
    words = ("".join(rng.choice(list(LETTERS), rng.integers(1, 10))) for _ in range(600))
    words = tuple(dict.fromkeys(words))[:300]
    return PairSplit(words, tuple(word[::-1] for word in words))


@pytest.fixture(scope="module")
def vocabularies():
    return Vocabulary.from_texts([LETTERS], ""), Vocabulary.from_texts([LETTERS], "")


@pytest.fixture(scope="module")
def models(vocabularies):
    return build_encoder_decoder(14, 14, "bahdanau", hidden=8)


def an_epoch(split, vocabularies, epoch, seed=42):
    variable = tf.Variable(epoch, dtype=tf.int64)
    return list(pair_batches(split, vocabularies, 16, seed, variable))


def texts_of(batches, vocabulary):
    return [vocabulary.decode(row) for (source, _), _ in batches for row in source.numpy()]


def test_every_pair_comes_once_per_epoch_as_the_homework_s_tensors(split, vocabularies):
    batches = an_epoch(split, vocabularies, epoch=0)
    assert len(batches) == 19
    assert sorted(len(target) for _, target in batches) == [12] + 18 * [16]
    words = []
    for (source, target_in), target_out in batches:
        assert source.dtype == target_in.dtype == target_out.dtype == tf.int32
        assert target_in.shape == target_out.shape
        for a, b, c in zip(source.numpy(), target_in.numpy(), target_out.numpy(), strict=True):
            word = vocabularies[0].decode(a)
            ids = vocabularies[1].encode(word[::-1])
            assert b.tolist() == [1, *ids, *[0] * (len(b) - len(ids) - 1)]
            assert c.tolist() == [*ids, 2, *[0] * (len(c) - len(ids) - 1)]
            words.append(word)
        assert source.shape[1] == np.count_nonzero(source, 1).max()
        assert target_out.shape[1] == np.count_nonzero(target_out, 1).max()
    assert sorted(words) == sorted(split.source)


def test_the_order_is_a_function_of_seed_and_epoch(split, vocabularies):
    def order(**arguments):
        return texts_of(an_epoch(split, vocabularies, **arguments), vocabularies[0])

    assert order(epoch=3) == order(epoch=3)
    assert order(epoch=3) != order(epoch=4)
    assert order(epoch=3) != order(epoch=3, seed=7)


def test_the_epoch_is_read_when_an_iteration_starts(split, vocabularies):
    epoch = tf.Variable(0, dtype=tf.int64)
    batches = pair_batches(split, vocabularies, 16, 42, epoch)
    first = texts_of(batches, vocabularies[0])
    epoch.assign(1)
    second = texts_of(batches, vocabularies[0])
    epoch.assign(0)
    assert texts_of(batches, vocabularies[0]) == first != second
    assert second == texts_of(an_epoch(split, vocabularies, 1), vocabularies[0])


def test_buckets_save_padding_but_their_order_is_random(split, vocabularies):
    batches = an_epoch(split, vocabularies, 0)
    padded = sum(int(tf.size(source)) for (source, _), _ in batches)
    whole = len(split.source) * max(map(len, split.source))
    assert padded < 0.75 * whole
    lengths = [source.shape[1] for (source, _), _ in batches]
    assert lengths != sorted(lengths)


def test_without_training_the_order_is_the_split_s(split, vocabularies):
    epoch = tf.Variable(0, dtype=tf.int64)
    batches = pair_batches(split, vocabularies, 16, 42, epoch, training=False)
    assert texts_of(batches, vocabularies[0]) == list(split.source)


def test_caption_batches_pair_images_with_their_captions():
    data = load_data("sydney", source="synthetic")
    images = np.arange(len(data.train.image), dtype=np.float32)[:, None, None]
    seen = []
    batches = caption_batches(images, data, 8, 42, tf.Variable(0, dtype=tf.int64))
    for (image, target_in), target_out in batches:
        assert np.all(target_in[:, 0] == 1) and target_in.shape == target_out.shape
        for number, row in zip(image.numpy()[:, 0, 0], target_out.numpy(), strict=True):
            caption = data.vocabulary.decode(row)
            assert caption in data.train.captions[int(number)]
            seen.append((int(number), data.train.captions[int(number)].index(caption)))
    assert sorted(seen) == sorted(map(tuple, data.pairs.tolist()))


def test_the_loss_is_the_mean_over_tokens_that_are_not_padding():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 5)).astype(np.float32)
    target = np.array([[4, 2, 0], [2, 0, 0]], np.int32)
    log_p = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
    expected = -(log_p[0, 0, 4] + log_p[0, 1, 2] + log_p[1, 0, 2]) / 3
    assert generation.sequence_loss()(target, logits).numpy() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "search", [{}, {"search": "beam", "num_beams": 3}, {"search": "nucleus", "top_p": 0.9}], ids=str
)
def test_decode_split_gives_each_source_its_own_text(models, split, vocabularies, search):
    source = vocabularies[0].encode_batch(split.source)
    texts = decode_split(models, source, vocabularies[1], 6, batch_size=64, **search)
    at_once = decode_split(models, source, vocabularies[1], 6, batch_size=1000, **search)
    assert texts == at_once
    assert len(set(texts)) > 1
    if not search:
        for i in (0, 100, 299):
            row = source[i : i + 1, : len(split.source[i])]
            tokens = decoding.greedy(models, row, 6).tokens[0, 0].numpy()
            assert texts[i] == vocabularies[1].decode(tokens)


def test_nucleus_depends_on_the_seed(models, split, vocabularies):
    source = vocabularies[0].encode_batch(split.source)
    one, again, other = (
        decode_split(models, source, vocabularies[1], 6, search="nucleus", seed=seed)
        for seed in (1, 1, 2)
    )
    assert one == again != other


def test_training_learns_and_evaluate_measures_it(split, vocabularies):
    """Reversing words: the error rate must fall, and be that of the decoded texts."""
    models = build_encoder_decoder(14, 14, "bahdanau", hidden=32, dropout=0.0)
    source = vocabularies[0].encode_batch(split.source)
    arguments = (source, split.target, "spa_eng", vocabularies[1], 12)
    before = evaluate(models, *arguments)["error_rate"]
    batches = pair_batches(split, vocabularies, 16, 42, tf.Variable(0, dtype=tf.int64))
    models.training.compile(
        keras.optimizers.Adam(0.01), generation.sequence_loss(), jit_compile=False
    )
    models.training.fit(batches, epochs=8, verbose=0, shuffle=False)
    after = evaluate(models, *arguments)["error_rate"]
    assert after < 0.4 < before
    texts = decode_split(models, source, vocabularies[1], 12)
    assert after == metrics.error_rate(texts, split.target)


def test_evaluate_gives_each_data_set_its_metrics(models, split, vocabularies):
    source = vocabularies[0].encode_batch(split.source[:40])
    truth = split.target[:40]
    found = evaluate(models, source, truth, "p2g", vocabularies[1], 5, search="nucleus", seed=3)
    one = decode_split(models, source, vocabularies[1], 5, search="nucleus", seed=3)
    assert found["cer"] == metrics.cer(one, truth) and found["wer"] == metrics.wer(one, truth)
    assert set(found) == {"cer", "wer", "wer_at_3"}
    groups = [(word, word[::-1]) for word in truth]
    assert set(evaluate(models, source, groups, "sydney", vocabularies[1], 5)) == {"bleu4"}


def test_wer_at_3_counts_three_further_passes(models, vocabularies):
    """One-letter words guessed at random: more passes must hit more."""
    words = tuple(LETTERS) * 30
    source = vocabularies[0].encode_batch(words)
    found = evaluate(models, source, words, "p2g", vocabularies[1], 1, search="nucleus", top_p=1.0)
    passes = [
        decode_split(models, source, vocabularies[1], 1, search="nucleus", top_p=1.0, seed=seed)
        for seed in (43, 44, 45)
    ]
    assert found["wer_at_3"] == metrics.wer_at_k(passes, words) < found["wer"]


def test_an_unknown_search_is_refused(models, vocabularies):
    with pytest.raises(UsageError, match="unknown search 'best': expected one of greedy"):
        decode_split(models, np.ones((1, 1), np.int32), vocabularies[1], 5, search="best")


def test_a_blank_text_is_refused(split, vocabularies):
    with pytest.raises(UsageError, match="blank text"):
        an_epoch(replace_last(split, " "), vocabularies, 0)


def replace_last(split, text):
    return PairSplit((*split.source[:-1], text), split.target)
