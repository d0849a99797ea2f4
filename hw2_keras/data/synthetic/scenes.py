"""The synthetic stand-in for Sydney-Captions: composed aerial scenes with grammar-made captions.

Learnable for the right reason: every word of a caption that varies (what, how many, which colour,
where) is something painted, and each image has five captions that say it in different ways.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

SIZES = (400, 60, 60)
SIZE = 64  # pixels of a side
CANVAS = 2 * SIZE  # painted twice as large, so that edges come out smooth

GRASS, WATER, DEEP_SEA, ROAD, SAND = "#6f9a4e", "#4f7f78", "#2f5f86", "#9a958c", "#dccb9a"
TREE, WHITE, BUNKER = "#2f5a2c", "#f0f0ea", "#f2ecd8"
ROOFS = {"red": "#b5483a", "gray": "#74777c", "orange": "#df9238"}
COUNTS = ("no", "one", "two", "three", "four")
HALVES = ("left", "right", "upper", "lower")

Painter = Callable[[ImageDraw.ImageDraw, np.random.Generator], tuple[str, ...]]


def generate(seed: int = 42) -> list[tuple[np.ndarray, list[tuple[str, ...]]]]:
    """Return train, val and test: images uint8 (N, 64, 64, 3) and five captions for each."""
    rng = np.random.default_rng(seed)
    splits = []
    for size in SIZES:
        images, captions = zip(*(_scene(rng) for _ in range(size)), strict=True)
        splits.append((np.stack(images), list(captions)))
    return splits


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, tuple[str, ...]]:
    canvas = Image.new("RGB", (CANVAS, CANVAS), GRASS)
    painter = PAINTERS[rng.integers(len(PAINTERS))]
    captions = painter(ImageDraw.Draw(canvas), rng)
    # One brightness for the image and noise for each pixel: no caption hangs on an exact colour.
    light, noise = rng.uniform(0.85, 1.15), rng.normal(0, 6, (SIZE, SIZE, 3))
    pixels = np.asarray(canvas.reduce(2)) * light + noise
    return pixels.clip(0, 255).astype(np.uint8), captions


def _residential(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> tuple[str, ...]:
    roof = str(rng.choice(list(ROOFS)))
    roads = int(rng.integers(1, 3))
    for i in range(roads):
        middle = CANVAS * (i + 1) // (roads + 1)
        draw.rectangle((0, middle - 4, CANVAS, middle + 4), ROAD)
    rows = (12, 38, 90, 116) if roads == 1 else (20, 64, 108)
    plots = [(x, y) for y in rows for x in range(10, CANVAS, 22)]
    many = bool(rng.integers(2))
    built = len(plots) if many else int(rng.integers(3, 6))
    for i in rng.permutation(len(plots))[:built]:
        dx, dy = rng.integers(-2, 3, 2)
        _house(draw, plots[i][0] + dx, plots[i][1] + dy, ROOFS[roof])
    houses = "many" if many else "a few"
    road = "a road" if roads == 1 else "two roads"
    goes = "goes" if roads == 1 else "go"
    return (
        f"a residential area with {houses} houses and {road}",
        f"{houses} houses with {roof} roofs are arranged along {road}",
        f"there are {houses} houses with {roof} roofs in the residential area",
        f"this is a residential area with {houses} {roof} houses beside {road}",
        f"{road} {goes} through the residential area with {houses} {roof} houses",
    )


def _river(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> tuple[str, ...]:
    half = str(rng.choice(HALVES))
    down = half in ("left", "right")
    t = np.arange(-8, CANVAS + 9, 4)
    bend = CANVAS / 2 + 9 * np.sin(t / rng.uniform(14, 24) + rng.uniform(0, 6))
    points = list(zip(bend, t, strict=True) if down else zip(t, bend, strict=True))
    draw.line(points, WATER, width=26, joint="curve")
    houses = bool(rng.integers(2))
    thing = "houses" if houses else "trees"
    for _ in range(14):
        across, along = rng.uniform(8, 36), rng.uniform(6, CANVAS - 6)
        across = across if half in ("left", "upper") else CANVAS - across
        x, y = (across, along) if down else (along, across)
        if houses:
            _house(draw, x, y, ROOFS["red"])
        else:
            _disc(draw, x, y, 5, TREE)
    course = "from top to bottom" if down else "from left to right"
    return (
        f"a river flows {course} with many {thing} on the {half} bank",
        f"there is a river with many {thing} on the {half} side",
        f"many {thing} are on the {half} bank of the river",
        f"a curved river goes {course} through the meadow beside many {thing}",
        f"this is a river with a meadow and many {thing} on the {half} bank",
    )


def _meadow(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> tuple[str, ...]:
    number = int(rng.integers(1, 5))
    corner = f"{rng.choice(['upper', 'lower'])} {rng.choice(['left', 'right'])}"
    x = 16 if "left" in corner else CANVAS - 16
    y = 16 if "upper" in corner else CANVAS - 16
    draw.ellipse((x - 14, y - 11, x + 14, y + 11), BUNKER)
    for x, y in _places(rng, number):
        _disc(draw, x, y, 10, TREE)
    trees = f"{COUNTS[number]} green {'tree' if number == 1 else 'trees'}"
    are = "is" if number == 1 else "are"
    return (
        f"a meadow with {trees} on it",
        f"there {are} {trees} on the meadow",
        f"a meadow with {trees} and a white bunker in the {corner} corner",
        f"this is a meadow with a white bunker in the {corner} corner",
        f"{trees} {are} on the meadow with a bunker in the {corner} corner",
    )


def _airport(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> tuple[str, ...]:
    half = str(rng.choice(HALVES))
    flat = half in ("upper", "lower")
    runways, planes = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    near = half in ("left", "upper")
    for i in range(runways):
        middle = 26 + 32 * i if near else CANVAS - 26 - 32 * i
        for start, end, width, colour in [(0, CANVAS, 18, ROAD)] + [
            (k, k + 8, 2, WHITE) for k in range(6, CANVAS, 18)
        ]:
            line = (start, middle, end, middle) if flat else (middle, start, middle, end)
            draw.line(line, colour, width=width)
    for k in range(planes):
        along, across = 24 + 40 * k + rng.integers(-4, 5), 104 if near else 24
        x, y = (along, across) if flat else (across, along)
        draw.line((x - 11, y, x + 11, y), WHITE, width=5)
        draw.line((x, y - 10, x, y + 10), WHITE, width=5)
    runway = f"{COUNTS[runways]} {'runway' if runways == 1 else 'runways'}"
    plane = f"{COUNTS[planes]} {'airplane' if planes == 1 else 'airplanes'}"
    are = "is" if planes == 1 else "are"
    return (
        f"an airport with {runway} and {plane}",
        f"there {are} {plane} on the lawn beside {runway}",
        f"{runway} on the {half} side of the airport with {plane}",
        f"this is an airport with {runway} on the {half} side",
        f"{plane} {are} parked on the lawn of the airport with {runway}",
    )


def _sea(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> tuple[str, ...]:
    draw.rectangle((0, 0, CANVAS, CANVAS), DEEP_SEA)
    half, number = str(rng.choice(HALVES)), int(rng.integers(1, 5))
    beach = {
        "left": (0, 0, 24, CANVAS),
        "right": (CANVAS - 24, 0, CANVAS, CANVAS),
        "upper": (0, 0, CANVAS, 24),
        "lower": (0, CANVAS - 24, CANVAS, CANVAS),
    }[half]
    draw.rectangle(beach, SAND)
    for x, y in _places(rng, number):
        draw.polygon(
            [(x - 11, y), (x - 6, y - 4), (x + 11, y - 4), (x + 11, y + 4), (x - 6, y + 4)], WHITE
        )
    ships = f"{COUNTS[number]} white {'ship' if number == 1 else 'ships'}"
    are = "is" if number == 1 else "are"
    return (
        f"{ships} on the blue sea with a beach on the {half} side",
        f"there {are} {ships} on the sea",
        f"{ships} {are} sailing near the beach",
        f"this is a blue sea with {ships} on it",
        f"a beach is on the {half} side of the sea with {ships}",
    )


def _places(rng: np.random.Generator, number: int) -> list[tuple[int, int]]:
    """Return up to four places in the middle of the canvas that are apart from each other."""
    corners = rng.permutation([(46, 46), (46, 82), (82, 46), (82, 82)])[:number]
    return [(int(x), int(y)) for x, y in corners + rng.integers(-4, 5, (number, 2))]


def _house(draw: ImageDraw.ImageDraw, x: float, y: float, roof: str) -> None:
    draw.rectangle((x - 7, y - 6, x + 7, y + 6), roof)
    draw.line((x - 7, y, x + 7, y), "#3a3a3a", width=1)


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: str) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


PAINTERS: tuple[Painter, ...] = (_residential, _river, _meadow, _airport, _sea)
