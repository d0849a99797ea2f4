"""Plots of images, filters, activation maps and what a captioner looks at."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from math import ceil, isqrt

import numpy as np
from matplotlib.figure import Figure

from hw2_keras.errors import UsageError
from hw2_keras.plots.style import GREY, PAGE_WIDTH, bare, cells, show, styled


@styled
def filters(kernel: np.ndarray, channel: int = 0) -> Figure:
    """The filters of a convolution, 8 per row, scaled by the layer's extremes (SPEC, fashion_cnn).

    `kernel` (kh, kw, c_in, c_out); `channel`: the input channel to show. The scale is that of the
    whole kernel, all input channels included. Raises `UsageError` for another shape or channel.
    """
    if kernel.ndim != 4 or not 0 <= channel < kernel.shape[2]:
        raise UsageError(
            f"no channel {channel} in a kernel {kernel.shape}: expected (kh, kw, c_in, c_out)"
        )
    height, width, channels, count = kernel.shape
    low, high = float(kernel.min()), float(kernel.max())
    scaled = (kernel - low) / max(high - low, np.finfo(np.float32).tiny)
    rows = ceil(count / 8)
    figure = Figure(figsize=(PAGE_WIDTH, 0.65 * rows + 0.6), layout="constrained")
    figure.suptitle(f"{count} filters {height}x{width}, input channel {channel} of {channels}")
    places = cells(figure.subplots(rows, 8, squeeze=False), count)
    for axes, index in places:
        picture = axes.imshow(scaled[:, :, channel, index], cmap="gray", vmin=0, vmax=1)
        bare(axes)
    bar = figure.colorbar(
        picture, ax=[axes for axes, _ in places], ticks=[0, 1], fraction=0.04, aspect=10 * rows
    )
    bar.ax.set_yticklabels([f"{low:.2f}", f"{high:.2f}"])
    bar.set_label("weight")
    return figure


@styled
def activation_maps(image: np.ndarray, maps: Mapping[float, np.ndarray]) -> Figure:
    """An original example beside the maps of a convolution, for each rate (SPEC, kmnist_cnn).

    `image` (H, W, C) uint8; `maps`: learning rate -> activations before the ReLU (H, W, F), 8 maps
    in a 2x4 grid, more in rows of 8. One scale per rate, symmetric about 0: what the ReLU
    lets through is red. Raises `UsageError` for other shapes.
    """
    sizes = [_map_grid(stack) for stack in maps.values()]
    # inches: the maps share a width of 3.6, the original is 1.4 square, the heading takes 0.4
    heights = [max(rows * 3.6 / columns, 1.4) + 0.4 for rows, columns in sizes]
    figure = Figure(figsize=(PAGE_WIDTH, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(maps), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (rate, stack) in zip(parts, maps.items(), strict=True):
        rows, columns = _map_grid(stack)
        part.suptitle(f"learning rate {rate:g}", fontsize=9)
        spec = part.add_gridspec(rows, columns + 1, width_ratios=[1.4] + [3.6 / columns] * columns)
        original = part.add_subplot(spec[:, 0])
        show(original, image)
        original.set_xlabel("original")
        grid = np.empty((rows, columns), dtype=object)
        for row, column in np.ndindex(rows, columns):
            grid[row, column] = part.add_subplot(spec[row, column + 1])
        limit = max(float(np.abs(stack).max()), np.finfo(np.float32).tiny)
        places = cells(grid, stack.shape[-1])
        for axes, index in places:
            picture = axes.imshow(stack[..., index], cmap="RdBu_r", vmin=-limit, vmax=limit)
            bare(axes)
        parents = [axes for axes, _ in places]
        part.colorbar(picture, ax=parents, label="activation", fraction=0.05)
    return figure


@styled
def confusion_matrix(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Counts, coloured by their share of the true class.

    `matrix` (K, K) of counts, rows the truth, columns the prediction; `classes`: K names. Raises
    `UsageError` where the two disagree.
    """
    count = len(classes)
    if matrix.shape != (count, count):
        raise UsageError(
            f"confusion matrix {matrix.shape}: expected {(count, count)} for {count} classes"
        )
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(PAGE_WIDTH, 1.5 + 0.42 * count), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(count, count):
        colour = "white" if share[row, column] > 0.5 else "black"
        number = f"{matrix[row, column]:d}"
        axes.text(column, row, number, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(count), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{int(np.trace(matrix))} of {int(matrix.sum())} right")
    figure.colorbar(picture, label="share of the true class")
    return figure


@styled
def misclassified(
    images: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    count: int = 16,
) -> Figure:
    """The mistakes that the model was surest of, the surest first.

    `images` (N, H, W, C) uint8; `truth` and `predicted` (N,) class ids; `probabilities` (N, K);
    at most `count` (default 16) are shown, four per row.
    """
    sureness = probabilities[np.arange(len(predicted)), predicted]
    wrong = np.flatnonzero(truth != predicted)
    shown = wrong[np.argsort(-sureness[wrong], kind="stable")][:count]
    rows = ceil(len(shown) / 4)
    figure = Figure(figsize=(PAGE_WIDTH, 1.7 * rows + 0.4), layout="constrained")
    figure.suptitle(f"The surest {len(shown)} of {len(wrong)} mistakes in {len(truth)} images")
    grid = figure.subplots(rows, 4, squeeze=False) if rows else np.empty((0, 4), dtype=object)
    for axes, index in cells(grid, len(shown)):
        example = shown[index]
        show(axes, images[example])
        said = f"{classes[predicted[example]]} {sureness[example]:.0%}"
        axes.set_title(f"true: {classes[truth[example]]}\nsaid: {said}", fontsize=8)
    return figure


@styled
def captioned_images(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    references: Sequence[Sequence[str]] | None = None,
) -> Figure:
    """Images, each beside its generated caption and, if given, its references.

    `images`: (H, W, 3) uint8 each; `references`: the captions that people wrote, per image. Raises
    `UsageError` where the numbers differ.
    """
    known = [()] * len(images) if references is None else references
    if not len(images) == len(captions) == len(known):
        raise UsageError(
            f"{len(images)} images, {len(captions)} captions, {len(known)} lists of references:"
            " expected as many of each"
        )
    figure = Figure(figsize=(PAGE_WIDTH, 1.9 * len(images)), layout="constrained")
    grid = figure.subplots(len(images), 2, squeeze=False, width_ratios=[1, 2.3])
    for (left, right), image, caption, written in zip(grid, images, captions, known, strict=True):
        show(left, image)
        right.set_axis_off()
        bold = textwrap.fill(caption, 46)
        right.text(0, 1, bold, va="top", fontsize=9, weight="bold", transform=right.transAxes)
        lines = "\n".join(textwrap.fill(text, 68, subsequent_indent="   ") for text in written)
        # 9-point lines of 1.2 points per point, in an axes 1.8 inches high
        below = 1 - (bold.count("\n") + 1) * 9 * 1.3 / 72 / 1.8 - 0.03
        right.text(
            0,
            below,
            lines,
            va="top",
            fontsize=7.5,
            color=GREY,
            transform=right.transAxes,
        )
    return figure


@styled
def caption_attention(image: np.ndarray, words: Sequence[str], weights: np.ndarray) -> Figure:
    """Where the captioner looked for each word, over the image.

    `image` (H, W, 3) uint8; `weights` (T, P) for T words and P positions, row-major in a square
    (16x16 in the course). Bright is where it looked; each word has its own scale, from 0 to the
    peak written under it (even attention would be 1/P). Raises `UsageError` for other shapes.
    """
    side = isqrt(weights.shape[-1])
    if weights.shape != (len(words), side * side):
        raise UsageError(
            f"attention {weights.shape}: expected ({len(words)} words, a square number)"
        )
    height, width = image.shape[:2]
    columns = 5
    rows = ceil((len(words) + 1) / columns)
    figure = Figure(figsize=(PAGE_WIDTH, 1.55 * rows), layout="constrained")
    places = cells(figure.subplots(rows, columns, squeeze=False), len(words) + 1)
    show(places[0][0], image)
    places[0][0].set_title("image")
    shade = np.broadcast_to(image.mean(axis=-1, keepdims=True), (height, width, 3)).astype(np.uint8)
    for (axes, _), word, row in zip(places[1:], words, weights, strict=True):
        show(axes, shade)
        axes.imshow(
            row.reshape(side, side),
            cmap="inferno",
            alpha=0.5,
            vmin=0,
            vmax=row.max(),
            interpolation="bilinear",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
        axes.set_title(word)
        axes.set_xlabel(f"peak {row.max():.2g}", fontsize=7.5, labelpad=2)
    return figure


def _map_grid(stack: np.ndarray) -> tuple[int, int]:
    """Rows and columns: 8 maps in 2x4 as in the SPEC, 16 in 2x8, 32 in 4x8."""
    if stack.ndim != 3:
        raise UsageError(f"activation maps {stack.shape}: expected (H, W, number of maps)")
    columns = min(ceil(stack.shape[-1] / 2), 8)
    return ceil(stack.shape[-1] / columns), columns
