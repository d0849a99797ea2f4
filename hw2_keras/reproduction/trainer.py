"""A process that trains run after run, always with the threads of ``python -m hw2_keras train``.

TensorFlow's threads are settled once for a whole process, and the encoder-decoders train with
other threads than the classifiers. So no run is trained in a process that may have trained one of
the other sort: a `Trainer` starts ``python -m hw2_keras.reproduction.trainer``, sends it runs as
lines of JSON, and reads a line back for each. The process ends when its standard input does, also
when the parent was killed.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from hw2_keras.errors import UsageError
from hw2_keras.files import first_line
from hw2_keras.lock import Held
from hw2_keras.reproduction.plan import PlannedRun, last_row

Report = Callable[[PlannedRun, dict], None]

RETRIES = 3  # a run is started again this often when its process dies
LOCK_SECONDS = 10.0  # a process that was just killed holds its run a moment longer


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        problem: why it failed; empty for a finished run.
        divergence: what a finished run's record says, or None.
        seconds: from the request to the answer.
        files: the finished folder where it was not trained in place, see ``workers.pack``.
    """

    problem: str = ""
    divergence: str | None = None
    seconds: float = 0.0
    files: bytes = b""


class TrainerDied(Exception):
    """The training process ended in the middle of a run."""


class Trainer:
    """A training process, started by the first run.

    Args:
        kind: what is settled once for a process, see `kind`.
        environment: its variables; default: this process's.
    """

    def __init__(self, kind: str, environment: Mapping[str, str] = os.environ) -> None:
        self.kind, self.environment = kind, environment
        self.process: subprocess.Popen | None = None

    def train(self, run: PlannedRun, out: Path, watch: Callable[[], None]) -> Outcome:
        """Trains one run in ``out``, or resumes it there.

        Args:
            run: one of this trainer's kind.
            out: folder of the run's folder.
            watch: called twice a second; what it raises ends the run and the process.

        Raises:
            TrainerDied: the process was killed or crashed.
        """
        if self.process is None:
            self._start()
        started = time.perf_counter()
        try:
            request = json.dumps({"run": asdict(run), "out": str(out)})
            print(request, file=self.process.stdin, flush=True)
            while (answer := self._answer(0.5)) is None:
                watch()
        except BrokenPipeError:
            answer = ""
        except BaseException:
            self.close()
            raise
        if not answer:
            code = self.process.wait()
            self.close()
            raise TrainerDied(f"the training process ended ({_meaning(code)})")
        return Outcome(**json.loads(answer), seconds=time.perf_counter() - started)

    def close(self) -> None:
        """Ends the process, in the middle of a run if need be."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):  # of a request that it never read
                process.stdin.close()

    def _start(self) -> None:
        package = str(Path(__file__).parents[2])
        paths = [package, *filter(None, [self.environment.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hw2_keras.reproduction.trainer", self.kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**self.environment, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.answers: queue.Queue[str] = queue.Queue()
        read = threading.Thread(target=_forward, args=(self.process.stdout, self.answers))
        read.daemon = True
        read.start()

    def _answer(self, seconds: float) -> str | None:
        with contextlib.suppress(queue.Empty):
            return self.answers.get(timeout=seconds)
        return None


def train_here(
    planned: Sequence[PlannedRun], out: Path, report: Report, device: str = "auto"
) -> Iterator[tuple[PlannedRun, Outcome]]:
    """Trains runs one after another; gives each back as it ends.

    Args:
        report: gets a run and the last row of its history whenever an epoch has ended.
    """
    trainers: dict[str, Trainer] = {}
    try:
        for run in planned:
            name = kind(run, device)
            trainer = trainers.setdefault(name, Trainer(name))
            watch = on_new_epoch(run, out, lambda row, run=run: report(run, row))
            yield run, _persistently(trainer, run, out, watch)
    finally:
        for trainer in trainers.values():
            trainer.close()


def _persistently(
    trainer: Trainer, run: PlannedRun, out: Path, watch: Callable[[], None]
) -> Outcome:
    for _ in range(RETRIES):
        with contextlib.suppress(TrainerDied):
            return trainer.train(run, out, watch)
    try:
        return trainer.train(run, out, watch)
    except TrainerDied as error:
        return Outcome(f"{error}, {RETRIES + 1} times")


def on_new_epoch(run: PlannedRun, out: Path, tell: Callable[[dict], None]) -> Callable[[], None]:
    """A function that passes on the last row of a run's history whenever an epoch has ended."""
    told = None

    def look() -> None:
        nonlocal told
        row = last_row(run, out)
        if row and row["epoch"] != told:  # not the row: a figure that is no number equals nothing
            told = row["epoch"]
            tell(row)

    return look


def kind(run: PlannedRun, device: str) -> str:
    """Runs of the same kind can share a process: the same threads, the same device."""
    return f"{'classifier' if run.experiment.task == 'classification' else 'sequence'}-{device}"


def _forward(lines, answers: queue.Queue) -> None:
    with lines:
        for line in lines:
            answers.put(line)
    answers.put("")  # the process has ended


def _meaning(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def main() -> None:
    """The training process."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    device = sys.argv[1].rpartition("-")[2]
    while True:
        print(json.dumps(_answer(json.loads(requests.get()), device)), file=answers)


def _read_requests(requests: queue.Queue) -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(1)  # the parent is gone: a run nobody waits for must not hold its folder


def _answer(request: dict, device: str) -> dict:
    """Trains a run and returns the fields of its `Outcome`."""
    run = PlannedRun(**request["run"])
    try:
        trained = _train(run, request["out"], device)
        return {"divergence": trained.record["divergence"]}
    except UsageError as error:
        return {"problem": str(error)}
    except Exception as error:
        return {"problem": f"{type(error).__name__}: {first_line(error)}"}


def _train(run: PlannedRun, out: str, device: str):
    import keras

    from hw2_keras.training import devices, fit

    devices.use(device)
    fit.set_threads(run.name)
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fit.train(**asdict(run), out=out)
        except Held:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        finally:
            keras.backend.clear_session()


if __name__ == "__main__":
    main()
