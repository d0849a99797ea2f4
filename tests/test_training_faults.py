"""Training on disks and under kills that break it: no epoch is lost, no traceback, no leftover."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import training_cases

import hw2_keras as hw2
from hw2_keras import files, lock, runs
from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.training import fit

NAME = "kmnist_cnn-synthetic-rate0.0005-epochs1-seed42"
WRITES = (runs.CHECKPOINT, runs.HISTORY, runs.WEIGHTS, runs.RECORD)  # of one epoch, in order


class Killed(BaseException):
    """Stands for a kill: nothing of the package catches it."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return hw2.train("kmnist_cnn", epochs=1, out=tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("last", WRITES)
def test_a_kill_behind_any_write_loses_nothing(
    last: str, uninterrupted: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, written = os.replace, []

    def replace(source, target) -> None:
        original(source, target)
        written.append(Path(target).name)
        if Path(target).name == last:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            hw2.train("kmnist_cnn", epochs=1, out=tmp_path)
    assert tuple(name for name in written if name in WRITES) == WRITES[: WRITES.index(last) + 1]
    (tmp_path / NAME / f"{files.UNFINISHED}half").write_bytes(b"half")  # a kill leaves such too
    again = hw2.train("kmnist_cnn", epochs=1, out=tmp_path)
    assert again.history == uninterrupted.history and len(again.history["epoch"]) == 1
    assert again.metrics == uninterrupted.metrics
    found = {path.name for path in again.path.iterdir()}
    assert found == {runs.HISTORY, runs.WEIGHTS, runs.RECORD, "tensorboard"}


def test_leftovers_of_a_run_that_somebody_holds_stay(uninterrupted: runs.Run) -> None:
    half = uninterrupted.path / f"{files.UNFINISHED}half"
    half.touch()
    with lock.hold(uninterrupted.path, "a test"):
        hw2.train("kmnist_cnn", epochs=1, out=uninterrupted.path.parent)
        assert half.exists() and (uninterrupted.path / lock.LOCK).exists()
    hw2.train("kmnist_cnn", epochs=1, out=uninterrupted.path.parent)
    assert not half.exists() and not (uninterrupted.path / lock.LOCK).exists()


def test_the_best_run_is_marked_by_one_process(
    uninterrupted: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = hw2.open_run(shutil.copytree(uninterrupted.path, tmp_path / NAME))
    write, marked = files.write_json, []

    def write_json(path: Path, content: dict) -> None:
        with pytest.raises(lock.Held), lock.hold(run.path, "a test"):
            pass
        write(path, content)
        marked.append(path)

    monkeypatch.setattr(files, "write_json", write_json)
    assert fit.mark_best([run])[0].best and len(marked) == 1
    assert not (run.path / lock.LOCK).exists()


@pytest.mark.parametrize("name", training_cases.CHECKS)
def test_seeded_cases(name: str, tmp_path: Path) -> None:
    for seed in range(150):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            training_cases.CHECKS[name](seed, folder)
        except BaseException as error:
            error.add_note(f"case {name} {seed}")
            raise


def test_weights_of_another_run_are_told(uninterrupted: runs.Run, tmp_path: Path) -> None:
    folder = shutil.copytree(uninterrupted.path, tmp_path / "run")
    weights = folder / runs.WEIGHTS
    hw2.build("kmnist_cnn").save_weights(weights)  # they fit, and are not those
    with pytest.raises(UsageError, match="was changed since the run was trained: put the orig"):
        hw2.open_run(folder).models()
    weights.unlink()
    with weights.open("wb") as file:
        file.truncate(runs.MOST_BYTES + 1)
    with pytest.raises(UsageError, match="is missing, no file or over 1,000,000,000 bytes"):
        hw2.open_run(folder).models()


def test_weights_that_are_no_numbers_are_told(uninterrupted: runs.Run, tmp_path: Path) -> None:
    folder = shutil.copytree(uninterrupted.path, tmp_path / "run")
    record = json.loads((folder / runs.RECORD).read_text())
    del record["weights"]  # as in older records
    (folder / runs.RECORD).write_text(json.dumps(record))
    model = uninterrupted.model()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    model.save_weights(folder / runs.WEIGHTS)
    with pytest.raises(UsageError, match="no finite numbers, and the run did not diverge"):
        hw2.open_run(folder).models()
    (folder / runs.RECORD).write_text(json.dumps(record | {"divergence": "it diverged"}))
    assert hw2.open_run(folder).models()


def test_logs_that_cannot_be_written_do_not_end_a_run(
    uninterrupted: runs.Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "tensorboard").write_text("a file where the folder should be")
    run = hw2.train("kmnist_cnn", epochs=1, out=tmp_path)
    assert run.metrics == uninterrupted.metrics
    assert "no TensorBoard logs" in capsys.readouterr().err


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4,000 kB, which holds one checkpoint of fashion_cnn and no weights."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4000k", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(disk: Path) -> None:
    command = [sys.executable, "-m", "hw2_keras", "train", "fashion_cnn", "--epochs", "1"]
    command += ["--out", str(disk)]
    full = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert full.returncode == 2, full.stderr
    assert "No space left on device" in full.stderr.splitlines()[-1]
    assert "Traceback" not in full.stderr
    (folder,) = disk.iterdir()
    kept = {path.name for path in folder.iterdir()}
    assert {runs.CHECKPOINT, runs.HISTORY} <= kept and runs.WEIGHTS not in kept
    subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
    assert main(["train", "fashion_cnn", "--epochs", "1", "--out", str(disk)]) == 0
    assert len(hw2.open_run(folder).history["epoch"]) == 1
