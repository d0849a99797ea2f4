"""Plots of histories: curves over the epochs, over rates, over seeds, over widths of a beam.

A *history* is a mapping from column to one number per epoch: `epoch`, `loss` (mean over the
batches of the epoch), `running_loss` (mean over all batches since epoch 1, which the course plots
as its training loss) and one validation metric (`val_accuracy`, `val_error_rate`, `val_cer` or
`val_bleu4`).
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from hw2_keras.errors import UsageError
from hw2_keras.experiments import Reported
from hw2_keras.metrics import METRICS
from hw2_keras.plots.style import GREY, MARKERS, OKABE_ITO, PAGE_WIDTH, axis_label, cells, styled

History = Mapping[str, Sequence[float]]


REPORT_STYLES = (":", "-.", (0, (1, 3)), (0, (6, 3)), (0, (6, 2, 1, 2)))
LOSSES = ("loss", "running_loss")


class BeamRow(NamedTuple):
    """One measurement of beam search; several rows that differ in `value` alone are seeds."""

    experiment: str
    metric: str  # such as "test_cer"
    num_beams: int
    length_normalisation: bool
    value: float


@styled
def curves(history: History, title: str, reference: Sequence[Reported] = ()) -> Figure:
    """Training loss, both kinds of it, and the validation metric per epoch (SPEC, common protocol).

    `reference`: reported values, drawn as horizontal lines; those of metrics that the figure does
    not show (a test accuracy, say) are left out. Raises `UsageError` for a missing column.
    """
    metric = _validation_metric(history)
    figure = Figure(figsize=(PAGE_WIDTH, 3.2), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    left.plot(*_points(history, "loss"), "o-", label="mean of the epoch")
    # hollow: both are the same number at epoch 1, and a short run may have no other
    hollow = {"fillstyle": "none", "markersize": 6, "label": "running mean since epoch 1"}
    left.plot(*_points(history, "running_loss"), "s--", **hollow)
    right.plot(*_points(history, metric), "o-", label="this run")
    for axes, columns in ((left, LOSSES), (right, (metric,))):
        here = [r for r in reference if r.metric in columns]
        for entry, style in zip(here, REPORT_STYLES, strict=False):
            name = f"report {entry.report}: {entry.value:.4g}"
            axes.axhline(entry.value, color=GREY, linestyle=style, linewidth=1.2, label=name)
        _epoch_axis(axes)
        _legend_below(axes)
    left.set_ylabel("training loss")
    right.set_ylabel(axis_label(metric))
    return figure


@styled
def sweep_curves(
    histories: Mapping[float, History], best: float, reported: Sequence[Reported] = ()
) -> Figure:
    """Both training losses (logarithmic) and the validation metric of every learning rate.

    `histories`: learning rate -> history; `best`: the rate to emphasise; `reported`: values to draw
    as horizontal lines in the colour of their rate, grey without one. A rate whose loss stopped
    being finite is marked as diverged. Raises `UsageError` where `best` is not among the rates.
    """
    if best not in histories:
        known = ", ".join(f"{rate:g}" for rate in histories)
        raise UsageError(f"best rate {best:g} has no history: give one of {known}")
    metric = _validation_metric(histories[best])
    figure = Figure(figsize=(PAGE_WIDTH, 5.4), layout="constrained")
    panels = figure.subplot_mosaic([["loss", "running_loss"], [metric, metric]])
    colours = {}
    for index, (rate, history) in enumerate(histories.items()):
        colours[rate] = OKABE_ITO[index % len(OKABE_ITO)]
        look = {"color": colours[rate], "marker": MARKERS[index % len(MARKERS)]}
        look["linewidth"] = 2.4 if rate == best else 1.2
        name = f"learning rate {rate:g}" + (" (best)" if rate == best else "")
        if not np.all(np.isfinite(_points(history, "loss")[1])):
            name += " (diverged)"
        for column, axes in panels.items():
            axes.plot(*_points(history, column), label=name, **look)
    styles = _reported_lines(panels, reported, colours)
    for column, axes in panels.items():
        _epoch_axis(axes)
        title = METRICS[column].title if column in LOSSES else axis_label(column)
        axes.set_title(title[0].upper() + title[1:])
        if column != metric:
            _log_axis(axes)
    handles = panels[metric].get_legend_handles_labels()[0] + [
        Line2D([], [], color=GREY, linestyle=style, label=f"report {report}")
        for report, style in styles.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@styled
def metric_curves(
    histories: Mapping[str, History | Sequence[History]], metric: str = "val_cer"
) -> Figure:
    """A validation metric per epoch of several models in one figure (SPEC, Question 3).

    `histories`: name -> one history, or one per seed, drawn as mean and a band of one sample
    standard deviation to either side. Raises `UsageError` for seeds of unequal length.
    """
    figure = Figure(figsize=(PAGE_WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for index, (name, given) in enumerate(histories.items()):
        runs = [given] if isinstance(given, Mapping) else list(given)
        points = [_points(run, metric) for run in runs]
        if len({tuple(epochs) for epochs, _ in points}) != 1:
            raise UsageError(
                f"seeds of {name} have different epochs: finish or leave out some runs"
            )
        values = np.array([values for _, values in points])
        label = name if len(runs) == 1 else f"{name} (mean of {len(runs)} seeds ± 1 s.d.)"
        _mean_and_band(axes, points[0][0], values.T, label, index)
    _epoch_axis(axes)
    axes.set_ylabel(axis_label(metric))
    axes.legend()
    return figure


@styled
def beam_plot(rows: Sequence[BeamRow]) -> Figure:
    """A metric against the width of the beam, length normalisation on and off.

    One panel per experiment and metric, in order of appearance, three per row; seeds become a mean
    with a band of one sample standard deviation. Raises `UsageError` without rows.
    """
    if not rows:
        raise UsageError("no rows to draw: expected at least one beam-search measurement")
    panels = list(dict.fromkeys((row.experiment, row.metric) for row in rows))
    columns = min(len(panels), 3)
    lines = ceil(len(panels) / columns)
    figure = Figure(figsize=(PAGE_WIDTH, 2.2 * lines + 0.5), layout="constrained")
    for axes, index in cells(figure.subplots(lines, columns, squeeze=False), len(panels)):
        experiment, metric = panels[index]
        here = [row for row in rows if (row.experiment, row.metric) == panels[index]]
        for number, normalised in enumerate((True, False)):
            chosen = [row for row in here if row.length_normalisation == normalised]
            widths = sorted({row.num_beams for row in chosen})
            values = [[row.value for row in chosen if row.num_beams == w] for w in widths]
            label = f"length normalisation {'on' if normalised else 'off'}"
            _mean_and_band(axes, widths, values, label, number)
        axes.set_xscale("log")
        widths = sorted({row.num_beams for row in here})
        axes.set_xticks(widths, [str(width) for width in widths])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(experiment)
        axes.set_xlabel("beam width")
        axes.set_ylabel(axis_label(metric), fontsize=8)
    handles = figure.axes[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _validation_metric(history: History) -> str:
    known = [f"val_{name}" for name, each in METRICS.items() if each.higher_is_better is not None]
    for metric in known:
        if metric in history:
            return metric
    raise UsageError(f"no validation metric in the history: expected one of {', '.join(known)}")


def _points(history: History, column: str) -> tuple[Sequence[float], Sequence[float]]:
    for name in ("epoch", column):
        if name not in history:
            raise UsageError(f"no column {name} in the history: it has {', '.join(history)}")
    return history["epoch"], history[column]


def _mean_and_band(
    axes: Axes,
    x: Sequence[float],
    values: Sequence[Sequence[float]],
    label: str,
    index: int,
) -> None:
    """Draw the mean of `values[i]` at each `x[i]`; the band needs two values or more."""
    mean = np.array([np.mean(v) for v in values])
    spread = np.array([np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in values])
    colour = OKABE_ITO[index % len(OKABE_ITO)]
    marker, style = MARKERS[index % len(MARKERS)], "-" if index % 2 == 0 else "--"
    axes.plot(x, mean, label=label, color=colour, marker=marker, linestyle=style)
    if spread.any():
        axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)


def _reported_lines(
    panels: Mapping[str, Axes],
    reported: Sequence[Reported],
    colours: Mapping[float, str],
) -> dict[str, str | tuple]:
    """Draw the reported values of the panels' metrics; return the line style of each report."""
    drawn = [entry for entry in reported if entry.metric in panels]
    reports = dict.fromkeys(entry.report for entry in drawn)
    styles = dict(zip(reports, REPORT_STYLES, strict=False))
    for entry in drawn:
        colour = colours.get(entry.learning_rate, GREY)
        panels[entry.metric].axhline(
            entry.value,
            color=colour,
            linestyle=styles[entry.report],
            linewidth=1.2,
            zorder=1,
        )
    return styles


def _epoch_axis(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", alpha=0.3)


def _log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _legend_below(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), borderaxespad=0)
