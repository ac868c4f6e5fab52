"""What a person sees of a run: a bar in a terminal, a line now and then anywhere else."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from frazil.progress import LINE_SECONDS, teller

BAR_SECONDS = 0.25


@dataclass(frozen=True)
class Status:
    """Where a run stands."""

    step: int
    elapsed: float
    """Seconds over all sessions."""
    loss: float
    steps_per_second: float
    seconds_left: float
    """Infinity where nothing bounds the run."""
    done: float
    """Share of the budget spent, 0..1; NaN where nothing bounds the run."""

    def text(self) -> str:
        """One line for a person.

        >>> Status(40, 10.0, 0.5, 4.0, 90.0, 0.1).text()
        'step 40  loss 0.5000  4.0 step/s  1:30 left'
        """
        left = f"{clock(self.seconds_left)} left" if math.isfinite(self.seconds_left) else "Ctrl-C ends the run"
        return f"step {self.step}  loss {self.loss:.4f}  {self.steps_per_second:.1f} step/s  {left}"


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds.

    >>> clock(3661), clock(59.6)
    ('1:01:01', '1:00')
    """
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Reporter:
    """Shows the state of a run on a console, without slowing its steps.

    Parameters
    ----------
    console : rich.console.Console
        A terminal gets a bar, anything else a line every ten seconds.
    """

    def __init__(self, console: Console) -> None:
        self.say = teller(console)
        self._next = 0.0
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True)
            self._task = self._bar.add_task("starting", total=None)

    def start(self) -> None:
        """Begin to show; the first line comes a moment later."""
        self._next = time.monotonic() + (BAR_SECONDS if self._bar else LINE_SECONDS / 5)
        if self._bar:
            self._bar.start()

    def update(self, status: Status) -> None:
        """Show the state, if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (BAR_SECONDS if self._bar else LINE_SECONDS)
        if self._bar is None:
            self.say(status.text())
            return
        total = None if math.isnan(status.done) else 1.0
        done = 0.0 if math.isnan(status.done) else min(1.0, status.done)
        self._bar.update(self._task, description=status.text(), completed=done, total=total)

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
