"""Modern Hopfield networks: an energy, its convex-concave descent, and attention as one step.

Question 1 of 2024-25, after Ramsauer et al., "Hopfield Networks Is All You Need" (2020). The memory
X is (N, D), one stored pattern per row; a state q is (D,), or (..., D) for several at once; β > 0
is the inverse temperature. The classic binary network (Hopfield 1982) stands beside it.
"""

from typing import NamedTuple

import numpy as np

from hw2_keras.theory.attention import softmax

# ----------------------------------------------------------------------------------- energy


def log_sum_exp(beta: float, z: np.ndarray) -> np.ndarray:
    """lse(β, z) = β⁻¹ log Σᵢ exp(β zᵢ) over the last axis: a smooth maximum (2024-25 Q1).

    max z ≤ lse(β, z) ≤ max z + β⁻¹ log N. The maximum is taken out before exponentiating, so that
    large β·z do not overflow.

    Raises:
        ValueError: β ≤ 0 or no elements.
    """
    _check_beta(beta)
    if not z.shape[-1]:
        raise ValueError("log-sum-exp of nothing; expected at least one element")
    top = z.max(axis=-1)
    return top + np.log(np.exp(beta * (z - top[..., None])).sum(axis=-1)) / beta


def energy(q: np.ndarray, X: np.ndarray, beta: float) -> np.ndarray:
    """E(q) = −lse(β, Xq) + β⁻¹ log N + ½qᵀq + ½M², M the largest norm in X; never below 0.

    E = E₁ + E₂ with :func:`energy_convex` and :func:`energy_concave` (2024-25 Q1).
    """
    return energy_convex(q, X, beta) + energy_concave(q, X, beta)


def energy_convex(q: np.ndarray, X: np.ndarray, beta: float) -> np.ndarray:
    """E₁(q) = ½qᵀq + β⁻¹ log N + ½M²; gradient q, Hessian I (2024-25 Q1)."""
    _check(q, X, beta)
    largest = (X**2).sum(axis=1).max()
    return 0.5 * (q**2).sum(axis=-1) + np.log(len(X)) / beta + 0.5 * largest


def energy_concave(q: np.ndarray, X: np.ndarray, beta: float) -> np.ndarray:
    """E₂(q) = −lse(β, Xq); its negative is convex (2024-25 Q1)."""
    _check(q, X, beta)
    return -log_sum_exp(beta, q @ X.T)


def gradient_concave(q: np.ndarray, X: np.ndarray, beta: float) -> np.ndarray:
    """∇E₂(q) = −Xᵀ softmax(βXq), minus a weighted mean of the patterns (2024-25 Q1)."""
    return -update(q, X, beta)


def hessian_concave(q: np.ndarray, X: np.ndarray, beta: float) -> np.ndarray:
    """∇²E₂(q) = −β Xᵀ(diag(p) − ppᵀ)X with p = softmax(βXq), (D, D) (2024-25 Q1).

    vᵀ(diag(p) − ppᵀ)v is the variance of v under p, never negative: −E₂ is convex.

    Args:
        q: one state, (D,).
    """
    _check(q, X, beta)
    p = softmax(beta * (X @ q))
    return -beta * X.T @ (np.diag(p) - np.outer(p, p)) @ X


# ---------------------------------------------------------------------- convex-concave descent


def update(q: np.ndarray, X: np.ndarray, beta: float) -> np.ndarray:
    """q ← Xᵀ softmax(βXq): one step of the convex-concave procedure (2024-25 Q1).

    The step solves ∇E₁(q_new) = −∇E₂(q), that is, it minimises :func:`tangent_bound` at q. With
    β = 1/√D it is one cross-attention layer whose keys and values are the memory.

    Args:
        q: state, (D,) or (..., D).
        X: memory, (N, D).
        beta: inverse temperature.

    Raises:
        ValueError: β ≤ 0, an empty memory, or shapes that do not go together.
    """
    _check(q, X, beta)
    return softmax(beta * (q @ X.T)) @ X


def tangent_bound(q: np.ndarray, at: np.ndarray, X: np.ndarray, beta: float) -> np.ndarray:
    """E₁(q) + E₂(a) + ∇E₂(a)ᵀ(q − a) ≥ E(q), with equality at q = a (2024-25 Q1).

    A concave function lies below its tangents, so lowering the bound lowers the energy.

    Args:
        q: where the bound is taken, (..., D).
        at: a, where the tangent touches, (D,).
    """
    slope = gradient_concave(at, X, beta)
    return energy_convex(q, X, beta) + energy_concave(at, X, beta) + (q - at) @ slope


