"""Energy, derivatives and retrieval of Hopfield networks, against automatic differentiation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from hw2_keras.theory import hopfield

GLYPHS = """
.###. #...# ##### ..#..
#...# #...# ....# .###.
##### ##### ..#.. #.#.#
#...# #...# .#... ..#..
#...# #...# ##### ..#..
"""

networks = st.fixed_dictionaries(
    {
        "patterns": st.integers(1, 6),
        "size": st.integers(1, 5),
        "beta": st.floats(0.05, 20),
        "scale": st.floats(0.1, 5),
        "seed": st.integers(0, 999),
    }
)
MANY = settings(max_examples=40, deadline=None)


def draw(network):
    """A state q (D,), a memory X (N, D) and β."""
    rng = np.random.default_rng(network["seed"])
    X = network["scale"] * rng.normal(size=(network["patterns"], network["size"]))
    return network["scale"] * rng.normal(size=network["size"]), X, network["beta"]


def glyphs():
    """Four 5x5 pictures of −1 and 1, (4, 25)."""
    columns = zip(*(line.split() for line in GLYPHS.split("\n") if line), strict=True)
    return np.array([[1.0 if c == "#" else -1.0 for c in "".join(rows)] for rows in columns])


def random_patterns(count, size, seed=0):
    return np.random.default_rng(seed).choice([-1.0, 1.0], size=(count, size))


def energy_by_tensorflow(q, X, beta):
    """The energy as the question prints it, with TensorFlow's own log-sum-exp."""
    scores = beta * tf.linalg.matvec(X, q)
    largest = tf.reduce_max(tf.norm(X, axis=1))
    convex = 0.5 * tf.reduce_sum(q * q) + tf.math.log(float(len(X)) * tf.ones((), q.dtype)) / beta
    return convex + 0.5 * largest**2, -tf.reduce_logsumexp(scores) / beta


@MANY
@given(networks)
def test_log_sum_exp_lies_between_its_bounds(network):
    q, X, beta = draw(network)
    z = X @ q
    value = hopfield.log_sum_exp(beta, z)
    assert z.max() - 1e-9 <= value <= z.max() + np.log(len(z)) / beta + 1e-9
    expected = tf.reduce_logsumexp(beta * z).numpy() / beta
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9)


def test_log_sum_exp_bounds_are_tight():
    assert hopfield.log_sum_exp(2.0, np.full(8, 3.0)) == pytest.approx(3 + np.log(8) / 2)
    assert hopfield.log_sum_exp(2.0, np.array([5.0, -1e6])) == pytest.approx(5)


@MANY
@given(networks)
def test_energy_and_gradients_agree_with_automatic_differentiation(network):
    q, X, beta = draw(network)
    state = tf.constant(q)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(state)
        convex, concave = energy_by_tensorflow(state, tf.constant(X), beta)
    tolerance = {"rtol": 1e-7, "atol": 1e-7}
    np.testing.assert_allclose(hopfield.energy_convex(q, X, beta), convex, **tolerance)
    np.testing.assert_allclose(hopfield.energy_concave(q, X, beta), concave, **tolerance)
    np.testing.assert_allclose(hopfield.energy(q, X, beta), convex + concave, **tolerance)
    np.testing.assert_allclose(q, tape.gradient(convex, state), **tolerance)
    np.testing.assert_allclose(
        hopfield.gradient_concave(q, X, beta), tape.gradient(concave, state), **tolerance
    )
    assert hopfield.energy(q, X, beta) >= -1e-9


@settings(max_examples=8, deadline=None)
@given(networks)
def test_hessians_agree_with_automatic_differentiation(network):
    q, X, beta = draw(network)
    state = tf.constant(q)
    for part, hessian in (
        (0, np.eye(len(q))),
        (1, hopfield.hessian_concave(q, X, beta)),
    ):
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(state)
            with tf.GradientTape() as inner:
                inner.watch(state)
                value = energy_by_tensorflow(state, tf.constant(X), beta)[part]
            gradient = inner.gradient(value, state)
        expected = outer.jacobian(gradient, state, experimental_use_pfor=False).numpy()
        np.testing.assert_allclose(hessian, expected, rtol=1e-6, atol=1e-6)


@MANY
@given(networks)
def test_one_part_is_convex_and_the_other_concave(network):
    q, X, beta = draw(network)
    curvature = -hopfield.hessian_concave(q, X, beta)
    size = 1 + beta * (X**2).sum()
    assert np.linalg.eigvalsh(curvature).min() >= -1e-12 * size


@MANY
@given(networks)
def test_tangent_bound_touches_and_stays_above(network):
    at, X, beta = draw(network)
    others = np.random.default_rng(1).normal(size=(20, len(at))) * network["scale"] * 2
    slack = 1e-9 * (1 + (X**2).sum())
    gaps = hopfield.tangent_bound(others, at, X, beta) - hopfield.energy(others, X, beta)
    assert gaps.min() >= -slack
    touching = hopfield.tangent_bound(at, at, X, beta) - hopfield.energy(at, X, beta)
    assert abs(touching) <= slack
    best = hopfield.tangent_bound(hopfield.update(at, X, beta), at, X, beta)
    assert np.all(hopfield.tangent_bound(others, at, X, beta) >= best - slack)


