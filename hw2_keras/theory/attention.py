"""Self-attention as one matrix, and what its parameters cannot tell apart.

Question 1 of 2021-22 (P = softmax(X A Xᵀ), two heads with the same probabilities) and of 2022-23
(attention over an image with 1x1 projections). Rows are tokens: X is (n, D), the projections
W_Q, W_K are (D, d), with d the head size.
"""

from collections.abc import Sequence

import numpy as np

# ------------------------------------------------------------------------------- one head


def softmax(scores: np.ndarray) -> np.ndarray:
    """exp(s_j) / Σ_k exp(s_k) over the last axis, (..., n) -> (..., n) (Q1 of all editions).

    The largest score is subtracted first: the quotient stays the same and nothing overflows.
    """
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def score_matrix(W_Q: np.ndarray, W_K: np.ndarray) -> np.ndarray:
    """A = W_Q W_Kᵀ / √d, so that the scores are X A Xᵀ (2021-22 Q1).

    A is (D, D) and of rank ≤ d; X A Xᵀ is n×n, also of rank ≤ d however many tokens there are.

    ✗ Some reports drop 1/√d, or call d "the number of rows of K". K = X W_K has n rows, one per
    token, and d columns; d is the head size. See :func:`probabilities_scaled_by_tokens`.

    Args:
        W_Q, W_K: projections of one head, (D, d).

    Raises:
        ValueError: the two differ in shape or are not matrices.
    """
    _check_projections(W_Q, W_K)
    return W_Q @ W_K.T / np.sqrt(W_Q.shape[1])


def probabilities(X: np.ndarray, A: np.ndarray) -> np.ndarray:
    """P = softmax(X A Xᵀ), row by row: row i says where token i looks (2021-22 Q1).

    Args:
        X: tokens, (n, D).
        A: from :func:`score_matrix`, (D, D).

    Returns:
        (n, n), rows that sum to 1.
    """
    if X.ndim != 2 or A.shape != (X.shape[1], X.shape[1]):
        raise ValueError(
            f"X is {X.shape} and A {A.shape}; expected (n, D) and (D, D) with the same D"
        )
    return softmax(X @ A @ X.T)


def probabilities_scaled_by_tokens(X: np.ndarray, W_Q: np.ndarray, W_K: np.ndarray) -> np.ndarray:
    """✗ 2021-22 Q1: scores divided by √(rows of K), that is √n instead of √d.

    Counter-example: append a token to X. The ratio P[0, 1] / P[0, 0] is exp of the difference of
    two scores, which the new token has no part in, and with √d it stays as it was. Here it changes.
    """
    _check_projections(W_Q, W_K)
    return softmax((X @ W_Q) @ (X @ W_K).T / np.sqrt(X.shape[0]))


def _check_projections(W_Q: np.ndarray, W_K: np.ndarray) -> None:
    if W_Q.ndim != 2 or W_Q.shape != W_K.shape:
        raise ValueError(
            f"W_Q is {W_Q.shape} and W_K {W_K.shape}; expected two matrices (D, d) of one shape"
        )


# -------------------------------------------------------------------- two heads that look alike


def equivalent_head(
    W_Q: np.ndarray, W_K: np.ndarray, B: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """W_Q B and W_K B⁻ᵀ: another head with exactly the same probabilities (2021-22 Q1).

    (W_Q B)(W_K B⁻ᵀ)ᵀ = W_Q B B⁻¹ W_Kᵀ = W_Q W_Kᵀ, so A is the same for any invertible B (d, d): d²
    of the 2·D·d numbers in a head change nothing.

    Raises:
        ValueError: B is not (d, d), or singular in the precision of its type.
    """
    _check_projections(W_Q, W_K)
    d = W_Q.shape[1]
    if B.shape != (d, d):
        raise ValueError(f"B is {B.shape}; expected ({d}, {d}), the head size")
    singular_values = np.linalg.svd(B, compute_uv=False)
    if singular_values[-1] <= singular_values[0] * d * np.finfo(B.dtype).eps:
        raise ValueError(
            f"B is singular: singular values from {singular_values[0]:.3g} down to "
            f"{singular_values[-1]:.3g}; expected an invertible matrix"
        )
    return W_Q @ B, np.linalg.solve(B, W_K.T).T


def head_difference(X: np.ndarray, W_Q: np.ndarray, W_K: np.ndarray, B: np.ndarray) -> float:
    """max ``|P − P'|`` between a head and its :func:`equivalent_head`: 0 but for rounding.

    Rounding grows with B's condition number κ: about κ·ε, with ε the spacing of the type.
    """
    original = probabilities(X, score_matrix(W_Q, W_K))
    other = probabilities(X, score_matrix(*equivalent_head(W_Q, W_K, B)))
    return float(np.abs(original - other).max())


def matrix_of_condition(size: int, condition: float, seed: int = 42) -> np.ndarray:
    """A random (size, size) matrix U S Vᵀ: singular values from 1 to 1/condition, even in log.

    Raises:
        ValueError: condition < 1, or a size below 2 that could only have condition 1.
    """
    if condition < 1 or size < 2:
        raise ValueError(f"size {size}, condition {condition}; expected at least 2 and at least 1")
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(2))
    return left * np.geomspace(1, 1 / condition, size) @ right.T


