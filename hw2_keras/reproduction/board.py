"""How far many runs are: a live table on a terminal, else a line for each event."""

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from hw2_keras.reproduction.plan import PlannedRun, Status, duration, seconds, time_left
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

    def __init__(self, found: Mapping[PlannedRun, Status], slots: int) -> None:
        self.slots = slots
        self.runs = {run: _at_first(status) for run, status in found.items()}
        self.start = {run: status.epochs for run, status in found.items()}
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

    def report(self, run: PlannedRun, row: Mapping[str, float]) -> None:
        """An epoch has ended; ``row`` is its line of the history."""
        name, done = run.experiment.metric, int(row["epoch"])
        figure = f"{name} {row[name]:.4f}"
        if self.runs[run].state in ("waiting", "running"):
            self.runs[run] = Progress("running", done, figure)
            self._line(f"{run}: epoch {done}/{run.epochs} {figure}")

    def ended(self, run: PlannedRun, outcome: Outcome) -> None:
        """A run is finished, or has failed."""
        if outcome.problem:
            self.runs[run] = Progress("failed", self.runs[run].epochs, outcome.problem)
            self._line(f"{run}: failed: {outcome.problem}")
            return
        estimated = seconds(run, self.start[run])
        if estimated < math.inf:
            self.estimated += estimated
            self.taken += outcome.seconds
        figure = outcome.divergence or self.runs[run].figure
        self.runs[run] = Progress("done", run.epochs, figure)
        self._line(f"{run}: done in {duration(outcome.seconds)} {figure}".rstrip())

    def left(self) -> float:
        """Seconds until all is done: the registry's times, corrected by what has run so far."""
        left = [
            seconds(run, progress.epochs)
            for run, progress in self.runs.items()
            if progress.state in ("waiting", "running")
        ]
        pace = self.taken / self.estimated if self.estimated else 1.0
        return pace * time_left(left, self.slots)

    def summary(self) -> str:
        """One line: how many runs are where, and the time left."""
        states = [progress.state for progress in self.runs.values()]
        counts = [f"{states.count(s)} {s}" for s in ("done", "running", "waiting", "failed")]
        return f"{', '.join(counts)}, {duration(self.left())} left"

    def table(self) -> Group:
        """What a terminal shows: running and failed runs first, then those that wait."""
        table = Table(box=None, header_style="bold")
        for heading in ("run", "state", "epoch", "metric"):
            table.add_column(heading, no_wrap=True)
        order = ("running", "failed", "waiting", "done")
        listed = sorted(self.runs.items(), key=lambda item: order.index(item[1].state))
        for run, progress in listed[:SHOWN]:
            epochs = f"{progress.epochs}/{run.epochs}"
            table.add_row(str(run), progress.state, epochs, progress.figure)
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
