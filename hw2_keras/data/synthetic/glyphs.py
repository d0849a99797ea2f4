"""Synthetic stand-ins for the 28x28 sets: letters in the fonts that matplotlib ships.

"fashion" becomes ten Latin capitals, "kmnist" ten Greek ones. Every image is one glyph in a random
font and affine pose, over a random stroke, with random contrast and noise: the class is in the
shape, not in any fixed pixel, so that a convolutional network learns it and a linear model lags.
"""

from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 28
CANVAS = 64  # pixels of the upright glyph, drawn larger than the image and then scaled down
SIZES = (2000, 500, 500)  # train, val, test

COMMON_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
)
# The Computer Modern fonts that matplotlib ships have no Greek under its Unicode names.
FONTS = {"fashion": (*COMMON_FONTS, "cmr10", "cmb10", "cmss10", "cmtt10"), "kmnist": COMMON_FONTS}
GLYPHS = {"fashion": "ABEGHKMRST", "kmnist": "ΓΔΘΛΞΠΣΦΨΩ"}
CLASSES = {
    "fashion": tuple(GLYPHS["fashion"]),
    "kmnist": (
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Pi",
        "Sigma",
        "Phi",
        "Psi",
        "Omega",
    ),
}


def generate(
    name: str, seed: int = 42, sizes: tuple[int, int, int] = SIZES
) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Draw train, val and test of "fashion" or "kmnist"; the same seed draws the same pixels.

    Returns:
        Three (image uint8 (N, 28, 28, 1), label int64 (N,)) with balanced labels, and the names
        of the ten classes.
    """
    rng = np.random.default_rng(seed)
    splits = []
    for size in sizes:
        label = rng.permutation(np.arange(size) % len(CLASSES[name]))
        image = np.stack([draw(GLYPHS[name][k], rng, FONTS[name]) for k in label])
        splits.append((image[..., np.newaxis], label))
    return splits, CLASSES[name]


def draw(glyph: str, rng: np.random.Generator, fonts: tuple[str, ...]) -> np.ndarray:
    """Draw one glyph in a random font, pose, contrast and noise: uint8 (28, 28)."""
    upright = canvas(glyph, fonts[rng.integers(len(fonts))])
    posed = upright.transform(
        (SIDE, SIDE), Image.Transform.AFFINE, pose(rng), Image.Resampling.BICUBIC
    )
    stroke = Image.new("L", (SIDE, SIDE))
    ends = tuple(rng.uniform(0, SIDE, 4))
    ImageDraw.Draw(stroke).line(ends, fill=255, width=1)
    paper, ink, smudge = rng.uniform(0, 40), rng.uniform(140, 215), rng.uniform(0, 130)
    picture = paper + np.maximum(
        np.asarray(posed) * (ink / 255), np.asarray(stroke) * (smudge / 255)
    )
    picture += rng.normal(0, rng.uniform(5, 20), picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def pose(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw the six coefficients that map image coordinates to the canvas, as Pillow wants them.

    Rotation within 20 degrees, shear within 0.25, scale 0.8 to 1.2 per axis, shift within 3.
    """
    angle, shear = rng.uniform(-0.35, 0.35), rng.uniform(-0.25, 0.25)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.diag(1 / rng.uniform(0.8, 1.2, 2)) * (CANVAS / SIDE)
    matrix = stretch @ np.array([[1, shear], [0, 1]]) @ rotation
    offset = CANVAS / 2 - matrix @ (SIDE / 2 + rng.uniform(-3, 3, 2))
    return tuple(np.column_stack([matrix, offset]).ravel())


@cache
def canvas(glyph: str, font: str) -> Image.Image:
    """Draw the upright glyph in the middle of a 64x64 canvas, softened against aliasing."""
    path = Path(get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    picture = Image.new("L", (CANVAS, CANVAS))
    face = ImageFont.truetype(path, 46)
    left, top, right, bottom = face.getbbox(glyph)
    corner = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
    ImageDraw.Draw(picture).text(corner, glyph, fill=255, font=face)
    return picture.filter(ImageFilter.GaussianBlur(0.8))
