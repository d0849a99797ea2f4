"""Files that appear whole or not at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from hw2_keras.errors import UsageError

UNFINISHED = ".new-"  # how the name of a file begins while it is written
LONGEST_NAME = "x" * 250  # stands for whatever a command writes below its folder


@contextlib.contextmanager
def new_file(path: Path, error: type[ValueError] = UsageError) -> Iterator[Path]:
    """Gives a name beside ``path`` to write to; the file becomes ``path`` only if nothing fails.

    The name is nobody else's, so that two may write the same file: the last one wins.

    Args:
        path: the final name; its folder must exist.
        error: what is raised.

    Raises:
        UsageError: the disk is full or the folder is not writable; the old file is untouched.
    """
    partial = None
    try:
        handle, name = tempfile.mkstemp(path.suffix, UNFINISHED, path.parent)
        os.close(handle)
        partial = Path(name)
        yield partial
        partial.chmod(0o644)
        os.replace(partial, path)
    except OSError as problem:
        raise error(
            f"cannot write {path}: {problem.strerror or problem}; free some space or choose "
            "another folder, then repeat the command; finished epochs are kept"
        ) from problem
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Writes a file under a temporary name and renames it, so that no half of it is ever seen.

    Args:
        path: the final name; its folder must exist.
        write: gets the open binary file.

    Raises:
        UsageError: see ``new_file``.
    """
    with new_file(path) as partial, partial.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def check_folder(path: Path) -> None:
    """Checks, before any work, that a folder can be made and written to; makes nothing.

    Raises:
        UsageError: a part of its path is a file, a loop or read-only, or its name is too long.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            (path / LONGEST_NAME).lstat()
        existing = next(place for place in (path, *path.parents) if os.path.lexists(place))
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise _not_writable(path, error) from error


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, where they are missing.

    Raises:
        UsageError: it cannot be made, or cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write to {path}: {error.strerror or error}; expected a writable folder with "
        "free space, choose another --out"
    )


def write_json(path: Path, content: Any) -> None:
    """Writes ``content`` as indented JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, for messages that must stay on one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
