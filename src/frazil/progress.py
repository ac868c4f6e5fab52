"""What a person sees of work that counts: a bar with the time left in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

LINE_SECONDS = 10.0
DRAW_SECONDS: Final = 0.2
LABEL: Final = "{task.description}"
"""The place of the label, a text that may change, in a text of the bar."""


def teller(console: Console | None) -> Callable[[str], None]:
    """A function that prints a line on the console, or nothing without one."""

    def say(line: str) -> None:
        if console is not None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    return say


class CountProgress:
    """A bar while the block lasts, or lines.

    Parameters
    ----------
    console : rich.console.Console or None
        A terminal gets a bar, anything else a line every ten seconds; silent without.
    behind, before : str
        Texts behind the bar and its count, and before them; `LABEL` is the place of the label.
    label : str
        What it is until something is counted.
    total : int, optional
        Of the count, where it is known from the start.
    forks : bool
        Whether processes are forked meanwhile: the bar is then drawn by this thread, not by one of its own.
    """

    def __init__(
        self,
        console: Console | None,
        behind: str,
        *,
        before: str = "",
        label: str = "",
        total: int | None = None,
        forks: bool = False,
    ) -> None:
        self.say = teller(console)
        self._forks = forks
        self._began = self._told = time.monotonic()
        self._bar: Progress | None = None
        if console is not None and console.is_terminal:
            first = (before,) if before else ()
            columns = (*first, BarColumn(), MofNCompleteColumn(), behind, TimeRemainingColumn())
            self._bar = Progress(*columns, console=console, transient=True, auto_refresh=not forks)
            self._task = self._bar.add_task(label, total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _count(self, done: int, total: int, line: Callable[[float], str], label: str = "") -> None:
        """`done` of `total` are done: moves the bar, or tells the line of so many a second if it is time to."""
        now = time.monotonic()
        if now - self._told < self._pause:
            return
        self._told = now
        if self._bar is None:
            self.say(line(max(done, 1) / (now - self._began)))
        else:
            self._bar.update(self._task, completed=done, total=total, description=label, refresh=self._forks)

    @property
    def _pause(self) -> float:
        """Seconds from one time to the next; none where a thread of its own draws the bar now and then."""
        if self._bar is None:
            return LINE_SECONDS
        return DRAW_SECONDS if self._forks else 0.0
