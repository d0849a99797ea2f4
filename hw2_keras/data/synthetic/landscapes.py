"""Synthetic stand-ins for the Intel landscapes: six kinds of scene, painted at 48x48.

Palettes overlap between the classes and every scene gets its own horizon, light, tint and noise,
so that the class is in what is drawn (towers with windows, crowns and trunks, crevasses, peaks,
waves, a road that runs to a vanishing point) and mean colour alone does not tell it.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

SIDE = 48
CANVAS = 96  # scenes are painted at twice the size and averaged down, which smooths edges
SIZES = (2000, 500, 500)  # train, val, test
CLASSES = ("buildings", "forest", "glacier", "mountain", "sea", "street")

Colour = tuple[int, int, int]
SKIES = ("#5b8fd0", "#9cc3ea", "#b9bcc2", "#e8c9a0", "#d98f6a", "#6f7f95", "#dfe7ee", "#47586f")
GROUNDS = ("#4d6b33", "#76803f", "#8c7a55", "#a9997a", "#6b6b66", "#3d4a3a", "#c9c4b8")
WALLS = ("#8c8377", "#a2573f", "#c8b894", "#61748a", "#dcdad4", "#4c4a4d", "#7d8f74")
LEAVES = ("#2f5a2b", "#51752f", "#7d7a30", "#a8692d", "#26443a", "#8fa06a", "#5d6b70")
ICE = ("#dfeaf2", "#b7d3e6", "#8fb3cc", "#f4f4f1", "#a9b4bb", "#cfc9bd")
ROCKS = ("#6d675f", "#4f5661", "#87796a", "#5c6b5a", "#9a9ba0", "#3f434a")
WATERS = ("#2e5f8a", "#4f8f9e", "#6d8fae", "#8fa3a8", "#375058", "#a08f7a")


def generate(
    name: str = "intel", seed: int = 42, sizes: tuple[int, int, int] = SIZES
) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Paint train, val and test; the same seed paints the same pixels.

    Returns:
        Three (image uint8 (N, 48, 48, 3), label int64 (N,)) with balanced labels, and the names
        of the six classes.
    """
    rng = np.random.default_rng(seed)
    splits = []
    for size in sizes:
        label = rng.permutation(np.arange(size) % len(CLASSES))
        splits.append((np.stack([paint(CLASSES[k], rng) for k in label]), label))
    return splits, CLASSES


