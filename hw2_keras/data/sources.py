"""Where real data come from: HW2_DATA_DIR, TensorFlow Datasets; and checks on what is read."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hw2_keras.errors import UsageError


def data_dir() -> Path | None:
    """Return the folder named by the environment variable HW2_DATA_DIR, or None when it is unset.

    Raises:
        UsageError: the variable names something that is not a folder.
    """
    value = os.environ.get("HW2_DATA_DIR")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise UsageError(f"HW2_DATA_DIR={value} is not a folder: point it at the data or unset it")
    return folder


def tfds_dir() -> Path:
    """Return TensorFlow Datasets' own folder: TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


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


def read_npz(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the named arrays of an .npz file; arrays of other names are left unread.

    Raises:
        UsageError: the file is corrupt or truncated, holds pickled objects, or lacks a key.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive.files]
            if missing:
                raise UsageError(
                    f"{path} lacks the arrays {', '.join(missing)}: expected {', '.join(keys)}; "
                    "use the course's file or the layout in the README"
                )
            return {key: archive[key] for key in keys}
    except UsageError:
        raise
    # NumPy reports a damaged file by any of these, depending on where the damage lies; a plain
    # .npy or text file under this name gives TypeError or ValueError.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        TypeError,
    ) as error:
        raise UsageError(
            f"{path} cannot be read ({' '.join(str(error).split())}): expected a complete .npz "
            "file; copy or download it again"
        ) from error
