"""Hostile files beside a run: seeded cases for checkpoints and for the cache of features.

Each check takes a seed and a folder to write to, makes one case and asserts what is promised: what
was written, or one line, a `UsageError`. ``CHECKS`` names them all.
"""

import functools
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import data_cases
import keras
import numpy as np
from record_cases import mutated, replaced

from hw2_keras.models import image_encoder
from hw2_keras.training.callbacks import Checkpoint

IDENTITY = {"experiment": "p2g", "protocol": {"seed": 42}, "source": "synthetic"}
FEATURES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@functools.cache
def network() -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


@functools.cache
def checkpoint() -> dict[str, bytes]:
    """The members of a checkpoint after two epochs."""
    with tempfile.TemporaryDirectory() as name:
        written = Checkpoint(Path(name), IDENTITY, "val_cer")
        written.set_model(network())
        written.on_train_begin()
        for epoch, rate in enumerate((0.5, 0.4)):
            written.on_epoch_end(epoch, {"loss": 1.0, "running_loss": 1.0, "val_cer": rate})
        with zipfile.ZipFile(written.file) as archive:
            return {member: archive.read(member) for member in archive.namelist()}


def array(content: object) -> bytes:
    file = io.BytesIO()
    np.save(file, content, allow_pickle=True)
    return file.getvalue()


def check_checkpoint(seed: int, folder: Path) -> None:
    """A checkpoint with other members, arrays, states and bytes, or something that is no file."""
    rng, members = random.Random(seed), dict(checkpoint())
    name, kind = rng.choice(sorted(members)), rng.randrange(8)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[name] = data_cases.claim(rng)
    elif kind == 2:
        members[name] = data_cases.mutated(members[name], rng)
    elif kind == 3:
        shape = rng.choice(((), (1,), (2, 3), (3, 2), (0, 10**6)))
        members[name] = array(np.zeros(shape, rng.choice(("f4", "f8", "i8", "U3", "c8", "O"))))
    elif kind in (4, 5):
        state = json.loads(str(np.load(io.BytesIO(members["state.npy"]))))
        members["state.npy"] = array(np.array(mutated(state, rng)))
    method = rng.choice(data_cases.METHODS) if kind == 6 else zipfile.ZIP_STORED
    content = data_cases.archive(members, method)
    read = Checkpoint(folder, IDENTITY, "val_cer")
    read.file.write_bytes(data_cases.mutated(content, rng) if kind == 7 else content)
    if rng.random() < 0.05:
        replaced(read.file, rng)
    if data_cases.ok_or_one_line(lambda: read.restore(network())):
        assert not read.rows or len(read.best) == len(network().variables)


def check_features(seed: int, folder: Path) -> None:
    """A cache of features that was altered, is cut short, or never was one."""
    rng, path = random.Random(seed), folder / "features.npy"
    content = array(FEATURES) + image_encoder._digest(FEATURES)
    kind = rng.randrange(5)
    if kind == 0:
        content = data_cases.claim(rng) + rng.randbytes(rng.choice((0, 32, 128)))
    elif kind == 1:
        other = np.zeros(rng.choice(((2, 3, 4), (3, 4), (0,))), rng.choice(("f4", "f8", "U9", "O")))
        content = array(other) + image_encoder._digest(FEATURES)
    elif kind == 2:
        content = data_cases.archive({"x.npy": content})
    else:
        content = data_cases.mutated(content, rng)
    path.write_bytes(content)
    if rng.random() < 0.1:
        replaced(path, rng)

    def read() -> None:
        assert (image_encoder._read_features(path, FEATURES.shape) == FEATURES).all()

    data_cases.ok_or_one_line(read)


CHECKS: dict[str, Callable[[int, Path], None]] = {
    "checkpoint": check_checkpoint,
    "features": check_features,
}
