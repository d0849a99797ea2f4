"""Exercises of 2024-25: Hopfield, counts, the receptive field, report 004's padding, sampling."""

from collections.abc import Callable

import numpy as np

from hw2_keras.exercises.exercise import (
    Exercise,
    WrongAnswer,
    answered,
    compare,
    is_choice,
    is_number,
)
from hw2_keras.exercises.layers import look
from hw2_keras.experiments import experiments
from hw2_keras.theory import hopfield
from hw2_keras.theory.attention import softmax
from hw2_keras.theory.convolution import receptive_fields
from hw2_keras.theory.parameters import dense_parameters

BLOCK = ((3, 1), (2, 2))  # a 3x3 convolution, a 2x2 pool


def check_update(function: Callable) -> None:
    rng = np.random.default_rng(42)
    X, q, beta = rng.normal(size=(4, 6)), rng.normal(size=6), 1.7
    p = softmax(beta * X @ q)
    slips = {
        "β is missing inside of the softmax": softmax(X @ q) @ X,
        "β belongs inside of the softmax only": beta * p @ X,
        "this is the gradient of E₂, the step's negative": -p @ X,
    }
    compare(answered(function, q, X, beta), hopfield.update(q, X, beta), slips, "the new state")


def energy_of_pattern() -> float:
    """E of the only stored pattern (3, 4): −xᵀx + 0 + ½xᵀx + ½xᵀx."""
    x = np.array([3.0, 4.0])
    return float(hopfield.energy(x, x[None], 2.0))


def check_padding(function: Callable) -> None:
    seen = look("bahdanau")
    W_s, W_h, v = (seen.weights[f"{name}_kernel"] for name in ("query", "memory", "score"))
    found = answered(function, seen.query, seen.memory, seen.mask, W_s, W_h, v[:, 0])
    padding = ~seen.mask[:, None] & np.ones((1, seen.query.shape[1], 1), bool)
    if np.shape(found) == seen.attention.shape:
        lost = float(np.where(padding, found, 0).sum(-1).max())
        if not lost < 1e-6:
            raise WrongAnswer(f"up to {lost:.3f} of the weight still lies on the padding")
        if not np.allclose(np.sum(found, -1), 1, atol=1e-5):
            raise WrongAnswer("the weights of a step no longer sum to 1: mask before the softmax")
    compare(found, seen.attention, {}, "the attention")


def best_wer() -> str:
    """Which of report 004's three WERs is the lowest."""
    names = {"test_wer": "greedy", "test_nucleus_wer": "nucleus", "test_wer_at_3": "three"}
    figures = [r for r in experiments["p2g_attention"].reported if r.metric in names]
    return names[min(figures, key=lambda r: r.value).metric]


BUGGY = """\
import numpy as np


def attend(query, memory, mask, W_s, W_h, v):
    scores = np.tanh((query @ W_s)[:, :, None] + (memory @ W_h)[:, None]) @ v
    scores = scores * mask[:, None]
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
"""

