"""How far many runs are: a live table on a terminal, else a line for each event."""

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from hw2_keras.reproduction.plan import Status, Task, duration, seconds, time_left
from hw2_keras.reproduction.trainer import Outcome

SHOWN = 20  # runs that are listed; the rest is only counted


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes:
        state: "waiting", "running", "done" or "failed".
        epochs: finished ones.
        figure: its last validation metric, or what ended it.
    """

    state: str
    epochs: int = 0
    figure: str = ""


class Board:
    """The state of every run of a plan.

    Args:
        found: what the folder held of each run.
        slots: how many runs are trained at once.
    """

    def __init__(self, found: Mapping[Task, Status], slots: int) -> None:
        self.slots = slots
        self.runs = {task: _at_first(status) for task, status in found.items()}
        self.start = {task: status.epochs for task, status in found.items()}
        self.estimated = self.taken = 0.0
        self.console = Console(stderr=True)

    @contextlib.contextmanager
    def shown(self) -> Iterator["Board"]:
        """Shows the table for as long as the context lasts."""
        if not self.console.is_terminal:
            yield self
            return
        with Live(
            get_renderable=self.table, console=self.console, refresh_per_second=2, transient=True
        ):
            yield self
        print(self.summary(), file=sys.stderr)

    def report(self, task: Task, row: Mapping[str, float]) -> None:
        """An epoch has ended; ``row`` is its line of the history."""
        name, done = task.experiment.metric, int(row["epoch"])
        figure = f"{name} {row[name]:.4f}"
        if self.runs[task].state in ("waiting", "running"):
            self.runs[task] = Progress("running", done, figure)
            self._line(f"{task}: epoch {done}/{task.epochs} {figure}")

    def ended(self, task: Task, outcome: Outcome) -> None:
        """A run is finished, or has failed."""
        if outcome.problem:
            self.runs[task] = Progress("failed", self.runs[task].epochs, outcome.problem)
            self._line(f"{task}: failed: {outcome.problem}")
            return
        estimated = seconds(task, self.start[task])
        if estimated < math.inf:
            self.estimated += estimated
            self.taken += outcome.seconds
        figure = outcome.divergence or self.runs[task].figure
        self.runs[task] = Progress("done", task.epochs, figure)
        self._line(f"{task}: done in {duration(outcome.seconds)} {figure}".rstrip())

    def left(self) -> float:
        """Seconds until all is done: the registry's times, corrected by what has run so far."""
        left = [
            seconds(task, run.epochs)
            for task, run in self.runs.items()
            if run.state in ("waiting", "running")
        ]
        pace = self.taken / self.estimated if self.estimated else 1.0
        return pace * time_left(left, self.slots)

    def summary(self) -> str:
        """One line: how many runs are where, and the time left."""
        states = [run.state for run in self.runs.values()]
        counts = [f"{states.count(s)} {s}" for s in ("done", "running", "waiting", "failed")]
        return f"{', '.join(counts)}, {duration(self.left())} left"

    def table(self) -> Group:
        """What a terminal shows: running and failed runs first, then those that wait."""
        table = Table(box=None, header_style="bold")
        for heading in ("run", "state", "epoch", "metric"):
            table.add_column(heading, no_wrap=True)
        order = ("running", "failed", "waiting", "done")
        listed = sorted(self.runs.items(), key=lambda item: order.index(item[1].state))
        for task, run in listed[:SHOWN]:
            table.add_row(str(task), run.state, f"{run.epochs}/{task.epochs}", run.figure)
        return Group(table, self.summary())

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            print(f"[{self.summary()}] {text}", file=sys.stderr, flush=True)


def _at_first(status: Status) -> Progress:
    if status.state == "finished":
        return Progress("done", status.epochs)
    if status.state == "damaged":
        return Progress("failed", figure=status.problem)
    return Progress("waiting", status.epochs)
