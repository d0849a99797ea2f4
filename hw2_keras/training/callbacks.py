"""Callbacks for ``model.fit``: the order of the data, the curves, checkpoints and progress."""

import json
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from hw2_keras import runs
from hw2_keras.errors import UsageError, printable
from hw2_keras.files import first_line, write_atomically
from hw2_keras.metrics import METRICS, best
from hw2_keras.records import Count, Seconds, Size
from hw2_keras.runs import write_history

SAID_EVERY = 30.0  # seconds between lines within an epoch where there is no terminal


class EpochNumber(keras.callbacks.Callback):
    """Tells the data pipeline which epoch it is, so that each epoch has a shuffle of its own.

    The shuffle is a function of (seed, epoch) alone; a resumed run therefore sees the same
    batches as an uninterrupted one.

    Args:
        variable: int64 scalar that the pipeline reads when an epoch begins.
    """

    def __init__(self, variable: tf.Variable) -> None:
        super().__init__()
        self.variable = variable

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.variable.assign(epoch)


class RunningLoss(keras.callbacks.Callback):
    """Adds the course's training loss, ``running_loss``, to the logs of each epoch.

    The homework plots the mean over all batches *since epoch 1*, so early bad batches weigh on
    the curve until the end. Keras's ``loss`` is the mean of one epoch. Both weigh a batch by its
    number of examples; as every epoch has the same examples, the running loss after epoch n is
    the mean of the first n epoch losses.

    Args:
        losses: epoch losses of the epochs already done, for a resumed run.
    """

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses = list(losses)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        self.losses.append(logs["loss"])
        logs["running_loss"] = float(np.mean(self.losses))


class Checkpoint(keras.callbacks.Callback):
    """Saves after each epoch everything that a killed run needs to go on as if nothing happened.

    One file holds weights, optimizer state, dropout seeds, the history so far and, when the best
    epoch is to be tested, that epoch's weights: the parts can never disagree. ``history.csv``
    is rewritten beside it.

    Args:
        folder: the run's folder.
        identity: protocol and data of the run; a checkpoint of another run is refused.
        monitor: figure whose best epoch is kept, or None to keep the last epoch's model.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], monitor: str | None) -> None:
        super().__init__()
        self.file = folder / runs.CHECKPOINT
        self.history_file = folder / runs.HISTORY
        self.identity = identity
        self.monitor = monitor
        self.rows: list[dict[str, float]] = []
        self.best: list[np.ndarray] = []
        self.seconds = 0.0

    def restore(self, model: keras.Model) -> None:
        """Loads the last checkpoint, if there is one, into ``model`` and this callback.

        Raises:
            UsageError: the checkpoint is damaged or belongs to another run.
        """
        if not self.file.exists():
            return
        try:
            state, current, best = _read_checkpoint(self.file)
        except Exception as error:  # damage shows as many unrelated types
            raise self._damaged(first_line(error)) from error
        if state.identity != self.identity:
            changed = [k for k, v in self.identity.items() if state.identity.get(k) != v]
            raise UsageError(
                f"{self.file} belongs to another run (different {', '.join(changed)}): "
                "choose another --out or delete the folder"
            )
        variables = self._variables(model)
        tested = model.variables if self.monitor else []
        if not _fit(current, variables) or not _fit(best, tested):
            raise self._damaged("it holds the weights of another network")
        if not _is_history(state.rows, self.monitor):
            raise self._damaged("its history is none of this run")
        for variable, value in zip(variables, current, strict=True):
            variable.assign(value)
        self.rows, self.seconds, self.best = state.rows, state.seconds, best
        write_history(self.history_file, self.rows)  # a kill may have come before its last row

    def _damaged(self, reason: str) -> UsageError:
        what = printable(f"{self.file} is damaged ({reason})")
        return UsageError(f"{what}: delete it to train from the start")

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._started = time.perf_counter() - self.seconds

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        self.rows.append(row)
        self.seconds = time.perf_counter() - self._started
        if self.monitor and self.best_epoch() == epoch + 1:
            self.best = [v.numpy() for v in self.model.variables]
        current = [v.numpy() for v in self._variables(self.model)]
        state = {
            "identity": self.identity,
            "rows": self.rows,
            "seconds": self.seconds,
            "variables": len(current),
            "best": len(self.best),
        }
        arrays = {f"current{i}": value for i, value in enumerate(current)}
        arrays |= {f"best{i}": value for i, value in enumerate(self.best)}
        write_atomically(
            self.file, lambda file: np.savez(file, state=np.array(json.dumps(state)), **arrays)
        )
        write_history(self.history_file, self.rows)
        if not np.isfinite(row["loss"]):
            self.model.stop_training = True  # weights that are NaN stay NaN

    def best_epoch(self) -> int:
        """The epoch, counted from 1, whose model is tested; the earliest of equal ones."""
        if self.monitor is None:
            return len(self.rows)
        return best([row[self.monitor] for row in self.rows], self.monitor) + 1

    def select(self, model: keras.Model) -> None:
        """Leaves in ``model`` the weights that the protocol tests."""
        if self.monitor:
            for variable, value in zip(model.variables, self.best, strict=True):
                variable.assign(value)

    @staticmethod
    def _variables(model: keras.Model) -> list:
        # model.variables holds the dropout seeds too; the optimizer's are its moments and step.
        return [*model.variables, *model.optimizer.variables]


class State(msgspec.Struct):
    """What a checkpoint says beside its arrays; see ``Checkpoint.on_epoch_end``."""

    identity: dict[str, Any]
    rows: list[dict[str, int | float]]  # an epoch stays whole
    seconds: Seconds
    variables: Size
    best: Count


def _read_checkpoint(file: Path) -> tuple[State, list[np.ndarray], list[np.ndarray]]:
    """A checkpoint's state, current weights and best ones; raises what its readers raise."""
    if not file.is_file():
        raise ValueError("it is no file")  # a pipe would be waited for
    with zipfile.ZipFile(file) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is compressed")  # ours never is; a bomb is
    with np.load(file) as saved:
        state = msgspec.convert(json.loads(str(saved["state"])), State)
        current = [saved[f"current{i}"] for i in range(state.variables)]
        tested = [saved[f"best{i}"] for i in range(state.best)]
    if not all(isinstance(array, np.ndarray) for array in (*current, *tested)):
        raise ValueError("it holds what is no array")  # numpy gives the bytes of such a member
    return state, current, tested


