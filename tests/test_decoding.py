"""The searches against exhaustive search, against each other, and against `keras_nlp`."""

import itertools

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from hw2_keras.decoding import beam, greedy, nucleus
from hw2_keras.errors import UsageError
from hw2_keras.models.encoder_decoder import EncoderDecoder, build_encoder_decoder

EOS = 2
SIZE, MAX_LENGTH = 5, 4


@pytest.fixture(scope="module")
def models():
    models = build_encoder_decoder(9, SIZE, "bahdanau", hidden=8, seed=3)
    # Fresh weights give nearly the same text for every source; larger ones do not.
    models.training.set_weights([4 * weights for weights in models.training.get_weights()])
    return models


@pytest.fixture(scope="module")
def source():
    return np.random.default_rng(0).integers(4, 9, (6, 5)).astype(np.int32) * (
        np.arange(5) < [[5], [4], [3], [2], [1], [5]]
    )


def log_softmax(logits):
    logits = np.float64(logits)
    return logits - np.logaddexp.reduce(logits, -1, keepdims=True)


def score(models, source, tokens, length_penalty):
    """Score of one sequence from the teacher-forced model, which no search uses."""
    target_in = tf.constant([[1, *tokens[:-1]]])
    log_p = log_softmax(models.training([tf.constant(source[None]), target_in]))[0]
    return log_p[np.arange(len(tokens)), tokens].sum() / len(tokens) ** length_penalty


def all_sequences():
    """Every sequence that a search can return: ended by EOS, or as long as allowed."""
    others = [token for token in range(SIZE) if token != EOS]
    for length in range(1, MAX_LENGTH + 1):
        for start in itertools.product(others, repeat=length - 1):
            yield (*start, EOS)
    yield from itertools.product(others, repeat=MAX_LENGTH)


def stripped(row):
    """Tokens of a row up to EOS, or all of them."""
    row = row.tolist()
    return tuple(row[: row.index(EOS) + 1] if EOS in row else row)


@pytest.mark.parametrize("length_penalty", [0.0, 0.7])
def test_a_wide_beam_equals_exhaustive_search(models, source, length_penalty):
    sequences = list(all_sequences())
    target = np.array([(*s, *[0] * (MAX_LENGTH - len(s))) for s in sequences])
    lengths = np.array([len(s) for s in sequences])
    inside = np.arange(MAX_LENGTH) < lengths[:, None]
    target_in = np.pad(target, ((0, 0), (1, 0)), constant_values=1)[:, :-1]
    found = beam(models, source, MAX_LENGTH, len(sequences), length_penalty)
    for b in range(len(source)):
        repeated = np.repeat(source[b : b + 1], len(sequences), 0)
        log_p = log_softmax(models.training([repeated, target_in]))
        taken = np.take_along_axis(log_p, target[..., None], 2)[..., 0]
        scores = np.sum(taken * inside, 1) / lengths**length_penalty
        order = np.argsort(-scores)
        rows = [stripped(row) for row in found.tokens[b].numpy()]
        assert rows[:3] == [sequences[i] for i in order[:3]]
        assert set(rows) == set(sequences)
        np.testing.assert_allclose(found.scores[b], scores[order], atol=1e-5)


def test_a_beam_of_one_is_greedy(models):
    source = np.random.default_rng(1).integers(4, 9, (300, 6)).astype(np.int32)
    one, other = beam(models, source, 12, 1), greedy(models, source, 12)
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)
    assert len({stripped(row) for row in other.tokens[:, 0].numpy()}) > 20


