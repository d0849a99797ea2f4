"""Attention's formulas against Keras, and the heads that cannot be told apart."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw2_keras.theory import attention

sizes = st.tuples(st.integers(2, 8), st.integers(2, 8), st.integers(1, 6), st.integers(0, 99))


def draw(case):
    """Tokens X (n, D) and the projections of one head (D, d)."""
    tokens, size, head, seed = case
    rng = np.random.default_rng(seed)
    return rng.normal(size=(tokens, size)), *rng.normal(size=(2, size, head))


def test_softmax_agrees_with_keras_and_does_not_overflow():
    scores = np.array([[1.0, 2.0, -3.0], [1e4, 1e4 - 1, -1e4]])
    expected = keras.ops.softmax(scores).numpy()
    np.testing.assert_allclose(attention.softmax(scores), expected, atol=1e-12)
    assert attention.softmax(scores)[1, 0] == pytest.approx(1 / (1 + np.exp(-1)))


@settings(max_examples=30, deadline=None)
@given(sizes)
def test_probabilities_from_one_matrix_are_those_of_queries_and_keys(case):
    X, W_Q, W_K = draw(case)
    P = attention.probabilities(X, attention.score_matrix(W_Q, W_K))
    scores = (X @ W_Q) @ (X @ W_K).T / np.sqrt(W_Q.shape[1])
    np.testing.assert_allclose(P, keras.ops.softmax(scores).numpy(), atol=1e-12)
    np.testing.assert_allclose(P.sum(axis=1), 1)


@settings(max_examples=30, deadline=None)
@given(sizes)
def test_scores_have_at_most_the_rank_of_the_head(case):
    X, W_Q, W_K = draw(case)
    A, head = attention.score_matrix(W_Q, W_K), W_Q.shape[1]
    rounding = 1e-12 * np.linalg.norm(A) * (1 + np.linalg.norm(X) ** 2)
    assert np.all(np.linalg.svd(A, compute_uv=False)[head:] <= rounding)
    assert np.all(np.linalg.svd(X @ A @ X.T, compute_uv=False)[head:] <= rounding)


def test_scores_reach_the_rank_of_the_head_and_not_the_number_of_tokens():
    X, W_Q, W_K = draw((8, 6, 3, 0))
    A = attention.score_matrix(W_Q, W_K)
    assert np.linalg.matrix_rank(A) == np.linalg.matrix_rank(X @ A @ X.T, tol=1e-9) == 3


def test_the_scale_is_the_head_size_and_not_the_number_of_tokens():
    rng = np.random.default_rng(0)
    X, (W_Q, W_K) = rng.normal(size=(5, 6)), rng.normal(size=(2, 6, 4))
    longer = np.vstack([X, rng.normal(size=(1, 6))])

    def ratio(P):
        return P[0, 1] / P[0, 0]

    A = attention.score_matrix(W_Q, W_K)
    assert ratio(attention.probabilities(longer, A)) == pytest.approx(
        ratio(attention.probabilities(X, A))
    )
    wrong = [attention.probabilities_scaled_by_tokens(x, W_Q, W_K) for x in (X, longer)]
    assert abs(np.log(ratio(wrong[1]) / ratio(wrong[0]))) > 0.05
    # Without any scale: the scores are √d = 2 times as large, so the log-ratio doubles.
    unscaled = attention.probabilities(X, W_Q @ W_K.T)
    right = attention.probabilities(X, A)
    assert np.log(ratio(unscaled)) == pytest.approx(2 * np.log(ratio(right)))


@settings(max_examples=30, deadline=None)
@given(sizes)
def test_equivalent_heads_have_the_same_probabilities(case):
    X, W_Q, W_K = draw(case)
    B = np.random.default_rng(5).normal(size=(W_Q.shape[1],) * 2)
    condition = np.linalg.cond(B)
    other = attention.equivalent_head(W_Q, W_K, B)
    if W_Q.shape[1] > 1:
        assert np.abs(other[0] - W_Q).max() > 0.1
    scale = 1 + np.abs(X @ W_Q).max() * np.abs(X @ W_K).max()
    eps = np.finfo(float).eps
    assert attention.head_difference(X, W_Q, W_K, B) <= 50 * eps * condition * scale


def test_rounding_grows_with_the_condition_number():
    conditions = np.array([1, 1e3, 1e6, 1e9])
    differences = attention.difference_by_condition(conditions, trials=5)
    assert differences[0] < 1e-14
    assert np.all(differences < conditions * 1e-14)
    slope = np.polyfit(np.log(conditions[1:]), np.log(differences[1:]), 1)[0]
    assert slope == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("condition", [1.0, 50.0, 1e6])
def test_matrix_of_condition_has_that_condition(condition):
    B = attention.matrix_of_condition(5, condition)
    assert np.linalg.cond(B) == pytest.approx(condition, rel=1e-6)
    assert not np.allclose(B, np.diag(np.diag(B)))


def test_image_attention_without_projections_is_the_statement_of_2022_23():
    image = np.random.default_rng(0).normal(size=(3, 4, 5))
    output, P = attention.image_attention(image)
    sequence = image.reshape(12, 5)
    expected = keras.ops.softmax(sequence @ sequence.T, axis=-1).numpy()
    np.testing.assert_allclose(P, expected, atol=1e-12)
    np.testing.assert_allclose(output.reshape(12, 5), expected @ sequence, atol=1e-12)


def test_image_attention_with_1x1_convolutions_of_keras():
    rng = np.random.default_rng(1)
    image, (query, key) = rng.normal(size=(3, 4, 5)), rng.normal(size=(2, 5, 2))
    value = rng.normal(size=(5, 6))

    def project(weight):
        return keras.ops.conv(image[None], weight[None, None], padding="valid").numpy()[0]

    scores = project(query).reshape(12, 2) @ project(key).reshape(12, 2).T
    expected = keras.ops.softmax(scores, axis=-1).numpy() @ project(value).reshape(12, 6)
    output, _ = attention.image_attention(image, query, key, value)
    np.testing.assert_allclose(output, expected.reshape(3, 4, 6), atol=1e-12)


def test_report_002_leaves_the_softmax_out():
    image = np.random.default_rng(0).normal(size=(3, 4, 5))
    right, _ = attention.image_attention(image)
    assert right.max() <= image.max()
    wrong = attention.image_attention_by_report_002(image)
    assert wrong.max() > image.max()
    np.testing.assert_allclose(attention.image_attention_by_report_002(2 * image), 8 * wrong)
    assert attention.image_attention(2 * image)[0].max() <= 2 * image.max()


def test_report_004_leaves_weight_on_the_padding():
    scores, mask = np.full(4, -2.0), np.array([True, True, False, False])
    wrong = attention.softmax(np.where(mask, scores, 0.0))
    assert wrong[2:].sum() == pytest.approx(np.exp(2) / (1 + np.exp(2)))
    assert round(100 * wrong[2:].sum()) == 88
    right = attention.softmax(np.where(mask, scores, -np.inf))
    np.testing.assert_allclose(right, [0.5, 0.5, 0, 0])


def test_bad_input_is_refused():
    X, W = np.ones((3, 4)), np.ones((4, 2))
    with pytest.raises(ValueError, match="of one shape"):
        attention.score_matrix(W, np.ones((4, 3)))
    with pytest.raises(ValueError, match="with the same D"):
        attention.probabilities(X, np.ones((3, 3)))
    with pytest.raises(ValueError, match="the head size"):
        attention.equivalent_head(W, W, np.eye(4))
    with pytest.raises(ValueError, match="singular"):
        attention.equivalent_head(W, W, np.ones((2, 2)))
    with pytest.raises(ValueError, match="singular"):
        attention.equivalent_head(W, W, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="at least 1"):
        attention.matrix_of_condition(3, 0.5)
    with pytest.raises(ValueError, match="height, width, channels"):
        attention.image_attention(X)
    with pytest.raises(ValueError, match="image's channels"):
        attention.image_attention(np.ones((2, 2, 3)), query=np.ones((4, 2)))
