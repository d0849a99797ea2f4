"""What must hold for minutes and not only once: see ``run``."""

import filecmp
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GROWTH = 100 * 2**20  # bytes; what the allocators of threads may keep
TRAIN = [sys.executable, "-m", "hw2_keras", "train", "kmnist_cnn", "--epochs", "4", "--out"]
KEPT = ("history.csv", "model.weights.h5")  # run.json holds the time that training took


def answers(seed: int, seconds: float) -> str:
    """16 threads ask one file; their answers are those of one thread, memory stays flat."""
    import onnx_cases

    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end or rounds < 2:
        onnx_cases.soak(seed + rounds, 40)
        rounds += 1
        if rounds == 1:
            before = peak()
    growth = peak() - before
    assert growth < GROWTH, f"memory grew by {growth / 2**20:.0f} MB in {rounds} rounds"
    return f"{rounds} rounds of 16 threads with 40 calls each, {growth / 2**20:.0f} MB more"


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def kills(seed: int, seconds: float) -> str:
    """Training is killed at random moments and repeated; it ends like an uninterrupted one."""
    rng, killed, runs = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.monotonic()
        train(folder / "whole")
        whole, end = time.monotonic() - started, started + seconds
        (expected,) = (folder / "whole").iterdir()
        while time.monotonic() < end or not killed:
            out, runs = folder / str(runs), runs + 1
            for _ in range(rng.randrange(1, 4)):
                try:
                    train(out, timeout=rng.uniform(0.3, 1.0) * whole)
                except subprocess.TimeoutExpired:  # which has killed it
                    killed += 1
            train(out)
            different = filecmp.cmpfiles(expected, out / expected.name, KEPT, shallow=False)[1:]
            assert different == ([], []), f"run {runs}: {different} differ"
            left = {path.name for path in (out / expected.name).iterdir()}
            unwanted = {n for n in left if n.startswith((".new-", "checkpoint"))}
            assert not unwanted, f"run {runs}: {unwanted} left behind"
    return f"{killed} kills, {runs} runs that ended alike"


def train(out: Path, timeout: float | None = None) -> None:
    """One command; raises ``TimeoutExpired`` when it was killed."""
    done = subprocess.run([*TRAIN, str(out)], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-500:]
