"""Exercises of 2022-23: the convolution as a matrix, a count, bilinear attention, a collapse."""

from collections.abc import Callable

import numpy as np

from hw2_keras.exercises.exercise import (
    Exercise,
    WrongAnswer,
    answered,
    compare,
    is_choice,
    is_number,
    is_shape,
)
from hw2_keras.exercises.layers import look
from hw2_keras.experiments import KMNIST_CNN
from hw2_keras.theory import convolution
from hw2_keras.theory.attention import softmax
from hw2_keras.theory.parameters import cnn_against_dense, dense_parameters_by_report_003

PREDICTED = ("no", "i am here now")
TRUE = ("yo", "i am there now")


def matrix_shape() -> tuple[int, int]:
    return convolution.sparse_matrix(np.ones((5, 5)), (28, 28)).shape


def check_entry(function: Callable) -> None:
    kernel = np.arange(1.0, 7.0).reshape(2, 3)
    height, width = 4, 5
    rows, columns = (height - 1) * (width - 2), height * width
    for i, j in np.ndindex(rows, columns):
        expected = convolution.matrix_entry(kernel, i, j, width)
        found = answered(function, kernel, i, j, width)
        if found is None or found != expected:
            of_report = convolution.matrix_entry_by_report_002(kernel, i, j, width)
            slip = "; a row of the output has W - N + 1 pixels, not W" if found == of_report else ""
            raise WrongAnswer(
                f"M[{i}, {j}] of a 2x3 kernel and a 4x5 image is {expected:g}, not {found}{slip}"
            )


def collapsing_rate() -> str:
    """The rate at which a report's network ends nearest to chance."""
    figures = [r for r in KMNIST_CNN.reported if r.metric == "test_accuracy"]
    return f"{min(figures, key=lambda r: r.value).learning_rate:g}"


def mean_error_rate() -> float:
    from hw2_keras.metrics import error_rate  # it needs a library that a base install lacks

    return error_rate(PREDICTED, TRUE)


def check_bilinear(function: Callable) -> None:
    seen = look("bilinear")
    W_q = seen.weights["query_kernel"]
    scores = seen.query @ W_q @ seen.memory.transpose(0, 2, 1)
    slips = {
        "the padding gets weight: where mask is False the score must be -inf": softmax(scores)
        @ seen.memory,
        "scores of 0 leave weight on the padding, since exp(0) is 1: -inf leaves none": softmax(
            scores * seen.mask[:, None]
        )
        @ seen.memory,
        "the bilinear score of the homework is not divided by a root": softmax(
            np.where(seen.mask[:, None], scores, -np.inf) / np.sqrt(W_q.shape[1])
        )
        @ seen.memory,
    }
    found = answered(function, seen.query, seen.memory, seen.mask, W_q)
    compare(found, seen.context, slips, "the context")


