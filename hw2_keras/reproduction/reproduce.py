"""Every figure again: plan the runs, train what is missing, make what follows from them, judge."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hw2_keras import lock
from hw2_keras.errors import UsageError
from hw2_keras.files import first_line
from hw2_keras.report import page, verdict
from hw2_keras.report.text import format_table
from hw2_keras.report.verdict import Verdict
from hw2_keras.reproduction import artefacts, trainer
from hw2_keras.reproduction.board import Board
from hw2_keras.reproduction.plan import (
    PlannedRun,
    duration,
    place,
    plan,
    seconds,
    status,
    time_left,
)
from hw2_keras.reproduction.trainer import Outcome
from hw2_keras.runs import open_run

MOST_WORKERS = 1_000  # processes on one machine


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` did.

    Attributes:
        planned: every run of the plan.
        failed: what failed, a run or a later step, and why.
        verdicts: every reported figure of the experiments beside ours.
        page: the page, or None after ``dry_run``.
    """

    planned: tuple[PlannedRun, ...]
    failed: dict[str, str]
    verdicts: tuple[Verdict, ...] = ()
    page: Path | None = None


def reproduce(
    names: Sequence[str] = (),
    edition: str | None = None,
    seeds: Sequence[int] = (42,),
    source: str = "synthetic",
    out: str | os.PathLike = "results",
    workers: int | None = None,
    cluster: str | None = None,
    epochs: int | None = None,
    dry_run: bool = False,
    device: str = "auto",
) -> Reproduction:
    """Trains every run that is missing, then draws, exports, judges and writes the page.

    What is finished is left alone, what was interrupted goes on after its last epoch. A run that
    fails does not stop the others. Full runs on real data have their plots, files and page in
    ``out`` itself, others in ``out/SOURCE`` or ``out/SOURCE-epochsN``.

    Args:
        names: experiments; none: all that are trained, but the rungs of ladders.
        edition: only those of one homework, e.g. "2024-25", or "beyond" for the rungs.
        seeds: the first is trained at every rate, the others at the best one.
        source: "synthetic" or "real".
        out: folder of the runs.
        workers: processes on this machine; None: one, without the engine. A script that gives a
            number needs the usual ``if __name__ == "__main__":``.
        cluster: address of a running Dask scheduler, instead of ``workers``.
        epochs: default: those of the homework.
        dry_run: print the plan and the time, and do nothing.
        device: "auto" or "cpu", see ``training.devices.use``.

    Raises:
        UsageError: bad arguments, a folder that another process has, no cluster, or one that
            went away; what is finished is kept.
    """
    if workers is not None and cluster is not None:
        raise UsageError("workers and a cluster: give one of them")
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"{workers} workers: expected a whole number from 1 to {MOST_WORKERS:,}")
    planned, out = plan(names, edition, seeds, source, epochs), Path(out)
    if dry_run:
        print(plan_table(planned, out, workers or 1))
        return Reproduction(tuple(planned), {})
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {out} ({error.strerror}): choose another --out") from error
    with lock.hold(out, "reproduce"):
        failed = train_missing(planned, out, workers, cluster, device)
        finished = [run for run in planned if status(run, out).state == "finished"]
        found = [open_run(out / run.folder) for run in sorted(finished, key=place)]
        made = artefacts.folder(out, source, epochs)
        failed |= artefacts.make(found, seeds[0], made, device)
        rows = verdict.verdicts(found, {run.name for run in planned})
        if rows:  # of rungs nothing is reported, and the file is of the experiments judged before
            verdict.write(rows, made)
        written, _ = page.make(out, made / "site")
    return Reproduction(tuple(planned), failed, tuple(rows), written)


def plan_table(planned: Sequence[PlannedRun], out: Path, workers: int = 1) -> str:
    """What there is, what is missing, and how long it takes."""
    found = {run: status(run, out) for run in planned}
    rows = [["run", "state", "epochs", "time"]]
    for run, (state, done, _) in found.items():
        left = "" if state in ("finished", "damaged") else duration(seconds(run, done))
        rows.append([str(run), state, f"{done}/{run.epochs}", left])
    missing = [seconds(run, f.epochs) for run, f in found.items() if f.state != "finished"]
    count = f"{len(planned)} runs in {out}, {len(planned) - len(missing)} finished"
    workers_text = f"on {workers} workers" if workers > 1 else "one after another"
    known = [left for left in missing if left < math.inf]
    about = "about" if known == missing else "at least"
    left = f"{about} {duration(time_left(known, workers))} {workers_text}"
    return f"{format_table(rows)}\n{count}; {left if missing else 'nothing is missing'}"


def train_missing(
    planned: Sequence[PlannedRun], out: Path, workers: int | None, cluster: str | None, device: str
) -> dict[str, str]:
    """Trains the runs that are not finished; returns those that failed and why."""
    found = {run: status(run, out) for run in planned}
    failed = {str(run): f.problem for run, f in found.items() if f.state == "damaged"}
    missing = [run for run, f in found.items() if f.state in ("missing", "interrupted")]
    if not missing:
        return failed
    with _engine(workers, cluster, device) as client:
        if client is None:
            slots, train = 1, lambda report: trainer.train_here(missing, out, report, device)
        else:
            from hw2_keras.reproduction import workers as pool

            for line in pool.check_versions(client):
                print(f"hw2: {line}", file=sys.stderr)
            slots = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
            train = lambda report: pool.train_all(client, missing, report, out, device)  # noqa: E731
        with Board(found, slots).shown() as board, contextlib.closing(train(board.report)) as done:
            for run, outcome in done:
                outcome = stored(outcome, out / run.folder)
                board.ended(run, outcome)
                if outcome.problem:
                    failed[str(run)] = outcome.problem
    return failed


def stored(outcome: Outcome, folder: Path) -> Outcome:
    """Unpacks a run that was trained elsewhere; a full disk makes it a failed one."""
    if not outcome.files:
        return outcome
    from hw2_keras.reproduction import workers as pool

    try:
        pool.unpack(outcome.files, folder)
    except UsageError as error:
        return Outcome(str(error))
    return outcome._replace(files=b"")


@contextlib.contextmanager
def _engine(workers: int | None, cluster: str | None, device: str) -> Iterator:
    """A client of the engine, or None where this process alone trains."""
    if workers is None and cluster is None:
        yield None
        return
    try:
        from hw2_keras.reproduction import workers as pool
    except ImportError as error:
        raise UsageError(
            f"several workers need Dask distributed ({first_line(error)}): install the extra "
            "[cluster], or leave --workers and --cluster out"
        ) from error
    engine = pool.local(workers, device) if cluster is None else pool.joined(cluster)
    with engine as client:
        yield client
