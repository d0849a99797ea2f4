"""Exercises of 2021-22: counts and shapes, self-attention, the captioner's attention, a rate."""

from collections.abc import Callable

import numpy as np

from hw2_keras.exercises.exercise import Exercise, answered, compare, is_choice, is_number, is_shape
from hw2_keras.exercises.layers import look
from hw2_keras.experiments import FASHION_CNN
from hw2_keras.theory import attention
from hw2_keras.theory.parameters import output_size, parameter_cnn


def count() -> int:
    return sum(layer.parameters for layer in parameter_cnn())


def last_map() -> tuple[int, int, int]:
    """The map that fashion_cnn flattens: same 3x3, pool 2, valid 3x3, pool 2."""
    side = output_size(28, FASHION_CNN.first_kernel, padding="same").value
    side = output_size(output_size(side, 2, 2).value, 3).value
    side = output_size(side, 2, 2).value
    return side, side, FASHION_CNN.filters[-1]


def check_probabilities(function: Callable) -> None:
    rng = np.random.default_rng(42)
    X, (W_Q, W_K) = rng.normal(size=(5, 6)), rng.normal(size=(2, 6, 3))
    expected = attention.probabilities(X, attention.score_matrix(W_Q, W_K))
    scores = (X @ W_Q) @ (X @ W_K).T
    slips = {
        "the scores are not divided by the root of the head size": attention.softmax(scores),
        "the scores are divided by the root of the number of tokens; d is the head size, the "
        "columns of W_Q": attention.probabilities_scaled_by_tokens(X, W_Q, W_K),
        "the softmax runs over columns: each row, one token's looks, must sum to 1": (
            attention.softmax(scores.T / np.sqrt(3)).T
        ),
        "these are scores: the softmax is missing": scores / np.sqrt(3),
    }
    compare(answered(function, X, W_Q, W_K), expected, slips, "P")


def check_other_key(function: Callable) -> None:
    rng = np.random.default_rng(42)
    W_K, B = rng.normal(size=(6, 3)), rng.normal(size=(3, 3))
    _, expected = attention.equivalent_head(W_K, W_K, B)
    slips = {
        "W_K B keeps the scores only if B is orthogonal": W_K @ B,
        "W_K B⁻¹ lacks a transpose: the key stands transposed in the scores": W_K
        @ np.linalg.inv(B),
        "this is W_K Bᵀ: what undoes B is its inverse": W_K @ B.T,
    }
    compare(answered(function, W_K, B), expected, slips, "W_K'")


def check_additive(function: Callable) -> None:
    seen = look("additive", padded=False)
    names = ("query_kernel", "memory_kernel", "bias", "score_kernel")
    W_q, W_m, b, v = (seen.weights[name] for name in names)
    hidden = (seen.query @ W_q)[:, :, None] + (seen.memory @ W_m)[:, None]
    without = attention.softmax((np.maximum(hidden, 0) @ v)[..., 0]) @ seen.memory
    tanh = attention.softmax((np.tanh(hidden + b) @ v)[..., 0]) @ seen.memory
    slips = {
        "the bias b belongs inside of the ReLU": without,
        "the captioner's activation is ReLU; tanh is Bahdanau's, of 2024-25": tanh,
    }
    found = answered(function, seen.query, seen.memory, W_q, W_m, b, v[:, 0])
    compare(found, seen.context, slips, "the context")