class Descent(NamedTuple):
    """States (steps + 1, ..., D) and energies (steps + 1, ...), the start first."""

    states: np.ndarray
    energies: np.ndarray


def descend(q: np.ndarray, X: np.ndarray, beta: float, steps: int = 10) -> Descent:
    """Repeat :func:`update`; the energy never rises on the way, from any start (2024-25 Q1).

    Args:
        q: start, (D,) or (..., D).
        steps: updates.
    """
    states = [q]
    for _ in range(steps):
        states.append(update(states[-1], X, beta))
    path = np.stack(states)
    return Descent(path, energy(path, X, beta))


# --------------------------------------------------------------------------- classic network


def hebbian_weights(X: np.ndarray) -> np.ndarray:
    """W = (XᵀX − N·I)/D for patterns of ±1: symmetric, zero diagonal (Hopfield 1982).

    Args:
        X: patterns, (N, D), each element −1 or 1.

    Returns:
        (D, D).
    """
    _check_binary(X)
    return (X.T @ X - len(X) * np.eye(X.shape[1])) / X.shape[1]


def classic_energy(q: np.ndarray, W: np.ndarray) -> float:
    """−½ qᵀWq of a state of ±1, (D,) (Hopfield 1982)."""
    return float(-0.5 * q @ W @ q)


def classic_descend(q: np.ndarray, W: np.ndarray, sweeps: int = 5, seed: int = 42) -> Descent:
    """One neuron at a time takes the sign of its input, in random order (Hopfield 1982).

    With symmetric W and a zero diagonal the energy never rises; a neuron whose input is exactly 0
    stays as it is. Unlike the modern network it holds only about 0.14·D random patterns.

    Args:
        q: start of ±1, (D,).
        W: from :func:`hebbian_weights`.
        sweeps: rounds over all neurons.

    Returns:
        States and energies after every sweep, the start first.
    """
    _check_binary(q)
    if W.shape != (len(q), len(q)):
        raise ValueError(f"W is {W.shape} and q {q.shape}; expected (D, D) and (D,)")
    rng = np.random.default_rng(seed)
    states = [q.astype(float)]
    for _ in range(sweeps):
        state = states[-1].copy()
        for neuron in rng.permutation(len(state)):
            field = W[neuron] @ state
            if field != 0:
                state[neuron] = np.sign(field)
        states.append(state)
    return Descent(np.stack(states), np.array([classic_energy(state, W) for state in states]))


# --------------------------------------------------------------------------------- retrieval


def corrupt(X: np.ndarray, share: float, seed: int = 42) -> np.ndarray:
    """Flip the sign of ``share`` of each pattern's elements, chosen at random; (N, D)."""
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; expected a number from 0 to 1")
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random(X.shape), axis=1)
    return np.where(order < round(share * X.shape[1]), -X, X)


def nearest(q: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Index of the stored pattern at the smallest distance from each state; (...,)."""
    return np.linalg.norm(q[..., None, :] - X, axis=-1).argmin(axis=-1)


def retrieval_by_beta(
    X: np.ndarray, starts: np.ndarray, betas: np.ndarray, steps: int = 10, tolerance: float = 0.1
) -> np.ndarray:
    """Share of starts that end on their own pattern, for each β (2024-25 Q1).

    Small β: the softmax is flat and every state falls to the mean of the patterns. Large β: one
    pattern takes all the weight and is returned.

    Args:
        X: memory, (N, D).
        starts: corrupted patterns in the same order, (N, D).
        betas: inverse temperatures, (K,).
        steps: updates per start.
        tolerance: largest distance to the pattern, as a share of the pattern's norm.

    Returns:
        (K,), from 0 to 1.
    """
    found = np.empty(len(betas))
    for index, beta in enumerate(betas):
        ends = descend(starts, X, float(beta), steps).states[-1]
        misses = np.linalg.norm(ends - X, axis=1) / np.linalg.norm(X, axis=1)
        found[index] = np.mean(misses <= tolerance)
    return found


def _check(q: np.ndarray, X: np.ndarray, beta: float) -> None:
    _check_beta(beta)
    if X.ndim != 2 or not len(X):
        raise ValueError(f"the memory X is {X.shape}; expected (N, D) with at least one pattern")
    if q.shape[-1:] != X.shape[1:]:
        raise ValueError(f"q is {q.shape} and X {X.shape}; expected (..., D) and (N, D), one D")


def _check_beta(beta: float) -> None:
    if not beta > 0:
        raise ValueError(f"beta is {beta}; expected an inverse temperature above 0")


def _check_binary(X: np.ndarray) -> None:
    if not X.size or not np.isin(X, (-1, 1)).all():
        raise ValueError("expected a state or patterns of -1 and 1, and at least one element")
