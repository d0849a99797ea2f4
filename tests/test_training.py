"""Training: exact repetition, resume after a kill, sweeps, divergence and bad input."""

import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hw2_keras as hw2
from hw2_keras import runs
from hw2_keras.training import classification, fit

PROLOGUE = """
import os, sys
import numpy as np
import hw2_keras as hw2
from hw2_keras import runs
from hw2_keras.training import callbacks
"""

# Stops the process without any clean-up, as a kill would, at the moment that the test names.
KILLED_DURING_AN_EPOCH = """
original = callbacks.Progress.on_train_batch_end
def stop(self, batch, logs=None):
    original(self, batch, logs)
    if self.epoch == 1 and batch > 100:
        os._exit(9)
callbacks.Progress.on_train_batch_end = stop
"""
KILLED_DURING_A_CHECKPOINT = """
original = np.savez
def stop(file, **arrays):
    original(file, **arrays)
    if '"epoch": 2' in str(arrays["state"]):
        file.flush()
        os.truncate(file.name, os.path.getsize(file.name) // 2)
        os._exit(9)
np.savez = stop
"""


def train_in_a_process(out: Path, before: str = "") -> int:
    code = PROLOGUE + before + f"hw2.train('kmnist_cnn', epochs=3, out={str(out)!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return hw2.train("kmnist_cnn", epochs=3, out=tmp_path_factory.mktemp("runs"))


def test_without_a_terminal_lines_say_what_is_done_and_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from hw2_keras.training import callbacks

    progress = callbacks.Progress("intel_cnn", 2, 1000)
    progress.on_train_begin()
    progress.on_epoch_begin(0)
    progress.on_train_batch_end(399)  # too soon for a line
    monkeypatch.setattr(callbacks, "SAID_EVERY", 0.0)
    progress.on_train_batch_end(499)
    progress.on_epoch_end(0, {"loss": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "intel_cnn  training: 2 epochs of 1,000 batches, a line after each",
        "intel_cnn  epoch 1/2  batch 500 of 1,000",
    ]
    assert re.fullmatch(r"intel_cnn  epoch 1/2  loss 1.0000  \d+:\d\d left", lines[2])


@pytest.mark.parametrize(
    ("kill", "kept"), [(KILLED_DURING_AN_EPOCH, 1), (KILLED_DURING_A_CHECKPOINT, 1)]
)
def test_a_killed_run_resumes_and_ends_as_if_nothing_had_happened(
    uninterrupted: runs.Run,
    tmp_path: Path,
    kill: str,
    kept: int,
    capsys: pytest.CaptureFixture,
) -> None:
    assert train_in_a_process(tmp_path, kill) == 9
    folder = tmp_path / uninterrupted.path.name
    assert len(runs.read_history(folder / "history.csv")["epoch"]) == kept
    with pytest.raises(ValueError, match="is not a run"):
        hw2.open_run(folder)

    resumed = hw2.train("kmnist_cnn", epochs=3, out=tmp_path)

    assert f"resuming after epoch {kept}\n" in capsys.readouterr().err
    history = (resumed.path / "history.csv").read_text()
    assert history == (uninterrupted.path / "history.csv").read_text()
    assert resumed.metrics == uninterrupted.metrics
    for found, expected in zip(
        resumed.model().get_weights(), uninterrupted.model().get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert not (resumed.path / "checkpoint.npz").exists()


def test_the_same_seed_repeats_a_run_and_another_does_not(
    uninterrupted: runs.Run, tmp_path: Path
) -> None:
    again = hw2.train("kmnist_cnn", epochs=3, out=tmp_path)
    other = hw2.train("kmnist_cnn", epochs=1, seed=7, out=tmp_path)
    assert again.history == uninterrupted.history
    assert other.history["loss"][0] != again.history["loss"][0]


def test_history_has_both_training_losses(uninterrupted: runs.Run) -> None:
    history = uninterrupted.history
    assert history["epoch"] == [1, 2, 3]
    expected = np.cumsum(history["loss"]) / [1, 2, 3]
    np.testing.assert_allclose(history["running_loss"], expected, rtol=1e-12)
    assert history["loss"][2] < history["running_loss"][2]
    assert uninterrupted.metrics["val_accuracy"] == pytest.approx(
        history["val_accuracy"][-1], abs=1e-6
    )


def test_a_finished_run_opens_again_and_predicts_the_same(uninterrupted: runs.Run) -> None:
    run = hw2.open_run(uninterrupted.path)
    assert run.metrics["test_accuracy"] > 0.5  # chance is 0.1
    assert fit.evaluate(run).metrics == run.metrics
    assert run.record["source"] == "synthetic"
    assert np.sum(run.metrics["test_confusion"]) == len(run.data().test.label)
    assert (run.path / "tensorboard").is_dir()


def test_every_epoch_has_each_image_once_in_an_order_of_its_own() -> None:
    import tensorflow as tf

    data = hw2.load_data("kmnist")
    epoch = tf.Variable(0, dtype=tf.int64)
    batches = classification.batches(data, hw2.experiments["kmnist_cnn"], 42, epoch)

    def order() -> np.ndarray:
        return np.concatenate([image.numpy().sum((1, 2, 3)) for image, _ in batches])

    first, repeated = order(), order()
    epoch.assign(1)
    second = order()
    everything = (data.train.image / np.float32(256)).sum((1, 2, 3), dtype=np.float64)
    np.testing.assert_array_equal(first, repeated)
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(np.sort(first), np.sort(everything), rtol=1e-5)
    np.testing.assert_allclose(np.sort(second), np.sort(everything), rtol=1e-5)


def test_sweep_marks_the_best_rate_and_names_a_collapse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hw2_keras.report import tables

    found = hw2.sweep("kmnist_cnn", epochs=1, out=tmp_path)
    assert [run.learning_rate for run in found] == [1e-5, 5e-4, 1e-2]
    best = max(found, key=lambda run: run.metrics["val_accuracy"])
    assert [run.best for run in found] == [run is best for run in found]
    assert hw2.open_run(best.path).best
    table = tables.sweep_table(found)
    assert "0.0005*" in table
    assert "report 003" in table and "0.9857" in table and "0.1022" in table
    assert f"{best.metrics['test_accuracy']:.4f}" in table


def test_divergence_is_reported_not_hidden(tmp_path: Path) -> None:
    run = hw2.train("fashion_cnn", learning_rate=1e4, epochs=3, out=tmp_path)
    assert "diverged" in run.record["divergence"]
    assert len(run.history["epoch"]) < 3  # NaN weights stay NaN, so training stops
    collapsed = {"val_loss": 2.3, "val_predicted_classes": 1}
    assert "collapsed" in classification.divergence(collapsed)
    assert classification.divergence({"val_loss": 2.3, "val_predicted_classes": 2}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "learning rate 0.0"),
        ({"learning_rate": -1.0}, "learning rate -1.0"),
        ({"learning_rate": float("nan")}, "learning rate nan"),
        ({"epochs": 0}, "epochs is 0"),
        ({"source": "reel"}, "unknown source 'reel'"),
    ],
)
def test_bad_arguments(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        hw2.train("fashion_cnn", out=tmp_path, **arguments)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_counted_experiments_are_not_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="counted, not trained"):
        hw2.train("parameter_cnn", out=tmp_path)


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*file.*choose another --out"):
        hw2.train("kmnist_cnn", epochs=1, out=tmp_path / "file" / "runs")


