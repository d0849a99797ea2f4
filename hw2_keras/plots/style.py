"""How every plot looks, and how it is saved.

The functions of `curves`, `of_images`, `of_texts` and `of_theory` take plain arrays, texts or
histories and return a `matplotlib.figure.Figure`; `save` writes it. Nothing there knows pyplot,
Keras or a run folder; `of_runs` decides what is drawn of a run. Colours are those of Okabe and Ito
("Color Universal Design", 2008), and plots are as wide as an A4 text block, so that their 9-point
labels are as large as the text around them.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from hw2_keras import metrics
from hw2_keras.errors import UsageError
from hw2_keras.files import make_folder, write_atomically

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


PAGE_WIDTH = 6.3  # inches: A4 less two margins of 25 mm


DPI = 150


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
    make_folder(paths["png"].parent)
    contents = {kind: _render(figure, kind, metadata) for kind, metadata in nothing.items()}
    for kind, path in paths.items():
        write_atomically(path, lambda file, content=contents[kind]: file.write(content))
    return paths["png"], paths["pdf"]


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


def axis_label(figure: str) -> str:
    """What an axis of a figure of a run is called: "validation CER (lower is better)"."""
    lower = metrics.metric(figure).higher_is_better is False
    return metrics.label(figure) + (" (lower is better)" if lower else "")


def cells(grid: np.ndarray, count: int) -> list[tuple[Axes, int]]:
    """The first `count` axes of a grid with their numbers; the others are taken off the figure."""
    for axes in grid.flat[count:]:
        axes.remove()
    return [(axes, index) for index, axes in enumerate(grid.flat[:count])]


def bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def show(axes: Axes, image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise UsageError(
            f"image {image.shape} {image.dtype}: expected raw pixels (H, W, 1 or 3) uint8"
        )
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    bare(axes)
