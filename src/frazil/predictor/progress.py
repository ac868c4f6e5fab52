"""What a person sees of sampling: a bar with the time left in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

LINE_SECONDS = 10.0


def teller(console: Console | None) -> Callable[[str], None]:
    """A function that prints a line on the console, or nothing without one."""

    def say(line: str) -> None:
        if console is not None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    return say


class StepProgress:
    """Steps done over all inputs, and the time left.

    Parameters
    ----------
    console : rich.console.Console or None
        A terminal gets a bar, anything else a line every ten seconds; silent without.
    num_inputs : int
        Inputs in all.
    """

    def __init__(self, console: Console | None, num_inputs: int) -> None:
        self.say = teller(console)
        self._console = console
        self._num_inputs = num_inputs
        self._input = 0
        self._label = ""
        self._began = self._told = time.monotonic()
        self._bar: Progress | None = None
        if console is not None and console.is_terminal:
            counts = (MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn())
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), *counts, console=console, transient=True
            )
            self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> StepProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, table: Table) -> None:
        """Print a table."""
        if self._console is not None:
            self._console.print(table)

    def begin(self, name: str) -> None:
        """The next input starts."""
        self._input += 1
        self._label = name if self._num_inputs == 1 else f"{name} ({self._input}/{self._num_inputs})"

    def step(self, done: int, total: int) -> None:
        """`done` of `total` steps of the present input are done."""
        over_all, of_all = (self._input - 1) * total + done, self._num_inputs * total
        if self._bar is not None:
            self._bar.update(self._task, description=self._label, completed=over_all, total=of_all)
            return
        now = time.monotonic()
        if now - self._told >= LINE_SECONDS:
            self._told = now
            left = (now - self._began) / over_all * (of_all - over_all)
            self.say(f"{self._label}: step {done} of {total}, {left:.0f} s left")
