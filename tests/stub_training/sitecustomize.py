"""Put on PYTHONPATH, it replaces training in the processes of tests that are not about training.

A stub run writes a row of history for every epoch, goes on where it was interrupted, and does to
itself what files in the folder HW2_STUB ask for.
"""

import os
import sys
import time
import types
from pathlib import Path

CONTROL = os.environ.get("HW2_STUB")


def train(name, learning_rate, epochs, seed, source, out):
    from hw2_keras import lock, runs
    from hw2_keras.errors import UsageError

    folder = Path(out) / runs.folder_name(name, source, learning_rate, epochs, seed)
    folder.mkdir(parents=True, exist_ok=True)
    control = Path(CONTROL)
    with lock.hold(folder, "stub"):
        if (folder / runs.RECORD).exists():
            return runs.open_run(folder)
        if (control / f"fail-{seed}").exists():
            raise UsageError("the stub was asked to fail")
        rows = []
        if (folder / runs.CHECKPOINT).exists():
            rows = [{"epoch": n} for n in range(1, int((folder / runs.CHECKPOINT).read_text()) + 1)]
        with (control / "starts").open("a") as file:
            file.write(f"{folder.name} from {len(rows)} pid {os.getpid()}\n")
        for epoch in range(len(rows) + 1, epochs + 1):
            pause = control / f"pause-{seed}"
            while pause.exists() and epoch > 1:  # until the test goes on or kills somebody
                time.sleep(0.02)
            rows = [row_of(n) for n in range(1, epoch + 1)]
            (folder / runs.CHECKPOINT).write_text(str(epoch))
            runs.write_history(folder / runs.HISTORY, rows)
        nan = (control / f"nan-{seed}").exists()
        write(folder, name, learning_rate, epochs, seed, source, nan)
    return runs.open_run(folder)


def row_of(epoch):
    return {"epoch": epoch, "loss": 1.0, "running_loss": 1.0, "val_accuracy": 0.5}


def write(folder, name, learning_rate, epochs, seed, source, nan):
    from hw2_keras import files, runs

    (folder / runs.WEIGHTS).write_bytes(bytes(100_000))
    protocol = {"optimizer": "sgd", "learning_rate": learning_rate, "epochs": epochs}
    protocol |= {"batch_size": 8, "dropout": 0.1, "selection": "last", "seed": seed}
    loss = float("nan") if nan else 1.0
    record = {
        "experiment": name,
        "source": source,
        "fingerprint": "stub",
        "finished": True,
        "best_of_sweep": False,
        "protocol": protocol,
        "metrics": {"loss": loss, "running_loss": loss, "val_accuracy": 0.5},
        "training_seconds": 1.0,
        "divergence": "diverged: the loss is not a number" if nan else None,
    }
    files.write_json(folder / runs.RECORD, record)
    (folder / runs.CHECKPOINT).unlink()


def module(name, **content):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)
    return sys.modules[name]


if CONTROL:
    module("keras", backend=types.SimpleNamespace(clear_session=lambda: None))
    devices = module("hw2_keras.training.devices", use=lambda device: None)
    fit = module("hw2_keras.training.fit", train=train, set_threads=lambda name: None)
    module("hw2_keras.training", devices=devices, fit=fit)
