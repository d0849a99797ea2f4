"""Every figure of the homework, from arrays and histories to PNG and PDF.

Each function takes plain arrays or histories and returns a `matplotlib.figure.Figure`; `save`
writes it. Nothing here knows pyplot, Keras or a run folder. Colours are those of Okabe and Ito
("Color Universal Design", 2008), and figures are as wide as an A4 text block, so that their 9-point
labels are as large as the text around them.

A *history* is a mapping from column to one number per epoch: `epoch`, `loss` (mean over the
batches of the epoch), `running_loss` (mean over all batches since epoch 1, which the course plots
as its training loss) and one validation metric (`val_accuracy`, `val_error_rate`, `val_cer` or
`val_bleu4`).
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from math import ceil, isqrt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import matplotlib
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
from PIL import Image

from hw2_keras.errors import UsageError

if TYPE_CHECKING:
    from hw2_keras.experiments import Reported

History = Mapping[str, Sequence[float]]

# blue, vermillion, green, purple, orange, sky blue, black; yellow is too pale on white paper
OKABE_ITO = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
GREY = "#595959"
MARKERS = "os^Dv<>"
REPORT_STYLES = (":", "-.", (0, (1, 3)), (0, (6, 3)), (0, (6, 2, 1, 2)))

PAGE_WIDTH = 6.3  # inches: A4 less two margins of 25 mm
DPI = 150

VALIDATION_METRICS = ("val_accuracy", "val_error_rate", "val_cer", "val_bleu4")
LOSSES = {
    "loss": "training loss, mean of the epoch",
    "running_loss": "training loss, running mean since epoch 1",
}
SPLITS = {"val": "validation", "test": "test"}
METRICS = {
    "accuracy": "accuracy",
    "error_rate": "error rate (lower is better)",
    "cer": "CER (lower is better)",
    "wer": "WER (lower is better)",
    "bleu4": "BLEU-4",
}

styled = matplotlib.rc_context(
    {
        "font.family": "DejaVu Sans",  # ships with matplotlib and covers the IPA
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "figure.titlesize": 10,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": matplotlib.cycler(color=OKABE_ITO),
        "lines.linewidth": 1.5,
        "lines.markersize": 3,
        "text.parse_math": False,  # a "$" in a caption is a dollar
    }
)


class BeamRow(NamedTuple):
    """One measurement of beam search; several rows that differ in `value` alone are seeds."""

    experiment: str
    metric: str  # such as "test_cer"
    num_beams: int
    length_normalisation: bool
    value: float


class ExampleRow(NamedTuple):
    """One example of a sequence model; `group` is "best", "median" or "worst"."""

    group: str
    source: str
    target: str
    prediction: str
    score: float


def save(figure: Figure, path_without_suffix: str | Path) -> tuple[Path, Path]:
    """Write `figure` as PNG (150 dots per inch) and PDF and return both paths.

    Neither the date nor the library's version is written, so the same figure gives the same bytes.
    Missing folders are made. A file appears complete or not at all: it is written beside its place
    and moved there. Raises `UsageError` where the folder is not writable or the disk is full.
    """
    nothing = {
        "png": {},
        "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    }
    # not Path.with_suffix, which would cut "curves_0.01" at its dot
    paths = {kind: Path(f"{path_without_suffix}.{kind}") for kind in nothing}
    contents = {kind: _render(figure, kind, metadata) for kind, metadata in nothing.items()}
    for kind, path in paths.items():
        _write_atomically(path, contents[kind])
    return paths["png"], paths["pdf"]


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
    left.plot(*_points(history, "running_loss"), "s--", label="running mean since epoch 1")
    right.plot(*_points(history, metric), "o-", label="this run")
    for axes, columns in ((left, tuple(LOSSES)), (right, (metric,))):
        here = [r for r in reference if r.metric in columns]
        for entry, style in zip(here, REPORT_STYLES, strict=False):
            name = f"report {entry.report}: {entry.value:.4g}"
            axes.axhline(entry.value, color=GREY, linestyle=style, linewidth=1.2, label=name)
        _epoch_axis(axes)
        _legend_below(axes)
    left.set_ylabel("training loss")
    right.set_ylabel(_label(metric))
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
        title = LOSSES.get(column) or _label(column)
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
    axes.set_ylabel(_label(metric))
    axes.legend()
    return figure


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
    cells = _cells(figure.subplots(rows, 8, squeeze=False), count)
    for axes, index in cells:
        picture = axes.imshow(scaled[:, :, channel, index], cmap="gray", vmin=0, vmax=1)
        _bare(axes)
    bar = figure.colorbar(
        picture, ax=[axes for axes, _ in cells], ticks=[0, 1], fraction=0.04, aspect=10 * rows
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
        _show(original, image)
        original.set_xlabel("original")
        grid = np.empty((rows, columns), dtype=object)
        for row, column in np.ndindex(rows, columns):
            grid[row, column] = part.add_subplot(spec[row, column + 1])
        limit = max(float(np.abs(stack).max()), np.finfo(np.float32).tiny)
        cells = _cells(grid, stack.shape[-1])
        for axes, index in cells:
            picture = axes.imshow(stack[..., index], cmap="RdBu_r", vmin=-limit, vmax=limit)
            _bare(axes)
        parents = [axes for axes, _ in cells]
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
    for axes, index in _cells(grid, len(shown)):
        example = shown[index]
        _show(axes, images[example])
        said = f"{classes[predicted[example]]} {sureness[example]:.0%}"
        axes.set_title(f"true: {classes[truth[example]]}\nsaid: {said}", fontsize=8)
    return figure


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
        _show(left, image)
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
    cells = _cells(figure.subplots(rows, columns, squeeze=False), len(words) + 1)
    _show(cells[0][0], image)
    cells[0][0].set_title("image")
    shade = np.broadcast_to(image.mean(axis=-1, keepdims=True), (height, width, 3)).astype(np.uint8)
    for (axes, _), word, row in zip(cells[1:], words, weights, strict=True):
        _show(axes, shade)
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


@styled
def beam_figure(rows: Sequence[BeamRow]) -> Figure:
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
    for axes, index in _cells(figure.subplots(lines, columns, squeeze=False), len(panels)):
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
        axes.set_ylabel(_label(metric), fontsize=8)
    handles = figure.axes[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
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


@styled
def _render(figure: Figure, kind: str, metadata: Mapping[str, None]) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    if kind == "pdf":
        return buffer.getvalue()
    # 256 well-spread colours take a third of the space and are within 6 of 255 in line figures
    # and colour maps, 14 in photographs; the default, median cut, merges the ends of colour maps
    picture = Image.open(buffer).convert("RGB")
    compact = BytesIO()
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        compact, format="png", optimize=True
    )
    return compact.getvalue()


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UsageError(
            f"cannot write {path}: {error.strerror}; expected a writable folder with free space,"
            " choose another one"
        ) from error


def _label(metric: str) -> str:
    split, _, name = metric.partition("_")
    return f"{SPLITS[split]} {METRICS[name]}"


def _validation_metric(history: History) -> str:
    for metric in VALIDATION_METRICS:
        if metric in history:
            return metric
    raise UsageError(
        f"no validation metric in the history: expected {', '.join(VALIDATION_METRICS)}"
    )


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


def _map_grid(stack: np.ndarray) -> tuple[int, int]:
    """Rows and columns: 8 maps in 2x4 as in the SPEC, 16 in 2x8, 32 in 4x8."""
    if stack.ndim != 3:
        raise UsageError(f"activation maps {stack.shape}: expected (H, W, number of maps)")
    columns = min(ceil(stack.shape[-1] / 2), 8)
    return ceil(stack.shape[-1] / columns), columns


def _cells(grid: np.ndarray, count: int) -> list[tuple[Axes, int]]:
    """The first `count` axes of a grid with their numbers; the others are taken off the figure."""
    for axes in grid.flat[count:]:
        axes.remove()
    return [(axes, index) for index, axes in enumerate(grid.flat[:count])]


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _show(axes: Axes, image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise UsageError(
            f"image {image.shape} {image.dtype}: expected raw pixels (H, W, 1 or 3) uint8"
        )
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    _bare(axes)
