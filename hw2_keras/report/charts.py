"""Line charts and a dot plot as plain numbers; ``charts.html.jinja`` draws them as inline SVG.

They follow the reader's colours and need no library.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 440, 270  # user units; the page scales the drawing
LEFT, RIGHT, TOP, BOTTOM = 46, 84, 12, 36
LINE_HEIGHT = 12  # least distance between the labels of two levels
COLOURS = 7  # the page defines .line-0 to .line-6

DOTS_WIDTH, DOTS_LEFT, DOTS_RIGHT = 360, 116, 12
DOT = 9  # user units from one dot to the next where they stand close
LINEAR_UP_TO = 0.03  # relative difference where the dot plot's axis turns logarithmic
FARTHEST = 10.0  # relative difference at the edge of the dot plot


class Line(NamedTuple):
    """One curve; points that are not finite interrupt it."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int


class Level(NamedTuple):
    """A horizontal reference line with its label at the right edge."""

    label: str
    value: float
    colour: int


class Tick(NamedTuple):
    """A place on an axis, in user units, and what is written there."""

    place: float
    label: str


class Curve(NamedTuple):
    """A line as the ``d`` of an SVG path."""

    label: str
    path: str
    colour: int


class Reference(NamedTuple):
    """A level's height and that of its label, in user units."""

    label: str
    y: float
    label_y: float
    colour: int


class Chart(NamedTuple):
    """A line chart, ready to be drawn."""

    title: str
    epochs: list[Tick]
    ticks: list[Tick]
    references: list[Reference]
    curves: list[Curve]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


class Dot(NamedTuple):
    """One relative difference of a dot plot, positive to the right, and how it is judged."""

    label: str
    value: float
    verdict: str


class Placed(NamedTuple):
    """A dot in user units."""

    label: str
    x: float
    y: float
    verdict: str


class DotRow(NamedTuple):
    """A row of a dot plot in user units: its name, the line below it and its dots."""

    name: str
    remark: str
    y: float
    end: float
    dots: list[Placed]


class DotPlot(NamedTuple):
    """A dot plot, ready to be drawn."""

    title: str
    ticks: list[Tick]
    rows: list[DotRow]
    height: float
    zero: float
    width: int = DOTS_WIDTH
    left: int = DOTS_LEFT
    right: int = DOTS_WIDTH - DOTS_RIGHT


def chart(
    lines: Sequence[Line], levels: Sequence[Level], title: str, logarithmic: bool = False
) -> Chart:
    """Lays curves out over the epoch.

    Args:
        lines: the curves, at least one with a finite point.
        levels: reference lines; they are part of the range of the axis.
        title: says what is drawn, for readers who do not see it.
        logarithmic: of the vertical axis; its values must be positive.
    """
    values = [y for line in lines for y in line.y if math.isfinite(y)]
    values += [level.value for level in levels]
    low, high = padded(min(values), max(values), logarithmic)
    last = max(max(line.x) for line in lines)
    scale = math.log if logarithmic else float

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - 1) / max(last - 1, 1)

    def down(y: float) -> float:
        share = (scale(y) - scale(low)) / (scale(high) - scale(low))
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)

    ticks = log_ticks(low, high) if logarithmic else []
    if len(ticks) < 2:  # also where the range is too narrow for round powers
        ticks = linear_ticks(low, high)
    curves = []
    for line in lines:
        points = zip(line.x, line.y, strict=True)
        path = _path([(across(x), down(y) if math.isfinite(y) else None) for x, y in points])
        curves.append(Curve(line.label, path, line.colour % COLOURS))
    return Chart(
        title,
        [Tick(across(tick), str(tick)) for tick in epoch_ticks(last)],
        [Tick(down(tick), f"{tick:g}") for tick in ticks],
        _references(levels, down),
        curves,
    )