def paint(name: str, rng: np.random.Generator) -> np.ndarray:
    """Paint one scene under a random sky, horizon, light, tint and noise: uint8 (48, 48, 3)."""
    horizon = int(rng.uniform(0.3, 0.65) * CANVAS)
    picture = sky(rng, horizon)
    PAINTERS[name](ImageDraw.Draw(picture), rng, horizon)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scene = np.asarray(picture.reduce(CANVAS // SIDE), dtype=np.float32)
    light = rng.uniform(0.7, 1.15) * rng.uniform(0.8, 1.2, 3)
    scene = scene * light + rng.normal(0, rng.uniform(4, 16), scene.shape)
    return scene.clip(0, 255).astype(np.uint8)


def sky(rng: np.random.Generator, horizon: int) -> Image.Image:
    """Paint a vertical gradient down to the horizon, over ground of one colour."""
    top, low, ground = (np.array(pick(rng, p)) for p in (SKIES, SKIES, GROUNDS))
    share = np.linspace(0, 1, horizon)[:, np.newaxis]
    rows = np.empty((CANVAS, 3))
    rows[:horizon], rows[horizon:] = top * (1 - share) + low * share, ground
    return Image.fromarray(np.repeat(rows[:, np.newaxis].astype(np.uint8), CANVAS, axis=1))


def buildings(brush: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """Towers side by side, their windows in grids."""
    foot = horizon + rng.uniform(15, 45)
    for _ in range(rng.integers(3, 8)):
        left, width = rng.uniform(-8, 88), rng.uniform(14, 36)
        top = rng.uniform(4, horizon)
        wall = pick(rng, WALLS)
        brush.rectangle((left, top, left + width, foot), fill=wall)
        window = shade(wall, rng.choice([0.5, 0.65, 1.4]))
        step, size = rng.uniform(5, 9), rng.uniform(2, 4)
        for x in np.arange(left + 2, left + width - size, step):
            for y in np.arange(top + 3, foot - size, step):
                brush.rectangle((x, y, x + size, y + size), fill=window)


def forest(brush: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """Trees from far to near: conifers or round crowns, on trunks."""
    leaves, conifers = [pick(rng, LEAVES) for _ in range(3)], rng.random() < 0.5
    trunk = pick(rng, ROCKS)
    for foot in np.sort(rng.uniform(horizon, 110, rng.integers(25, 50))):
        height = rng.uniform(20, 34) + 0.5 * (foot - horizon)
        x, half = rng.uniform(-5, 101), height * rng.uniform(0.15, 0.28)
        crown = shade(leaves[rng.integers(3)], rng.uniform(0.6, 1.25))
        brush.line((x, foot, x, foot - height / 2), fill=trunk, width=max(1, int(height / 12)))
        top, low = foot - height, foot - 0.25 * height
        if conifers:
            brush.polygon([(x, top), (x - half, low), (x + half, low)], fill=crown)
        else:
            brush.ellipse((x - half, top, x + half, low), fill=crown)


def glacier(brush: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """A broken edge of ice, crevasses running down it, sometimes rock behind, water before."""
    if rng.random() < 0.6:
        brush.polygon(ridge(rng, horizon - rng.uniform(5, 25), 14), fill=pick(rng, ROCKS))
    ice = pick(rng, ICE)
    edge = ridge(rng, horizon, 5)
    brush.polygon(edge, fill=ice)
    lean = rng.uniform(-25, 25)
    for _ in range(rng.integers(14, 30)):
        x, y = rng.uniform(0, CANVAS), rng.uniform(horizon, CANVAS)
        steps = np.cumsum(rng.uniform(2, 9, 4))
        crack = [(x + lean * s / 20 + rng.uniform(-3, 3), y + s) for s in (0, *steps)]
        brush.line(crack, fill=shade(ice, rng.uniform(0.55, 0.85)), width=int(rng.integers(1, 4)))
    if rng.random() < 0.5:
        shore = rng.uniform(horizon + 18, 90)
        brush.rectangle((0, shore, CANVAS, CANVAS), fill=pick(rng, WATERS))


def mountain(brush: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """Peaks with a lit and a shaded side, snow on some, before them a plain or a lake."""
    rock, snow = pick(rng, ROCKS), pick(rng, ICE)
    snowy, foot = rng.random() < 0.6, horizon + rng.uniform(0, 18)
    for _ in range(rng.integers(2, 6)):
        x, top = rng.uniform(0, CANVAS), rng.uniform(5, horizon - 8)
        left, right = x + (foot - top) * rng.uniform(0.6, 1.4, 2) * (-1, 1)
        fold = x + rng.uniform(-8, 8)
        face = shade(rock, rng.uniform(0.8, 1.2))
        brush.polygon([(left, foot), (x, top), (right, foot)], fill=face)
        brush.polygon([(fold, foot), (x, top), (right, foot)], fill=shade(face, 0.65))
        if snowy:
            line = top + rng.uniform(0.2, 0.5) * (foot - top)
            share = (line - top) / (foot - top)
            west, east = x + share * (left - x), x + share * (right - x)
            teeth = np.linspace(west, east, 6)[1:-1]
            cap = [(t, line + rng.uniform(-5, 5)) for t in teeth]
            brush.polygon([(x, top), (west, line), *cap, (east, line)], fill=snow)
    plain = pick(rng, WATERS + GROUNDS)
    brush.polygon(ridge(rng, foot, 2), fill=plain)


def sea(brush: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """Water with waves that lengthen towards the viewer; sometimes sun, island, boat or beach."""
    water = pick(rng, WATERS)
    if rng.random() < 0.4:
        x, y = rng.uniform(10, 86), rng.uniform(4, horizon)
        brush.ellipse((x - 5, y - 5, x + 5, y + 5), fill=(250, 235, 200))
    if rng.random() < 0.35:
        x, width = rng.uniform(-20, 80), rng.uniform(20, 50)
        peak = (x + width * rng.uniform(0.3, 0.7), horizon - rng.uniform(5, 18))
        brush.polygon([(x, horizon), peak, (x + width, horizon)], fill=pick(rng, ROCKS))
    brush.rectangle((0, horizon, CANVAS, CANVAS), fill=water)
    for _ in range(rng.integers(20, 45)):
        y = rng.uniform(horizon + 1, CANVAS)
        near = (y - horizon) / (CANVAS - horizon)
        x, length = rng.uniform(-20, CANVAS), 5 + rng.uniform(10, 40) * near
        wave = shade(water, rng.choice([0.75, 1.25, 1.5]))
        brush.line((x, y, x + length, y + rng.uniform(-1, 1)), fill=wave, width=1 + int(2 * near))
    if rng.random() < 0.4:
        x, y = rng.uniform(10, 80), rng.uniform(horizon + 2, horizon + 20)
        brush.polygon([(x, y), (x + 12, y), (x + 9, y + 3), (x + 3, y + 3)], fill=(70, 50, 40))
        brush.polygon([(x + 6, y - 12), (x + 6, y - 1), (x + 12, y - 1)], fill=(235, 232, 225))
    if rng.random() < 0.4:
        shore = [(0, rng.uniform(75, 96)), (CANVAS, rng.uniform(75, 96))]
        brush.polygon([*shore, (CANVAS, CANVAS), (0, CANVAS)], fill=pick(rng, GROUNDS))


def street(brush: ImageDraw.ImageDraw, rng: np.random.Generator, horizon: int) -> None:
    """A road to a vanishing point between two rows of houses; a centre line, sometimes cars."""
    far = rng.uniform(30, 66)
    for side, edge in ((-1, -1), (1, CANVAS)):
        depth = np.append(0, np.cumsum(rng.uniform(0.15, 0.4, 6)))
        for near, next_ in pairwise(np.minimum(depth, 0.92)):
            x0, x1 = edge + near * (far - edge), edge + next_ * (far - edge)
            tall = rng.uniform(25, 75)
            roof = [horizon - tall * (1 - d) for d in (near, next_)]
            foot = [horizon + 45 * (1 - d) for d in (near, next_)]
            wall = shade(pick(rng, WALLS), 1.0 if side < 0 else 0.75)
            brush.polygon([(x0, roof[0]), (x1, roof[1]), (x1, foot[1]), (x0, foot[0])], fill=wall)
            for level in np.arange(0.2, 0.8, 0.2):
                ys = [r + level * (f - r) for r, f in zip(roof, foot, strict=True)]
                brush.line((x0, ys[0], x1, ys[1]), fill=shade(wall, 0.6), width=2)
    road = pick(rng, GROUNDS)
    left, right = rng.uniform(-25, 20), rng.uniform(76, 121)
    brush.polygon([(far, horizon), (left, CANVAS), (right, CANVAS)], fill=shade(road, 0.7))
    middle = (left + right) / 2
    for start in np.arange(0.1, 1.0, 0.2):
        ends = [
            (far + d * (middle - far), horizon + d * (CANVAS - horizon))
            for d in (start, start + 0.1)
        ]
        brush.line(ends, fill=(225, 222, 205), width=1 + int(3 * start))
    for _ in range(rng.integers(0, 4)):
        near = rng.uniform(0.25, 0.8)
        lane = left + (right - left) * rng.choice([0.3, 0.7])
        x, y, size = far + near * (lane - far), horizon + near * (CANVAS - horizon), 12 * near
        brush.rectangle((x - size, y - size, x + size, y), fill=tuple(rng.integers(30, 220, 3)))


def ridge(rng: np.random.Generator, height: float, rough: float) -> list[tuple[float, float]]:
    """A jagged line across the canvas near ``height``, closed along the bottom edge."""
    xs = np.linspace(0, CANVAS, 9)
    ys = height + rng.uniform(-rough, rough, len(xs))
    return [*zip(xs, ys, strict=True), (CANVAS, CANVAS), (0, CANVAS)]


def pick(rng: np.random.Generator, palette: tuple[str, ...]) -> Colour:
    """Draw a colour of the palette."""
    code = palette[rng.integers(len(palette))]
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def shade(colour: Colour, factor: float) -> Colour:
    """Darken (factor < 1) or lighten a colour."""
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue


PAINTERS: dict[str, Callable[[ImageDraw.ImageDraw, np.random.Generator, int], None]] = {
    painter.__name__: painter for painter in (buildings, forest, glacier, mountain, sea, street)
}
