"""Metrics against independent implementations, and their results on empty texts."""

import random
import time

import keras_nlp
import nltk
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nltk.translate import bleu_score

from hw2_keras import metrics
from hw2_keras.errors import UsageError

# Few words, so that n-grams do match.
WORDS = st.sampled_from(["a", "river", "with", "trees"])
SENTENCE = st.lists(WORDS, max_size=9).map(" ".join)
REFERENCES = st.lists(SENTENCE, min_size=1, max_size=5)
CASE = st.tuples(SENTENCE, REFERENCES)
# NLTK's corpus BLEU counts a wrong 4-gram in sentences that are too short to have one.
LONG_CASE = st.tuples(st.lists(WORDS, min_size=4, max_size=9).map(" ".join), REFERENCES)
WORD = st.text("abcé", max_size=8)

BRIEFLY = settings(max_examples=50, deadline=None)  # a busy machine is no failure
pytestmark = pytest.mark.filterwarnings("ignore:.*The hypothesis contains 0 counts")


def split_references(references):
    return [[reference.split() for reference in group] for group in references]


@BRIEFLY
@given(CASE)
def test_sentence_bleu_is_nltks(case):
    prediction, references = case
    assume(prediction)
    expected = bleu_score.sentence_bleu(split_references([references])[0], prediction.split())
    # Where a precision is zero NLTK puts the smallest float in its place; ours is zero.
    assert metrics.sentence_bleu(prediction, references) == pytest.approx(
        expected, rel=1e-9, abs=1e-50
    )


@BRIEFLY
@given(st.lists(LONG_CASE, min_size=1, max_size=6))
def test_corpus_bleu_is_nltks(cases):
    predictions, references = zip(*cases, strict=True)
    expected = bleu_score.corpus_bleu(
        split_references(references), [prediction.split() for prediction in predictions]
    )
    assert metrics.corpus_bleu(predictions, references) == pytest.approx(
        expected, rel=1e-9, abs=1e-50
    )


