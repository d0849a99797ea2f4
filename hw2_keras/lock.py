"""One process at a time on a folder, and who that is."""

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from hw2_keras.errors import UsageError

LOCK = ".lock"


class Held(UsageError):
    """Another process works on the folder; the message says which."""


@contextlib.contextmanager
def hold(folder: Path, what: str, wait: float = 0.0) -> Iterator[None]:
    """Keeps other processes off a folder; the system gives it back when this one ends or is killed.

    The file ``.lock`` stays behind: it says who held the folder last and locks nothing by itself.
    Shared folders need a file system with locks (NFS 4 has them).

    Args:
        folder: it must exist.
        what: what is done there, e.g. "train"; told to whoever comes second.
        wait: seconds to wait for the other process.

    Raises:
        Held: another process has the folder.
        UsageError: the folder cannot be written.
    """
    file = folder / LOCK
    lock = FileLock(file, is_singleton=False)
    try:
        lock.acquire(timeout=wait, poll_interval=0.1)
    except Timeout:
        raise Held(
            f"{folder} is in use by {_holder(file)}: wait until it has finished, or choose "
            "another --out"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder} ({error.strerror or error}): choose another --out"
        ) from error
    try:
        now = datetime.now().astimezone().isoformat(" ", "seconds")
        with contextlib.suppress(OSError):  # a full disk locks as well as any
            file.write_text(f"{what}, process {os.getpid()} on {socket.gethostname()} since {now}")
        yield
    finally:
        lock.release()


def _holder(file: Path) -> str:
    try:
        return file.read_text("utf-8", errors="replace").strip() or "another process"
    except OSError:
        return "another process"
