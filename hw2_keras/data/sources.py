"""Where real data come from, HW2_DATA_DIR and TensorFlow Datasets; and a fingerprint of data."""

import hashlib
import os
from pathlib import Path

import numpy as np

from hw2_keras.errors import UsageError


def one_line(text: str) -> str:
    """At most 300 characters of a foreign text, without line breaks and control characters."""
    words = " ".join(text.split())[:300]
    return "".join(point if point.isprintable() else "?" for point in words)


def missing(what: str) -> UsageError:
    """The exception for data that are not there; ``what`` says how to get them."""
    return UsageError(f"{what}; or leave --source real out: synthetic needs no data")


def not_found(name: str, how_to_get: str) -> UsageError:
    """The exception for a data set that is nowhere."""
    unset = "" if os.environ.get("HW2_DATA_DIR") else " (HW2_DATA_DIR is not set)"
    return missing(f"data set {name!r} not found{unset}: {how_to_get}")


def data_dir() -> Path | None:
    """Return the folder named by the environment variable HW2_DATA_DIR, or None when it is unset.

    Raises:
        UsageError: the variable names something that is not a readable folder.
    """
    value = os.environ.get("HW2_DATA_DIR")
    if not value:
        return None
    folder = _expanded("HW2_DATA_DIR", value)
    # os.path, as Path.is_dir raises for names that are too long.
    if not (os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)):
        raise missing(
            f"HW2_DATA_DIR={one_line(value)} is not a folder: point it at the data or unset it"
        )
    return folder


def tfds_dir() -> Path:
    """Return TensorFlow Datasets' own folder: TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Raises:
        UsageError: TFDS_DATA_DIR names the home of nobody.
    """
    return _expanded("TFDS_DATA_DIR", os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def _expanded(variable: str, value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{variable}={one_line(value)}: no home folder of that name; write the folder out"
        ) from error


def fingerprint(*parts: np.ndarray | bytes | str) -> str:
    """Return the sha256 (hex) of arrays and strings; shape, dtype and order count."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            content = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
            head = f"{part.dtype.str}{part.shape}"
        else:
            content = part.encode() if isinstance(part, str) else part
            head = f"{type(part).__name__}{len(content)}"
        digest.update(head.encode())
        digest.update(content)
    return digest.hexdigest()