def test_greedy_takes_the_best_token_of_every_step(models, source):
    found = greedy(models, source, MAX_LENGTH, length_penalty=0.5)
    for b, row in enumerate(found.tokens[:, 0].numpy()):
        tokens = stripped(row)
        logits = models.training([source[b : b + 1], np.array([[1, *tokens[:-1]]], np.int32)])
        assert np.argmax(logits[0], -1).tolist() == list(tokens)
        expected = score(models, source[b], tokens, 0.5)
        assert found.scores[b, 0].numpy() == pytest.approx(expected, abs=1e-5)
        assert np.all(row[len(tokens) :] == 0)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_attention_is_that_of_the_best_path(models, source, num_beams):
    found = beam(models, source, MAX_LENGTH, num_beams)
    memory, h, c = models.encoder(source)
    mask = tf.constant(source != 0)
    previous = tf.ones(len(source), tf.int32)
    best = found.tokens[:, 0].numpy()
    ended = np.zeros(len(source), bool)
    for t in range(best.shape[1]):
        _, h, c, look = models.step([previous, h, c, memory, mask])
        expected = np.where(ended[:, None], 0, look)
        np.testing.assert_allclose(found.attention[:, t], expected, atol=1e-6)
        previous = tf.constant(best[:, t])
        ended |= best[:, t] == EOS


def chain(log_probabilities) -> EncoderDecoder:
    """A model without memory: the next token depends on the last one alone, by a table."""
    table = np.float32(log_probabilities)
    source = keras.Input((None,), dtype="int32", name="source")
    zero = ops.cast(source[:, :1], "float32") * 0
    encoder = keras.Model(source, [ops.expand_dims(zero, 1), zero, zero])
    token = keras.Input((), dtype="int32", name="token")
    h, c = keras.Input((1,), name="h"), keras.Input((1,), name="c")
    embedding = keras.layers.Embedding(*table.shape, weights=[table])
    step = keras.Model([token, h, c], [embedding(token), h + 1, c])
    return EncoderDecoder(encoder, encoder, step)


def test_an_ended_hypothesis_is_frozen():
    """ "a EOS" (0.6 · 0.5) must survive "b b b" (0.4 · 0.9 · 0.9) and keep its score."""
    a, b = 3, 4
    p = np.full((5, 5), 1e-9)
    p[1, [a, b]] = 0.6, 0.4
    p[a, [EOS, a]] = 0.5, 0.5
    p[b, b] = 0.9
    p[b, EOS] = 0.1
    found = beam(chain(np.log(p)), [[7]], 3, 2, length_penalty=0.0)
    assert found.tokens.numpy().tolist() == [[[b, b, b], [a, EOS, 0]]]
    total = np.log(p / p.sum(1, keepdims=True))
    expected = [total[1, b] + 2 * total[b, b], total[1, a] + total[a, EOS]]
    np.testing.assert_allclose(found.scores[0], expected, atol=1e-6)
    assert found.attention is None


def test_length_normalisation_favours_the_longer():
    a, b = 3, 4
    p = np.full((5, 5), 1e-9)
    p[1, [EOS, b]] = 0.55, 0.45
    p[a, EOS] = 1
    p[b, a] = 1
    short = beam(chain(np.log(p)), [[7]], 5, 2, length_penalty=0.0)
    long = beam(chain(np.log(p)), [[7]], 5, 2, length_penalty=1.0)
    assert stripped(short.tokens[0, 0].numpy()) == (EOS,)
    assert stripped(long.tokens[0, 0].numpy()) == (b, a, EOS)
    assert long.scores[0, 0].numpy() == pytest.approx(np.log(0.45) / 3, abs=1e-5)


def test_ties_go_to_the_lower_token():
    found = beam(chain(np.zeros((5, 5))), [[7]], 1, 5)
    assert found.tokens[0, :, 0].numpy().tolist() == [0, 1, 2, 3, 4]
    assert greedy(chain(np.zeros((5, 5))), [[7]], 3).tokens.numpy().tolist() == [[[0, 0, 0]]]


def test_the_loop_stops_when_all_have_ended():
    p = np.full((5, 5), 1e-9)
    p[1, 3] = p[3, EOS] = 1
    assert greedy(chain(np.log(p)), [[7], [7]], 50).tokens.shape == (2, 1, 2)
    assert nucleus(chain(np.log(p)), [[7]], 0.9, np.zeros((1, 50))).tokens.shape == (1, 1, 2)
    assert beam(chain(np.log(p)), [[7]], 50, 1).tokens.shape == (1, 1, 2)


PROBABILITIES = np.array([0.02, 0.08, 0.05, 0.3, 0.15, 0.4])


