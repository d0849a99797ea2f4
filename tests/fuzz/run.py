"""``make fuzz``: seeded hostile cases of every kind in two processes, then two soaks.

A case may take 20 seconds, a process 2 GB. Kinds share the time: the one that has had least of it
is next, so that slow kinds take what the fast ones leave. One line tells each failure; the same
kind and seed make the same case again::

    python tests/fuzz/run.py cli.words --first 123 --cases 1 --soak 0
"""

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import soaks

MODULES = {"data": "data_cases", "onnx": "onnx_cases", "records": "record_cases"}
MODULES |= {"cli": "command_cases", "training": "training_cases"}
SHARED = {"data.prepared"}  # kinds whose cases prepare a folder once and put it right again
PROCESSES = 2
CASE_SECONDS = 20
PROCESS_BYTES = 2 * 10**9
PROGRESS_SECONDS = 10


@dataclass
class Worker:
    """A process, and the case that it works on; the clock starts when it gets the case."""

    process: multiprocessing.Process
    connection: Connection
    case: tuple[str, int] | None = None
    started: float = 0.0


@dataclass
class Tally:
    """What was done of one kind."""

    cases: int = 0
    failures: int = 0
    seconds: float = 0.0


def checks() -> dict[str, Callable[[int, Path], None]]:
    """Every kind of case by its name, e.g. "data.arrays"."""
    return {
        f"{name}.{kind}": check
        for name, module in MODULES.items()
        for kind, check in importlib.import_module(module).CHECKS.items()
    }


def work(connection: Connection, folder: Path) -> None:
    """Runs the cases that it is sent; answers each with "" or what failed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what is promised of output is asserted by the cases
        os.dup2(nowhere, stream)
    known = checks()
    import tensorflow  # noqa: F401  before the clock of a case starts

    connection.send(sorted(known))
    for kind, seed in iter(connection.recv, None):
        place = folder / kind / ("shared" if kind in SHARED else str(seed))
        place.mkdir(parents=True, exist_ok=True)
        try:
            known[kind](seed, place)
            problem = ""
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
        if problem or kind not in SHARED:
            shutil.rmtree(place, ignore_errors=True)
        connection.send(problem)


def start(folder: Path) -> tuple[Worker, list[str]]:
    """A new process that is ready for cases, and the kinds that it knows."""
    here, there = multiprocessing.Pipe()
    place = Path(tempfile.mkdtemp(dir=folder))
    process = multiprocessing.Process(target=work, args=(there, place), daemon=True)
    process.start()
    there.close()
    return Worker(process, here), here.recv()


def memory(process: multiprocessing.Process) -> int:
    """The most memory that a process has had, in bytes; 0 where the system does not say."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0
    found = (line.split() for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(words[1]) * 1024 for words in found), 0)


def answer(worker: Worker) -> str | None:
    """What came of a worker's case: "" or what failed; None while it goes on."""
    if worker.connection.poll():
        try:
            problem = worker.connection.recv()
        except EOFError:
            worker.process.join()
            return f"the process ended with {worker.process.exitcode}"
        return problem or too_much_memory(worker)
    if time.monotonic() - worker.started > CASE_SECONDS:
        kill(worker.process)
        return f"took more than {CASE_SECONDS} s"
    return too_much_memory(worker) or None


def too_much_memory(worker: Worker) -> str:
    """Ends a process that has had more than its share; "" for others."""
    if (had := memory(worker.process)) <= PROCESS_BYTES:
        return ""
    kill(worker.process)
    return f"its process had {had / 1e9:.1f} GB"


def kill(process: multiprocessing.Process) -> None:
    process.kill()
    process.join()


def run_cases(kinds: list[str], first: int, cases: int, seconds: float) -> dict[str, Tally]:
    """Runs the cases of some kinds, or of all, until all are done or the time is over."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, workers = Path(name), []
        for _ in range(PROCESSES):
            worker, known = start(folder)
            workers.append(worker)
        if unknown := set(kinds) - set(known):
            sys.exit(f"unknown kinds {', '.join(unknown)}: expected of {', '.join(known)}")
        tallies = {kind: Tally() for kind in kinds or known}
        seeds = {kind: list(range(first, first + cases))[::-1] for kind in tallies}
        end = time.monotonic() + seconds
        for worker, problem in finished(workers, tallies, seeds, end):
            kind, seed = worker.case
            tally = tallies[kind]
            tally.cases += 1
            tally.seconds += time.monotonic() - worker.started
            if problem:
                tally.failures += 1
                print(f"FAILED {kind} {seed}: {' '.join(problem.split())[:500]}", flush=True)
            worker.case = None
            if not worker.process.is_alive():
                workers[workers.index(worker)], _ = start(folder)
        for worker in workers:
            worker.connection.send(None)
            worker.process.join()
        return tallies


def finished(
    workers: list[Worker],
    tallies: dict[str, Tally],
    seeds: dict[str, list[int]],
    end: float,
) -> Iterator[tuple[Worker, str]]:
    """Hands out cases and yields each worker with what came of its case."""
    total, told = sum(map(len, seeds.values())), time.monotonic()
    while True:
        for worker in workers:
            left = [kind for kind in seeds if seeds[kind]]
            if worker.case is None and left and time.monotonic() < end:
                kind = min(left, key=lambda kind: tallies[kind].seconds)
                worker.case, worker.started = (kind, seeds[kind].pop()), time.monotonic()
                worker.connection.send(worker.case)
        busy = [worker for worker in workers if worker.case]
        if not busy:
            return
        wait([worker.connection for worker in busy], timeout=0.2)
        for worker in busy:
            if (problem := answer(worker)) is not None:
                yield worker, problem
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            show(tallies, total, max(0.0, end - told))


def show(tallies: dict[str, Tally], total: int, left: float) -> None:
    """One line: how many cases, how many failures, how long it may still take."""
    done = sum(tally.cases for tally in tallies.values())
    failures = sum(tally.failures for tally in tallies.values())
    spent = sum(tally.seconds for tally in tallies.values()) / PROCESSES
    left = min(left, spent / max(done, 1) * (total - done))
    print(
        f"{done:,} of {total:,} cases, {failures} failures, at most {left:.0f} s left", flush=True
    )


def show_kinds(tallies: dict[str, Tally]) -> None:
    """A line for every kind."""
    for kind, tally in tallies.items():
        each = 1000 * tally.seconds / max(tally.cases, 1)
        print(f"{kind:20} {tally.cases:6,} cases {each:8.1f} ms each {tally.failures:4} failures")


def main() -> int:
    """Runs what the command line asks for; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", metavar="KIND", nargs="*", help="e.g. data.arrays; default: all")
    parser.add_argument("--cases", type=int, default=1000, help="of a kind; default: %(default)s")
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--seconds", type=float, default=440, help="default: %(default)s")
    parser.add_argument("--soak", type=float, default=60, help="seconds each; default: %(default)s")
    options = parser.parse_args()
    tallies = run_cases(options.kinds, options.first, options.cases, options.seconds)
    show_kinds(tallies)
    failures = sum(tally.failures for tally in tallies.values())
    for soak in (soaks.answers, soaks.kills) if options.soak else ():
        print(f"soak: {soak.__doc__.splitlines()[0]}", flush=True)
        try:
            print(f"soak: {soak(options.first, options.soak)}", flush=True)
        except AssertionError as error:
            failures += 1
            print(f"FAILED {soak.__name__} {options.first}: {error}", flush=True)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.exit(main())
