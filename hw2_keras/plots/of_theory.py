"""The plots of the paper questions: each function takes data and returns a Figure.

All are drawn at page width (6.3 inches) in the style of `hw2_keras.plots.style` and need no
display; ``style.save`` writes one.
"""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib import colormaps
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullFormatter

from hw2_keras.plots.style import GREY, OKABE_ITO, PAGE_WIDTH, bare, styled
from hw2_keras.theory import attention, convolution, hopfield
from hw2_keras.theory.convolution import ImageMap
from hw2_keras.theory.parameters import output_size


@styled
def plot_matrix(
    kernel_size: tuple[int, int], image_shape: tuple[int, int], stride: int = 1, padding: int = 0
) -> Figure:
    """The doubly blocked Toeplitz matrix, one colour per filter element (2022-23 Q1).

    Grey lines separate the blocks: one block row per row of the output, one block column per row
    of the image.

    Args:
        kernel_size: M, N.
        image_shape: H, W; up to about 8x8 stays readable.
    """
    count = kernel_size[0] * kernel_size[1]
    kernel = np.arange(1.0, count + 1).reshape(kernel_size)
    matrix = convolution.toeplitz_matrix(kernel, image_shape, stride, padding)
    counts = convolution.count_entries(kernel_size, image_shape, stride, padding)
    size = (PAGE_WIDTH, PAGE_WIDTH * matrix.shape[0] / matrix.shape[1] + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    distinct = (
        OKABE_ITO if count <= len(OKABE_ITO) else colormaps["turbo"](np.linspace(0, 1, count))
    )
    colours = ["white", *distinct[:count]]
    axes.imshow(matrix, cmap=ListedColormap(colours), vmin=-0.5, vmax=count + 0.5)
    output_width = output_size(image_shape[1], kernel_size[1], stride, padding).value
    for row in range(0, matrix.shape[0] + 1, output_width):
        axes.axhline(row - 0.5, color="0.6", linewidth=0.8)
    for column in range(0, matrix.shape[1] + 1, image_shape[1]):
        axes.axvline(column - 0.5, color="0.6", linewidth=0.8)
    if matrix.shape[1] <= 40:
        for (i, j), value in np.ndenumerate(matrix):
            if value:
                m, n = divmod(int(value) - 1, kernel_size[1])
                label = f"{m}{n}"
                axes.text(j, i, label, ha="center", va="center", color="white", fontsize=7)
    axes.set_xlabel(f"input pixel j = u·{image_shape[1]} + v")
    axes.set_ylabel(f"output pixel i = r·{output_width} + s")
    axes.set_title(
        f"{kernel_size[0]}x{kernel_size[1]} filter on {image_shape[0]}x{image_shape[1]} pixels: "
        f"{counts.free} free parameters, {counts.nonzeros:,} non-zeros of {counts.entries:,}",
    )
    return figure


@styled
def plot_equivariance(image: np.ndarray, kernel: np.ndarray) -> Figure:
    """f(Tx) beside T f(x) for a shift, a quarter turn, a zoom and a turned hue (2021-22 Q2).

    The difference below is taken away from the border, where padding shows. Feature maps have no
    hue, so there T f(x) is f(x).

    Args:
        image: colour image (H, W, 3), from 0 to 1, H = W and even.
        kernel: one filter over the three channels, (M, N, 3, 1), M and N odd.
    """

    def features(x: np.ndarray) -> np.ndarray:
        return convolution.convolve(x, kernel, padding="same")

    def shift(x: np.ndarray) -> np.ndarray:
        return convolution.translate(x, 4, 6)

    border = max(kernel.shape[:2])
    changes: list[tuple[str, ImageMap, ImageMap, int]] = [
        ("shift", shift, shift, 6 + border),
        ("quarter turn", convolution.rotate, convolution.rotate, border),
        ("zoom 2x", convolution.zoom, convolution.zoom, border),
        ("hue", convolution.turn_hue, lambda x: x, border),
    ]

    figure = Figure(figsize=(PAGE_WIDTH, 5.1), layout="constrained")
    axes = figure.subplots(3, len(changes))
    # The padded border answers to an edge that is not in the picture.
    scale = np.abs(features(image)[border:-border, border:-border]).max()
    for column, (name, before, after, margin) in enumerate(changes):
        gap = convolution.relative_gap(features, image, before, after, margin)
        axes[0, column].imshow(before(image))
        axes[0, column].set_title(name)
        for row, response in ((1, features(before(image))), (2, after(features(image)))):
            axes[row, column].imshow(response[..., 0], cmap="RdBu", vmin=-scale, vmax=scale)
        axes[2, column].set_xlabel(f"difference {gap:.0%}")
    for row, label in enumerate(("Tx", "f(Tx)", "T f(x)")):
        axes[row, 0].set_ylabel(label)
    for axis in axes.flat:
        bare(axis)
    return figure


@styled
def plot_pooling(
    images: np.ndarray, kernel: np.ndarray, shifts: Sequence[int] = range(7)
) -> Figure:
    """How much the features change when the image shifts, by pool size (2024-25 Q2).

    Args:
        images: (B, H, W, C).
        kernel: (M, N, C, F).
        shifts: pixels to the right.
    """
    figure = Figure(figsize=(PAGE_WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    side = min(images.shape[1:3])
    for pool, style in ((1, "o-"), (2, "s-"), (4, "^-"), (side, "d-")):
        curve = [
            np.mean([_pooling_gap(image, kernel, pool, shift) for image in images])
            for shift in shifts
        ]
        label = {1: "no pooling", side: "global max-pool"}.get(pool, f"{pool}x{pool} max-pool")
        axes.plot(list(shifts), curve, style, label=label)
    axes.set_xlabel("shift of the image (pixels)")
    axes.set_ylabel("change of the features")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _pooling_gap(image: np.ndarray, kernel: np.ndarray, pool: int, shift: int) -> float:
    """Relative change of max-pooled ReLU features when the image shifts by ``shift`` pixels."""

    def features(x: np.ndarray) -> np.ndarray:
        response = np.maximum(convolution.convolve(x, kernel, padding="same"), 0)
        return convolution.max_pool(response, pool)

    return convolution.relative_gap(features, image, lambda x: convolution.translate(x, 0, shift))


@styled
def plot_receptive_fields(
    stacks: dict[str, Sequence[tuple[int, int]]], image_size: int = 32
) -> Figure:
    """``|gradient|`` of the centre output by the pixels, with the formula's square (2024-25 Q2).

    Args:
        stacks: a title and the (window, stride) of each layer.
        image_size: pixels along each axis.
    """
    figure = Figure(figsize=(PAGE_WIDTH, PAGE_WIDTH / len(stacks) + 0.6), layout="constrained")
    axes = figure.subplots(1, len(stacks), squeeze=False)[0]
    for axis, (title, layers) in zip(axes, stacks.items(), strict=True):
        gradient = convolution.receptive_gradient(layers, image_size)
        size = convolution.receptive_fields(layers)[-1].size
        top, left = (int(np.flatnonzero(gradient.any(axis=side))[0]) for side in (1, 0))
        axis.imshow(gradient, cmap="viridis")
        corner = (left - 0.5, top - 0.5)
        axis.add_patch(Rectangle(corner, size, size, fill=False, color="white", linewidth=1.5))
        axis.set_title(title)
        axis.set_xlabel(f"{size}x{size} pixels")
    for axis in axes.flat:
        bare(axis)
    return figure


@styled
def plot_head_difference(conditions: Sequence[float]) -> Figure:
    """max ``|P − P'|`` of two equal heads against B's condition number (2021-22 Q1)."""
    figure = Figure(figsize=(PAGE_WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    differences = attention.difference_by_condition(conditions)
    axes.loglog(conditions, differences, "o-", label="measured, mean of 20 heads")
    bound = np.finfo(float).eps * np.asarray(conditions)
    axes.loglog(conditions, bound, "--", color=GREY, label="κ·ε, double precision")
    _plain_ticks(axes.xaxis, axes.yaxis)
    axes.set_xticks(10.0 ** np.arange(0, 15, 2))
    axes.set_xlabel("condition number κ of B")
    axes.set_ylabel("largest difference of P")
    axes.legend()
    return figure


@styled
def plot_energy(beta: float, X: np.ndarray, starts: np.ndarray) -> Figure:
    """The energy of two-dimensional states, with descents from ``starts`` (2024-25 Q1).

    Args:
        beta: inverse temperature.
        X: memory, (N, 2).
        starts: (K, 2).
    """
    figure = Figure(figsize=(PAGE_WIDTH, 3.3), layout="constrained")
    plane, curves = figure.subplots(1, 2)
    reach = 1.3 * max(np.abs(X).max(), np.abs(starts).max())
    grid = np.linspace(-reach, reach, 121)
    states = np.stack(np.meshgrid(grid, grid), axis=-1)
    plane.contourf(grid, grid, hopfield.energy(states, X, beta), levels=25, cmap="viridis")
    for start, colour in zip(starts, cycle(OKABE_ITO[1:])):
        descent = hopfield.descend(start, X, beta)
        plane.plot(*descent.states.T, ".-", color=colour, linewidth=1.2)
        curves.plot(descent.energies, ".-", color=colour)
    plane.plot(*X.T, "w*", markersize=11, markeredgecolor="black")
    plane.set_aspect("equal")
    plane.set_title(f"energy, β = {beta:g}; stars: stored")
    curves.set_title("energy along each descent")
    curves.set_xlabel("update")
    return figure


@styled
def plot_storage(
    patterns: np.ndarray, share: float = 0.2, betas: Sequence[float] = (0.005, 0.03, 0.2)
) -> Figure:
    """Stored pictures, corrupted ones, and what each network makes of them (2024-25 Q1).

    Pictures resemble each other, and for patterns that do the classic network forgets long before
    0.14·D of them: it falls into mixtures, where the modern one with a large β returns each.

    Args:
        patterns: pictures of −1 and 1, (N, height, width).
        share: share of the pixels that are flipped.
        betas: inverse temperatures of the modern network.
    """
    X = patterns.reshape(len(patterns), -1).astype(float)
    noisy = hopfield.corrupt(X, share)
    weights = hopfield.hebbian_weights(X)
    rows = [("stored", X), (f"{share:.0%} flipped", noisy)]
    rows += [(f"β = {beta:g}", hopfield.descend(noisy, X, beta).states[-1]) for beta in betas]
    rows.append(
        ("classic", np.stack([hopfield.classic_descend(q, weights).states[-1] for q in noisy]))
    )
    cell = (PAGE_WIDTH - 0.7) / len(X)
    height = cell * patterns.shape[1] / patterns.shape[2] * len(rows) + 0.2
    figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
    axes = figure.subplots(len(rows), len(X), squeeze=False)
    for row, (label, states) in enumerate(rows):
        for column, state in enumerate(states):
            axes[row, column].imshow(
                state.reshape(patterns.shape[1:]), cmap="gray_r", vmin=-1, vmax=1
            )
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(True)  # white pictures on white paper
    return figure


@styled
def plot_retrieval(patterns: np.ndarray, shares: Sequence[float] = (0.1, 0.3, 0.4)) -> Figure:
    """Share of patterns retrieved against β, for several corruptions (2024-25 Q1).

    Args:
        patterns: pictures of −1 and 1, (N, height, width).
        shares: shares of flipped pixels.
    """
    X = patterns.reshape(len(patterns), -1).astype(float)
    betas = np.geomspace(1e-3, 1, 40)
    figure = Figure(figsize=(PAGE_WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for share, style in zip(shares, ("-", "--", ":", "-."), strict=False):
        found = np.mean(
            [
                hopfield.retrieval_by_beta(X, hopfield.corrupt(X, share, seed), betas)
                for seed in range(5)
            ],
            axis=0,
        )
        axes.semilogx(betas, found, style, label=f"{share:.0%} flipped")
    attention_beta = 1 / np.sqrt(X.shape[1])
    axes.axvline(attention_beta, color=GREY, linewidth=1)
    axes.text(attention_beta * 1.05, 0.03, "1/√D", color=GREY)
    _plain_ticks(axes.xaxis)
    axes.set_xlabel("inverse temperature β")
    axes.set_ylabel("share retrieved")
    axes.legend()
    return figure


def _plain_ticks(*axes: Axis) -> None:
    """Label a logarithmic axis with plain numbers, which need no mathematical typesetting."""
    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