def draws(top_p, uniforms):
    table = np.log(np.tile(PROBABILITIES, (6, 1)))
    source = np.ones((len(uniforms), 1), np.int32)
    return nucleus(chain(table), source, top_p, uniforms).tokens[:, 0].numpy()


@pytest.mark.parametrize(("top_p", "inside"), [(0.8, [5, 3, 4]), (0.4, [5]), (0.41, [5, 3])])
def test_nucleus_draws_as_the_renormalised_distribution(top_p, inside):
    n = 20_000
    found = draws(top_p, np.random.default_rng(0).random((n, 1), np.float32))[:, 0]
    counts = np.bincount(found, minlength=6)
    assert counts[inside].sum() == n
    expected = n * PROBABILITIES[inside] / PROBABILITIES[inside].sum()
    chi_square = ((counts[inside] - expected) ** 2 / expected).sum()
    assert chi_square < 13.8  # the 0.999 quantile for two degrees of freedom, more than for fewer


def test_the_whole_distribution_is_its_own_nucleus():
    found = draws(1.0, np.linspace(0, 1, 1000, endpoint=False, dtype=np.float32)[:, None])
    counts = np.bincount(found[:, 0], minlength=6)
    np.testing.assert_allclose(counts / 1000, PROBABILITIES, atol=0.002)


def test_the_same_uniforms_give_the_same_sample(models):
    source = np.random.default_rng(1).integers(4, 9, (50, 6)).astype(np.int32)
    uniforms = np.random.default_rng(2).random((50, 9), np.float32)
    first, again = (nucleus(models, source, 0.9, uniforms) for _ in range(2))
    other = nucleus(models, source, 0.9, 1 - uniforms)
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert first.tokens.shape != other.tokens.shape or np.any(first.tokens != other.tokens)
    for b in range(5):
        tokens = stripped(first.tokens[b, 0].numpy())
        assert first.scores[b, 0].numpy() == pytest.approx(
            score(models, source[b], tokens, 1.0), abs=1e-5
        )


def test_a_tiny_nucleus_is_greedy(models, source):
    uniforms = np.full((len(source), MAX_LENGTH), 0.999, np.float32)
    np.testing.assert_array_equal(
        nucleus(models, source, 1e-6, uniforms).tokens, greedy(models, source, MAX_LENGTH).tokens
    )


def test_keras_nlp_agrees_on_greedy_search(models, source):
    """`GreedySampler` fills a prompt; its cache carries our h and c."""
    memory, h, c = models.encoder(source)
    mask = tf.constant(source != 0)

    def next_token(prompt, cache, index):
        token = tf.gather(prompt, index - 1, axis=1)
        logits, h, c, _ = models.step([token, cache[0], cache[1], memory, mask])
        return logits, None, (h, c)

    prompt = tf.concat([tf.ones((6, 1), tf.int32), tf.zeros((6, MAX_LENGTH), tf.int32)], 1)
    found = keras_nlp.samplers.GreedySampler()(
        next_token, prompt, cache=(h, c), index=1, stop_token_ids=[EOS]
    )
    ours = greedy(models, source, MAX_LENGTH).tokens[:, 0].numpy()
    for theirs, row in zip(found[:, 1:].numpy(), ours, strict=True):
        assert stripped(theirs) == stripped(row)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (lambda m, s: beam(m, s, 5, 0), "num_beams is 0"),
        (lambda m, s: beam(m, s, 0, 2), "max_length is 0"),
        (lambda m, s: greedy(m, s, 0), "max_length is 0"),
        (lambda m, s: nucleus(m, s, 0.0, np.zeros((6, 5))), "top_p is 0"),
        (lambda m, s: nucleus(m, s, 1.5, np.zeros((6, 5))), "top_p is 1.5"),
        (lambda m, s: nucleus(m, s, float("nan"), np.zeros((6, 5))), "top_p is nan"),
        (lambda m, s: nucleus(m, s, 0.8, np.zeros((2, 5))), r"expected \(6, max_length\)"),
        (lambda m, s: nucleus(m, s, 0.8, np.ones((6, 5))), r"outside \[0, 1\)"),
    ],
)
def test_bad_arguments_are_refused(models, source, search, message):
    with pytest.raises(UsageError, match=message):
        search(models, source)
