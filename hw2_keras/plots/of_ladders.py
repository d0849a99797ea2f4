"""The plot of a ladder: what each idea gave, from the homework upward."""

from collections.abc import Sequence
from textwrap import fill
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from hw2_keras.errors import UsageError
from hw2_keras.plots.style import GREY, OKABE_ITO, PAGE_WIDTH, axis_label, styled

COLOURS = {"better": OKABE_ITO[0], "worse": OKABE_ITO[1]}  # of a rung's marker; else grey
WIDEST = 28  # characters in a line of an idea


class Step(NamedTuple):
    """One rung: its idea, the metric of each seed, what is said of its gain, and its seconds."""

    idea: str
    values: Sequence[float]
    judgement: str
    seconds: float


@styled
def ladder_plot(steps: Sequence[Step], metric: str, title: str) -> Figure:
    """Mean and standard deviation of every rung, the lowest one at the bottom; seeds are dots.

    A filled marker is a sure gain, an open one is none. Raises `UsageError` without steps.
    """
    if not steps:
        raise UsageError("no rung to draw: expected at least one")
    figure = Figure(figsize=(PAGE_WIDTH, 0.55 * len(steps) + 1.1), layout="constrained")
    figure.suptitle(f"ladder {title}: one idea a rung, {len(steps[-1].values)} seeds")
    axes = figure.subplots()
    means = [float(np.mean(step.values)) for step in steps]
    axes.plot(means, range(len(steps)), color=GREY, linewidth=0.8, zorder=1)
    for height, (step, mean) in enumerate(zip(steps, means, strict=True)):
        colour = COLOURS.get(step.judgement, GREY)
        spread = np.std(step.values, ddof=1) if len(step.values) > 1 else 0.0
        face = colour if step.judgement in COLOURS else "white"
        axes.errorbar(
            *(mean, height), xerr=spread, fmt="o", color=colour, mfc=face, markersize=7, capsize=3
        )
        axes.plot(step.values, [height - 0.25] * len(step.values), ".", color=colour, alpha=0.6)
        said = f"{mean:.4f}, {step.seconds:.0f} s"
        said += f"\n{step.judgement}" if step.judgement else ""
        axes.annotate(
            *(said, (1.01, height)),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(steps)), [fill(step.idea, WIDEST) for step in steps])
    axes.set_ylim(-0.6, len(steps) - 0.4)
    axes.set_xlabel(axis_label(metric))
    axes.grid(axis="x", alpha=0.3)
    return figure
