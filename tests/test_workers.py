"""Runs on workers, and what becomes of them when something dies.

Training is a stub here but for the last test: see stub_training/sitecustomize.py.
"""

import contextlib
import filecmp
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hw2_keras import runs
from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.reproduction import trainer
from hw2_keras.reproduction.plan import PlannedRun, plan, status
from hw2_keras.reproduction.reproduce import plan_table, reproduce, train_missing
from hw2_keras.reproduction.trainer import Outcome

dask = pytest.importorskip("dask", reason="needs the extra [cluster]")
from hw2_keras.reproduction import workers  # noqa: E402

STUB = Path(__file__).parent / "stub_training"
ROOT = Path(__file__).parents[1]


def task(seed: int, epochs: int = 3) -> PlannedRun:
    return PlannedRun("kmnist_cnn", 0.01, epochs, seed, "synthetic")


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that tells stub runs what to do."""
    folder = tmp_path / "control"
    folder.mkdir()
    monkeypatch.setenv("HW2_STUB", str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(STUB), str(ROOT))))
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def until(condition: Callable[[], object], seconds: float = 60) -> object:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
    return found


def starts(control: Path) -> list[str]:
    file = control / "starts"
    return file.read_text().splitlines() if file.exists() else []


def pid_of_last(control: Path) -> int:
    return int(starts(control)[-1].split()[-1])


def in_background(function: Callable[[], object]) -> tuple[threading.Thread, list]:
    found: list = []

    def call() -> None:
        try:
            found.append(function())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, found


def collect(
    client, tasks: list[PlannedRun], shared: Path | None, reports: list | None = None
) -> dict:
    told = reports if reports is not None else []
    report = lambda task, row: told.append((task, row))  # noqa: E731
    return dict(workers.train_all(client, tasks, report, shared))


@pytest.mark.parametrize("pooled", [False, True])
def test_every_run_is_trained_once_and_the_failed_one_is_named(
    pooled: bool, control: Path, out: Path, capsys: pytest.CaptureFixture
) -> None:
    (control / "fail-2").touch()
    (control / "nan-3").touch()
    tasks = [task(seed) for seed in (1, 2, 3)]
    failed = train_missing(tasks, out, 2 if pooled else None, None, "auto")
    assert failed == {str(tasks[1]): "the stub was asked to fail"}
    assert [status(t, out).state for t in tasks] == ["finished", "missing", "finished"]
    lines = capsys.readouterr().err
    assert f"{tasks[2]}: done in 0:00 diverged: the loss is not a number" in lines
    assert "2 done, 0 running, 0 waiting, 1 failed, 0:00 left]" in lines
    assert "3 runs" in plan_table(tasks, out) and "2 finished" in plan_table(tasks, out)

    (control / "fail-2").unlink()
    assert train_missing(tasks, out, None, None, "auto") == {}
    assert sum("seed2" in line for line in starts(control)) == 1
    assert len(starts(control)) == 3  # finished runs are left alone


def test_without_a_shared_folder_the_run_comes_back_as_bytes(control: Path, out: Path) -> None:
    reports: list = []
    with workers.local(1) as client:
        outcome = collect(client, [task(1)], None, reports)[task(1)]
    assert not list(out.iterdir())
    folder = out / task(1).folder
    workers.unpack(outcome.files, folder)
    assert runs.open_run(folder).metrics["val_accuracy"] == 0.5
    assert len(runs.open_run(folder).history["epoch"]) == 3
    assert (folder / runs.WEIGHTS).stat().st_size == 100_000
    assert not {runs.CHECKPOINT, ".lock"} & {path.name for path in folder.iterdir()}


def test_a_full_disk_on_the_driver_leaves_the_run_unfinished(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / runs.RECORD).write_text("{}")
    (whole / runs.HISTORY).write_text("epoch\n1\n")
    (whole / runs.WEIGHTS).write_bytes(bytes(3_000_000))
    packed = workers.pack(whole)
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        with pytest.raises(UsageError, match="No space left on device"):
            workers.unpack(packed, small / "run")
        assert status(task(1), small).state == "missing"
        assert not (small / "run" / runs.RECORD).exists()
        assert not list((small / "run").glob(".new-*"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("place", ["in an epoch", "between epochs"])
def test_a_killed_training_process_loses_one_epoch_at_most(
    place: str, control: Path, out: Path
) -> None:
    """The stub pauses between its epochs; "in an epoch" a real epoch has only been begun."""
    (control / "pause-1").touch()
    with workers.local(1) as client:
        thread, found = in_background(lambda: collect(client, [task(1)], out))
        if place == "between epochs":
            until(lambda: (out / task(1).folder / runs.HISTORY).exists())
        else:
            until(lambda: starts(control))
        killed = pid_of_last(control)
        os.kill(killed, signal.SIGKILL)
        until(lambda: pid_of_last(control) != killed)
        (control / "pause-1").unlink()
        thread.join()
    assert found[0][task(1)].problem == ""
    assert "from 1" in starts(control)[-1] or place == "in an epoch"
    assert status(task(1), out).state == "finished"


@pytest.mark.parametrize("shared", [True, False])
def test_a_killed_worker_is_replaced_and_its_run_goes_on(
    shared: bool, control: Path, out: Path
) -> None:
    (control / "pause-1").touch()
    with workers.local(1) as client:
        (worker,) = client.run(os.getpid).values()
        thread, found = in_background(lambda: collect(client, [task(1)], out if shared else None))
        until(lambda: starts(control))
        if shared:
            until(lambda: (out / task(1).folder / runs.HISTORY).exists())
        os.kill(worker, signal.SIGKILL)
        until(lambda: len(starts(control)) == 2)
        (control / "pause-1").unlink()
        thread.join()
    assert found[0][task(1)].problem == ""
    assert ("from 1" if shared else "from 0") in starts(control)[-1]


def test_a_run_is_started_four_times_at_most(control: Path, out: Path) -> None:
    (control / "pause-1").touch()
    with contextlib.closing(
        trainer.train_here([task(1), task(2)], out, lambda task, row: None)
    ) as results:
        thread, found = in_background(lambda: next(results))
        for n in range(1, 5):
            until(lambda n=n: len(starts(control)) == n)
            os.kill(pid_of_last(control), signal.SIGKILL)
        thread.join()
        assert found == [
            (task(1), Outcome("the training process ended (killed by signal 9), 4 times"))
        ]
        assert next(results)[1].problem == ""  # the next run has a process of its own


def test_a_training_process_that_dies_between_two_runs(control: Path, out: Path) -> None:
    process = trainer.Trainer("classifier-auto")
    with contextlib.closing(process):
        assert process.train(task(1), out, lambda: None).problem == ""
        process.process.kill()
        process.process.wait()
        with pytest.raises(trainer.TrainerDied, match="killed by signal 9"):
            process.train(task(2), out, lambda: None)
        assert process.train(task(2), out, lambda: None).problem == ""
    assert status(task(2), out).state == "finished"


def test_a_worker_killed_while_sending_its_result(control: Path, out: Path) -> None:
    preload = {"distributed.worker.preload": [str(STUB / "dies_sending.py")]}
    with dask.config.set(preload), workers.local(1) as client:
        outcome = collect(client, [task(1)], None)[task(1)]
    assert (control / "died-sending").exists()
    assert len(starts(control)) == 2  # trained again: nothing was shared
    workers.unpack(outcome.files, out / task(1).folder)
    assert status(task(1), out).state == "finished"


@contextlib.contextmanager
def cluster(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A scheduler in a process of its own: its address, and the process."""
    found = tmp_path / "scheduler.json"
    command = ["-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    process = spawn(*command, "--host", "127.0.0.1", "--scheduler-file", str(found))
    try:
        until(found.exists)
        address = until(lambda: re.search(r"tcp://[0-9.:]+", found.read_text()))
        yield address.group(), process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def worker(address: str, **environment: str) -> Iterator[subprocess.Popen]:
    """``python -m hw2_keras worker ADDRESS``."""
    process = spawn("-m", "hw2_keras", "worker", address, **environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def spawn(*arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment,
    )


def test_a_worker_with_other_packages_is_refused(
    control: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    metadata = tmp_path / "old" / "keras-3.14.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: keras\nVersion: 3.14.0\n")
    old = {"PYTHONPATH": os.pathsep.join((str(tmp_path / "old"), os.environ["PYTHONPATH"]))}
    message = r"worker tcp://\S+ refused: keras 3\.14\.0 there, \d\S+ here"
    with cluster(tmp_path) as (address, _):
        with workers.joined(address) as client, worker(address, **old):
            client.wait_for_workers(1, timeout=60)
            with pytest.raises(UsageError, match=message + ": install the same versions"):
                train_missing([task(1)], out, None, address, "auto")
            with worker(address) as _:
                client.wait_for_workers(2, timeout=60)
                assert train_missing([task(1)], out, None, address, "auto") == {}
        assert re.search(message, capsys.readouterr().err)

        (control / "pause-2").touch()  # and one that comes later
        with worker(address):
            thread, found = in_background(
                lambda: train_missing([task(2)], out, None, address, "auto")
            )
            until(lambda: "seed2" in starts(control)[-1])
            with worker(address, **old) as late:
                until(lambda: late.poll() is not None)
            (control / "pause-2").unlink()
            thread.join()
        assert found == [{}]
        assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("address", ["", "ucx://10.0.0.1:1", "inproc://1", "nonsense://x"])
def test_an_address_that_is_none(
    address: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 1)
    for command in (
        ["reproduce", "p2g", "--out", str(out), "--cluster", address],
        ["worker", address],
    ):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"hw2: no cluster answers at {address or 'an empty address'} (")
        assert error.count("\n") == 1


def test_a_cluster_that_is_not_there_or_goes_away(
    control: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 1)
    address = "tcp://127.0.0.1:9"
    with pytest.raises(UsageError, match=f"no cluster answers at {address}"):
        train_missing([task(1)], out, None, address, "auto")
    (control / "pause-1").touch()
    with cluster(tmp_path) as (address, scheduler), worker(address):
        thread, found = in_background(lambda: train_missing([task(1)], out, None, address, "auto"))
        until(lambda: (out / task(1).folder / runs.HISTORY).exists())
        scheduler.kill()
        thread.join()
    assert "the cluster is gone" in str(found[0]) and isinstance(found[0], UsageError)
    (control / "pause-1").unlink()
    assert status(task(1), out).state == "interrupted"
    assert train_missing([task(1)], out, None, None, "auto") == {}
    assert "from 1" in starts(control)[-1]


@pytest.mark.parametrize("pooled", [False, True])
def test_a_killed_driver_leaves_nobody_behind_and_can_be_repeated(
    pooled: bool, control: Path, out: Path
) -> None:
    (control / "pause-1").touch()
    arguments = ["kmnist_cnn", "--seeds", "1", "--epochs", "3", "--out", str(out)]
    driver = spawn("-m", "hw2_keras", "reproduce", *arguments, *["--workers", "1"] * pooled)
    until(lambda: list(out.glob(f"*/{runs.HISTORY}")))
    with pytest.raises(UsageError, match=rf"in use by reproduce, process {driver.pid} on "):
        reproduce(["kmnist_cnn"], seeds=(1,), epochs=3, out=out)
    training = pid_of_last(control)
    driver.kill()
    driver.wait()
    until(lambda: not Path(f"/proc/{training}/cmdline").exists() or is_zombie(training))
    (control / "pause-1").unlink()
    tasks = plan(["kmnist_cnn"], seeds=(1,), epochs=3)
    assert train_missing(tasks, out, 1 if pooled else None, None, "auto") == {}
    assert sum("from 1" in line for line in starts(control)) == 1


def is_zombie(pid: int) -> bool:
    return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


def test_two_drivers_on_one_cluster(control: Path, out: Path) -> None:
    (control / "pause-1").touch()
    first: list = []
    second: list = []
    with workers.local(2) as client, workers.joined(client.scheduler.address) as other:
        thread, found = in_background(lambda: collect(client, [task(1)], out, first))
        until(lambda: starts(control))
        assert collect(other, [task(2)], out, second)[task(2)].problem == ""
        (control / "pause-1").unlink()
        thread.join()
        assert found[0][task(1)].problem == ""
        assert collect(client, [task(3)], out)[task(3)].problem == ""
    assert len(starts(control)) == 3  # no run was killed and begun again
    assert {t for t, _ in first} == {task(1)} and {t for t, _ in second} <= {task(2)}


def test_numbers_of_workers_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(UsageError, match="0 workers: expected a whole number of at least 1"),
        workers.local(0),
    ):
        pass
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UsageError, match="3 workers for 2 GPUs"), workers.local(3):
        pass
    assert workers.environment_of(1, "auto")["CUDA_VISIBLE_DEVICES"] == "1"
    for worker, device in ((2, "auto"), (1, "cpu"), (7, "cpu"), ("tcp://x", "auto")):
        assert workers.environment_of(worker, device)["CUDA_VISIBLE_DEVICES"] == "0,1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert workers.gpus() == []


