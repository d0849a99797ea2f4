"""Reads bytes, JSON, arrays and images within bounds, or says in one line why not.

Sizes are checked before anything is allocated. The libraries underneath do not list what they
raise for damaged bytes (one flipped bit gives NotImplementedError, RuntimeError, MemoryError,
TokenError, ...), so every exception of a reader says that its file cannot be read.
"""

import io
import json
import math
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from hw2_keras.data.sources import missing, one_line
from hw2_keras.errors import UsageError

MIB = 2**20
MAX_TEXT_BYTES = 64 * MIB  # the largest text, spa.txt, has 10
MAX_IMAGE_BYTES = 16 * MIB
MAX_PIXELS = 2_000 * 2_000  # of one image; the largest set has 500x500
MAX_ARRAY_BYTES = 512 * MIB  # of one file's arrays or one split's images; the largest has 420
MAX_TEXT = 1_000  # characters of one sentence, word or caption


def require(path: Path, expected: str) -> None:
    """Refuse a file of a data set that is not there.

    Raises:
        UsageError: as `missing` words it.
    """
    if not path.is_file():
        raise missing(f"{path} cannot be read (no such file): expected {expected}")


def reason(error: Exception) -> str:
    """The kind and message of an exception in one line."""
    return one_line(f"{type(error).__name__}: {error}")


@contextmanager
def reading(path: Path | str, expected: str) -> Iterator[None]:
    """Turn whatever a reader raises into one line about the file.

    Raises:
        UsageError: the body raised; a UsageError passes as it is.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{path} cannot be read ({reason(error)}): expected {expected}; "
            "copy or download it again"
        ) from error


def read_bytes(path: Path, expected: str, limit: int = MAX_TEXT_BYTES) -> bytes:
    """Read a regular file of at most ``limit`` bytes.

    Raises:
        UsageError: there is no such file, or it cannot be read or is too large.
    """
    with reading(path, expected):
        if not path.is_file():  # a pipe or a device may never end
            raise FileNotFoundError("no such file")
        size = path.stat().st_size
        if size > limit:
            raise UsageError(f"{path} is too large: expected {expected}, at most {limit:,} bytes")
        with path.open("rb") as file:
            return file.read(size)


def read_json(path: Path, expected: str) -> Any:
    """Read a JSON file in any of Unicode's encodings, with or without a byte order mark."""
    content = read_bytes(path, expected)
    with reading(path, expected):
        return json.loads(content)


def read_npz(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of an .npz file; arrays of other names are left unread.

    Raises:
        UsageError: the file is corrupt or truncated, holds pickled objects or arrays of more
            than 512 MiB in all, or lacks a key.
    """
    with reading(path, "a complete .npz file"), zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        lacking = [key for key in keys if f"{key}.npy" not in names]
        if lacking:
            raise UsageError(
                f"{path} lacks the arrays {', '.join(lacking)}: expected {', '.join(keys)}; "
                "use the course's file or the layout in the README"
            )
        arrays, room = {}, MAX_ARRAY_BYTES
        for key in keys:
            with archive.open(f"{key}.npy") as member:
                arrays[key] = _read_array(member, room, f"{path}, {key}")
            room -= arrays[key].nbytes
        return arrays


def _read_array(member: IO[bytes], room: int, where: str) -> np.ndarray:
    if np.lib.format.read_magic(member) != (1, 0):
        # Later versions differ by headers of up to 4 GB, which no array here needs.
        raise ValueError("not an array of format 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or (math.prod(shape) and not dtype.itemsize):
        raise ValueError(f"shape {shape} of {dtype}")
    if size > room:
        claimed = f"{size:,}" if size < 10**15 else f"10^{math.log10(size):.0f}"
        raise UsageError(
            f"{where}: claims {claimed} bytes, expected at most {MAX_ARRAY_BYTES:,} in all arrays; "
            "copy or download the file again"
        )
    member.seek(0)
    return np.lib.format.read_array(member, allow_pickle=False)


def read_image(path: Path) -> Image.Image:
    """Decode one JPEG, PNG or TIFF as RGB.

    Raises:
        UsageError: no such image, cut short, or larger than 2,000x2,000 pixels.
    """
    content = read_bytes(path, "an image", MAX_IMAGE_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "TIFF")) as file:
                width, height = file.size
                if width * height > MAX_PIXELS:
                    raise UsageError(
                        f"{path}: {width}x{height} pixels, expected at most {MAX_PIXELS:,}; "
                        "make it smaller"
                    )
                return file.convert("RGB")
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{path} is not a complete image ({reason(error)}): copy or download it again"
        ) from error


def check_text(text: Any, where: str) -> str:
    """Return a sentence, word or caption that can be encoded and is not endless.

    Raises:
        UsageError: it is no string, longer than 1,000 characters, or holds half a surrogate pair.
    """
    if not isinstance(text, str):
        raise UsageError(f"{where}: {type(text).__name__}, expected a text")
    if len(text) > MAX_TEXT:
        raise UsageError(f"{where}: {len(text):,} characters, expected at most {MAX_TEXT:,}")
    if not text.isascii() and any("\ud800" <= point <= "\udfff" for point in text):
        raise UsageError(f"{where}: half a surrogate pair, which is no character; correct the file")
    return text
