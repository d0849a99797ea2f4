"""What the scheduler costs: many tiny runs, and two workers against one.

Runs are synthetic and train for one epoch. The overhead of a run is the time that the workers did
not spend on its request: submitting, sending back, unpacking.
"""

import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from measure import Row

from hw2_keras import experiments
from hw2_keras.reproduction import workers
from hw2_keras.reproduction.plan import PlannedRun

TINY = 200  # runs
ENCODER_DECODER, CLASSIFIER = "p2g", "kmnist_cnn"
RUNS = 8  # of each kind, for the ratio of two workers to one
EPOCHS = 4  # of those runs


def rows() -> Iterator[Row]:
    """Overhead per run, growth of the driver, and the throughput of two workers."""
    grown = peak()
    overhead, first, second = tiny_runs(TINY)
    yield Row("scheduler", f"overhead of a run, {TINY} runs", "s", overhead, at_most=0.5)
    yield Row("scheduler", "driver's growth, first half", "MB", first - grown)
    yield Row("scheduler", "driver's growth, second half", "MB", second - first, at_most=20)
    for name, at_least in ((ENCODER_DECODER, 1.7), (CLASSIFIER, None)):
        one, two = (throughput(name, n) for n in (1, 2))
        what = f"{name}, two workers against one"
        yield Row("scheduler", what, "runs/min", two, one, two / one, at_least=at_least)


def tiny_runs(count: int) -> tuple[float, float, float]:
    """Seconds of overhead per run, and the driver's peak memory after half and all runs."""
    planned = tiny_tasks(CLASSIFIER, range(count), 1)
    with workers.local(1) as client, tempfile.TemporaryDirectory() as out:
        list(train(client, planned[:1], Path(out)))  # TensorFlow's start is no overhead of a run
        started, busy, half = time.perf_counter(), 0.0, 0.0
        for number, seconds in enumerate(train(client, planned[1:], Path(out)), 1):
            busy += seconds
            half = half or (peak() if number >= count // 2 else 0.0)
        elapsed = time.perf_counter() - started
    return (elapsed - busy) / (count - 1), half, peak()


def throughput(name: str, count: int) -> float:
    """Runs per minute of ``count`` workers whose processes have started."""
    with workers.local(count) as client, tempfile.TemporaryDirectory() as out:
        list(train(client, tiny_tasks(name, range(1000, 1000 + 2 * count), 1), Path(out)))
        started = time.perf_counter()
        list(train(client, tiny_tasks(name, range(RUNS), EPOCHS), Path(out)))
        return 60 * RUNS / (time.perf_counter() - started)


def train(client, planned: Sequence[PlannedRun], out: Path) -> Iterator[float]:
    """Trains in scratch folders, unpacks, and gives the seconds that each run's request took."""
    for run, outcome in workers.train_all(client, planned, lambda run, row: None):
        if outcome.problem:
            raise SystemExit(f"{run}: {outcome.problem}")
        workers.unpack(outcome.files, out / run.folder)
        yield outcome.seconds


def tiny_tasks(name: str, seeds: Sequence[int], epochs: int) -> list[PlannedRun]:
    """Runs of an experiment's best rate on synthetic data."""
    rate = experiments[name].best_rate
    return [PlannedRun(name, rate, epochs, seed, "synthetic") for seed in seeds]


def peak() -> float:
    """This process's largest memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