def test_a_full_disk_keeps_the_epochs_that_were_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: runs.Run
) -> None:
    original, calls = np.savez, []

    def full(file, **arrays) -> None:
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(ValueError, match=r"No space left on device.*finished epochs are kept"):
        hw2.train("kmnist_cnn", epochs=3, out=tmp_path)
    folder = tmp_path / uninterrupted.path.name
    assert not list(folder.glob(".new-*"))
    monkeypatch.undo()
    assert hw2.train("kmnist_cnn", epochs=3, out=tmp_path).history == uninterrupted.history


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, uninterrupted: runs.Run) -> None:
    assert train_in_a_process(tmp_path, KILLED_DURING_AN_EPOCH) == 9
    folder = tmp_path / uninterrupted.path.name
    other = folder.with_name(folder.name.replace("seed42", "seed43"))
    shutil.copytree(folder, other)
    with pytest.raises(ValueError, match=r"belongs to another run \(different protocol\)"):
        hw2.train("kmnist_cnn", epochs=3, seed=43, out=tmp_path)
    (folder / "checkpoint.npz").write_bytes(b"PK\3\4 nonsense")
    with pytest.raises(ValueError, match="is damaged"):
        hw2.train("kmnist_cnn", epochs=3, out=tmp_path)


def test_damaged_and_foreign_runs(tmp_path: Path, small_run: runs.Run) -> None:
    copy = shutil.copytree(small_run.path, tmp_path / "copy")
    record = json.loads((copy / "run.json").read_text())

    (copy / "run.json").write_text(json.dumps(record | {"experiment": "fashion_cnn"}))
    with pytest.raises(ValueError, match="does not hold the weights of fashion_cnn"):
        hw2.open_run(copy).model()
    (copy / "run.json").write_text(json.dumps(record | {"fingerprint": "0" * 64}))
    with pytest.raises(ValueError, match="was trained on other kmnist data"):
        hw2.open_run(copy).data()
    (copy / "run.json").write_text(json.dumps(record | {"finished": False}))
    with pytest.raises(ValueError, match=r"unfinished run of kmnist_cnn.*delete it and"):
        hw2.open_run(copy)
    (copy / "run.json").write_text('{"experiment": ')
    with pytest.raises(ValueError, match="is damaged"):
        hw2.open_run(copy)
    with pytest.raises(ValueError, match="is not a run"):
        hw2.open_run(tmp_path / "nothing")


@pytest.mark.parametrize(("name", "threads"), [("p2g", 1), ("kmnist_cnn", 0)])
def test_encoder_decoders_train_with_one_thread_per_operation(name: str, threads: int) -> None:
    script = (
        "import tensorflow as tf; from hw2_keras.training.fit import set_threads; "
        f"set_threads({name!r}); print(tf.config.threading.get_intra_op_parallelism_threads())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == [str(threads)], done.stderr  # 0: as many as there are cores