EXERCISES = (
    Exercise(
        question="Q1",
        title="count the parameters of a small CNN",
        task="An image of 28x28x3 goes through a convolution of 8 filters of 5x5 (stride 1, no "
        "padding), a max-pool of 4x4 with stride 2, and a linear layer to 10 outputs.\n"
        "How many parameters has the network?",
        hints=(
            "A pool has no parameters, but it decides how many inputs the linear layer has.",
            "The convolution gives 24x24x8, the pool 11x11x8. Each filter sees 5*5*3 numbers and "
            "has one bias.",
        ),
        solution="10298",
        because="8 x (5*5*3 + 1) = 608, and 10 x (11*11*8 + 1) = 9,690.",
        check=is_number(
            count,
            {
                10_280: "the biases are missing, one for each filter and each output",
                12_138: "the pool's windows overlap: 4x4 with stride 2 leaves 11, not 12",
                9_898: "a filter sees all three channels of the image: 5*5*3 numbers, not 5*5",
            },
            "write out the shape after every layer first; 608 of them are the convolution's",
        ),
    ),
    Exercise(
        question="Q2",
        title="derive the shape that fashion_cnn flattens",
        task="fashion_cnn: an image of 28x28x1, a convolution of 16 filters of 3x3 with padding "
        "'same', max-pool 2, a convolution of 32 filters of 3x3 with padding 'valid', max-pool "
        "2.\nWhich shape is flattened? Type it as HEIGHTxWIDTHxCHANNELS.",
        hints=(
            "'same' keeps the size, 'valid' lets a window of k pixels take away k - 1.",
            "28 -> 28 -> 14 -> 14 - 3 + 1 -> half of that.",
        ),
        solution="6x6x32",
        because="28 (same) -> 14 (pool) -> 12 (valid) -> 6 (pool), with 32 filters: 1,152 numbers.",
        check=is_shape(
            last_map,
            {
                (7, 7, 32): "the second convolution has no padding",
                (5, 5, 32): "the first convolution has padding 'same', so it keeps the size",
                (6, 6, 16): "the channels are the filters of the last convolution",
                (6, 6): "the channels are missing",
                (6, 6, 1): "the channels are the filters of the last convolution",
            },
            "go layer by layer; only the second convolution and the pools change the size",
        ),
    ),
    Exercise(
        question="Q1",
        title="write the probabilities of self-attention",
        task="Write probabilities(X, W_Q, W_K): where each token looks.\n"
        "X is (n, D), the projections are (D, d); return P, (n, n), whose rows sum to 1.",
        hints=(
            "P = softmax of queries times keys, row by row, after a scale.",
            "The scale is 1/√d, with d the head size: the number of columns of W_Q.",
        ),
        solution="""\
import numpy as np


def probabilities(X, W_Q, W_K):
    scores = (X @ W_Q) @ (X @ W_K).T / np.sqrt(W_Q.shape[1])
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
""",
        because="P = softmax(X A Xᵀ) with A = W_Q W_Kᵀ/√d. Reports dropped the scale, or took the "
        "number of tokens for d.",
        check=check_probabilities,
        function="probabilities",
    ),
    Exercise(
        question="Q1",
        title="find the other key of an equivalent head",
        task="A head has projections W_Q and W_K. Another one uses W_Q B for its queries, B any "
        "invertible matrix (d, d), and looks exactly where the first does.\n"
        "Write other_key(W_K, B): its projection of the keys, (D, d).",
        hints=(
            "The scores hold W_Q W_Kᵀ. What must (W_Q B) be multiplied by to give the same?",
            "B times something is the identity, and that something stands transposed.",
        ),
        solution="""\
import numpy as np


def other_key(W_K, B):
    return W_K @ np.linalg.inv(B).T
""",
        because="(W_Q B)(W_K B⁻ᵀ)ᵀ = W_Q B B⁻¹ W_Kᵀ = W_Q W_Kᵀ: d² numbers of a head are free.",
        check=check_other_key,
        function="other_key",
    ),
    Exercise(
        question="Q3",
        title="write the captioner's attention",
        task="Write attend(query, memory, W_q, W_m, b, v): the weighted memory that "
        "caption_attention reads.\n"
        "query (B, T, Q), memory (B, S, M), W_q (Q, A), W_m (M, A), b and v (A,); return "
        "(B, T, M).\nThe score of position i at step t is v · ReLU(W_q query[t] + W_m memory[i] + "
        "b).",
        hints=(
            "Project both, then let them meet: (B, T, 1, A) + (B, 1, S, A).",
            "The softmax runs over the S positions; then weights (B, T, S) @ memory (B, S, M).",
        ),
        solution="""\
import numpy as np


def attend(query, memory, W_q, W_m, b, v):
    hidden = (query @ W_q)[:, :, None] + (memory @ W_m)[:, None] + b
    scores = np.maximum(hidden, 0) @ v
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights @ memory
""",
        because="Checked against hw2_keras.models.attention.AdditiveAttention on random inputs.",
        check=check_additive,
        function="attend",
        needs_keras=True,
    ),
    Exercise(
        question="Q2",
        title="predict the best rate before you run it",
        task="fashion_cnn is trained by plain SGD, batches of 8, for 15 epochs, at the rates "
        "0.001, 0.01 and 0.1.\nWhich rate has the best validation accuracy at the end?",
        hints=(
            "Small batches make noisy gradients: a large rate follows the noise.",
            "The lowest running mean of the training loss belongs to another rate, because that "
            "mean remembers how fast the first epochs were.",
        ),
        solution="0.01",
        because="Both reports found 0.01 best, and so did our runs: validation 0.8800, 0.9214 and "
        "0.8959 for the three rates (seed 42, real data). The running loss of 0.1 is the lowest, "
        "0.2595 against 0.2819: a low training loss does not choose the network.",
        check=is_choice(
            lambda: f"{FASHION_CNN.best_rate:g}",
            {
                "0.001": "too small to arrive within 15 epochs",
                "0.01": "",
                "0.1": "it has the lowest running loss, and not the best accuracy",
            },
        ),
    ),
)
