"""Plots of texts: where a decoder looked, and its best and worst examples."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from hw2_keras.errors import UsageError
from hw2_keras.plots.style import GREY, PAGE_WIDTH, styled


class ExampleRow(NamedTuple):
    """One example of a sequence model; `group` is "best", "median" or "worst"."""

    group: str
    source: str
    target: str
    prediction: str
    score: float


@styled
def attention_map(
    weights: np.ndarray, source_tokens: Sequence[str], target_tokens: Sequence[str]
) -> Figure:
    """Where the decoder looked in the source for each target token.

    `weights` (T_out, T_in), rows sum to 1; a space among the tokens is drawn as "␣". Raises
    `UsageError` where weights and tokens disagree.
    """
    expected = (len(target_tokens), len(source_tokens))
    if weights.shape != expected:
        raise UsageError(f"attention {weights.shape}: expected {expected}, target by source tokens")
    cell = min(0.32, (PAGE_WIDTH - 1.6) / expected[1])
    size = (max(cell * expected[1] + 1.6, 3.0), max(cell * expected[0] + 1.0, 2.0))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    labels = [
        [token.replace(" ", "␣") for token in side] for side in (source_tokens, target_tokens)
    ]
    font = min(11, 72 * cell * 0.75)
    upright = 0 if max(map(len, labels[0]), default=0) <= 4 else 90
    axes.set_xticks(range(expected[1]), labels[0], fontsize=font, rotation=upright, va="baseline")
    axes.set_yticks(range(expected[0]), labels[1], fontsize=font)
    axes.tick_params(axis="x", pad=5)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("source")
    axes.set_ylabel("target")
    figure.colorbar(picture, label="attention", ticks=[0, 0.5, 1])
    return figure


@styled
def examples_table(rows: Sequence[ExampleRow], metric: str = "score") -> Figure:
    """A table of examples, best, median and worst; `metric` heads the column of scores."""
    heads = ("", "source", "truth", "prediction", metric)
    starts = (0.0, 0.1, 0.37, 0.64, 0.91)
    characters = (9, 23, 23, 23, 8)
    texts = [heads] + [(*row[:4], f"{row.score:.3f}") for row in rows]
    cells = [
        [textwrap.wrap(text, width) for text, width in zip(row, characters, strict=True)]
        for row in texts
    ]
    heights = [max(map(len, row)) + 0.7 for row in cells]
    figure = Figure(figsize=(PAGE_WIDTH, 0.14 * sum(heights) + 0.05))
    axes = figure.add_axes((0.01, 0, 0.98, 1), xlim=(0, 1), ylim=(sum(heights) + 0.3, 0))
    axes.set_axis_off()
    top = 0.0
    for number, (row, height) in enumerate(zip(cells, heights, strict=True)):
        weight = "bold" if number == 0 else "normal"
        for start, lines in zip(starts, row, strict=True):
            for below, line in enumerate(lines, start=1):
                axes.text(start, top + below + 0.1, line, fontsize=8, weight=weight)
        top += height
        ends_group = number in (0, len(rows)) or rows[number].group != rows[number - 1].group
        axes.axhline(top, color=GREY, linewidth=0.8 if ends_group else 0.2)
    return figure