EXERCISES = (
    Exercise(
        question="Q1",
        title="derive the shape of the convolution's matrix",
        task="vec(z) = M vec(x) for one 5x5 filter on an image x of 28x28, stride 1, no padding.\n"
        "Which shape has M? Type it as ROWSxCOLUMNS.",
        hints=(
            "One column for each pixel of x, one row for each pixel of z.",
            "z is (28 - 5 + 1) x (28 - 5 + 1).",
        ),
        solution="576x784",
        because="24*24 = 576 outputs from 28*28 = 784 inputs; 25 of a row's 784 entries are not 0.",
        check=is_shape(
            matrix_shape,
            {
                (784, 576): "M stands before vec(x), so its columns are the pixels of x",
                (784, 784): "without padding z is smaller than x",
                (24, 24): "this is the shape of z; M maps all of x to all of z",
                (576, 25): "a row has one entry for each pixel of x, most of them 0",
            },
            "count the pixels of z, then those of x",
        ),
    ),
    Exercise(
        question="Q1",
        title="write the general element of the convolution's matrix",
        task="Write entry(kernel, i, j, image_width): M[i, j] of the matrix of a one-channel "
        "convolution, stride 1, no padding, counted from 0.\n"
        "kernel is (M, N); pixels are numbered row by row in x and in z.",
        hints=(
            "Row i is pixel (r, s) of the output, column j pixel (u, v) of the image.",
            "divmod gives both, with the width of z for i and that of x for j; then the entry is "
            "kernel[u - r, v - s], where that exists.",
        ),
        solution="""\
def entry(kernel, i, j, image_width):
    rows, columns = kernel.shape
    r, s = divmod(i, image_width - columns + 1)
    u, v = divmod(j, image_width)
    inside = 0 <= u - r < rows and 0 <= v - s < columns
    return kernel[u - r, v - s] if inside else 0.0
""",
        because="Report 002 divides i by the width of x and goes wrong from the second row of z "
        "on; report 003 writes M_(i-j), which is true of one-dimensional convolutions only.",
        check=check_entry,
        function="entry",
    ),
    Exercise(
        question="Q1",
        title="count what a fully connected layer would need",
        task="A convolution of one 5x5 filter on 28x28 pixels, max-pool 2x2, linear to 3 classes; "
        "no biases anywhere. Put a fully connected layer from the pixels to the same number of "
        "hidden units in place of convolution and pool.\nHow many parameters has that network?",
        hints=(
            "The hidden units h are those that the pool leaves.",
            "h = 12*12 = 144. A fully connected unit has one weight for each pixel.",
        ),
        solution="113328",
        because="28*28*144 + 3*144 = 113,328, against 5*5 + 3*144 = 457 of the CNN. Report 003 "
        "multiplied the filter's elements, not the pixels, with h: 4,032.",
        check=is_number(
            lambda: cnn_against_dense(28, 28, 5, 5).dense.value,
            {
                dense_parameters_by_report_003(28, 28, 5, 5): "this is report 003's: a fully "
                "connected unit sees every pixel, not only the 5*5 of a filter",
                457: "this is the CNN's own count",
                112_896: "the linear layer to 3 classes is missing",
            },
            "find the number of hidden units first, then pixels x units + units x classes",
        ),
    ),
    Exercise(
        question="Q2",
        title="predict which rate collapses before you run it",
        task="kmnist_cnn is trained by Adam, batches of 8, for 20 epochs, at the rates 1e-5, 5e-4 "
        "and 1e-2.\nAt which one did a report's network end at chance, a test accuracy of 0.1000? "
        "Type 1e-05, 0.0005 or 0.01.",
        hints=(
            "Adam divides by the size of the gradient: a step is about as long as the rate.",
            "The weights of its first Dense layer start within ±0.07. How many steps of each rate "
            "cross that range?",
        ),
        solution="0.01",
        because="Report 003 ended at 0.1000 (validation 0.1022), report 002 at 0.6791, our run, "
        "on a sixth of the training images, at 0.8670: at 1e-2 some fourteen steps cross the whole "
        "range that a weight starts in, ReLUs can die, and whether they do is chance.",
        check=is_choice(
            collapsing_rate,
            {
                "1e-05": "slow and steady: it only arrives late",
                "0.0005": "this is the best one of both reports",
                "0.01": "",
            },
        ),
    ),
    Exercise(
        question="Q3",
        title="write the bilinear attention, padding masked",
        task="Write attend(query, memory, mask, W_q): the context of translate_attention.\n"
        "query (B, T, Q), memory (B, S, M), mask bool (B, S) with False at padding, W_q (Q, M); "
        "return (B, T, M).\nThe score of position i at step t is (W_qᵀ query[t]) · memory[i].",
        hints=(
            "scores = query @ W_q @ memory with its last two axes exchanged, (B, T, S).",
            "Before the softmax, scores of padding become -inf: np.where(mask[:, None], scores, "
            "-np.inf).",
        ),
        solution="""\
import numpy as np


def attend(query, memory, mask, W_q):
    scores = query @ W_q @ memory.transpose(0, 2, 1)
    scores = np.where(mask[:, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights @ memory
""",
        because="Checked against hw2_keras.models.attention.BilinearAttention on random inputs.",
        check=check_bilinear,
        function="attend",
        needs_keras=True,
    ),
    Exercise(
        question="Q3",
        title="compute an error rate by hand",
        task=f"A network writes {PREDICTED[0]!r} for {TRUE[0]!r} and {PREDICTED[1]!r} for "
        f"{TRUE[1]!r}.\nWhat is the error rate of 2022-23: Levenshtein distance divided by the "
        "length of the truth, averaged over sentences? Four digits will do.",
        hints=(
            "One edit in each sentence. Spaces are characters.",
            "The true lengths are 2 and 14.",
        ),
        solution="0.2857",
        because="(1/2 + 1/14)/2 = 0.2857. The CER of 2024-25 sums before it divides, 2/16 = 0.125: "
        "the same texts, other figures, so the two editions cannot be compared.",
        check=is_number(
            mean_error_rate,
            {
                0.125: "this is the CER of 2024-25, all edits by all characters; here each "
                "sentence counts the same",
            },
            "divide in each sentence first, then take the mean",
        ),
    ),
)