def test_bleu_by_hand():
    # 5 words of 6: precisions 4/5, 3/4, 2/3, 1/2, penalty exp(1 - 6/5).
    value = metrics.sentence_bleu("a river with many houses", ["a river with many green trees"])
    assert value == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25 * 2.718281828 ** (-0.2))
    # Each reference covers one half; the count of "a" is clipped to the larger of the two.
    assert metrics.sentence_bleu("a a a a a", ["a a a a", "b b b b b"]) == pytest.approx(
        (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    )
    # Lengths 3 and 5 are equally near to 4: the shorter one sets the penalty, which is none.
    assert metrics.sentence_bleu("a b c d", ["a b c", "a b c d e"]) == 1.0


def test_corpus_bleu_is_keras_nlps():
    predictions = ["a river with many trees", "many trees with a river", "a sea"]
    references = [
        ["a river with many houses", "the river with many trees"],
        ["many trees and a river", "many trees with a bank"],
        ["a blue sea", "the sea"],
    ]
    metric = keras_nlp.metrics.Bleu(tokenizer=tf.strings.split)
    metric.update_state(references, predictions)
    value = metrics.corpus_bleu(predictions, references)
    assert value == pytest.approx(float(metric.result()), rel=1e-5)
    assert 0.8 < value < 0.9


def test_mean_bleu_averages_sentences():
    predictions, references = ["a b c d", "a b c x", ""], [["a b c d"], ["a b c d"], ["a b c d"]]
    assert metrics.mean_bleu4(predictions, references) == pytest.approx(1 / 3)
    assert metrics.corpus_bleu(predictions, references) != pytest.approx(1 / 3, abs=0.1)


@BRIEFLY
@given(st.lists(st.tuples(WORD, WORD.filter(bool)), min_size=1, max_size=8))
def test_error_rates_are_nltks(pairs):
    predictions, truths = zip(*pairs, strict=True)
    edits = [nltk.edit_distance(p, t) for p, t in pairs]
    lengths = [len(t) for t in truths]
    assert metrics.cer(predictions, truths) == pytest.approx(sum(edits) / sum(lengths))
    expected = sum(e / n for e, n in zip(edits, lengths, strict=True)) / len(pairs)
    assert metrics.error_rate(predictions, truths) == pytest.approx(expected)
    assert metrics.wer(predictions, truths) == sum(map(bool, edits)) / len(pairs)


def test_cer_is_keras_nlps():
    predictions, truths = ["chaplit", "surcease", "torsso"], ["chaplet", "surcease", "torso"]
    metric = keras_nlp.metrics.EditDistance(normalize=True)
    metric.update_state([list(t) for t in truths], [list(p) for p in predictions])
    assert metrics.cer(predictions, truths) == pytest.approx(float(metric.result()))
    assert metrics.cer(predictions, truths) == pytest.approx(2 / 20)


def test_error_rate_averages_sentences_and_cer_does_not():
    predictions, truths = ["ax", "abcdefgh"], ["ab", "abcdefgh"]
    assert metrics.error_rate(predictions, truths) == 0.25
    assert metrics.cer(predictions, truths) == 0.1
    assert metrics.wer(predictions, truths) == 0.5


def test_wer_at_k_counts_words_no_pass_gets_right():
    truths = ["one", "two", "three", "four"]
    passes = [["one", "too", "x", "y"], ["on", "two", "x", "y"], ["one", "two", "three", "y"]]
    assert metrics.wer_at_k(passes, truths) == 0.25
    assert metrics.wer_at_k(passes[:2], truths) == 0.5
    assert metrics.wer_at_k(passes[:1], truths) == metrics.wer(passes[0], truths) == 0.75


def test_empty_predictions_are_all_wrong():
    assert metrics.sentence_bleu("", ["a b c d"]) == 0.0
    assert metrics.corpus_bleu(["", ""], [["a b c d"], ["e"]]) == 0.0
    assert metrics.error_rate([""], ["abc"]) == metrics.cer([""], ["abc"]) == 1.0
    assert metrics.wer([""], ["abc"]) == 1.0


def test_empty_truths_count_as_one_character():
    assert metrics.error_rate(["ab"], [""]) == metrics.cer(["ab"], [""]) == 2.0
    assert metrics.error_rate([""], [""]) == metrics.cer([""], [""]) == metrics.wer([""], [""]) == 0
    assert metrics.cer(["a", "abc"], ["", "abc"]) == 0.25
    assert metrics.sentence_bleu("a b c d", [""]) == 0.0
    assert metrics.sentence_bleu("", [""]) == 0.0


@pytest.mark.parametrize("metric", [metrics.cer, metrics.wer, metrics.error_rate])
def test_sets_of_unequal_or_no_length_are_refused(metric):
    with pytest.raises(UsageError, match="2 predictions and 1 references"):
        metric(["a", "b"], ["a"])
    with pytest.raises(UsageError, match="at least one"):
        metric([], [])
    with pytest.raises(UsageError, match="a single string"):
        metric("ab", "ab")


def test_bleu_and_wer_at_k_refuse_bad_sets():
    with pytest.raises(UsageError, match=r"references \[\] of 'a b'"):
        metrics.sentence_bleu("a b", [])
    with pytest.raises(UsageError, match="0 predictions"):
        metrics.mean_bleu4([], [])
    with pytest.raises(UsageError, match="1 predictions and 2 references"):
        metrics.mean_bleu4(["a"], [["a"], ["b"]])
    with pytest.raises(UsageError, match="references 'a b' of 'a b'"):
        metrics.sentence_bleu("a b", "a b")
    with pytest.raises(UsageError, match="no passes"):
        metrics.wer_at_k([], ["a"])
    with pytest.raises(UsageError, match="1 predictions and 2 references"):
        metrics.wer_at_k([["a", "b"], ["a"]], ["a", "b"])


def test_a_thousand_words_take_under_a_tenth_of_a_second():
    rng = random.Random(0)
    truths = ["".join(rng.choices("abcdefgh", k=10)) for _ in range(1_000)]
    predictions = [truth[:-1] + "x" for truth in truths]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert metrics.cer(predictions, truths) == pytest.approx(0.1)
        assert metrics.error_rate(predictions, truths) == pytest.approx(0.1)
        assert metrics.wer_at_k([predictions] * 3, truths) == 1.0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1


def test_what_figures_are_called() -> None:
    assert metrics.label("val_wer_at_3") == "validation WER@3, nucleus"
    assert metrics.label("test_beam5_bleu4") == "test BLEU-4, 5 beams"
    assert metrics.label("test_beam_wer") == "test_beam_wer"  # no metric: its own name
    assert metrics.label("loss") == "epoch loss"
