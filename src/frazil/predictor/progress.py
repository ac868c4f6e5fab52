"""What a person sees of sampling."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from frazil.progress import LABEL, CountProgress


class StepProgress(CountProgress):
    """Steps done over all inputs, and the time left.

    Parameters
    ----------
    console : rich.console.Console or None
        As for `CountProgress`.
    num_inputs : int
        Inputs in all.
    """

    def __init__(self, console: Console | None, num_inputs: int) -> None:
        super().__init__(console, "steps", before=LABEL, label="starting")
        self._console = console
        self._num_inputs = num_inputs
        self._input = 0
        self._label = ""

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

        def line(rate: float) -> str:
            return f"{self._label}: step {done} of {total}, {(of_all - over_all) / rate:.0f} s left"

        self._count(over_all, of_all, line, self._label)


class EntryProgress(CountProgress):
    """Inputs dealt with, and the time left.

    Parameters
    ----------
    console : rich.console.Console or None
        As for `CountProgress`.
    """

    def __init__(self, console: Console | None) -> None:
        super().__init__(console, "inputs")

    def done(self, done: int, total: int) -> None:
        """`done` of `total` inputs are dealt with."""
        self._count(done, total, lambda rate: f"{done} of {total} inputs, {(total - done) / rate:.0f} s left")