EXERCISES = (
    Exercise(
        question="Q1",
        title="write the update of a modern Hopfield network",
        task="Write update(q, X, beta): one step of the convex-concave procedure.\n"
        "q is a state (D,), X the stored patterns (N, D), beta the inverse temperature.",
        hints=(
            "The step solves ∇E₁(q_new) = -∇E₂(q), and ∇E₁ is q itself.",
            "-E₂ is a log-sum-exp of Xq; its gradient is a softmax-weighted mean of the patterns.",
        ),
        solution="""\
import numpy as np


def update(q, X, beta):
    scores = beta * (X @ q)
    p = np.exp(scores - scores.max())
    return X.T @ (p / p.sum())
""",
        because="q ← Xᵀ softmax(βXq). With β = 1/√D it is one cross-attention layer.",
        check=check_update,
        function="update",
    ),
    Exercise(
        question="Q1",
        title="find the energy of a stored pattern",
        task="E(q) = -lse(β, Xq) + β⁻¹ log N + ½qᵀq + ½M², M the largest norm in X.\n"
        "X holds one pattern, (3, 4). What is the energy of q = (3, 4) at β = 2?",
        hints=(
            "With N = 1 the log-sum-exp is its only term, and log N is 0.",
            "qᵀq = M² = xᵀq = 25.",
        ),
        solution="0",
        because="-25 + 0 + 12.5 + 12.5 = 0: the constants are chosen so that E is never below 0.",
        check=is_number(
            energy_of_pattern,
            {
                -25: "the last two terms of E are missing",
                -12.5: "½M² is missing",
                -37.5: "lse(β, z) = β⁻¹ log Σ exp(β z): β cancels when there is one term",
            },
            "write the four terms one by one",
        ),
    ),
    Exercise(
        question="Q2",
        title="count the layer that makes intel_cnn large",
        task="intel_cnn flattens 6x6x128 and goes on with a Dense layer of 1,024 units.\n"
        "How many of the network's 5,340,742 parameters are in that one layer?",
        hints=(
            "Every unit sees every number of the flattened map.",
            "6*6*128 = 4,608 inputs, and each unit has one bias.",
        ),
        solution="4719616",
        because="1,024 x (4,608 + 1) = 4,719,616, or 88 %. Global average pooling leaves 128 "
        "inputs instead: 132,096 parameters, most of what intel_cnn_bn saves.",
        check=is_number(
            lambda: dense_parameters(6 * 6 * 128, 1024).value,
            {
                4_718_592: "the biases are missing, one for each unit",
                132_096: "this is the layer after global average pooling, that of intel_cnn_bn",
            },
            "inputs x units, plus one bias for each unit",
        ),
    ),
    Exercise(
        question="Q2",
        title="derive the receptive field of intel_cnn",
        task="Three blocks, each a 3x3 convolution (stride 1) and a 2x2 max-pool (stride 2).\n"
        "How many pixels of the image, along one axis, does a unit after the third pool see?",
        hints=(
            "Keep two numbers: the pixels seen, and the distance of neighbouring units in pixels.",
            "A window of k adds (k - 1) times the distance; a pool of stride 2 then doubles the "
            "distance. 1 -> 3 -> 4 -> 8 -> ...",
        ),
        solution="22",
        because="3, 4, 8, 10, 18, 22 after the six layers: a pool doubles what every later window "
        "adds.",
        check=is_number(
            lambda: receptive_fields(BLOCK * 3)[-1].size,
            {
                7: "three 3x3 convolutions alone see 7; the pools double what later windows add",
                18: "this is before the third pool",
                10: "this is after the second pool",
                8: "8 pixels is the distance between neighbouring units, not what one sees",
            },
            "write size and distance after each of the six layers",
        ),
    ),
    Exercise(
        question="Q3",
        title="find the bug in report 004's padding",
        task="This is report 004's attention, in NumPy. mask is False at padding. Copy it to a "
        "file, find the bug and mend it; it returns the attention (B, T, S).\n\n" + BUGGY,
        hints=(
            "What is the weight of a position whose score is 0?",
            "exp(0) is 1, and scores are often negative: the padding can even win. Which score "
            "has an exponential of 0?",
        ),
        solution=BUGGY.replace(
            "scores * mask[:, None]", "np.where(mask[:, None], scores, -np.inf)"
        ),
        because="A masked score must be -inf (or far below any score), not 0. Ours masks; the CER "
        "of report 004 is 0.2410, of our three seeds 0.2020 ± 0.0034. Checked against "
        "hw2_keras.models.attention.AdditiveAttention.",
        check=check_padding,
        function="attend",
        needs_keras=True,
    ),
    Exercise(
        question="Q3",
        title="predict which search gets most words right",
        task="p2g_attention spells 1,000 words: once greedily, once by nucleus sampling (p = 0.8), "
        "and three times by sampling, where a word counts as right if one of the three is.\n"
        "Which has the lowest word error rate? Type greedy, nucleus or three.",
        hints=(
            "A sample is at times a less probable letter than the best one.",
            "Chances add up: how often are three different tries all wrong?",
        ),
        solution="three",
        because="Report 004: greedy 0.7840, nucleus 0.8170, best of three samples 0.7390; ours "
        "0.7133, 0.7550 and 0.6407. One sample is worse than the best guess, three are better.",
        check=is_choice(
            best_wer,
            {
                "greedy": "it beats one sample, but it has one try only",
                "nucleus": "a single sample gives up the best letter now and then",
                "three": "",
            },
        ),
    ),
)
