"""Preloaded by a Dask worker: it is killed the first time it sends a finished run."""

import os
import signal
from pathlib import Path

from hw2_keras.reproduction import workers

pack = getattr(workers.pack, "original", workers.pack)  # the engine preloads more than once


class Packed(bytes):
    def __reduce_ex__(self, protocol: int):
        marker = Path(os.environ["HW2_STUB"]) / "died-sending"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return bytes, (bytes(self),)


def packed(folder: Path) -> Packed:
    return Packed(pack(folder))


packed.original = pack
workers.pack = packed