def _fit(arrays: Sequence[np.ndarray], variables: Sequence) -> bool:
    """Whether arrays can be assigned to variables, one to each."""
    found = [(array.shape, str(array.dtype)) for array in arrays]
    return found == [(tuple(variable.shape), variable.dtype) for variable in variables]


def _is_history(rows: Sequence[dict[str, float]], monitor: str | None) -> bool:
    """Whether rows are those of the epochs 1, 2, 3, ... with the same figures in each."""
    needed = {"epoch", "loss"} | ({monitor} if monitor else set())
    return (
        bool(rows)
        and [row.get("epoch") for row in rows] == list(range(1, len(rows) + 1))
        and all(row.keys() == rows[0].keys() >= needed for row in rows)
    )


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's logs for TensorBoard, which a run can do without: a failure is told, not raised."""

    HOOKS = (
        "set_model",
        *(f"on_{what}_{when}" for what in ("train", "test", "epoch") for when in ("begin", "end")),
    )

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.failed = False
        for name in set(self.HOOKS) & set(dir(self)):
            setattr(self, name, self._tolerant(getattr(self, name)))

    def _tolerant(self, hook: Callable) -> Callable:
        def call(*args, **kwargs) -> None:
            if self.failed:
                return
            try:
                hook(*args, **kwargs)
            except (OSError, tf.errors.OpError) as error:
                self.failed = True
                print(f"no TensorBoard logs: {first_line(error)}", file=sys.stderr)

        return call


class Progress(keras.callbacks.Callback):
    """Prints a line before the first epoch, and after every epoch its figures and the time left.

    Within an epoch a terminal has a bar; elsewhere a line says every `SAID_EVERY` seconds how far
    it is.

    Args:
        label: what is trained, e.g. "fashion_cnn rate 0.01".
        epochs: total number of epochs.
        steps: batches per epoch.
    """

    def __init__(self, label: str, epochs: int, steps: int) -> None:
        super().__init__()
        self.label, self.epochs, self.steps = label, epochs, steps

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.started = self.said = time.perf_counter()
        self.done = 0
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        what = f"{epochs} of {self.steps:,} batches, a line after each"
        print(f"{self.label}  training: {what}", file=sys.stderr, flush=True)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch
        name = f"{self.label}  epoch {epoch + 1}/{self.epochs}"
        self.bar = tqdm(desc=name, total=self.steps, unit="batch", leave=False, disable=None)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        done = min(batch + 1, self.steps)  # Keras counts the last execution's steps as full
        self.bar.update(done - self.bar.n)
        if self.bar.disable and time.perf_counter() - self.said > SAID_EVERY:
            self.said = time.perf_counter()
            where = f"epoch {self.epoch + 1}/{self.epochs}  batch {done:,} of {self.steps:,}"
            print(f"{self.label}  {where}", file=sys.stderr, flush=True)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        self.bar.close()
        self.done += 1
        self.said = time.perf_counter()
        shown = [f"val_{name}" for name in METRICS]
        figures = "  ".join(f"{name} {logs[name]:.4f}" for name in ("loss", *shown) if name in logs)
        left = (time.perf_counter() - self.started) / self.done * (self.epochs - epoch - 1)
        minutes, seconds = divmod(round(left), 60)
        line = f"{self.label}  epoch {epoch + 1}/{self.epochs}  {figures}"
        print(f"{line}  {minutes}:{seconds:02d} left", file=sys.stderr, flush=True)