ALONE = """
import sys
from hw2_keras.training import fit

fit.set_threads(sys.argv[1])
fit.train(sys.argv[1], epochs=1, out=sys.argv[2])
"""


@pytest.mark.parametrize("name", ["kmnist_cnn", "caption"])
def test_a_run_on_a_worker_is_the_same_byte_for_byte(name: str, tmp_path: Path) -> None:
    """Not the first run of its process, beside one in a fresh process."""
    here, there = tmp_path / "here", tmp_path / "there"
    alone = spawn("-c", ALONE, name, str(here))
    there.mkdir()
    tasks = plan([name], seeds=(42, 41), epochs=1)
    chosen = [t for t in tasks if t.learning_rate == t.experiment.best_rate][::-1]
    assert [t.seed for t in chosen] == [41, 42]
    with workers.local(1) as client:
        found = collect(client, chosen, None)
    assert alone.wait() == 0
    (expected,) = here.iterdir()
    same = chosen[1]
    workers.unpack(found[same].files, there / same.folder)
    assert expected.name == same.folder
    for file in (runs.HISTORY, runs.WEIGHTS):
        assert filecmp.cmp(expected / file, there / same.folder / file, shallow=False)
    assert runs.open_run(there / same.folder).metrics == runs.open_run(expected).metrics
