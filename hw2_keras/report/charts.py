"""Line charts as inline SVG, for a page that follows the reader's colours and needs no library."""

import html
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 440, 270  # user units; the page scales the drawing
LEFT, RIGHT, TOP, BOTTOM = 46, 84, 12, 36
LINE_HEIGHT = 12  # least distance between the labels of two levels
COLOURS = 7  # the page defines --line-0 to --line-6


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


def chart(
    lines: Sequence[Line], levels: Sequence[Level], title: str, logarithmic: bool = False
) -> str:
    """Draws curves over the epoch as an ``<svg>`` element.

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
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        *(_horizontal_tick(down(tick), f"{tick:g}") for tick in ticks),
        *(_epoch_tick(across(tick), tick) for tick in epoch_ticks(last)),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}" class="middle">epoch</text>',
        *_reference_lines(levels, down),
    ]
    for line in lines:
        path = _path([(across(x), down(y) if math.isfinite(y) else None) for x, y in _points(line)])
        parts.append(
            f'<path d="{path}" fill="none" stroke="var(--line-{line.colour % COLOURS})" '
            f'stroke-width="1.8"><title>{html.escape(line.label)}</title></path>'
        )
    return "".join([*parts, "</svg>"])


def padded(low: float, high: float, logarithmic: bool = False) -> tuple[float, float]:
    """A range a little wider than its values, so that no curve lies on the frame."""
    if logarithmic:
        return low / 1.1, high * 1.1
    margin = 0.04 * (high - low) or 0.5
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
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 10**9) if last / step <= 8)
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


def _reference_lines(levels: Sequence[Level], down: Callable[[float], float]) -> list[str]:
    heights = [down(level.value) for level in levels]
    placed = spread_out(heights, LINE_HEIGHT, HEIGHT - BOTTOM)
    right = WIDTH - RIGHT
    return [
        f'<g style="color: var(--line-{level.colour % COLOURS})">'
        f'<path d="M{LEFT} {y:.1f}H{right}l8 {label_y - y:.1f}" fill="none" stroke="currentColor" '
        f'stroke-dasharray="5 3"/><text x="{right + 11}" y="{label_y + 4:.1f}" '
        f'fill="currentColor">{html.escape(level.label)}</text></g>'
        for level, y, label_y in zip(levels, heights, placed, strict=True)
    ]


def _horizontal_tick(y: float, label: str) -> str:
    return (
        f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" class="grid"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="end">{label}</text>'
    )


def _epoch_tick(x: float, epoch: int) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" class="middle">{epoch}</text>'


def _points(line: Line) -> list[tuple[float, float]]:
    return list(zip(line.x, line.y, strict=True))


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    drawn, pen_is_up = [], True
    for x, y in points:
        if y is not None:
            drawn.append(f"{'M' if pen_is_up else 'L'}{x:.1f} {y:.1f}")
        pen_is_up = y is None
    return "".join(drawn)