def dot_plot(rows: Sequence[tuple[str, str, Sequence[Dot]]], title: str) -> DotPlot:
    """Lays relative differences out, one row of dots after the other.

    The axis is linear near zero and logarithmic beyond, so that 1 % and 700 % are both seen; what
    is farther than its edge stands at the edge.

    Args:
        rows: name, remark and dots of each row, at least one row.
        title: says what is drawn, for readers who do not see it.
    """
    values = [dot.value for _, _, dots in rows for dot in dots]
    low, high = min([-0.1, *values]), max([0.1, *values])

    def scale(value: float) -> float:
        return math.asinh(max(-FARTHEST, min(FARTHEST, value)) / LINEAR_UP_TO)

    def across(value: float) -> float:
        share = (scale(value) - scale(low)) / (scale(high) - scale(low))
        return DOTS_LEFT + DOT + (DOTS_WIDTH - DOTS_LEFT - DOTS_RIGHT - 2 * DOT) * share

    placed, top = [], 4.0
    for name, remark, dots in rows:
        lanes = _lanes([across(dot.value) for dot in dots])
        height = DOT * (max(lanes, default=0) + 1) + 9
        height = max(height, 30 if remark else 18)
        middle = top + height / 2 - DOT * max(lanes, default=0) / 2
        found = [
            Placed(dot.label, across(dot.value), middle + DOT * lane, dot.verdict)
            for dot, lane in zip(dots, lanes, strict=True)
        ]
        placed.append(DotRow(name, remark, top + height / 2, top + height, found))
        top += height
    ticks = [tick for tick in (-10, -1, -0.1, 0, 0.1, 1, 10) if low <= tick <= high]
    labelled = [Tick(across(tick), f"{tick:+.0%}" if tick else "0") for tick in ticks]
    return DotPlot(title, labelled, placed, top + 34, across(0))


def padded(low: float, high: float, logarithmic: bool = False) -> tuple[float, float]:
    """A range a little wider than its values, so that no curve lies on the frame."""
    if logarithmic:
        return low / 1.1, high * 1.1
    margin = 0.04 * (high - low)
    if margin < 1e-9 * max(abs(low), abs(high), 1e-9):  # constant, as far as floats can tell
        margin = max(0.5, abs(high) / 2)
    return low - margin, high + margin


def linear_ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers within the range."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = max(factor * power for factor in (1, 2, 2.5, 5) if factor * power <= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(k * step, 12) for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 3, 5 and 7 times powers of ten within the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 3, 5, 7)]
    return [float(f"{tick:.6g}") for tick in ticks if low <= tick <= high]


def epoch_ticks(last: float) -> list[int]:
    """The first epoch and round ones up to the last."""
    steps = (step * 10**power for power in itertools.count() for step in (1, 2, 5))
    step = next(step for step in steps if last / step <= 8)
    # the second tick only where its label does not touch the first
    return [1] + [epoch for epoch in range(step, int(last) + 1, step) if epoch - 1 > 0.6 * step]


def spread_out(heights: Sequence[float], distance: float, limit: float) -> list[float]:
    """Moves labels at the given heights apart until none are nearer than the distance.

    Args:
        heights: where the labels belong; they keep their order.
        distance: smallest gap between two labels.
        limit: the largest height that a label may have.
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = list(heights)
    for before, after in itertools.pairwise(order):
        placed[after] = max(placed[after], placed[before] + distance)
    bound = limit
    for i in reversed(order):
        placed[i] = min(placed[i], bound)
        bound = placed[i] - distance
    return placed


def _references(levels: Sequence[Level], down: Callable[[float], float]) -> list[Reference]:
    heights = [down(level.value) for level in levels]
    placed = spread_out(heights, LINE_HEIGHT, HEIGHT - BOTTOM)
    return [
        Reference(level.label, y, label_y, level.colour % COLOURS)
        for level, y, label_y in zip(levels, heights, placed, strict=True)
    ]


def _lanes(places: Sequence[float]) -> list[int]:
    """A lane for each dot, so that no two in one lane touch."""
    ends: list[float] = []  # of each lane, from left to right
    lanes = [0] * len(places)
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        free = (lane for lane, end in enumerate(ends) if places[i] - end >= DOT)
        lanes[i] = next(free, len(ends))
        ends[lanes[i] : lanes[i] + 1] = [places[i]]
    return lanes


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    drawn, pen_is_up = [], True
    for x, y in points:
        if y is not None:
            drawn.append(f"{'M' if pen_is_up else 'L'}{x:.1f} {y:.1f}")
        pen_is_up = y is None
    return "".join(drawn)