@MANY
@given(networks)
def test_energy_never_rises_from_any_start(network):
    q, X, beta = draw(network)
    descent = hopfield.descend(3 * q, X, beta, steps=15)
    assert descent.states.shape == (16, *q.shape)
    slack = 1e-12 * (1 + abs(descent.energies).max())
    assert np.diff(descent.energies).max() <= slack
    # Every state after the start is a mean of patterns.
    assert (
        np.linalg.norm(descent.states[1:], axis=1).max() <= np.linalg.norm(X, axis=1).max() + 1e-9
    )


def test_large_beta_and_norms_do_not_overflow():
    X = 1e3 * random_patterns(5, 8)
    descent = hopfield.descend(0.9 * X, X, beta=1e4)
    assert np.isfinite(descent.energies).all()
    np.testing.assert_allclose(descent.states[-1], X)
    curvature = hopfield.hessian_concave(X[0], X, 1e4)
    assert np.isfinite(curvature).all()


def test_one_update_is_one_cross_attention_layer():
    rng = np.random.default_rng(0)
    queries, X = rng.normal(size=(6, 16)), rng.normal(size=(9, 16))
    beta = 1 / np.sqrt(16)
    got = hopfield.update(queries, X, beta)
    layer = keras.layers.Attention(dtype="float64")
    expected = layer([beta * queries[None], X[None]]).numpy()[0]
    np.testing.assert_allclose(got, expected, atol=1e-10)


def test_retrieval_depends_on_beta():
    X = random_patterns(20, 64)
    starts = hopfield.corrupt(X, 0.2)
    found = hopfield.retrieval_by_beta(X, starts, np.array([0.005, 0.1, 1.0]))
    assert found[0] == 0
    assert found[2] == 1
    # A cold network returns the mean of what it stores, whatever the start.
    ends = hopfield.descend(starts, X, 0.005).states[-1]
    np.testing.assert_allclose(ends, np.broadcast_to(X.mean(axis=0), X.shape), atol=0.1)


def test_modern_network_holds_more_than_the_classic_one():
    X = random_patterns(40, 64)
    starts = hopfield.corrupt(X, 0.1)
    modern = hopfield.retrieval_by_beta(X, starts, np.array([1.0]))[0]
    weights = hopfield.hebbian_weights(X)
    ends = [hopfield.classic_descend(start, weights).states[-1] for start in starts]
    assert modern == 1
    assert np.mean(np.all(np.array(ends) == X, axis=1)) < 0.2


def test_classic_network_retrieves_few_patterns_and_lowers_its_energy():
    X = random_patterns(4, 64)
    weights = hopfield.hebbian_weights(X)
    np.testing.assert_array_equal(weights, weights.T)
    assert np.all(np.diag(weights) == 0)
    assert weights[0, 1] == np.sum(X[:, 0] * X[:, 1]) / 64
    for pattern, start in zip(X, hopfield.corrupt(X, 0.1), strict=True):
        descent = hopfield.classic_descend(start, weights)
        np.testing.assert_array_equal(descent.states[-1], pattern)
        assert np.diff(descent.energies).max() <= 0
        assert descent.energies[-1] < descent.energies[0]
        expected = -0.5 * sum(
            weights[i, j] * pattern[i] * pattern[j] for i in range(64) for j in range(64)
        )
        assert descent.energies[-1] == pytest.approx(expected)


def test_glyphs_are_retrieved_and_named():
    X = glyphs()
    starts = hopfield.corrupt(X, 0.2)
    assert np.all((starts != X).sum(axis=1) == 5)
    ends = hopfield.descend(starts, X, beta=1.0).states[-1]
    np.testing.assert_array_equal(hopfield.nearest(ends, X), np.arange(4))
    np.testing.assert_allclose(ends, X, atol=0.05)


def test_bad_input_is_refused():
    q, X = np.ones(3), np.ones((2, 3))
    for beta in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            hopfield.update(q, X, beta)
        with pytest.raises(ValueError, match="above 0"):
            hopfield.log_sum_exp(beta, q)
    for function in (hopfield.update, hopfield.energy, hopfield.hessian_concave):
        with pytest.raises(ValueError, match="at least one pattern"):
            function(q, np.ones((0, 3)), 1.0)
        with pytest.raises(ValueError, match="one D"):
            function(np.ones(4), X, 1.0)
    with pytest.raises(ValueError, match="at least one element"):
        hopfield.log_sum_exp(1.0, np.ones(0))
    with pytest.raises(ValueError, match="-1 and 1"):
        hopfield.hebbian_weights(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"expected \(D, D\)"):
        hopfield.classic_descend(q, np.ones((2, 2)))
    with pytest.raises(ValueError, match="from 0 to 1"):
        hopfield.corrupt(X, 1.5)