def difference_by_condition(
    conditions: Sequence[float], tokens: int = 6, size: int = 16, head: int = 4, trials: int = 20
) -> np.ndarray:
    """Mean :func:`head_difference` for each condition number of B, over random heads (2021-22 Q1).

    Args:
        conditions: condition numbers κ of B.
        tokens, size, head: n, D and d.
        trials: random heads and matrices per condition, seeded 0, 1, ...

    Returns:
        (len(conditions),), in double precision.
    """
    differences = np.empty((len(conditions), trials))
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        X = rng.normal(size=(tokens, size))
        W_Q, W_K = rng.normal(size=(2, size, head)) / np.sqrt(size)
        for row, condition in enumerate(conditions):
            B = matrix_of_condition(head, condition, seed=trial)
            differences[row, trial] = head_difference(X, W_Q, W_K, B)
    return differences.mean(axis=1)


# --------------------------------------------------------------- attention over an image


def image_attention(
    image: np.ndarray,
    query: np.ndarray | None = None,
    key: np.ndarray | None = None,
    value: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Self-attention over the pixels of a feature map, with 1x1 projections (2022-23 Q1).

    A 1x1 convolution multiplies every pixel's channels by one matrix, so on the flattened sequence
    x' (H·W, C) the three projections are x'W. Without them (identity) P = softmax(x' x'ᵀ) row by
    row, and the output is P x'.

    Args:
        image: feature map, (H, W, C).
        query, key: weights of the 1x1 convolutions, (C, d); identity by default.
        value: (C, C'); identity by default.

    Returns:
        The output (H, W, C') and the probabilities P (H·W, H·W).

    Raises:
        ValueError: the image is not (H, W, C), or a weight does not fit its channels.
    """
    height, width, _ = _check_image(image)
    scores, values = _image_scores(image, query, key, value)
    P = softmax(scores)
    return (P @ values).reshape(height, width, -1), P


def image_attention_by_report_002(image: np.ndarray) -> np.ndarray:
    """✗ Report 002, 2022-23 Q1: the output as (x' x'ᵀ) x', without the softmax; (H, W, C).

    Counter-example: double the image. Attention is a weighted mean of the pixels, so no output
    exceeds the largest pixel; this one grows eightfold and leaves the range at once.
    """
    height, width, _ = _check_image(image)
    scores, values = _image_scores(image, None, None, None)
    return (scores @ values).reshape(height, width, -1)


def _image_scores(
    image: np.ndarray, query: np.ndarray | None, key: np.ndarray | None, value: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    sequence = image.reshape(-1, image.shape[-1])
    projected = []
    for name, weight in (("query", query), ("key", key), ("value", value)):
        if weight is not None and (weight.ndim != 2 or weight.shape[0] != image.shape[-1]):
            raise ValueError(
                f"{name} is {weight.shape}; expected ({image.shape[-1]}, d), the image's channels"
            )
        projected.append(sequence if weight is None else sequence @ weight)
    queries, keys, values = projected
    if queries.shape != keys.shape:
        raise ValueError(f"query projects to {queries.shape} and key to {keys.shape}; expected one")
    return queries @ keys.T, values


def _check_image(image: np.ndarray) -> tuple[int, ...]:
    if image.ndim != 3:
        raise ValueError(f"the image is {image.shape}; expected (height, width, channels)")
    return image.shape
